"""Tenures: from where to where in the log something was held, and by whom. A fold of the events about that one thing.

Keeps: a tenure begins at the event that gave the thing and ends before the event that took it away, in log order,
whatever the clock said. Knows nothing of: how events are found, all the things that are held at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

from msgspec import Struct

from ..domain import events as ev
from ..domain.events import Entity, Event, Recorded
from ..domain.values import EndpointId, Position, SandboxId

NETWORK_BEGINS = (ev.NetworkCreated, ev.ConfigurationNetworkCreated)
NETWORK_ENDS = (ev.NetworkDeleted, ev.ConfigurationNetworkDeleted)
"""By what a name comes to be a network's, configuration-only or not, and ceases to be."""

NEVER = Position(2**63 - 1)
"""After every position: where what lasts ends."""


class Tenure(Struct):
    """What `owner` held from `began` until before `ended`; None while it lasts.

    `kind`: address, mac, port, network, endpoint, alias, container. `place`: within what it was unique: the pool of
    an address, the network of a MAC address or an endpoint's name, the host of a port or a container, the scope of a
    network's name.
    """

    kind: str
    place: str
    owner: Entity
    began: Recorded[Event]
    ended: Recorded[Event] | None = None

    @property
    def first(self) -> Position:
        """The first position after which it was held."""
        return self.began.position

    @property
    def end(self) -> Position:
        """The first position after which it was not held any more."""
        return self.ended.position if self.ended is not None else NEVER


class Stay(Struct):
    """An endpoint was in a sandbox from `joined` until before `left`; None while it lasts."""

    endpoint: EndpointId
    sandbox: SandboxId
    interface: str
    joined: Recorded[Event]
    left: Recorded[Event] | None = None

    @property
    def first(self) -> Position:
        """The first position after which it was there."""
        return self.joined.position

    @property
    def end(self) -> Position:
        """The first position after which it was not there any more."""
        return self.left.position if self.left is not None else NEVER


def tenures_of_address(records: Iterable[Recorded[Event]]) -> list[Tenure]:
    """Fold the events tagged `ip:ADDRESS`: one address in any number of pools.

    Who gets it in a pool while another has it there, as a network's endpoint takes what was kept for it, takes it over.
    """

    def key(event: Event) -> Hashable:
        return event.pool if isinstance(event, (ev.AddressAllocated, ev.AddressReleased)) else None

    def begun(event: Event) -> tuple[str, str, Entity] | None:
        return ("address", event.pool, event.owner) if isinstance(event, ev.AddressAllocated) else None

    return _fold(records, key, begun)


def tenures_of_mac(records: Iterable[Recorded[Event]]) -> list[Tenure]:
    """Fold the events tagged `mac:NETWORK/MAC`."""
    return _fold(records, _endpoint_of, lambda event: _created_endpoint("mac", event))


def tenures_of_port(records: Iterable[Recorded[Event]]) -> list[Tenure]:
    """Fold the events tagged `ports:HOST/PROTOCOL/PORT`: one port at any number of the host's addresses."""

    def key(event: Event) -> Hashable:
        return (event.endpoint, event.host_address) if isinstance(event, (ev.PortBound, ev.PortReleased)) else None

    def begun(event: Event) -> tuple[str, str, Entity] | None:
        return ("port", event.host, ("endpoint", event.endpoint)) if isinstance(event, ev.PortBound) else None

    return _fold(records, key, begun)


def tenures_of_network_name(records: Iterable[Recorded[Event]]) -> list[Tenure]:
    """Fold the events tagged `name:network/SCOPE/NAME`."""

    def key(event: Event) -> Hashable:
        return event.network if isinstance(event, (*NETWORK_BEGINS, *NETWORK_ENDS)) else None

    def begun(event: Event) -> tuple[str, str, Entity] | None:
        return ("network", event.scope, ("network", event.network)) if isinstance(event, NETWORK_BEGINS) else None

    return _fold(records, key, begun)


