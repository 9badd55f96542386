"""Deciding: commands against the views, one after the other, each seeing what the earlier ones decided.

Keeps: what is folded here is speculative until the caller commits it; the host is asked before anything is decided
that claims a name or a port of it. Knows nothing of: the log's transaction, kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from ..dataplanes.contract import Claim, Dataplane
from ..dataplanes.subscriber import Subscriber
from ..domain.commands import ChooseFirewall, Command, CreateEndpoint, CreateSandbox, SetSandboxKey
from ..domain.decision import Context, Decision, Guard
from ..domain.errors import DataplaneFault, Invalid, Refusal, Unavailable
from ..domain.events import (
    GLOBAL_DEFAULT,
    ClockStepped,
    Event,
    NetworkCreated,
    Origin,
    PoolAllocated,
    PortBound,
    Recorded,
    device_tag,
)
from ..domain.facts import (
    EVERYTHING,
    NOTHING_SPECIAL,
    Capabilities,
    HostLink,
    HostPorts,
    IpamAnswers,
    NamespaceIdentity,
    TakenBlock,
)
from ..domain.firewalls import candidates, check_firewall, programmed
from ..domain.networks import links_of
from ..domain.ports import is_loopback, obstacle_key
from ..domain.rules import decide
from ..domain.values import HostId, Position, SandboxKind
from ..projections.views import Views
from .compensation import compensate
from .making_way import ways
from .remote import RemoteDrivers
from .requests import Author, is_repetition
from .resolution import with_facts
from .results import Result
from .surroundings import here

CLOCK_STEP_NANOSECONDS = 1_000_000_000
"""How far the clock may be behind the last event before it is recorded."""

PROBE_ROUNDS = 64
"""How many host ports in a row may turn out to be taken by others before a command is refused."""

OWN_NAMESPACE = "/proc/thread-self/ns/net"
"""Asked of a dataplane, which stands in the host's namespace: that one."""

History = Callable[[str], list[Recorded[Event]]]
"""Reads the events of a tag from the log."""


class Batch(Struct):
    """What a batch of commands amounts to: events in order, guards, and for each command its result so far."""

    events: list[Event]
    guards: list[Guard]
    results: list[Result]
    spans: list[tuple[int, int]]
    """For each command, which of the events are its own."""


class Directories(NamedTuple):
    """Where what belongs to sandboxes is put by default: namespaces are mounted, files are written."""

    namespaces: Path
    state: Path


