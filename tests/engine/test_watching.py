"""Keeping watch on the simulator: what is found, when, and how often."""

from __future__ import annotations

import errno
import itertools
import threading

import pytest

from netledger import Controller
from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import DataplaneFault, Unavailable
from netledger.domain.events import DriftDetected, DriftRepaired
from netledger.engine import watching
from netledger.engine.reconcile import compare, repair
from netledger.engine.watching import (
    CALM_SECONDS,
    PAUSE_LEAST_SECONDS,
    PAUSE_MOST_SECONDS,
    Occasion,
    Patience,
    keep_watch,
)


@pytest.fixture
def kernel():
    """Give a kernel that outlasts the controllers on it."""
    return SimulatedKernel()


@pytest.fixture
def controller(kernel):
    """Give a network with one endpoint in a sandbox."""
    with Controller.open(dataplane=SimulatedDataplane(kernel)) as opened:
        opened.create_network("n1").create_endpoint("web").join(opened.create_sandbox("c1"))
        yield opened


def first_finding(controller, **options):
    """Keep watch until something is found."""
    stop = threading.Event()
    for finding in keep_watch(controller, stop, period_seconds=0.05, **options):
        stop.set()
        return finding
    return None


def unreadable(_):
    """Fail to read the kernel."""
    raise DataplaneFault("read the kernel", "it changes too fast")


def test_a_flushed_kernel_is_made_anew_and_the_log_says_so(controller, kernel):
    """One finding: what was missing, that it was mended; both are events of the watcher."""
    before = dict(kernel.objects)
    kernel.clear()
    finding = first_finding(controller)
    assert finding.is_mended
    assert len(finding.comparison.lines) == len(before)
    assert kernel.objects == before
    drift = [record.event for record in controller.history() if isinstance(record.event, DriftDetected | DriftRepaired)]
    assert [(type(event).__name__, event.actor) for event in drift] == [
        ("DriftDetected", "watch"),
        ("DriftRepaired", "watch"),
    ]


def test_a_change_puts_back_a_firewall_that_somebody_took_away(controller, kernel):
    """The whole of it, with what is new, in the same call; what was lost is in the log, what is new is not lost."""
    network = controller.network("n1")
    network.create_endpoint("old", ports=["8080:80"]).join(controller.create_sandbox("c2"))
    kernel.own.firewall = None
    kernel.epoch += 1
    network.create_endpoint("new", ports=["8081:80"]).join(controller.create_sandbox("c3"))
    assert compare(controller).agrees
    drift = [record.event for record in controller.history() if isinstance(record.event, DriftDetected | DriftRepaired)]
    assert [type(event) for event in drift] == [DriftDetected, DriftRepaired]
    assert drift[0].differences == drift[1].repairs
    assert "+ firewall: own table, chains, sets and maps" in drift[0].differences
    assert any("8080" in line for line in drift[0].differences)
    assert not any("8081" in line for line in drift[0].differences)


def test_a_fault_of_a_firewall_that_is_whole_stays_one(kernel):
    """The same number, and the firewall is there: nothing is made anew, and what failed is taken back."""
    port = "port/tcp/0.0.0.0:8080"
    fails = lambda step: errno.ENOENT if (step.verb, step.key) == (Verb.MAKE, port) else 0  # noqa: E731  # said once
    dataplane = SimulatedDataplane(kernel, faults=fails)
    with Controller.open(dataplane=dataplane) as controller:
        endpoint = controller.create_network("n1").create_endpoint("web", ports=["8080:80"])
        with pytest.raises(DataplaneFault):
            endpoint.join(controller.create_sandbox("c1"))
        assert not [record for record in controller.history() if isinstance(record.event, DriftDetected)]


def test_what_cannot_be_put_back_is_found_and_not_mended(controller, kernel):
    """The change fails as it would have, and says so; the firewall is still lost, for the next one."""
    kernel.own.firewall = None
    kernel.epoch += 1
    controller.dataplane._faults = lambda step: errno.EPERM if step.key == "firewall" else 0
    endpoint, sandbox = (
        controller.network("n1").create_endpoint("new", ports=["80:80"]),
        controller.create_sandbox("c3"),
    )
    with pytest.raises(DataplaneFault):
        endpoint.join(sandbox)
    kinds = [type(record.event) for record in controller.history()]
    assert DriftDetected in kinds
    assert DriftRepaired not in kinds
    controller.dataplane._faults = lambda _: 0
    endpoint.join(sandbox)
    assert compare(controller).agrees