def tenures_of_endpoint_name(
    records: Iterable[Recorded[Event]], end_of: Callable[[EndpointId, Position], Recorded[Event] | None]
) -> list[Tenure]:
    """Fold the events tagged `name:endpoint/NETWORK/NAME`: names of endpoints, and aliases, which several may share.

    An alias goes with its endpoint and without an event of its own: `end_of` finds the end of an endpoint that was
    there at a position.
    """
    held = list(records)
    names = _fold(
        (record for record in held if not isinstance(record.event, (ev.AliasAdded, ev.AliasRemoved))),
        _endpoint_of,
        lambda event: _created_endpoint("endpoint", event),
    )
    aliases = _fold(
        (record for record in held if isinstance(record.event, (ev.AliasAdded, ev.AliasRemoved))), _alias_of, _aliased
    )
    for tenure in aliases:
        gone = end_of(EndpointId(tenure.owner[1]), tenure.first)
        if gone is not None and gone.position < tenure.end:
            tenure.ended = gone
    return sorted([*names, *aliases], key=lambda tenure: tenure.first)


def tenures_of_container(records: Iterable[Recorded[Event]], name: str) -> list[Tenure]:
    """Fold the events tagged `container:HOST/NAME`; a sandbox that is renamed gives one name up and takes another."""

    def key(event: Event) -> Hashable:
        known = (ev.SandboxCreated, ev.SandboxRenamed, ev.SandboxDeleted, ev.SandboxLost)
        return event.sandbox if isinstance(event, known) else None

    def begun(event: Event) -> tuple[str, str, Entity] | None:
        if isinstance(event, (ev.SandboxCreated, ev.SandboxRenamed)) and event.container == name:
            return ("container", event.host, ("sandbox", event.sandbox))
        return None

    return _fold(records, key, begun)


def stays(records: Iterable[Recorded[Event]]) -> list[Stay]:
    """Fold the events tagged `endpoint:ID` or `sandbox:ID`: which endpoint was in which sandbox."""
    found: list[Stay] = []
    here: dict[EndpointId, Stay] = {}
    for record in records:
        event = record.event
        if isinstance(event, ev.EndpointJoined):
            here[event.endpoint] = Stay(event.endpoint, event.sandbox, event.interface, record)
            found.append(here[event.endpoint])
        elif isinstance(event, (ev.EndpointLeft, ev.EndpointAbandoned)) and event.endpoint in here:
            here.pop(event.endpoint).left = record
    return found


def overlapping(held: Iterable[Tenure], after: Position, until: Position) -> Iterator[Tenure]:
    """Yield those that lasted at one of the positions from `after` to `until`."""
    return (tenure for tenure in held if tenure.first <= until and tenure.end > after)


def _fold(
    records: Iterable[Recorded[Event]],
    key: Callable[[Event], Hashable],
    begun: Callable[[Event], tuple[str, str, Entity] | None],
) -> list[Tenure]:
    """Begin and end tenures by key; an event without a key is about something else."""
    found: list[Tenure] = []
    lasting: dict[Hashable, Tenure] = {}
    for record in records:
        known = key(record.event)
        if known is None:
            continue
        before = lasting.pop(known, None)
        if before is not None:
            before.ended = record
        beginning = begun(record.event)
        if beginning is not None:
            lasting[known] = Tenure(*beginning, began=record)
            found.append(lasting[known])
    return found


def _endpoint_of(event: Event) -> Hashable:
    return event.endpoint if isinstance(event, (ev.EndpointCreated, ev.EndpointDeleted)) else None


def _created_endpoint(kind: str, event: Event) -> tuple[str, str, Entity] | None:
    return (kind, event.network, ("endpoint", event.endpoint)) if isinstance(event, ev.EndpointCreated) else None


def _alias_of(event: Event) -> Hashable:
    return event.endpoint if isinstance(event, (ev.AliasAdded, ev.AliasRemoved)) else None


def _aliased(event: Event) -> tuple[str, str, Entity] | None:
    return ("alias", event.network, ("endpoint", event.endpoint)) if isinstance(event, ev.AliasAdded) else None
