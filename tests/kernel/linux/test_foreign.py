"""What is not ours is never touched: it is named in a fault, and the rest goes on."""

from __future__ import annotations

import pytest

from netledger.dataplanes.contract import Instance, Place, Status, Verb
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import PortForward
from netledger.domain.values import SandboxKind

V4, V6 = "10.5.0.0/24", "fd05::/64"


@pytest.fixture
def network(stage):
    """Give a network, made."""
    network = stage.network("network1", V4, V6)
    stage.make(*stage.forwarding, *network.objects)
    return network


def test_a_foreign_link_with_a_host_ends_name(stage, network):
    """The fault names it, what depends on the pair names the pair, and other endpoints are made."""
    web, other = stage.member(network, "web"), stage.member(network, "other")
    stage.run("ip", "link", "add", web.pair.host_name, "type", "bridge")
    before = stage.ip("link", "show", web.pair.host_name)
    outcomes = stage.apply(Verb.MAKE, [*web.objects, *other.objects, *web.publish(8080), *other.publish(8081)])
    fault = outcomes[web.pair.key].fault
    assert f"a bridge link named {web.pair.host_name}, index {before[0]['ifindex']}" in str(fault)
    assert f"without netledger-{stage.instance}'s mark" in str(fault)
    for thing in (*web.addresses, *web.routes):
        assert str(web.pair.key) in str(outcomes[thing.key].fault)
    for thing in web.publish(8080):
        assert outcomes[thing.key].status is Status.FAULT
    for thing in (*other.objects, *other.publish(8081)):
        assert outcomes[thing.key].status is Status.MADE
    assert stage.ip("link", "show", web.pair.host_name) == before
    outcomes = stage.apply(Verb.REMOVE, [web.pair])
    assert outcomes[web.pair.key].status is Status.ALREADY  # ours is not there
    assert stage.dataplane.settle(5)
    assert stage.ip("link", "show", web.pair.host_name) == before


def test_a_foreign_link_with_a_bridges_name(stage):
    """A bridge of somebody else is not taken over, nor changed, nor deleted."""
    network = stage.network("network1", V4)
    stage.run("ip", "link", "add", network.device, "type", "bridge")
    before = stage.ip("link", "show", network.device), stage.ip("addr", "show", network.device)
    outcomes = stage.apply(Verb.MAKE, [*stage.forwarding, *network.objects])
    assert f"a bridge link named {network.device}, index" in str(outcomes[network.bridge.key].fault)
    for thing in network.objects[1:]:
        assert str(network.bridge.key) in str(outcomes[thing.key].fault)
    assert stage.apply(Verb.REMOVE, [network.bridge])[network.bridge.key].status is Status.ALREADY
    assert before == (stage.ip("link", "show", network.device), stage.ip("addr", "show", network.device))
    assert network.bridge not in stage.observed()


def test_a_foreign_link_with_a_container_ends_name(stage, network):
    """In an attached namespace that has an eth0 already, the fault says where it is."""
    web = stage.member(network, "web", path=stage.outside)
    stage.places[web.sandbox] = Place(SandboxKind.ATTACHED, str(stage.outside))
    shell_run = ["ip", "link", "add", "eth0", "type", "bridge"]
    stage.run(*shell_run, namespace=stage.outside)
    outcomes = stage.apply(Verb.MAKE, web.inner)
    assert f"a bridge link named eth0, index 3 in the namespace at {stage.outside}" in str(outcomes[web.pair.key].fault)
    assert [link["ifname"] for link in stage.ip("link", namespace=stage.outside)] == ["lo", "uplink", "eth0"]
    assert web.pair.host_name not in {link["ifname"] for link in stage.ip("link")}


def test_foreign_addresses_and_routes(stage, network):
    """An address or route that somebody else put there is a fault; it is neither observed nor removed."""
    web = stage.member(network, "web")
    stage.make(web.namespace, web.pair)
    stage.run("ip", "addr", "add", f"{web.texts[0]}/24", "dev", "eth0", namespace=web.path)
    stage.run("ip", "route", "add", "default", "via", "10.5.0.99", namespace=web.path)
    v4, v6 = web.addresses
    route4, route6 = web.routes
    outcomes = stage.apply(Verb.MAKE, [v4, route4])
    assert f"{web.texts[0]}/24 is on eth0 already, and netledger did not add it" in str(outcomes[v4.key].fault)
    assert outcomes[route4.key].status is Status.FAULT
    outcomes = stage.apply(Verb.MAKE, [v6, route6, route4])
    assert outcomes[v6.key].status is outcomes[route6.key].status is Status.MADE
    assert "a route to 0.0.0.0/0 via 10.5.0.99" in str(outcomes[route4.key].fault)
    assert not {v4, route4} & stage.observed()
    outcomes = stage.apply(Verb.REMOVE, [v4, route4])
    assert {outcome.status for outcome in outcomes.values()} == {Status.ALREADY}
    assert [entry["gateway"] for entry in stage.ip("route", "show", "default", namespace=web.path)] == ["10.5.0.99"]


