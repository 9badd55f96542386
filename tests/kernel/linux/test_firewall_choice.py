"""A host changes its firewall: the new one's rules come before the old one's go, and what flows goes on flowing."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest

from netledger import Controller
from netledger.domain.errors import Unavailable
from netledger.replay import drift, rebuild, repair

from .conftest import ANSWER_SECONDS, HOST4, SILENCE_SECONDS, inside
from .test_firewalls import set_filter


def opened(stage, tmp_path, **options):
    """Open the host."""
    return Controller.open(tmp_path / "state", dataplane="linux", namespace=str(stage.host), **options)


def rules(stage):
    """Tell which backends have programmed anything: read by the tools of each."""
    found = set()
    if "table inet netledger-" in stage.run("nft", "list", "tables"):
        found.add("nftables")
    for tool in ("iptables-legacy-save", "ip6tables-legacy-save"):
        if "netledger-" in stage.run(tool):
            found.add("iptables")
    return found


def reached(stage, seconds=ANSWER_SECONDS):
    """Whether the outside reaches the published port."""
    with inside(stage.outside, socket.socket) as asking:
        asking.settimeout(seconds)
        return asking.connect_ex((HOST4, 8080)) == 0


@pytest.fixture
def flow(stage, tmp_path):
    """Publish a port on nftables, and give a connection through it that goes on: say something, hear it."""
    with opened(stage, tmp_path) as controller:
        endpoint = controller.create_network("n1").create_endpoint("web", ports=["8080:80/tcp"])
        sandbox = controller.create_sandbox("c")
        endpoint.join(sandbox)
        place = next(iter(controller.views.sandboxes.sandboxes.values())).event.path
    with inside(place, socket.socket) as listener, inside(stage.outside, socket.socket) as caller:
        listener.bind(("", 80))
        listener.listen()
        caller.settimeout(ANSWER_SECONDS)
        caller.connect((HOST4, 8080))
        served, _ = listener.accept()
        with served:

            def goes_on():
                caller.sendall(b"still there?")
                return served.recv(64) == b"still there?"

            yield goes_on
    with opened(stage, tmp_path, firewall="nftables") as controller:
        controller.network("n1").delete(force=True)
        controller.sandbox("c").delete()


def test_from_one_to_the_next_and_back(stage, tmp_path, flow):
    """Each time the old one's rules are gone, the new one's are whole, and the same connection goes on."""
    assert rules(stage) == {"nftables"}
    assert reached(stage)
    for firewall in ("iptables", "nftables", "iptables"):
        with opened(stage, tmp_path, firewall=firewall):
            assert rules(stage) == {firewall}
        assert flow()
        assert reached(stage)
    with opened(stage, tmp_path) as controller:  # as it was left
        assert rules(stage) == {"iptables"}
        assert drift(controller).lines == ()
    with opened(stage, tmp_path, firewall="none") as controller:
        assert rules(stage) == set()
        assert drift(controller).lines == ()
        with pytest.raises(Unavailable, match="the firewall is `none`, so nothing is programmed"):
            controller.network("n1").create_endpoint("other", ports=["8081:80"])
    assert not reached(stage, SILENCE_SECONDS)
    with opened(stage, tmp_path, firewall="auto"):
        assert rules(stage) == set()
    with opened(stage, tmp_path, firewall="nftables"):
        assert rules(stage) == {"nftables"}
    assert reached(stage)


def test_a_start_that_dies_before_the_old_rules_are_gone(stage, tmp_path, flow, monkeypatch):
    """The next one takes them away, whatever it is asked for."""

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("netledger.dataplanes.linux.LinuxDataplane.retire", die)
        with pytest.raises(KeyboardInterrupt):
            opened(stage, tmp_path, firewall="iptables")
    assert rules(stage) == {"nftables", "iptables"}
    assert reached(stage)
    assert flow()
    with opened(stage, tmp_path):
        assert rules(stage) == {"iptables"}
    assert flow()
    assert reached(stage)


def test_a_start_that_cannot_make_the_new_rules(stage, tmp_path, flow, monkeypatch):
    """The old ones stay until a start can."""

    def fail(run, numbers):
        for number in numbers:
            run.fail_with(number, OSError(errno.EBUSY, "the lock is held"))

    with monkeypatch.context() as patch:
        patch.setattr("netledger.dataplanes.linux.executor.make_firewall", fail)
        with opened(stage, tmp_path, firewall="iptables") as controller:
            assert controller.recovery.faults
            assert str(controller.recovery).startswith("the firewall is being moved from nftables to iptables: ")
    assert rules(stage) == {"nftables"}
    assert reached(stage)
    assert flow()
    with opened(stage, tmp_path) as controller:
        assert str(controller.recovery).startswith("the firewall was moved from nftables to iptables: ")
    assert rules(stage) == {"iptables"}
    assert flow()
    assert reached(stage)


def test_a_move_is_told_also_when_there_is_nothing_to_program(stage, tmp_path):
    """`none` needs no rule; the next start has nothing to tell."""
    opened(stage, tmp_path).close()
    with opened(stage, tmp_path, firewall="none") as controller:
        assert str(controller.recovery).startswith("the firewall was moved from nftables to none: ")
    with opened(stage, tmp_path) as controller:
        assert controller.recovery is None


def netledger(stage, tmp_path, *words):
    """Run a command line on the host."""
    host = () if words[-1] == "show" else ("--namespace", str(stage.host))
    where = ("--state", str(tmp_path / "state"), *host)
    return subprocess.run(
        [sys.executable, "-m", "netledger", *words, *where], check=False, capture_output=True, text=True, timeout=60
    )


def test_the_command(stage, tmp_path, flow):
    """It moves the host, tells so, and what the log has; another command moves nothing."""
    moved = netledger(stage, tmp_path, "firewall", "use", "iptables", "--reason", "as the others have")
    assert moved.returncode == 0, moved.stderr
    assert moved.stderr.startswith("the firewall was moved from nftables to iptables: ")
    assert "asked for" in moved.stdout
    assert rules(stage) == {"iptables"}
    assert flow()
    assert netledger(stage, tmp_path, "network", "create", "n2").returncode == 0
    assert rules(stage) == {"iptables"}
    shown = netledger(stage, tmp_path, "firewall", "show").stdout
    assert "iptables" in shown
    assert "as the others have" in shown
    refused = netledger(stage, tmp_path, "firewall", "use", "pf")
    assert (refused.returncode, rules(stage)) == (3, {"iptables"})
    with opened(stage, tmp_path) as controller:
        controller.network("n2").delete()


def test_while_it_is_open(stage, tmp_path, flow):
    """The same on an open host: the old rules are gone when it returns, and connections go on."""
    with opened(stage, tmp_path) as controller:
        for firewall in ("iptables", "nftables"):
            assert controller.firewall.use(firewall).retiring == ()
            assert rules(stage) == {firewall}
            assert drift(controller).lines == ()
            assert flow()
            assert reached(stage)
        controller.firewall.use("none")
        assert rules(stage) == set()
        assert not reached(stage)
        with pytest.raises(Unavailable, match="the firewall is `none`, so nothing is programmed"):
            controller.network("n1").create_endpoint("other", ports=["8081:80"])
        controller.firewall.use("iptables")
        controller.network("n1").create_endpoint("other", ports=["8081:80"])
        assert reached(stage)


def test_a_rebuild_takes_the_firewall_of_the_log(stage, tmp_path, flow):
    """On a host that has nothing left."""
    with opened(stage, tmp_path, firewall="iptables"):
        pass
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        for table in ("filter", "nat", "raw"):
            stage.run(tool, "-t", table, "-F")
            stage.run(tool, "-t", table, "-X")
    assert rules(stage) == set()
    with opened(stage, tmp_path, recover=False) as controller:
        rebuild(controller)
        assert drift(controller).lines == ()
    assert rules(stage) == {"iptables"}
    assert reached(stage)
    assert flow()


def test_a_fault_of_something_else(stage, tmp_path, flow):
    """A network whose bridge's name somebody else has taken does not keep the old rules there."""
    with opened(stage, tmp_path) as controller:
        network = controller.create_network("n2", options={"com.docker.network.bridge.name": "br-lost"})
    stage.run("ip", "link", "del", "br-lost")
    stage.run("ip", "link", "add", "br-lost", "type", "veth", "peer", "name", "lost-peer")
    with opened(stage, tmp_path, recover=False) as controller:
        assert repair(controller).faults
    with opened(stage, tmp_path, firewall="iptables") as controller:
        assert controller.recovery.faults
        assert str(controller.recovery).startswith("the firewall was moved from nftables to iptables: ")
        assert rules(stage) == {"iptables"}
        assert flow()
        assert reached(stage)
        stage.run("ip", "link", "del", "br-lost")
        repair(controller)
        assert drift(controller).agrees
        controller.network(network.id).delete()


