"""The machine over every command holds on the simulator, and finds what is wrong with a dataplane that is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from netledger.dataplanes.simulated import SimulatedKernel
from netledger.domain.objects import PortForward
from netledger.testing.author import Universe
from netledger.testing.coverage import Coverage
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


def test_a_dataplane_that_drops_ports_is_found():
    """The machine fails on a kernel that says yes to a published port and does nothing."""

    class OnBroken(CnmMachine):
        coverage = Coverage()

        def make_dataplane(self):
            return Universe().dataplane(WithoutPorts())

    unshrunk = settings(quick, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="the kernel differs from the log"):
        run_state_machine_as_test(OnBroken, settings=unshrunk)
