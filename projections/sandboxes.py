"""Sandboxes: which there are, which endpoints are in them, which of those is the way out: a fold.

Keeps: a gateway is an endpoint in the sandbox. Knows nothing of: rules, routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import (
    EndpointAbandoned,
    EndpointJoined,
    EndpointLeft,
    GatewayElected,
    Recorded,
    SandboxCreated,
    SandboxDeleted,
    SandboxLost,
)
from ..domain.values import EndpointId, Position, SandboxId
from .journal import Handlers, Journal


class Sandboxes:
    """Sandboxes by id, their endpoints in the order of joining, their gateways by address family."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.sandboxes: dict[SandboxId, Recorded[SandboxCreated]] = {}
        self.endpoints: dict[SandboxId, dict[EndpointId, Position]] = {}
        self.gateways: dict[tuple[SandboxId, int], Recorded[GatewayElected]] = {}
        self.handlers: Handlers = {
            SandboxCreated: self._created,
            SandboxDeleted: self._ended,
            SandboxLost: self._ended,
            EndpointJoined: self._joined,
            EndpointLeft: self._left,
            EndpointAbandoned: self._left,
            GatewayElected: self._elected,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return {"sandboxes": self.sandboxes, "endpoints": self.endpoints, "gateways": self.gateways}

    def _created(self, position: Position, event: SandboxCreated) -> None:
        self._journal.put(self.sandboxes, event.sandbox, Recorded(position, event))
        self._journal.put(self.endpoints, event.sandbox, {})

    def _ended(self, _: Position, event: SandboxDeleted | SandboxLost) -> None:
        self._journal.drop(self.sandboxes, event.sandbox)
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
