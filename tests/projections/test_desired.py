from __future__ import annotations

from netledger.domain.commands import DeleteNetwork, LeaveEndpoint, PoolRequest
from netledger.domain.events import EndpointJoined, NetworkCreated
from netledger.domain.objects import (
    Address,
    Announcement,
    Bridge,
    Firewall,
    ForwardPolicy,
    LoopbackAccess,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from netledger.domain.values import SandboxKind, Subnet, mac_for, parse_address, parse_subnet
from netledger.projections.desired import Pending, lower, lower_everything
from tests.desk import HOST, create_endpoint, create_network, create_sandbox, identifier, join

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
MTU = "com.docker.network.driver.mtu"


def objects(desk):
    """List everything that the host calls for."""
    return set(lower_everything(desk.views, HOST).values())


def test_a_network_calls_for_a_bridge_its_addresses_and_rules(desk):
    """Both families: forwarding, the firewall, the bridge with its addresses, masquerading for each, one policy."""
    desk.do(create_network("n", "10.1.0.0/24", "fd01::/64", options={MTU: 1400}))
    device = f"br-{identifier('n')[:12]}"
    assert objects(desk) == {
        Firewall(),
        Sysctl("", "net.ipv4.ip_forward", "1"),
        Sysctl("", "net.ipv6.conf.all.forwarding", "1"),
        Bridge(device, identifier("n"), mac_for(identifier("n")), 1400),
        Address("", device, parse_address("10.1.0.1"), 24),
        Address("", device, parse_address("fd01::1"), 64),
        Address("", device, parse_address("fe80::1"), 64),
        Masquerade(device, 4),
        Masquerade(device, 6),
        LoopbackAccess(device, 4),
        LoopbackAccess(device, 6),
        ForwardPolicy(device, icc=True, internal=False),
    }


def test_options_show_in_the_objects(desk):
    """Without masquerading there is none; without communication among containers ports are isolated."""
    desk.do(create_network("n", options={MASQUERADE: False, ICC: False}), create_network("inside", internal=True))
    made = objects(desk)
    assert not any(isinstance(thing, Masquerade) for thing in made)
    policies = {(thing.icc, thing.internal) for thing in made if isinstance(thing, ForwardPolicy)}
    assert policies == {(False, False), (True, True)}
    desk.do(create_endpoint("n", "e"), create_sandbox("c"), join("n/e", "c"))
    assert [thing.isolated for thing in objects(desk) if isinstance(thing, VethPair)] == [True]


def test_an_isolated_network_has_no_address_of_the_host(desk):
    """Not even where a gateway was asked for: its address is kept free for whoever is to have it."""
    isolated = {f"com.docker.network.bridge.gateway_mode_ipv{family}": "isolated" for family in (4, 6)}
    pools = [
        PoolRequest(4, parse_subnet("10.1.0.0/24"), parse_address("10.1.0.9")),
        PoolRequest(6, parse_subnet("fd01::/64"), parse_address("fd01::9")),
    ]
    desk.do(create_network("n", *pools, internal=True, options=isolated))
    assert not any(isinstance(thing, Address) for thing in objects(desk))


def test_a_joined_endpoint_calls_for_its_interface_addresses_routes_and_ports(desk):
    """The pair, the addresses in the sandbox, a default route in each family, and the published ports."""
    desk.do(create_network("n", "10.1.0.0/24", "fd01::/64"), create_sandbox("c", path="/run/c"))
    before = objects(desk)
    desk.do(create_endpoint("n", "e", "8080:80"))
    assert objects(desk) == before, "an endpoint that is in no sandbox calls for nothing"
    device = next(event.device for event in desk.do(join("n/e", "c")) if isinstance(event, EndpointJoined))
    sandbox, endpoint = identifier("c"), identifier("n/e")
    assert objects(desk) - before == {
        VethPair(device, endpoint, f"br-{identifier('n')[:12]}", sandbox, "eth0", mac_for(endpoint), 0, isolated=False),
        Address(sandbox, "eth0", parse_address("10.1.0.2"), 24),
        Address(sandbox, "eth0", parse_address("fd01::2"), 64),
        Route(sandbox, "eth0", Subnet(bytes(4), 0), parse_address("10.1.0.1")),
        Route(sandbox, "eth0", Subnet(bytes(16), 0), parse_address("fd01::1")),
        PortForward(6, bytes(4), 8080, parse_address("10.1.0.2"), 80),
        PortForward(6, bytes(16), 8080, parse_address("fd01::2"), 80),
        Announcement(sandbox, "eth0", 3, 1000),
    }
    assert Namespace(sandbox, "/run/c") in before
    desk.do(LeaveEndpoint(endpoint))
    assert objects(desk) == before


def test_a_delegated_sandbox_gets_the_pair_and_the_ports_alone(desk):
    """The container end stays in the host's namespace, down, for a runtime to move; inside nothing is configured."""
    desk.do(create_network("n"), create_endpoint("n", "e", "8080:80"))
    before = objects(desk)
    desk.do(create_sandbox("c", kind=SandboxKind.DELEGATED), join("n/e", "c"))
    made = objects(desk) - before
    assert {type(thing) for thing in made} == {VethPair, PortForward}
    pair = next(thing for thing in made if isinstance(thing, VethPair))
    assert (pair.sandbox, pair.up, pair.name) == ("", False, "np" + pair.host_name[2:])


def test_only_the_way_out_publishes(desk):
    """Of two endpoints in a sandbox the one that is the way out has its ports published."""
    desk.do(create_network("a"), create_network("b"), create_sandbox("c"))
    desk.do(create_endpoint("a", "e", "80:80"), create_endpoint("b", "e", "81:80"), join("b/e", "c"), join("a/e", "c"))
    assert {thing.host_port for thing in objects(desk) if isinstance(thing, PortForward)} == {80}
    desk.do(LeaveEndpoint(identifier("a/e")))
    assert {thing.host_port for thing in objects(desk) if isinstance(thing, PortForward)} == {81}


def test_ids_that_begin_alike_are_told_apart(desk):
    """Objects of two sandboxes whose ids share their first digits have keys of their own."""
    first, second = "0" * 63 + "1", "0" * 63 + "2"
    desk.do(create_sandbox("c", sandbox=first), create_sandbox("d", sandbox=second))
    assert {thing.sandbox for thing in objects(desk)} == {first, second}


def test_a_key_belongs_to_one_object(desk):
    """Every kind's key leads back to the one object, and its printed form is one line that begins like it."""
    desk.do(create_network("n", "10.1.0.0/24", "fd01::/64"), create_endpoint("n", "e", "80:80"), create_sandbox("c"))
    desk.do(join("n/e", "c"))
    made = lower_everything(desk.views, HOST)
    assert all(key == thing.key for key, thing in made.items())
    assert all("\n" not in str(thing) for thing in made.values())
    assert len({str(thing) for thing in made.values()}) == len(made)


def test_another_hosts_objects_are_not_ours(desk):
    """A network of another host calls for nothing here."""
    from msgspec.structs import replace

    desk.do(create_network("n"))
    created = next(record.event for record in desk.log if isinstance(record.event, NetworkCreated))
    desk.fold(replace(created, host="other", network=identifier("m"), name="m", scope="other", device="br-m"))
    assert not any(isinstance(thing, Bridge) and thing.name == "br-m" for thing in objects(desk))


def test_pending_keeps_the_state_before_the_first_touch(desk):
    """What was called for before is kept once an entity; what a fold that is undone noted is forgotten."""
    pending = Pending(desk.views, HOST)

    def do(*commands):
        for command in commands:
            for event in desk.decide(command).events:
                pending.note(event)
                desk.fold(event)

    do(create_network("n"))
    before, between = pending.take()
    assert before == {("host", HOST): {}, ("network", identifier("n")): {}}
    assert between == {}
    there = lower(desk.views, ("network", identifier("n")))
    pending.begin()
    for event in desk.decide(DeleteNetwork(identifier("n"))).events:
        pending.note(event)
    pending.undo()
    assert pending.take() == ({}, {})
    do(DeleteNetwork(identifier("n")), create_network("n"))
    assert pending.take()[0]["network", identifier("n")] == there


def test_pending_remembers_every_state_when_it_may_matter(desk):
    """After a crash what was called for in between may be in the kernel: it is remembered, by entity."""
    pending = Pending(desk.views, HOST)
    pending.every_state = True
    for command in (create_network("n"), DeleteNetwork(identifier("n"))):
        for event in desk.decide(command).events:
            pending.note(event)
            desk.fold(event)
    before, between = pending.take()
    assert before["network", identifier("n")] == {}
    assert {type(thing) for thing in between["network", identifier("n")].values()} == {
        Bridge,
        ForwardPolicy,
        LoopbackAccess,
        Address,
        Masquerade,
    }
