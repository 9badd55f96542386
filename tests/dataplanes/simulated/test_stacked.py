"""Interfaces that stand on another one: macvlan, ipvlan, VLAN."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated import KernelError
from netledger.dataplanes.simulated.model import BridgeDevice, Loopback, Macvlan, Vlan
from netledger.dataplanes.simulated.packets import Verdict
from netledger.domain.objects import Firewall, ForwardPolicy

REACHED, NOBODY, NO_ROUTE = Verdict.REACHED, Verdict.NO_NEIGHBOUR, Verdict.NO_ROUTE
OUTSIDE, A, B = "198.18.9.9", "198.18.1.1", "198.18.1.2"


@pytest.fixture
def card(lab):
    """Give the host's card, on a cable with a machine outside."""
    lab.fabric.add_outside("outside", f"{OUTSIDE}/15")
    return lab.hosts[0].own.devices["eth0"]


@pytest.mark.parametrize(
    ("mode", "reflects", "verdict"),
    [
        ("bridge", False, REACHED),
        ("private", False, NOBODY),
        ("vepa", False, NOBODY),
        ("bridge", True, REACHED),
        ("private", True, NOBODY),
        ("vepa", True, REACHED),
    ],
)
def test_macvlan_siblings(lab, card, mode, reflects, verdict):
    """In bridge mode they reach each other at once, in VEPA mode by a switch that sends frames back, else never."""
    lab.fabric.underlay.reflects = reflects
    lab.macvlan("a", card, f"{A}/15", mode=mode)
    lab.macvlan("b", card, f"{B}/15", mode=mode)
    assert lab.verdict("a", B) is verdict
    assert lab.verdict("b", A) is verdict


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthru"])
def test_macvlan_reaches_the_outside_and_never_its_host(lab, card, mode):
    """What stands on a card is on the card's wire, with an address of its own there, but not on its host."""
    lab.macvlan("a", card, f"{A}/15", mode=mode)
    assert lab.verdict("a", OUTSIDE) is REACHED
    assert lab.reach("outside", A).at == lab.spot("a")
    assert lab.reach("outside", A).seen_from.hex() == "c6120909"
    host = "198.18.0.1"
    assert lab.verdict("a", host) is NOBODY
    assert lab.verdict("h1", A) is NOBODY


def test_macvlan_on_a_bridge(lab):
    """A macvlan on a bridge is reached from the bridge's ports."""
    bridge = lab.bridge("br0", "10.0.0.1/24")
    lab.attach(bridge, "a", "10.0.0.2/24")
    lab.macvlan("m", bridge, "10.0.0.3/24")
    assert lab.verdict("a", "10.0.0.3") is REACHED
    assert lab.verdict("m", "10.0.0.2") is REACHED


def test_macvlan_that_is_down_is_not_reached(lab, card):
    """Neither from outside nor from beside."""
    lab.macvlan("a", card, f"{A}/15")
    lab.macvlan("b", card, f"{B}/15").is_up = False
    lab.hosts[0].epoch += 1
    assert lab.verdict("a", B) is NOBODY
    assert lab.verdict("outside", B) is NOBODY


def test_ipvlan_l2(lab, card):
    """Siblings reach each other and the outside, behind one MAC address; the host and they do not reach each other."""
    a = lab.ipvlan("a", card, f"{A}/15")
    lab.ipvlan("b", card, f"{B}/15")
    assert a.mac == card.mac
    assert lab.verdict("a", B) is REACHED
    assert lab.verdict("a", OUTSIDE) is REACHED
    assert lab.reach("outside", B).at == lab.spot("b")
    assert lab.verdict("h1", A) is NOBODY
    assert lab.verdict("a", "198.18.0.1") is NOBODY


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_ipvlan_l3(lab, card, mode):
    """The host routes for them: siblings of other subnets are reached, and those outside who have a route back."""
    lab.forward(lab.hosts[0].own)
    for name, address in (("a", "10.1.0.1"), ("b", "10.2.0.1")):
        device = lab.ipvlan(name, card, f"{address}/24", mode=mode)
        lab.route(device.namespace, "0.0.0.0/0", "eth0")
    assert lab.verdict("a", "10.2.0.1") is REACHED
    assert lab.verdict("a", OUTSIDE) is Verdict.UNANSWERED
    assert lab.verdict("outside", "10.1.0.1") is NO_ROUTE
    lab.route(lab.fabric.hosts["outside"].own, "10.0.0.0/8", "eth0", "198.18.0.1")
    assert lab.reach("a", OUTSIDE).seen_from.hex() == "0a010001"
    assert lab.reach("a", OUTSIDE).is_reached
    assert lab.reach("outside", "10.1.0.1").at == lab.spot("a")


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_what_leaves_by_ipvlan_l3_is_not_forwarded(lab, card, mode):
    """IPv4 leaves by the parent, whatever the host's routes say; IPv6 gets into a network that is kept to itself."""
    host = lab.hosts[0]
    lab.forward(host.own)
    bridge = lab.bridge("br0", "10.3.0.1/24", "fd03::1/64")
    lab.attach(bridge, "inner", "10.3.0.2/24", "fd03::2/64")
    host.make(Firewall())
    host.make(ForwardPolicy("br0", icc=True, internal=True))
    device = lab.ipvlan("a", card, "10.1.0.1/24", "fd01::1/64", mode=mode)
    for subnet in ("0.0.0.0/0", "::/0"):
        lab.route(device.namespace, subnet, "eth0")
    assert lab.verdict("a", "10.3.0.2") is NOBODY
    assert any("routes it out of eth0" in hop.what for hop in lab.reach("a", "10.3.0.2").hops)
    reach = lab.reach("a", "fd03::2")
    assert (reach.verdict, reach.at) == (Verdict.UNANSWERED, lab.spot("inner")), str(reach)
    lab.route(host.own, "0.0.0.0/0", "eth0", OUTSIDE)
    words = f"routes it via {OUTSIDE} out of eth0"
    assert any(words in hop.what for hop in lab.reach("a", "10.3.0.2").hops), "though the host has a better route"


