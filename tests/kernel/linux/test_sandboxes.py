"""Sandboxes of every kind, through what can happen to them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from netledger.dataplanes.contract import Place, Plan, Status, Step, Verb
from netledger.domain.objects import Bridge, Route
from netledger.domain.values import SandboxId, SandboxKind, Subnet

V4, V6 = "10.5.0.0/24", "fd05::/64"


@pytest.fixture
def network(stage):
    """Give a network, made."""
    network = stage.network("network1", V4, V6)
    stage.make(*stage.forwarding, *network.objects)
    return network


@pytest.fixture
def runtime(stage):
    """Give the path of a namespace that somebody else made."""
    name = f"{stage.host.name}-runtime"
    stage.run("ip", "netns", "add", name)
    yield Path("/run/netns") / name
    stage.run("ip", "netns", "delete", name)


def links(stage, namespace=None):
    """List the names of a namespace's links."""
    return {link["ifname"] for link in stage.ip("link", namespace=namespace)}


def test_a_namespace_that_a_process_holds(stage, network):
    """Removed, it is dying at once; after settle it is left with its process and without our interface."""
    web = stage.member(network, "web")
    stage.make(*web.objects)
    with process_in(web.path) as process:
        held = Path(f"/proc/{process}/ns/net")
        outcomes = stage.apply(Verb.REMOVE, web.objects)
        assert outcomes[web.namespace.key].status is Status.REMOVED
        assert outcomes[web.pair.key].status is Status.DYING
        assert not web.path.exists()
        assert web.pair.key not in stage.dataplane.observe({}).objects
        assert stage.dataplane.settle(5)
        assert links(stage, held) == {"lo"}
        assert web.pair.host_name not in links(stage)
        assert not stage.dataplane.observe({}).dying


def test_what_is_removed_goes_without_settling(stage, network):
    """The reaper deletes by itself what was parked, when nobody waits."""
    web = stage.member(network, "web")
    stage.make(*web.objects)
    outcomes = stage.apply(Verb.REMOVE, web.inner)
    assert outcomes[web.pair.key].status is Status.DYING
    assert stage.dataplane.observe(stage.places).dying == {web.pair.key}
    with stage.listening(web.path, "0.0.0.0", 80) as listener:
        assert stage.is_silent(stage.host, web.texts[0], 80, listener)
    until(lambda: web.pair.host_name not in links(stage))
    assert links(stage, web.path) == {"lo"}
    assert web.namespace in stage.observed()


def test_joining_again_at_once(stage, network):
    """A new pair takes the name of one that is still dying, without waiting to be told."""
    web = stage.member(network, "web")
    stage.make(*web.objects)
    for attempt in range(5):
        assert stage.apply(Verb.REMOVE, web.inner)[web.pair.key].status is Status.DYING
        again = msgspec.structs.replace(web.pair, host_name=f"nl{attempt}{web.endpoint[:10]}")
        stage.make(again, *web.addresses, *web.routes)
        assert again in stage.observed()
        web.pair = again
    with stage.listening(web.path, web.texts[0], 80) as listener:
        assert stage.reach(stage.host, web.texts[0], 80, listener)


def test_two_networks_in_one_sandbox(stage, network):
    """A sandbox has an interface for each endpoint; one leaves and the other stays."""
    second = stage.network("network2", "10.6.0.0/24")
    stage.make(*second.objects)
    web, extra = stage.member(network, "web"), stage.member(second, "extra")
    pair = msgspec.structs.replace(extra.pair, sandbox=web.sandbox, name="eth1")
    addresses = [msgspec.structs.replace(a, sandbox=web.sandbox, device="eth1") for a in extra.addresses]
    del stage.places[extra.sandbox]
    stage.make(*web.objects, pair, *addresses)
    assert {pair, *addresses, *web.objects} <= stage.observed()
    assert links(stage, web.path) == {"lo", "eth0", "eth1"}
    stage.remove(*web.inner)
    assert {pair, *addresses, web.namespace} <= stage.observed()
    assert links(stage, web.path) == {"lo", "eth1"}
    with stage.listening(web.path, extra.texts[0], 80) as listener:
        assert stage.reach(stage.host, extra.texts[0], 80, listener)


