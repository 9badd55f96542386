"""Sandboxes: which there are, which endpoints are in them, which of those is the way out: a fold.

Keeps: a gateway is an endpoint in the sandbox. Knows nothing of: rules, routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from ..domain.events import (
    EndpointAbandoned,
    EndpointJoined,
    EndpointLeft,
    GatewayElected,
    Recorded,
    SandboxCreated,
    SandboxDeleted,
    SandboxKeySet,
    SandboxLost,
    SandboxRenamed,
)
from ..domain.facts import NamespaceIdentity
from ..domain.values import EndpointId, HostId, Position, SandboxId, SandboxKind
from .journal import Handlers, Journal


class Sandboxes:
    """Sandboxes by id, their endpoints in the order of joining, their gateways by address family."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.sandboxes: dict[SandboxId, Recorded[SandboxCreated]] = {}
        self.by_namespace: dict[tuple[HostId, NamespaceIdentity], SandboxId] = {}
        self.endpoints: dict[SandboxId, dict[EndpointId, Position]] = {}
        self.gateways: dict[tuple[SandboxId, int], Recorded[GatewayElected]] = {}
        self.handlers: Handlers = {
            SandboxCreated: self._created,
            SandboxKeySet: self._key_set,
            SandboxRenamed: self._renamed,
            SandboxDeleted: self._ended,
            SandboxLost: self._ended,
            EndpointJoined: self._joined,
            EndpointLeft: self._left,
            EndpointAbandoned: self._left,
            GatewayElected: self._elected,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return {
            "sandboxes": self.sandboxes,
            "by_namespace": self.by_namespace,
            "endpoints": self.endpoints,
            "gateways": self.gateways,
        }

    def sandbox_in(self, host: HostId, namespace: NamespaceIdentity) -> SandboxId | None:
        """Find the sandbox whose namespace, which is not ours, is this one."""
        return self.by_namespace.get((host, namespace))

    def _created(self, position: Position, event: SandboxCreated) -> None:
        self._journal.put(self.sandboxes, event.sandbox, Recorded(position, event))
        self._journal.put(self.endpoints, event.sandbox, {})
        if event.identity is not None:
            self._journal.put(self.by_namespace, (event.host, event.identity), event.sandbox)

    def _key_set(self, _: Position, event: SandboxKeySet) -> None:
        """Make it the attached one that it is from here on."""
        before = self.sandboxes[event.sandbox]
        place = {"kind": SandboxKind.ATTACHED, "path": event.path, "identity": event.identity}
        after = Recorded(before.position, structs.replace(before.event, **place))
        self._journal.put(self.sandboxes, event.sandbox, after)
        self._journal.put(self.by_namespace, (event.host, event.identity), event.sandbox)

    def _renamed(self, _: Position, event: SandboxRenamed) -> None:
        before = self.sandboxes[event.sandbox]
        after = Recorded(before.position, structs.replace(before.event, container=event.container))
        self._journal.put(self.sandboxes, event.sandbox, after)

    def _ended(self, _: Position, event: SandboxDeleted | SandboxLost) -> None:
        created = self._journal.drop(self.sandboxes, event.sandbox).event
        if created.identity is not None and self.sandbox_in(created.host, created.identity) == event.sandbox:
            self._journal.drop(self.by_namespace, (created.host, created.identity))
        left = self._journal.drop(self.endpoints, event.sandbox)
        assert not left, "a sandbox ends after its endpoints have left"

    def _joined(self, position: Position, event: EndpointJoined) -> None:
        self._journal.put(self.endpoints[event.sandbox], event.endpoint, position)

    def _left(self, _: Position, event: EndpointLeft | EndpointAbandoned) -> None:
        self._journal.drop(self.endpoints[event.sandbox], event.endpoint)
        for family in (4, 6):
            gateway = self.gateways.get((event.sandbox, family))
            if gateway is not None and gateway.event.endpoint == event.endpoint:
                self._journal.drop(self.gateways, (event.sandbox, family))

    def _elected(self, position: Position, event: GatewayElected) -> None:
        self._journal.put(self.gateways, (event.sandbox, event.family), Recorded(position, event))
