from __future__ import annotations

import pytest

from netledger.domain.commands import DeleteNetwork, PoolRequest
from netledger.domain.drivers import BridgeDriver
from netledger.domain.errors import Conflict, Exhausted, InUse, Invalid, NotFound, Unavailable
from netledger.domain.events import (
    AddressAllocated,
    AddressReleased,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    GatewayElected,
    NetworkCreated,
    NetworkDeleted,
    PoolAllocated,
    PoolReleased,
    device_tag,
)
from netledger.domain.facts import Capabilities
from netledger.domain.ipam.predefined import DEFAULT_POOLS, host_ula
from netledger.domain.values import Subnet, parse_address
from tests.desk import HOST, create_endpoint, create_network, create_sandbox, identifier, join, pool

KNOWN = "known: " + ", ".join(sorted(BridgeDriver().options({}, "")))


def test_a_network_is_its_pools_gateways_and_itself(desk):
    """Creating appends a pool and its gateway's address for each family, then the network with every value chosen."""
    events = desk.do(create_network("n1", "10.1.0.0/24", pool("fd01::/64", "fd01::ffff"), labels={"a": "b"}))
    assert [type(event) for event in events] == [
        PoolAllocated,
        AddressAllocated,
        PoolAllocated,
        AddressAllocated,
        NetworkCreated,
    ]
    created = events[-1]
    assert [str(each.subnet) for each in created.pools] == ["10.1.0.0/24", "fd01::/64"]
    assert [each.gateway for each in created.pools] == [parse_address("10.1.0.1"), parse_address("fd01::ffff")]
    assert [events[1].decided_by, events[3].decided_by] == ["netledger", "caller"]
    assert created.device == f"br-{identifier('n1')[:12]}"
    assert created.options["com.docker.network.bridge.enable_icc"] is True
    assert created.labels == {"a": "b"}
    assert {event.host for event in events} == {HOST}


