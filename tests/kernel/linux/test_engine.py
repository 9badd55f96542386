"""The engine on a kernel: from the public API to packets and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netledger import Conflict, Controller
from netledger.domain.events import EndpointLeft, HostRebuilt, SandboxLost
from netledger.ledger.restoring import restore
from netledger.replay import drift, rebuild, repair

from .conftest import OUTSIDE4, inside, shell

HOST4 = "198.51.100.1"


@pytest.fixture
def controller(stage, tmp_path):
    """Give a controller with its state in a file, and the stage's host as its own."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as opened:
        yield opened


def attach(controller, network, name, **options):
    """Create an endpoint and a sandbox of the same name, join them, and return both."""
    endpoint = network.create_endpoint(name, **options)
    sandbox = controller.create_sandbox(name)
    endpoint.join(sandbox)
    return endpoint, sandbox


def address(endpoint, family=4):
    """Return an endpoint's address as text."""
    return next(text for text in endpoint.info().addresses if (":" in text) == (family == 6)).split("/")[0]


def netledger(stage, state, *words):
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "netledger", *words, "--state", str(state), "--namespace", str(stage.host)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wreck(stage, controller):
    """Delete every kernel object behind netledger's back."""
    stage.run("nft", "flush", "ruleset")
    for sandbox in controller.sandboxes():
        shell("umount", "--lazy", sandbox.key)
    for network in controller.networks():
        stage.run("ip", "link", "delete", network.info().device)
    stage.run("sysctl", "-qw", "net.ipv4.ip_forward=0")


def test_wiped_and_rebuilt_from_the_log(stage, controller, tmp_path):
    """What a new process rebuilds from the log carries the same packets, and is nothing to rebuild again."""
    bridged = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
    stage.run("sh", "-c", f"! test -e {bridged} || echo 0 > {bridged}")
    network = controller.create_network("network1", ipv6=True)
    one, box1 = attach(controller, network, "one", ports=["8080:80/tcp"])
    _, box2 = attach(controller, network, "two")

    key1, key2, addresses = box1.key, box2.key, [address(one, family) for family in (4, 6)]

    def check():
        """Send the packets."""
        for text in addresses:
            with stage.listening(key1, text, 80) as listener:
                assert stage.reach(key2, text, 80, listener)
        with stage.listening(key1, addresses[0], 80) as listener:
            assert stage.reach(stage.outside, HOST4, 8080, listener) == OUTSIDE4
            assert stage.reach(stage.host, HOST4, 8080, listener)
        with stage.listening(key1, addresses[1], 80) as listener:
            assert stage.reach(stage.host, "::1", 8080, listener)

    check()
    wreck(stage, controller)
    controller.close()
    assert "rebuilt" in netledger(stage, tmp_path / "state", "rebuild", "--reason", "test")
    check()
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as again:
        assert again.recovery is None
        assert rebuild(again).comparison.agrees
        assert sum(isinstance(record.event, HostRebuilt) for record in again.history()) == 1


def test_a_restored_log_on_a_host_that_knows_nothing_of_it(stage, controller, tmp_path):
    """The first start makes the kernel as the log says; a copy does not take over how far another kernel was."""
    network = controller.create_network("network1")
    attach(controller, network, "one")
    controller.ledger.backup(tmp_path / "copy.db")
    wreck(stage, controller)
    controller.close()
    restore(tmp_path / "copy.db", tmp_path / "restored")
    with Controller.open(tmp_path / "restored", namespace=str(stage.host)) as again:
        assert again.recovery is not None
        assert drift(again).agrees


def test_networks_do_not_reach_each_other(stage, controller):
    """A sandbox on another network gets in only once the policy is gone; repair puts it back."""
    one, box1 = attach(controller, controller.create_network("one"), "one")
    _, box2 = attach(controller, controller.create_network("two"), "two")
    with stage.listening(box1.key, address(one), 80) as listener:
        assert stage.is_silent(box2.key, address(one), 80, listener)
        stage.run("nft", "delete", "table", "inet", f"netledger-{controller.id[:8]}")
        assert stage.reach(box2.key, address(one), 80, listener)
        assert not repair(controller).faults
        assert stage.is_silent(box2.key, address(one), 80, listener)


def test_the_way_out_moves_with_its_ports(stage, controller):
    """When the endpoint that is the way out leaves, route and published ports move to the other one."""
    box = controller.create_sandbox("box")
    first = controller.create_network("a").create_endpoint("first", ports=["8081:80"])
    second = controller.create_network("b").create_endpoint("second", ports=["8082:80"])
    first.join(box, priority=1)
    second.join(box)
    assert [route["dev"] for route in stage.ip("route", "show", "default", namespace=box.key)] == ["eth0"]
    with stage.listening(box.key, "0.0.0.0", 80) as listener:
        assert stage.reach(stage.outside, HOST4, 8081, listener)
        assert stage.is_silent(stage.outside, HOST4, 8082, listener)
        first.leave()
        assert [route["dev"] for route in stage.ip("route", "show", "default", namespace=box.key)] == ["eth1"]
        assert stage.reach(stage.outside, HOST4, 8082, listener)
        assert stage.is_silent(stage.outside, HOST4, 8081, listener)
    assert drift(controller).agrees


