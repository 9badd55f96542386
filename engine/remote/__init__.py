"""Remote drivers: processes that speak Docker's plugin protocol, asked before a command is decided."""

from .asking import RemoteDrivers
from .discovery import PLUGIN_DIRECTORIES, Address, addresses, find
from .ipam import RemoteIpam, implemented
from .transport import Limits, PluginFault, PluginRefused, Transport

__all__ = [
    "PLUGIN_DIRECTORIES",
    "Address",
    "Limits",
    "PluginFault",
    "PluginRefused",
    "RemoteDrivers",
    "RemoteIpam",
    "Transport",
    "addresses",
    "find",
    "implemented",
]
