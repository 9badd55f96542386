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
from ...dataplanes.simulated.dataplane import CARD
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
    """A ledger and the host that it is of; use it as a context manager, or `close` it.

    On a path it has a ledger there and a simulated host of its own. On a controller that somebody else opened, and
    closes, the process cannot end and no fault can be made to come.
    """

    def __init__(self, on: Path | Controller) -> None:
        self.names = Names()
        self.faults: list[ComingFault] = []
        self._told = 0
        self._boots = 1
        self._is_opening = False
        self._state = on if isinstance(on, Path) else None
        self.dataplane: SimulatedDataplane | None
        if isinstance(on, Path):
            directory = StateDirectory.open(on)
            if not directory.ledger.exists():
                create(directory.ledger, LEDGER_ID)
            self.dataplane = SimulatedDataplane(_new_kernel(), faults=self._fault)
            self.dataplane.boot = f"boot{self._boots}"
            self.controller = self._open()
        else:
            with on.working() as machine:
                dataplane = machine.dataplane
            self.dataplane = dataplane if isinstance(dataplane, SimulatedDataplane) else None
            self.controller = on
        self.learn()

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
        self._refuse_borrowed(f"fail {pattern}")
        self.faults.append(ComingFault(pattern, number, times))

    # --- what befalls the process and the host

    def restart(self) -> None:
        """Let the process end and another one open the ledger."""
        self._refuse_borrowed("restart")
        self.controller.close()
        self.controller = self._open()

    def reboot(self) -> None:
        """Let the host boot anew: nothing stays of its kernel, nor of anybody's namespaces."""
        dataplane = self.simulated("reboot")
        self._refuse_borrowed("reboot")
        self._boots += 1
        dataplane.boot = f"boot{self._boots}"
        dataplane.kernel = _new_kernel()
        dataplane.namespaces.clear()
        dataplane.obstacles.clear()
        self.restart()

    def crash(self, commands: Sequence[Command]) -> list[NetledgerError]:
        """Let the process die when commands are in the log and the kernel has not heard of them; open it again."""
        self._refuse_borrowed("crash")
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

    def _refuse_borrowed(self, asked: str) -> None:
        if self._state is None:
            raise Unimplemented(asked, "this controller belongs to somebody else", "play it on a directory's stage")

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


def _new_kernel() -> SimulatedKernel:
    """Make the kernel of a host that has been started: it has a network card."""
    kernel = SimulatedKernel()
    kernel.add_card(CARD)
    return kernel


def matches(key: str, pattern: str) -> bool:
    """Whether a key is this one or of this form; an IPv6 address has brackets, which a form takes for a set."""
    return key == pattern or fnmatchcase(key, pattern)
