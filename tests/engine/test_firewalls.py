"""Which firewall a host has: an event, and a move that any start finishes."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress

import pytest

from netledger import Controller
from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.dataplanes.subscriber import Subscriber
from netledger.domain.commands import ChooseFirewall
from netledger.domain.errors import Conflict, DataplaneFault, Invalid, Unavailable
from netledger.domain.events import DataplaneFaulted, DriftDetected, FirewallChosen, FirewallRetired, HostRegistered
from netledger.domain.facts import Capabilities
from netledger.domain.objects import Bridge, Masquerade, is_of_firewall
from netledger.engine.firewalls import NOT_THERE, FirewallRequest
from netledger.engine.machine import Machine as Engine
from netledger.engine.watching import keep_watch
from netledger.projections.views import Views
from netledger.replay import drift, plan, rebuild, repair


class Machine(SimulatedDataplane):
    """A host on which a firewall is chosen: each backend has rules of its own, which stay until they are taken away.

    `lacking`: why a backend cannot be used; `stuck`: whose rules cannot be taken away. `told`: what was done, in order.
    """

    def __init__(self, kernel, rules, *, lacking=(), stuck=(), faults=None):
        super().__init__(kernel, faults=faults)
        self.firewall = "nftables"
        self.rules = rules
        self.lacking = dict(lacking)
        self.stuck = set(stuck)
        self.told = []

    def capabilities(self, firewall=""):
        """Lack what is lacking."""
        name = firewall or self.firewall
        return Capabilities({"firewall": self.lacking[name]} if name in self.lacking else {}, name == "none")

    def use_firewall(self, backend):
        """Put the other one's rules aside, and go on with this one's."""
        self.told.append(f"use {backend}")
        objects = self.kernel.objects
        mine = {key: thing for key, thing in objects.items() if is_of_firewall(thing)}
        self.rules[self.firewall] = mine
        for thing in sorted(mine.values(), key=str, reverse=True):
            with suppress(KeyError):
                self.kernel.remove(thing)
        for thing in self.rules.pop(backend, {}).values():
            self.kernel.make(thing)
        self.firewall = backend

    def apply(self, plan):
        """Say whether rules are made or taken away one by one."""
        verbs = {step.verb for step in plan.steps if is_of_firewall(step.object)}
        self.told += [f"{self.firewall}: {verb.name.lower()}" for verb in sorted(verbs, key=lambda verb: verb.name)]
        return super().apply(plan)

    def retire(self, backend):
        """Take its rules away."""
        if backend in self.stuck:
            raise DataplaneFault(f"firewall/{backend}", "the lock is held", number=errno.EBUSY)
        self.told.append(f"retire {backend}")
        return bool(self.rules.pop(backend, {}))


class Host:
    """A host that processes come to and go from: its state directory, its kernel, the rules of the others."""

    def __init__(self, state):
        self.state = state
        self.kernel = SimulatedKernel()
        self.kernel.add_card("eth0")
        self.rules = {}

    def open(self, *, recover=True, firewall=None, **how):
        """Start a process."""
        dataplane = Machine(self.kernel, self.rules, **how)
        return Controller.open(self.state, dataplane=dataplane, actor="op", firewall=firewall, recover=recover)

    def has_rules(self):
        """Tell whose rules there are besides those of the backend that was used last."""
        return {name for name, there in self.rules.items() if there}


@pytest.fixture
def host(tmp_path):
    """Give a host with a network, on nftables."""
    made = Host(tmp_path / "state")
    with made.open() as controller:
        endpoint = controller.create_network("n1").create_endpoint("web", ports=["8080:80"])
        endpoint.join(controller.create_sandbox("c"))
    return made


def choices(controller):
    """Tell of firewalls what the log has."""
    kinds = (FirewallChosen, FirewallRetired)
    return [
        f"{type(event).__name__} {event.backend}"
        for event in (record.event for record in controller.history())
        if isinstance(event, kinds)
    ]


def test_a_new_host_takes_the_first_that_works(tmp_path):
    """Before anything else, and what decided is in the event; the next start adds nothing."""
    made = Host(tmp_path / "state")
    lacking = {"nftables": "libnftables.so.1 cannot be loaded"}
    with made.open(lacking=lacking) as controller:
        registered, chosen = (record.event for record in controller.history())
        assert isinstance(registered, HostRegistered)
        assert (chosen.backend, chosen.asked, chosen.lacking) == ("iptables", "auto", lacking)
        assert controller.dataplane.firewall == "iptables"
        assert controller.recovery is None
        state = controller.firewall.state()
        assert state.why == "the first that works; not nftables: libnftables.so.1 cannot be loaded"
        assert (state.position, state.actor, state.retiring) == (2, "op", ())
    with made.open(lacking=lacking) as controller:
        assert controller.ledger.head == 2
        assert controller.dataplane.firewall == "iptables"


def test_where_none_works_none_is_chosen_yet(tmp_path):
    """A start is not refused for it, and the next one asks again."""
    made = Host(tmp_path / "state")
    with made.open(lacking={"nftables": "no", "iptables": "no"}) as controller:
        assert controller.firewall.state() is None
    with made.open() as controller:
        assert controller.firewall.state().backend == "nftables"


def test_a_named_one_at_the_first_start(tmp_path):
    """It is the first choice, and with it nothing was left."""
    made = Host(tmp_path / "state")
    with made.open(firewall="iptables") as controller:
        assert choices(controller) == ["FirewallChosen iptables"]
        assert controller.dataplane.told == ["use iptables"]
    with made.open(firewall=FirewallRequest("iptables", reason="as ever")) as controller:
        assert choices(controller) == ["FirewallChosen iptables"]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_move(host, is_open):
    """The event comes first, then the new rules, then the old ones go, and that is an event."""
    if is_open:
        controller = host.open()
        state = controller.firewall.use("iptables", reason="they insist", actor="boss", request="r1")
        assert (state.backend, state.why, state.actor, state.reason) == ("iptables", "asked for", "boss", "they insist")
    else:
        controller = host.open(firewall="iptables")
        assert str(controller.recovery).startswith("the firewall was moved from nftables to iptables: ")
    with controller:
        assert controller.dataplane.told == ["use iptables", "iptables: make", "retire nftables"]
        assert choices(controller)[1:] == ["FirewallChosen iptables", "FirewallRetired nftables"]
        assert host.has_rules() == set()
        assert drift(controller).agrees
        before = controller.ledger.head
        controller.firewall.use("iptables", request="r2")
        assert controller.ledger.head == before
        controller.create_network("n2")
    with host.open() as controller:
        assert controller.recovery is None
        assert controller.dataplane.told == ["use iptables"]


def test_the_same_request_again_moves_nothing_back(host):
    """It is answered as the first time."""
    with host.open() as controller:
        controller.firewall.use("iptables", request="r1")
        controller.firewall.use("nftables", request="r2")
        assert controller.firewall.use("iptables", request="r1").backend == "nftables"


def test_to_none_and_back(host):
    """Nothing is programmed then, and what was decided with rules takes effect again with the next firewall."""
    with host.open() as controller:
        controller.firewall.use("none")
        assert drift(controller).agrees
        assert not any(map(is_of_firewall, host.kernel.objects.values()))
        controller.create_network("n2")
        controller.firewall.use("nftables")
        assert drift(controller).agrees
        assert sum(isinstance(thing, Masquerade) for thing in host.kernel.objects.values()) == 2


@pytest.mark.parametrize("where", ["use_firewall", "apply", "observe", "retire"])
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_move_that_dies(host, monkeypatch, where, is_open, when):
    """Whatever it dies at, the next start finishes it unasked; until the new rules are there the old ones stay."""

    class Died(BaseException):
        pass

    called = getattr(Machine, where)

    def die(dataplane, *arguments):
        if when == "after":
            called(dataplane, *arguments)
        raise Died

    controller = host.open() if is_open else None
    act = controller.firewall.use if is_open else lambda name: host.open(firewall=name)
    with monkeypatch.context() as patch:
        patch.setattr(Machine, where, die)
        with pytest.raises(Died):
            act("iptables")
    if controller is not None:
        controller.close()
    if (where, when) != ("retire", "after"):
        assert any(map(is_of_firewall, host.kernel.objects.values())) or host.has_rules() == {"nftables"}
    with host.open() as controller:
        assert str(controller.recovery).startswith("the firewall was moved from nftables to iptables: ")
        assert choices(controller)[-1] == "FirewallRetired nftables"
        assert host.has_rules() == set()
        assert drift(controller).agrees
    with host.open() as controller:
        assert controller.recovery is None


def fails(kind):
    """Let each making of a kind of object fail."""
    return lambda step: errno.EBUSY * (step.verb is not Verb.REMOVE and isinstance(step.object, kind))


def test_new_rules_that_cannot_all_be_made(host):
    """The old ones stay; drift shows it, and a repair finishes the move."""
    with host.open(faults=fails(Masquerade)) as controller:
        state = controller.firewall.use("iptables")
        assert (state.backend, state.retiring, state.kept) == ("iptables", ("nftables",), NOT_THERE)
        assert host.has_rules() == {"nftables"}
        [result] = controller.execute([ChooseFirewall("iptables", lacking={})])
        assert result.error is None
        assert drift(controller).retiring == ("nftables",)
        assert not drift(controller).agrees
    with host.open(recover=False) as controller:
        assert plan(controller).retiring == ("nftables",)
        assert repair(controller).faults == ()
        assert choices(controller)[-1] == "FirewallRetired nftables"
        assert drift(controller).agrees
    assert host.has_rules() == set()


def test_the_command_tells_which_rules_could_not_be_made(host):
    """They are its faults, and those of nothing else."""
    with host.open(faults=fails(Masquerade)) as controller:
        [result] = controller.execute([ChooseFirewall("iptables")])
        assert [fault.outcome.step.object for fault in result.faults]
        assert all(isinstance(fault.outcome.step.object, Masquerade) for fault in result.faults)


def test_old_rules_that_cannot_be_taken_away_now(host):
    """It is told; the host can be used, and the next start goes on with it."""
    with host.open(firewall="iptables", stuck={"nftables"}) as controller:
        told = str(controller.recovery)
        assert told.startswith("the firewall is being moved from nftables to iptables: ")
        kept = "the old rules stay, a later start or `netledger repair` takes them away"
        assert told.endswith(f"{kept}: firewall/nftables: the lock is held")
        done = repair(controller)
        assert done.faults == ("the rules of the firewall nftables stay: firewall/nftables: the lock is held",)
        controller.create_network("n2")
        assert host.has_rules() == {"nftables"}
    with host.open() as controller:
        assert choices(controller)[-1] == "FirewallRetired nftables"
    assert host.has_rules() == set()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_fault_of_something_else_does_not_keep_old_rules(host, is_open):
    """What is no rule has nothing to do with the move."""
    bridge = next(thing for thing in host.kernel.objects.values() if isinstance(thing, Bridge))
    with host.open() as controller:
        controller.create_network("n2")
    host.kernel.remove(bridge)
    with host.open(faults=fails(Bridge), recover=False) as controller:
        assert repair(controller).faults
    controller = host.open(faults=fails(Bridge), firewall=None if is_open else "iptables")
    with controller:
        if is_open:
            controller.firewall.use("iptables")
        assert any(isinstance(record.event, DataplaneFaulted) for record in controller.history())
        assert choices(controller)[-1] == "FirewallRetired nftables"
        assert host.has_rules() == set()


def test_a_move_mends_nothing_else(host):
    """Drift stays for `drift` to show and `repair` to record."""
    bridge = next(thing for thing in host.kernel.objects.values() if isinstance(thing, Bridge))
    host.kernel.remove(bridge)
    with host.open(firewall="iptables") as controller:
        assert any(line.startswith(f"+ {bridge.key}") or bridge.name in line for line in drift(controller).lines)
        assert bridge.key not in host.kernel.objects


def test_a_blank_host_is_rebuilt_with_the_firewall_of_its_log(host):
    """Nothing but the log says which one it is."""
    with host.open(firewall="iptables"):
        pass
    host.kernel.clear()
    host.rules.clear()
    with host.open(recover=False) as controller:
        rebuild(controller)
        assert controller.dataplane.told == ["use iptables", "iptables: make"]
        assert drift(controller).agrees


def test_a_blank_host_without_that_firewall(host):
    """It can be moved all the same, if somebody says that nothing of it is left there."""
    with host.open(firewall="iptables"):
        pass
    host.kernel.clear()
    host.rules.clear()
    lacking = {"iptables": "no such library"}
    with pytest.raises(Unavailable, match="what iptables has programmed cannot be taken away here: no such library"):
        host.open(firewall="nftables", lacking=lacking)
    with host.open(firewall=FirewallRequest("nftables", force=True), lacking=lacking) as controller:
        assert choices(controller)[-2:] == ["FirewallChosen nftables", "FirewallRetired iptables"]
        assert "retire iptables" not in controller.dataplane.told


def test_a_rebuild_of_a_log_that_names_none(tmp_path):
    """A log of events alone has no firewall yet: the rebuild chooses."""
    made = Host(tmp_path / "state")
    with Controller.open(made.state, dataplane="none") as controller:
        controller.create_network("n1")
        assert choices(controller) == []
    with made.open(recover=False) as controller:
        rebuild(controller)
        assert choices(controller) == ["FirewallChosen nftables"]
        assert drift(controller).agrees


def test_another_writer_moves_the_host(host):
    """Whoever has the dataplane follows with its next command; a watch does it at once."""
    with host.open() as controller, Controller.open(host.state, dataplane="none") as writer:
        writer.firewall.use("iptables")
        controller.create_network("n2")
        assert choices(controller)[-1] == "FirewallRetired nftables"
        writer.firewall.use("nftables")
        stop = threading.Event()
        finding = next(keep_watch(controller, stop))
        stop.set()
        assert finding.comparison.retiring == ("iptables",)
        assert choices(controller)[-1] == "FirewallRetired iptables"
        assert host.has_rules() == set()
        assert drift(controller).agrees


def test_a_batch_is_decided_with_the_firewall_that_it_chose(tmp_path):
    """What the old one could make and the new one cannot is refused behind the choice."""
    made = Host(tmp_path / "state")
    with made.open() as controller:
        asked = []
        capabilities = controller.dataplane.capabilities
        controller.dataplane.capabilities = lambda name="": asked.append(name) or capabilities(name)
        network = controller.create_network("n1")
        controller.execute([ChooseFirewall("none"), ChooseFirewall("iptables")])
        assert network.info().name == "n1"
        assert asked.count("none") >= 1
        assert controller.dataplane.firewall == "iptables"


def test_the_choice_is_in_the_views_digest(host):
    """Two logs that differ in nothing but the firewall are not the same state."""
    with host.open() as controller:
        log = list(controller.history())
    views, other = Views(), Views()
    for record in log:
        views.fold(record.position, record.event)
        if not isinstance(record.event, FirewallChosen):
            other.fold(record.position, record.event)
    assert views.digest() != other.digest()


def test_a_host_that_is_only_looked_at_is_not_moved(host):
    """Neither reading nor a repair takes a firewall."""
    for how in ({"recover": False}, {"read_only": True}):
        with pytest.raises(Invalid, match="move the host to the firewall none"):
            Controller.open(host.state, dataplane="none", firewall="none", **how)


def test_a_firewall_that_there_is_not(tmp_path):
    """It is refused before anything is made."""
    with pytest.raises(Invalid) as caught:
        Controller.open(tmp_path / "state", firewall="pf")
    assert str(caught.value) == "firewall 'pf': unknown; known: nftables, iptables, none, auto"
    assert not (tmp_path / "state").exists()


def test_events_alone(tmp_path):
    """Without a dataplane a name is taken as it is; what works, nobody can tell."""
    with Controller.open(tmp_path / "state", dataplane="none") as controller:
        assert controller.firewall.state() is None
        assert controller.firewall.use("iptables").backend == "iptables"
        with pytest.raises(Unavailable, match="nobody has looked which one works on this host"):
            controller.firewall.use("auto")


class WithoutFirewall(SimulatedDataplane):
    """A dataplane that leaves the firewall to somebody else, and notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def capabilities(self, firewall=""):  # it is the same with every one
        """Publish no ports, isolate nothing."""
        return Capabilities({"published ports": "it programs nothing", "internal networks": "nor that"}, True)

    def apply(self, plan):
        """Note what is asked for."""
        self.asked += [step.object for step in plan.steps]
        return super().apply(plan)


