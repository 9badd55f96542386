"""The machine over every command holds on the simulator, and finds what is wrong with a dataplane that is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from netledger.dataplanes.simulated import SimulatedKernel
from netledger.domain.objects import PortForward
from netledger.testing import scripts
from netledger.testing.author import Universe
from netledger.testing.coverage import Coverage
from netledger.testing.desk import create_endpoint, create_network, create_sandbox, join
from netledger.testing.machine import CnmMachine

quick = settings(
    max_examples=25, stateful_step_count=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


class OnSimulator(CnmMachine):
    """The machine as it is."""

    coverage = Coverage()


def test_everything_holds_on_the_simulator():
    """Every command, restarts, rebuilds and alterations keep every invariant; it tells what it has reached."""
    run_state_machine_as_test(OnSimulator, settings=quick)
    assert len(OnSimulator.coverage.commands) >= 10
    assert len(OnSimulator.coverage.reached) >= 20
    assert "refusals reached:" in OnSimulator.report()


class WithoutPorts(SimulatedKernel):
    """A kernel that forgets published ports."""

    def make(self, wanted):
        """Make all but ports."""
        if not isinstance(wanted, PortForward):
            super().make(wanted)


class OnBroken(CnmMachine):
    """The machine on a kernel that forgets ports."""

    coverage = Coverage()

    def make_dataplane(self):
        return Universe().dataplane(WithoutPorts())


unshrunk = settings(quick, phases=[Phase.generate])


def test_a_dataplane_that_drops_ports_is_found():
    """The machine fails on a kernel that says yes to a published port and does nothing."""
    with pytest.raises(AssertionError, match="the kernel differs from the log"):
        run_state_machine_as_test(OnBroken, settings=unshrunk)


def test_a_failing_run_prints_the_script_that_reproduces_it(tmp_path):
    """The script that is printed fails in the same way on the same kernel, and holds on a right one."""
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(OnBroken, settings=unshrunk)
    printed = "\n".join(caught.value.__notes__).partition("python -m netledger.testing.scripts:\n\n")[2]
    text = printed[: printed.index("everything holds")] + "everything holds\n"
    program = scripts.parse(text)
    assert any(line.verb == "endpoint join" for block in program.blocks for line in block.lines)
    with scripts.Stage(tmp_path / "right") as stage:
        assert not scripts.run(program, stage)
    with scripts.Stage(tmp_path / "wrong") as stage:
        stage.dataplane.kernel = WithoutPorts()
        (difference,) = scripts.run(program, stage)
        assert "+kernel: position 0: the kernel differs from the log: + port/" in str(difference)


def test_the_script_of_a_run_has_everything_that_was_done(tmp_path):
    """Commands, a rebuild, what somebody removed and its repair, in the order in which they were done."""
    machine = OnSimulator()
    machine.lay_ground([create_network("n0"), create_sandbox("c0"), create_endpoint("n0", "e0"), join("n0/e0", "c0")])
    machine.rebuild()
    machine.alter(0)
    machine.blunder(create_network("-"))
    assert machine.script() == (
        "network create n0\nsandbox create c0\nendpoint create n0 e0\nendpoint join n0/e0 c0\nrebuild\n"
        "kernel remove address/c0/eth0/172.17.0.2/16\nrepair\nnetwork create -\n----\n...\n\n"
        "check\n----\neverything holds\n"
    )
    machine.controller.close()
    with scripts.Stage(tmp_path / "state") as stage:
        assert not scripts.run(scripts.parse(machine.script()), stage)
