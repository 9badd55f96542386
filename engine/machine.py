"""The machine: decide, append, apply; the one path that every change takes.

Keeps: nothing is applied or told before it is durable; the views are the fold of the log in log order, and hold no
speculative event when a call returns or raises. Not thread-safe: the `Controller` holds its lock around every call.
Knows nothing of: names, facades, command lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..dataplanes.contract import Dataplane, Plan, Verb
from ..dataplanes.plan import describe
from ..dataplanes.subscriber import Advance, Fault, Subscriber
from ..domain.commands import Command
from ..domain.decision import Guard
from ..domain.errors import DataplaneFault, LedgerConflict, NetledgerError, Unavailable
from ..domain.events import DataplaneFaulted, Event, Origin, Recorded
from ..domain.values import HostId, Position
from ..ledger.ledger import Ledger
from ..projections.views import Views
from .compensation import blame, cause, compensate
from .deciding import Batch, Decider
from .requests import Author
from .results import Result

APPEND_ATTEMPTS = 8


class Machine(Struct):
    """One log, its views, and the dataplane of one host (None: events only)."""

    ledger: Ledger
    views: Views
    host: HostId
    dataplane: Dataplane | None
    subscriber: Subscriber | None
    cursor: str
    """The name under which the log keeps how far the dataplane is; empty where that is not kept."""
    decider: Decider

    def catch_up(self) -> None:
        """Fold what others have appended."""
        for record in self.ledger.read(after=self.views.position):
            self.decider.fold(record.position, record.event)

    def execute(self, commands: Sequence[Command], author: Author) -> list[Result]:
        """Carry out a batch of commands; one result each."""
        results = self._commit(commands, author)
        if self.subscriber is not None:
            advance = self.subscriber.advance()
            self._keep_cursor()
            if advance.faults:
                self._answer_faults(results, advance.faults, author)
        return results

    def record(self, events: Sequence[Event]) -> list[Recorded[Event]]:
        """Append events that need no deciding: what the dataplane did or met."""
        self.catch_up()
        last = self.ledger.append(events, (), self.views.position)
        self.catch_up()
        return [Recorded(Position(last - len(events) + 1 + index), event) for index, event in enumerate(events)]

    def recover(self) -> Advance | None:
        """Apply what a process that died may have left undone; None without a dataplane."""
        if self.subscriber is None:
            return None
        advance = self.subscriber.advance()
        self._keep_cursor()
        return advance

    def carry_out(self, plan: Plan) -> Advance:
        """Apply a plan that was made by observing."""
        assert self.subscriber is not None, "a plan is carried out on a dataplane"
        advance = self.subscriber.carry_out(plan)
        self._keep_cursor()
        return advance

    def origin(self, author: Author, at: int) -> Origin:
        """Say where events come from that no command asked for."""
        return Origin(at, author.actor, f"{author.request}/-", author.reason, self.host)

    def record_faults(self, faults: Sequence[Fault], author: Author) -> None:
        """Append what the dataplane could not do."""
        origin = self.origin(author, max(self.views.last_at, 0))
        self.record(
            [
                DataplaneFaulted(
                    *origin,
                    owner=fault.owner,
                    key=fault.outcome.step.key,
                    verb="remove" if fault.outcome.step.verb is Verb.REMOVE else "make",
                    number=_fault_of(fault).number,
                    message=_fault_of(fault).message,
                )
                for fault in faults
            ]
        )

    def _commit(self, commands: Sequence[Command], author: Author) -> list[Result]:
        """Decide and append; on another writer's conflicting event, all again."""
        for _ in range(APPEND_ATTEMPTS):
            self.catch_up()
            before = self.views.position
            self._begin()
            try:
                batch = self.decider.decide(commands, author)
                if not batch.events:
                    self._undo()
                    return batch.results
                last = self.ledger.append(batch.events, _distinct(batch.guards), before)
            except LedgerConflict:
                self._undo()
                continue
            except BaseException:
                self._undo()
                raise
            self._settle_positions(batch, before, last)
            return batch.results
        raise Unavailable(
            f"{len(commands)} command(s)",
            f"other writers of this log were first {APPEND_ATTEMPTS} times in a row",
            "try again",
        )

    def _settle_positions(self, batch: Batch, before: Position, last: Position) -> None:
        """Keep the speculative fold, or fold in log order where others' events came in between."""
        first = last - len(batch.events) + 1
        if first == before + 1:
            self.views.commit()
        else:
            self._undo()
            self.catch_up()
        for result, (begin, end) in zip(batch.results, batch.spans, strict=True):
            if not result.is_repetition:
                result.events = tuple(
                    Recorded(Position(first + index), batch.events[index]) for index in range(begin, end)
                )

    def _answer_faults(self, results: list[Result], faults: Sequence[Fault], author: Author) -> None:
        """Record faults, take back what failed, and tell each command what became of it."""
        self.record_faults(faults, author)
        blamed = blame(results, faults)
        for index, fault in blamed.items():
            results[index].error = _told(fault, results[index])
        for result in results:
            result.faults = tuple(fault for fault in faults if fault.outcome.step.verb is Verb.REMOVE)
        for index in sorted(blamed, reverse=True):
            reverse = compensate(results[index].command)
            if reverse is None:
                continue
            reason = cause(blamed[index], results[index].events)
            again = author.undoing(index, reason)
            undone = self._commit([reverse], again)[0]
            assert self.subscriber is not None, "a fault comes from a dataplane"
            advance = self.subscriber.advance()
            self._keep_cursor()
            errors: list[NetledgerError] = [undone.error] if undone.error else []
            if advance.faults:
                self.record_faults(advance.faults, again)
                errors += [_fault_of(fault) for fault in advance.faults]
            if errors:
                first = results[index].error
                assert first is not None, "a blamed command has an error"
                raise ExceptionGroup(f"{reason}; and so did taking it back", [first, *errors])

    def _begin(self) -> None:
        self.views.begin()
        if self.subscriber is not None:
            self.subscriber.begin()

    def _undo(self) -> None:
        self.views.undo()
        if self.subscriber is not None:
            self.subscriber.undo()

    def _keep_cursor(self) -> None:
        if self.cursor and self.subscriber is not None:
            self.ledger.set_cursor(self.cursor, self.subscriber.applied)


def describe_faults(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Write faults, a line each, with the step that met them."""
    lines = describe(fault.outcome.step for fault in faults)
    return tuple(f"{line}: {_fault_of(fault).message}" for line, fault in zip(lines, faults, strict=True))


def _fault_of(fault: Fault) -> DataplaneFault:
    assert fault.outcome.fault is not None, "an outcome that is a fault says why"
    return fault.outcome.fault


def _told(fault: Fault, result: Result) -> DataplaneFault:
    original = _fault_of(fault)
    position = result.events[0].position if result.events else 0
    return DataplaneFault(
        original.key, original.message, number=original.number, retryable=original.retryable, position=position
    )


def _distinct(guards: Sequence[Guard]) -> list[Guard]:
    return list(dict.fromkeys(guards))
