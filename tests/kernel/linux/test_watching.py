"""What others change is noticed as it happens, recorded with what was noticed, and mended; nothing else is."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from netledger import Controller
from netledger.domain.events import DriftDetected, DriftRepaired
from netledger.engine.reconcile import compare
from netledger.engine.watching import keep_watch

SOON_SECONDS = 5
NEVER_SECONDS = 0.6
NO_PERIOD = 3600.0


def in_host(host: Path, *command: str) -> None:
    """Run a command in the host's namespace."""
    subprocess.run(["nsenter", f"--net={host}", *command], check=True, capture_output=True, timeout=30)


@pytest.fixture
def controller(host: Path, tmp_path: Path):
    """Give a network with a published endpoint, `web`, in a sandbox, on a host of its own."""
    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as opened:
        network = opened.create_network("n1", subnets=["10.5.0.0/24", "fd05::/64"])
        network.create_endpoint("web", ports=["8080:80"]).join(opened.create_sandbox("c1"))
        yield opened


class Watched:
    """A watch in a thread of its own, and what it has found."""

    def __init__(self) -> None:
        self.findings = []
        self.stop = threading.Event()
        self.news = threading.Condition()

    def run(self, controller: Controller, **options) -> None:
        """Keep watch until told to stop."""
        for finding in keep_watch(controller, self.stop, **options):
            with self.news:
                self.findings.append(finding)
                self.news.notify_all()

    def wait(self, number: int, seconds: float = SOON_SECONDS) -> bool:
        """Wait until there are so many findings."""
        with self.news:
            return self.news.wait_for(lambda: len(self.findings) >= number, seconds)


@contextmanager
def watching(controller: Controller, **options):
    """Keep watch for the length of a block, comparing only when something is noticed."""
    watched = Watched()
    options.setdefault("period_seconds", NO_PERIOD)
    thread = threading.Thread(target=watched.run, args=(controller,), kwargs=options)
    thread.start()
    time.sleep(0.1)
    try:
        yield watched
    finally:
        watched.stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()


def kinds(controller: Controller) -> list[str]:
    """List what the log says about drift."""
    return [
        type(record.event).__name__
        for record in controller.history()
        if isinstance(record.event, DriftDetected | DriftRepaired)
    ]


def veth(controller: Controller) -> str:
    """Name the host end of web's pair."""
    with controller.reading() as views:
        return next(iter(views.endpoints.joined.values())).event.device


