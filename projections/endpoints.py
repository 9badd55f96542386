"""Endpoints: which there are, in which network, in which sandbox, under which other names: a fold.

Keeps: an endpoint is here from its creation to its deletion, and in one sandbox at most. Knows nothing of: rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import (
    AliasAdded,
    AliasRemoved,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
)
from ..domain.values import EndpointId, NetworkId, Position
from .journal import Handlers, Journal


class Endpoints:
    """Endpoints by id, by network and by MAC address; where they are joined; their aliases."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.endpoints: dict[EndpointId, Recorded[EndpointCreated]] = {}
        self.joined: dict[EndpointId, Recorded[EndpointJoined]] = {}
        self.by_network: dict[NetworkId, dict[EndpointId, Position]] = {}
        self.by_mac: dict[tuple[NetworkId, bytes], EndpointId] = {}
        self.aliases: dict[EndpointId, dict[str, Position]] = {}
        self.gone: dict[EndpointId, Recorded[EndpointLeft]] = {}
        """Those whose sandbox was lost with its namespace, and which have joined none since."""
        self.handlers: Handlers = {
            NetworkCreated: self._network_created,
            NetworkDeleted: self._network_deleted,
            EndpointCreated: self._created,
            EndpointDeleted: self._deleted,
            EndpointJoined: self._joined,
            EndpointLeft: self._left,
            EndpointAbandoned: self._abandoned,
            AliasAdded: self._alias_added,
            AliasRemoved: self._alias_removed,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest.

        But for `gone`: events that older versions wrote fill it, and their logs' digests are to stay as they are.
        """
        return {
            "endpoints": self.endpoints,
            "joined": self.joined,
            "by network": self.by_network,
            "by mac": self.by_mac,
            "aliases": self.aliases,
        }

    def _network_created(self, _: Position, event: NetworkCreated) -> None:
        self._journal.put(self.by_network, event.network, {})

    def _network_deleted(self, _: Position, event: NetworkDeleted) -> None:
        left = self._journal.drop(self.by_network, event.network)
        assert not left, "a network is deleted after its endpoints"

    def _created(self, position: Position, event: EndpointCreated) -> None:
        put = self._journal.put
        put(self.endpoints, event.endpoint, Recorded(position, event))
        put(self.by_network[event.network], event.endpoint, position)
        if event.mac:
            put(self.by_mac, (event.network, event.mac), event.endpoint)

    def _deleted(self, _: Position, event: EndpointDeleted) -> None:
        drop = self._journal.drop
        drop(self.endpoints, event.endpoint)
        drop(self.by_network[event.network], event.endpoint)
        self._journal.discard(self.by_mac, (event.network, event.mac))
        self._journal.discard(self.aliases, event.endpoint)
        self._journal.discard(self.gone, event.endpoint)

    def _joined(self, position: Position, event: EndpointJoined) -> None:
        self._journal.put(self.joined, event.endpoint, Recorded(position, event))
        self._journal.discard(self.gone, event.endpoint)

    def _left(self, position: Position, event: EndpointLeft) -> None:
        self._journal.drop(self.joined, event.endpoint)
        if event.cause:
            self._journal.put(self.gone, event.endpoint, Recorded(position, event))

    def _abandoned(self, _: Position, event: EndpointAbandoned) -> None:
        self._journal.drop(self.joined, event.endpoint)

    def _alias_added(self, position: Position, event: AliasAdded) -> None:
        if event.endpoint not in self.aliases:
            self._journal.put(self.aliases, event.endpoint, {})
        self._journal.put(self.aliases[event.endpoint], event.alias, position)

    def _alias_removed(self, _: Position, event: AliasRemoved) -> None:
        aliases = self.aliases[event.endpoint]
        self._journal.drop(aliases, event.alias)
        if not aliases:
            self._journal.drop(self.aliases, event.endpoint)