def listed(stage, read):
    """Read the rules with their counters, but not what the built-in chains count: every packet of the host's own.

    The kernel sends some by itself, when it likes: a bridge reports its multicast groups.
    """
    lines = [line for line in stage.run(*read).splitlines() if not line.startswith("#")]
    return [line.partition(" [")[0] if line.startswith(":") else line for line in lines]


def test_a_restart_changes_no_rule(stage, tmp_path, flow):
    """Nothing is flushed: the tables are the same bytes, and the rules' counters."""
    for firewall, read in (
        ("nftables", ["nft", "-a", "list", "ruleset"]),
        ("iptables", ["iptables-legacy-save", "-c"]),
    ):
        with opened(stage, tmp_path, firewall=firewall):
            pass
        assert flow()
        before = listed(stage, read)
        with opened(stage, tmp_path) as controller:
            assert drift(controller).lines == ()
        assert listed(stage, read) == before
        assert flow()


def test_none_gives_what_is_promised(stage, tmp_path):
    """Endpoints of one network reach each other, and nothing is programmed; who reaches them is others' business."""
    with opened(stage, tmp_path, firewall="none") as controller:
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        for name in ("web", "near"):
            network.create_endpoint(name).join(controller.create_sandbox(name))
        places = {sandbox.info().container: sandbox.key for sandbox in controller.sandboxes()}
        address = controller.endpoint("web").info().addresses[0].split("/")[0]
        with stage.listening(places["web"], address, 80) as listener:
            assert stage.reach(places["near"], address, 80, listener)
            stage.run("ip", "route", "add", "10.5.0.0/24", "via", HOST4, namespace=stage.outside)
            assert stage.reach(stage.outside, address, 80, listener)
            stage.run("nft", "add table ip own")
            stage.run("nft", "add chain ip own f { type filter hook forward priority 0 ; policy drop ; }")
            assert stage.is_silent(stage.outside, address, 80, listener)
        assert rules(stage) == set()
        assert drift(controller).lines == ()
        network.delete(force=True)