def test_leftovers_of_a_crash(stage, network):
    """An empty file without a mount, a mount without links, a pair without its marks: each is completed."""
    web = stage.member(network, "web")
    web.path.parent.mkdir(parents=True)
    web.path.touch()
    stage.make(*web.objects)
    stage.remove(*web.inner)
    assert stage.apply(Verb.MAKE, [web.namespace])[web.namespace.key].status is Status.ALREADY
    group = str(stage.dataplane._marks.live)
    with process_in(web.path) as process:
        bare = ["type", "veth", "peer", "name", "eth0", "netns", str(process)]
        stage.run("ip", "link", "add", web.pair.host_name, "group", group, *bare)
    observed = stage.dataplane.observe(stage.places).objects[web.pair.key]
    assert observed != web.pair
    stage.make(*web.inner)
    assert set(web.objects) <= stage.observed()


def test_a_file_in_the_way_of_a_namespace(stage, network):
    """A file with something in it is not mounted over."""
    web = stage.member(network, "web")
    web.path.parent.mkdir(parents=True)
    web.path.write_text("precious")
    outcomes = stage.apply(Verb.MAKE, web.objects)
    assert "a file that is no namespace is in the way" in str(outcomes[web.namespace.key].fault)
    assert str(web.namespace.key) in str(outcomes[web.pair.key].fault)
    assert outcomes[web.routes[0].key].status is Status.FAULT
    assert web.path.read_text() == "precious"
    assert stage.apply(Verb.REMOVE, [web.namespace])[web.namespace.key].status is Status.FAULT
    assert web.path.read_text() == "precious"


def test_an_attached_sandbox(stage, network, runtime):
    """A namespace of somebody else's is furnished and stripped, and left as it was."""
    web = stage.member(network, "web", path=runtime)
    stage.places[web.sandbox] = Place(SandboxKind.ATTACHED, str(runtime), stage.dataplane.identify(str(runtime)))
    stage.make(*web.inner)
    assert set(web.inner) <= stage.observed()
    assert web.namespace not in stage.observed()
    with stage.listening(runtime, web.texts[0], 80) as listener:
        assert stage.reach(stage.host, web.texts[0], 80, listener)
    stage.remove(*web.inner)
    assert links(stage, runtime) == {"lo"}
    assert runtime.exists()


def test_a_delegated_sandbox(stage, network, runtime):
    """The container end waits in the host's namespace, down and bare; its runtime takes it from there."""
    web = stage.member(network, "web", path=runtime)
    pair = msgspec.structs.replace(web.pair, sandbox=SandboxId(""), name=f"np{web.endpoint[:11]}", up=False)
    stage.places[web.sandbox] = Place(SandboxKind.DELEGATED, str(runtime), stage.dataplane.identify(str(runtime)))
    stage.make(pair)
    waiting = stage.ip("addr", "show", pair.name)[0]
    assert waiting["address"] == pair.mac.hex(":")
    assert "UP" not in waiting["flags"]
    assert waiting["addr_info"] == []
    assert pair in stage.observed()
    assert stage.apply(Verb.MAKE, [pair])[pair.key].status is Status.ALREADY
    stage.run("ip", "link", "set", pair.name, "netns", runtime.name)
    stage.run("ip", "link", "set", pair.name, "name", "eth0", namespace=runtime)
    stage.run("ip", "addr", "add", f"{web.texts[0]}/24", "dev", "eth0", namespace=runtime)
    stage.run("ip", "link", "set", "eth0", "up", namespace=runtime)
    assert pair in stage.observed()
    del stage.places[web.sandbox]
    assert pair in stage.observed()
    with stage.listening(runtime, web.texts[0], 80) as listener:
        assert stage.reach(stage.host, web.texts[0], 80, listener)
    stage.remove(pair)
    assert links(stage, runtime) == {"lo"}


