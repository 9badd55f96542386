"""Ports: who holds which of the host, whose are published, and which are open at endpoints' own addresses: a fold.

Keeps: a port of an endpoint is here until it is released. Knows nothing of: which may meet (see `domain.ports`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..domain.events import (
    EndpointAbandoned,
    EndpointLeft,
    PortBound,
    PortClosed,
    PortOpened,
    PortReleased,
    PortsProgrammed,
    PortsRevoked,
    Recorded,
)
from ..domain.ports import EPHEMERAL_FIRST
from ..domain.values import EndpointId, HostId, Position
from .journal import Handlers, Journal

HostPort: TypeAlias = tuple[int, bytes, int]
"""Protocol, host address, host port."""


OwnPort: TypeAlias = tuple[int, bytes, int]
"""Protocol, address and port of an endpoint."""


class Ports:
    """Host ports by endpoint and by number; the last chosen one; which endpoints publish theirs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.by_endpoint: dict[EndpointId, dict[HostPort, Recorded[PortBound]]] = {}
        self.by_number: dict[tuple[HostId, int, int], dict[bytes, Recorded[PortBound]]] = {}
        self.last_chosen: dict[tuple[HostId, int], int] = {}
        self.published: dict[tuple[EndpointId, int], None] = {}
        self.opened: dict[EndpointId, dict[OwnPort, Recorded[PortOpened]]] = {}
        self.handlers: Handlers = {
            PortBound: self._bound,
            PortOpened: self._opened,
            PortClosed: self._closed,
            PortReleased: self._released,
            PortsProgrammed: self._programmed,
            PortsRevoked: self._revoked,
            EndpointLeft: self._left,
            EndpointAbandoned: self._left,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return {
            "by endpoint": self.by_endpoint,
            "by number": self.by_number,
            "last chosen": self.last_chosen,
            "published": self.published,
            **({"opened": self.opened} if self.opened else {}),  # later than the first digests that were kept
        }

    def _bound(self, position: Position, event: PortBound) -> None:
        put = self._journal.put
        record = Recorded(position, event)
        number = (event.host, event.protocol, event.host_port)
        if event.endpoint not in self.by_endpoint:
            put(self.by_endpoint, event.endpoint, {})
        if number not in self.by_number:
            put(self.by_number, number, {})
        put(self.by_endpoint[event.endpoint], (event.protocol, event.host_address, event.host_port), record)
        put(self.by_number[number], event.host_address, record)
        if event.decided_by == "netledger" and (event.chosen_from or event.host_port >= EPHEMERAL_FIRST):
            put(self.last_chosen, (event.host, event.protocol), event.host_port)

    def _released(self, _: Position, event: PortReleased) -> None:
        drop = self._journal.drop
        mine = self.by_endpoint[event.endpoint]
        drop(mine, (event.protocol, event.host_address, event.host_port))
        if not mine:
            drop(self.by_endpoint, event.endpoint)
        number = (event.host, event.protocol, event.host_port)
        holders = self.by_number[number]
        drop(holders, event.host_address)
        if not holders:
            drop(self.by_number, number)

    def _opened(self, position: Position, event: PortOpened) -> None:
        if event.endpoint not in self.opened:
            self._journal.put(self.opened, event.endpoint, {})
        mine = self.opened[event.endpoint]
        self._journal.put(mine, (event.protocol, event.address, event.port), Recorded(position, event))

    def _closed(self, _: Position, event: PortClosed) -> None:
        mine = self.opened[event.endpoint]
        self._journal.drop(mine, (event.protocol, event.address, event.port))
        if not mine:
            self._journal.drop(self.opened, event.endpoint)

    def _programmed(self, _: Position, event: PortsProgrammed) -> None:
        self._journal.put(self.published, (event.endpoint, event.family), None)

    def _revoked(self, _: Position, event: PortsRevoked) -> None:
        self._journal.drop(self.published, (event.endpoint, event.family))

    def _left(self, _: Position, event: EndpointLeft | EndpointAbandoned) -> None:
        self._journal.discard(self.published, (event.endpoint, 4))
        self._journal.discard(self.published, (event.endpoint, 6))
