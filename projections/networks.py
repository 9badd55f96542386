"""Networks and the hosts that they are on: a fold.

Keeps: a network is here from its creation to its deletion. Knows nothing of: rules, kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import (
    ConfigurationChanged,
    HostBooted,
    HostRegistered,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
)
from ..domain.values import HostId, NetworkId, Position
from .journal import Handlers, Journal, with_those_that_hold


class Networks:
    """Hosts and networks by id."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.hosts: dict[HostId, Recorded[HostRegistered]] = {}
        self.boots: dict[HostId, str] = {}
        self.networks: dict[NetworkId, Recorded[NetworkCreated]] = {}
        self.configurations: dict[HostId, Recorded[ConfigurationChanged]] = {}
        self.handlers: Handlers = {
            HostRegistered: self._host_registered,
            HostBooted: self._host_booted,
            NetworkCreated: self._created,
            NetworkDeleted: self._deleted,
            ConfigurationChanged: self._configured,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        tables: dict[str, Mapping[Any, object]] = {
            "hosts": self.hosts,
            "boots": self.boots,
            "networks": self.networks,
        }
        return with_those_that_hold(tables, {"configurations": self.configurations})

    def _host_registered(self, position: Position, event: HostRegistered) -> None:
        self._journal.put(self.hosts, event.host, Recorded(position, event))
        self._journal.put(self.boots, event.host, event.boot)

    def _host_booted(self, _: Position, event: HostBooted) -> None:
        self._journal.put(self.boots, event.host, event.boot)

    def _created(self, position: Position, event: NetworkCreated) -> None:
        self._journal.put(self.networks, event.network, Recorded(position, event))

    def _deleted(self, _: Position, event: NetworkDeleted) -> None:
        self._journal.drop(self.networks, event.network)

    def _configured(self, position: Position, event: ConfigurationChanged) -> None:
        self._journal.put(self.configurations, event.host, Recorded(position, event))
