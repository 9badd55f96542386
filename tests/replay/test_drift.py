from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from netledger import Controller
from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import Conflict, Forbidden, Unavailable
from netledger.domain.events import (
    ClockStepped,
    DataplaneFaulted,
    DriftDetected,
    DriftRepaired,
    EndpointLeft,
    SandboxLost,
)
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import TRACELESS, Bridge, ForwardPolicy, Masquerade, Namespace, PortForward, VethPair
from netledger.domain.values import SandboxKind
from netledger.projections.desired import lower_everything
from netledger.replay import drift, rebuild, repair
from netledger.testing.author import Universe
from netledger.testing.checkers import check_log
from netledger.testing.strategies import histories
from tests.desk import create_endpoint, create_sandbox, identifier, join


def first(kernel, kind):
    """Find an object of a kind."""
    return next(made for made in kernel.objects.values() if isinstance(made, kind))


def events(controller, *kinds):
    """List the events of these kinds."""
    return [record.event for record in controller.history() if isinstance(record.event, kinds)]


def alter(kernel: SimulatedKernel) -> dict[str, object]:
    """Change the kernel in every way behind the log's back; give what was there before."""
    before = dict(kernel.objects)
    kernel.remove(first(kernel, PortForward))
    kernel.remove(first(kernel, Namespace))
    bridge = first(kernel, Bridge)
    kernel.alter(structs.replace(bridge, mtu=1200))
    kernel.alter(Masquerade("br-old", 4))
    return before


def test_a_clock_that_went_back_is_recorded_before_what_no_command_asked_for(controller, kernel, monkeypatch):
    """Whoever looks for a time in the log is told of the step by the event in front of the first that shows it."""
    import time

    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 60_000_000_000)
    kernel.remove(first(kernel, PortForward))
    head = controller.ledger.head
    assert repair(controller, actor="alice", reason="why").faults == ()
    told = [record.event for record in controller.history(after=head)]
    assert [type(event) for event in told] == [ClockStepped, DriftDetected, DriftRepaired]
    assert 59_000_000_000 < told[0].back <= 60_000_000_000
    assert told[0].at == told[1].at
    assert (told[0].actor, told[0].request) == ("alice", told[1].request.replace("/-", "/clock"))


def test_a_host_that_agrees_has_no_drift(controller):
    """There is nothing to mend, mending does nothing and records nothing."""
    comparison = drift(controller)
    assert comparison.agrees
    assert comparison.lines == comparison.dying == comparison.lost == ()
    head = controller.ledger.head
    assert repair(controller).faults == ()
    assert rebuild(controller).faults == ()
    assert controller.ledger.head == head


def test_drift_lists_what_is_missing_altered_and_too_much(controller, kernel):
    """A line each: `+` for what is missing, `~` for what is altered, `-` for what is ours and not wanted."""
    before = alter(kernel)
    lines = drift(controller).lines
    assert "- masquerade/br-old/ipv4" in lines
    assert any(line.startswith("~ bridge/") and "mtu 1200" in line for line in lines)
    for kind, text in ((Namespace, "+ namespace/"), (VethPair, "+ veth/"), (PortForward, "+ port/")):
        assert any(isinstance(made, kind) for made in before.values())
        assert any(line.startswith(text) for line in lines)
    assert drift(controller).lines == lines, "looking changes nothing"


def test_repair_mends_and_records(controller, kernel):
    """Afterwards the kernel is as it was; what was found and what was mended are events of whoever asked."""
    before = alter(kernel)
    lines = drift(controller).lines
    done = repair(controller, actor="alice", reason="nightly")
    assert done.comparison.lines == lines
    assert done.faults == ()
    assert kernel.objects == before
    assert drift(controller).agrees
    found, mended = events(controller, DriftDetected), events(controller, DriftRepaired)
    assert [event.differences for event in found] == [lines]
    assert [event.repairs for event in mended] == [lines]
    assert {(event.actor, event.reason) for event in (*found, *mended)} == {("alice", "nightly")}


def test_what_is_foreign_is_not_touched(controller, kernel):
    """Interfaces that nobody here made are no drift and survive a repair and a rebuild."""
    kernel.add_interface("docker0", "a bridge")
    assert drift(controller).agrees
    alter(kernel)
    repair(controller)
    rebuild(controller)
    assert kernel.foreign_devices == {"docker0": "a bridge"}


