from __future__ import annotations

from unittest import mock

import pytest

from netledger import Controller
from netledger.dataplanes import subscriber as subscriber_module
from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import (
    AddAlias,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    LeaveEndpoint,
    RemoveAlias,
)
from netledger.domain.errors import DataplaneFault
from netledger.domain.events import (
    DataplaneFaulted,
    DriftDetected,
    DriftRepaired,
    EndpointAbandoned,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    NetworkCreated,
    NetworkDeleted,
)
from netledger.domain.objects import Address, Bridge, Firewall, Key, Namespace, PortForward, Route, VethPair
from netledger.projections.desired import lower_everything
from netledger.replay import drift, rebuild, repair
from netledger.testing.checkers import check_log
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join

BUSY = 16
N1, E, F, C = identifier("n1"), identifier("n1/e"), identifier("n1/f"), identifier("c")


class Faults:
    """A fault plan that a test changes: which kinds of object fail, at which verbs."""

    def __init__(self) -> None:
        self.kinds: tuple[type, ...] = ()
        self.verbs: tuple[Verb, ...] = (Verb.MAKE, Verb.REPLACE)
        self.interrupt = False
        self.times = 1_000_000

    def __call__(self, step) -> int:
        """Answer for one step."""
        if self.interrupt and isinstance(step.object, self.kinds):
            self.interrupt = False
            raise KeyboardInterrupt
        if not isinstance(step.object, self.kinds) or step.verb not in self.verbs or not self.times:
            return 0
        self.times -= 1
        return BUSY

    def hit(self, *kinds: type, verbs=(Verb.MAKE, Verb.REPLACE), times=1_000_000) -> None:
        """Let these fail from now on, so many times."""
        self.kinds, self.verbs, self.times = kinds, verbs, times


@pytest.fixture
def faults():
    """Give a fault plan in which nothing fails yet."""
    return Faults()


@pytest.fixture
def controller(start, kernel, faults):
    """Give a controller with a network, two endpoints and a sandbox."""
    controller = start(dataplane=SimulatedDataplane(kernel, faults=faults))
    for result in controller.execute(
        [
            create_network("n1", "10.1.0.0/24"),
            create_endpoint("n1", "e", "8080:80"),
            create_endpoint("n1", "f", "8081:80"),
            create_sandbox("c"),
        ]
    ):
        result.check()
    return controller


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that a test moves, in place of the one that retries go by."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(subscriber_module, "time", clock)
    return clock


def events(controller, *kinds):
    """List the events of these kinds."""
    return [record.event for record in controller.history() if isinstance(record.event, kinds)]


def check(controller, kernel, *, but=()):
    """Check that the kernel holds what the log calls for, but for these kinds, and that the log is right."""
    check_log(controller.history())
    with controller.reading() as views:
        wanted = dict(lower_everything(views, controller.host))
    there = {key: made for key, made in kernel.objects.items() if not isinstance(made, but)}
    assert there == {key: made for key, made in wanted.items() if not isinstance(made, but)}


@pytest.mark.parametrize("verb", ["leave", "delete"])
def test_what_was_gone_already_is_a_sign_that_the_firewall_is(verb):
    """A change that only removes puts all of the rest back, and the log says so; a whole firewall is not looked at."""
    kernel = SimulatedKernel()
    dataplane = SimulatedDataplane(kernel)
    asked = []
    with Controller.open(dataplane=dataplane) as controller:
        network = controller.create_network("n1", subnets=["10.1.0.0/24"])
        for name, port in (("a", "8080:80"), ("b", "8081:80"), ("c", "8082:80")):
            network.create_endpoint(name, ports=[port]).join(controller.create_sandbox(name))
        observe, dataplane.observe = dataplane.observe, lambda places: asked.append(1) or observe(places)
        controller.endpoint("c").leave()
        assert asked == []
        kernel.remove(Firewall())
        endpoint = controller.endpoint("b")
        endpoint.leave() if verb == "leave" else endpoint.delete(force=True)
        assert asked == [1]
        kinds = [type(record.event) for record in controller.history()][-2:]
        assert kinds == [DriftDetected, DriftRepaired]
        assert drift(controller).agrees
        assert Key("port/tcp/0.0.0.0:8080") in kernel.objects
        assert Key("port/tcp/0.0.0.0:8081") not in kernel.objects
        kernel.remove(Firewall())
        dataplane._faults = lambda step: BUSY if step.key == "firewall" else 0
        controller.endpoint("a").delete(force=True)  # is done, whatever becomes of the rest
        assert [type(record.event) for record in controller.history()].count(DriftDetected) == 1
        assert not drift(controller).agrees


