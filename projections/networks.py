"""Networks and the hosts that they are on: a fold.

Keeps: a network is here from its creation to its deletion. Knows nothing of: rules, kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import (
    ConfigurationChanged,
    ConfigurationNetworkCreated,
    ConfigurationNetworkDeleted,
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
        self.configuration_networks: dict[NetworkId, Recorded[ConfigurationNetworkCreated]] = {}
        self.dependents: dict[NetworkId, dict[NetworkId, Position]] = {}
        """By the configuration network that they were made with."""
        self.configurations: dict[HostId, Recorded[ConfigurationChanged]] = {}
        self.handlers: Handlers = {
            HostRegistered: self._host_registered,
            HostBooted: self._host_booted,
            NetworkCreated: self._created,
            NetworkDeleted: self._deleted,
            ConfigurationNetworkCreated: self._configuration_created,
            ConfigurationNetworkDeleted: self._configuration_deleted,
            ConfigurationChanged: self._configured,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        tables: dict[str, Mapping[Any, object]] = {
            "hosts": self.hosts,
            "boots": self.boots,
            "networks": self.networks,
        }
        newer: dict[str, Mapping[Any, object]] = {
            "configurations": self.configurations,
            "configuration networks": self.configuration_networks,
            "dependents": self.dependents,
        }
        return with_those_that_hold(tables, newer)

    def _host_registered(self, position: Position, event: HostRegistered) -> None:
        self._journal.put(self.hosts, event.host, Recorded(position, event))
        self._journal.put(self.boots, event.host, event.boot)

    def _host_booted(self, _: Position, event: HostBooted) -> None:
        self._journal.put(self.boots, event.host, event.boot)

    def _created(self, position: Position, event: NetworkCreated) -> None:
        self._journal.put(self.networks, event.network, Recorded(position, event))
        if event.config_from:
            self._journal.put(self.dependents[NetworkId(event.config_from)], event.network, position)

    def _deleted(self, _: Position, event: NetworkDeleted) -> None:
        created = self._journal.drop(self.networks, event.network).event
        if created.config_from:
            self._journal.drop(self.dependents[NetworkId(created.config_from)], event.network)

    def _configuration_created(self, position: Position, event: ConfigurationNetworkCreated) -> None:
        self._journal.put(self.configuration_networks, event.network, Recorded(position, event))
        self._journal.put(self.dependents, event.network, {})

    def _configuration_deleted(self, _: Position, event: ConfigurationNetworkDeleted) -> None:
        self._journal.drop(self.configuration_networks, event.network)
        left = self._journal.drop(self.dependents, event.network)
        assert not left, "a configuration network is deleted after those that depend on it"

    def _configured(self, position: Position, event: ConfigurationChanged) -> None:
        self._journal.put(self.configurations, event.host, Recorded(position, event))
