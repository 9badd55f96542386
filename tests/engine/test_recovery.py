from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import DeleteEndpoint, DeleteNetwork, DeleteSandbox, LeaveEndpoint
from netledger.domain.events import EndpointLeft, HostBooted, HostRegistered, SandboxLost
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.values import SandboxKind
from netledger.engine.results import Recovery
from netledger.projections.desired import lower_everything
from netledger.replay import drift
from netledger.testing.author import Universe
from netledger.testing.checkers import check_log
from netledger.testing.strategies import histories
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join

N1, E, C = identifier("n1"), identifier("n1/e"), identifier("c")
GROUND = [
    create_network("n1", "10.1.0.0/24", "fd01::/64"),
    create_endpoint("n1", "e", "8080:80"),
    create_sandbox("c"),
    join("n1/e", "c"),
]


class Crash(SystemExit):
    """The end of a process, where a test wants it."""


class CrashingDataplane(SimulatedDataplane):
    """Does so many steps and then dies; what it did is in the kernel."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        super().__init__(kernel, faults=self._count)
        self.namespaces.update(Universe().namespaces)
        self.steps_left: int | None = None

    def _count(self, _step) -> int:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Crash
        return 0


def crash(controller: Controller) -> None:
    """Let a process end here: its lock goes, and nothing is written down any more."""
    with (
        mock.patch.object(controller.ledger._recorder, "flush_cursors", return_value=None),
        mock.patch.object(controller._machine, "dataplane", None),
    ):
        controller.close()


def reopen(state, kernel, **attributes) -> Controller:
    """Start anew on what there is."""
    dataplane = Universe().dataplane(kernel)
    for name, value in attributes.items():
        setattr(dataplane, name, value)
    return Controller.open(state, dataplane=dataplane, synchronous="NORMAL")


def check(controller: Controller, kernel: SimulatedKernel) -> None:
    """Check that the kernel is as the log says, with nothing to mend."""
    with controller.reading() as views:
        assert kernel.objects == lower_everything(views, controller.host)
        assert not views.faults.owed
    assert drift(controller).agrees
    check_log(controller.history())


def steps_of(commands, before) -> int:
    """Count the kernel operations that commands take."""
    with Controller.open(dataplane="simulated") as controller:
        controller.execute(before)
        done = []
        apply = controller._machine.dataplane.apply
        controller._machine.dataplane.apply = lambda plan: done.extend(plan.steps) or apply(plan)
        controller.execute(commands)
    return len(done)


BATCHES = {
    "everything": ([], GROUND),
    "join": (GROUND[:3], GROUND[3:]),
    "leave": (GROUND, [LeaveEndpoint(E)]),
    "move": (GROUND, [LeaveEndpoint(E), join("n1/e", "c", interface="eth0")]),
    "take over": (
        [*GROUND, create_network("n0"), create_endpoint("n0", "e", "8081:80")],
        [join("n0/e", "c", priority=1)],
    ),
    "delete by force": (GROUND, [DeleteNetwork(N1, force=True), DeleteSandbox(C)]),
    "replace": (GROUND, [DeleteNetwork(N1, force=True), DeleteSandbox(C), *GROUND]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_crash_at_any_step_is_made_good(tmp_path, name):
    """Wherever in an apply a process dies, the next start makes the kernel as the log says; one more finds no work."""
    before, commands = BATCHES[name]
    for steps in range(steps_of(commands, before) + 1):
        kernel = SimulatedKernel()
        state = tmp_path / str(steps)
        dataplane = CrashingDataplane(kernel)
        first = Controller.open(state, dataplane=dataplane, synchronous="NORMAL")
        first.execute(before)
        dataplane.steps_left = steps
        try:
            for result in first.execute(commands):
                result.check()
        except Crash:
            assert steps < steps_of(commands, before)
        head = first.ledger.head
        crash(first)
        with reopen(state, kernel) as second:
            assert second.ledger.head == head, "what was durable is completed, and nothing is added to it"
            check(second, kernel)
            if second.recovery is not None:
                assert second.recovery.until == head
                assert second.recovery.faults == ()
        with reopen(state, kernel) as third:
            assert third.recovery is None
            check(third, kernel)


def test_recovery_says_what_it_did(state, kernel):
    """From which position to which, and a line for each kernel operation that was still to be done."""
    dataplane = CrashingDataplane(kernel)
    first = Controller.open(state, dataplane=dataplane)
    first.execute(GROUND[:3])
    since = first.ledger.head
    first.execute([create_sandbox("d")])
    dataplane.steps_left = 0
    with pytest.raises(Crash):
        first.execute(GROUND[3:])
    crash(first)
    with reopen(state, kernel) as second:
        recovery = second.recovery
        assert since <= recovery.since < recovery.until == second.ledger.head
        assert not recovery.has_rebooted
        assert all(line.startswith("+ ") for line in recovery.steps)
        assert not any(line.startswith("+ namespace/") for line in recovery.steps), "that was done before"
        assert str(recovery) == (
            f"recovered: {len(recovery.steps)} kernel operation(s) "
            f"of the events {recovery.since + 1} to {recovery.until}"
        )


@pytest.mark.parametrize(
    ("recovery", "said"),
    [
        (Recovery(32, 32, ("+ a", "+ b"), ()), "recovered: 2 kernel operation(s) that had failed before"),
        (
            Recovery(32, 32, ("+ a",), (), move="nftables to none"),
            "the firewall was moved from nftables to none: 1 kernel operation(s)",
        ),
        (
            Recovery(32, 32, ("+ a", "+ b"), ("no",), move="nftables to iptables", kept_rules="not all there"),
            (
                "the firewall is being moved from nftables to iptables: 1 kernel operation(s); "
                "1 more could not be done, see `netledger drift`; the old rules stay, "
                "a later start or `netledger repair` takes them away: not all there"
            ),
        ),
        (
            Recovery(32, 32, ("+ a", "+ b"), ("no",), move="nftables to iptables"),
            (
                "the firewall was moved from nftables to iptables: 1 kernel operation(s); "
                "1 more could not be done, see `netledger drift`"
            ),
        ),
    ],
)
def test_recovery_without_new_events(recovery, said):
    """What is made good is not about any events then: it had failed, or the firewall is another."""
    assert str(recovery) == said


def test_what_came_and_went_between_leaves_nothing(state, kernel):
    """Things that were made and deleted by a process that got half-way with both are not in the kernel afterwards."""
    dataplane = CrashingDataplane(kernel)
    first = Controller.open(state, dataplane=dataplane)
    dataplane.steps_left = 7
    with pytest.raises(Crash):
        first.execute(GROUND)
    assert kernel.objects
    crash(first)
    with Controller.open(state, dataplane="none") as writer:
        for result in writer.execute([DeleteNetwork(N1, force=True), DeleteSandbox(C)]):
            result.check()
    with reopen(state, kernel) as second:
        assert second.recovery is not None
        assert kernel.objects == {}
        check(second, kernel)


def test_what_another_writer_did_is_carried_out(state, kernel):
    """Events that were appended without a dataplane are carried out at the next start."""
    reopen(state, kernel).close()
    with Controller.open(state, dataplane="none") as writer:
        writer.execute(GROUND)
    assert kernel.objects == {}
    with reopen(state, kernel) as second:
        assert second.recovery is not None
        check(second, kernel)


def test_what_another_writer_does_meanwhile_is_carried_out_with_the_next_batch(state, kernel):
    """A controller with a dataplane also applies what others append, at the latest with its next batch."""
    with reopen(state, kernel) as controller, Controller.open(state, dataplane="none") as writer:
        writer.execute(GROUND)
        controller.execute([create_sandbox("d")])
        check(controller, kernel)
        writer.execute([LeaveEndpoint(E), DeleteEndpoint(E)])
        assert controller.execute([create_sandbox("d")])[0].error is not None
        check(controller, kernel)


def test_a_clean_end_leaves_nothing_to_do(state, kernel):
    """After `close` the next start neither observes nor applies."""
    with reopen(state, kernel) as first:
        first.execute(GROUND)
    with (
        mock.patch.object(SimulatedDataplane, "observe", side_effect=AssertionError("it observes")),
        mock.patch.object(SimulatedDataplane, "apply", side_effect=AssertionError("it applies")),
        reopen(state, kernel) as second,
    ):
        assert second.recovery is None


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(histories(max_batches=6), st.data())
def test_a_lost_or_stale_cursor_only_repeats_work(tmp_path_factory, batches, data):
    """From wherever the dataplane is said to be, a start finds every object so already and changes nothing."""
    state, kernel = tmp_path_factory.mktemp("stale") / "state", SimulatedKernel()
    with reopen(state, kernel) as first:
        for batch in batches:
            first.execute(batch)
        check(first, kernel)
        stale = data.draw(st.integers(0, first.ledger.head), label="stale cursor")
        first.ledger.set_cursor(first._machine.cursor, stale)
    with reopen(state, kernel) as second:
        assert second.recovery is None
        check(second, kernel)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(histories(max_batches=8), st.data())
def test_any_crash_in_any_history_is_made_good(tmp_path_factory, batches, data):
    """A process that dies in each of several batches, wherever, is followed by one whose kernel is as the log says."""
    state, kernel = tmp_path_factory.mktemp("crash") / "state", SimulatedKernel()
    for batch in batches:
        dataplane = CrashingDataplane(kernel)
        controller = Controller.open(state, dataplane=dataplane, synchronous="NORMAL")
        check(controller, kernel)
        dataplane.steps_left = data.draw(st.integers(0, 12), label="steps before the crash")
        try:
            controller.execute(batch)
        except Crash:
            crash(controller)
        else:
            dataplane.steps_left = None
            controller.close()
    with reopen(state, kernel) as last:
        check(last, kernel)


# --- reboots


def boot(state, kernel, number: int, **attributes) -> Controller:
    """Start a controller in a boot of that number."""
    return reopen(state, kernel, boot=f"boot{number}", **attributes)


def test_a_reboot_rebuilds_everything(state):
    """After a boot the kernel is blank: that is recorded, everything is made again, and one more start finds none."""
    before = SimulatedKernel()
    with boot(state, before, 1) as first:
        first.execute(GROUND)
    kernel = SimulatedKernel()
    with boot(state, kernel, 2) as second:
        assert second.recovery.has_rebooted
        assert "after a reboot" in str(second.recovery)
        assert kernel.objects == before.objects
        booted = [record.event for record in second.history() if isinstance(record.event, HostBooted)]
        assert [(event.boot, event.before) for event in booted] == [("boot2", "boot1")]
        check(second, kernel)
    with boot(state, kernel, 2) as third:
        assert third.recovery is None
        assert sum(isinstance(record.event, HostBooted) for record in third.history()) == 1


def test_a_crash_before_the_rebuild_is_made_good(state):
    """A process that recorded the boot and died before it rebuilt anything is followed by one that rebuilds."""
    with boot(state, SimulatedKernel(), 1) as first:
        first.execute(GROUND)
    kernel = SimulatedKernel()
    with (
        mock.patch.object(SimulatedDataplane, "apply", side_effect=Crash),
        pytest.raises(Crash),
    ):
        boot(state, kernel, 2)
    assert kernel.objects == {}
    with boot(state, kernel, 2) as second:
        assert second.recovery.has_rebooted
        check(second, kernel)


def test_a_crash_and_a_reboot_together_record_no_fault(state):
    """What a crashed process left undone and a reboot wiped out is rebuilt in one go."""
    dataplane = CrashingDataplane(SimulatedKernel())
    dataplane.boot = "boot1"
    first = Controller.open(state, dataplane=dataplane)
    first.execute(GROUND[:3])
    dataplane.steps_left = 1
    with pytest.raises(Crash):
        first.execute(GROUND[3:])
    crash(first)
    kernel = SimulatedKernel()
    with boot(state, kernel, 2) as second:
        assert second.recovery.faults == ()
        check(second, kernel)
        names = [type(record.event).__name__ for record in second.history()]
        assert "DataplaneFaulted" not in names
        assert names[0] == HostRegistered.__name__


def test_a_reboot_loses_namespaces_that_were_not_ours(state):
    """Attached sandboxes whose namespace is gone or another one are recorded as lost, their endpoints as left."""
    there = {
        f"/run/netns/{name}": NamespaceIdentity("boot1", number) for number, name in enumerate(["gone", "new", "old"])
    }
    attached = [
        create_sandbox(name, kind=SandboxKind.ATTACHED, path=f"/run/netns/{name}") for name in ("gone", "new", "old")
    ]
    endpoints = [create_endpoint("n1", name) for name in ("gone", "new", "old")]
    joins = [join(f"n1/{name}", name) for name in ("gone", "new", "old")]
    with boot(state, SimulatedKernel(), 1, namespaces=dict(there)) as first:
        for result in first.execute([*GROUND, *attached, *endpoints, *joins]):
            result.check()
    kernel = SimulatedKernel()
    after = {
        "/run/netns/new": NamespaceIdentity("boot2", 1),
        "/run/netns/old": there["/run/netns/old"],
    }
    with boot(state, kernel, 2, namespaces=after) as second:
        events = [record.event for record in second.history()]
        lost = {event.container: event.evidence for event in events if isinstance(event, SandboxLost)}
        assert lost == {
            "gone": "namespace /run/netns/gone is gone: the host has booted anew",
            "new": "namespace /run/netns/new has been replaced by another: the host has booted anew",
        }
        left = [event for event in events if isinstance(event, EndpointLeft)]
        assert {(event.endpoint, event.cause) for event in left} == {
            (identifier(f"n1/{name}"), evidence) for name, evidence in lost.items()
        }
        assert {sandbox.container for sandbox in second.sandboxes()} == {"c", "old"}
        check(second, kernel)


def test_no_boot_outlives_a_delegated_namespace(state):
    """A delegated sandbox whose namespace is not known is lost by a reboot, for it is gone with everything else."""
    with boot(state, SimulatedKernel(), 1) as first:
        delegated = [create_sandbox("d", kind=SandboxKind.DELEGATED), create_endpoint("n1", "d"), join("n1/d", "d")]
        for result in first.execute([*GROUND, *delegated]):
            result.check()
    kernel = SimulatedKernel()
    with boot(state, kernel, 2) as second:
        lost = [record.event for record in second.history() if isinstance(record.event, SandboxLost)]
        assert [(event.container, event.evidence) for event in lost] == [
            ("d", "its namespace is gone: the host has booted anew")
        ]
        check(second, kernel)


def test_the_first_known_boot_is_no_reboot_for_namespaces(state, kernel):
    """A log that began without a dataplane learns the boot at the first start with one, and loses nothing by it."""
    with Controller.open(state, dataplane="none") as writer:
        writer.execute(GROUND)
    with boot(state, kernel, 1) as first:
        check(first, kernel)
        assert not any(isinstance(record.event, SandboxLost) for record in first.history())


def test_a_volatile_dataplane_starts_from_the_first_event(state):
    """A simulated kernel that goes with its dataplane is filled anew at each start, without history's detours."""
    with Controller.open(state, dataplane="simulated") as first:
        first.execute([*GROUND, create_network("gone"), DeleteNetwork(identifier("gone"))])
        wanted = dict(first._machine.dataplane.kernel.objects)
    with Controller.open(state, dataplane="simulated") as second:
        assert second._machine.dataplane.kernel.objects == wanted
        assert second.recovery is None