@pytest.mark.parametrize("kind", [Bridge, Address])
def test_a_network_that_cannot_be_made_is_taken_back(controller, kernel, faults, kind):
    """The fault is an event, the network is deleted by events that say why and what they answer; the caller is told."""
    before = dict(kernel.objects)
    faults.hit(kind)
    result = controller.execute([create_network("n2", "10.2.0.0/24")])[0]
    created = next(record for record in result.events if isinstance(record.event, NetworkCreated))
    first = result.events[0].position
    assert isinstance(result.error, DataplaneFault)
    assert result.error.position == first
    assert result.error.number == BUSY
    with pytest.raises(DataplaneFault):
        result.check()
    assert events(controller, DataplaneFaulted)[0].verb == "make"
    deleted = events(controller, NetworkDeleted)
    assert [event.network for event in deleted] == [created.event.network]
    assert deleted[0].reason.startswith(f"compensates position {first}: ")
    assert "the fault plan says so" in deleted[0].reason
    assert kernel.objects == before
    check(controller, kernel)
    faults.hit()
    controller.do(create_network("n2", "10.2.0.0/24"))
    check(controller, kernel)


def test_a_batch_is_taken_back_in_one_append(controller, kernel, faults):
    """What failed and all that depends on it is taken back together: a crash never leaves half of a batch."""
    before = dict(kernel.objects)
    appended = []
    append = controller.ledger.append
    faults.hit(Bridge)
    with mock.patch.object(
        controller.ledger, "append", lambda events, *others: appended.append(events) or append(events, *others)
    ):
        results = controller.execute(
            [create_network("n2", "10.2.0.0/24"), create_endpoint("n2", "e", "9090:80"), join("n2/e", "c")], request="r"
        )
    assert [type(result.error) for result in results] == [DataplaneFault] * 3
    _, met, taken_back, mended = appended
    assert {type(event) for event in met} == {DataplaneFaulted}
    assert {type(event) for event in mended} == {DriftRepaired}
    ends = [type(event) for event in taken_back if isinstance(event, EndpointLeft | EndpointDeleted | NetworkDeleted)]
    assert ends == [EndpointLeft, EndpointDeleted, NetworkDeleted]
    undone = [event.request.partition("#")[0] for event in taken_back]
    assert list(dict.fromkeys(undone)) == ["r/2/undo/0", "r/1/undo/0", "r/0/undo/0"], "the last first"
    assert kernel.objects == before
    check(controller, kernel)


def test_nothing_is_owed_for_what_was_taken_back(start, state, kernel, faults):
    """After a compensation there is nothing to mend: the next start finds nothing to do."""
    controller = start(state, SimulatedDataplane(kernel, faults=faults))
    faults.hit(Bridge)
    controller.execute([create_network("n1")])
    with controller.reading() as views:
        assert not views.faults.owed
    controller.close()
    again = start(state, SimulatedDataplane(kernel))
    assert again.recovery is None
    check(again, kernel)


@pytest.mark.parametrize("kind", [VethPair, Address, Route, PortForward])
def test_a_join_that_fails_is_taken_back_and_the_rest_stands(controller, kernel, faults, kind):
    """Of a batch what failed is undone, in the log and in the kernel; what does not depend on it stands."""
    faults.hit(kind)
    results = controller.execute([create_sandbox("d"), join("n1/e", "c"), AddAlias(F, "db")])
    assert [type(result.error) for result in results] == [type(None), DataplaneFault, type(None)]
    left = events(controller, EndpointLeft)
    assert [event.endpoint for event in left] == [E]
    assert left[0].reason.startswith(f"compensates position {results[1].events[0].position}: ")
    check(controller, kernel)
    assert controller.endpoint("f").info().aliases == ("db",)
    assert controller.endpoint("e").sandbox is None
    faults.hit()
    controller.do(join("n1/e", "c"))
    check(controller, kernel)