def test_options_are_read_as_dockers_clients_send_them(desk):
    """Booleans and numbers may be text, and are typed in the event."""
    options = {
        "com.docker.network.bridge.enable_icc": "0",
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.name": "mybridge",
    }
    created = desk.do(create_network("n1", options=options))[-1]
    assert created.options["com.docker.network.bridge.enable_icc"] is False
    assert created.options["com.docker.network.driver.mtu"] == 1400
    assert created.device == "mybridge"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"driver": "ipoib"},
            "create network 'n1': unknown driver 'ipoib'; known: bridge, host, ipvlan, macvlan, null",
        ),
        ({"options": {"mtu": "9"}}, f"create network 'n1': unknown option 'mtu'; {KNOWN}"),
        (
            {"options": {"com.docker.network.bridge.enable_icc": "perhaps"}},
            (
                "create network 'n1': option com.docker.network.bridge.enable_icc='perhaps' is not a boolean; "
                "write true or false"
            ),
        ),
        (
            {"options": {"com.docker.network.driver.mtu": "-1"}},
            "create network 'n1': option com.docker.network.driver.mtu='-1' is not a whole number from 0",
        ),
        (
            {"options": {"com.docker.network.driver.mtu": True}},
            "create network 'n1': option com.docker.network.driver.mtu='True' is not a whole number from 0",
        ),
        (
            {"options": {"com.docker.network.bridge.name": 7}},
            "create network 'n1': option com.docker.network.bridge.name='7' is not text",
        ),
        (
            {"options": {"com.docker.network.driver.mtu": "67"}},
            "create network 'n1': invalid MTU number 67; give one from 68 to 65535, or 0",
        ),
        (
            {"options": {"com.docker.network.driver.mtu": 65536}},
            "create network 'n1': invalid MTU number 65536; give one from 68 to 65535, or 0",
        ),
        (
            {"options": {"com.docker.network.bridge.host_binding_ipv4": "::1"}},
            "create network 'n1': host_binding_ipv4 '::1' is not an IPv4 address",
        ),
        (
            {"options": {"com.docker.network.bridge.name": "a/b"}},
            "interface name 'a/b': not a name of 1 to 15 letters, digits, '_', '.' and '-'",
        ),
        (
            {"network": "1234"},
            "network id '1234': not 64 lower-case hex digits; leave it out and one is made",
        ),
    ],
)
def test_a_network_that_is_ill_described_is_refused(desk, others, message):
    """Driver, options and id are checked before anything is decided, and the message lists what is known."""
    assert str(desk.refusal(Invalid, create_network("n1", **others))) == message


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        (
            (pool("10.1.0.0/24", "10.2.0.1"),),
            "gateway 10.2.0.1 is outside its subnet 10.1.0.0/24; choose one inside it",
        ),
        ((pool("10.1.0.0/24", "10.1.0.0"),), "gateway 10.1.0.0 is reserved in 10.1.0.0/24"),
        ((pool("10.1.0.0/24", "10.1.0.255"),), "gateway 10.1.0.255 is reserved in 10.1.0.0/24"),
        (
            (pool("10.1.0.0/32"),),
            (
                "10.1.0.0/32 is one address, and its gateway takes it: no endpoint could have one; choose a larger "
                "block, or an internal network without a gateway (gateway mode 'isolated'), macvlan or ipvlan"
            ),
        ),
        (
            (pool("10.1.0.0/32", "10.1.0.0"),),
            "10.1.0.0/32 is one address, and its gateway takes it: no endpoint could have one; choose a larger block",
        ),
        ((pool("0.0.0.0/0"),), "0.0.0.0/0 is every address there is; choose a smaller block"),
        ((pool("127.1.0.0/16"),), "127.1.0.0/16 holds loopback addresses (127.0.0.0/8); choose another block"),
        ((pool("0.1.0.0/16"),), "0.1.0.0/16 holds addresses of this network (0.0.0.0/8); choose another block"),
        ((pool("169.254.7.0/24"),), "169.254.7.0/24 holds link-local addresses (169.254.0.0/16); choose another block"),
        ((pool("250.0.0.0/8"),), "250.0.0.0/8 holds reserved addresses (240.0.0.0/4); choose another block"),
        ((PoolRequest(5),), "unknown address family 5; known: 4, 6"),
        ((PoolRequest(4, Subnet(b"\x0a", 8)),), "packed address '0a' has 1 bytes; give 4 or 16"),
        ((PoolRequest(4, Subnet(bytes(4), 33)),), "0.0.0.0/33 has no prefix length from 0 to 32"),
        ((PoolRequest(4, Subnet(bytes(4), -1)),), "0.0.0.0/-1 has no prefix length from 0 to 32"),
        (
            (PoolRequest(4, Subnet(bytes([10, 1, 0, 9]), 24)),),
            "10.1.0.9/24 has host bits set; give the block's first address",
        ),
        ((PoolRequest(4, None, b"abc"),), "packed address '616263' has 3 bytes; give 4 or 16"),
        ((PoolRequest(4, None, bytes(16)),), "gateway :: is not an IPv4 address"),
        ((pool("224.0.0.0/3"),), "224.0.0.0/3 holds multicast addresses (224.0.0.0/4); choose another block"),
        ((pool("fe80:0:0:1::/64"),), "fe80:0:0:1::/64 holds link-local addresses (fe80::/10); choose another block"),
        (
            (PoolRequest(4, pool("fd00::/64").subnet),),
            "fd00::/64 is not an IPv4 subnet",
        ),
        (
            (pool("10.1.0.0/24"), pool("10.2.0.0/24")),
            "the bridge driver takes one IPv4 subnet a network; create another one",
        ),
    ],
)
def test_a_block_that_cannot_be_used_is_refused(desk, pools, message):
    """Gateways outside, reserved or no room, special blocks and too many blocks are each named."""
    assert str(desk.refusal(Invalid, create_network("n1", *pools))) == f"create network 'n1': {message}"


def test_a_network_needs_an_address_family(desk):
    """With neither IPv4 nor IPv6 there is nothing to make."""
    from netledger.domain.commands import CreateNetwork

    refusal = desk.refusal(Invalid, CreateNetwork(identifier("n1"), "n1", pools=()))
    assert str(refusal) == "create network 'n1': it has neither IPv4 nor IPv6; enable one of them"


def test_overlapping_subnets_name_the_other_network_and_its_position(desk):
    """The refusal says which block of which network is in the way, and where the log says so."""
    desk.do(create_network("n0"), create_network("n1", "10.1.0.0/16"))
    position = desk.position_of(PoolAllocated, network=identifier("n1"))
    for block in ("10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"):
        refusal = desk.refusal(Conflict, create_network("n2", block))
        assert str(refusal) == (
            f"create network 'n2': {block} overlaps 10.1.0.0/16 of network n1 (position {position}); "
            "choose another block, or leave it out and a free one is chosen"
        )
        assert refusal.position == position
    desk.do(create_network("n2", "10.2.0.0/16"))