class Decider:
    """Decide batches of commands for one host."""

    def __init__(
        self,
        views: Views,
        host: HostId,
        instance: str,
        directories: Directories,
        dataplane: Dataplane | None,
        subscriber: Subscriber | None,
        history: History,
        remote: RemoteDrivers,
    ) -> None:
        self._views = views
        self._host = host
        self._instance = instance
        self._directories = directories
        self._dataplane = dataplane
        self._subscriber = subscriber
        self._history = history
        self.remote = remote
        """The drivers of other processes, which are asked before a command is decided."""
        self._capabilities: tuple[str, Capabilities] | None = None
        """With which firewall: the log's choice may be newer than the dataplane's."""
        self._taken_blocks: tuple[TakenBlock, ...] | None = None
        """What the host uses, as it was found for the batch that is being decided."""
        self._host_ports: HostPorts | None = None
        """What the host says about its ports, as it was found for that batch."""

    def start_over(self, views: Views) -> None:
        """Go on with other views."""
        self._views = views

    def decide(self, commands: Sequence[Command], author: Author) -> Batch:
        """Decide all commands and fold what they amount to; a refused one leaves no trace in the views."""
        batch, obstacles = Batch([], [], [], []), dict[str, str]()
        self._taken_blocks = self._host_ports = None
        now = here().now()
        for index, command in enumerate(commands):
            self._decide_next(batch, index, command, author, now, obstacles)
        return batch

    def decide_undoing(self, failed: Sequence[tuple[Result, Author]]) -> Batch:
        """Decide to take commands back, each with the author of what undoes it, in this order and all in one batch."""
        batch, obstacles = Batch([], [], [], []), dict[str, str]()
        now = here().now()
        for result, author in failed:
            reverse = compensate(result, self._views)
            if reverse is not None:
                self._decide_next(batch, 0, reverse, author, now, obstacles)
        return batch

    def fold(self, position: Position, event: Event) -> None:
        """Fold one event, taking notice of what it touches."""
        if self._subscriber is not None:
            self._subscriber.note(event)
        self._views.fold(position, event)

    def _decide_next(
        self, batch: Batch, index: int, command: Command, author: Author, now: int, obstacles: dict[str, str]
    ) -> None:
        """Decide one more command of a batch, seeing what the earlier ones decided, and take in its events."""
        origin = Origin(now, author.actor, author.field(index, command), author.reason, self._host)
        begin = len(batch.events)
        result, decision = self._one(index, command, author, origin, obstacles)
        if result.error is not None and self._make_way(batch, index, result, author, origin):
            result, decision = self._one(index, command, author, origin, obstacles)
        result.ways += sum(not isinstance(event, ClockStepped) for event in batch.events[begin:])
        for stepped in clock_steps(self._views.last_at, decision.events):
            self._take_in(batch, stepped)
        first = begin + sum(isinstance(event, ClockStepped) for event in batch.events[begin:])  # it stands before all
        for event in decision.events:
            self._take_in(batch, event)
        batch.guards.extend(decision.guards)
        batch.results.append(result)
        batch.spans.append((first, len(batch.events)))

    def _one(
        self, index: int, command: Command, author: Author, origin: Origin, obstacles: dict[str, str]
    ) -> tuple[Result, Decision]:
        """Decide one command; what refuses it, or a fault in asking the host, is its own and no other's."""
        guards: tuple[Guard, ...] = ()
        try:
            if author.is_named:
                earlier = self._not_taken_back(author, index)
                if is_repetition(earlier, origin.request, type(command).__name__):
                    ways = self._ways_before(author, index, earlier[0].position)
                    events, faulty = (*ways, *earlier), self._still_faulty(earlier)
                    return Result(command, events, faulty, is_repetition=True, ways=len(ways)), Decision(())
                guards = (Guard((author.tag(index),)),)
            completed, answers = self.remote.ask(index, self._complete(command), self._views)
            decision = self._decide_with_facts(completed, answers, origin, obstacles)
        except (Refusal, DataplaneFault) as error:
            return Result(command, error=error), Decision(())
        return Result(command), Decision(decision.events, (*guards, *decision.guards))

    def _make_way(self, batch: Batch, index: int, refused: Result, author: Author, origin: Origin) -> bool:
        """End what is in a refused command's way and is proven to be nobody's; whether there was anything."""
        assert refused.error is not None, "only a refused command finds something in its way"
        made = False
        with suppress(DataplaneFault):  # without an answer there is no proof
            for number, command in enumerate(ways(self._views, self._dataplane, refused.command, refused.error)):
                mine = origin._replace(request=author.way(index, number))
                decision = decide(self._views, command, Context(mine, self._instance))
                for stepped in clock_steps(self._views.last_at, decision.events):
                    self._take_in(batch, stepped)
                for event in decision.events:
                    self._take_in(batch, event)
                batch.guards.extend(decision.guards)
                made = made or bool(decision.events)
        return made

    def _still_faulty(self, earlier: Sequence[Recorded[Event]]) -> DataplaneFault | None:
        """Say what of an earlier request's work is not in the kernel to this day."""
        owed = self._views.faults.of({entity for record in earlier for entity in record.event.touched()})
        if owed is None:
            return None
        position = earlier[0].position
        return DataplaneFault(owed.event.key, owed.event.message, number=owed.event.number, position=position)

    def _not_taken_back(self, author: Author, index: int) -> list[Recorded[Event]]:
        """Read what this request did before, unless it was compensated since."""
        taken_back = self._history(author.undoing(index).tag(0))
        since = taken_back[-1].position if taken_back else 0
        return [record for record in self._history(author.tag(index)) if record.position > since]

    def _ways_before(self, author: Author, index: int, position: Position) -> list[Recorded[Event]]:
        """Read what made way for this request right before its first event, and not at an attempt that was refused."""
        made: dict[int, Recorded[Event]] = {}
        for number in itertools.count():
            of_one = self._history(f"request:{author.way(index, number)}")
            made |= {int(record.position): record for record in of_one}
            if not of_one:
                break
        first = next(there for there in itertools.count(position, -1) if there - 1 not in made)
        return [made[there] for there in range(first, position)]

    def _complete(self, command: Command) -> Command:
        """Add the facts that a command needs and its caller cannot know."""
        if isinstance(command, SetSandboxKey) and command.identity is None:
            asked = f"set the key of sandbox {command.sandbox[:12]}"
            return structs.replace(command, identity=self._identify(command.path, asked))
        if isinstance(command, ChooseFirewall) and command.lacking is None and self._dataplane is not None:
            return structs.replace(command, lacking=self._lacking(command.asked, self._dataplane))
        if not isinstance(command, CreateSandbox):
            return command
        if command.resolution is not None:
            files = with_facts(command.resolution, command.sandbox, self._directories.state)
            command = structs.replace(command, resolution=files)
        if command.identity is not None:
            return command
        asked = f"create sandbox for container {command.container!r}"
        if command.kind is SandboxKind.MANAGED:
            if command.path:
                raise Invalid(asked, "a path is given and the sandbox is a managed one", "make it an attached one")
            return structs.replace(command, path=f"{self._directories.namespaces}/{command.sandbox}")
        return structs.replace(command, identity=self._identify(command.path, asked))

    def _lacking(self, asked: str, dataplane: Dataplane) -> dict[str, str]:
        """Ask the host why firewalls cannot be used: the candidates up to the first that can, and those to be left."""
        check_firewall(asked)
        lacking: dict[str, str] = {}
        for name in candidates(self._views, self._host, asked):
            lacking[name] = dataplane.capabilities(name).lacks("firewall") or ""
            if not lacking[name]:
                break
        for name in programmed(self._views, self._host):
            if name not in lacking:
                lacking[name] = dataplane.capabilities(name).lacks("firewall") or ""
        return lacking

    def _identify(self, path: str, asked: str) -> NamespaceIdentity | None:
        """Identify a namespace that is not ours; refuse the host's own."""
        if not path or self._dataplane is None:
            return None
        identity = self._dataplane.identify(path)
        if identity is not None and identity == self._dataplane.identify(OWN_NAMESPACE):
            raise Invalid(asked, f"{path} is the host's own network namespace", "give the container's")
        return identity

    def _take_in(self, batch: Batch, event: Event) -> None:
        batch.events.append(event)
        self.fold(Position(self._views.position + 1), event)

    def _decide_with_facts(
        self, command: Command, answers: IpamAnswers | None, origin: Origin, obstacles: dict[str, str]
    ) -> Decision:
        links = self._links(links_of(self._views, self._host, command))
        blocks: tuple[TakenBlock, ...] = ()
        ports = self._ask_about_ports() if _chooses_port(command) else NOTHING_SPECIAL
        for _ in range(PROBE_ROUNDS):
            known = self._known_capabilities()
            context = Context(origin, self._instance, known, obstacles, links, blocks, answers, ports)
            decision = decide(self._views, command, context)
            if not blocks and any(map(_is_chosen_block, decision.events)):
                blocks = self._blocks_in_use()
                if blocks:
                    continue
            if ports is NOTHING_SPECIAL and any(map(_is_delicate_port, decision.events)):
                ports = self._ask_about_ports()
                if ports != NOTHING_SPECIAL:
                    continue
            found = self._probe(decision.events)
            if not found.keys() - obstacles.keys():
                return decision
            obstacles.update(found)
        raise Unavailable(type(command).__name__, f"{PROBE_ROUNDS} host ports in a row were taken by other processes")

    def _links(self, names: Sequence[str]) -> Mapping[str, HostLink] | None:
        if self._dataplane is None:
            return None
        return self._dataplane.links(names) if names else {}

    def _probe(self, events: Sequence[Event]) -> Mapping[str, str]:
        if self._dataplane is None:
            return {}
        claims = dict(_claims(self._host, events))
        found = self._dataplane.probe(tuple(claims)) if claims else {}
        return {claims[claim]: holder for claim, holder in found.items()}

    def _blocks_in_use(self) -> tuple[TakenBlock, ...]:
        """Ask the host, once a batch, which addresses it uses: a block that is chosen avoids them."""
        if self._taken_blocks is None:
            self._taken_blocks = tuple(self._dataplane.taken_blocks()) if self._dataplane is not None else ()
        return self._taken_blocks

    def _ask_about_ports(self) -> HostPorts:
        """Ask the host, once a batch, what is special about its ports."""
        if self._host_ports is None:
            self._host_ports = self._dataplane.host_ports() if self._dataplane is not None else NOTHING_SPECIAL
        return self._host_ports

    def _known_capabilities(self) -> Capabilities:
        if self._dataplane is None:
            return EVERYTHING
        chosen = self._views.firewall(self._host)
        firewall = chosen.event.backend if chosen is not None else self._dataplane.firewall
        if self._capabilities is None or self._capabilities[0] != firewall:
            is_in_use = firewall == self._dataplane.firewall
            known = self._dataplane.capabilities() if is_in_use else self._dataplane.capabilities(firewall)
            self._capabilities = firewall, known
        return self._capabilities[1]