def reaches_loopback(stage, place, seconds=SILENCE_SECONDS):
    """Whether a container that routes 127.0.0.1 to its gateway reaches what the host serves there."""
    with inside(stage.host, socket.socket) as service:
        service.bind(("127.0.0.1", 6379))
        service.listen()
        with inside(place, socket.socket) as asking:
            asking.settimeout(seconds)
            found = asking.connect_ex(("127.0.0.1", 6379))
        assert found in {0, errno.EAGAIN}
        return found == 0


def test_none_leaves_no_way_to_the_hosts_loopback(stage, tmp_path):
    """Without the guard nothing routes it: a container's packet to 127.0.0.1 goes nowhere, and a leftover is drift."""
    stage.run("ip", "link", "set", "lo", "up")
    set_filter(stage, 0)
    with opened(stage, tmp_path) as controller:
        network = controller.create_network("n1", subnets=["10.77.0.0/24", "fd77::/64"])
        endpoint = network.create_endpoint("web", ports=["127.0.0.1:8080:80", "[::1]:8080:80"])
        endpoint.join(controller.create_sandbox("c"))
        place = controller.sandbox("c").key
        [bridge] = [link["ifname"] for link in stage.ip("link", "show", "type", "bridge")]
        setting = f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet"
        for words in (
            ("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"),
            ("ip", "addr", "del", "127.0.0.1/8", "dev", "lo"),
            ("ip", "route", "add", "127.0.0.1", "via", "10.77.0.1"),
        ):
            stage.run(*words, namespace=place)
        assert stage.run("cat", setting).strip() == "1"
        assert not reaches_loopback(stage, place)
        assert controller.firewall.use("none").retiring == ()
        assert not reaches_loopback(stage, place)
        assert stage.run("cat", setting).strip() == "0"
        assert f"dev {bridge}" not in stage.run("ip", "-6", "route", "show", "table", "local", "::1")
        assert drift(controller).agrees
        stage.run("sh", "-c", f"echo 1 > {setting}")
        assert reaches_loopback(stage, place, 4.0)
        assert drift(controller).lines == (f"- loopback/{bridge}/ipv4",)
        repair(controller)
        assert drift(controller).agrees
        assert not reaches_loopback(stage, place)
        network.delete(force=True)
        controller.sandbox("c").delete()
