"""Ways: the longest prefix, what is forwarded and what is not, time to live, sizes, neighbours, translated ports."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated.packets import Verdict
from netledger.domain.objects import Firewall, Masquerade
from netledger.domain.values import parse_address

REACHED, NOBODY = Verdict.REACHED, Verdict.NO_NEIGHBOUR


@pytest.fixture
def router(lab):
    """Give a host that routes between two bridges, with a namespace on each: a 10.1.0.2, b 10.2.0.2."""
    lab.forward(lab.hosts[0].own)
    for number, name in ((1, "a"), (2, "b")):
        bridge = lab.bridge(f"br{number}", f"10.{number}.0.1/24", f"fd0{number}::1/64")
        inner = lab.attach(bridge, name, f"10.{number}.0.2/24", f"fd0{number}::2/64").peer
        lab.route(inner.namespace, "0.0.0.0/0", "eth0", f"10.{number}.0.1")
        lab.route(inner.namespace, "::/0", "eth0", f"fd0{number}::1")
    return lab.hosts[0].own


@pytest.mark.parametrize("address", ["10.2.0.2", "fd02::2"])
def test_a_router_forwards_only_where_it_is_told_to(lab, router, address):
    """Off, it drops what is for others; what is for itself it takes."""
    assert lab.verdict("a", address) is REACHED
    lab.forward(router, "0")
    found = lab.reach("a", address)
    assert found.verdict is Verdict.DROPPED
    assert found.hops[-1].what == "forwards nothing"
    assert lab.verdict("a", address[:-1] + "1") is REACHED


def test_the_longest_prefix_wins_then_the_metric_then_the_older(lab):
    """A host route before a subnet before the default; of two equal ones the smaller metric, else the first."""
    inside = lab.namespace("a")
    for number in range(4):
        bridge = lab.bridge(f"br{number}")
        far = lab.attach(bridge, f"n{number}", "10.9.0.9/32").peer
        lab.route(far.namespace, "0.0.0.0/0", "eth0")
        addresses = [] if number else ["10.0.0.1/32"]
        lab.attach(bridge, f"x{number}", *addresses, inside=inside, device=f"eth{number}")

    def way() -> str:
        return str(lab.reach("a", "10.9.0.9").at)

    lab.route(inside, "0.0.0.0/0", "eth0")
    assert way() == "h1/n0"
    lab.route(inside, "10.9.0.0/16", "eth1", metric=5)
    assert way() == "h1/n1"
    lab.route(inside, "10.9.0.0/16", "eth2", metric=2)
    assert way() == "h1/n2"
    lab.route(inside, "10.9.0.0/16", "eth0", metric=2)
    assert way() == "h1/n2"
    lab.route(inside, "10.9.0.9/32", "eth3", metric=9)
    assert way() == "h1/n3"
    inside.devices["eth3"].is_up = False
    lab.hosts[0].epoch += 1
    assert way() == "h1/n2"


def test_time_to_live(lab, router):
    """Each router takes one; the last one ends the packet."""
    assert lab.send("a", "10.2.0.2", ttl=2).is_reached
    assert lab.send("a", "10.2.0.2", ttl=1).verdict is Verdict.TTL_EXCEEDED
    assert lab.send("a", "10.1.0.1", ttl=1).is_reached


def test_routers_that_send_to_each_other_end_by_time_to_live(pair):
    """A loop is left when the time to live is over."""
    for host, gateway in zip(pair.hosts, ("198.18.0.2", "198.18.0.1"), strict=True):
        pair.forward(host.own)
        pair.route(host.own, "10.0.0.0/8", "eth0", gateway)
    found = pair.send("h1", "10.1.2.3", source=parse_address("192.0.2.7"))
    assert found.verdict is Verdict.TTL_EXCEEDED
    assert sum("routes it" in hop.what for hop in found.hops) == 64


def test_a_packet_that_is_too_big(lab, router):
    """Refused where it leaves by a link whose MTU it exceeds: at home, or on the way, where the trace says so."""
    assert lab.send("a", "10.2.0.2", size=1500).is_reached
    assert lab.send("a", "10.2.0.2", size=1501).verdict is Verdict.TOO_BIG
    router.devices["br2"].mtu = 1400
    lab.hosts[0].epoch += 1
    found = lab.send("a", "10.2.0.2", size=1401)
    assert found.verdict is Verdict.TOO_BIG
    assert str(found.hops[-1]) == "h1: 1401 bytes do not fit into the 1400 of br2"


def test_a_static_neighbour_is_believed(lab, router):
    """Right or wrong: nobody is asked."""
    inside = lab.hosts[0].namespaces["a"]
    gateway = ("eth0", parse_address("10.1.0.1"))
    inside.neighbours[gateway] = router.devices["br1"].mac
    assert lab.verdict("a", "10.2.0.2") is REACHED
    inside.neighbours[gateway] = b"\x02\xff\xff\xff\xff\xff"
    assert lab.verdict("a", "10.2.0.2") is NOBODY
    inside.neighbours[("eth0", parse_address("10.1.0.77"))] = router.devices["br1"].mac
    assert lab.verdict("a", "10.1.0.77") is not REACHED


@pytest.fixture
def masquerade(lab, router):
    """Give the same with a host's address for what leaves br1, and a machine outside."""
    lab.fabric.add_outside("outside", "198.18.9.9/15")
    inner = lab.attach(router.devices["br1"], "a2", "10.1.0.3/24").peer
    lab.route(inner.namespace, "0.0.0.0/0", "eth0", "10.1.0.1")
    lab.hosts[0].make(Firewall())
    lab.hosts[0].make(Masquerade("br1", 4))


def test_two_that_use_the_same_port_are_told_apart(lab, masquerade):
    """Behind one address the second gets another port, and both hear their own answers."""
    first = lab.send("a", "198.18.9.9", source_port=5000)
    second = lab.send("a2", "198.18.9.9", source_port=5000)
    again = lab.send("a", "198.18.9.9", source_port=5000)
    assert first.is_reached
    assert second.is_reached
    assert again.is_reached
    assert first.seen_from == second.seen_from == parse_address("198.18.0.1")
    tracker = lab.fabric._machines.trackers["h1"]
    ports = [each.after.source_port for each in tracked(tracker)]
    assert sorted(ports) == [5000, 5001]


def tracked(tracker):
    """List connections once each."""
    return list({id(each): each for each in tracker.flows.values()}.values())


def test_the_last_port_is_followed_by_the_first_free_one(lab, masquerade):
    """The search for a port goes around, below no privileged one."""
    for name in ("a", "a2"):
        assert lab.send(name, "198.18.9.9", source_port=65535).is_reached
    ports = {each.after.source_port for each in tracked(lab.fabric._machines.trackers["h1"])}
    assert ports == {65535, 1024}


def test_reach_leaves_nothing_behind(lab, masquerade):
    """A question is no connection."""
    assert lab.reach("a", "198.18.9.9").is_reached
    assert not lab.fabric._machines.trackers["h1"].flows
