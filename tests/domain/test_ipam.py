"""Address management's rules: spaces, sizes, ranges, policies, rests, reservations, claims, other IPAM drivers."""

from __future__ import annotations

import pytest

from netledger.domain.commands import (
    Configure,
    DeleteEndpoint,
    DeleteNetwork,
    EndReservation,
    Expire,
    LoseSandbox,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RequestAddress,
    RequestPool,
    ReserveAddress,
)
from netledger.domain.decision import Decision
from netledger.domain.drivers import BridgeDriver
from netledger.domain.errors import Conflict, Exhausted, Forbidden, InUse, Invalid, NotFound, Unavailable
from netledger.domain.events import (
    AddressAllocated,
    AddressReleased,
    AddressReservationEnded,
    AddressReservationMade,
    EndpointCreated,
    EndpointDeleted,
    PoolAllocated,
    PoolClaimed,
    PoolDisclaimed,
)
from netledger.domain.facts import IpamAnswers, NamespaceIdentity, PoolAnswer, TakenBlock
from netledger.domain.ipam.predefined import first_free_block
from netledger.domain.rules import RULES
from netledger.domain.values import (
    AllocationPolicy,
    PoolId,
    PredefinedPool,
    SandboxKind,
    format_address,
    format_mac,
    parse_address,
    parse_subnet,
)
from netledger.testing.checkers import violations
from tests.desk import HOST, create_endpoint, create_network, create_sandbox, identifier, join, pool

STICKY = AllocationPolicy.STICKY
INHIBIT = "com.docker.network.bridge.inhibit_ipv4"
MODE4, MODE6 = "com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"
LEASE, OTHER = identifier("lease"), identifier("other lease")


def pool_of(subnet: str, space: str = "LocalDefault", scope: str = HOST) -> PoolId:
    """Name a pool."""
    return PoolId(f"{scope}/{space}/{subnet}")


def allocated(events) -> list[str]:
    """List the addresses that events allocate."""
    return [format_address(event.address) for event in events if isinstance(event, AddressAllocated)]


def one(events, kind):
    """Find the one event of a kind."""
    [found] = [event for event in events if isinstance(event, kind)]
    return found


# --- blocks


def test_the_same_block_is_in_each_space_once(desk):
    """A block may be taken in each address space, under its own pool; within one it overlaps."""
    desk.do(create_network("a", "10.0.0.0/24"), create_network("b", pool("10.0.0.0/24", space="red")))
    events = desk.do(create_network("c", pool("10.0.0.0/24", space="GlobalDefault")))
    assert one(events, PoolAllocated).pool == "global/GlobalDefault/10.0.0.0/24"
    refusal = desk.refusal(Conflict, create_network("d", pool("10.0.0.128/25", space="red")))
    assert "10.0.0.128/25 overlaps 10.0.0.0/24 of network b" in str(refusal)
    desk.do(create_endpoint("a", "e"), create_endpoint("b", "e"), create_endpoint("c", "e"))
    desk.do(*(DeleteNetwork(identifier(name), force=True) for name in "abc"))
    assert not desk.views.ipam.pools


@pytest.mark.parametrize(
    ("request_", "chosen"),
    [
        (PoolRequest(4, size=24), "172.17.0.0/24"),
        (PoolRequest(4, size=30), "172.17.0.0/30"),
        (PoolRequest(4, size=14), "172.20.0.0/14"),
        (PoolRequest(4, space="GlobalDefault"), "10.0.0.0/24"),
        (PoolRequest(4, space="red"), "172.17.0.0/16"),
    ],
)
def test_a_block_of_a_size_is_chosen(desk, request_, chosen):
    """The first predefined pool that has room for one gives it."""
    assert str(one(desk.do(create_network("n", request_)), PoolAllocated).subnet) == chosen


def test_a_size_that_no_pool_has_is_refused(desk):
    """The pools are named."""
    refusal = desk.refusal(Invalid, create_network("n", PoolRequest(4, size=8)))
    assert "no predefined IPv4 address pool has room for a /8; they are: 172.17.0.0/16 in /16, " in str(refusal)


