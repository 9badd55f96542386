"""What the dataplane says about the machine before anything is decided."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from netledger import Controller
from netledger.dataplanes.contract import Claim, Instance, Plan, Step, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.linux.firewall import iptables
from netledger.dataplanes.linux.probe import OF_SOME_KERNELS
from netledger.dataplanes.linux.routes import name_servers
from netledger.domain.commands import CreateNetwork
from netledger.domain.errors import Exhausted
from netledger.domain.facts import BASIC_FEATURES, FEATURES, HostPorts
from netledger.domain.objects import Firewall
from netledger.domain.values import NetworkId, format_address

from .conftest import shell

TCP, UDP = 6, 17
KERNELS_OWN = HostPorts(chosen_from=(32768, 60999))


def test_this_kernel_can_everything(stage):
    """On the kernels that tests run on nothing that most networks need is missing; asking twice costs nothing."""
    capabilities = stage.dataplane.capabilities()
    assert capabilities.missing.keys() <= set(FEATURES) - set(BASIC_FEATURES)
    assert all(capabilities.lacks(feature) is None for feature in BASIC_FEATURES)
    begin = time.perf_counter()
    assert stage.dataplane.capabilities() is capabilities
    assert time.perf_counter() - begin < 0.001
    assert [link["ifname"] for link in stage.ip("link")] == ["lo", "uplink"]
    assert stage.run("nft", "list", "ruleset") == ""


def test_a_missing_library(stage, monkeypatch):
    """Without libnftables everything else is there, and it says what to install."""
    from netledger.dataplanes.linux.firewall import libnftables as nftables

    nftables._load.cache_clear()
    monkeypatch.setattr(nftables, "LIBRARY", "libnftables.so.99")
    try:
        missing = stage.dataplane.capabilities().missing
        assert set(missing) - set(OF_SOME_KERNELS) == {"firewall"}
        assert "apt install libnftables1" in missing["firewall"]
    finally:
        nftables._load.cache_clear()


def test_devices(stage):
    """A link of somebody else holds its name; one of ours does not count."""
    network = stage.network("network1", "10.5.0.0/24")
    stage.make(*stage.forwarding, *network.objects)
    stage.run("ip", "link", "add", "taken", "type", "bridge")
    index = stage.ip("link", "show", "taken")[0]["ifindex"]
    claims = [Claim(device="taken"), Claim(device="free"), Claim(device=network.device)]
    assert stage.dataplane.probe(claims) == {claims[0]: f"a bridge link (index {index})"}


def test_what_the_host_uses(stage, tmp_path):
    """Routes of the main table but the default ones and ours, and the name servers; a broken resolv.conf names none."""
    network = stage.network("network1", "10.5.0.0/24")
    stage.make(*stage.forwarding, *network.objects)
    before = {str(taken) for taken in stage.dataplane.taken_blocks()}
    assert not any(text.startswith("10.5.0.0") for text in before)
    stage.run("ip", "address", "add", "10.77.0.1/24", "dev", "uplink")
    stage.run("ip", "route", "add", "10.78.0.0/16", "via", "10.77.0.2")
    stage.run("ip", "route", "add", "10.79.0.0/16", "via", "10.77.0.2", "table", "100")
    stage.run("ip", "-6", "route", "add", "fd77::/64", "dev", "uplink")
    after = {str(taken) for taken in stage.dataplane.taken_blocks()}
    routes = ("10.77.0.0/24 route dev uplink", "10.78.0.0/16 route dev uplink", "fd77::/64 route dev uplink")
    assert after - before == set(routes)
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# nameserver 1.1.1.1\nnameserver 10.0.0.53\nsearch x\nnameserver fe80::1%eth0\nnameserver nobody\n"
    )
    assert [format_address(server) for server in name_servers(conf)] == ["10.0.0.53", "fe80::1"]
    assert list(name_servers(tmp_path / "none")) == []


def test_what_the_host_says_about_ports(stage):
    """Of its own namespace: no reserved port is chosen; ::1 is reached unless bridged packets are filtered."""
    setting = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
    stage.run("sh", "-c", f"! test -e {setting} || echo 0 > {setting}")
    assert stage.dataplane.host_ports() == KERNELS_OWN
    stage.run("sh", "-c", "echo 49153-49155,49157 > /proc/sys/net/ipv4/ip_local_reserved_ports")
    ranges = ((49153, 49155), (49157, 49157))
    assert stage.dataplane.host_ports() == structs.replace(KERNELS_OWN, reserved=ranges)
    stage.run("sh", "-c", "echo 49153 60000 > /proc/sys/net/ipv4/ip_local_port_range")
    assert stage.dataplane.host_ports() == HostPorts(ranges, chosen_from=(49153, 60000))
    stage.run("sh", "-c", f"! test -e {setting} || echo 1 > {setting}")
    if stage.run("sh", "-c", f"cat {setting} || true"):
        assert "ip6tables" in stage.dataplane.host_ports().unreached6
    with Controller.open(dataplane=stage.dataplane, recover=False) as controller:
        network = controller.create_network("n", subnets=["10.5.0.0/24"])
        for name, expected in (("a", 49156), ("b", 49158)):
            chosen = network.create_endpoint(name, ports=["80"]).info().port_map
            assert chosen == {"80/tcp": (f"0.0.0.0:{expected}",)}
        network.create_endpoint("c", ports=["49155:80"])


def test_a_port_is_chosen_from_the_range_of_the_host(stage):
    """The kernel's own at first; then as it is set in this namespace, until it is full."""
    with Controller.open(dataplane=stage.dataplane, recover=False) as controller:
        network = controller.create_network("n", subnets=["10.5.0.0/24"])

        def choose(name):
            return network.create_endpoint(name, ports=["80"]).info().port_map["80/tcp"]

        assert [choose("a"), choose("b")] == [("0.0.0.0:32768",), ("0.0.0.0:32769",)]
        stage.run("sh", "-c", "echo 41000 41001 > /proc/sys/net/ipv4/ip_local_port_range")
        assert [choose("c"), choose("d")] == [("0.0.0.0:41000",), ("0.0.0.0:41001",)]
        with pytest.raises(Exhausted, match=r"41000 to 41001 \(net\.ipv4\.ip_local_port_range\) are taken"):
            choose("e")
        network.create_endpoint("f", ports=["8080:80", "49153:81"])