def test_a_replaced_route_and_what_stays(stage, network):
    """A gateway changes in one plan; the address stays."""
    web = stage.member(network, "web")
    stage.make(*web.objects)
    old = web.routes[0]
    new = Route(web.sandbox, "eth0", Subnet(bytes(4), 0), bytes([10, 5, 0, 77]))
    outcomes = stage.dataplane.apply(plan_of(stage, Verb.REPLACE, new, old))
    assert outcomes[0].status is Status.MADE
    assert [entry["gateway"] for entry in stage.ip("route", "show", "default", namespace=web.path)] == ["10.5.0.77"]
    assert {new, *web.addresses} <= stage.observed()
    stage.remove(new, *web.addresses)
    assert not {new, *web.addresses} & stage.observed()


def test_a_bridge_of_another_mtu_keeps_it(stage):
    """An MTU that was asked for stays when ports of other sizes come and go."""
    network = stage.network("network1", V4, mtu=1400)
    web = stage.member(network, "web")
    stage.make(*stage.forwarding, *network.objects, *web.objects)
    assert {network.bridge, web.pair} <= stage.observed()
    assert stage.ip("link", "show", "eth0", namespace=web.path)[0]["mtu"] == 1400
    stage.remove(*web.objects)
    stage.run("ip", "link", "add", "other", "type", "veth", "peer", "name", "other1")
    stage.run("ip", "link", "set", "other", "master", network.device)
    stage.run("ip", "link", "delete", "other")
    assert isinstance(network.bridge, Bridge)
    assert network.bridge in stage.observed()


def test_a_small_mtu_without_ipv6(stage):
    """Below 1,280 bytes an interface has no IPv6 settings; it is made all the same."""
    network = stage.network("network1", V4, mtu=600)
    web = stage.member(network, "web")
    stage.make(*stage.forwarding, *network.objects, *web.objects)
    assert set(web.objects) | set(network.objects) <= stage.observed()


def test_no_address_is_made_by_itself(stage, network):
    """No end of a pair has an IPv6 address that nobody asked for: their chatter slows a full bridge down."""
    plain = stage.network("network2", "10.6.0.0/24")
    stage.make(*plain.objects)
    web, bare = stage.member(network, "web"), stage.member(plain, "bare")
    stage.make(*web.objects, *bare.objects)
    time.sleep(0.1)
    assert six_of(stage.ip("addr", "show", web.pair.host_name)) == []
    assert six_of(stage.ip("addr", "show", bare.pair.host_name)) == []
    assert six_of(stage.ip("addr", "show", "eth0", namespace=bare.path)) == []
    own = six_of(stage.ip("addr", "show", "eth0", namespace=web.path))
    assert [(address["scope"], address.get("tentative", False)) for address in own] == [
        ("global", False),
        ("link", False),
    ]


def test_a_full_bridge_says_so(stage):
    """The 1,024th port is a fault that says what a bridge takes; a port that is dying makes room."""
    network = stage.network("network1", "10.5.0.0/16")
    stage.make(*stage.forwarding, *network.objects)
    crowd = stage.member(network, "crowd")
    stage.make(crowd.namespace)
    pairs = [
        msgspec.structs.replace(crowd.pair, host_name=f"nl{number}", name=f"eth{number}") for number in range(1023)
    ]
    stage.make(*pairs)
    late = msgspec.structs.replace(crowd.pair, host_name="nllate", name="late")
    fault = stage.apply(Verb.MAKE, [late])[late.key].fault
    assert f"bridge {network.device} is full: it takes 1,023 ports" in str(fault)
    stage.apply(Verb.REMOVE, pairs[:1])
    stage.make(late)


def six_of(listed):
    """List the IPv6 addresses of a link that `ip` listed."""
    return [address for address in listed[0]["addr_info"] if address["family"] == "inet6"]


def plan_of(stage, verb, thing, was=None):
    """Make a plan of one step."""
    return Plan((Step(verb, thing, was),), stage.places)


@contextlib.contextmanager
def process_in(path):
    """Run a process in a namespace, and give its number."""
    with subprocess.Popen(["nsenter", f"--net={path}", "sleep", "60"]) as process:
        try:
            own = Path(f"/proc/{process.pid}/ns/net")
            until(lambda: own.stat().st_ino == path.stat().st_ino)
            yield process.pid
        finally:
            process.kill()


def until(condition, seconds=5.0):
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError("it did not come true in time")
