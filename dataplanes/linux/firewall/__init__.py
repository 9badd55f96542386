"""Firewall backends: one interface, `nftables`, `iptables` and `none`."""

from .backend import Edit, Ending, FirewallBackend, FirewallObject, Found, is_firewall_object
from .choice import BACKENDS, IPTABLES, NFTABLES, NONE, make_backend

__all__ = [
    "BACKENDS",
    "IPTABLES",
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
