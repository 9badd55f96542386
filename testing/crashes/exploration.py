"""Crash exploration: programs are run, die at every moment at which they can, start anew, and die again.

Keeps: after every death and start no checker finds anything; what was durable is there, completed and with nothing
added; that is the state before the operation in which the process died or the state after it; and the same requests
made again lead to where the program leads without a death. From each world it starts once, so that the exploration
ends: recovering from what recovery left half-done included.
Knows nothing of: how the engine does it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct, structs

from ...dataplanes.contract import Step
from ...dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from ...domain.errors import DataplaneFault
from ...domain.events import DataplaneFaulted, DriftRepaired, FirewallRetired
from ...engine.controller import Controller
from ...engine.results import Result
from ...ledger import sqlite_file
from ...ledger.ledger import Ledger
from ...projections.views import Views
from ..checkers import check_everything
from . import writes
from .alphabet import ALPHABET, GROUND, Operation
from .camera import Camera, Picture
from .tally import CrashFound, Tally
from .worlds import LEDGER, LOG, NAMED, Description, World, describe_state, difference, essence, files_in, fingerprint

Program: TypeAlias = tuple[Operation, ...]

BOOKKEEPING = (DataplaneFaulted, DriftRepaired, FirewallRetired)
"""What a start may add to the log: what it could not do, and that it has mended what could not be done, or finished a
move of the firewall."""

DEATHS = 12
"""So many deaths one after the other are more than any exploration comes to."""

FULL = 64
"""Of so many torn files one is gone on from with the rest of its program; the others are opened and read."""

LEDGER_ID = "c4a5" * 8
"""What is done in the kernel goes by the ledger's id: a known one makes every exploration the same."""

QUICK_PLACE = "/dev/shm"  # noqa: S108  # a directory of our own is made in it


class _Task(Struct, frozen=True, eq=False):
    """A world to start from, the program, how many of its operations were done, and the deaths that led there.

    `has_failed`: the fault of the operation under way was met, and will not be met again. `is_struck`: the start itself
    meets it.
    """

    world: World
    program: Program
    done: int = 0
    deaths: tuple[str, ...] = ()
    has_failed: bool = False
    is_struck: bool = False
    may_hold_more: bool = False
    """See `Picture`."""


class _Foreseen(Struct, frozen=True):
    """What a program comes to, and which commands of its last operation are refused."""

    state: Description
    refused: tuple[bool, ...]


