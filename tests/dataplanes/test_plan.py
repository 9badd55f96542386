from __future__ import annotations

import random

import pytest

from netledger.dataplanes.contract import Place, Plan, Step, Verb
from netledger.dataplanes.plan import describe, difference, digest
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import LeaveEndpoint
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import (
    Address,
    Announcement,
    Bridge,
    Firewall,
    Macvlan,
    Namespace,
    PortForward,
    Route,
    VethPair,
)
from netledger.domain.values import SandboxKind, Subnet
from netledger.projections.desired import lower_everything
from tests.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, identifier, join

MAC = b"\x02" + bytes(5)
SANDBOX = identifier("c")
NAMESPACE = Namespace(SANDBOX, "/run/c")
BRIDGE = Bridge("br0", "n", MAC, 0)
PAIR = VethPair("nl1", "e", "br0", SANDBOX, "eth0", MAC, 0, isolated=False)
ADDRESS = Address(SANDBOX, "eth0", bytes([10, 0, 0, 2]), 24)
ROUTE = Route(SANDBOX, "eth0", Subnet(bytes(4), 0), bytes([10, 0, 0, 1]))
PORT = PortForward(6, bytes(4), 80, bytes([10, 0, 0, 2]), 80)
ALL = (NAMESPACE, BRIDGE, PAIR, ADDRESS, ROUTE, PORT, Firewall())


def keyed(*things):
    """Give objects by key."""
    return {thing.key: thing for thing in things}


@pytest.fixture
def wanted():
    """Give what a host with a network and an endpoint calls for."""
    desk = Desk()
    desk.do(create_network("n"), create_endpoint("n", "e", "80:80"), create_sandbox("c"), join("n/e", "c"))
    return dict(lower_everything(desk.views, HOST))


def test_equal_sets_need_nothing(wanted):
    """The plan between equal sets is empty."""
    assert difference(wanted, dict(wanted), {}).steps == ()


def test_things_are_made_in_order_and_removed_in_reverse(wanted):
    """Settings and firewall first, ports last; removal is the other way round."""
    making = [type(step.object).__name__ for step in difference(wanted, {}, {}).steps]
    assert making[:3] == ["Sysctl", "Firewall", "Bridge"]
    assert making[-1] == "PortForward"
    assert making.index("Namespace") < making.index("VethPair") < making.index("Route")
    removing = [type(step.object).__name__ for step in difference({}, wanted, {}).steps]
    assert removing == [kind for kind in making[::-1] if kind != "Announcement"], "what was announced stays announced"


def test_a_plan_depends_on_the_difference_alone(wanted):
    """Sets in another order give the same plan, printed the same way, with the same digest."""
    plan = difference(wanted, {}, {})
    shuffled = list(wanted.items())
    random.Random(1).shuffle(shuffled)
    assert difference(dict(shuffled), {}, {}) == plan
    assert digest(difference(dict(shuffled), {}, {})) == digest(plan)
    assert digest(difference({}, wanted, {})) != digest(plan)
    assert len(describe(plan.steps)) == len(wanted)


def test_a_step_is_a_line():
    """`+` made, `-` removed, `~` with what was there."""
    other = Bridge("br0", "n", MAC, 1400)
    lines = describe([Step(Verb.MAKE, BRIDGE), Step(Verb.REMOVE, BRIDGE), Step(Verb.REPLACE, BRIDGE, other)])
    assert [line[0] for line in lines] == ["+", "-", "~"]
    assert lines[2] == f"~ {BRIDGE} (was: {other})"


def test_two_plans_that_print_alike_are_told_apart():
    """The digest covers whole ids, of which a line shows the beginning."""
    one, other = (Step(Verb.MAKE, Namespace("0" * 63 + digit, "/run/c")) for digit in "12")
    assert describe([one]) == describe([other])
    assert digest(Plan((one,), {})) != digest(Plan((other,), {}))