def test_a_name_is_held_once(desk):
    """A second network of the same name is refused with libnetwork's words and the first one's position."""
    desk.do(create_network("n1"))
    refusal = desk.refusal(Conflict, create_network("n1", network=identifier("other")))
    assert str(refusal) == (
        f"create network 'n1': network with name n1 already exists ({identifier('n1')[:12]}) (position 3); "
        "choose another name, or delete that one first"
    )


def test_an_id_is_held_once(desk):
    """A second network with the same id is refused."""
    desk.do(create_network("n1"))
    refusal = desk.refusal(Conflict, create_network("n2", network=identifier("n1")))
    assert str(refusal) == f"create network 'n2': id {identifier('n1')[:12]} is network n1 (position 3)"


@pytest.mark.parametrize("name", ["", "n 1", "-n"])
def test_a_name_that_is_none_is_refused(desk, name):
    """Names follow Docker's rule."""
    desk.refusal(Invalid, create_network(name))


def test_an_interface_name_is_held_once(desk):
    """A bridge cannot have the name of another network's bridge or of a joined endpoint's interface."""
    bridge = {"com.docker.network.bridge.name": "mybridge"}
    desk.do(create_network("n1", options=bridge), create_endpoint("n1", "e"), create_sandbox("c"), join("n1/e", "c"))
    refusal = desk.refusal(Conflict, create_network("n2", options=bridge))
    assert str(refusal) == (
        f"create network 'n2': interface mybridge is that of network n1 (position {desk.position_of(NetworkCreated)}); "
        "choose another bridge name"
    )
    device = desk.views.joined(identifier("n1/e")).event.device
    taken = {"com.docker.network.bridge.name": device}
    refusal = desk.refusal(Conflict, create_network("n2", options=taken))
    assert str(refusal) == (
        f"create network 'n2': interface {device} is that of endpoint e (position {desk.position_of(EndpointJoined)}); "
        "choose another bridge name"
    )


def test_a_foreign_interface_is_not_taken_over(desk):
    """What the host has under that name, and is not ours, is named."""
    command = create_network("n1", options={"com.docker.network.bridge.name": "docker0"})
    obstacles = {device_tag(HOST, "docker0"): "a bridge"}
    refusal = desk.refusal(Conflict, command, obstacles=obstacles)
    assert str(refusal) == (
        "create network 'n1': a bridge has the name docker0 and is not ours; remove it, or choose another bridge name"
    )


@pytest.mark.parametrize("feature", ["bridge", "veth", "firewall", "address marks"])
def test_a_missing_capability_is_refused_before_any_event(desk, feature):
    """What the dataplane lacks is named with its reason."""
    capabilities = Capabilities(missing={feature: "the module is not loaded"})
    refusal = desk.refusal(Unavailable, create_network("n1"), capabilities=capabilities)
    assert str(refusal) == (
        f"create network 'n1': this host cannot make {feature!r}: the module is not loaded; see `netledger doctor`"
    )


def test_a_capability_is_asked_for_only_where_it_is_needed(desk):
    """Port isolation serves networks without inter-container communication alone."""
    capabilities = Capabilities(missing={"port isolation": "too old a kernel"})
    desk.do(create_network("n1"), capabilities=capabilities)
    off = {"com.docker.network.bridge.enable_icc": "false"}
    refusal = desk.refusal(Unavailable, create_network("n2", options=off), capabilities=capabilities)
    assert "'port isolation': too old a kernel" in str(refusal)


def test_predefined_blocks_come_in_dockers_order_and_end(desk):
    """Each network without a subnet gets the next free one of moby's pools, until all 31 are taken."""
    expected = [f"172.{number}.0.0/16" for number in range(17, 32)]
    expected += [f"192.168.{number}.0/20" for number in range(0, 256, 16)]
    assert len(expected) == 31
    for number, block in enumerate(expected):
        created = desk.do(create_network(f"n{number}"))[-1]
        assert str(created.pools[0].subnet) == block
        assert any(created.pools[0].subnet.overlaps(pool.base) for pool in DEFAULT_POOLS)
    named = ", ".join(f"{block} network n{number}" for number, block in enumerate(expected[:8]))
    assert str(desk.refusal(Exhausted, create_network("n31"))) == (
        "create network 'n31': all predefined IPv4 address pools have been fully subnetted "
        f"(31 blocks are taken: {named} and 23 more); "
        "name a subnet, delete a network, or configure other pools with `netledger ipam configure`"
    )
    desk.do(DeleteNetwork(identifier("n7")))
    assert str(desk.do(create_network("n31"))[-1].pools[0].subnet) == expected[7]


