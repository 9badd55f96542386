"""One simulated host: its kernel, its ledger, the process that drives it, and another one that writes its log, too.

Keeps: kernel and ledger outlast the processes; a process that dies writes nothing down any more.
Knows nothing of: which commands are given, what is checked.
"""

from __future__ import annotations

from pathlib import Path

from ...dataplanes.simulated import Faults, SimulatedDataplane, SimulatedKernel
from ...dataplanes.simulated.faults import Died
from ...domain.facts import NamespaceIdentity
from ...domain.values import Position
from ...engine.controller import Controller
from ...ledger import sqlite_file
from ...ledger.ledger import Ledger
from ...ledger.state import StateDirectory
from ..author import Universe
from .world import World

ACTOR = "simulate"
LEDGER_ID_BYTES = 16
DEATHS_IN_A_ROW = 3
"""How often a start may die before one is let live."""


class SimulatedHost:
    """A host of a run. `controller` is its process; `writer` another one, which has no kernel of its own."""

    def __init__(self, name: str, directory: Path, world: World, kernel: SimulatedKernel, faults: Faults) -> None:
        self.name = name
        self.state = directory / name
        self.kernel = kernel
        self.faults = faults
        self.universe = Universe()
        self.boot = 1
        self.recoveries = 0
        self.recovered_steps = 0
        self._world = world
        self._namespaces = 0
        self._writer: Controller | None = None
        sqlite_file.create(StateDirectory.open(self.state).ledger, world.token(LEDGER_ID_BYTES))
        for path in self.universe.namespaces:
            self.replace_namespace(path)
        self.dataplane = self._new_dataplane()
        self.controller = self._open()

    @property
    def writer(self) -> Controller:
        """The other process."""
        if self._writer is None:
            self._writer = Controller.open(self.state, dataplane="none", synchronous="NORMAL", actor="another writer")
        return self._writer

    def replace_namespace(self, path: str) -> None:
        """Let another namespace be at a path, as when its container is started anew."""
        self._namespaces += 1
        self.universe.namespaces[path] = NamespaceIdentity(f"boot{self.boot}", self._namespaces)

    def die(self) -> None:
        """Let the process end as by SIGKILL: its lock and its connections go, and it writes down nothing."""
        opened = self.controller._opened  # noqa: SLF001  # no process closes itself like this
        opened.machine.ledger._recorder.close()  # noqa: SLF001
        if opened.lock is not None:
            opened.lock.release()

    def start(self) -> None:
        """Start the process anew on the kernel and the ledger that there are; it may die again in the middle."""
        for _ in range(DEATHS_IN_A_ROW):
            try:
                self.controller = self._open()
            except Died:
                self.faults.injected["die: in a recovery"] += 1
            else:
                break
        else:
            self.faults.die_before_step(None)
            self.controller = self._open()
        if self.controller.recovery is not None:
            self.recoveries += 1
            self.recovered_steps += len(self.controller.recovery.steps)

    def come_back(self) -> None:
        """Let the process die, and start it anew."""
        self.die()
        self.start()

    def reboot(self) -> None:
        """Stop the whole machine and start it: only the ledger is as it was."""
        self.die()
        self.stop_writer()
        self.kernel.clear()
        self.drop_foreigners()
        self.boot += 1
        for path in self.universe.namespaces:
            self.replace_namespace(path)
        self.start()

    def forget(self, events: int) -> None:
        """Stop in order, and start having forgotten that the last events were applied: they come once more."""
        with self.controller.working() as machine:
            cursor = machine.cursor
        self.controller.close()
        with Ledger.open(self.state / "ledger.db", synchronous="NORMAL") as ledger:
            applied = ledger.cursor(cursor)
            ledger.set_cursor(cursor, Position(max(applied - events, 0)))
        self.start()

    def drop_foreigners(self) -> None:
        """Take away the interfaces that others have put among ours; the host's card and loopback stay."""
        for name, device in list(self.kernel.own.devices.items()):
            if device.description == FOREIGN:
                self.kernel.unplug(name)

    def stop_writer(self) -> None:
        """End the other process."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """End both processes in order."""
        self.stop_writer()
        self.controller.close()

    def _new_dataplane(self) -> SimulatedDataplane:
        dataplane = SimulatedDataplane(self.kernel, faults=self.faults, clock=self._world.clock)
        dataplane.boot = f"boot{self.boot}"
        dataplane.namespaces = self.universe.namespaces
        return dataplane

    def _open(self) -> Controller:
        self.dataplane = self._new_dataplane()
        return Controller.open(
            self.state, dataplane=self.dataplane, synchronous="NORMAL", actor=ACTOR, hold_ports=False
        )


FOREIGN = "an interface that somebody put there"