def test_without_a_firewall_what_it_would_do_is_refused_or_not_asked_for():
    """Published ports and internal networks are refused before any event; of the firewall's objects none is asked."""
    dataplane = WithoutFirewall()
    with Controller.open(dataplane=dataplane) as controller:
        network = controller.create_network("n1")
        head = controller.ledger.head
        with pytest.raises(Unavailable) as caught:
            network.create_endpoint("e1", ports=["8080:80"])
        assert "this host cannot make 'published ports': it programs nothing; see `netledger doctor`" in str(
            caught.value
        )
        with pytest.raises(Unavailable, match="cannot make 'internal networks': nor that"):
            controller.create_network("n2", internal=True)
        assert controller.ledger.head == head
        network.create_endpoint("e2").join(controller.create_sandbox("c"))
    assert any(isinstance(thing, Bridge) for thing in dataplane.asked)
    assert not [thing for thing in dataplane.asked if is_of_firewall(thing)]


def test_a_forced_move_that_dies_behind_its_events(host):
    """Nothing is retiring then, and the next start makes the rules all the same; the one after has nothing to tell."""
    for where in ("use_firewall", "make_firewall"):
        name, old = ("iptables", "nftables") if where == "use_firewall" else ("nftables", "iptables")

        class Died(BaseException):
            pass

        def die(*_, died=Died):
            raise died

        lacking = {old: "no such library"}
        with pytest.MonkeyPatch.context() as patch, host.open(lacking=lacking) as controller:
            patch.setattr(Machine if where == "use_firewall" else Subscriber, where, die)
            with pytest.raises(Died):
                controller.firewall.use(name, force=True)
        host.rules.clear()
        with host.open(lacking=lacking) as controller:
            assert str(controller.recovery).startswith(f"the firewall was moved from {old} to {name}: ")
            assert drift(controller).agrees
        with host.open(lacking=lacking) as controller:
            assert controller.recovery is None


