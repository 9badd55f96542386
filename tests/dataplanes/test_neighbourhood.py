"""Who answers on a link is the same whether it is looked up or everybody is asked."""

from __future__ import annotations

import itertools

import pytest

from netledger.dataplanes.simulated.fabric import Fabric
from netledger.dataplanes.simulated.forwarding import Journey
from netledger.dataplanes.simulated.links import EVERYBODY, Frame
from netledger.dataplanes.simulated.model import Macvlan
from netledger.dataplanes.simulated.packets import Spot
from netledger.replay.simulation import build, build_fabric
from netledger.testing.author import GROUND, Author, Seeded
from netledger.testing.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, join


def flooded(fabric, device, address):
    """Ask everybody."""
    journey = Journey(fabric._machines)
    heard = journey._wires.send(device, Frame(device.mac, EVERYBODY, address))
    return [arrival.device for arrival in heard if journey._answers(arrival.device, address)]


def everything(fabric):
    """List all interfaces, and all addresses that anything has."""
    insides = [inside for kernel in fabric.hosts.values() for inside in kernel.namespaces.values()]
    devices = [device for inside in insides for device in inside.devices.values()]
    return devices, sorted({address for device in devices for address, _ in device.addresses})


@pytest.mark.parametrize("seed", range(8))
def test_a_look_up_finds_whom_a_flood_finds(seed):
    """On every link of arbitrary hosts, for every address, in the same order; some interfaces are down."""
    choice, fabric, asked = Seeded(seed), Fabric(), 0
    for name in ("host1", "host2"):
        author = Author(choice)
        for number in range(70):
            author.command(GROUND[number % len(GROUND)])
        fabric.adopt(build(author.views, HOST, name))
    devices, addresses = everything(fabric)
    for device in devices:
        device.is_up = device.is_up and choice.chance(90)
    fabric._machines.refresh()
    for device in devices:
        for address in addresses:
            known = fabric._machines.neighbourhood.answerers(device, address)
            if known is not None:
                asked += 1
                assert known == flooded(fabric, device, address), (device.name, address)
    assert asked > 20


def test_where_more_is_on_a_link_everybody_is_asked():
    """An interface on top of a card answers, too; nothing is known of such a link in advance."""
    fabric = Fabric()
    one, other = fabric.add_host("one"), fabric.add_host("other")
    card = one.own.devices["eth0"]
    fabric._machines.refresh()
    assert fabric._machines.neighbourhood.answerers(card, next(iter(other.own.devices["eth0"].addresses))[0])
    there = other.own.devices["eth0"]
    child = Macvlan("mv0", other.own, next(other.own.indices), b"\x02" + bytes(5), parent=there)
    child.addresses[(bytes([198, 18, 9, 9]), 15)] = False
    other.plug(child)
    fabric._machines.refresh()
    assert fabric._machines.neighbourhood.answerers(card, bytes([198, 18, 9, 9])) is None
    assert fabric.reach(fabric.add_outside("asker"), "198.18.9.9").is_reached


def test_a_thousand_endpoints_are_built_at_once():
    """Hosts are made straight from what their logs say, and their containers reach each other."""
    desks = {}
    for name in ("host1", "host2"):
        desk = Desk()
        desk.do(create_network("n", "10.0.0.0/16"))
        for number in range(500):
            desk.do(create_endpoint("n", f"e{number}", f"{10000 + number}:80"))
            desk.do(create_sandbox(f"c{number}"), join(f"n/e{number}", f"c{number}"))
        desks[name] = (desk.views, HOST)
    fabric = build_fabric(desks)
    assert sum(len(kernel.namespaces) - 1 for kernel in fabric.hosts.values()) == 1000
    there = [Spot(name, sandbox) for name, host in fabric.hosts.items() for sandbox in host.namespaces if sandbox]
    assert all(
        fabric.reach(spot, fabric.addresses_of(other)[0]).is_reached
        for spot, other in itertools.pairwise(there)
        if spot.host == other.host
    )
    assert fabric.reach(there[0], "198.18.0.2", "tcp", 10499).is_reached
