"""Names: what leads from a name to the one thing that has it: a fold.

Keeps: a name leads to one thing at most. Knows nothing of: the things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import (
    ConfigurationNetworkCreated,
    ConfigurationNetworkDeleted,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    Entity,
    NetworkCreated,
    NetworkDeleted,
    SandboxCreated,
    SandboxDeleted,
    SandboxLost,
    SandboxRenamed,
)
from ..domain.values import EndpointId, HostId, NetworkId, Position, SandboxId
from .journal import Handlers, Journal, with_those_that_hold


class Names:
    """Networks by scope and name, endpoints by network and name, sandboxes by container, owners by device."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.networks: dict[tuple[str, str], NetworkId] = {}
        self.configuration_networks: dict[tuple[str, str], NetworkId] = {}
        self.endpoints: dict[tuple[NetworkId, str], EndpointId] = {}
        self.containers: dict[tuple[HostId, str], SandboxId] = {}
        self.devices: dict[tuple[HostId, str], Entity] = {}
        self.handlers: Handlers = {
            NetworkCreated: self._network_created,
            NetworkDeleted: self._network_deleted,
            ConfigurationNetworkCreated: self._configuration_created,
            ConfigurationNetworkDeleted: self._configuration_deleted,
            EndpointCreated: self._endpoint_created,
            EndpointDeleted: self._endpoint_deleted,
            EndpointJoined: self._joined,
            EndpointLeft: self._left,
            EndpointAbandoned: self._left,
            SandboxCreated: self._sandbox_created,
            SandboxRenamed: self._sandbox_renamed,
            SandboxDeleted: self._sandbox_ended,
            SandboxLost: self._sandbox_ended,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        tables: dict[str, Mapping[Any, object]] = {
            "networks": self.networks,
            "endpoints": self.endpoints,
            "containers": self.containers,
            "devices": self.devices,
        }
        return with_those_that_hold(tables, {"configuration networks": self.configuration_networks})

    def _network_created(self, _: Position, event: NetworkCreated) -> None:
        self._journal.put(self.networks, (event.scope, event.name), event.network)
        if event.device:
            self._journal.put(self.devices, (event.host, event.device), ("network", event.network))

    def _network_deleted(self, _: Position, event: NetworkDeleted) -> None:
        self._journal.drop(self.networks, (event.scope, event.name))
        if event.device:
            self._journal.drop(self.devices, (event.host, event.device))

    def _configuration_created(self, _: Position, event: ConfigurationNetworkCreated) -> None:
        self._journal.put(self.configuration_networks, (event.scope, event.name), event.network)

    def _configuration_deleted(self, _: Position, event: ConfigurationNetworkDeleted) -> None:
        self._journal.drop(self.configuration_networks, (event.scope, event.name))

    def _endpoint_created(self, _: Position, event: EndpointCreated) -> None:
        self._journal.put(self.endpoints, (event.network, event.name), event.endpoint)

    def _endpoint_deleted(self, _: Position, event: EndpointDeleted) -> None:
        self._journal.drop(self.endpoints, (event.network, event.name))

    def _joined(self, _: Position, event: EndpointJoined) -> None:
        if event.device:
            self._journal.put(self.devices, (event.host, event.device), ("endpoint", event.endpoint))

    def _left(self, _: Position, event: EndpointLeft | EndpointAbandoned) -> None:
        if event.device:
            self._journal.drop(self.devices, (event.host, event.device))

    def _sandbox_created(self, _: Position, event: SandboxCreated) -> None:
        self._journal.put(self.containers, (event.host, event.container), event.sandbox)

    def _sandbox_renamed(self, _: Position, event: SandboxRenamed) -> None:
        self._journal.drop(self.containers, (event.host, event.before))
        self._journal.put(self.containers, (event.host, event.container), event.sandbox)

    def _sandbox_ended(self, _: Position, event: SandboxDeleted | SandboxLost) -> None:
        self._journal.drop(self.containers, (event.host, event.container))