def test_small_blocks_go_round_large_ones(desk):
    """A /24 is found beside what is taken, without a walk over all of them."""
    desk.do(create_network("a", "172.17.0.0/17"), create_network("b", "172.17.128.0/24"))
    assert str(one(desk.do(create_network("n", PoolRequest(4, size=24))), PoolAllocated).subnet) == "172.17.129.0/24"
    pools = (PredefinedPool(parse_subnet("10.0.0.0/8"), 32),)
    taken = [parse_subnet(f"10.{number}.0.0/16") for number in range(255)]
    assert str(first_free_block(pools, 0, taken)) == "10.255.0.0/32"
    assert first_free_block(pools, 0, [*taken, parse_subnet("10.255.0.0/16")]) is None


def test_a_chosen_block_avoids_what_the_host_uses(desk):
    """Routes and name servers in the way are passed over and recorded; default routes and a VPN's halves are not."""
    taken = [
        TakenBlock(parse_subnet("172.17.0.0/16"), "route dev docker0"),
        TakenBlock(parse_subnet("172.18.0.53/32"), "name server"),
        TakenBlock(parse_subnet("192.0.2.0/24"), "route dev eth0"),
        TakenBlock(parse_subnet("128.0.0.0/1"), "route dev tun0"),
    ]
    event = one(desk.do(create_network("n"), taken_blocks=taken), PoolAllocated)
    assert str(event.subnet) == "172.19.0.0/16"
    assert event.avoided == ("172.17.0.0/16 route dev docker0", "172.18.0.53/32 name server")
    named = one(desk.do(create_network("m", "172.17.0.0/16"), taken_blocks=taken), PoolAllocated)
    assert (str(named.subnet), named.avoided) == ("172.17.0.0/16", ())


def test_what_the_host_uses_is_named_when_nothing_is_left(desk):
    """Who holds what: networks and routes."""
    desk.do(Configure((PredefinedPool(parse_subnet("10.1.0.0/23"), 24),)), create_network("a"))
    taken = [TakenBlock(parse_subnet("10.1.1.0/24"), "route dev eth0")]
    refusal = desk.refusal(Exhausted, create_network("n"), taken_blocks=taken)
    assert "(2 blocks are taken: 10.1.0.0/24 network a, 10.1.1.0/24 route dev eth0)" in str(refusal)


def test_configured_pools_are_sorted_and_inner_ones_left_out(desk):
    """As moby does; a block of each family is chosen from them, of IPv6 from the host's own where none is given."""
    pools = [("10.2.0.0/24", 26), ("10.0.0.0/8", 24), ("10.1.0.0/16", 24), ("fd40::/48", 64)]
    [event] = desk.do(Configure(tuple(PredefinedPool(parse_subnet(base), size) for base, size in pools)))
    assert list(map(str, event.default_pools)) == ["10.0.0.0/8 in /24", "fd40::/48 in /64"]
    assert desk.do(Configure(event.default_pools)) == [], "nothing changes"
    subnets = [str(each.subnet) for each in desk.do(create_network("n", PoolRequest(4), PoolRequest(6)))[-1].pools]
    assert subnets == ["10.0.0.0/24", "fd40::/64"]
    refusal = desk.refusal(Invalid, Configure((PredefinedPool(parse_subnet("10.0.0.0/24"), 16),)))
    assert "blocks of /16 cannot be had from 10.0.0.0/24; give a size from 24 to 32" in str(refusal)


# --- addresses


def test_addresses_are_chosen_from_the_range_with_both_its_ends(desk):
    """The gateway, too; whoever asks by name gets one outside of it."""
    part = pool("10.0.0.0/24", sub_pool=parse_subnet("10.0.0.64/30"))
    assert allocated(desk.do(create_network("n", part))) == ["10.0.0.64"]
    chosen = [allocated(desk.do(create_endpoint("n", f"e{number}")))[0] for number in range(3)]
    assert chosen == ["10.0.0.65", "10.0.0.66", "10.0.0.67"]
    assert "no free IPv4 address in 10.0.0.64/30" in str(desk.refusal(Exhausted, create_endpoint("n", "x")))
    [event, created] = desk.do(create_endpoint("n", "x", addresses=["10.0.0.9"]))[:2]
    assert (event.decided_by, created.addresses[0].prefix) == ("caller", 24)