def test_other_tables_are_left_alone(stage, network):
    """Tables of others, of our own name's kin and of another family, survive making, flushing and removing ours."""
    stage.run("nft", f"add table ip {stage.table}; add table inet netledger-ffffffff; add table inet filter")
    stage.run("nft", "add chain inet filter input { type filter hook input priority 0 ; }")
    ours = stage.forwarding[0]
    stage.run("nft", "delete", "table", "inet", stage.table)
    assert ours not in stage.observed()
    stage.make(ours)
    stage.remove(ours)
    listed = stage.run("nft", "list", "tables").split("\n")
    assert f"table ip {stage.table}" in listed
    assert {"table inet netledger-ffffffff", "table inet filter"} <= set(listed)
    assert f"table inet {stage.table}" not in listed


def test_two_instances_do_not_see_each_other(stage, host, tmp_path):
    """Two ledgers on one host, even with one sandbox between them, each observe their own and remove their own."""
    other = type(stage)(stage.host, stage.outside, tmp_path / "other", Instance("ffffffff"))
    try:
        first, second = stage.network("first", V4, V6), other.network("second", "10.6.0.0/24", "fd06::/64")
        web, db = stage.member(first, "web"), other.member(second, "db")
        mine = [*stage.forwarding, *first.objects, *web.objects, *web.publish(8080)]
        theirs = [*other.forwarding, *second.objects, *db.objects, *db.publish(8081)]
        stage.make(*mine)
        other.make(*theirs)
        guest = other.member(second, "guest", path=web.path)
        other.places[guest.sandbox] = Place(SandboxKind.ATTACHED, str(web.path))
        inner = [
            type(thing)(**{**{f: getattr(thing, f) for f in thing.__struct_fields__}, "name": "eth1"})
            if thing is guest.pair
            else type(thing)(**{**{f: getattr(thing, f) for f in thing.__struct_fields__}, "device": "eth1"})
            for thing in (guest.pair, *guest.addresses)
        ]
        other.make(*inner)
        assert stage.observed() == set(mine)
        assert other.observed() == {*theirs, *inner}
        other.remove(*inner, *theirs[3:])
        assert stage.observed() == set(mine)
        assert other.observed() == set(other.forwarding)
        with stage.listening(web.path, web.texts[0], 80) as listener:
            assert stage.reach(stage.outside, "198.51.100.1", 8080, listener)
    finally:
        other.dataplane.close()


def test_an_attached_namespace_that_was_replaced(stage, network):
    """Another namespace at the recorded path is not entered: a fault says so, and it is observed as lost."""
    stage.run("ip", "netns", "add", f"{stage.host.name}-runtime")
    path = stage.outside.parent / f"{stage.host.name}-runtime"
    try:
        web = stage.member(network, "web", path=path)
        identity = stage.dataplane.identify(str(path))
        assert identity is not None
        stage.places[web.sandbox] = Place(SandboxKind.ATTACHED, str(path), identity)
        stage.make(*web.inner)
        assert set(web.inner) <= stage.observed()
        stage.run("ip", "netns", "delete", path.name)
        assert stage.dataplane.observe(stage.places).lost == {web.sandbox}
        stage.run("ip", "netns", "add", path.name)
        assert stage.dataplane.observe(stage.places).lost == {web.sandbox}
        outcomes = stage.apply(Verb.MAKE, web.inner)
        assert "was replaced by another one" in str(outcomes[web.pair.key].fault)
        assert [link["ifname"] for link in stage.ip("link", namespace=path)] == ["lo"]
        boot = NamespaceIdentity("an earlier boot", identity.cookie)
        stage.places[web.sandbox] = Place(SandboxKind.ATTACHED, str(path), boot)
        assert "in another boot" in str(stage.apply(Verb.MAKE, web.inner)[web.pair.key].fault)
        left = {Status.ALREADY, Status.REMOVED, Status.DYING}
        assert {outcome.status for outcome in stage.apply(Verb.REMOVE, web.inner).values()} <= left
    finally:
        stage.run("ip", "netns", "delete", path.name)


def test_a_port_that_is_published_otherwise_is_put_right(stage, network):
    """A published port is ours whatever it points to: it is put in place of what is there."""
    web = stage.member(network, "web")
    stage.make(*web.objects, *web.publish(8080))
    moved = [PortForward(p.protocol, p.host_address, p.host_port, p.address, 99) for p in web.publish(8080)]
    stage.make(*moved)
    assert set(moved) <= stage.observed()
    assert not set(web.publish(8080)) & stage.observed()
