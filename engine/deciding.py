"""Deciding: commands against the views, one after the other, each seeing what the earlier ones decided.

Keeps: what is folded here is speculative until the caller commits it; the host is asked before anything is decided
that claims a name or a port of it. Knows nothing of: the log's transaction, kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from ..dataplanes.contract import Claim, Dataplane
from ..dataplanes.subscriber import Subscriber
from ..domain.commands import Command, CreateSandbox
from ..domain.decision import Context, Decision, Guard
from ..domain.errors import Refusal, Unavailable
from ..domain.events import (
    ClockStepped,
    Event,
    NetworkCreated,
    Origin,
    PortBound,
    Recorded,
    device_tag,
    port_tag,
)
from ..domain.facts import EVERYTHING, Capabilities
from ..domain.rules import decide
from ..domain.values import HostId, Position, SandboxKind
from ..projections.views import Views
from .requests import Author, is_repetition
from .results import Result

CLOCK_STEP_NANOSECONDS = 1_000_000_000
"""How far the clock may be behind the last event before it is recorded."""

PROBE_ROUNDS = 64
"""How many host ports in a row may turn out to be taken by others before a command is refused."""

History = Callable[[str], list[Recorded[Event]]]
"""Reads the events of a tag from the log."""


class Batch(Struct):
    """What a batch of commands amounts to: events in order, guards, and for each command its result so far."""

    events: list[Event]
    guards: list[Guard]
    results: list[Result]
    spans: list[tuple[int, int]]
    """For each command, which of the events are its own."""


class Decider:
    """Decide batches of commands for one host."""

    def __init__(
        self,
        views: Views,
        host: HostId,
        instance: str,
        directory: Path,
        dataplane: Dataplane | None,
        subscriber: Subscriber | None,
        history: History,
    ) -> None:
        self._views = views
        self._host = host
        self._instance = instance
        self._directory = directory
        self._dataplane = dataplane
        self._subscriber = subscriber
        self._history = history
        self._capabilities: Capabilities | None = None

    def start_over(self, views: Views) -> None:
        """Go on with other views."""
        self._views = views

    def decide(self, commands: Sequence[Command], author: Author) -> Batch:
        """Decide all commands and fold what they amount to; a refused one leaves no trace in the views."""
        now = time.time_ns()
        batch = Batch([], [], [], [])
        obstacles: dict[str, str] = {}
        behind = self._views.last_at - now
        if behind > CLOCK_STEP_NANOSECONDS:
            self._take_in(
                batch, ClockStepped(now, author.actor, f"{author.request}/clock", "", self._host, back=behind)
            )
        for index, command in enumerate(commands):
            first = len(batch.events)
            batch.results.append(self._one(batch, index, command, author, now, obstacles))
            batch.spans.append((first, len(batch.events)))
        return batch

    def fold(self, position: Position, event: Event) -> None:
        """Fold one event, taking notice of what it touches."""
        if self._subscriber is not None:
            self._subscriber.note(event)
        self._views.fold(position, event)

    def _one(
        self, batch: Batch, index: int, command: Command, author: Author, now: int, obstacles: dict[str, str]
    ) -> Result:
        origin = Origin(now, author.actor, author.field(index, command), author.reason, self._host)
        try:
            if author.is_named:
                earlier = self._not_taken_back(author, index)
                if is_repetition(earlier, origin.request, type(command).__name__):
                    return Result(command, tuple(earlier), is_repetition=True)
                batch.guards.append(Guard((author.tag(index),)))
            decision = self._decide_with_facts(self._complete(command), origin, obstacles)
        except Refusal as refusal:
            return Result(command, error=refusal)
        batch.guards.extend(decision.guards)
        for event in decision.events:
            self._take_in(batch, event)
        return Result(command)

    def _not_taken_back(self, author: Author, index: int) -> list[Recorded[Event]]:
        """Read what this request did before, unless it was compensated since."""
        taken_back = self._history(author.undoing(index).tag(0))
        since = taken_back[-1].position if taken_back else 0
        return [record for record in self._history(author.tag(index)) if record.position > since]

    def _complete(self, command: Command) -> Command:
        """Add the facts that a command needs and its caller cannot know."""
        if not isinstance(command, CreateSandbox) or command.identity is not None:
            return command
        if command.kind is SandboxKind.MANAGED:
            return structs.replace(command, path=command.path or f"{self._directory}/{command.sandbox}")
        if command.path and self._dataplane is not None:
            return structs.replace(command, identity=self._dataplane.identify(command.path))
        return command

    def _take_in(self, batch: Batch, event: Event) -> None:
        batch.events.append(event)
        self.fold(Position(self._views.position + 1), event)

    def _decide_with_facts(self, command: Command, origin: Origin, obstacles: dict[str, str]) -> Decision:
        for _ in range(PROBE_ROUNDS):
            context = Context(origin, self._instance, self._known_capabilities(), obstacles)
            decision = decide(self._views, command, context)
            found = self._probe(decision.events)
            if not found.keys() - obstacles.keys():
                return decision
            obstacles.update(found)
        raise Unavailable(type(command).__name__, f"{PROBE_ROUNDS} host ports in a row were taken by other processes")

    def _probe(self, events: Sequence[Event]) -> Mapping[str, str]:
        if self._dataplane is None:
            return {}
        claims = dict(_claims(self._host, events))
        found = self._dataplane.probe(tuple(claims)) if claims else {}
        return {claims[claim]: holder for claim, holder in found.items()}

    def _known_capabilities(self) -> Capabilities:
        if self._capabilities is None:
            self._capabilities = self._dataplane.capabilities() if self._dataplane is not None else EVERYTHING
        return self._capabilities


def _claims(host: HostId, events: Sequence[Event]) -> Iterator[tuple[Claim, str]]:
    """List what events take from the host, with the tag under which an obstacle is known."""
    for event in events:
        if isinstance(event, NetworkCreated) and event.device:
            yield Claim(device=event.device), device_tag(host, event.device)
        elif isinstance(event, PortBound):
            claim = Claim(protocol=event.protocol, host_address=event.host_address, host_port=event.host_port)
            yield claim, port_tag(host, event.protocol, event.host_port)