def test_a_driver_may_take_several_pools_of_a_family(desk, monkeypatch):
    """Addresses are chosen from the first that has any; two that overlap are refused."""
    monkeypatch.setattr(BridgeDriver, "pools_per_family", 2)
    desk.do(create_network("n", "10.0.0.0/30", "10.0.1.0/30", "fd00::/64"))
    chosen = [allocated(desk.do(create_endpoint("n", name)))[0] for name in "ab"]
    assert chosen == ["10.0.0.2", "10.0.1.2"]
    desk.refusal(Exhausted, create_endpoint("n", "c"))
    assert "overlaps another of its own subnets" in str(
        desk.refusal(Conflict, create_network("m", "10.2.0.0/24", "10.2.0.0/25"))
    )
    desk.do(create_network("m", pool("10.2.0.0/24"), pool("10.2.0.0/24", space="red")))
    desk.do(DeleteNetwork(identifier("n"), force=True), DeleteNetwork(identifier("m"), force=True))
    assert [found.words for found in violations(desk.log) if found.checker != "hosts"] == []


def test_auxiliary_addresses_are_nobodys(desk):
    """They are the network's, under their names, and no gateway or endpoint is given them."""
    events = desk.do(
        create_network(
            "n", pool("10.0.0.0/29", auxiliary={"b": parse_address("10.0.0.3"), "a": parse_address("10.0.0.1")})
        )
    )
    held = [(event.purpose, event.name, format_address(event.address)) for event in events[1:-1]]
    assert held == [("gateway", "", "10.0.0.2"), ("auxiliary", "a", "10.0.0.1"), ("auxiliary", "b", "10.0.0.3")]
    assert allocated(desk.do(create_endpoint("n", "e"))) == ["10.0.0.4"]
    refusal = desk.refusal(Conflict, create_endpoint("n", "f", addresses=["10.0.0.3"]))
    assert "10.0.0.3 is held by network n" in str(refusal)
    desk.do(DeleteNetwork(identifier("n"), force=True))
    assert not desk.views.ipam.holders


@pytest.mark.parametrize(
    ("policy", "second"),
    [(AllocationPolicy.NEXT, "10.0.0.4"), (AllocationPolicy.SERIAL, "10.0.0.4"), (AllocationPolicy.LOWEST, "10.0.0.2")],
)
def test_each_policy_chooses_its_own(desk, policy, second):
    """After 2 and 3 were taken and 2 was given back."""
    desk.do(
        create_network("n", pool("10.0.0.0/24", policy=policy)), create_endpoint("n", "a"), create_endpoint("n", "b")
    )
    desk.do(DeleteEndpoint(identifier("n/a")))
    assert allocated(desk.do(create_endpoint("n", "c"))) == [second]


@pytest.mark.parametrize(("serial", "policy"), [("true", "serial"), (False, "lowest")])
def test_libnetworks_option_names_the_policy(desk, serial, policy):
    """`com.docker.network.ipam.serial`; what was said is kept."""
    options = {"com.docker.network.ipam.serial": serial}
    events = desk.do(create_network("n", "10.0.0.0/24", ipam_options=options))
    assert events[0].policy == policy
    assert events[-1].ipam_options == {"com.docker.network.ipam.serial": serial == "true"}


def test_a_sticky_name_gets_its_address_back(desk):
    """Within the grace period, whatever was taken meanwhile; nobody else gets it, until it is over and none is left."""
    desk.do(create_network("n", pool("10.0.0.0/29", policy=STICKY, grace_seconds=60)), create_endpoint("n", "web"))
    made = one(desk.do(DeleteEndpoint(identifier("n/web"))), AddressReservationMade)
    assert (made.name, made.until) == ("web", desk.now + 60 * 10**9)
    assert "kept for endpoint web" in str(desk.refusal(Conflict, create_endpoint("n", "x", addresses=["10.0.0.2"])))
    taken = [allocated(desk.do(create_endpoint("n", f"e{number}")))[0] for number in range(4)]
    assert taken == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    desk.refusal(Exhausted, create_endpoint("n", "x"))
    events = desk.do(create_endpoint("n", "web"))
    assert [type(event) for event in events] == [AddressReservationEnded, AddressAllocated, EndpointCreated]
    assert (format_address(events[1].address), events[1].decided_by) == ("10.0.0.2", "reservation")
    desk.do(DeleteEndpoint(identifier("n/web")))
    desk.wait(60)
    events = desk.do(create_endpoint("n", "x"))
    assert (events[0].why, format_address(events[1].address)) == ("its time is over", "10.0.0.2")