CHANGES = {
    "nft flush ruleset": ("nft flush ruleset", "nftables table"),
    "one element": ("nft flush map inet {table} ports4", "nftables table"),
    "bridge deleted": ("ip link del {bridge}", "link {bridge} was removed"),
    "pair deleted": ("ip link del {veth}", "link {veth} was removed"),
    "port taken off the bridge": ("ip link set {veth} nomaster", "link {veth} was changed"),
    "bridge down": ("ip link set {bridge} down", "link {bridge} was changed"),
    "the bridge's address": ("ip addr del 10.5.0.1/24 dev {bridge}", "an address of {bridge} was removed"),
    "the route to ::1": ("ip -6 route del local ::1 dev {bridge} table local", "a route of {bridge} was removed"),
    "forwarding": ("sysctl -qw net.ipv4.ip_forward=0", "forwarding"),
    "forwarding of IPv6": ("sysctl -qw net.ipv6.conf.all.forwarding=0", "forwarding"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_others_change_on_the_host_is_mended(controller, host, name):
    """It is found without a comparison being due, mended in one go, and recorded with what was noticed."""
    command, noticed = CHANGES[name]
    with controller.reading() as views:
        bridge = next(iter(views.networks.networks.values())).event.device
    words = {"bridge": bridge, "veth": veth(controller), "table": f"netledger-{controller.id[:8]}"}
    with watching(controller) as watched:
        in_host(host, *command.format(**words).split())
        assert watched.wait(1), "nobody noticed"
    finding = watched.findings[0]
    assert finding.is_mended
    assert any(noticed.format(**words) in words_noticed for words_noticed in finding.noticed), finding.noticed
    assert kinds(controller)[:2] == ["DriftDetected", "DriftRepaired"]
    found = next(record.event for record in controller.history() if isinstance(record.event, DriftDetected))
    assert noticed.format(**words) in found.reason
    from netledger.replay import drift

    assert drift(controller).agrees


@pytest.mark.parametrize(
    ("command", "noticed"),
    [
        ("ip addr del 10.5.0.2/24 dev eth0", "address in a sandbox"),
        ("ip route del default", "route in a sandbox"),
        ("ip link del eth0", ""),
    ],
)
def test_what_others_change_in_a_sandbox_is_mended(controller, command, noticed):
    """The host's one socket hears of the namespaces into which its pairs lead."""
    sandbox = controller.sandbox("c1")
    with watching(controller) as watched:
        in_host(Path(sandbox.key), *command.split())
        assert watched.wait(1), "nobody noticed"
    assert watched.findings[0].is_mended
    assert any(noticed in words for words in watched.findings[0].noticed)


def test_what_this_process_does_and_what_is_not_ours_wakes_nobody(controller, host):
    """Attaching, detaching, and other people's links, addresses and tables bring no comparison."""
    with watching(controller) as watched:
        network = controller.network("n1")
        for number in range(5):
            endpoint = network.create_endpoint(f"e{number}", ports=[str(8000 + number) + ":80"])
            sandbox = controller.create_sandbox(f"d{number}")
            endpoint.join(sandbox)
            endpoint.delete(force=True)
            sandbox.delete()
        in_host(host, "ip", "link", "add", "other0", "type", "bridge")
        in_host(host, "ip", "addr", "add", "192.0.2.1/24", "dev", "other0")
        in_host(host, "ip", "link", "del", "other0")
        in_host(host, "nft", "add", "table", "inet", "others")
        assert not watched.wait(1, NEVER_SECONDS)
    assert kinds(controller) == []


def test_without_mending_it_is_recorded_once(controller, host):
    """The same difference is no news; when it has changed, it is."""
    with watching(controller, mend=False, period_seconds=0.1) as watched:
        in_host(host, "ip", "link", "set", veth(controller), "nomaster")
        assert watched.wait(1)
        assert not watched.findings[0].is_mended
        assert not watched.wait(2, NEVER_SECONDS)
        in_host(host, "nft", "flush", "ruleset")
        assert watched.wait(2)
    assert kinds(controller) == ["DriftDetected", "DriftDetected"]


def test_it_listens_beyond_a_thousand_descriptors(controller, host):
    """So many ports may be published: select() would raise from 1024 on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        null = stack.enter_context(Path("/dev/null").open("rb"))
        while stack.enter_context(os.fdopen(os.dup(null.fileno()), "rb")).fileno() < 1024:
            pass
        with watching(controller) as watched:
            in_host(host, "nft", "flush", "ruleset")
            assert watched.wait(1), "nobody noticed"


def test_an_interface_is_not_taken_for_that_of_a_dead_sandbox(controller):
    """The kernel gives its number, and eth0's index, to the next one. What goes with our pairs wakes nobody, too."""
    network, told = controller.network("n1"), []
    with closing(controller.dataplane.watch()) as watch:
        for number in range(8):
            sandbox = controller.create_sandbox(f"d{number}")
            endpoint = network.create_endpoint(f"e{number}")
            endpoint.join(sandbox)
            told += watch.wait(0.1)
            endpoint.leave()
            endpoint.delete()
            sandbox.delete()
            controller.dataplane.settle(2)
            told += watch.wait(0.2)
    assert told == []


def test_a_macvlan_interface_that_leaves_wakes_nobody(controller, host):
    """It has no end on the host; one of a sandbox with a pair is heard of. Made again, it is watched as before."""
    if reason := controller.dataplane.capabilities().lacks("macvlan"):
        pytest.skip(reason)
    in_host(host, "ip", "link", "add", "parent0", "type", "veth", "peer", "parent1")
    in_host(host, "ip", "link", "set", "parent0", "up")
    in_host(host, "ip", "link", "set", "parent1", "up")
    network = controller.create_network("m", driver="macvlan", subnets=["10.6.0.0/24"], options={"parent": "parent0"})
    endpoint, sandbox = network.create_endpoint("two"), controller.sandbox("c1")
    endpoint.join(sandbox)
    with closing(controller.dataplane.watch()) as watch:
        for _ in range(3):
            endpoint.leave()
            endpoint.join(sandbox)
        assert watch.wait(NEVER_SECONDS) == ()
        in_host(Path(sandbox.key), "ip", "link", "set", "eth1", "down")
        assert "interface eth1 in a sandbox was changed" in {each.what for each in watch.wait(SOON_SECONDS)}


def test_a_macvlan_interface_in_a_new_sandbox_is_watched(controller, host):
    """It has the number and the mark of the one that its endpoint had in the sandbox before."""
    if reason := controller.dataplane.capabilities().lacks("macvlan"):
        pytest.skip(reason)
    in_host(host, "ip", "link", "add", "parent0", "type", "veth", "peer", "parent1")
    in_host(host, "ip", "link", "set", "parent0", "up")
    in_host(host, "ip", "link", "set", "parent1", "up")
    network = controller.create_network("m", driver="macvlan", subnets=["10.6.0.0/24"], options={"parent": "parent0"})
    endpoint = network.create_endpoint("two")

    def enter(name):
        made = controller.create_sandbox(name)
        controller.network("n1").create_endpoint(name).join(made)  # a pair, by which the namespace is heard of
        endpoint.join(made)
        return made

    def is_told(sandbox):
        in_host(Path(sandbox.key), "ip", "link", "set", "eth1", "down")
        return "interface eth1 in a sandbox was changed" in {each.what for each in watch.wait(SOON_SECONDS)}

    enter("d1")
    endpoint.leave()
    with closing(controller.dataplane.watch()) as watch:
        for name in ("d2", "d3"):
            assert is_told(enter(name)), name
            endpoint.leave()


def test_what_is_changed_beside_an_interface_that_goes_is_told(controller):
    """One sandbox's pair is deleted by us, and at the same time somebody takes away another's address or route."""
    network, sandbox = controller.network("n1"), controller.sandbox("c1")
    for command, noticed in (("ip -6 route del default", "route"), ("ip addr del 10.5.0.2/24 dev eth0", "address")):
        endpoint = network.create_endpoint("other")
        endpoint.join(controller.create_sandbox(noticed))
        with closing(controller.dataplane.watch()) as watch:
            endpoint.delete(force=True)
            in_host(Path(sandbox.key), *command.split())
            controller.dataplane.settle(2)
            assert f"{noticed} in a sandbox was removed" in {each.what.partition(" ")[2] for each in watch.wait(1)}


def test_after_the_bridges_addresses_are_flushed_forwarding_is_no_drift(host, tmp_path):
    """Also in a process that has not turned it on itself: what is there is read, whatever else is gone."""
    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as made:
        device = made.create_network("n1", subnets=["10.5.0.0/24", "fd05::/64"]).info().device
    in_host(host, "ip", "addr", "flush", "dev", device)
    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as opened:
        found = compare(opened).lines
        assert [line.split("/")[0] for line in found if "loopback" not in line] == ["+ address"] * 3, found
        in_host(host, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        assert any("net.ipv4.ip_forward" in line for line in compare(opened).lines)
        in_host(host, "ip", "link", "del", device)
        assert "+ sysctl/host/net.ipv4.ip_forward = 1" in compare(opened).lines


def test_who_keeps_changing_it_is_met_less_and_less_often(controller, host):
    """A host that is changed all the time is mended with pauses that double."""
    with watching(controller) as watched:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            in_host(host, "nft", "flush", "ruleset")
            time.sleep(0.02)
    assert 2 <= len(watched.findings) <= 5, len(watched.findings)


def test_what_is_changed_in_silence_is_found_by_comparing(controller):
    """A setting of which the kernel tells nobody is found when the period is over."""
    sandbox = controller.sandbox("c1")
    with watching(controller, period_seconds=0.3) as watched:
        in_host(Path(sandbox.key), "ip", "link", "set", "eth0", "mtu", "1400")
        assert watched.wait(1)
    assert watched.findings[0].is_mended
