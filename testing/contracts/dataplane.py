"""The contract of `dataplanes/contract.py` as tests, the same for the simulated kernel and for a real one.

Subclass `DataplaneContract` and override its fixtures `dataplane` and `others`; `directory` may stay. What is asked for
comes from the rules and the lowering, so that every dataplane is held to what the engine really asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from msgspec import structs

from ...dataplanes.contract import Claim, Dataplane, Outcome, Place, Plan, Status, Step, Verb
from ...dataplanes.places import place_of
from ...dataplanes.plan import difference
from ...domain.commands import Command, DeleteEndpoint, DeleteNetwork, DeleteSandbox, LeaveEndpoint
from ...domain.facts import FEATURES
from ...domain.networks import links_of
from ...domain.objects import (
    TRACELESS,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Key,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    VethPair,
)
from ...domain.resolution import Resolution
from ...domain.values import SandboxId, SandboxKind
from ...projections.desired import lower_everything
from ..desk import HOST, Desk, create_endpoint, create_network, create_sandbox, identifier, join
from .firewalls import FirewallContract
from .kinds import KindsContract

ObjectT = TypeVar("ObjectT", bound=KernelObject)

SETTLE_SECONDS = 5.0
QUIET_SECONDS = 0.3
DONE = {Status.MADE, Status.REMOVED, Status.DYING, Status.ALREADY}
BRIDGE = "com.docker.network.bridge.name"
BASIC_KINDS = {Firewall, Bridge, Masquerade, ForwardPolicy, Namespace, VethPair, Address, Route, PortForward}
"""What every dataplane makes; a `Sysctl` may be so already."""
ICC = "com.docker.network.bridge.enable_icc"
MTU = "com.docker.network.driver.mtu"


class Others(Protocol):
    """What somebody else does on the same host."""

    def make_interface(self, name: str) -> None:
        """Make an interface in the host's namespace that bears no mark of ours."""

    def remove_interface(self, name: str) -> None:
        """Remove an interface of the host's namespace, whosoever it is."""

    def make_bridge(self, name: str) -> None:
        """Make a bridge in the host's namespace that bears no mark of ours, up."""

    def listen(self, port: int) -> None:
        """Hold a TCP port at every IPv4 address of the host."""

    def set_ports(self, reserved: str, chosen_from: str) -> None:
        """Set which ports the host reserves, like `80,90-99`, and from which it takes its own, like `40000 40100`."""

    def make_namespace(self, name: str) -> str:
        """Make a network namespace and return its path; the one that was there is replaced."""

    def remove_namespace(self, path: str) -> None:
        """Take it away."""


