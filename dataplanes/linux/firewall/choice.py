"""Which firewall backends there are, and how one is made.

Keeps: a backend's module, and what it loads, is imported only when it is chosen. Must not know: who chooses, and why.
"""

from __future__ import annotations

from collections.abc import Callable

from ..marks import Marks
from .backend import FirewallBackend

NFTABLES, IPTABLES, NONE = "nftables", "iptables", "none"
BACKENDS = (NFTABLES, IPTABLES, NONE)

Elsewhere = Callable[[Callable[[], None]], None]
"""Carries out a job in a throw-away namespace."""


def make_backend(name: str, marks: Marks, elsewhere: Elsewhere) -> FirewallBackend:
    """Make the backend of that name."""
    if name == NFTABLES:
        from .nftables import NftablesFirewall

        return NftablesFirewall(marks.table, elsewhere)
    if name == IPTABLES:
        from .iptables import IptablesFirewall

        return IptablesFirewall(marks)
    if name == NONE:
        from .none import NoFirewall

        return NoFirewall()
    raise ValueError(f"there is no firewall backend {name!r}; there are {', '.join(BACKENDS)}")
