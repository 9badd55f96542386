"""Who: which endpoint, sandbox and container held an address, MAC address, port or name, when, and by whose doing.

The log's tag index leads to the few events about that one thing, and those to the few about its holders: nothing is
kept in memory, no view is folded, and what it costs does not grow with the rest of the log.
Keeps: order in the log decides, not the clock. What was held from the event at position A until the one at position B
was held in the states after A, A + 1, ... B - 1.
Knows nothing of: kernels, the present state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from ..domain import events as ev
from ..domain.errors import Invalid
from ..domain.events import Entity, Event, Recorded
from ..domain.values import (
    NOWHERE,
    PORT_LIMIT,
    PROTOCOL_NAMES,
    PROTOCOLS,
    EndpointId,
    NetworkId,
    Position,
    SandboxId,
    format_address,
    format_host,
    format_mac,
    parse_address,
    parse_mac,
)
from ..ledger.ledger import Ledger
from ..projections import tenures as fold
from ..projections.tenures import Stay, Tenure
from .moments import Moment

OFTEN = 64
"""So many events of one address are read rather than looked for where they matter."""

NEARBY = 4
"""So many events on each side of a window tell, as a rule, who had it then and next to it."""

_OWN: tuple[type[Event], ...] = (
    ev.EndpointCreated,
    ev.EndpointDeleted,
    ev.EndpointJoined,
    ev.EndpointLeft,
    ev.EndpointAbandoned,
    ev.SandboxCreated,
    ev.SandboxRenamed,
)
"""What tells an endpoint's or a sandbox's name and who was in which."""


class Deed(Struct, frozen=True):
    """One event of a tenure: where it stands in the log, when it was (UTC nanoseconds), whose it was, and why."""

    position: Position
    at: int
    event: str
    actor: str
    request: str
    reason: str


class Presence(Struct, frozen=True):
    """An endpoint was in a sandbox: from `joined` until `left`. `cause` says why it left where nobody asked."""

    endpoint: str
    endpoint_name: str
    sandbox: str
    container: str
    interface: str
    joined: Deed
    left: Deed | None
    cause: str


class Interval(Struct, frozen=True):
    """What was held from `began` until `ended` (None: it still is), and by whom.

    `kind`: address, mac, port, network, endpoint, alias, container (the last four are kinds of names). `subject`: what
    was held, as text. `place`: within what nothing else could hold it: pool, network, host or scope. `holder_kind` and
    `holder` as the log has them; `name`, `network` and `network_name` where they are known. `purpose`: what an address
    is for (gateway, endpoint), or the address and port that a port leads to. `decided_by`: netledger or caller.
    `presences`: in which sandboxes the holder was meanwhile, of those that were asked for.
    """

    kind: str
    subject: str
    place: str
    holder_kind: str
    holder: str
    name: str
    network: str
    network_name: str
    host: str
    purpose: str
    decided_by: str
    began: Deed
    ended: Deed | None
    presences: tuple[Presence, ...]

    def held_after(self, position: int) -> bool:
        """Whether it was held in the state after a position."""
        return self.began.position <= position and (self.ended is None or position < self.ended.position)


class Window(Struct, frozen=True):
    """Which states of the log are asked about: those after each position from `first` to `last`."""

    first: Moment
    last: Moment


class Answer(Struct, frozen=True):
    """Who held `subject` in a window of the log: every interval that lasted in it, in log order.

    Where there is none, `before` and `following` are the nearest ones on both sides. `head` is where the log ended.
    """

    subject: str
    window: Window
    head: Position
    intervals: tuple[Interval, ...]
    before: Interval | None
    following: Interval | None


def who_had_address(ledger: Ledger, address: str, window: Window | None = None) -> Answer:
    """Say who held an IPv4 or IPv6 address, in whatever pools. Without a window: ever. Raises Invalid."""
    text = format_address(parse_address(address))
    asking = _Asking(ledger, window)
    return asking.answer(text, fold.tenures_of_address(asking.read_address(text)))


def who_had_mac(ledger: Ledger, mac: str, window: Window | None = None) -> Answer:
    """Say who had a MAC address, in whatever networks. Without a window: ever. Raises Invalid."""
    text = format_mac(parse_mac(mac))
    asking = _Asking(ledger, window)
    held = [
        fold.tenures_of_mac(asking.read_around(tag, ev.EndpointCreated, ev.EndpointDeleted))
        for tag in ledger.find_tags("mac:", text)
    ]
    return asking.answer(text, _in_order(held))


def who_had_port(ledger: Ledger, port: str, window: Window | None = None) -> Answer:
    """Say who had a published port, `8080/tcp` or `8080` of any protocol, on whatever hosts. Raises Invalid."""
    number, protocols = _parse_port(port)
    asking = _Asking(ledger, window)
    tags = [tag for protocol in protocols for tag in ledger.find_tags("ports:", f"{protocol}/{number}")]
    return asking.answer(port, _in_order([fold.tenures_of_port(asking.read(tag)) for tag in tags]))


def who_had_name(ledger: Ledger, name: str, window: Window | None = None) -> Answer:
    """Say which networks, endpoints and containers had a name, and which endpoints an alias. Without a window: ever."""
    asking = _Asking(ledger, window)
    find = ledger.find_tags
    held = [
        fold.tenures_of_network_name(asking.read_around(tag, fold.NETWORK_BEGINS, *fold.NETWORK_ENDS))
        for tag in find("name:network/", name)
    ]
    held += [
        fold.tenures_of_endpoint_name(asking.read(tag), asking.end_of_endpoint) for tag in find("name:endpoint/", name)
    ]
    held += [
        fold.tenures_of_container(
            asking.read_around(tag, ev.SandboxCreated, ev.SandboxRenamed, ev.SandboxDeleted, ev.SandboxLost), name
        )
        for tag in find("container:", name)
    ]
    return asking.answer(name, _in_order(held), name)


class _Asking:
    """One question: a log up to where it ended when it was asked, and what was looked up already."""

    def __init__(self, ledger: Ledger, window: Window | None) -> None:
        self._ledger = ledger
        self._head = ledger.head
        self._is_whole = window is None
        self._window = window or Window(Moment(NOWHERE), Moment(self._head))
        self._networks: dict[NetworkId, list[tuple[Position, Position, ev.NetworkCreated]]] = {}
        self._histories: dict[Entity, list[Recorded[Event]]] = {}

    def read(self, tag: str) -> Iterator[Recorded[Event]]:
        """Read the events with a tag up to where the log ended."""
        return self._ledger.read(tags=(tag,), until=self._head)

    def read_address(self, text: str) -> Iterable[Recorded[Event]]:
        """Read what tells who held an address in the window, and next to it.

        Where it changed hands very often it is looked for in each of the pools that it is in, where one alone holds it.
        """
        often = self._ledger.positions(f"ip:{text}", until=self._head, limit=OFTEN)
        if self._is_whole or len(often) < OFTEN:
            return self.read(f"ip:{text}")
        address = parse_address(text)
        pools = {
            record.event.pool
            for record in self._ledger.read(types=(ev.PoolAllocated,), until=self._head)
            if isinstance(record.event, ev.PoolAllocated) and address in record.event.subnet
        }
        tags = [ev.address_tags(pool, address, ("", ""))[1] for pool in pools]
        found = [self.read_around(tag, ev.AddressAllocated, ev.AddressReleased) for tag in tags]
        return sorted((record for records in found for record in records), key=lambda record: record.position)

    def read_around(
        self, tag: str, begins: type[Event] | tuple[type[Event], ...], *ends: type[Event]
    ) -> Iterable[Recorded[Event]]:
        """Read the events of a tag in the window, and as many before and behind as tell who had it next to it.

        Only for what one alone holds at a time: then what was before the last beginning does not matter, nor what comes
        behind the end of the next who got it.
        """
        if self._is_whole:
            return self.read(tag)
        first, last, size = self._window.first.position, self._window.last.position, NEARBY
        while True:
            earlier = self._ledger.positions(tag, until=first, limit=size, last=True)
            later = self._ledger.positions(tag, after=last, until=self._head, limit=size)
            after = Position(earlier[0] - 1) if earlier else first
            until = later[-1] if later else last
            records = list(self._ledger.read(tags=(tag,), after=after, until=until))
            knows_before = any(isinstance(record.event, begins) for record in records if record.position <= first)
            following = [
                isinstance(record.event, begins)
                for record in records
                if record.position > last and isinstance(record.event, (begins, *ends))
            ]
            if (knows_before or len(earlier) < size) and (True in following[:-1] or len(later) < size):
                return records
            size *= 8

    def answer(self, subject: str, held: Sequence[Tenure], name: str = "") -> Answer:
        """Choose the tenures that were asked for, and look up who their holders were."""
        first, last = self._window.first.position, self._window.last.position
        chosen = list(fold.overlapping(held, first, last))
        before = following = None
        if not chosen:
            before = max((one for one in held if one.end <= first), key=lambda one: one.end, default=None)
            following = min((one for one in held if one.first > last), key=lambda one: one.first, default=None)
        return Answer(
            subject,
            self._window,
            self._head,
            tuple(self._interval(tenure, name, first, last) for tenure in chosen),
            self._interval(before, name, NOWHERE, fold.NEVER) if before is not None else None,
            self._interval(following, name, NOWHERE, fold.NEVER) if following is not None else None,
        )

    def end_of_endpoint(self, endpoint: EndpointId, at: Position) -> Recorded[Event] | None:
        """Find the event that ended an endpoint that was there at a position; None if it is still there."""
        return self._first((f"endpoint:{endpoint}",), ev.EndpointDeleted, at)

    # --- looking up

    def _interval(self, tenure: Tenure, name: str, first: Position, last: Position) -> Interval:
        kind, holder = tenure.owner
        event = tenure.began.event
        known, network = self._named(tenure)
        network_name = self._network_name(NetworkId(network), tenure.first) if network else ""
        presences = self._presences(tenure, max(tenure.first, first), min(Position(tenure.end - 1), last))
        return Interval(
            kind=tenure.kind,
            subject=name or _subject(event, tenure.kind),
            place=tenure.place,
            holder_kind=kind,
            holder=holder,
            name=known,
            network=network,
            network_name=network_name or (known if kind == "network" else ""),
            host=event.host,
            purpose=_purpose(event),
            decided_by=event.decided_by if isinstance(event, (ev.AddressAllocated, ev.PortBound)) else "",
            began=_deed(tenure.began),
            ended=_deed(tenure.ended) if tenure.ended is not None else None,
            presences=presences,
        )

    def _named(self, tenure: Tenure) -> tuple[str, str]:
        """Give the name of a holder, and the id of its network; each may be unknown and is empty then."""
        kind, holder = tenure.owner
        if isinstance(tenure.began.event, ev.ConfigurationNetworkCreated):
            return tenure.began.event.name, holder
        if kind == "network":
            return self._network_name(NetworkId(holder), tenure.first), holder
        if kind == "sandbox":
            return self._container(SandboxId(holder), tenure.first), ""
        if kind == "endpoint":
            created = self._endpoint(EndpointId(holder), tenure)
            return (created.name, created.network) if created is not None else ("", "")
        return "", ""

    def _endpoint(self, endpoint: EndpointId, tenure: Tenure) -> ev.EndpointCreated | None:
        """Find the endpoint that had an id when a tenure began, or that first got it meanwhile.

        An endpoint's addresses are allocated just before it is created.
        """
        found = None
        for record in self._history(("endpoint", endpoint)):
            if record.position >= tenure.end or (found is not None and record.position > tenure.first):
                break
            if isinstance(record.event, ev.EndpointCreated):
                found = record.event
            elif isinstance(record.event, ev.EndpointDeleted):
                found = None
        return found

    def _presences(self, tenure: Tenure, first: Position, last: Position) -> tuple[Presence, ...]:
        """List in which sandboxes an endpoint was, or which endpoints a sandbox had, in a part of a tenure."""
        if tenure.owner[0] not in {"endpoint", "sandbox"}:
            return ()
        there = fold.stays(self._history(tenure.owner))
        return tuple(self._presence(stay) for stay in there if stay.first <= last and stay.end > first)

    def _presence(self, stay: Stay) -> Presence:
        left = stay.left
        return Presence(
            endpoint=stay.endpoint,
            endpoint_name=self._endpoint_name(stay.endpoint, stay.first),
            sandbox=stay.sandbox,
            container=self._container(stay.sandbox, stay.first),
            interface=stay.interface,
            joined=_deed(stay.joined),
            left=_deed(left) if left is not None else None,
            cause=left.event.cause if left and isinstance(left.event, (ev.EndpointLeft, ev.EndpointAbandoned)) else "",
        )

    def _endpoint_name(self, endpoint: EndpointId, at: Position) -> str:
        for record in reversed(self._history(("endpoint", endpoint))):
            if record.position <= at and isinstance(record.event, ev.EndpointCreated):
                return record.event.name
        return ""

    def _container(self, sandbox: SandboxId, at: Position) -> str:
        for record in reversed(self._history(("sandbox", sandbox))):
            if record.position <= at and isinstance(record.event, (ev.SandboxCreated, ev.SandboxRenamed)):
                return record.event.container
        return ""

    def _history(self, entity: Entity) -> list[Recorded[Event]]:
        """Read, once, what happened to an endpoint or a sandbox itself."""
        if entity not in self._histories:
            records = self._ledger.read(tags=(f"{entity[0]}:{entity[1]}",), types=_OWN, until=self._head)
            self._histories[entity] = list(records)
        return self._histories[entity]

    def _network_name(self, network: NetworkId, at: Position) -> str:
        """Name the network that had an id at a position, or got it first afterwards, as one whose gateway it is."""
        if network not in self._networks:
            self._networks[network] = list(self._lives(network))
        lives = self._networks[network]
        return next((created.name for _, end, created in lives if at < end), "")

    def _lives(self, network: NetworkId) -> Iterator[tuple[Position, Position, ev.NetworkCreated]]:
        """Yield each network that had an id, with where it began and ended.

        A busy network's tag leads to very many events. Its first is near the creation, and the creation has the name,
        whose tag leads to little else than the deletion: so the others are never walked.
        """
        tag, after = f"network:{network}", NOWHERE
        while True:
            begun = self._first((tag,), ev.NetworkCreated, after)
            if begun is None:
                return
            created = begun.event
            assert isinstance(created, ev.NetworkCreated), "no other type was asked for"
            ended = self._first((ev.name_tag(created.scope, created.name), tag), ev.NetworkDeleted, begun.position)
            yield begun.position, ended.position if ended is not None else fold.NEVER, created
            if ended is None:
                return
            after = ended.position

    def _first(self, tags: Sequence[str], kind: type[Event], after: Position) -> Recorded[Event] | None:
        return next(iter(self._ledger.read(tags=tags, types=(kind,), after=after, until=self._head, limit=1)), None)


def _in_order(held: Iterable[Sequence[Tenure]]) -> list[Tenure]:
    return sorted((tenure for tenures in held for tenure in tenures), key=lambda tenure: tenure.first)


def _deed(record: Recorded[Event]) -> Deed:
    event = record.event
    request = event.request.partition("#")[0]
    return Deed(record.position, event.at, type(event).__name__, event.actor, request, event.reason)


def _subject(event: Event, kind: str) -> str:
    """Write what an event gave to somebody."""
    if isinstance(event, ev.AddressAllocated):
        return format_address(event.address)
    if isinstance(event, ev.PortBound):
        host = format_host(event.host_address) if event.host_address else "*"
        return f"{host}:{event.host_port}/{PROTOCOL_NAMES.get(event.protocol, event.protocol)}"
    assert isinstance(event, ev.EndpointCreated), f"a {kind} begins with another event: {event}"
    assert kind == "mac", "names are given by whoever asks"
    return format_mac(event.mac)


def _purpose(event: Event) -> str:
    if isinstance(event, ev.AddressAllocated):
        return event.purpose
    return f"{format_host(event.address)}:{event.port}" if isinstance(event, ev.PortBound) and event.address else ""


def _parse_port(text: str) -> tuple[int, tuple[int, ...]]:
    number, slash, protocol = text.partition("/")
    known = (PROTOCOLS[protocol],) if protocol in PROTOCOLS else tuple(PROTOCOLS.values())
    is_number = number.isascii() and number.isdigit() and len(number) <= 5
    if not is_number or not 1 <= int(number) <= PORT_LIMIT or (slash and protocol not in PROTOCOLS):
        raise Invalid(
            f"port {text!r}", f"not a port from 1 to {PORT_LIMIT}, with /{' or /'.join(PROTOCOLS)}", "write 8080/tcp"
        )
    return int(number), known