def test_what_depends_on_a_failed_command_is_taken_back_with_it(controller, kernel, faults):
    """Endpoints, joins and aliases of a network that failed go with it, the last first; each is told the fault."""
    faults.hit(Bridge)
    results = controller.execute(
        [
            create_network("n2", "10.2.0.0/24"),
            create_endpoint("n2", "e"),
            AddAlias(identifier("n2/e"), "db"),
            join("n2/e", "c"),
            join("n1/e", "c"),
        ]
    )
    assert [type(result.error) for result in results] == [DataplaneFault] * 4 + [type(None)]
    assert len({result.error.key for result in results[:3]}) == 1
    assert results[0].error.key in str(results[3].error), "its own fault says what it stood on"
    with controller.reading() as views:
        assert list(views.networks.networks) == [N1]
        assert list(views.joined_to(C)) == [E]
    check(controller, kernel)


def test_what_was_undone_within_its_batch_is_not_undone_again(controller, kernel, faults):
    """A join that the same batch already left needs no compensation, although its sandbox failed."""
    faults.hit(Namespace)
    results = controller.execute([create_sandbox("d"), join("n1/e", "d"), LeaveEndpoint(E), RemoveAlias(F, "none")])
    assert isinstance(results[0].error, DataplaneFault)
    assert isinstance(results[1].error, DataplaneFault)
    check(controller, kernel)
    assert len(events(controller, EndpointLeft)) == 1


def test_a_sandbox_whose_namespace_fails_is_taken_back(controller, kernel, faults):
    """The sandbox is deleted again, by force, and what joined it with it."""
    faults.hit(Namespace)
    results = controller.execute([create_sandbox("d"), join("n1/e", "d")])
    assert [type(result.error) for result in results] == [DataplaneFault, DataplaneFault]
    assert [sandbox.container for sandbox in controller.sandboxes()] == ["c"]
    check(controller, kernel)


def test_a_fault_of_the_host_is_that_of_the_network_that_asked_for_it(start, kernel, faults):
    """When forwarding or the firewall cannot be had, the first network is taken back."""
    controller = start(dataplane=SimulatedDataplane(kernel, faults=faults))
    faults.hit(Firewall)
    result = controller.execute([create_network("n1")])[0]
    assert isinstance(result.error, DataplaneFault)
    assert kernel.objects == {}
    check(controller, kernel)


def test_a_refused_command_is_not_blamed(controller, kernel, faults):
    """What was refused keeps its refusal when another command of the batch fails."""
    faults.hit(Bridge)
    results = controller.execute([create_network("n1"), create_network("n2")])
    assert "is network n1" in str(results[0].error)
    assert isinstance(results[1].error, DataplaneFault)


DELETIONS = {
    "network": (DeleteNetwork(N1, force=True), Bridge),
    "endpoint": (DeleteEndpoint(E, force=True), VethPair),
    "sandbox": (DeleteSandbox(C, force=True), Namespace),
    "leave": (LeaveEndpoint(E), VethPair),
}


@pytest.mark.parametrize("name", DELETIONS)
def test_what_cannot_be_removed_is_gone_from_the_log_and_owed(controller, kernel, faults, clock, name):
    """The command is done, its result tells the fault, the object is drift, and it is removed when it is due."""
    command, kind = DELETIONS[name]
    controller.do(join("n1/e", "c"))
    faults.hit(kind, verbs=(Verb.REMOVE,))
    result = controller.execute([command])[0]
    assert result.error is None
    assert {type(fault.outcome.step.object) for fault in result.faults} == {kind}
    faulted = events(controller, DataplaneFaulted)
    assert {(event.verb, event.number) for event in faulted} == {("remove", BUSY)}
    left = {key for key, made in kernel.objects.items() if isinstance(made, kind)}
    assert {event.key for event in faulted} <= left
    if kind is not VethPair:
        assert not drift(controller).agrees
    other = controller.execute([create_sandbox("x")])[0]
    assert other.faults == (), "others are not told"
    faults.hit()
    controller.execute([create_sandbox("y")])
    assert left <= kernel.objects.keys(), "it is not due yet"
    clock.now += subscriber_module.RETRY_FIRST_SECONDS
    controller.execute([create_sandbox("z")])
    check(controller, kernel)
    assert drift(controller).agrees
    repaired = events(controller, DriftRepaired)
    assert len(repaired) == 1
    assert all(line.startswith("- ") for line in repaired[0].repairs)
    with controller.reading() as views:
        assert not views.faults.owed