@pytest.mark.parametrize(
    ("gone", "made_again"),
    [
        (NAMESPACE, {PAIR, ADDRESS, ROUTE}),
        (PAIR, {ADDRESS, ROUTE}),
        (Firewall(), {PORT}),
        (ADDRESS, {ROUTE}),
        (BRIDGE, set()),
    ],
)
def test_what_stands_on_a_removed_object_is_made_again(gone, made_again):
    """A namespace takes its interfaces along, an interface its addresses and routes, an address maybe routes."""
    desired = keyed(*(thing for thing in ALL if thing != gone))
    steps = difference(desired, keyed(*ALL), {}).steps
    assert steps[0] == Step(Verb.REMOVE, gone)
    assert {step.object for step in steps[1:]} == made_again
    assert {step.verb for step in steps[1:]} <= {Verb.MAKE}


def test_what_stands_on_a_replaced_object_is_made_again():
    """A namespace that moves loses what is in it; a bridge is altered in place and loses nothing."""
    moved = Namespace(SANDBOX, "/run/elsewhere")
    steps = difference(keyed(*ALL) | keyed(moved), keyed(*ALL), {}).steps
    assert {(step.verb, step.object) for step in steps} == {
        (Verb.REPLACE, moved),
        (Verb.MAKE, PAIR),
        (Verb.MAKE, ADDRESS),
        (Verb.MAKE, ROUTE),
    }
    altered = Bridge("br0", "n", MAC, 1400)
    steps = difference(keyed(*ALL) | keyed(altered), keyed(*ALL), {}).steps
    assert steps == (Step(Verb.REPLACE, altered, BRIDGE),)


def test_a_new_interface_of_the_same_name_gets_its_addresses_again():
    """When an endpoint leaves and joins in one go, the address that is the same before and after is made again."""
    desk = Desk()
    desk.do(create_network("n"), create_endpoint("n", "e"), create_sandbox("c"), join("n/e", "c"))
    before = lower_everything(desk.views, HOST)
    desk.do(LeaveEndpoint(identifier("n/e")), join("n/e", "c"))
    steps = difference(lower_everything(desk.views, HOST), before, {}).steps
    assert [(step.verb, type(step.object)) for step in steps] == [
        (Verb.REMOVE, VethPair),
        (Verb.MAKE, VethPair),
        (Verb.MAKE, Address),
        (Verb.MAKE, Route),
        (Verb.MAKE, Announcement),
    ]


def test_a_route_goes_with_the_last_address_of_its_interface(wanted):
    """An address that is changed behind our back takes the route along when it is removed: one repair makes both."""
    kernel = SimulatedKernel()
    dataplane = SimulatedDataplane(kernel)
    places = {SANDBOX: Place(SandboxKind.MANAGED, wanted[f"namespace/{SANDBOX}"].path)}
    dataplane.apply(difference(wanted, {}, places))
    own = next(there for there in kernel.objects.values() if isinstance(there, Address) and there.sandbox)
    other = Address(own.sandbox, own.device, bytes([172, 17, 0, 77]), own.prefix)
    kernel.alter(other)
    route = next(there for there in wanted.values() if isinstance(there, Route))
    kernel.remove(own)
    assert kernel.find(route) == route, "the other address keeps it"
    plan = difference(wanted, kernel.objects, places)
    assert describe(plan.steps) == (f"- {other}", f"+ {own}", f"+ {route}")
    dataplane.apply(plan)
    assert kernel.objects == wanted


def test_a_bridge_that_is_not_as_any_of_ours_is():
    """It has no MTU to tell of: it is down."""
    plan = difference({BRIDGE.key: BRIDGE}, {BRIDGE.key: Bridge("br0", "n", MAC, -1)}, {})
    [line] = describe(plan.steps)
    assert "mtu default" in line
    assert "-1" not in line
    assert "down, or in another group" in line


def test_a_stray_is_removed_where_it_is():
    """An interface that was left in a sandbox's namespace before is removed there, also where it is wanted anew."""
    link = Macvlan("e", "br0", SANDBOX, "eth0", MAC, "bridge")
    left = Place(SandboxKind.ATTACHED, "/run/netns/left", NamespaceIdentity("boot", 1))
    plan = difference(keyed(NAMESPACE, link, ADDRESS), {}, {}, [(link, left)])
    assert describe(plan.steps) == (
        f"- {link}, left at /run/netns/left",
        *(f"+ {it}" for it in (NAMESPACE, link, ADDRESS)),
    )
    assert [step.place for step in plan.steps] == [left, None, None, None]
    assert describe(difference({}, {}, {}, [(link, left)]).steps) == describe(plan.steps)[:1]