class Exploration:
    """Explores the programs of some length that begin in one way; what was tried adds up in `tally`.

    Worlds that programs have in common are started from once, going on with one of those programs, each time another.
    `is_checkpointed`: before each operation the write-ahead log is checkpointed, so that every append begins it anew.
    `is_thorough`: the rest of the program is run on every kind of torn file, and faults are met by starts, too.
    """

    def __init__(
        self, alphabet: Sequence[Operation] = ALPHABET, *, is_checkpointed: bool = False, is_thorough: bool = False
    ) -> None:
        self.tally = Tally(Counter())
        self._alphabet = tuple(alphabet)
        self._is_checkpointed = is_checkpointed
        self._is_thorough = is_thorough
        self._directory = Path()
        self._length = 0
        self._tasks: list[_Task] = []
        self._torn: list[_Task] = []
        self._begun: set[tuple[object, ...]] = set()
        self._copies: dict[bytes, SimulatedKernel] = {}
        self._foreseen: dict[tuple[str, ...], _Foreseen] = {}

    def explore(self, *beginning: Operation, length: int) -> None:
        """Try every death in the programs of this length; raise `CrashFound` for the first that is not made good."""
        with tempfile.TemporaryDirectory(prefix="netledger-crashes-", dir=_quick_place()) as directory:
            self._directory = Path(directory)
            self._length = length
            self._tasks = []
            ground = lay_ground(self._directory / "ground")
            for rest in itertools.product(self._alphabet, repeat=length - len(beginning)):
                program = (*beginning, *rest)
                self.tally.programs += 1
                self._foresee(ground, program)
                self._tasks.append(_Task(ground, program))
            while self._tasks:
                self._go_on(self._tasks.pop())

    # --- what is to come

    def _foresee(self, ground: World, program: Program) -> None:
        """Run a program with neither deaths nor faults: what it comes to is what is expected of it."""
        directory = self._directory / f"foreseen{self.tally.programs}"
        dataplane = SimulatedDataplane(ground.lay_out(directory))
        with Controller.open(directory, dataplane=dataplane, synchronous="NORMAL") as controller:
            self._foreseen[()] = _Foreseen(describe_state(controller.views), ())
            for place, operation in enumerate(program):
                results = _ask(controller, operation, place)
                refused = tuple(result.error is not None for result in results)
                self._foreseen[_names(program[: place + 1])] = _Foreseen(describe_state(controller.views), refused)

    def _expected(self, program: Program, done: int) -> Description:
        """Say what a program comes to with its first operations."""
        return self._foreseen[_names(program[:done])].state

    # --- a run

    def _go_on(self, task: _Task) -> None:
        self.tally.worlds += 1
        self.tally.deepest = max(self.tally.deepest, len(task.deaths))
        assert len(task.deaths) <= DEATHS, "each start goes on from where the last one was"
        directory = self._directory / str(self.tally.worlds)
        try:
            self._run(task, directory)
        except Exception as error:
            raise CrashFound(_report(task, error)) from error
        finally:
            shutil.rmtree(directory)
        while self._torn:  # not earlier: the camera was on
            self._go_on_from_torn(self._torn.pop())

    def _run(self, task: _Task, directory: Path) -> None:
        """Start in a world and go through with the program; every moment of it is a death to be tried."""
        stage = _Stage(task)
        kernel = task.world.lay_out(directory)
        camera = Camera(
            directory,
            kernel,
            task.world,
            keep=lambda picture: self._keep(picture, stage),
            cuts=lambda before, after: self._is_new(before, after, stage),
            copies=self._copies,
        )
        if task.is_struck:
            stage.fault = task.program[task.done].fault
        with camera.on():
            controller = Controller.open(directory, dataplane=camera.dataplane(stage.meet), synchronous="NORMAL")
            try:
                stage.fault = None
                self._check_start(controller, task)
                if task.is_struck and stage.has_failed:
                    return  # what is owed is tried again by the next start
                for place in range(task.done, self._length):
                    if self._is_checkpointed:
                        _checkpoint(directory)
                        camera.look_again()
                    self._perform(controller, place, stage)
            finally:
                controller.close()

    def _perform(self, controller: Controller, place: int, stage: _Stage) -> None:
        """Carry out an operation; where it meets its fault, see that it is taken back and ask once more."""
        program = stage.task.program
        stage.fault = program[place].fault
        results = _ask(controller, program[place], place)
        stage.fault = None
        if any(isinstance(result.error, DataplaneFault) for result in results):
            _check(controller, [self._expected(program, place)], "what failed was not taken back")
            results = _ask(controller, program[place], place)
        wanted = self._expected(program, place + 1)
        _check(controller, [wanted], "it does not come to what it comes to without a death")
        for result, was_refused in zip(results, self._foreseen[_names(program[: place + 1])].refused, strict=True):
            assert was_refused or result.error is None, f"asked for again it is refused: {result.error}"
        stage.go_on()

    def _check_start(self, controller: Controller, task: _Task) -> None:
        """Check what a start makes of a world."""
        records = list(controller.history())
        durable = len(task.world.events)
        found = tuple(essence(record.event) for record in records)
        assert found[:durable] == task.world.events, "what was durable is not in the log as it was"
        added = [
            type(record.event).__name__ for record in records[durable:] if not isinstance(record.event, BOOKKEEPING)
        ]
        assert not added, f"the start added {', '.join(added)}"
        views = Views()
        for record in records[:durable]:
            views.fold(record.position, record.event)
        _check(controller, [describe_state(views)], "what was durable was not completed", may_owe=task.is_struck)
        allowed = [self._expected(task.program, done) for done in (task.done, min(task.done + 1, self._length))]
        _check_state(describe_state(views), allowed, "the operation is neither done nor undone")

    # --- deaths

    def _keep(self, picture: Picture, stage: _Stage) -> None:
        """Take up a death: with the rest of the program, unless its world was started from before."""
        self.tally.points[picture.kind] += 1
        operation = stage.operation
        deaths = (*stage.task.deaths, f"in {operation.name if operation else 'the end'}: {picture.where}")
        task = _Task(
            picture.world,
            stage.task.program,
            stage.done,
            deaths,
            stage.has_failed,
            may_hold_more=picture.may_hold_more,
        )
        if picture.world.damage:
            self._torn.append(task)
            return
        self._take_up(task)
        if self._is_thorough and operation is not None and operation.fault is not None and not stage.has_failed:
            self._take_up(structs.replace(task, is_struck=True))

    def _go_on_from_torn(self, task: _Task) -> None:
        """Open a torn log and see what is in it; go on from every one, or from some."""
        self.tally.opened += 1
        is_gone_on_from = self._is_thorough or self.tally.opened % FULL == 0
        directory = self._directory / "torn"
        directory.mkdir()
        world = task.world
        try:
            for name in (LEDGER, LOG):
                (directory / name).write_bytes(world.files.get(name, b""))
            with Ledger.open(directory / LEDGER, synchronous="NORMAL") as ledger:
                found = _check_torn(ledger, task)
                if is_gone_on_from:
                    frames, cursor = _checkpoint(directory)
                    world = structs.replace(world, events=found, cursor=cursor, log_end=writes.end_of(frames))
        except Exception as error:
            raise CrashFound(_report(task, error)) from error
        finally:
            shutil.rmtree(directory)
        if is_gone_on_from:
            self._take_up(structs.replace(task, world=world))

    def _take_up(self, task: _Task) -> None:
        """Take up a death whose world is new; it is the same one for all programs with the same beginning."""
        beginning, key = task.program[: task.done + 1], task.world.key()
        begun = (_names(beginning), task.done, key, task.has_failed, task.is_struck)
        if begun in self._begun:
            return
        self._begun.add(begun)
        rest = [
            self._alphabet[(int(key[:8], 16) + place) % len(self._alphabet)]
            for place in range(len(beginning), self._length)
        ]
        other = (*beginning, *rest)
        self._tasks.append(structs.replace(task, program=other) if _names(other) in self._foreseen else task)

    def _is_new(self, before: World, after: World, stage: _Stage) -> bool:
        """Whether a commit has not been cut before: in such a log if `is_thorough`, else at this place of a program.

        The cursor alone is no program's own: else its commits and the checkpoints behind them are cut once in all.
        """
        appended = after.events[len(before.events) :]
        where = (before.log_key(), after.cursor) if self._is_thorough else _names(stage.beginning) if appended else ()
        commit = (where, appended, bool(before.log_end), bool(after.log_end))
        is_new = commit not in self._begun
        self._begun.add(commit)
        return is_new


