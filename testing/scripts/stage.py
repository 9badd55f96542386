"""The stage that a script plays on: a ledger, a simulated host, and what befalls them.

Keeps: the host outlasts the controller, which can be opened again. Knows nothing of: how a script is written.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from ...dataplanes.contract import Step
from ...dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from ...domain.commands import Command
from ...domain.errors import NetledgerError, Unimplemented
from ...domain.events import Event
from ...engine.controller import Controller
from ...engine.requests import author
from ...ledger.sqlite_file import create
from ...ledger.state import StateDirectory
from .telling import Names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACTOR = "script"
LEDGER_ID = "5c" * 16
"""Of every script's own ledger: what is chosen by it, such as predefined IPv6 blocks, is always the same."""


class ComingFault(Struct):
    """A fault that is to come: the next so many steps whose key has this form fail with this errno."""

    pattern: str
    number: int
    times: int


class Stage:
    """A ledger in `state` and a simulated host of its own. Use it as a context manager, or `close` it."""

    def __init__(self, state: Path) -> None:
        self._state: Path | None = state
        directory = StateDirectory.open(state)
        if not directory.ledger.exists():
            create(directory.ledger, LEDGER_ID)
        self._boots = 1
        self._told = 0
        self._is_opening = False
        self.names = Names()
        self.faults: list[ComingFault] = []
        self.dataplane: SimulatedDataplane | None = SimulatedDataplane(SimulatedKernel(), faults=self._fault)
        self.dataplane.boot = f"boot{self._boots}"
        self.controller = self._open()
        self.learn()

    @classmethod
    def around(cls, controller: Controller) -> Self:
        """Make a stage of a controller that somebody else opened and closes: it cannot be opened again."""
        stage = cls.__new__(cls)
        stage._state, stage._told = None, 0  # noqa: SLF001 - its own class
        stage.names, stage.faults, stage.controller = Names(), [], controller
        with controller.working() as machine:
            dataplane = machine.dataplane
        stage.dataplane = dataplane if isinstance(dataplane, SimulatedDataplane) else None
        stage.learn()
        return stage

    def learn(self) -> Iterator[Event]:
        """Give the events since the last time, and take the names out of them."""
        events = [record.event for record in self.controller.history(after=self._told)]
        self._told += len(events)
        for event in events:
            self.names.learn(event)
        return iter(events)

    def simulated(self, asked: str) -> SimulatedDataplane:
        """Give the simulated host; refuse what needs one where there is none."""
        if self.dataplane is None:
            raise Unimplemented(asked, "this controller's host is not a simulated one", "open it on a simulated one")
        return self.dataplane

    def fail(self, pattern: str, number: int, times: int) -> None:
        """Let the next steps fail whose key, written with names, has this form."""
        if self._state is None:
            raise Unimplemented(f"fail {pattern}", "this controller was opened without faults", "use a stage")
        self.faults.append(ComingFault(pattern, number, times))

    # --- what befalls the process and the host

    def restart(self) -> None:
        """Let the process end and another one open the ledger."""
        if self._state is None:
            raise Unimplemented("restart", "this controller belongs to somebody else", "use a stage")
        self.controller.close()
        self.controller = self._open()

    def reboot(self) -> None:
        """Let the host boot anew: nothing stays of its kernel, nor of anybody's namespaces."""
        dataplane = self.simulated("reboot")
        if self._state is None:
            raise Unimplemented("reboot", "this controller belongs to somebody else", "use a stage")
        self._boots += 1
        dataplane.boot = f"boot{self._boots}"
        dataplane.kernel = SimulatedKernel()
        dataplane.namespaces.clear()
        dataplane.obstacles.clear()
        self.restart()

    def crash(self, commands: Sequence[Command]) -> list[NetledgerError]:
        """Let the process die when commands are in the log and the kernel has not heard of them; open it again."""
        if self._state is None:
            raise Unimplemented("crash", "this controller belongs to somebody else", "use a stage")
        with self.controller.working() as machine:
            results = machine.commit(commands, author(ACTOR, "", None))
        self.restart()
        return [result.error for result in results if result.error is not None]

    def close(self) -> None:
        """Close the ledger, unless it belongs to somebody else."""
        if self._state is not None:
            self.controller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- within

    def _open(self) -> Controller:
        self._is_opening = True
        try:
            return Controller.open(self._state, dataplane=self.dataplane or "none", actor=ACTOR, synchronous="NORMAL")
        finally:
            self._is_opening = False

    def _fault(self, step: Step) -> int:
        if self.faults and not self._is_opening:
            for record in self.controller.history(after=self._told):  # what is being made has a name, too
                self.names.learn(record.event)
        for fault in self.faults:
            if matches(self.names.told(step.key), fault.pattern):
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault.number
        return 0


def matches(key: str, pattern: str) -> bool:
    """Whether a key is this one or of this form; an IPv6 address has brackets, which a form takes for a set."""
    return key == pattern or fnmatchcase(key, pattern)
