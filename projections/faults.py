"""Faults: the objects that the dataplane could not make or remove as the log says: a fold.

Keeps: an object is here from its fault until the host was mended. Knows nothing of: kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..domain.events import DataplaneFaulted, DriftRepaired, Entity, HostRebuilt, Recorded
from ..domain.values import HostId, Position
from .journal import Handlers, Journal


class Faults:
    """Objects owed to a host's kernel, by host and key."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.owed: dict[tuple[HostId, str], Recorded[DataplaneFaulted]] = {}
        self.handlers: Handlers = {
            DataplaneFaulted: self._faulted,
            DriftRepaired: self._mended,
            HostRebuilt: self._mended,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return {"owed": self.owed}

    def owes(self, host: HostId) -> bool:
        """Whether anything of a host is still to be mended."""
        return any(owner == host for owner, _ in self.owed)

    def has(self, fault: DataplaneFaulted) -> bool:
        """Whether the same is owed already: the same object, and why it could not be made or removed."""
        owed = self.owed.get((fault.host, fault.key))
        return owed is not None and (owed.event.verb, owed.event.number, owed.event.message) == (
            fault.verb,
            fault.number,
            fault.message,
        )

    def of(self, owners: Collection[Entity]) -> Recorded[DataplaneFaulted] | None:
        """Find something that could not be made for any of these entities."""
        return next(
            (owed for owed in self.owed.values() if owed.event.verb == "make" and owed.event.owner in owners), None
        )

    def _faulted(self, position: Position, event: DataplaneFaulted) -> None:
        self._journal.put(self.owed, (event.host, event.key), Recorded(position, event))

    def _mended(self, _: Position, event: DriftRepaired | HostRebuilt) -> None:
        for key in [key for key in self.owed if key[0] == event.host]:
            self._journal.drop(self.owed, key)