def test_an_interrupted_restoring_is_still_to_be_done(controller, kernel, monkeypatch):
    """What the change met is not taken for applied before all of it is: what it made is made sure of again."""
    kernel.own.firewall = None
    kernel.epoch += 1

    def interrupt(_):
        raise KeyboardInterrupt

    with controller.working() as machine:
        before = machine.subscriber.applied
        with monkeypatch.context() as patch:
            patch.setattr(controller.dataplane, "observe", interrupt)
            with pytest.raises(KeyboardInterrupt):
                controller.create_network("n8")
        assert machine.subscriber.applied == before
    device = controller.create_network("n9").info().device
    made = (device, controller.network("n8").info().device)
    left = [line for line in compare(controller).lines if any(bridge in line for bridge in made)]
    assert left == []
    assert not repair(controller).faults
    assert compare(controller).agrees


def test_a_restored_firewall_mends_nothing_else(controller, kernel):
    """What is owed to the host beside it stays owed in the log, until that is mended, too."""
    sandbox = controller.sandboxes()[0]
    endpoint = next(endpoint for endpoint in controller.endpoints() if endpoint.info().sandbox)
    endpoint.leave(force=True)
    key = f"namespace/{sandbox.id}"
    controller.dataplane._faults = lambda step: errno.EBUSY if step.key == key else 0
    sandbox.delete()
    assert controller.views.faults.owes(controller.host)
    kernel.own.firewall = None
    kernel.epoch += 1
    controller.create_network("n9")
    assert controller.views.faults.owes(controller.host)
    kinds = [type(record.event) for record in controller.history()]
    assert DriftDetected in kinds
    assert DriftRepaired not in kinds
    controller.dataplane._faults = lambda _: 0
    assert not repair(controller).faults
    assert not controller.views.faults.owes(controller.host)


def test_why_the_host_was_looked_at(controller, kernel):
    """The first time since the watch began; later since something was noticed, or since nothing was for a while."""
    kernel.clear()
    stop = threading.Event()
    watch = keep_watch(controller, stop, period_seconds=0.05)
    assert next(watch).occasion is Occasion.START
    reasons = [record.event.reason for record in controller.history() if isinstance(record.event, DriftDetected)]
    assert reasons == ["compared at the start of a watch"]
    kernel.clear()
    finding = next(watch)
    assert (finding.occasion, finding.noticed) == (Occasion.NOTICE, ("the simulated kernel was changed",))
    stop.set()


def test_without_mending_the_kernel_is_left_as_it_is(controller, kernel):
    """It is recorded, and no more."""
    kernel.clear()
    finding = first_finding(controller, mend=False)
    assert not finding.is_mended
    assert not kernel.objects
    assert [type(record.event) for record in controller.history()][-1] is DriftDetected


def test_a_host_that_agrees_gives_no_event(controller):
    """Comparing alone leaves no trace in the log."""
    before = controller.ledger.head
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    assert list(keep_watch(controller, stop, period_seconds=0.01)) == []
    timer.join()
    assert controller.ledger.head == before


def test_without_a_dataplane_there_is_nothing_to_watch():
    """It is refused, with what to do."""
    with (
        Controller.open(dataplane="none") as controller,
        pytest.raises(Unavailable, match="the dataplane is `none`: there is no kernel to look at; take"),
    ):
        next(keep_watch(controller, threading.Event()))


def test_patience_doubles_up_to_a_limit_and_comes_back_after_a_calm():
    """Each difference soon after the last one is met later; after a calm the next is met at once again."""
    patience, now, pauses = Patience(), 0.0, []
    for _ in range(12):
        patience.found(now)
        pauses.append(patience.pause_seconds)
        now = patience.next_at
    assert pauses[0] == PAUSE_LEAST_SECONDS
    assert all(later == min(2 * sooner, PAUSE_MOST_SECONDS) for sooner, later in itertools.pairwise(pauses))
    assert pauses[-1] == PAUSE_MOST_SECONDS
    patience.found(patience.calm_from + CALM_SECONDS)
    assert patience.pause_seconds == PAUSE_LEAST_SECONDS


def test_counters_are_not_made_up(controller):
    """The simulator counts no packets and says so."""
    with pytest.raises(Unavailable, match="this dataplane counts none"):
        controller.sandbox("c1").statistics()


def test_a_kernel_that_cannot_be_read_is_told_of_without_mending(controller, kernel, monkeypatch):
    """Each time; and a difference that was known before is not recorded again after it."""
    kernel.clear()
    looks = itertools.cycle([compare, unreadable])

    def look(controller):
        return next(looks)(controller)

    monkeypatch.setattr(watching, "compare", look)
    monkeypatch.setattr(watching, "PAUSE_MOST_SECONDS", 0.01)
    stop, found = threading.Event(), []
    for finding in keep_watch(controller, stop, mend=False, period_seconds=0.01):
        found.append(finding.faults)
        if len(found) == 3:
            stop.set()
    fault = ("read the kernel: it changes too fast",)
    assert found == [(), fault, fault]
    assert [type(record.event) for record in controller.history()].count(DriftDetected) == 1
