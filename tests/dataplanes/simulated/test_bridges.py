"""Bridges: what they learn, forget and are told; ports that are kept apart; how many there can be."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated import KernelError
from netledger.dataplanes.simulated.model import Veth
from netledger.dataplanes.simulated.packets import Verdict
from netledger.domain.objects import Firewall, ForwardPolicy, PortForward
from netledger.domain.values import parse_address

from .lab import FORWARDING

REACHED, NOBODY = Verdict.REACHED, Verdict.NO_NEIGHBOUR
FILTERED = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
HAIRPINS = [(True, False, REACHED), (False, False, Verdict.DROPPED), (True, True, Verdict.DROPPED)]


@pytest.fixture
def bridge(lab):
    """Give a bridge with three namespaces, a, b and c."""
    made = lab.bridge("br0", "10.0.0.1/24", "fd00::1/64")
    for number, name in enumerate("abc", 2):
        lab.attach(made, name, f"10.0.0.{number}/24", f"fd00::{number}/64")
    return made


@pytest.mark.parametrize("address", ["10.0.0.3", "fd00::3"])
def test_a_bridge_learns_where_an_address_is(lab, bridge, address):
    """By the frames that come in, so that the next frame goes to one port only."""
    assert lab.verdict("a", address) is REACHED
    ports = {mac: port.name for mac, port in bridge.learned.items()}
    for name in "ab":
        assert ports[bridge.ports[f"v-{name}"].peer.mac] == f"v-{name}"


def test_what_is_learned_ages(lab, bridge):
    """After 300 s without a frame a bridge floods again; a frame makes it young."""
    lab.verdict("a", "10.0.0.3")
    lab.hosts[0].pass_time(200)
    lab.verdict("a", "10.0.0.1")
    lab.hosts[0].pass_time(200)
    assert list(bridge.learned.values()) == [bridge.ports["v-a"]]
    lab.hosts[0].pass_time(100)
    assert not bridge.learned
    assert lab.verdict("a", "10.0.0.3") is REACHED


def test_what_is_learned_goes_with_its_port(lab, bridge):
    """A MAC address that moves to another port is found there at once when its old port is gone."""
    lab.verdict("a", "10.0.0.3")
    old = bridge.ports["v-b"]
    mac = old.peer.mac
    lab.hosts[0].unplug(old.name)
    assert mac not in bridge.learned
    assert mac not in bridge.learned_at
    lab.attach(bridge, "d", "10.0.0.3/24").peer.mac = mac
    assert lab.reach("a", "10.0.0.3").at == lab.spot("d")


def test_a_stale_entry_leads_nowhere_until_it_ages(lab, bridge):
    """A MAC address that moves in silence is looked for at its old port: the oldest fault of bridges."""
    lab.verdict("a", "10.0.0.3")
    mac = bridge.ports["v-b"].peer.mac
    bridge.ports["v-b"].peer.mac = bytes(5) + b"\x01"
    moved = lab.attach(bridge, "d", "10.0.0.9/24").peer
    moved.mac = mac
    lab.hosts[0].own.neighbours[("br0", b"\x0a\x00\x00\x09")] = mac
    assert lab.verdict("h1", "10.0.0.9") is NOBODY
    lab.hosts[0].pass_time(300)
    assert lab.reach("h1", "10.0.0.9").at == lab.spot("d")


def test_a_static_entry_is_obeyed_and_not_unlearned(lab, bridge):
    """Frames to that MAC address go to its port, whatever comes in elsewhere; with the port it goes."""
    mac = bridge.ports["v-b"].peer.mac
    bridge.static[mac] = bridge.ports["v-c"]
    assert lab.verdict("a", "10.0.0.3") is NOBODY
    assert mac not in bridge.learned
    lab.hosts[0].unplug("v-c")
    assert not bridge.static
    assert lab.verdict("a", "10.0.0.3") is REACHED


@pytest.mark.parametrize("address", ["10.0.0.3", "fd00::3"])
def test_isolated_ports_reach_only_others(lab, bridge, address):
    """Two isolated ports do not reach each other, though both reach the bridge's host and a port that is not."""
    for name in "ab":
        bridge.ports[f"v-{name}"].is_isolated = True
    prefix = address[:-1]
    assert lab.verdict("a", address) is NOBODY
    assert lab.verdict("a", f"{prefix}1") is REACHED
    assert lab.verdict("a", f"{prefix}4") is REACHED
    assert lab.verdict("c", address) is REACHED


def test_a_port_or_a_bridge_that_is_down_passes_nothing(lab, bridge):
    """Down is down, on either end of a pair and at the bridge."""
    for device in (bridge.ports["v-b"], bridge.ports["v-b"].peer, bridge):
        device.is_up = False
        lab.hosts[0].epoch += 1
        assert lab.verdict("a", "10.0.0.3") is not REACHED
        device.is_up = True
        lab.hosts[0].epoch += 1
        assert lab.verdict("a", "10.0.0.3") is REACHED


def test_a_bridge_takes_1023_ports(lab):
    """Then EXFULL, whoever plugs the port in."""
    bridge = lab.bridge("br0")
    own = lab.hosts[0].own
    for number in range(1023):
        lab.plug(Veth, f"v{number}", own, bridge=bridge)
    with pytest.raises(KernelError) as caught:
        lab.plug(Veth, "v1023", own, bridge=bridge)
    assert caught.value.number == 54
    assert "v1023" not in own.devices


@pytest.mark.parametrize(("is_hairpin", "isolated", "verdict"), HAIRPINS)
def test_a_published_port_that_its_own_endpoint_asks_for(lab, bridge, is_hairpin, isolated, verdict):
    """Where bridged packets are filtered it comes back only to a port in hairpin mode that is not isolated."""
    host = lab.hosts[0]
    for setting in (*FORWARDING, *FILTERED):
        host.own.sysctls[setting] = "1"
    for port in bridge.ports.values():
        port.is_hairpin, port.is_isolated = is_hairpin, isolated
    host.make(Firewall())
    host.make(ForwardPolicy("br0", icc=True, internal=False))
    for text in ("10.0.0.2", "fd00::2"):
        host.make(PortForward(6, bytes(len(parse_address(text))), 8080, parse_address(text), 80))
    for gateway in ("10.0.0.1", "fd00::1"):
        reach = lab.fabric.reach(lab.spot("a"), gateway, "tcp", 8080)
        assert reach.verdict is verdict, str(reach)
        if verdict is REACHED:
            assert (reach.at, reach.seen_from) == (lab.spot("a"), parse_address(gateway))
        neighbour = lab.fabric.reach(lab.spot("b"), gateway, "tcp", 8080)
        assert neighbour.verdict is (Verdict.DROPPED if isolated else REACHED), str(neighbour)
