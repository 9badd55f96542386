from __future__ import annotations

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import DeleteNetwork
from netledger.domain.events import HostRebuilt
from netledger.replay import plan, rebuild
from tests.desk import create_network, identifier


def test_a_blank_host_is_rebuilt(controller, kernel):
    """Everything is made again from the log, and how much is recorded."""
    before = dict(kernel.objects)
    kernel.clear()
    shown = plan(controller)
    assert {line[0] for line in shown.lines} == {"+"}
    assert len(shown.lines) == len(before)
    done = rebuild(controller, expected=shown.digest)
    assert done.comparison == shown
    assert kernel.objects == before
    recorded = [record.event for record in controller.history() if isinstance(record.event, HostRebuilt)]
    assert [(event.made, event.replaced, event.removed) for event in recorded] == [(len(before), 0, 0)]


def test_a_second_rebuild_plans_nothing(controller, kernel):
    """The host agrees with the log after the first, so the second does and records nothing."""
    kernel.clear()
    rebuild(controller)
    assert plan(controller).agrees
    head = controller.ledger.head
    assert rebuild(controller).comparison.lines == ()
    assert controller.ledger.head == head


def test_superseded_history_costs_nothing(controller, kernel):
    """What came and went is not planned, however much it was."""
    before = dict(kernel.objects)
    for _ in range(20):
        controller.execute([create_network("n2"), DeleteNetwork(identifier("n2"))])
        controller.execute([create_network("n2")])
        controller.execute([DeleteNetwork(identifier("n2"))])
    kernel.clear()
    assert len(plan(controller).lines) == len(before)


def test_a_log_is_rebuilt_on_another_machine(tmp_path):
    """A log that was written elsewhere is shown first and then rebuilt on a host that has nothing of it."""
    kernels = SimulatedKernel(), SimulatedKernel()
    with Controller.open(tmp_path / "state", dataplane=SimulatedDataplane(kernels[0])) as controller:
        controller.create_network("n1").create_endpoint("e", ports=["80"]).join(controller.create_sandbox("c"))
    with Controller.open(tmp_path / "state", dataplane=SimulatedDataplane(kernels[1]), recover=False) as controller:
        assert kernels[1].objects == {}
        rebuild(controller, expected=plan(controller).digest)
    assert kernels[1].objects == kernels[0].objects
    with Controller.open(tmp_path / "state", dataplane=SimulatedDataplane(kernels[1])) as controller:
        assert controller.recovery is None