def test_a_retry_backs_off(controller, kernel, faults, clock):
    """Each time that it fails again the pause doubles, up to a minute; the log has the fault once."""
    faults.hit(Bridge, verbs=(Verb.REMOVE,))
    controller.execute([DeleteNetwork(N1, force=True)])
    pauses = []
    for number in range(9):
        waited = 0.0
        before = faults.times
        while faults.times == before:
            clock.now += 0.5
            waited += 0.5
            controller.execute([AddAlias(F, f"a{number}{int(waited * 2)}")])
        pauses.append(waited)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(events(controller, DataplaneFaulted)) == 1


def test_what_was_owed_is_removed_at_the_next_start(start, state, kernel, faults):
    """A start that finds something owed observes, mends it, says so, and the start after that has nothing to do."""
    first = start(state, SimulatedDataplane(kernel, faults=faults))
    first.execute([create_network("n1")])
    faults.hit(Bridge, verbs=(Verb.REMOVE,))
    first.execute([DeleteNetwork(N1)])
    assert any(isinstance(made, Bridge) for made in kernel.objects.values())
    first.close()
    second = start(state, SimulatedDataplane(kernel))
    assert second.recovery is not None
    assert [line[:9] for line in second.recovery.steps] == ["- bridge/"]
    assert kernel.objects == {}
    second.close()
    third = start(state, SimulatedDataplane(kernel))
    assert third.recovery is None


def test_what_was_owed_and_went_by_itself_is_forgotten(start, state, kernel, faults):
    """An object that is gone at the next start is owed no longer, and is not looked for at every start."""
    first = start(state, SimulatedDataplane(kernel, faults=faults))
    first.execute([create_network("n1")])
    faults.hit(Bridge, verbs=(Verb.REMOVE,))
    first.execute([DeleteNetwork(N1)])
    first.close()
    kernel.clear()
    second = start(state, SimulatedDataplane(kernel))
    assert second.recovery is None
    with second.reading() as views:
        assert not views.faults.owed


def test_a_successor_that_cannot_be_put_in_place_is_owed(controller, kernel, faults, clock):
    """Leaving is done even where the next way out gets no route or ports; they are made when they are due."""
    for result in controller.execute([join("n1/e", "c"), join("n1/f", "c")]):
        result.check()
    with controller.reading() as views:
        gateway = views.gateway(C, 4)
    faults.hit(Route, PortForward)
    result = controller.execute([LeaveEndpoint(gateway)])[0]
    assert result.error is None
    assert {type(fault.outcome.step.object) for fault in result.faults} == {Route, PortForward}
    assert {event.verb for event in events(controller, DataplaneFaulted)} == {"make"}
    check(controller, kernel, but=(Route, PortForward))
    faults.hit()
    clock.now += subscriber_module.RETRY_FIRST_SECONDS
    controller.execute([AddAlias(F, "x")])
    check(controller, kernel)
    with controller.reading() as views:
        assert not views.faults.owed


def test_a_take_over_that_fails_gives_the_way_out_back(controller, kernel, faults):
    """Who joins with priority takes over; when its route cannot be had it is taken back, and the first is restored."""
    controller.do(create_network("n2", "10.2.0.0/24"))
    controller.do(create_endpoint("n2", "g", "8082:80"))
    controller.do(join("n1/e", "c"))
    faults.hit(Route, verbs=(Verb.REPLACE,), times=1)
    result = controller.execute([join("n2/g", "c", priority=1)])
    assert isinstance(result[0].error, DataplaneFault)
    check(controller, kernel)
    with controller.reading() as views:
        assert views.gateway(C, 4) == E
        assert views.is_published(E, 4)