class World:
    """What is asked for, and what the dataplane was told so far."""

    def __init__(self, dataplane: Dataplane, directory: Path) -> None:
        self.dataplane = dataplane
        self.directory = directory
        self.desk = Desk()
        self.places: dict[SandboxId, Place] = {}
        self.wanted: Mapping[Key, KernelObject] = {}

    def sandbox(self, name: str, **others: object) -> Command:
        """Ask for a sandbox whose namespace, if it is ours, and files lie in the test's directory."""
        folder = self.directory.with_name("files") / name
        files = Resolution(hosts_path=str(folder / "hosts"), resolv_conf_path=str(folder / "resolv.conf"))
        return create_sandbox(name, **{"path": str(self.directory / name), "resolution": files, **others})

    def plan(self, *commands: Command) -> Plan:
        """Plan what these commands change, without observing."""
        before = self.wanted
        names = [name for command in commands for name in links_of(self.desk.views, HOST, command)]
        links = self.dataplane.links(names) if names else {}
        self.desk.do(*commands, capabilities=self.dataplane.capabilities(), links=links)
        for sandbox in self.desk.views.sandboxes.sandboxes:
            place = place_of(self.desk.views, sandbox)
            assert place is not None
            self.places[sandbox] = place
        self.wanted = lower_everything(self.desk.views, HOST)
        return difference(self.wanted, before, self.places)

    def apply(self, plan: Plan) -> dict[Key, Outcome]:
        """Apply a plan; every step is answered for, in order."""
        outcomes = self.dataplane.apply(plan)
        assert [outcome.step for outcome in outcomes] == list(plan.steps), "apply: one outcome for each step, in order"
        for outcome in outcomes:
            assert (outcome.fault is not None) == (outcome.status is Status.FAULT), f"a fault says why: {outcome}"
        return {outcome.step.key: outcome for outcome in outcomes}

    def do(self, *commands: Command) -> dict[Key, Outcome]:
        """Carry out commands, none of which may fail, and settle."""
        outcomes = self.apply(self.plan(*commands))
        assert {outcome.status for outcome in outcomes.values()} <= DONE, f"nothing may fail: {outcomes}"
        assert self.dataplane.settle(SETTLE_SECONDS), f"settle: nothing is dying after {SETTLE_SECONDS} s"
        return outcomes

    def observed(self) -> dict[Key, KernelObject]:
        """Read back what is there; nothing may be dying any more."""
        places = {key: place for key, place in self.places.items() if key in self.desk.views.sandboxes.sandboxes}
        observation = self.dataplane.observe(places)
        assert observation.dying == frozenset(), "after settle nothing is dying"
        assert all(key == thing.key for key, thing in observation.objects.items()), "observe: objects by their own keys"
        return dict(observation.objects)

    def of(self, kind: type[ObjectT]) -> list[ObjectT]:
        """List what is asked for of one kind."""
        return [thing for thing in self.wanted.values() if isinstance(thing, kind)]

    def check(self) -> None:
        """Check that what is observed is what is asked for, with nothing left to plan."""
        observed = self.observed()
        lasting = {key: thing for key, thing in self.wanted.items() if not isinstance(thing, TRACELESS)}
        missing = [str(key) for key in lasting if key not in observed]
        surplus = [str(key) for key in observed if key not in self.wanted]
        assert not missing, f"observe: these were applied and are not there: {missing}"
        assert not surplus, f"observe: these are there and nobody asked for them: {surplus}"
        for key, thing in lasting.items():
            assert observed[key] == thing, f"observe: {key} is {observed[key]}, and {thing} was applied"
        assert difference(self.wanted, observed, self.places).steps == (), "nothing is left to plan"


def everything(world: World) -> Sequence[Command]:
    """Ask for two networks and three endpoints, of every kind that there is."""
    return (
        create_network("n1", "10.5.0.0/24", "fd05::/64", options={MTU: 1400}),
        create_network("n2", "10.6.0.0/24", options={BRIDGE: "nlcontract", ICC: False}),
        create_network("n3", "10.7.0.0/24", internal=True),
        world.sandbox("c1"),
        world.sandbox("c2"),
        world.sandbox("c3", kind=SandboxKind.DELEGATED, path=""),
        create_endpoint("n1", "web", "18080:80", "18081:81/udp", "192.0.2.1:18082:82"),
        create_endpoint("n2", "web", "18083:80"),
        create_endpoint("n2", "db"),
        create_endpoint("n3", "db"),
        create_endpoint("n1", "job", "18084:80"),
        join("n1/web", "c1"),
        join("n2/web", "c1"),
        join("n2/db", "c2"),
        join("n3/db", "c2", interface="inside"),
        join("n1/job", "c3"),
    )