def test_a_reserved_address_waits_for_its_name(desk):
    """Before any dynamic choice, however often the endpoint comes and goes, until the reservation is ended."""
    desk.do(create_network("n", "10.0.0.0/29"), ReserveAddress(identifier("n"), "db", parse_address("10.0.0.2")))
    assert allocated(desk.do(create_endpoint("n", "a"))) == ["10.0.0.3"]
    for _ in range(2):
        assert allocated(desk.do(create_endpoint("n", "db"))) == ["10.0.0.2"]
        desk.do(DeleteEndpoint(identifier("n/db")))
    refusal = desk.refusal(Conflict, ReserveAddress(identifier("n"), "db", parse_address("10.0.0.4")))
    assert "10.0.0.2 is kept for it already" in str(refusal)
    desk.do(EndReservation(identifier("n"), parse_address("10.0.0.2")))
    desk.refusal(NotFound, EndReservation(identifier("n"), parse_address("10.0.0.2")))
    assert allocated(desk.do(create_endpoint("n", "b", addresses=["10.0.0.2"]))) == ["10.0.0.2"]
    desk.do(DeleteNetwork(identifier("n"), force=True))


def test_an_address_that_goes_back_to_a_lease_is_not_reserved(desk):
    """An endpoint's address that somebody requested before is theirs again after it, and not its name's."""
    desk.do(create_network("n", "10.0.0.0/29"), RequestAddress(pool_of("10.0.0.0/29"), LEASE))
    desk.do(create_endpoint("n", "db", addresses=["10.0.0.2"]))
    position = desk.position_of(AddressAllocated, lease=LEASE)
    assert str(desk.refusal(Conflict, ReserveAddress(identifier("n"), "db", parse_address("10.0.0.2")))) == (
        f"reserve address for endpoint 'db': address 10.0.0.2 goes back to unclaimed lease {LEASE[:12]} when the "
        f"endpoint is deleted (position {position}); "
        "choose another, or delete the endpoint and release the address first"
    )
    desk.do(DeleteEndpoint(identifier("n/db")), ReleaseAddress(pool_of("10.0.0.0/29"), parse_address("10.0.0.2")))
    desk.do(ReserveAddress(identifier("n"), "db", parse_address("10.0.0.2")))
    assert allocated(desk.do(create_endpoint("n", "db"))) == ["10.0.0.2"]


def test_a_kept_address_that_a_lease_holds_is_passed_over(desk, monkeypatch):
    """As logs of before have it: its name gets a free one until it is released."""
    desk.do(create_network("n", "10.0.0.0/29"), RequestAddress(pool_of("10.0.0.0/29"), LEASE))
    with monkeypatch.context() as before:
        before.setitem(RULES, ReserveAddress, _reserve_whatever)
        desk.do(ReserveAddress(identifier("n"), "db", parse_address("10.0.0.2")))
    assert allocated(desk.do(create_endpoint("n", "db"))) == ["10.0.0.3"]
    desk.do(DeleteEndpoint(identifier("n/db")), ReleaseAddress(pool_of("10.0.0.0/29"), parse_address("10.0.0.2")))
    assert allocated(desk.do(create_endpoint("n", "db"))) == ["10.0.0.2"]


def _reserve_whatever(_, command, context):
    pool = pool_of("10.0.0.0/29")
    made = AddressReservationMade(
        *context.origin, pool=pool, address=command.address, network=command.network, name=command.name, until=0
    )
    return Decision((made,))


