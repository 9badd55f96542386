"""Whether the host's IPv4 loopback addresses are routed on an interface: `route_localnet`, a part of `LoopbackAccess`.

Keeps: it is on only while the firewall's guard is there, so that nobody on that interface reaches the host's loopback.
Must not know: plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...domain.objects import KernelObject, LoopbackAccess
from .sysctls import read_sysctl, write_sysctl


def route_loopback(access: LoopbackAccess, *, is_wanted: bool) -> bool:
    """Turn it on or off where it is not so; whether there was anything to do. OSError without the interface."""
    if access.family != 4:
        return False
    value = "1" if is_wanted else "0"
    try:
        return write_sysctl(_name(access), value)
    except FileNotFoundError:
        if is_wanted:
            raise
        return False  # gone, with its interface


def routed(things: Iterable[KernelObject]) -> Iterator[KernelObject]:
    """Leave out loopback access whose setting has been turned off: it is not what was asked for."""
    for thing in things:
        if isinstance(thing, LoopbackAccess) and thing.family == 4:
            try:
                is_on = read_sysctl(_name(thing)) == "1"
            except OSError:
                is_on = False
            if not is_on:
                continue
        yield thing


def _name(access: LoopbackAccess) -> str:
    return f"net.ipv4.conf.{access.bridge.replace('.', '/')}.route_localnet"
