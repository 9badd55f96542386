"""Kinds of interfaces that no driver makes yet: put together by hand, on a kernel and simulated, and asked the same."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netledger.dataplanes.simulated.fabric import Fabric
from netledger.dataplanes.simulated.model import (
    BridgeDevice,
    Device,
    Macvlan,
    NetworkNamespace,
    RouteEntry,
    Veth,
    Vxlan,
)
from netledger.dataplanes.simulated.packets import Spot
from netledger.domain.values import format_address, parse_address, parse_subnet

from .prober import ICMP, REACHED, SILENCE, TCP, UDP, Answer, Prober, Question
from .twins import LISTENING, answers_of, ip

HOSTS = ("h1", "h2")
UNDERLAY = {"h1": "192.0.2.1", "h2": "192.0.2.2"}


class Bench:
    """Two hosts on a cable, real and simulated, and namespaces beside them; what is done is done on both."""

    def __init__(self, prober: Prober) -> None:
        self.prober = prober
        self.fabric = Fabric("192.0.2.0/24", "2001:db8::/64")
        self.insides: dict[str, NetworkNamespace] = {}
        self.spots: dict[Spot, str] = {}
        for place in HOSTS:
            self._take(place, self.fabric.add_host(place).own, Spot(place))
        ip(*(f"netns add {place}" for place in HOSTS))
        ip("-n h1 link add eth0 index 100 type veth peer eth0 netns h2")
        for place, own in zip(HOSTS, list(self.insides.values()), strict=True):
            card = own.devices["eth0"]
            mac = ":".join(f"{byte:02x}" for byte in card.mac)
            texts = {f"{format_address(address)}/{prefix}": len(address) for address, prefix in card.addresses}
            lines = [f"addr add {text} dev eth0{' nodad' * (width > 4)}" for text, width in texts.items()]
            ip("link set lo up", f"link set eth0 address {mac}", "link set eth0 up", *lines, namespace=place)

    def namespace(self, name: str, host: str) -> None:
        """Make a namespace on a host."""
        ip(f"netns add {name}")
        ip("link set lo up", namespace=name)
        inside = NetworkNamespace(host, name)
        self.fabric.hosts[host].namespaces[name] = inside
        self._take(name, inside, Spot(host, name))

    def plug(
        self, place: str, kind: type[Device], name: str, words: str, *addresses: str, host: str = "", **others: Any
    ) -> Any:
        """Make an interface in a place; `words` are what ip(8) is told after its name, `host` where it is told so."""
        inside = self.insides[place]
        mac = b"\x02\x10\x00\x00\x00" + bytes([len(self.insides) * 16 + len(inside.devices)])
        parsed = {(parse_address(text.split("/")[0]), int(text.split("/")[1])): False for text in addresses}
        device = kind(name, inside, next(inside.indices), mac, addresses=parsed, **others)
        if words:
            netns = f" netns {place}" if host else ""
            ip(f"link add name {name} address {device.mac.hex(':')}{netns} {words}", namespace=host or place)
            ip(*(f"addr add {text} dev {name}" for text in addresses), f"link set {name} up", namespace=place)
        return self.fabric.hosts[inside.host].plug(device)

    def ask(self, source: str, address: str) -> Answer:
        """Ask both by every protocol; return what they agree about an echo."""
        questions = [Question(source, address, each, 80 if each != ICMP else 0) for each in (ICMP, TCP, UDP)]
        for attempt in range(10):
            found = self.prober.ask(self.paths, questions)
            wanted = {each: self._simulated(each) for each in questions}
            if all(found[each] in wanted[each] for each in questions):
                return found[questions[0]]
            assert attempt < 9, "\n".join(f"{each}: {found[each]}, simulated: {wanted[each][0]}" for each in questions)
        raise AssertionError

    @property
    def paths(self) -> dict[str, Path]:
        """Where the namespaces are."""
        return {place: Path("/run/netns") / place for place in self.insides}

    def close(self) -> None:
        """Take everything away."""
        ip(*(f"netns delete {place}" for place in self.insides))

    def _take(self, place: str, inside: NetworkNamespace, spot: Spot) -> None:
        inside.listeners = LISTENING
        self.insides[place] = inside
        self.spots[spot] = place

    def _simulated(self, question: Question) -> list[Answer]:
        spot = next(spot for spot, place in self.spots.items() if place == question.source)
        reach = self.fabric.reach(spot, question.address, question.protocol, question.port)
        return answers_of(reach, question, self.spots)


@pytest.fixture
def bench(prober: Prober) -> Iterator[Bench]:
    """Give two hosts of each kind."""
    made = Bench(prober)
    with contextlib.ExitStack() as stack:
        stack.callback(made.close)
        yield made


def seen(place: str, address: str) -> Answer:
    """Write that a place was reached from an address."""
    return Answer(REACHED, place, address)


@pytest.mark.parametrize(("mode", "together"), [("bridge", True), ("private", False), ("vepa", False)])
def test_macvlan(bench, mode, together):
    """Siblings by mode, the other host always, their own host never."""
    parent = bench.insides["h1"].devices["eth0"]
    for number, name in ((11, "a"), (12, "b")):
        bench.namespace(name, "h1")
        words = f"link eth0 type macvlan mode {mode}"
        address = f"192.0.2.{number}/24"
        bench.plug(name, Macvlan, "mac0", words, address, host="h1", parent=parent, mode=mode)
    assert bench.ask("a", "192.0.2.12") == (seen("b", "192.0.2.11") if together else Answer(SILENCE))
    assert bench.ask("a", "192.0.2.2") == seen("h2", "192.0.2.11")
    assert bench.ask("h2", "192.0.2.12") == seen("b", "192.0.2.2")
    assert bench.ask("a", "192.0.2.1") == Answer(SILENCE)
    assert bench.ask("h1", "192.0.2.11") == Answer(SILENCE)


def test_macvlan_passthru(bench):
    """It has the card, and the other host."""
    parent = bench.insides["h1"].devices["eth0"]
    bench.namespace("a", "h1")
    words = "link eth0 type macvlan mode passthru"
    bench.plug("a", Macvlan, "mac0", words, "192.0.2.11/24", host="h1", parent=parent, mode="passthru")
    assert bench.ask("a", "192.0.2.2") == seen("h2", "192.0.2.11")
    assert bench.ask("h2", "192.0.2.11") == seen("a", "192.0.2.2")


def overlay(bench: Bench, *, floods: bool = True) -> None:
    """Put a bridge with a namespace, c1 (10.1.0.1) and c2, on each host, joined by VXLAN 7."""
    for number, (host, other) in enumerate((HOSTS, HOSTS[::-1]), 1):
        bridge = bench.plug(host, BridgeDevice, "br0", "type bridge")
        words = f"type vxlan id 7 local {UNDERLAY[host]} dstport 4789 nolearning" + (
            f" remote {UNDERLAY[other]}" if floods else ""
        )
        remotes = [parse_address(UNDERLAY[other])] if floods else []
        local = parse_address(UNDERLAY[host])
        vxlan = bench.plug(host, Vxlan, "vx7", words, vni=7, local=local, remotes=remotes, mtu=1450)
        vxlan.bridge, bridge.ports["vx7"] = bridge, vxlan
        bench.namespace(f"c{number}", host)
        port = bench.plug(host, Veth, "v0", "", bridge=bridge)
        inner = bench.plug(f"c{number}", Veth, "eth0", "", f"10.1.0.{number}/24", peer=port)
        port.peer = inner
        ends = f"v0 address {port.mac.hex(':')} type veth peer name eth0 address {inner.mac.hex(':')} netns c{number}"
        ip(f"link add {ends}", "link set vx7 master br0", "link set v0 master br0", "link set v0 up", namespace=host)
        ip(f"addr add 10.1.0.{number}/24 dev eth0", "link set eth0 up", namespace=f"c{number}")
        bench.fabric.hosts[host].epoch += 1


def test_vxlan_by_flooding(bench):
    """Both hosts' containers reach each other, seen from where they are."""
    overlay(bench)
    assert bench.ask("c1", "10.1.0.2") == seen("c2", "10.1.0.1")
    assert bench.ask("c2", "10.1.0.1") == seen("c1", "10.1.0.2")
    assert bench.ask("c1", "10.1.0.9") == Answer(SILENCE)