def test_an_address_rests_before_another_gets_it(desk):
    """The lowest is passed over while it rests; when no other is left the longest rested is taken, and it says so."""
    desk.do(create_network("n", pool("10.0.0.0/29", policy=AllocationPolicy.LOWEST, rest_seconds=10)))
    desk.do(*(create_endpoint("n", f"e{number}") for number in range(3)))
    desk.do(DeleteEndpoint(identifier("n/e0")))
    desk.wait(4)
    desk.do(DeleteEndpoint(identifier("n/e1")))
    assert allocated(desk.do(create_endpoint("n", "a"))) == ["10.0.0.5"]
    desk.wait(6)
    assert allocated(desk.do(create_endpoint("n", "b"))) == ["10.0.0.2"], "its ten seconds are over"
    assert allocated(desk.do(create_endpoint("n", "c"))) == ["10.0.0.6"]
    cut = one(desk.do(create_endpoint("n", "d")), AddressAllocated)
    assert (format_address(cut.address), cut.rest_cut) == ("10.0.0.3", 4 * 10**9)
    desk.do(DeleteEndpoint(identifier("n/d")))
    asked = one(desk.do(create_endpoint("n", "d", addresses=["10.0.0.3"])), AddressAllocated)
    assert (asked.decided_by, asked.rest_cut) == ("caller", 10 * 10**9)
    desk.do(DeleteNetwork(identifier("n"), force=True))
    assert not desk.views.ipam.resting


def test_a_mac_address_may_follow_from_the_ipv4_address(desk):
    """02:42 and its bytes, unless somebody has that one; IPv6 alone gets a random one."""
    ipv4 = {"netledger.ipam.mac": "ipv4"}
    desk.do(create_network("n", "10.1.0.0/24", ipam_options=ipv4), create_network("v6", "fd01::/64", ipam_options=ipv4))
    made = one(desk.do(create_endpoint("n", "a")), EndpointCreated)
    assert format_mac(made.mac) == "02:42:0a:01:00:02"
    desk.do(create_endpoint("n", "b", mac=bytes.fromhex("02420a010004")))
    other = one(desk.do(create_endpoint("n", "c", addresses=["10.1.0.4"])), EndpointCreated)
    assert format_mac(other.mac)[:5] == "02:42"
    assert format_mac(other.mac) != "02:42:0a:01:00:04"
    assert len(one(desk.do(create_endpoint("v6", "d")), EndpointCreated).mac) == 6


def test_the_null_driver_gives_no_addresses(desk):
    """Networks without pools, endpoints without addresses; ports cannot be published."""
    created = desk.do(create_network("n", ipam_driver="null"))[-1]
    assert created.pools == ()
    assert one(desk.do(create_endpoint("n", "e")), EndpointCreated).addresses == ()
    assert "gives it no address to publish ports of" in str(desk.refusal(Invalid, create_endpoint("n", "f", "80")))
    refusal = desk.refusal(Invalid, create_network("m", "10.0.0.0/24", ipam_driver="null"))
    assert "the null IPAM driver gives no addresses" in str(refusal)
    desk.do(DeleteNetwork(identifier("n"), force=True))


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "fd01::/127", "10.0.0.0/8", "fd01::/64", "fd00::/40", "fe80::/64"])
def test_narrow_and_wide_pools(desk, subnet):
    """Each has a gateway and an endpoint; all else is refused or given by the same rules."""
    desk.do(create_network("n", subnet))
    desk.do(create_endpoint("n", "e"))
    if subnet.endswith(("31", "127")):
        desk.refusal(Exhausted, create_endpoint("n", "f"))


# --- requested, claimed, given back


@pytest.mark.parametrize("subnet", ["10.3.0.7/32", "fd03::7/128"])
def test_a_pool_of_one_address_has_room_for_one(desk, subnet):
    """It can be requested; a network whose gateway takes it could have no endpoint."""
    desk.do(RequestPool(pool(subnet), LEASE))
    assert allocated(desk.do(RequestAddress(pool_of(subnet), LEASE))) == [subnet.partition("/")[0]]
    desk.refusal(Exhausted, RequestAddress(pool_of(subnet), OTHER))
    refusal = desk.refusal(Invalid, create_network("n", subnet))
    assert f"{subnet} is one address, and its gateway takes it: no endpoint could have one" in str(refusal)


