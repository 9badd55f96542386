"""Address management: which block a network gets, which address an endpoint gets."""

from .pools import Chosen, choose_address, choose_pools

__all__ = ["Chosen", "choose_address", "choose_pools"]