@pytest.mark.parametrize("is_open", [True, False])
def test_another_writer_in_the_middle_of_a_move(host, monkeypatch, is_open):
    """What it appends while the move records something is applied, too, and the move goes on."""
    with Controller.open(host.state, dataplane="none") as writer:
        use, names = Machine.use_firewall, iter(("n2", "n3"))

        def use_firewall(dataplane, backend):
            use(dataplane, backend)
            monkeypatch.setattr(Machine, "use_firewall", use)
            writer.create_network(next(names))

        record = Engine._record_faults  # where an advance folds what others have appended

        def record_faults(machine, faults, author):
            record(machine, faults, author)
            name = next(names, None)
            if name is not None:
                writer.create_network(name)
                machine.catch_up()

        monkeypatch.setattr(Engine, "_record_faults", record_faults)
        if is_open:
            controller = host.open()
            assert controller.firewall.use("iptables").retiring == ()
        else:
            controller = host.open(firewall="iptables")
        with controller:
            controller.create_network("n4")
            assert controller.firewall.state().retiring == ()
            assert drift(controller).agrees


def test_comparing_before_a_move_that_another_writer_asked_for(host):
    """The firewall in use stays so: the next change applies what is due with it, finds no drift, and then moves."""
    with host.open() as controller, Controller.open(host.state, dataplane="none") as writer:
        writer.firewall.use("iptables")
        assert drift(controller).retiring == ("nftables",)
        assert controller.dataplane.firewall == "nftables"
        controller.create_network("n2")
        assert controller.dataplane.firewall == "iptables"
        assert not any(isinstance(record.event, DriftDetected | DataplaneFaulted) for record in controller.history())
        assert drift(controller).agrees


