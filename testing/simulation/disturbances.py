"""What somebody does to a host's kernel behind netledger's back.

Keeps: each does what an operator, another program or a container runtime could do. Knows nothing of: the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec import structs

from ...dataplanes.simulated import KernelError
from ...dataplanes.simulated.faults import askew
from ...domain.objects import TRACELESS, Address, Bridge, Firewall, KernelObject, VethPair
from .host import FOREIGN, SimulatedHost

Choose = Callable[[int], int]
"""Chooses a number from 0 to below another."""

SHARED = "shared"
"""The name that the author's networks ask for, for their bridge."""


def disturb(host: SimulatedHost, choose: Choose) -> str:
    """Do something to the kernel; say what kind of thing it was, or nothing where there is nothing to do it to."""
    names = list(_DISTURBANCES)
    first = choose(len(names))
    for name in names[first:] + names[:first]:
        with suppress(KernelError):  # as the kernel would not let anybody
            if _DISTURBANCES[name](host, choose):
                return name
    return ""


def _pick(host: SimulatedHost, choose: Choose, *kinds: type[KernelObject]) -> KernelObject | None:
    objects = [made for _, made in sorted(host.kernel.objects.items()) if not isinstance(made, TRACELESS)]
    there = [made for made in objects if not kinds or isinstance(made, kinds)]
    return there[choose(len(there))] if there else None


def _remove(host: SimulatedHost, choose: Choose) -> bool:
    gone = _pick(host, choose)
    if gone is not None:
        host.kernel.remove(gone)
    return gone is not None


def _alter(host: SimulatedHost, choose: Choose) -> bool:
    there = _pick(host, choose)
    other = askew(there) if there is not None else None
    if other is not None:
        host.kernel.alter(other)
    return other is not None


def _readdress(host: SimulatedHost, choose: Choose) -> bool:
    """Give an interface of ours another address in the place of its own."""
    there = _pick(host, choose, Address)
    if not isinstance(there, Address):
        return False
    host.kernel.remove(there)
    last = there.address[-1] ^ 1
    host.kernel.alter(structs.replace(there, address=there.address[:-1] + bytes([last])))
    return True


def _flush(host: SimulatedHost, _: Choose) -> bool:
    """Do as `nft flush ruleset` does."""
    there = host.kernel.find(Firewall())
    if there is not None:
        host.kernel.remove(there)
    return there is not None


def _usurp(host: SimulatedHost, choose: Choose) -> bool:
    """Put an interface of another kind in the place of one of ours."""
    there = _pick(host, choose, Bridge, VethPair)
    match there:
        case Bridge(name=name) | VethPair(host_name=name):
            host.kernel.remove(there)
            host.kernel.add_interface(name, FOREIGN)
            return True
        case _:
            return False


def _obstruct(host: SimulatedHost, _: Choose) -> bool:
    """Take the name that a network is going to ask for."""
    if SHARED in host.kernel.own.devices:
        return False
    host.kernel.add_interface(SHARED, FOREIGN)
    return True


def _restart_container(host: SimulatedHost, choose: Choose) -> bool:
    """Put another namespace at the path of an attached sandbox."""
    paths = sorted(host.universe.namespaces)
    host.replace_namespace(paths[choose(len(paths))])
    return True


_DISTURBANCES: dict[str, Callable[[SimulatedHost, Choose], bool]] = {
    "an object removed": _remove,
    "an object altered": _alter,
    "an address changed": _readdress,
    "the firewall flushed": _flush,
    "an interface of ours replaced": _usurp,
    "a name of ours taken": _obstruct,
    "a namespace replaced": _restart_container,
}