def test_a_predefined_block_avoids_what_was_named(desk):
    """A network that named a block of its own keeps others from getting it."""
    desk.do(create_network("n1", "172.17.128.0/20"))
    assert str(desk.do(create_network("n2"))[-1].pools[0].subnet) == "172.18.0.0/16"


def test_predefined_ipv6_blocks_are_the_hosts_own(desk):
    """They are /64s of a /48 that follows from the host's id."""
    first = desk.do(create_network("n1", PoolRequest(6)))[-1].pools[0].subnet
    second = desk.do(create_network("n2", PoolRequest(6)))[-1].pools[0].subnet
    assert first.prefix == second.prefix == 64
    assert first != second
    assert first.overlaps(host_ula(HOST))
    assert str(first).startswith("fd")


def test_deleting_gives_back_everything(desk):
    """The gateway's address and the pool go back, then the network ends; the views are as before it."""
    events = desk.do(create_network("n1", "10.1.0.0/24", "fd01::/64"), DeleteNetwork(identifier("n1")))
    assert [type(event) for event in events[5:]] == [
        AddressReleased,
        PoolReleased,
        AddressReleased,
        PoolReleased,
        NetworkDeleted,
    ]
    assert events[-1].forced is False
    assert all(not table for part in (desk.views.ipam, desk.views.endpoints) for table in part.tables().values())
    desk.do(create_network("n1", "10.1.0.0/24"))


def test_deleting_what_is_not_there_is_refused(desk):
    """An unknown id is not found."""
    refusal = desk.refusal(NotFound, DeleteNetwork(identifier("n1")))
    short = identifier("n1")[:12]
    assert str(refusal) == f"delete network {short}: there is no network {short}; see `netledger network ls`"


def test_a_network_with_endpoints_is_in_use(desk):
    """The refusal counts them, names the first and its position, and says what to do."""
    desk.do(create_network("n1"), create_endpoint("n1", "e1"), create_endpoint("n1", "e2"))
    position = desk.position_of(EndpointCreated, name="e1")
    assert str(desk.refusal(InUse, DeleteNetwork(identifier("n1")))) == (
        f"delete network n1: it has 2 endpoint(s), the first is e1 (position {position}); "
        "delete them first, or force it"
    )


def test_force_takes_the_endpoints_away_with_events_of_their_own(desk):
    """Each joined endpoint is abandoned with cause and evidence and then deleted, before the network is."""
    desk.do(
        create_network("n1"),
        create_endpoint("n1", "e1", "8080:80"),
        create_endpoint("n1", "e2"),
        create_sandbox("c1"),
        join("n1/e1", "c1"),
    )
    events = desk.do(DeleteNetwork(identifier("n1"), force=True))
    abandoned = [event for event in events if isinstance(event, EndpointAbandoned)]
    assert [(event.cause, event.evidence) for event in abandoned] == [("network deleted", "forced by the caller")]
    deleted = [event for event in events if isinstance(event, EndpointDeleted)]
    assert [event.name for event in deleted] == ["e1", "e2"]
    assert all(event.forced for event in deleted)
    assert isinstance(events[-1], NetworkDeleted)
    assert events[-1].forced
    views = desk.views
    left = [name for part in (views.ipam, views.endpoints) for name, table in part.tables().items() if table]
    assert left == []
    assert not views.ports.by_number
    assert not views.names.devices
    assert views.sandbox(identifier("c1")) is not None


def test_force_elects_a_way_out_that_stays(desk):
    """A sandbox that loses two endpoints at once is left with one that is not going away."""
    desk.do(
        create_network("a"),
        create_network("z"),
        create_endpoint("a", "e1"),
        create_endpoint("a", "e2"),
        create_endpoint("z", "e3"),
        create_sandbox("c"),
        join("a/e1", "c"),
        join("a/e2", "c"),
        join("z/e3", "c"),
    )
    elected = [
        event.endpoint
        for event in desk.do(DeleteNetwork(identifier("a"), force=True))
        if isinstance(event, GatewayElected)
    ]
    assert elected == [identifier("z/e3")]