def test_repair_leaves_another_instance_alone(stage, controller, tmp_path):
    """Two instances in one host: what one repairs changes nothing of the other's, which sees no drift."""
    attach(controller, controller.create_network("one"), "one", ports=["8081:80"])
    with Controller.open(tmp_path / "other", namespace=str(stage.host)) as other:
        attach(other, other.create_network("two", subnets=["10.9.0.0/24"]), "two", ports=["8082:80"])

        def picture():
            """Read everything of the other instance."""
            fields = ("ifindex", "ifname", "address", "group", "ifalias", "master")
            mine = [link for link in stage.ip("link") if other.id[:8] in link.get("ifalias", "")]
            links = [[link.get(field) for field in fields] for link in mine]
            table = stage.run("nft", "-j", "-s", "list", "table", "inet", f"netledger-{other.id[:8]}")
            return links, json.loads(table), stage.ip("addr", namespace=other.sandboxes()[0].key)

        before = picture()
        stage.run("nft", "delete", "table", "inet", f"netledger-{controller.id[:8]}")
        stage.run("ip", "link", "delete", controller.networks()[0].info().device)
        assert drift(other).agrees
        assert not repair(controller).faults
        assert drift(controller).agrees
        assert drift(other).agrees
        assert picture() == before


def test_an_attached_namespace_that_is_replaced_is_lost(stage, controller):
    """Another namespace at the same path is not entered: the sandbox is recorded as lost, its endpoint as left."""
    shell("ip", "netns", "add", "container")
    try:
        box = controller.create_sandbox("container", kind="attached", path="/run/netns/container")
        endpoint = controller.create_network("one").create_endpoint("one")
        endpoint.join(box)
        assert [link["ifname"] for link in stage.ip("link", "show", "up", namespace=box.key)] == ["eth0"]
        shell("ip", "netns", "delete", "container")
        shell("ip", "netns", "add", "container")
        assert drift(controller).lost == (box.id,)
        assert not repair(controller).faults
        events = [record.event for record in controller.history()]
        left = next(event for event in events if isinstance(event, EndpointLeft))
        assert "has been replaced by another" in left.cause
        assert any(isinstance(event, SandboxLost) for event in events)
        assert stage.ip("link", "show", "type", "veth", namespace="/run/netns/container") == []
        assert drift(controller).agrees
    finally:
        shell("ip", "netns", "delete", "container")


def test_a_delegated_sandbox_leaves_its_end_in_the_host(stage, controller):
    """A runtime finds the container end in the host's namespace, by the name of the host end, and takes it away."""
    endpoint = controller.create_network("one").create_endpoint("one")
    endpoint.join(controller.create_sandbox("box", kind="delegated"))
    device = endpoint.info().device
    names = {link["ifname"] for link in stage.ip("link", "show", "type", "veth")}
    assert {device, "np" + device[2:]} <= names
    shell("ip", "netns", "add", "runtime")
    try:
        stage.run("ip", "link", "set", "np" + device[2:], "netns", "runtime", "name", "eth0")
        endpoint.leave()
        assert not [link for link in stage.ip("link", "show", "up") if link["ifname"] == device]
    finally:
        shell("ip", "netns", "delete", "runtime")


def test_what_others_hold_is_refused_before_the_event(stage, controller):
    """A port of another process and a foreign interface are refused by name, and nothing is in the log."""
    head = controller.ledger.head
    stage.run("ip", "link", "add", "wanted", "type", "veth", "peer", "wanted1")
    with pytest.raises(Conflict, match=r"a veth link.* has the name wanted and is not ours"):
        controller.create_network("one", options={"com.docker.network.bridge.name": "wanted"})
    assert controller.ledger.head == head
    network = controller.create_network("one")
    head = controller.ledger.head
    with (
        stage.listening(stage.host, "0.0.0.0", 8080),
        pytest.raises(Conflict, match=rf"port 0\.0\.0\.0:8080/tcp is held by process {os.getpid()} "),
    ):
        network.create_endpoint("one", ports=["8080:80"])
    assert controller.ledger.head == head
    endpoint = network.create_endpoint("one", ports=["8080:80"])
    with pytest.raises(Conflict, match=rf"is published by endpoint one \(position {controller.ledger.head}\)"):
        network.create_endpoint("two", ports=["8080:80"])
    assert endpoint.info().port_map == {"80/tcp": ("0.0.0.0:8080",)}


def test_the_key_is_a_path_that_others_can_enter(stage, controller):
    """`nsenter --net=KEY` enters a managed sandbox, whose loopback is up."""
    box = controller.create_sandbox("box")
    assert [
        link["ifname"] for link in json.loads(shell("nsenter", f"--net={box.key}", "ip", "-j", "link", "show", "up"))
    ]
    inode = inside(box.key, lambda: Path("/proc/thread-self/ns/net").stat().st_ino)
    assert inode != stage.host.stat().st_ino
    key = box.key
    box.delete()
    assert not Path(key).exists()


def test_a_network_that_fails_in_the_kernel_is_taken_back(stage, controller, monkeypatch):
    """An interface that somebody makes after the probe: the network is taken back by events, and theirs stays."""
    dataplane = controller._machine.dataplane
    monkeypatch.setattr(dataplane, "probe", lambda claims: {})
    stage.run("ip", "link", "add", "taken", "type", "veth", "peer", "taken1")
    with pytest.raises(Exception, match="taken"):
        controller.create_network("one", options={"com.docker.network.bridge.name": "taken"})
    assert controller.networks() == []
    assert drift(controller).agrees
    assert [link["ifname"] for link in stage.ip("link", "show", "taken")] == ["taken"]
    names = [type(record.event).__name__ for record in controller.history()]
    after = names[names.index("DataplaneFaulted") :]
    assert {"AddressReleased", "PoolReleased", "NetworkDeleted"} <= set(after)
