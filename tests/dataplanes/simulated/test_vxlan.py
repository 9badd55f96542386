"""VXLAN: frames carried between hosts over the underlay."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated.model import BridgeDevice
from netledger.dataplanes.simulated.packets import Verdict

from .lab import Lab

REACHED, NOBODY = Verdict.REACHED, Verdict.NO_NEIGHBOUR


def overlay(lab: Lab, vni: int, name: str) -> None:
    """Make a bridge on each host with a namespace, NAME-1 (10.1.0.1) on h1 and so on, joined by VXLAN."""
    for index, host in enumerate(lab.hosts, 1):
        bridge = lab.plug(BridgeDevice, f"br{vni}", host.own)
        others = [each for each in lab.hosts if each is not host]
        lab.vxlan(host, vni, *others, bridge=bridge)
        lab.attach(bridge, f"{name}-{index}", f"10.1.0.{index}/24")


def test_an_overlay_reaches_over_the_underlay():
    """Each of three hosts' containers reaches the others', and the trace says where frames are wrapped."""
    lab = Lab(3)
    overlay(lab, 7, "c1")
    for source in (1, 2, 3):
        for destination in (1, 2, 3):
            assert lab.verdict(f"c1-{source}", f"10.1.0.{destination}") is REACHED
    assert any("wraps it into VXLAN 7" in hop.what for hop in lab.reach("c1-1", "10.1.0.3").hops)


def test_networks_of_other_vnis_are_apart(pair):
    """The same addresses in another VNI are others."""
    overlay(pair, 7, "c1")
    overlay(pair, 8, "c2")
    for name in ("c1", "c2"):
        assert pair.reach(f"{name}-1", "10.1.0.2").at == pair.spot(f"{name}-2")
    pair.hosts[1].own.devices["vx8"].vni = 9
    pair.hosts[1].epoch += 1
    assert pair.verdict("c2-1", "10.1.0.2") is NOBODY
    assert pair.verdict("c1-1", "10.1.0.2") is REACHED


def test_without_remotes_nothing_leaves_until_the_fdb_knows(pair):
    """Unknown and broadcast frames go to the remotes; those in the FDB to theirs alone. Neighbours are static here."""
    one, two = pair.hosts
    for number, host in ((1, one), (2, two)):
        device = pair.vxlan(host, 7)
        device.addresses[(bytes([10, 1, 0, number]), 24)] = False
    assert pair.verdict("h1", "10.1.0.2") is NOBODY
    ends = {number: host.own.devices["vx7"] for number, host in ((1, one), (2, two))}
    for here, there, host, other in ((1, 2, one, two), (2, 1, two, one)):
        host.own.neighbours[("vx7", bytes([10, 1, 0, there]))] = ends[there].mac
        ends[here].fdb[ends[there].mac] = pair.underlay(other)
        host.epoch += 1
    assert pair.verdict("h1", "10.1.0.2") is REACHED
    ends[1].fdb[ends[2].mac] = pair.underlay(one)
    assert pair.verdict("h1", "10.1.0.2") is NOBODY


@pytest.mark.parametrize("broken", ["card", "route"])
def test_an_overlay_needs_its_underlay(pair, broken):
    """Where the other host is not reached, nothing of the overlay is."""
    overlay(pair, 7, "c1")
    assert pair.verdict("c1-1", "10.1.0.2") is REACHED
    card = pair.hosts[1].own.devices["eth0"]
    if broken == "card":
        card.is_up = False
    else:
        card.addresses.clear()
    pair.hosts[1].epoch += 1
    assert pair.verdict("c1-1", "10.1.0.2") is NOBODY


def test_what_does_not_fit_into_the_tunnel_is_too_big(pair):
    """The wrapping takes 50 bytes: a routed packet of 1,500 does not pass an interface of 1,450."""
    for number, host in enumerate(pair.hosts, 1):
        device = pair.vxlan(host, 7, *(each for each in pair.hosts if each is not host))
        device.addresses[(bytes([10, 1, 0, number]), 24)] = False
        host.epoch += 1
    assert pair.send("h1", "10.1.0.2", size=1450).verdict is REACHED
    assert pair.send("h1", "10.1.0.2", size=1451).verdict is Verdict.TOO_BIG