def test_a_block_is_chosen_beside_the_hosts_routes(stage):
    """The engine on this kernel passes over what is routed, and says so in its event."""
    stage.run("ip", "address", "add", "172.17.0.1/24", "dev", "uplink")
    with Controller.open(dataplane=stage.dataplane, recover=False) as controller:
        event = controller.do(CreateNetwork(NetworkId("ab" * 32), "n")).events[0].event
    assert str(event.subnet) == "172.18.0.0/16"
    assert "172.17.0.0/24 route dev uplink" in event.avoided


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("bound", ["0.0.0.0", "198.51.100.1", "::", "2001:db8::1"])
def test_ports(stage, bound, protocol):
    """A port that a process of the host has bound is held by it, at its address and at all zero, in its family."""
    other = "::" if ":" not in bound else "0.0.0.0"
    with stage.listening(stage.host, bound, 8080, protocol) as listener:
        if ":" in bound:
            other = None  # a socket on :: may serve both families
        claims = [Claim(protocol=protocol, host_address=address(bound), host_port=8080)]
        zero = "::" if ":" in bound else "0.0.0.0"
        claims.append(Claim(protocol=protocol, host_address=address(zero), host_port=8080))
        free = [Claim(protocol=protocol, host_address=address(bound), host_port=8081)]
        if other:
            free.append(Claim(protocol=protocol, host_address=address(other), host_port=8080))
        held = stage.dataplane.probe([*claims, *free])
        assert set(held) == set(claims)
        assert set(held.values()) == {f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"}
        assert listener.fileno()
    assert stage.dataplane.probe(claims) == {}


def test_a_port_at_an_address_that_the_host_lacks(stage):
    """Nobody holds it, and it cannot be had."""
    claim = Claim(protocol=TCP, host_address=address("9.9.9.9"), host_port=8082)
    assert stage.dataplane.probe([claim]) == {
        claim: "nobody: this host has no address 9.9.9.9; publish at one that it has, or at all of them"
    }


@pytest.mark.parametrize("where", ["namespaces.Home.fresh", "firewall.libnftables._load", "probe.look_up"])
def test_capabilities_when_something_passing_is_in_the_way(stage, monkeypatch, where):
    """What is found is said, and tried again the next time."""

    def fail(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(f"netledger.dataplanes.linux.{where}", fail)
        missing = stage.dataplane.capabilities().missing
    assert "Too many open files" in missing["namespace"]
    assert set(stage.dataplane.capabilities().missing) <= set(OF_SOME_KERNELS)


LIMITED = """if True:
    import os, resource
    from netledger.dataplanes.linux.firewall.libnftables import Nftables, _load
    _load()
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
    try:
        Nftables()
    except OSError as error:
        print(error.strerror)
"""


def test_libnftables_without_a_descriptor():
    """The library would end the process."""
    done = subprocess.run([sys.executable, "-c", LIMITED], check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Too many open files\n", "")


FORBIDDEN = """if True:
    import ctypes
    from netledger.dataplanes.linux.firewall.libnftables import Nftables
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, data) == 0
    try:
        Nftables().run("delete table inet x")
    except PermissionError as error:
        print(error.strerror)
"""


def test_libnftables_without_permission():
    """The library would print a line of its own."""
    done = subprocess.run([sys.executable, "-c", FORBIDDEN], check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Operation not permitted\n", "")


def test_identities(stage):
    """A namespace is its cookie: the same for every path to it, another for another, none for what is none."""
    path = stage.folder.parent / "file"
    path.touch()
    host, outside = (stage.dataplane.identify(str(where)) for where in (stage.host, stage.outside))
    assert host is not None
    assert host != outside
    assert host == stage.dataplane.identify(str(stage.host))
    assert stage.dataplane.identify(str(path)) is None
    assert stage.dataplane.identify("/nowhere") is None
    with socket.socket() as here:
        cookie = int.from_bytes(here.getsockopt(socket.SOL_SOCKET, 71, 8), "little")
    assert stage.dataplane.identify("/proc/self/ns/net").cookie == cookie


def address(text):
    """Pack an address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def test_iptables_without_its_library(host, tmp_path, monkeypatch):
    """Without python-iptables the firewall is missing, and it says what to install; everything else is there."""
    text = iptables.WORKER.read_text()
    worker = tmp_path / "xtables.py"
    worker.write_text(text.replace("        import iptc\n", "        import iptc_that_is_not_there as iptc\n"))
    assert worker.read_text() != text
    monkeypatch.setattr(iptables, "WORKER", worker)
    dataplane = LinuxDataplane(Instance("0a1b2c3d"), str(host), firewall="iptables")
    try:
        missing = dataplane.capabilities().missing
        assert set(missing) - set(OF_SOME_KERNELS) == {"firewall"}
        assert "No module named 'iptc_that_is_not_there'" in missing["firewall"]
        assert "install it with netledger's extra `iptables`" in missing["firewall"]
        outcome = dataplane.apply(Plan((Step(Verb.MAKE, Firewall()),), {}))[0]
        assert "install it with netledger's extra `iptables`" in str(outcome.fault)
    finally:
        dataplane.close()


@pytest.mark.parametrize("firewall", ["nftables", "iptables", "none"])
def test_probing_leaves_nothing(host, firewall):
    """Each firewall is tried out elsewhere: the host has no rule more."""
    dataplane = LinuxDataplane(Instance("0a1b2c3d"), str(host), firewall=firewall)
    try:
        capabilities = dataplane.capabilities()
        assert capabilities.lacks("firewall") is None
        assert capabilities.omits_firewall is (firewall == "none")
        assert (capabilities.lacks("published ports") is None) is (firewall != "none")
    finally:
        dataplane.close()
    inside = ["nsenter", f"--net={host}"]
    assert shell(*inside, "nft", "list", "ruleset") == ""
    assert "NETLEDGER" not in shell(*inside, "iptables-legacy-save") + shell(*inside, "ip6tables-legacy-save")