@pytest.mark.parametrize(
    ("subnet", "others"),
    [
        ("10.3.0.7/32", {"driver": "macvlan"}),
        ("10.3.0.7/32", {"driver": "ipvlan", "options": {"ipvlan_mode": "l3"}}),
        ("10.3.0.7/32", {"internal": True, "options": {MODE4: "isolated"}}),
        ("10.3.0.7/32", {"internal": True, "options": {INHIBIT: True}}),
        ("fd03::7/128", {"driver": "macvlan"}),
        ("fd03::7/128", {"internal": True, "options": {MODE6: "isolated"}}),
    ],
)
def test_a_network_of_one_address_without_a_gateway_has_one_endpoint(desk, subnet, others):
    """It gets the only address, by its name or not; a second one is refused until the first is gone."""
    address = subnet.partition("/")[0]
    (made,) = [event for event in desk.do(create_network("n", subnet, **others)) if isinstance(event, PoolAllocated)]
    assert str(made.subnet) == subnet
    assert allocated(desk.do(create_endpoint("n", "a"))) == [address]
    assert f"no free IPv{6 if ':' in subnet else 4} address in {subnet}" in str(
        desk.refusal(Exhausted, create_endpoint("n", "b"))
    )
    assert "is held by endpoint a" in str(desk.refusal(Conflict, create_endpoint("n", "b", addresses=[address])))
    desk.do(DeleteEndpoint(identifier("n/a")))
    assert allocated(desk.do(create_endpoint("n", "b", addresses=[address]))) == [address]
    desk.do(DeleteNetwork(identifier("n"), force=True))
    assert not desk.views.ipam.held


def test_whatever_takes_the_only_address_is_told(desk):
    """An auxiliary address, or a gateway that is asked for where none is needed."""
    only = parse_address("10.3.0.7")
    taken = desk.refusal(Invalid, create_network("n", pool("10.3.0.7/32", auxiliary={"p": only}), driver="macvlan"))
    assert "10.3.0.7/32 is one address, and auxiliary address p takes it" in str(taken)
    asked = desk.refusal(Invalid, create_network("n", pool("10.3.0.7/32", "10.3.0.7"), driver="macvlan"))
    assert str(asked).endswith("its gateway takes it: no endpoint could have one; choose a larger block")
    outside = desk.refusal(Invalid, create_network("n", pool("10.3.0.7/32", "10.3.0.1"), driver="macvlan"))
    assert "gateway 10.3.0.1 is outside its subnet 10.3.0.7/32" in str(outside)
    inhibited = desk.refusal(Invalid, create_network("n", "10.3.0.7/32", options={INHIBIT: True}))
    assert "its gateway takes it" in str(inhibited), "it leads out by somebody else's router, which has the address"


@pytest.mark.parametrize(
    ("subnet", "others", "endpoints"),
    [
        ("10.3.0.0/31", {"internal": True, "options": {INHIBIT: True}}, 2),
        ("10.3.0.0/31", {"internal": True, "options": {MODE4: "isolated"}}, 2),
        ("10.3.0.0/31", {"internal": True}, 1),
        ("10.3.0.0/31", {"options": {INHIBIT: True}}, 1),
        ("10.3.0.0/31", {"driver": "macvlan"}, 2),
        ("fd03::/127", {"internal": True, "options": {MODE6: "isolated"}}, 2),
        ("fd03::/127", {"driver": "macvlan"}, 2),
        ("fd03::/127", {}, 1),
    ],
)
def test_a_network_of_two_addresses_gives_both_but_a_gateway_s(desk, subnet, others, endpoints):
    """Moby, pull request 49261: an internal network whose bridge has no address keeps none back for it."""
    desk.do(create_network("n", subnet, **others))
    desk.do(*(create_endpoint("n", f"e{number}") for number in range(endpoints)))
    desk.refusal(Exhausted, create_endpoint("n", "more"))