def _is_chosen_block(event: Event) -> bool:
    """Whether a block was chosen that a host of its own may be using already."""
    return isinstance(event, PoolAllocated) and event.predefined and event.space != GLOBAL_DEFAULT


def _chooses_port(command: Command) -> bool:
    """Whether a host port is to be chosen, which depends on what the host says about its ports."""
    return isinstance(command, CreateEndpoint) and any(not port.host_port for port in command.ports)


def _is_delicate_port(event: Event) -> bool:
    """Whether a port is to be reached at ::1, which the host may not let."""
    return isinstance(event, PortBound) and is_loopback(event.host_address)


def clock_steps(last_at: int, events: Sequence[Event]) -> list[ClockStepped]:
    """Say that the clock went back before these events, if it did since `last_at` by more than a writer may lag.

    Whoever looks for a time in the log relies on it: between two such events the log's times hardly ever go back.
    """
    back = last_at - events[0].at if events else 0
    if back <= CLOCK_STEP_NANOSECONDS:
        return []
    first = events[0]
    request = f"{first.request.rpartition('/')[0]}/clock"
    return [ClockStepped(first.at, first.actor, request, "", first.host, back=back)]


def _claims(host: HostId, events: Sequence[Event]) -> Iterator[tuple[Claim, str]]:
    """List what events take from the host, with the key under which an obstacle is known."""
    for event in events:
        if isinstance(event, NetworkCreated) and event.device:
            yield Claim(device=event.device), device_tag(host, event.device)
        elif isinstance(event, PortBound):
            claim = Claim(protocol=event.protocol, host_address=event.host_address, host_port=event.host_port)
            yield claim, obstacle_key(host, event.protocol, event.host_address, event.host_port)