def test_a_fault_while_compensating_tells_both(controller, kernel, faults, clock):
    """What failed and what failed to be taken back are in one group, each is recorded, and the others go on."""
    faults.hit(Bridge, verbs=(Verb.MAKE, Verb.REMOVE))
    with pytest.raises(ExceptionGroup) as caught:
        controller.execute([create_network("n2", "10.2.0.0/24"), create_network("n3", "10.3.0.0/24")])
    assert {type(error) for error in caught.value.exceptions} == {DataplaneFault}
    assert len(caught.value.exceptions) == 4
    assert [event.name for event in events(controller, NetworkDeleted)] == ["n3", "n2"]
    assert [event.verb for event in events(controller, DataplaneFaulted)].count("remove") == 2
    check(controller, kernel)
    faults.hit()
    clock.now += 120
    controller.do(create_network("n2", "10.2.0.0/24"))
    check(controller, kernel)
    with controller.reading() as views:
        assert not views.faults.owed


@pytest.mark.parametrize("kind", [Bridge, VethPair, Address, PortForward])
def test_an_interrupted_apply_is_made_good_by_the_next_batch(controller, kernel, faults, kind):
    """Ctrl-C in the middle of an apply leaves the log whole; the next batch ends with the kernel as the log says."""
    faults.hit(kind)
    faults.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        controller.execute([create_network("n2"), create_endpoint("n2", "e"), join("n1/e", "c"), join("n2/e", "c")])
    assert len(events(controller, EndpointJoined)) == 2, "what was decided is durable"
    faults.hit()
    controller.execute([LeaveEndpoint(E)])
    check(controller, kernel)
    assert drift(controller).agrees


@pytest.mark.parametrize("kind", [Bridge, VethPair, Address, PortForward])
def test_an_interrupted_removal_is_made_good_by_the_next_batch(controller, kernel, faults, kind):
    """The same for what was to be taken away, when what comes next brings some of it back."""
    controller.do(join("n1/e", "c"))
    faults.hit(kind, verbs=(Verb.REMOVE,))
    faults.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        controller.execute([DeleteNetwork(N1, force=True)])
    faults.hit()
    controller.execute([create_network("n1", "10.1.0.0/24"), create_endpoint("n1", "e", "8080:80"), join("n1/e", "c")])
    check(controller, kernel)
    assert len(events(controller, EndpointAbandoned)) == 1


def test_an_interruption_does_not_lose_what_nobody_asks_for_again(controller, kernel, faults):
    """After an interruption even a batch that is refused ends with the kernel as the log says."""
    faults.hit(VethPair)
    faults.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        controller.execute([join("n1/e", "c")])
    faults.hit()
    assert controller.execute([join("n1/e", "c")])[0].error is not None
    check(controller, kernel)


def test_what_was_owed_is_mended_once(controller, kernel, faults):
    """A repair that also makes good what is owed says so in one event, which has all of the repair."""
    controller.execute([create_endpoint("n1", "g"), join("n1/g", "c")])
    faults.hit(VethPair, verbs=(Verb.REMOVE,), times=1)
    controller.execute([LeaveEndpoint(identifier("n1/g"))])
    kernel.remove(next(made for made in kernel.objects.values() if isinstance(made, Bridge)))
    before = controller.ledger.head
    comparison = repair(controller).comparison
    (mended,) = [each.event for each in controller.history(after=before) if isinstance(each.event, DriftRepaired)]
    assert mended.repairs == comparison.lines
    assert {line.split()[0] for line in mended.repairs} >= {"-", "+"}
    assert not controller.views.faults.owed
    check(controller, kernel)


def test_a_rebuild_that_pays_what_was_owed_is_one_event(controller, kernel, faults):
    """What is owed is part of the host being made anew, and is recorded as that."""
    faults.hit(VethPair, verbs=(Verb.REMOVE,), times=1)
    controller.execute([join("n1/e", "c")])
    controller.execute([LeaveEndpoint(E)])
    before = controller.ledger.head
    rebuild(controller)
    assert [type(each.event).__name__ for each in controller.history(after=before)] == ["HostRebuilt"]
    assert not controller.views.faults.owed
    check(controller, kernel)