def test_a_plan_that_was_shown_is_the_one_that_is_applied(controller, kernel):
    """With the digest of what was shown it is mended; with that of something else nothing happens."""
    alter(kernel)
    shown = drift(controller)
    head, there = controller.ledger.head, dict(kernel.objects)
    with pytest.raises(Conflict) as caught:
        repair(controller, expected="0" * 16)
    assert str(caught.value) == f"apply plan {'0' * 16}: it would be plan {shown.digest} now; look at it again"
    assert (controller.ledger.head, kernel.objects) == (head, there)
    kernel.remove(first(kernel, ForwardPolicy))
    with pytest.raises(Conflict):
        repair(controller, expected=shown.digest)
    repair(controller, expected=drift(controller).digest)
    assert drift(controller).agrees


def test_what_cannot_be_mended_is_told_and_recorded(kernel):
    """A fault of the repair is in its result and in the log, which then does not say that the host was mended."""
    failing = [False]
    dataplane = SimulatedDataplane(kernel, faults=lambda step: 16 * (failing[0] and isinstance(step.object, VethPair)))
    with Controller.open(dataplane=dataplane) as controller:
        network = controller.create_network("n1")
        network.create_endpoint("e").join(controller.create_sandbox("c"))
        kernel.remove(first(kernel, VethPair))
        failing[0] = True
        done = repair(controller)
        assert any("the fault plan says so" in line for line in done.faults)
        assert not events(controller, DriftRepaired)
        assert {event.verb for event in events(controller, DataplaneFaulted)} == {"make"}
        with controller.reading() as views:
            assert views.faults.owed
        failing[0] = False
        assert repair(controller).faults == ()
        assert drift(controller).agrees
        with controller.reading() as views:
            assert not views.faults.owed


@pytest.mark.parametrize("mend", [repair, rebuild])
def test_a_lost_namespace_is_recorded_and_not_made_again(controller, dataplane, kernel, mend):
    """A sandbox whose namespace was replaced ends, its endpoints leave, and nothing is made in the new one."""
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 1)
    attached = create_sandbox("blue", kind=SandboxKind.ATTACHED, path="/run/netns/blue")
    for result in controller.execute([attached, create_endpoint("n1", "b", "8081:80"), join("n1/b", "blue")]):
        result.check()
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 2)
    comparison = drift(controller)
    assert comparison.lost == (identifier("blue"),)
    assert not comparison.agrees
    done = mend(controller)
    assert done.faults == ()
    assert [event.endpoint for event in events(controller, EndpointLeft)] == [identifier("n1/b")]
    assert [event.evidence for event in events(controller, SandboxLost)] == [
        "namespace /run/netns/blue has been replaced by another: found by observing"
    ]
    assert not events(controller, DataplaneFaulted)
    assert drift(controller).agrees
    with controller.reading() as views:
        assert kernel.objects == lower_everything(views, controller.host)
    check_log(controller.history())


def test_without_a_dataplane_there_is_nothing_to_compare():
    """A controller of events alone says so."""
    with Controller.open(dataplane="none") as controller, pytest.raises(Unavailable) as caught:
        drift(controller)
    assert str(caught.value) == (
        "compare the host with the log: the dataplane is `none`: there is no kernel to look at; "
        "take the dataplane linux"
    )


@pytest.mark.parametrize("mend", [repair, rebuild])
def test_a_reader_may_look_and_not_mend(tmp_path, kernel, mend):
    """A read-only controller shows drift and refuses to change the host."""
    with Controller.open(tmp_path / "state", dataplane=SimulatedDataplane(kernel)) as controller:
        controller.create_network("n1")
    kernel.clear()
    with Controller.open(tmp_path / "state", dataplane=SimulatedDataplane(kernel), read_only=True) as reader:
        assert not drift(reader).agrees
        with pytest.raises(Forbidden):
            mend(reader)
        assert kernel.objects == {}


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(histories(max_batches=5), st.data())
def test_any_damage_is_mended_in_one_go(batches, data):
    """Whatever objects are taken away behind the log's back, one repair brings all of them back."""
    kernel = SimulatedKernel()
    with Controller.open(dataplane=Universe().dataplane(kernel)) as controller:
        for batch in batches:
            controller.execute(batch)
        wanted = dict(kernel.objects)
        for _ in range(data.draw(st.integers(1, 4), label="how many")):
            lasting = sorted(key for key, there in kernel.objects.items() if not isinstance(there, TRACELESS))
            if lasting:
                kernel.remove(kernel.objects[data.draw(st.sampled_from(lasting), label="removed")])
        assert repair(controller).faults == ()
        assert kernel.objects == wanted
        assert drift(controller).agrees
        assert all(step.verb is not Verb.REMOVE for step in controller._machine.subscriber.compare()[0].steps)
