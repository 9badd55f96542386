"""Firewall backends: one interface, `nftables` and `none`."""

from .backend import Edit, Ending, FirewallBackend, FirewallObject, Found, is_firewall_object
from .choice import BACKENDS, NFTABLES, NONE, make_backend

__all__ = [
    "BACKENDS",
    "NFTABLES",
    "NONE",
    "Edit",
    "Ending",
    "FirewallBackend",
    "FirewallObject",
    "Found",
    "is_firewall_object",
    "make_backend",
]
