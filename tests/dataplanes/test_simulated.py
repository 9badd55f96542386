from __future__ import annotations

import itertools

import pytest

from netledger.dataplanes.contract import Claim, Place, Plan, Status, Step, Verb
from netledger.dataplanes.simulated import KernelError, SimulatedDataplane, SimulatedKernel
from netledger.domain.facts import CHOSEN_PORTS, RESERVED_PORTS, NamespaceIdentity
from netledger.domain.objects import MAKING_ORDER, Address, Bridge, Firewall, Namespace, PortForward, VethPair
from netledger.domain.values import SandboxKind
from netledger.testing.contracts.dataplane import BASIC_KINDS, DataplaneContract, World, everything

BRIDGE = Bridge("br0", "n", b"\x02" + bytes(5), 0)


class Others:
    """Somebody else on the simulated host."""

    def __init__(self, dataplane: SimulatedDataplane) -> None:
        self.dataplane = dataplane
        self.cookies = itertools.count(1)

    def make_interface(self, name: str) -> None:
        self.dataplane.kernel.add_interface(name, "a dummy interface")

    def remove_interface(self, name: str) -> None:
        self.dataplane.kernel.unplug(name)

    def make_bridge(self, name: str) -> None:
        self.dataplane.kernel.add_bridge(name)

    def listen(self, port: int) -> None:
        claim = Claim(protocol=6, host_address=bytes(4), host_port=port)
        self.dataplane.obstacles[claim] = "process 7 (nginx)"

    def set_ports(self, reserved: str, chosen_from: str) -> None:
        self.dataplane.kernel.own.sysctls |= {RESERVED_PORTS: reserved, CHOSEN_PORTS: chosen_from}

    def make_namespace(self, name: str) -> str:
        path = f"/run/netns/{name}"
        self.dataplane.namespaces[path] = NamespaceIdentity(self.dataplane.boot, next(self.cookies))
        return path

    def remove_namespace(self, path: str) -> None:
        del self.dataplane.namespaces[path]


class TestSimulatedDataplane(DataplaneContract):
    """The simulated dataplane keeps the contract."""

    @pytest.fixture
    def dataplane(self) -> SimulatedDataplane:
        return SimulatedDataplane(SimulatedKernel())

    @pytest.fixture
    def others(self, dataplane: SimulatedDataplane) -> Others:
        return Others(dataplane)


class Deaf(SimulatedKernel):
    """A kernel that says yes to the first object of a kind and makes nothing."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind: type | None = kind

    def make(self, wanted):
        """Make all but one."""
        if type(wanted) is self.kind:
            self.kind = None
        else:
            super().make(wanted)


@pytest.mark.parametrize("kind", sorted(BASIC_KINDS, key=MAKING_ORDER.__getitem__))
def test_the_contract_notices_a_dropped_object(kind, tmp_path):
    """A dataplane that drops one applied object of any kind does not pass."""
    with pytest.raises(AssertionError):
        DataplaneContract().test_what_was_asked_for_is_what_is_observed(World(SimulatedDataplane(Deaf(kind)), tmp_path))


def test_observing_reads_the_kernel_and_not_the_plan(tmp_path):
    """What is changed behind the dataplane's back is observed as it is."""
    dataplane = SimulatedDataplane(SimulatedKernel())
    world = World(dataplane, tmp_path)
    world.do(*everything(world))
    bridge = next(thing for thing in world.wanted.values() if isinstance(thing, Bridge))
    dataplane.kernel.remove(bridge)
    assert bridge.key not in world.observed()


def test_a_fault_plan_decides_which_step_fails():
    """The fault plan is asked for each step, and its errno is in the fault."""
    asked = []

    def faults(step):
        asked.append(step.key)
        return 16 if isinstance(step.object, Bridge) else 0

    dataplane = SimulatedDataplane(faults=faults)
    outcomes = dataplane.apply(Plan((Step(Verb.MAKE, Firewall()), Step(Verb.MAKE, BRIDGE)), {}))
    assert [outcome.status for outcome in outcomes] == [Status.MADE, Status.FAULT]
    assert outcomes[1].fault.number == 16
    assert asked == ["firewall", "bridge/br0"]


def test_a_bridge_takes_so_many_ports():
    """The kernel answers EXFULL to the 1,024th port of a bridge."""
    kernel = SimulatedKernel()
    kernel.make(BRIDGE)
    pairs = [VethPair(f"nl{n}", f"e{n}", "br0", "", f"np{n}", BRIDGE.mac, 0, isolated=False) for n in range(1024)]
    for pair in pairs[:-1]:
        kernel.make(pair)
    with pytest.raises(KernelError) as caught:
        kernel.make(pairs[-1])
    assert caught.value.number == 54


@pytest.mark.parametrize(
    ("thing", "number"),
    [
        (VethPair("nl3", "e", "br1", "", "np1", BRIDGE.mac, 0, isolated=False), 19),
        (Address("s", "eth1", bytes(4), 24), 19),
        (PortForward(6, bytes(4), 80, bytes(4), 80), 2),
        (Bridge("br0", "other", BRIDGE.mac, 0), 17),
        (Bridge("eth0", "other", BRIDGE.mac, 0), 17),
        (VethPair("nl2", "e", "br0", "s", "eth0", BRIDGE.mac, 0, isolated=False), 17),
    ],
)
def test_the_kernel_refuses_what_has_no_ground(thing, number):
    """No bridge, no device, no table, a name that is taken: each has the kernel's errno."""
    kernel = SimulatedKernel()
    kernel.make(BRIDGE)
    kernel.make(Namespace("s", "/run/s"))
    kernel.make(VethPair("nl1", "e", "br0", "s", "eth0", BRIDGE.mac, 0, isolated=False))
    kernel.add_interface("eth0", "a network card")
    with pytest.raises(KernelError) as caught:
        kernel.make(thing)
    assert caught.value.number == number


def test_removing_what_is_not_there_is_an_error_of_the_kernel():
    """ENOENT; the dataplane makes `already so` of it."""
    with pytest.raises(KernelError):
        SimulatedKernel().remove(BRIDGE)
    outcomes = SimulatedDataplane().apply(Plan((Step(Verb.REMOVE, BRIDGE),), {}))
    assert [outcome.status for outcome in outcomes] == [Status.ALREADY]


def test_a_sandbox_is_entered_only_where_the_plan_says_that_it_is():
    """A step into a sandbox without a place, or whose namespace was not made, is a fault."""
    pair = VethPair("nl1", "e", "br0", "s", "eth0", BRIDGE.mac, 0, isolated=False)
    for places in ({}, {"s": Place(SandboxKind.MANAGED, "/run/s")}):
        dataplane = SimulatedDataplane()
        outcomes = dataplane.apply(Plan((Step(Verb.MAKE, BRIDGE), Step(Verb.MAKE, pair)), places))
        assert [outcome.status for outcome in outcomes] == [Status.MADE, Status.FAULT]
    steps = tuple(Step(Verb.MAKE, thing) for thing in (BRIDGE, Namespace("s", "/run/s"), pair))
    outcomes = SimulatedDataplane().apply(Plan(steps, places))
    assert {outcome.status for outcome in outcomes} == {Status.MADE}
