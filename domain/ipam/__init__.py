"""Address management: which block a network gets, which address an endpoint gets."""

from .addresses import Taken, choose_address
from .driver import AddressBooks, IpamDriver
from .pools import Chosen, choose_blocks, choose_pools

__all__ = ["AddressBooks", "Chosen", "IpamDriver", "Taken", "choose_address", "choose_blocks", "choose_pools"]
