"""The machine: decide, append, apply; the one path that every change takes.

Keeps: nothing is applied or told before it is durable; the views are the fold of the log in log order, and hold no
speculative event when a call returns or raises. Not thread-safe: the `Controller` holds its lock around every call.
Knows nothing of: names, facades, command lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ..dataplanes.contract import Dataplane, Plan, Step, Verb
from ..dataplanes.plan import describe
from ..dataplanes.subscriber import Advance, Fault, Subscriber
from ..domain.commands import ChooseFirewall, Command
from ..domain.decision import Guard
from ..domain.errors import DataplaneFault, LedgerConflict, NetledgerError, Unavailable
from ..domain.events import DataplaneFaulted, DriftDetected, DriftRepaired, Event, Origin, Recorded, SandboxCreated
from ..domain.objects import is_of_firewall
from ..domain.values import NOWHERE, HostId, Position, SandboxKind
from ..ledger.ledger import Ledger
from ..projections.views import Views
from .compensation import blame, cause
from .deciding import Batch, Decider, clock_steps
from .firewalls import is_to_move, move
from .requests import Author
from .results import Result
from .returning import return_owed, settle
from .surroundings import here

APPEND_ATTEMPTS = 8
FOUND_BY_A_CHANGE = "a change found that the firewall was not whole"


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
    is_torn: bool = False
    """Whether the views may be those of no position: an interruption may have come while they were changed."""
    firewall_since: Position = NOWHERE
    """Which choice of a firewall the dataplane was last brought to, as far as it went."""
    kept_rules: str = ""
    """Why the rules of a firewall before that one are still there."""

    def catch_up(self) -> None:
        """Fold what others have appended."""
        if self.is_torn:
            self.start_over(in_part=True)
        elif self.ledger.head != self.views.position:
            self.is_torn = True
            self._fold_the_rest()
            self.is_torn = False

    def start_over(self, *, in_part: bool) -> None:
        """Fold the whole log; `in_part`: what is not known to be applied may have been, in part."""
        self.is_torn = True
        self.views = Views()
        self.decider.start_over(self.views)
        if self.subscriber is not None:
            for record in self.ledger.read(until=self.subscriber.applied):
                self.views.fold(record.position, record.event)
            self.subscriber.start_over(self.views, in_part=in_part)
        self._fold_the_rest()
        self.is_torn = False

    def execute(self, commands: Sequence[Command], author: Author) -> list[Result]:
        """Carry out a batch of commands; one result each."""
        results = self.commit(commands, author)
        if self.subscriber is not None:
            advance = self.advance(author)
            if advance.faults:
                self._answer_faults(results, advance.faults, author)
        return_owed(self, author)
        return results

    def advance(self, author: Author) -> Advance:
        """Apply what is not applied yet, and move the host if another firewall was chosen for it."""
        return move(self, author) if is_to_move(self) else self.apply(author)

    def make_firewall(self, author: Author) -> Advance:
        """Program the firewall, and nothing else, as the log calls for it."""
        assert self.subscriber is not None, "a dataplane has a firewall"
        return self._recorded(self.subscriber.applied, self.subscriber.make_firewall(), author)

    def apply(self, author: Author) -> Advance:
        """Apply what is not applied yet, and record what could not be and what was mended."""
        assert self.subscriber is not None, "there is a dataplane to bring up to date"
        return self._recorded(self.subscriber.applied, self.subscriber.advance(), author)

    def commit(self, commands: Sequence[Command], author: Author) -> list[Result]:
        """Decide and append; on another writer's conflicting event, all again. The dataplane does not hear of it.

        What remote drivers gave and no event kept has been given back when it returns or raises, or is owed to them.
        """
        return self._commit(lambda: self.decider.decide(commands, author), len(commands), author)

    def _commit(self, decide: Callable[[], Batch], count: int, author: Author) -> list[Result]:
        try:
            results = self._append(decide, count)
        except BaseException as error:
            try:
                settle(self, [], author)
            except NetledgerError as second:
                error.add_note(f"and what remote drivers gave for it could not be noted as owed to them: {second}")
            raise
        settle(self, results, author)
        return results

    def _append(self, decide: Callable[[], Batch], count: int) -> list[Result]:
        for _ in range(APPEND_ATTEMPTS):
            self.catch_up()
            before = self.views.position
            self._begin()
            try:
                batch = decide()
                self._announce(batch)
                last = self.ledger.append(batch.events, _distinct(batch.guards), before) if batch.events else None
            except LedgerConflict:
                self._undo()
                continue
            except BaseException:
                self._undo()
                raise
            if last is None:
                self._undo()
            else:
                self._settle_positions(batch, before, last)
            return batch.results
        raise Unavailable(
            f"{count} command(s)",
            f"other writers of this log were first {APPEND_ATTEMPTS} times in a row",
            "try again",
        )

    def record(self, events: Sequence[Event]) -> list[Recorded[Event]]:
        """Append events that need no deciding: what the dataplane did or met."""
        self.catch_up()
        stepped = clock_steps(self.views.last_at, events)
        last = self.ledger.append([*stepped, *events], (), self.views.position)
        self.catch_up()
        return [Recorded(Position(last - len(events) + 1 + index), event) for index, event in enumerate(events)]

    def carry_out(self, plan: Plan, author: Author, mended: Callable[[Origin, Plan], Event] | None = None) -> Advance:
        """Apply a plan that was made by observing. `mended` writes the one event that it was, if nothing failed."""
        assert self.subscriber is not None, "a plan is carried out on a dataplane"
        return self._recorded(self.subscriber.applied, self.subscriber.carry_out(plan), author, mended)

    def origin(self, author: Author, at: int) -> Origin:
        """Say where events come from that no command asked for."""
        return Origin(at, author.actor, f"{author.request}/-", author.reason, self.host)

    def _recorded(
        self,
        before: Position,
        advance: Advance,
        author: Author,
        mended: Callable[[Origin, Plan], Event] | None = None,
    ) -> Advance:
        """Make the faults of an advance durable before it counts as applied: one that is forgotten is never mended."""
        assert self.subscriber is not None, "an advance comes from a subscriber"
        try:
            if advance.restored:
                self._record_restored(advance, author)
            self._record_faults(advance.faults, author)
            if mended is not None and advance.plan.steps and not advance.faults:
                self.record([mended(self.origin(author, here().now()), advance.plan)])
            elif advance.mended:
                self.note_mended(advance.mended, author)
        except BaseException:
            self.subscriber.applied = before
            self.is_torn = True
            raise
        self.keep_cursor()
        return advance

    def _record_restored(self, advance: Advance, author: Author) -> None:
        """Append that a change found the firewall taken away, and that it was made again, if it was.

        Where something else is still owed to the host, it is not mended before that is.
        """
        assert self.subscriber is not None, "only a subscriber restores"
        lines = describe(advance.restored)
        origin = self.origin(author, here().now())._replace(reason=FOUND_BY_A_CHANGE)
        restored = {step.key for step in advance.restored}
        is_whole = not any(fault.outcome.step.key in restored for fault in advance.faults) and not self.subscriber.owes
        found = [DriftDetected(*origin, differences=lines)]
        self.record([*found, *([DriftRepaired(*origin, repairs=lines)] if is_whole else [])])

    def _record_faults(self, faults: Sequence[Fault], author: Author) -> None:
        """Append what the dataplane could not do, unless the log has it from an earlier attempt."""
        origin = self.origin(author, here().now())
        met = [
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
        fresh = [event for event in met if not self.views.faults.has(event)]
        if fresh:
            self.record(fresh)

    def note_mended(self, steps: Sequence[Step], author: Author) -> None:
        """Record that nothing is owed to the host any more, where something was."""
        if self.subscriber is not None and not self.subscriber.owes and self.views.faults.owes(self.host):
            self.record([DriftRepaired(*self.origin(author, here().now()), repairs=describe(steps))])

    def _announce(self, batch: Batch) -> None:
        """Let the dataplane use the time that the log's disk takes."""
        if self.dataplane is not None and any(
            isinstance(event, SandboxCreated) and event.kind is SandboxKind.MANAGED for event in batch.events
        ):
            self.dataplane.make_ready()

    def _settle_positions(self, batch: Batch, before: Position, last: Position) -> None:
        """Keep the speculative fold, or fold in log order where others' events came in between."""
        first = last - len(batch.events) + 1
        if first == before + 1:
            self.views.commit()
            self.is_torn = False
        else:
            self._undo()
            self.catch_up()
        for result, (begin, end) in zip(batch.results, batch.spans, strict=True):
            if not result.is_repetition:
                result.events = tuple(
                    Recorded(Position(first + index), batch.events[index]) for index in range(begin, end)
                )

    def _answer_faults(self, results: list[Result], faults: Sequence[Fault], author: Author) -> None:
        """Take back what failed, and tell each command what became of it."""
        blamed = blame(results, faults)
        for index, fault in blamed.items():
            results[index].error = _told(fault, results[index])
        for result in results:
            if result.error is None:
                result.faults = tuple(fault for fault in faults if _is_about(fault, result))
        self._take_back(
            [
                (results[index], author.undoing(index, cause(blamed[index], results[index].own)))
                for index in sorted(blamed, reverse=True)
            ]
        )

    def _take_back(self, failed: Sequence[tuple[Result, Author]]) -> None:
        """Undo the commands that failed, in one append: no crash leaves a batch half taken back.

        Raises an ExceptionGroup of what failed and why it could not be taken back.
        """
        if not failed:
            return
        undone = self._append(lambda: self.decider.decide_undoing(failed), len(failed))
        if not undone:
            return
        errors: list[NetledgerError] = [result.error for result in undone if result.error is not None]
        errors += [_fault_of(fault) for fault in self.advance(failed[0][1]).faults]
        if errors:
            causes = dict.fromkeys(result.error for result, _ in failed if result.error is not None)
            raise ExceptionGroup("what failed could not all be taken back", [*causes, *errors])

    def _fold_the_rest(self) -> None:
        for record in self.ledger.read(after=self.views.position):
            self.decider.fold(record.position, record.event)

    def _begin(self) -> None:
        self.is_torn = True
        self.views.begin()
        if self.subscriber is not None:
            self.subscriber.begin()

    def _undo(self) -> None:
        self.views.undo()
        if self.subscriber is not None:
            self.subscriber.undo()
        self.is_torn = False

    def keep_cursor(self) -> None:
        """Keep how far the dataplane is: before the choice of a firewall as long as it is not brought to that one."""
        if self.cursor and self.subscriber is not None:
            applied, chosen = self.subscriber.applied, self.views.firewall(self.host)
            if chosen is not None and is_to_move(self):
                applied = min(applied, Position(chosen.position - 1))
            self.ledger.set_cursor(self.cursor, applied)


def describe_faults(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Write faults, a line each, with the step that met them."""
    lines = describe(fault.outcome.step for fault in faults)
    return tuple(f"{line}: {_fault_of(fault).message}" for line, fault in zip(lines, faults, strict=True))


def _fault_of(fault: Fault) -> DataplaneFault:
    assert fault.outcome.fault is not None, "an outcome that is a fault says why"
    return fault.outcome.fault


def _told(fault: Fault, result: Result) -> DataplaneFault:
    original = _fault_of(fault)
    position = result.own[0].position if result.own else 0
    return DataplaneFault(
        original.key, original.message, number=original.number, retryable=original.retryable, position=position
    )


def _is_about(fault: Fault, result: Result) -> bool:
    """Whether a fault is of an object that a command's events have to do with."""
    if isinstance(result.command, ChooseFirewall):
        return is_of_firewall(fault.outcome.step.object)
    return any(fault.owner in record.event.touched() for record in result.events)


def _distinct(guards: Sequence[Guard]) -> list[Guard]:
    return list(dict.fromkeys(guards))
