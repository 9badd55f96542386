"""Network drivers: one module each. `DRIVERS` has them by the name that users give.

Keeps: a name of ours is never another's. Knows nothing of: where others' drivers are found.
"""

from collections.abc import Callable, Iterable

from ..errors import LedgerNewer
from ..events import NetworkCreated
from ..objects import KernelObject, Key
from .bridge import BridgeDriver
from .driver import NetworkDriver, NetworkTraits
from .ipvlan import IpvlanDriver
from .macvlan import MacvlanDriver
from .special import SpecialDriver

DRIVERS: dict[str, NetworkDriver] = {
    driver.name: driver
    for driver in (BridgeDriver(), SpecialDriver("host"), SpecialDriver("null"), MacvlanDriver(), IpvlanDriver())
}

Elsewhere = Callable[[str], NetworkDriver | None]
"""Finds a network driver that is not ours; raises `Invalid` where it is there and cannot be used."""

_elsewhere: list[Elsewhere] = []

TRAITS_KEPT = 1024
"""Of so many networks at most."""

_traits: dict[int, tuple[NetworkCreated, NetworkTraits]] = {}
"""By the event's own identity: an event never changes, and while it is kept here no other has its number."""

__all__ = [
    "DRIVERS",
    "BridgeDriver",
    "NetworkDriver",
    "NetworkTraits",
    "ask_elsewhere",
    "driver_of",
    "find_driver",
    "lower_host",
    "traits_of",
]


def ask_elsewhere(finder: Elsewhere) -> None:
    """Ask this one, too, for drivers that are not ours: once for each name that is found."""
    if finder not in _elsewhere:
        _elsewhere.append(finder)


def find_driver(name: str) -> NetworkDriver | None:
    """Find a driver by its name: ours first."""
    known = DRIVERS.get(name)
    if known is not None:
        return known
    for finder in _elsewhere:
        found = finder(name)
        if found is not None:
            DRIVERS[name] = found
            return found
    return None


def driver_of(name: str) -> NetworkDriver:
    """Find the driver of a network that the log has; another version may have known more of them."""
    driver = find_driver(name)
    if driver is None:
        raise LedgerNewer(
            f"use network driver {name!r}: the log has it, this netledger knows {', '.join(sorted(DRIVERS))}; "
            "use the netledger that wrote it, or a newer one, or install the distribution that the driver is from"
        )
    return driver


def traits_of(network: NetworkCreated) -> NetworkTraits:
    """Tell what a network is like; asked for ten times with each endpoint, so the answer is kept with the event."""
    known = _traits.get(id(network))
    if known is None or known[0] is not network:
        if len(_traits) >= TRAITS_KEPT:
            _traits.clear()
        known = _traits[id(network)] = (network, driver_of(network.driver).traits(network.options))
    return known[1]


def lower_host(networks: Iterable[NetworkCreated]) -> list[KernelObject]:
    """List what all networks of a host need of it as a whole."""
    by_driver: dict[str, list[NetworkCreated]] = {}
    for network in networks:
        by_driver.setdefault(network.driver, []).append(network)
    objects: dict[Key, KernelObject] = {}
    for name, theirs in sorted(by_driver.items()):
        objects.update((made.key, made) for made in driver_of(name).lower_host(theirs))
    return list(objects.values())
