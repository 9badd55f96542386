"""Who reaches whom in a whole state: what is alike is asked once, and all answers are those of single questions."""

from __future__ import annotations

from contextlib import suppress

import pytest

from netledger.dataplanes.simulated.packets import Spot, Verdict
from netledger.domain.errors import Refusal
from netledger.domain.events import StaticRoute
from netledger.domain.values import SandboxKind, mac_for, parse_address, parse_mac, parse_subnet
from netledger.replay.reachability import Reachability, describe_alike
from netledger.replay.simulation import Question, Simulation
from netledger.testing.author import ICC, Author, Seeded, Universe
from netledger.testing.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, identifier, join, pool

FILLING = ("create network", "create sandbox", "create endpoint", "join", "create endpoint", "join", "join", None)


def random_state(seed: int, steps: int = 100) -> Desk:
    """Let the author fill a host."""
    desk = Desk()
    author = Author(Seeded(seed), Universe(3, 14, 10), lambda: desk.views)
    for number in range(steps):
        with suppress(Refusal):
            desk.do(author.command(FILLING[number % len(FILLING)]))
    return desk


def attach(desk: Desk, network: str, name: str, *ports: str, **others: object) -> None:
    """Put a container of its own on a network, or one that is there on another."""
    desk.do(create_endpoint(network, name, *ports, **others))
    if desk.views.sandbox(identifier(name)) is None:
        desk.do(create_sandbox(name))
    desk.do(join(f"{network}/{name}", name))


def crowd(size: int = 12) -> Desk:
    """Fill a host with containers that are alike, and some that are not quite."""
    desk = Desk()
    desk.do(create_network("open", "10.1.0.0/24", "fd01::/64"))
    desk.do(create_network("shut", "10.2.0.0/24", options={ICC: False}))
    desk.do(create_network("inner", "10.3.0.0/24", internal=True))
    for number in range(size):
        attach(desk, "open", f"a{number}", f"{8000 + number}:80", f"192.0.2.5:{9000 + number}:80")
        attach(desk, "shut", f"b{number}")
        attach(desk, "inner", f"c{number}")
    attach(desk, "shut", "a0")
    attach(desk, "open", "lone", "127.0.0.1:7000:80")
    desk.do(create_sandbox("away", kind=SandboxKind.DELEGATED))
    desk.do(create_endpoint("open", "away", "7001:80"), join("open/away", "away"))
    return desk


def whole(**desks: Desk) -> Reachability:
    """Take the states of hosts."""
    return Reachability({name: (desk.views, HOST) for name, desk in desks.items()})


def asked_singly(found: Reachability) -> dict[Question, Verdict | None]:
    """Ask every question by itself."""
    everything = [each for group in found.offers for each in group]
    return {
        found.question(asker, each): found._verdict((asker, each))
        for group in found.askers
        for asker in group
        for each in everything
    }


@pytest.mark.parametrize("seed", range(25))
def test_the_answers_are_those_of_single_questions(seed):
    """In whatever state a host is, everybody is told what `Simulation` tells them one by one."""
    desk = random_state(seed)
    found = whole(host=desk)
    answers = dict(found)
    assert answers == Simulation(desk.views, HOST).matrix()
    assert len(answers) == len(found)


@pytest.mark.parametrize("seed", range(5))
def test_hosts_whose_blocks_overlap_are_told_apart(seed):
    """Two hosts with networks of the same blocks, and one like the first: what another answers is not reached."""
    found = whole(host1=random_state(seed), host2=random_state(seed + 100), host3=random_state(seed))
    assert dict(found) == asked_singly(found)


def by_way_of_one_of_two() -> Desk:
    """One of two containers that are alike is the gateway of a third one's route."""
    desk = Desk()
    desk.do(create_network("n1", "10.1.0.0/24"), create_network("n2", "10.2.0.0/24"))
    for name in ("r1", "r2"):
        desk.do(create_sandbox(name), create_endpoint("n1", name), create_endpoint("n2", name))
        desk.do(join(f"n1/{name}", name), join(f"n2/{name}", name))
    gateway = desk.views.endpoint(identifier("n1/r1")).event.addresses[0].address
    desk.do(create_sandbox("a"), create_endpoint("n1", "a"))
    desk.do(join("n1/a", "a", routes=(StaticRoute(parse_subnet("10.2.0.0/24"), gateway),)))
    return desk


def with_the_bridge_s_mac() -> Desk:
    """One of three has the MAC address of their bridge."""
    desk = Desk()
    desk.do(create_network("n1", "10.1.0.0/24"))
    for name in ("x", "y", "z"):
        attach(desk, "n1", name, mac=mac_for(identifier("n1")) if name == "y" else b"")
    return desk


def with_one_mac_on_a_parent() -> Desk:
    """Two networks on one parent, in each of which somebody has the same MAC address."""
    desk = Desk()
    for network, block, names in (("v1", "10.3.0.0/24", "ab"), ("v2", "10.4.0.0/24", "cd")):
        desk.do(create_network(network, block, driver="macvlan", options={"parent": "eth0"}))
        for name in names:
            attach(desk, network, name, mac=parse_mac("02:42:0a:00:00:07") if name in "ac" else b"")
    return desk