def test_another_plan_than_the_one_shown_chooses_nothing(tmp_path):
    """A rebuild that is refused has appended no event."""
    made = Host(tmp_path / "state")
    with Controller.open(made.state, dataplane="none") as controller:
        controller.create_network("n1")
    with made.open(recover=False) as controller:
        before = controller.ledger.head
        with pytest.raises(Conflict, match="apply plan 0123"):
            rebuild(controller, expected="0123")
        assert controller.ledger.head == before


def test_back_from_a_firewall_that_never_worked(host):
    """Who could not look has chosen it; the one before, still there, is taken back unforced, and works at once.

    Whether nothing of the other can be left only a person knows.
    """
    lacking = {"iptables": "no such library"}
    with Controller.open(host.state, dataplane="none") as writer:
        writer.firewall.use("iptables")
    with host.open(lacking=lacking, faults=fails(Masquerade)) as controller:
        assert controller.firewall.state().retiring == ("nftables",)
    with host.open(lacking=lacking, stuck={"iptables"}, firewall="nftables") as controller:
        assert choices(controller)[-1] == "FirewallChosen nftables"
        assert controller.firewall.state().retiring == ("iptables",)
        controller.create_network("n3")
        assert controller.firewall.use("nftables", force=True).retiring == ()
        assert choices(controller)[-1] == "FirewallRetired iptables"
        assert drift(controller).agrees
        controller.create_network("n2")
