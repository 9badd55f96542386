"""A Hypothesis state machine over every command of the container network model, on any dataplane.

Keeps: after every step the log keeps its invariants, the views are the fold of the log, and what is observed is what
the log calls for. A run that failed prints the script that reproduces it. Subclass it, say which dataplane, and take
its `TestCase`:

    class Mine(CnmMachine):
        def make_dataplane(self):
            return MyDataplane()

    TestMine = Mine.TestCase
"""

from __future__ import annotations

from typing import ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ..dataplanes.contract import Dataplane
from ..dataplanes.simulated import SimulatedDataplane
from ..domain.commands import Command
from ..domain.errors import Refusal
from ..domain.objects import TRACELESS
from ..engine.controller import Controller
from ..replay import rebuild, repair
from .author import GROUND, KINDS, SINGLE, Author, Seeded, Universe
from .checkers import check_everything
from .coverage import Coverage, CoverageReport
from .scripts import Stage, Writer, write
from .strategies import Drawn, numbers


def fitting(*kinds: str) -> st.SearchStrategy[Command]:
    """Draw a command of one of these kinds for the state that the machine is in."""

    @st.composite
    def write(draw: st.DrawFn) -> Command:
        machine = draw(st.runner())
        author = Author(Drawn([]), machine.universe, lambda: machine.controller.views)
        kind = draw(st.sampled_from(author.fitting(kinds) or kinds))
        author.choice = Drawn(draw(numbers()))
        return author.command(kind)

    return write()


@st.composite
def grounds(draw: st.DrawFn) -> list[Command]:
    """Draw commands that give a machine something to work with."""
    author = Author(Drawn([]), draw(st.runner()).universe)
    commands = []
    for kind in GROUND:
        author.choice = Drawn(draw(numbers()))
        commands.append(author.command(kind))
    return commands


class CnmMachine(RuleBasedStateMachine):
    """Commands, restarts, rebuilds and somebody who alters the kernel, in any order."""

    universe: ClassVar[Universe] = Universe()
    coverage: ClassVar[Coverage] = Coverage()
    """What all runs of this class have reached; give a subclass its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dataplane = self.make_dataplane()
        self.controller = Controller.open(dataplane=self.dataplane)
        self._stage = Stage(self.controller)
        self._writer = Writer(self.universe.words)
        self._script: list[str] = []

    def make_dataplane(self) -> Dataplane:
        """Make the dataplane that is tested."""
        return self.universe.dataplane()

    # --- rules

    @initialize(commands=grounds())
    def lay_ground(self, commands: list[Command]) -> None:
        """Begin with something to work with."""
        for command in commands:
            self._ask(command)

    @rule(command=fitting(*KINDS))
    def ask(self, command: Command) -> None:
        """Ask for something that usually makes sense."""
        self._ask(command)

    @rule(command=fitting("blunder"))
    def blunder(self, command: Command) -> None:
        """Ask for something that never does; it is refused and leaves no trace."""
        with self.controller.reading() as views:
            before = views.digest()
        refusal = self._ask(command)
        assert refusal is not None, "a blunder was carried out"
        with self.controller.reading() as views:
            assert views.digest() == before, "what was refused left a trace"

    @rule()
    def rebuild(self) -> None:
        """Make the kernel anew from the log; nothing is to be done."""
        self._script.append("rebuild")
        assert rebuild(self.controller).comparison.agrees, "the kernel had come to differ"

    @rule(choice=st.integers(0, 999))
    def alter(self, choice: int) -> None:
        """Let somebody remove something of ours, where that can be simulated; a repair puts it back."""
        dataplane = self.dataplane
        if not isinstance(dataplane, SimulatedDataplane):
            return
        there = sorted(key for key, made in dataplane.kernel.objects.items() if not isinstance(made, TRACELESS))
        if there:
            key = there[choice % len(there)]
            self._stage.learn()
            self._script += [f"kernel remove {self._stage.names.told(key)}", "repair"]
            dataplane.kernel.remove(dataplane.kernel.objects[key])
            done = repair(self.controller)
            assert not done.comparison.agrees, "nobody noticed that something is gone"
            assert not done.faults, done.faults

    # --- what holds

    @invariant()
    def everything_holds(self) -> None:
        """No checker finds anything."""
        found = check_everything(self.controller)
        if found:
            raise AssertionError("\n".join(map(str, found)))

    def teardown(self) -> None:
        """Delete everything: nothing stays. Of a run that failed, the script is printed that reproduces it."""
        note(f"the same as a script, for python -m netledger.testing.scripts:\n\n{self.script()}")
        author = Author(Seeded(0), self.universe, lambda: self.controller.views)
        self.controller.execute(author.farewell())
        with self.controller.reading() as views:
            staying = {network.event.driver for network in views.networks.networks.values()}
            assert staying <= set(SINGLE), "a network stays"
            assert not views.sandboxes.sandboxes, "a sandbox stays"
            assert not views.ipam.by_space or not any(views.ipam.by_space.values()), "a pool stays"
        self.controller.close()

    def script(self) -> str:
        """Write down what was done so far, as a script."""
        return write(self._script)

    # --- within

    def _ask(self, command: Command) -> Refusal | None:
        self.coverage.asked(command)
        with self.controller.reading() as views:
            self._script += self._writer.lines(command, views)
        result = self.controller.execute([command])[0]
        if isinstance(result.error, Refusal):
            self.coverage.refused(result.error)
            return result.error
        result.check()
        return None

    @classmethod
    def report(cls) -> str:
        """Tell what all runs so far have reached."""
        return str(CoverageReport.of(cls.coverage))