def test_what_is_requested_is_claimed_and_goes_back(desk):
    """A network claims the pool, an endpoint the address; deleted, both are those of who requested them again."""
    desk.do(RequestPool(pool("10.3.0.0/24"), LEASE), RequestAddress(pool_of("10.3.0.0/24"), LEASE))
    desk.do(RequestAddress(pool_of("10.3.0.0/24"), OTHER))
    events = desk.do(create_network("n", pool("10.3.0.0/24", "10.3.0.1")))
    assert [type(event) for event in events[:3]] == [PoolClaimed, AddressReleased, AddressAllocated]
    assert (events[2].purpose, events[2].lease) == ("gateway", LEASE)
    assert "network n uses it" in str(desk.refusal(InUse, ReleasePool(pool_of("10.3.0.0/24"))))
    claim = one(desk.do(create_endpoint("n", "e", addresses=["10.3.0.2"])), AddressAllocated)
    assert (claim.owner[0], claim.lease) == ("endpoint", OTHER)
    refusal = desk.refusal(Forbidden, ReleaseAddress(pool_of("10.3.0.0/24"), parse_address("10.3.0.2")))
    assert "it is held by endpoint e, not by who requested it" in str(refusal)
    ending = desk.do(DeleteNetwork(identifier("n"), force=True))
    assert any(isinstance(event, PoolDisclaimed) for event in ending)
    owners = [held.event.owner for held in desk.views.holders_in(pool_of("10.3.0.0/24"))]
    assert owners == [("unclaimed", LEASE), ("unclaimed", OTHER)]
    for text in ("10.3.0.1", "10.3.0.2"):
        desk.do(ReleaseAddress(pool_of("10.3.0.0/24"), parse_address(text)))
        desk.refusal(NotFound, ReleaseAddress(pool_of("10.3.0.0/24"), parse_address(text)))
    desk.do(ReleasePool(pool_of("10.3.0.0/24")))
    desk.refusal(NotFound, ReleasePool(pool_of("10.3.0.0/24")))
    assert not desk.views.ipam.held


def test_only_who_holds_something_gives_it_back(desk):
    """Another lease is refused, and no count changes."""
    desk.do(RequestPool(pool("10.3.0.0/24"), LEASE), RequestAddress(pool_of("10.3.0.0/24"), LEASE))
    before = desk.views.digest()
    address = parse_address("10.3.0.1")
    refusal = desk.refusal(Forbidden, ReleaseAddress(pool_of("10.3.0.0/24"), address, OTHER))
    assert f"it is held by lease {LEASE[:12]}, not by {OTHER[:12]}" in str(refusal)
    assert "10.3.0.1 of it is held by unclaimed lease" in str(
        desk.refusal(InUse, ReleasePool(pool_of("10.3.0.0/24"), LEASE))
    )
    desk.refusal(Forbidden, ReleasePool(pool_of("10.3.0.0/24"), OTHER))
    assert desk.views.digest() == before
    desk.do(ReleaseAddress(pool_of("10.3.0.0/24"), address, LEASE), ReleasePool(pool_of("10.3.0.0/24"), LEASE))


def test_an_address_that_somebody_requested_keeps_its_network(desk):
    """Unless forced."""
    desk.do(create_network("n", "10.3.0.0/24"), RequestAddress(pool_of("10.3.0.0/24"), LEASE))
    refusal = desk.refusal(InUse, DeleteNetwork(identifier("n")))
    assert "address 10.3.0.2 of it is held by unclaimed lease" in str(refusal)
    desk.do(create_endpoint("n", "e", addresses=["10.3.0.2"]), DeleteNetwork(identifier("n"), force=True))
    assert not desk.views.ipam.held


# --- the dead


def dead(desk, **details) -> None:
    """Let an endpoint's sandbox be lost with its namespace."""
    desk.do(
        create_network("n", pool("10.0.0.0/29", **details)),
        create_endpoint("n", "old"),
        create_sandbox("c", kind=SandboxKind.ATTACHED, path="/run/c", identity=NamespaceIdentity("boot", 7)),
        join("n/old", "c"),
        LoseSandbox(identifier("c"), "namespace /run/c is gone"),
    )


def test_a_claim_supersedes_the_dead(desk):
    """In one decision the dead endpoint ends, with the evidence, and its address is the claimer's; a rest is cut."""
    dead(desk, rest_seconds=30)
    assert "already exists" in str(desk.refusal(Conflict, create_endpoint("n", "old", endpoint=identifier("x"))))
    events = desk.do(create_endpoint("n", "old", endpoint=identifier("new"), addresses=["10.0.0.2"]))
    assert [type(event) for event in events] == [AddressReleased, EndpointDeleted, AddressAllocated, EndpointCreated]
    assert events[0].why == "superseded: namespace /run/c is gone"
    assert events[2].rest_cut == 30 * 10**9
    assert list(desk.views.endpoints_of(identifier("n"))) == [identifier("new")]