def test_nobody_answers_for_ipvlan_l3(lab, card):
    """In the layer 3 modes no neighbour is told who has the address."""
    lab.ipvlan("a", card, f"{A}/15", mode="l3")
    assert lab.verdict("outside", A) is NOBODY


def test_one_mode_for_all_ipvlan_of_an_interface(lab, card):
    """The last one decides, as in ipvlan_set_port_mode."""
    first = lab.ipvlan("a", card, mode="l2")
    lab.ipvlan("b", card, mode="l3")
    assert first.mode == "l3"


def test_a_vlan_tag_keeps_networks_apart(pair):
    """Those with the same tag reach each other over the same wire; others, and those without, do not."""
    one, two = (host.own.devices["eth0"] for host in pair.hosts)
    pair.vlan(one, 10, "10.10.0.1/24")
    pair.vlan(two, 10, "10.10.0.2/24")
    pair.vlan(one, 20, "10.20.0.1/24")
    pair.vlan(two, 30, "10.20.0.2/24")
    assert pair.verdict("h1", "10.10.0.2") is REACHED
    assert pair.verdict("h1", "10.20.0.2") is NOBODY
    assert any("tags with VLAN 10" in hop.what for hop in pair.reach("h1", "10.10.0.2").hops)
    assert pair.verdict("h1", "198.18.0.2") is REACHED


def test_a_tag_crosses_a_bridge_and_is_not_for_the_bridge(lab):
    """A bridge passes tagged frames on; its own address hears only what has no tag, or its own VLAN interface."""
    bridge = lab.bridge("br0", "10.10.0.1/24")
    ports = [lab.attach(bridge, name) for name in ("a", "b")]
    for number, port in enumerate(ports, 2):
        lab.vlan(port.peer, 10, f"10.10.0.{number}/24")
    assert lab.verdict("a", "10.10.0.3") is REACHED
    assert lab.verdict("a", "10.10.0.1") is NOBODY
    lab.vlan(bridge, 10, "10.10.0.9/24")
    assert lab.verdict("a", "10.10.0.9") is REACHED


def test_a_macvlan_on_a_vlan(pair):
    """Kinds stand on each other: a container of a VLAN of one host reaches one of another's."""
    for number, host in enumerate(pair.hosts, 1):
        tagged = pair.vlan(host.own.devices["eth0"], 10)
        pair.macvlan(f"c{number}", tagged, f"10.10.0.{number}/24")
    assert pair.verdict("c1", "10.10.0.2") is REACHED
    assert pair.verdict("c1", "198.18.0.1") is NO_ROUTE


def test_what_cannot_stand_together(lab, card):
    """An interface gives its frames to one: a bridge, macvlan or ipvlan; passthru has it alone; a tag is there once."""
    bridge = lab.bridge("br0")
    own = lab.hosts[0].own
    lab.macvlan("a", card, mode="bridge")
    port = lab.attach(bridge, "x")
    passthru = lab.attach(bridge, "y").peer
    lab.macvlan("p", passthru, mode="passthru")
    lab.vlan(card, 10)
    attempts = {
        16: [
            lambda: lab.ipvlan("b", card),
            lambda: lab.macvlan("c", port),
            lambda: lab.plug(type(passthru), "busy", own, bridge=bridge, children=[Macvlan("m", own, 9)]),
        ],
        22: [
            lambda: lab.macvlan("d", card, mode="passthru"),
            lambda: lab.macvlan("e", passthru, mode="bridge"),
            lambda: lab.plug(Loopback, "lo1", own, bridge=bridge),
        ],
        40: [lambda: lab.plug(BridgeDevice, "br1", own, bridge=bridge)],
        17: [lambda: lab.plug(Vlan, "again", own, parent=card, vlan=10), lambda: lab.plug(Vlan, "eth0", own)],
    }
    for number, refused in attempts.items():
        for attempt in refused:
            with pytest.raises(KernelError) as caught:
                attempt()
            assert caught.value.number == number, caught.value


def test_what_stands_on_an_interface_goes_with_it(lab, card):
    """Removing a card removes what stands on it, in whatever namespace that is."""
    device = lab.macvlan("a", card, f"{A}/15")
    lab.hosts[0].unplug(card.name)
    assert "eth0" not in device.namespace.devices