class _Stage:
    """How far a run is, and the fault that it is to meet, once for all deaths of an operation."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        self.done = task.done
        self.has_failed = task.has_failed
        self.fault: Callable[[Step], int] | None = None

    @property
    def operation(self) -> Operation | None:
        """The operation that is under way or comes next; None at the end."""
        return self.task.program[self.done] if self.done < len(self.task.program) else None

    @property
    def beginning(self) -> Program:
        """The operations up to the one that is under way."""
        return self.task.program[: self.done + 1]

    def go_on(self) -> None:
        """Come to the next operation."""
        self.done += 1
        self.has_failed = False

    def meet(self, step: Step) -> int:
        """Answer for one step: the fault's errno the first time, and nothing from then on."""
        if self.fault is None or self.has_failed:
            return 0
        number = self.fault(step)
        self.has_failed = number != 0
        return number


def lay_ground(directory: Path) -> World:
    """Make the world that every program starts from, by a process that ends in order."""
    kernel = SimulatedKernel()
    directory.mkdir(mode=0o700)
    sqlite_file.create(directory / LEDGER, LEDGER_ID)
    with Controller.open(directory, dataplane=SimulatedDataplane(kernel), synchronous="NORMAL") as controller:
        for result in controller.execute(GROUND, request=f"{NAMED}ground"):
            result.check()
        events = tuple(essence(record.event) for record in controller.history())
    return World(files_in(directory), kernel, events, len(events), fingerprint(kernel))


def _names(program: Program) -> tuple[str, ...]:
    return tuple(operation.name for operation in program)


def _ask(controller: Controller, operation: Operation, place: int) -> list[Result]:
    return controller.execute(operation.write(place), request=f"{NAMED}{place}")


def _report(task: _Task, error: Exception) -> str:
    deaths = "".join(f"\n    died {death}" for death in task.deaths) or "\n    without a death"
    return f"the program {', '.join(_names(task.program))}:{deaths}\n    then: {type(error).__name__}: {error}"


def _check_torn(ledger: Ledger, task: _Task) -> tuple[bytes, ...]:
    """Check that everything is in a torn log that was durable, and nothing else."""
    assert ledger.damage is None, ledger.damage
    found = tuple(essence(record.event) for record in ledger.read())
    durable = found[: len(task.world.events)] if task.may_hold_more else found
    assert durable == task.world.events, "what was durable is not what is in the log"
    return found


def _check(controller: Controller, allowed: list[Description], words: str, *, may_owe: bool = False) -> None:
    """Check that no checker finds anything, and that there is what is allowed."""
    found = check_everything(controller)
    assert not found, "; ".join(map(str, found))
    with controller.reading() as views:
        assert may_owe or not views.faults.owed, "something is still owed to the kernel"
        _check_state(describe_state(views), allowed, words)


def _check_state(found: Description, allowed: list[Description], words: str) -> None:
    if found not in allowed:
        raise AssertionError(f"{words}: {' - or '.join(difference(one, found) for one in allowed)}")


def _checkpoint(directory: Path) -> tuple[int, int]:
    """Put everything into the main file, as a commit does when the write-ahead log is long.

    Tells how many frames that were, and what the durable cursor is.
    """
    with closing(sqlite3.connect(directory / LEDGER, isolation_level=None)) as connection:
        is_busy, frames, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (cursor,) = connection.execute("SELECT max(position) FROM cursors").fetchone()
    assert not is_busy, "nobody reads"
    assert frames == done, "all of it"
    return frames, cursor or 0


def _quick_place() -> str | None:
    """Find a directory in memory, where no fsync waits for a disk; None where there is none."""
    return QUICK_PLACE if os.access(QUICK_PLACE, os.W_OK) else None
