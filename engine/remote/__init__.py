"""Remote drivers: whoever speaks Docker's plugin protocol and is not ours, asked before a command is decided."""

from .asking import RemoteDrivers
from .discovery import PLUGIN_DIRECTORIES, Address, addresses, find
from .in_process import InProcess
from .ipam import RemoteIpam, implemented
from .tls import Tls
from .transport import Limits, PluginFault, PluginRefused, Transport

__all__ = [
    "PLUGIN_DIRECTORIES",
    "Address",
    "InProcess",
    "Limits",
    "PluginFault",
    "PluginRefused",
    "RemoteDrivers",
    "RemoteIpam",
    "Tls",
    "Transport",
    "addresses",
    "find",
    "implemented",
]