def nowhere_in_both_families() -> Desk:
    """Put an endpoint of both families in no namespace yet; somebody has a way out in one of them."""
    desk = Desk()
    desk.do(create_network("m", "10.1.0.0/24", "fd01::/64", driver="macvlan", options={"parent": "eth0"}))
    desk.do(create_sandbox("away", kind=SandboxKind.DELEGATED), create_endpoint("m", "away"), join("m/away", "away"))
    desk.do(create_network("b", "10.3.0.0/24", "fd03::/64"))
    attach(desk, "b", "z")
    desk.do(create_network("q", pool("10.2.0.0/24", "10.2.0.9"), driver="macvlan", options={"parent": "eth0.7"}))
    attach(desk, "q", "c")
    return desk


STATES = (by_way_of_one_of_two, with_the_bridge_s_mac, with_one_mac_on_a_parent, nowhere_in_both_families)


@pytest.mark.parametrize("state", STATES)
def test_what_looks_alike_and_is_not(state):
    """Each was once taken for alike, and answered for another."""
    desk = state()
    assert dict(whole(host=desk)) == Simulation(desk.views, HOST).matrix()


def test_an_address_at_which_two_hosts_publish():
    """Packets go to the host that has it, whoever publishes there."""
    first, second = Desk(), Desk()
    for desk in (first, second):
        desk.do(create_network("n", "10.1.0.0/24"))
    attach(first, "n", "x0", "192.0.2.5:8000:80")
    attach(first, "n", "x1", "192.0.2.5:9999:80")
    attach(second, "n", "y0", "192.0.2.5:8000:80")
    attach(second, "n", "y1", "192.0.2.5:8001:80")
    found = whole(host1=first, host2=second)
    assert dict(found) == asked_singly(found)


def test_what_is_alike_is_asked_once():
    """Containers of one network are one kind, whatever they publish, and so are their ports; those of two are not."""
    desk = crowd()
    found = whole(host=desk)
    answers = dict(found)
    assert answers == Simulation(desk.views, HOST).matrix()
    assert sorted(map(len, found.askers), reverse=True) == [12, 12, 12, 1, 1, 1]
    assert found.packets() < len(found) / 10
    assert answers[Question("a1", "open/a2", "icmp", 4)] is Verdict.REACHED
    assert answers[Question("b1", "shut/b2", "icmp", 4)] is Verdict.NO_NEIGHBOUR
    assert answers[Question("b1", "shut/b1", "icmp", 4)] is Verdict.REACHED
    told = describe_alike(found).splitlines()
    assert len(told) == len(found.askers)
    shut = next(line for line in told if line.startswith("b0 and 11 like it: "))
    assert "shut/b0 and 11 like it" in shut.partition("reached: ")[0]
    assert "shut/b0 and 11 like it where that is its own" in shut.partition("reached: ")[2]


def test_the_same_address_on_another_host_is_another():
    """From a host whose network has the same block, a container of that host's own answers in its place."""
    desks = {name: Desk() for name in ("host1", "host2")}
    for desk in desks.values():
        desk.do(create_network("n", "10.1.0.0/24"))
        for number in range(4):
            attach(desk, "n", f"c{number}", f"{8000 + number}:80")
    found = whole(**desks)
    answers = dict(found)
    assert answers == asked_singly(found)
    assert answers[Question("host1:c0", "host2:n/c1", "icmp", 4)] is Verdict.ANOTHER
    assert answers[Question("host1:c0", "host1:n/c1", "icmp", 4)] is Verdict.REACHED
    assert answers[Question("host1:c0", "host2:host", "tcp/8001", 4)] is Verdict.REACHED
    assert found.packets() < len(found) / 3


def _isolate(found: Reachability, spot: Spot) -> None:
    found.fabric.hosts["host"].namespaces[spot.sandbox].devices["eth0"].peer.is_isolated = True


def _shrink(found: Reachability, spot: Spot) -> None:
    found.fabric.hosts["host"].namespaces[spot.sandbox].devices["eth0"].mtu = 1400


def _unroute(found: Reachability, spot: Spot) -> None:
    found.fabric.hosts["host"].namespaces[spot.sandbox].routes.clear()


def _open(found: Reachability, spot: Spot) -> None:
    found.fabric.hosts["host"].own.firewall.open.add((6, parse_address("10.1.0.4"), 80))


def _know(found: Reachability, spot: Spot) -> None:
    found.fabric.hosts["host"].own.neighbours["eth0", parse_address("10.1.0.4")] = bytes(6)


def _readdress(found: Reachability, spot: Spot) -> None:
    device = found.fabric.hosts["host"].namespaces[spot.sandbox].devices["eth0"]
    device.addresses[parse_address("10.1.0.77"), 24] = False


@pytest.mark.parametrize("alter", [_isolate, _shrink, _unroute, _open, _know, _readdress])
def test_one_that_differs_in_anything_is_told_apart(alter):
    """A port that is isolated, a smaller MTU, a route that is missing, an open port, a neighbour, another address."""
    desk = Desk()
    desk.do(create_network("n", "10.1.0.0/24"))
    for number in range(5):
        attach(desk, "n", f"c{number}")
    found = whole(host=desk)
    alter(found, Spot("host", identifier("c2")))
    apart = [[asker.name for asker in group] for group in found.askers]
    assert ["c2"] in apart
    assert ["c0", "c1", "c3", "c4"] in apart
