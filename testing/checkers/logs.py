"""All checkers of a log at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...domain.events import Event, Recorded
from .checker import Checker, Violation
from .firewalls import Firewalls
from .holdings import Addresses, Interfaces, Macs, Names, Pools, Ports
from .leases import Choices, Claims, Reservations, Settings
from .owners import ConfigurationNetworks, Gateways, Hosts, Leftovers, Owners, Positions

CHECKERS: tuple[type[Checker], ...] = (
    Positions,
    Hosts,
    Pools,
    Addresses,
    Macs,
    Names,
    Interfaces,
    Ports,
    Owners,
    Leftovers,
    Gateways,
    Choices,
    Reservations,
    Claims,
    Settings,
    ConfigurationNetworks,
    Firewalls,
)


def violations(
    records: Iterable[Recorded[Event]], checkers: Sequence[type[Checker]] = CHECKERS
) -> tuple[Violation, ...]:
    """Read a log from its first event; give the first violation that each checker found, in the order of the log."""
    reading = [checker() for checker in checkers]
    position = 0
    for record in records:
        position = record.position
        for checker in reading:
            checker.read(record)
    for checker in reading:
        checker.end(position)
    found = (checker.violation for checker in reading)
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.position))


def check_log(records: Iterable[Recorded[Event]]) -> None:
    """Raise an AssertionError that lists what is wrong with a log, the first position first."""
    found = violations(records)
    if found:
        raise AssertionError("\n".join(map(str, found)))