@pytest.mark.parametrize("rest", [0, 30])
def test_who_supersedes_the_dead_of_its_name_gets_what_is_kept_for_it(desk, rest):
    """It asks for one address, and has the one of the other family, which the dead endpoint held, beside it."""
    desk.do(
        create_network("n", pool("10.0.0.0/29", rest_seconds=rest), pool("fd00::/64", rest_seconds=rest)),
        ReserveAddress(identifier("n"), "old", parse_address("fd00::9")),
        create_endpoint("n", "old"),
        create_sandbox("c", kind=SandboxKind.ATTACHED, path="/run/c", identity=NamespaceIdentity("boot", 7)),
        join("n/old", "c"),
        LoseSandbox(identifier("c"), "namespace /run/c is gone"),
    )
    new = create_endpoint("n", "old", endpoint=identifier("new"), addresses=["10.0.0.2"])
    taken = [event for event in desk.do(new) if isinstance(event, AddressAllocated)]
    assert [format_address(event.address) for event in taken] == ["10.0.0.2", "fd00::9"]
    assert (taken[1].decided_by, taken[1].rest_cut) == ("reservation", rest * 10**9)
    other = create_endpoint("n", "other", addresses=["10.0.0.3"])
    assert allocated(desk.do(other)) == ["10.0.0.3", "fd00::2"]
    assert [found.words for found in violations(desk.log) if found.checker != "hosts"] == []


def test_the_living_are_not_superseded(desk):
    """Neither who joined again, nor who was taken out by force: that proves nothing."""
    dead(desk)
    desk.do(create_sandbox("d"), join("n/old", "d"))
    desk.refusal(Conflict, create_endpoint("n", "new", addresses=["10.0.0.2"]))


def test_the_dead_keep_their_addresses_through_the_retention(desk):
    """A day unless configured; then Expire deletes them. Reservations end by their time."""
    dead(desk)
    assert desk.do(Expire()) == []
    desk.do(Configure((), 100))
    desk.wait(99)
    assert desk.do(Expire()) == []
    desk.wait(1)
    events = desk.do(Expire())
    assert [type(event) for event in events] == [AddressReleased, EndpointDeleted]
    assert events[0].why == "expired: namespace /run/c is gone"
    assert desk.do(Expire(0)) == []


# --- other IPAM drivers


def test_another_drivers_answers_come_in_with_the_command(desk):
    """Its block, gateway and addresses are recorded as its choice; what is wrong with them is refused."""
    answer = PoolAnswer(parse_subnet("10.9.0.0/24"), "their-pool", parse_address("10.9.0.254"))
    command = create_network("n", PoolRequest(4), ipam_driver="weave")
    refusal = desk.refusal(Unavailable, command)
    assert "IPAM driver 'weave' has not answered" in str(refusal)
    events = desk.do(command, ipam=IpamAnswers(pools=(answer,)))
    assert (events[0].ipam_driver, events[0].driver_pool, events[0].predefined) == ("weave", "their-pool", False)
    assert (events[1].decided_by, format_address(events[1].address)) == ("driver", "10.9.0.254")
    desk.refusal(Unavailable, create_endpoint("n", "e"))
    given = one(
        desk.do(create_endpoint("n", "e"), ipam=IpamAnswers(addresses=(parse_address("10.9.0.7"),))), AddressAllocated
    )
    assert (given.decided_by, format_address(given.address)) == ("driver", "10.9.0.7")
    outside = IpamAnswers(addresses=(parse_address("10.8.0.7"),))
    desk.refusal(Invalid, create_endpoint("n", "f"), ipam=outside)
    twice = IpamAnswers(pools=(answer, answer))
    desk.refusal(Conflict, create_network("m", PoolRequest(4), ipam_driver="weave"), ipam=IpamAnswers(pools=(answer,)))
    desk.refusal(Unavailable, create_network("m", PoolRequest(4), ipam_driver="weave"), ipam=twice)