def test_vxlan_by_a_programmed_fdb(bench):
    """Without anybody to flood to, only what the FDB and the neighbours say is reached; a wrong entry leads nowhere."""
    overlay(bench, floods=False)
    assert bench.ask("c1", "10.1.0.2") == Answer(SILENCE)
    for here, there in ((1, 2), (2, 1)):
        mac = bench.insides[f"c{there}"].devices["eth0"].mac
        at = UNDERLAY[f"h{there}"]
        ip(f"neigh replace 10.1.0.{there} lladdr {mac.hex(':')} dev eth0 nud permanent", namespace=f"c{here}")
        bench.insides[f"c{here}"].neighbours[("eth0", bytes([10, 1, 0, there]))] = mac
        program(bench, f"h{here}", mac, at)
    assert bench.ask("c1", "10.1.0.2") == seen("c2", "10.1.0.1")
    program(bench, "h1", bench.insides["c2"].devices["eth0"].mac, "192.0.2.99")
    assert bench.ask("c1", "10.1.0.2") == Answer(SILENCE)


def program(bench: Bench, host: str, mac: bytes, remote: str) -> None:
    """Say where a MAC address is."""
    words = ["bridge", "-n", host, "fdb", "replace", mac.hex(":"), "dev", "vx7", "dst", remote]
    subprocess.run(words, check=True, timeout=30)
    bench.insides[host].devices["vx7"].fdb[mac] = parse_address(remote)
    bench.fabric.hosts[host].epoch += 1


def test_a_source_from_another_interface(bench):
    """Who has no address on the way out speaks from another interface's."""
    bench.namespace("a", "h2")
    far = bench.plug("h2", Veth, "v0", "")
    inner = bench.plug("a", Veth, "eth0", "", peer=far)
    far.peer = inner
    ends = f"v0 address {far.mac.hex(':')} type veth peer name eth0 address {inner.mac.hex(':')} netns a"
    ip(f"link add {ends}", "link set v0 up", "route add 10.9.0.1/32 dev v0", namespace="h2")
    ip("addr add 10.9.0.1/32 dev lo", "link set eth0 up", "route add default dev eth0", namespace="a")
    bench.insides["a"].devices["lo"].addresses[(parse_address("10.9.0.1"), 32)] = False
    bench.insides["a"].routes.append(RouteEntry(parse_subnet("0.0.0.0/0"), "eth0"))
    bench.insides["h2"].routes.append(RouteEntry(parse_subnet("10.9.0.1/32"), "v0"))
    bench.fabric.hosts["h2"].epoch += 1
    assert bench.ask("h2", "10.9.0.1") == seen("a", UNDERLAY["h2"])
    assert bench.ask("a", UNDERLAY["h2"]) == seen("h2", "10.9.0.1")
