from __future__ import annotations

from netledger.domain.commands import DeleteEndpoint, DeleteNetwork
from netledger.domain.events import ReturnEnded, ReturnOwed
from netledger.domain.facts import IpamAnswers, PoolAnswer
from netledger.domain.values import parse_address, parse_subnet
from tests.desk import HOST, ORIGIN, Desk, create_endpoint, create_network, identifier

GATEWAY, FIRST = parse_address("10.5.0.1"), parse_address("10.5.0.9")
BLOCK = PoolAnswer(parse_subnet("10.5.0.0/24"), "lab/5", GATEWAY)


def owed(desk: Desk) -> list[tuple[str, bytes]]:
    """List what is owed to the driver, the oldest debt first."""
    assert all((host, driver) == (HOST, "lab") for host, driver, _, _ in desk.views.driver_pools.owed)
    return [(pool, address) for _, _, pool, address in desk.views.driver_pools.owed]


def started() -> Desk:
    """Have a network of the driver's with an endpoint."""
    desk = Desk()
    desk.do(create_network("r", "10.5.0.0/24", ipam_driver="lab"), ipam=IpamAnswers(pools=(BLOCK,)))
    desk.do(create_endpoint("r", "e"), ipam=IpamAnswers(addresses=(FIRST,)))
    return desk


def test_what_is_released_is_owed_until_it_was_given_back():
    """The address from its release on, the gateway and the pool from the network's end."""
    desk = started()
    assert owed(desk) == []
    assert desk.views.driver_pools.find("lab", "lab/5") == f"{HOST}/LocalDefault/10.5.0.0/24"
    assert desk.views.driver_pools.find("other", "lab/5") is None
    desk.do(DeleteEndpoint(identifier("r/e")))
    assert owed(desk) == [("lab/5", FIRST)]
    desk.fold(ReturnOwed(*ORIGIN, "lab", "lab/5", FIRST, "no answer"))
    assert owed(desk) == [("lab/5", FIRST)]
    desk.do(DeleteNetwork(identifier("r")))
    assert owed(desk) == [("lab/5", FIRST), ("lab/5", GATEWAY), ("lab/5", b"")]
    assert desk.views.driver_pools.find("lab", "lab/5") is None
    for address in (FIRST, GATEWAY, b""):
        desk.fold(ReturnEnded(*ORIGIN, "lab", "lab/5", address, ""))
    assert desk.views.driver_pools.tables() == {}, "nothing is left of it"


def test_what_is_given_anew_is_not_owed():
    """A driver that gives the same again has had it back, or did not know that we had it."""
    desk = started()
    desk.do(DeleteEndpoint(identifier("r/e")))
    desk.do(create_endpoint("r", "f"), ipam=IpamAnswers(addresses=(FIRST,)))
    assert owed(desk) == []
    desk.do(DeleteNetwork(identifier("r"), force=True))
    desk.do(create_network("r", "10.5.0.0/24", ipam_driver="lab"), ipam=IpamAnswers(pools=(BLOCK,)))
    assert owed(desk) == [("lab/5", FIRST)], "neither the pool nor the gateway"


def test_what_is_held_is_not_owed_whoever_says_so():
    """Another writer's failed return may be recorded after the same address was given anew."""
    desk = started()
    for address in (FIRST, GATEWAY, b""):
        desk.fold(ReturnOwed(*ORIGIN, "lab", "lab/5", address, "its answer was lost"))
    assert owed(desk) == []
    desk.do(DeleteEndpoint(identifier("r/e")))
    assert owed(desk) == [("lab/5", FIRST)]


def test_our_own_pools_are_owed_to_nobody():
    """Nor is anything of the null driver."""
    desk = Desk()
    desk.do(create_network("a", "10.1.0.0/24"), create_endpoint("a", "e"), DeleteNetwork(identifier("a"), force=True))
    assert desk.views.driver_pools.tables() == {}
