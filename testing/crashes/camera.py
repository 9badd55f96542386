"""The camera: takes a picture of the world at every moment at which a process can die.

Such a moment is before and after everything durable: an append and each write within it, each kernel operation, and
what closing writes. A process that died there would have left exactly what is on the picture, so a single run shows
every death in it; nothing has to be killed.
Keeps: what is on a picture is not changed by what comes after it. One camera at a time is on.
Knows nothing of: what is right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec import Struct, structs

from ...dataplanes.contract import Outcome, Plan, Step
from ...dataplanes.plan import describe
from ...dataplanes.simulated import SimulatedDataplane, SimulatedKernel, StepFaults
from ...dataplanes.simulated.faults import Misfortune
from ...ledger.sqlite import SQLiteRecorder
from . import writes
from .worlds import LEDGER, LOG, World, essence_of_appended, files_in, fingerprint


class Picture(Struct, frozen=True, eq=False):
    """A world, what was going on (`append`, `write`, `kernel`, `checkpoint`), and where in it this is.

    `may_hold_more`: a commit that was torn lies in the log still, and another one on its way over it may have made it
    whole again, for the same request asked for again begins with the same pages.
    """

    world: World
    kind: str
    where: str
    may_hold_more: bool = False


class Camera:
    """Takes pictures of a state directory and a kernel, and hands each to `keep`.

    `cuts` says whether a commit or checkpoint, by the worlds before and after it, is to be cut at each of its writes.
    `copies` are kernels that were copied before, by fingerprint.
    """

    def __init__(
        self,
        directory: Path,
        kernel: SimulatedKernel,
        start: World,
        keep: Callable[[Picture], None],
        cuts: Callable[[World, World], bool],
        copies: dict[bytes, SimulatedKernel],
    ) -> None:
        self._directory = directory
        self._kernel = kernel
        self._keep = keep
        self._cuts = cuts
        self._copies = copies
        self._epoch = kernel.epoch
        self._pending = start.cursor
        self._world = structs.replace(start, damage="")

    def dataplane(self, faults: StepFaults) -> SimulatedDataplane:
        """Make a dataplane on the kernel that has its picture taken before each step and after the last one."""
        return _Photographed(self._kernel, faults, self.take)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Take pictures of everything that a recorder makes durable until the block ends."""
        with (
            mock.patch.object(SQLiteRecorder, "append", self._around_append(SQLiteRecorder.append)),
            mock.patch.object(SQLiteRecorder, "flush_cursors", self._around_flush(SQLiteRecorder.flush_cursors)),
            mock.patch.object(SQLiteRecorder, "set_cursor", self._around_cursor(SQLiteRecorder.set_cursor)),
            mock.patch.object(SQLiteRecorder, "close", self._around_close(SQLiteRecorder.close)),
        ):
            yield

    def look_again(self) -> None:
        """Take in that somebody else has written the files."""
        self._world = structs.replace(self._world, files=files_in(self._directory))

    def take(self, kind: str, where: str) -> World:
        """Take a picture of what there is now."""
        if self._kernel.epoch != self._epoch:
            marks = fingerprint(self._kernel)
            if marks not in self._copies:
                self._copies[marks] = copy.deepcopy(self._kernel)
            self._world = structs.replace(self._world, kernel=self._copies[marks], marks=marks)
            self._epoch = self._kernel.epoch
        self._keep(Picture(self._world, kind, where))
        return self._world

    # --- around what makes things durable

    def _around_append(self, append: Callable[..., int]) -> Callable[..., int]:
        def photographed(recorder: SQLiteRecorder, events: Sequence[Any], *others: Any) -> int:  # noqa: ANN401  # whatever the engine gives
            name = f"append of {', '.join(event.type for event in events)}"
            before = self.take("append", f"before the {name}")
            last = append(recorder, events, *others)
            self._commit(before, name, tuple(map(essence_of_appended, events)))
            return last

        return photographed

    def _around_flush(self, flush: Callable[[SQLiteRecorder], None]) -> Callable[[SQLiteRecorder], None]:
        def photographed(recorder: SQLiteRecorder) -> None:
            before = self.take("append", "before the cursor is written")
            flush(recorder)
            if files_in(self._directory).get(LOG, b"") != before.files.get(LOG, b""):
                self._commit(before, "commit of the cursor", ())

        return photographed

    def _around_cursor(self, set_cursor: Callable[..., None]) -> Callable[..., None]:
        def photographed(recorder: SQLiteRecorder, name: str, position: int) -> None:
            set_cursor(recorder, name, position)
            self._pending = position

        return photographed

    def _around_close(self, close: Callable[[SQLiteRecorder], None]) -> Callable[[SQLiteRecorder], None]:
        def photographed(recorder: SQLiteRecorder) -> None:
            before = self.take("append", "before the log is closed")
            close(recorder)
            after = structs.replace(before, files=files_in(self._directory), log_end=0)
            self._world = after
            if self._cuts(before, after):
                for torn in writes.checkpoints(before.files[LEDGER], after.files[LEDGER]):
                    self._keep_torn(before, LEDGER, torn, "checkpoint", f"checkpoint, {torn.where}")
                whole = {**before.files, LEDGER: after.files[LEDGER]}
                self._keep(Picture(structs.replace(before, files=whole), "checkpoint", "checkpoint, its log not gone"))
            self.take("append", "after the log is closed")

        return photographed

    def _commit(self, before: World, name: str, events: tuple[bytes, ...]) -> None:
        """Take in a commit, with the pictures of it half-done."""
        after = structs.replace(
            before, files=files_in(self._directory), events=before.events + events, cursor=self._pending
        )
        assert after.files[LEDGER] == before.files[LEDGER], "a commit does not write the main file"
        old, new = before.files.get(LOG, b""), after.files[LOG]
        after = structs.replace(after, log_end=writes.new_frames(old, new, before.log_end)[1][-1].end)
        if self._cuts(before, after):
            may_hold_more = writes.has_remnants(old, before.log_end)
            for torn in writes.commits(old, new, before.log_end):
                self._keep_torn(before, LOG, torn, "write", f"{name}, {torn.where}", may_hold_more=may_hold_more)
        self._world = after
        self.take("append", f"after the {name}")

    def _keep_torn(
        self, world: World, file: str, torn: writes.Torn, kind: str, where: str, *, may_hold_more: bool = False
    ) -> None:
        files = {**world.files, file: torn.content}
        self._keep(Picture(structs.replace(world, files=files, damage=torn.how), kind, where, may_hold_more))


class _Photographed(SimulatedDataplane):
    """Has a picture taken before each step that it does, and after the last."""

    def __init__(self, kernel: SimulatedKernel, faults: StepFaults, take: Callable[[str, str], World]) -> None:
        super().__init__(kernel, faults=self._before)
        self._met = faults
        self._take = take

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        outcomes = super().apply(plan)
        self._take("kernel", "after the last kernel operation")
        return outcomes

    def _before(self, step: Step) -> int | Misfortune:
        self._take("kernel", f"before kernel operation {describe([step])[0]}")
        return self._met(step)