class DataplaneContract(KindsContract, FirewallContract):
    """What any dataplane keeps."""

    @pytest.fixture
    def dataplane(self) -> Dataplane:
        """Give the dataplane, on a host where nothing of ours is."""
        raise NotImplementedError

    @pytest.fixture
    def others(self, dataplane: Dataplane) -> Others:
        """Give somebody else on the dataplane's host."""
        raise NotImplementedError

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """Name a directory for the namespaces of sandboxes."""
        return tmp_path / "namespaces"

    @pytest.fixture
    def world(self, dataplane: Dataplane, directory: Path) -> World:
        """Give a world without anything."""
        return World(dataplane, directory)

    def test_a_blank_host_shows_nothing(self, world: World) -> None:
        """There is nothing of ours before anything was made, and an empty plan has no outcomes."""
        assert world.observed() == {}, "observe: a host where nothing was made shows nothing of ours"
        assert list(world.dataplane.apply(Plan((), {}))) == [], "apply: an empty plan has no outcomes"

    def test_what_was_asked_for_is_what_is_observed(self, world: World) -> None:
        """After apply and settle `observe` gives the very objects that were asked for, of every kind."""
        outcomes = world.do(*everything(world))
        made = {key for key, outcome in outcomes.items() if outcome.status is Status.MADE}
        assert {type(world.wanted[key]) for key in made} >= BASIC_KINDS
        world.check()

    def test_a_change_needs_no_observing(self, world: World) -> None:
        """Step by step, each planned from what was asked for before, the host follows."""
        for command in everything(world):
            world.do(command)
            world.check()
        for command in (
            LeaveEndpoint(identifier("n1/web")),
            join("n1/web", "c2"),
            DeleteEndpoint(identifier("n2/web"), force=True),
            DeleteSandbox(identifier("c1")),
            DeleteNetwork(identifier("n2"), force=True),
            DeleteSandbox(identifier("c3"), force=True),
        ):
            world.do(command)
            world.check()

    def test_applying_twice_changes_nothing(self, world: World) -> None:
        """The same plan again finds everything already so."""
        plan = world.plan(*everything(world))
        world.apply(plan)
        before = world.observed()
        again = world.apply(plan)
        changed = [outcome for outcome in again.values() if outcome.status is not Status.ALREADY]
        assert not changed, f"apply: the second time everything is already so: {changed}"
        assert world.observed() == before, "apply: the second time changes nothing"
        world.check()

    def test_what_is_removed_is_gone(self, world: World) -> None:
        """When everything is taken away nothing of ours is left, and taking it away again finds it so."""
        world.do(*everything(world))
        names = [identifier(name) for name in ("n1", "n2", "n3")]
        plan = world.plan(
            *(DeleteNetwork(name, force=True) for name in names),
            *(DeleteSandbox(identifier(name)) for name in ("c1", "c2", "c3")),
        )
        assert {outcome.status for outcome in world.apply(plan).values()} <= DONE
        assert world.dataplane.settle(SETTLE_SECONDS), f"settle: nothing is dying after {SETTLE_SECONDS} s"
        assert world.observed() == {}, "what was removed is not observed any more"
        assert {outcome.status for outcome in world.apply(plan).values()} <= {Status.ALREADY, Status.REMOVED}
        assert world.observed() == {}

    def test_moving_house_in_one_plan(self, world: World) -> None:
        """An endpoint that leaves and joins the same sandbox within one plan ends with its addresses and routes."""
        world.do(*everything(world))
        world.do(LeaveEndpoint(identifier("n1/web")), LeaveEndpoint(identifier("n2/db")), join("n1/web", "c1"))
        world.check()
        world.do(
            DeleteSandbox(identifier("c1"), force=True),
            world.sandbox("c1"),
            join("n2/web", "c1"),
            join("n1/web", "c1"),
        )
        world.check()

    def test_a_replaced_object_is_the_new_one(self, world: World) -> None:
        """An object that is altered becomes what is wanted, and what stands on it is there afterwards."""
        world.do(*everything(world))
        plan, restored = [], []
        for kind, changes in ((Bridge, {"mtu": 1300}), (Route, {"gateway": None}), (PortForward, {"port": 99})):
            for thing in world.of(kind)[:1]:
                altered = structs.replace(
                    thing, **{name: _other_host(thing) if value is None else value for name, value in changes.items()}
                )
                plan.append(Step(Verb.REPLACE, altered, thing))
                restored.append(Step(Verb.REPLACE, thing, altered))
        outcomes = world.apply(Plan(tuple(plan), world.places))
        assert {outcome.status for outcome in outcomes.values()} == {Status.MADE}, outcomes
        observed = world.observed()
        for step in plan:
            assert observed[step.key] == step.object
        assert _lasting(observed) == _lasting(world.wanted)
        world.apply(Plan(tuple(restored), world.places))
        world.check()

    def test_making_what_is_there_otherwise_puts_it_right(self, world: World) -> None:
        """A step that makes an object of ours that is there, but different, replaces it: nobody observed before."""
        world.do(*everything(world))
        bridge, route = world.of(Bridge)[0], world.of(Route)[0]
        altered = (structs.replace(bridge, mtu=1300), structs.replace(route, gateway=_other_host(route)))
        outcomes = world.apply(Plan(tuple(Step(Verb.MAKE, thing) for thing in altered), world.places))
        assert {outcome.status for outcome in outcomes.values()} == {Status.MADE}, outcomes
        observed = world.observed()
        assert [observed[thing.key] for thing in altered] == list(altered)

    def test_a_namespace_takes_along_what_is_in_it(self, world: World) -> None:
        """When its namespace alone is removed a sandbox's interfaces go too, and are planned again."""
        world.do(*everything(world))
        namespace = next(thing for thing in world.of(Namespace) if thing.sandbox == identifier("c2"))
        world.apply(Plan((Step(Verb.REMOVE, namespace),), world.places))
        assert world.dataplane.settle(SETTLE_SECONDS)
        observed = world.observed()
        assert not [thing for thing in observed.values() if getattr(thing, "sandbox", None) == identifier("c2")]
        outcomes = world.apply(difference(world.wanted, observed, world.places))
        assert {outcome.status for outcome in outcomes.values()} <= DONE, outcomes
        world.check()

    def test_a_foreign_interface_stops_only_what_needs_its_name(self, world: World, others: Others) -> None:
        """The object is a fault that names it, what depends on it a fault that names the object; the rest is made."""
        others.make_interface("nlcontract")
        outcomes = world.apply(world.plan(*everything(world)))
        bridge = Key("bridge/nlcontract")
        faults = {key: outcome.fault for key, outcome in outcomes.items() if outcome.status is Status.FAULT}
        assert bridge in faults, "somebody else has the bridge's name: it is a fault"
        assert "nlcontract" in str(faults[bridge]), f"the fault says who has the name: {faults[bridge]}"
        for thing in world.wanted.values():
            if isinstance(thing, VethPair) and thing.bridge == "nlcontract":
                fault = faults.get(thing.key)
                assert fault is not None, f"{thing.key} stands on {bridge}, which failed: it is a fault, too"
                assert bridge in fault.message, f"the fault of {thing.key} names {bridge}: {fault}"
        other = {
            key
            for key, thing in world.wanted.items()
            if isinstance(thing, Bridge | VethPair) and "nlcontract" not in (thing.name, getattr(thing, "bridge", ""))
        }
        assert not other & faults.keys()
        assert other <= world.observed().keys()
        assert bridge not in world.observed()
        world.apply(Plan((Step(Verb.REMOVE, world.wanted[bridge]),), world.places))
        assert world.dataplane.probe([Claim(device="nlcontract")]), "it is still there"

    def test_nothing_is_made_in_a_namespace_that_is_not_there(self, world: World) -> None:
        """Steps into a namespace that was never made are faults, wherever they would have gone; the others are done."""
        plan = world.plan(*everything(world))
        steps = tuple(step for step in plan.steps if step.key != f"namespace/{identifier('c1')}")
        for outcome in world.apply(Plan(steps, plan.places)).values():
            is_inside = getattr(outcome.step.object, "sandbox", None) == identifier("c1")
            if is_inside:
                assert outcome.status is Status.FAULT, outcome
            elif isinstance(outcome.step.object, VethPair):
                assert outcome.status is Status.MADE, outcome
        assert not [thing for thing in world.observed().values() if getattr(thing, "sandbox", "") == identifier("c1")]

    def test_probing_names_what_others_hold(self, world: World, others: Others) -> None:
        """A foreign interface and a foreign port are named; what is free or ours is not."""
        world.do(*everything(world))
        foreign = Claim(device="foreign0")
        port = Claim(protocol=6, host_address=bytes(4), host_port=18090)
        ours = [Claim(device="nlcontract"), Claim(protocol=6, host_address=bytes(4), host_port=18080)]
        assert dict(world.dataplane.probe([foreign, port, *ours])) == {}, "probe: what is free or ours is not named"
        others.make_interface("foreign0")
        others.listen(18090)
        found = world.dataplane.probe([foreign, port, *ours])
        assert set(found) == {foreign, port}, "probe: what somebody else holds is named, and nothing else"
        assert all(found.values())

    def test_a_published_port_is_held_or_its_holder_named(self, world: World, others: Others) -> None:
        """What is published can be held again by whoever holds it; what somebody else has names him."""
        world.do(*everything(world))
        ours = [
            Claim(protocol=port.protocol, host_address=port.host_address, host_port=port.host_port)
            for port in world.of(PortForward)
        ]
        foreign = Claim(protocol=6, host_address=bytes(4), host_port=18090)
        others.listen(18090)
        found = world.dataplane.hold([*ours, foreign])
        assert set(found) == {foreign}, "hold: what somebody else has is named, and nothing else"
        assert all(found.values())

    def test_a_watch_tells_what_others_change_and_nothing_that_we_do(self, world: World, others: Others) -> None:
        """A bridge of ours that somebody removes is told; what is applied is not."""
        world.do(*everything(world))
        with contextlib.closing(world.dataplane.watch()) as watch:
            world.do(create_network("n9", "10.9.0.0/24"), world.sandbox("c9"))
            world.do(create_endpoint("n9", "web", "18099:80"), join("n9/web", "c9"))
            assert watch.wait(QUIET_SECONDS) == (), "watch: what is applied is not told"
            others.remove_interface("nlcontract")
            assert watch.wait(SETTLE_SECONDS), "watch: what others remove is told"
        observed = world.observed()
        assert Key("bridge/nlcontract") not in observed

    def test_what_is_ours_is_no_block_of_the_host(self, world: World) -> None:
        """What the host uses is the same before and after our networks are made."""
        before = list(world.dataplane.taken_blocks())
        assert all(taken.block.prefix and taken.use for taken in before), "taken_blocks: no default route, a use each"
        world.do(*everything(world))
        assert list(world.dataplane.taken_blocks()) == before, "taken_blocks: ours are left out"

    def test_a_namespace_is_known_again(self, dataplane: Dataplane, others: Others, directory: Path) -> None:
        """The same namespace has the same identity, another at the same path has another, and none has none."""
        assert dataplane.identify(str(directory / "none")) is None
        path = others.make_namespace("blue")
        first = dataplane.identify(path)
        assert first is not None
        assert dataplane.identify(path) == first
        others.make_namespace("blue")
        second = dataplane.identify(path)
        assert second is not None
        assert second != first
        others.remove_namespace(path)
        assert dataplane.identify(path) is None

    def test_a_namespace_that_was_replaced_is_lost_and_not_entered(self, world: World, others: Others) -> None:
        """It is observed as lost, and a step into it is a fault."""
        path = others.make_namespace("blue")
        identity = world.dataplane.identify(path)
        attached = world.sandbox("c4", kind=SandboxKind.ATTACHED, path=path, identity=identity)
        world.do(*everything(world), attached, create_endpoint("n1", "blue"), join("n1/blue", "c4"))
        world.check()
        others.make_namespace("blue")
        observation = world.dataplane.observe(world.places)
        assert observation.lost == {identifier("c4")}
        inside = [thing for thing in world.wanted.values() if getattr(thing, "sandbox", None) == identifier("c4")]
        outcomes = world.apply(Plan(tuple(Step(Verb.MAKE, thing) for thing in inside), world.places))
        assert {outcome.status for outcome in outcomes.values()} == {Status.FAULT}
        assert world.dataplane.observe(world.places).lost == {identifier("c4")}

    def test_it_says_what_it_lacks_by_known_names(self, dataplane: Dataplane) -> None:
        """What is missing is one of the features that drivers ask for, with a reason; a boot has a name."""
        missing = dataplane.capabilities().missing
        assert set(missing) <= set(FEATURES)
        assert all(missing.values())
        assert dataplane.boot_id() == dataplane.boot_id() != ""
        assert dataplane.name, "a dataplane has a name"


def _lasting(things: Mapping[Key, KernelObject]) -> set[Key]:
    return {key for key, thing in things.items() if not isinstance(thing, TRACELESS)}


def _other_host(thing: KernelObject) -> bytes:
    """Name another address in the subnet of a route's gateway."""
    assert isinstance(thing, Route)
    return thing.gateway[:-1] + bytes([thing.gateway[-1] + 9])
