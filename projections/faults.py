"""Faults: the objects that the dataplane could not make or remove as the log says: a fold.

Keeps: an object is here from its fault until the host was mended. Knows nothing of: kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import DataplaneFaulted, DriftRepaired, HostRebuilt, Recorded
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

    def _faulted(self, position: Position, event: DataplaneFaulted) -> None:
        self._journal.put(self.owed, (event.host, event.key), Recorded(position, event))

    def _mended(self, _: Position, event: DriftRepaired | HostRebuilt) -> None:
        for key in [key for key in self.owed if key[0] == event.host]:
            self._journal.drop(self.owed, key)
