"""Address management: which block a network gets, which address an endpoint gets."""

from .addresses import Taken, choose_address
from .pools import Chosen, choose_blocks, choose_pools

__all__ = ["Chosen", "Taken", "choose_address", "choose_blocks", "choose_pools"]
