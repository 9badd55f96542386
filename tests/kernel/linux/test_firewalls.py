"""Every firewall backend that programs anything keeps one contract: the same reachability, by real packets.

Who reaches whom is a table: from, to, by which of its addresses, at which port, and the address that is seen there in
either family: the client's `own`, the `host`'s in the outside world, the `gateway`'s of the server's network, `snat`,
and `-` for nothing. Each `-` at an endpoint's own address has a control: the same probe passes before there are rules.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from netledger.dataplanes.contract import Status, Verb
from netledger.domain.objects import (
    Firewall,
    ForwardPolicy,
    GatewayMode,
    LoopbackAccess,
    Masquerade,
    OpenPort,
)
from tests.kernel.linux.conftest import HOST4, HOST6, OUTSIDE4, OUTSIDE6, TCP, UDP, packed
from tests.kernel.linux.services import Probe, Services, ask_all

EXTRA4, EXTRA6 = "198.51.100.77", "2001:db8::77"
HOSTS, EXTRAS, OUTSIDES = {4: HOST4, 6: HOST6}, {4: EXTRA4, 6: EXTRA6}, {4: OUTSIDE4, 6: OUTSIDE6}
LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
FAMILIES = (4, 6)
DIRECT_PORTS = (80, 81)

MATRIX = """
# from      to         by         port      ipv4     ipv6
# one network: with icc, without (its ports are isolated from each other whatever the firewall), internal
  near      web        itself     tcp/80    own      own
  near      web        itself     udp/80    own      own
  shut2     shut1      itself     tcp/80    isolated isolated
  inner2    inner1     itself     tcp/80    own      own
# between networks
  shut1     web        itself     tcp/80    -        -
  web       shut1      itself     tcp/80    -        -
  web       inner1     itself     tcp/80    -        -
  inner1    web        itself     tcp/80    -        -
  web       bare       itself     tcp/81    own      own
  web       plain      itself     tcp/80    own      own
  web       plain      itself     tcp/81    -        -
  web       fussy      itself     tcp/80    -        -
# from outside to an endpoint's own address: only where the gateway mode or a trusted interface lets it
  outside   web        itself     tcp/80    -        -
  outside   web        itself     udp/80    -        -
  outside   shut1      itself     tcp/80    -        -
  outside   inner1     itself     tcp/80    -        -
  outside   bare       itself     tcp/80    own      own
  outside   bare       itself     udp/81    own      own
  outside   plain      itself     tcp/80    own      own
  outside   plain      itself     tcp/81    -        -
  outside   plain      itself     udp/80    -        -
  outside   fussy      itself     tcp/80    own      own
  outside   fussy      itself     tcp/81    -        -
  outside   disguised  itself     tcp/80    -        -
# published at every address of the host, from everywhere; hairpin
  outside   web        host       tcp/8080  own      own
  outside   web        host       udp/8080  own      own
  outside   web        extra      tcp/8080  own      own
  shut1     web        host       tcp/8080  own      own
  near      web        host       tcp/8080  gateway  gateway
  web       web        host       tcp/8080  gateway  gateway
  host      web        host       tcp/8080  host     host
  inner1    web        host       tcp/8080  -        -
  shut2     shut1      host       tcp/8082  gateway  gateway
  outside   shut1      host       tcp/8082  own      own
# published at one address of the host
  outside   web        extra      tcp/8081  own      own
  outside   web        host       tcp/8081  -        -
  near      web        extra      tcp/8081  gateway  gateway
# the host itself: at its own loopback (the kernel lets no answer back to ::1), and straight to an endpoint
  host      web        loopback   tcp/8080  gateway  -
  host      web        loopback   udp/8080  gateway  -
  host      web        loopback   tcp/8081  -        -
  host      web        itself     tcp/80    gateway  gateway
  host      inner1     itself     tcp/80    gateway  gateway
# to the outside
  web       outside    itself     tcp/99    host     host
  web       outside    itself     udp/99    host     host
  shut1     outside    itself     tcp/99    host     host
  bare      outside    itself     tcp/99    host     host
  plain     outside    itself     tcp/99    own      own
  disguised outside    itself     tcp/99    snat     snat
  inner1    outside    itself     tcp/99    -        -
"""


class Row(NamedTuple):
    """One probe in one family, and what is to be seen."""

    client: str
    server: str
    by: str
    port: str
    family: int
    expected: str

    def __str__(self) -> str:
        return f"{self.client} -> {self.server} by {self.by} {self.port} IPv{self.family}"


def rows():
    """Read the table."""
    for line in MATRIX.splitlines():
        words = line.partition("#")[0].split()
        if words:
            for family, expected in zip(FAMILIES, words[4:], strict=True):
                yield Row(*words[:4], family, expected)


class Town:
    """A network for each policy, with endpoints that answer at two ports in both families."""

    def __init__(self, stage, services):
        self.stage, self.services = stage, services
        self.networks = {}
        self.members = {}
        self.objects = [Firewall()]
        self.add("front", 5, "web", "near")
        self.add("shut", 6, "shut1", "shut2", icc=False)
        self.add("inner", 7, "inner1", "inner2", internal=True)
        self.add("lane", 8, "bare", mode=GatewayMode.NAT_UNPROTECTED)
        self.add("road", 9, "plain", mode=GatewayMode.ROUTED, masquerade=False)
        self.add("gate", 10, "fussy", trusted=("uplink",))
        self.add("mask", 11, "disguised", masquerade=False)
        disguised = self.networks["mask"].device
        self.objects += [Masquerade(disguised, 4, packed(EXTRA4)), Masquerade(disguised, 6, packed(EXTRA6))]
        front, web = self.networks["front"].device, self.members["web"]
        self.objects.append(LoopbackAccess(front, 4))
        self.objects += [*web.publish(8080), *web.publish(8080, protocol=UDP)]
        self.objects += [*web.publish(8081, at=EXTRA4), *web.publish(8081, at=EXTRA6)]
        self.objects += self.members["shut1"].publish(8082)
        for name in ("plain", "fussy"):
            self.objects += [OpenPort(TCP, packed(text), 80) for text in self.members[name].texts]

    def add(self, name, number, *members, mode=GatewayMode.NAT, trusted=(), **options):
        """Make a network and its members, without rules."""
        stage = self.stage
        network = stage.network(name, f"10.{number}.0.0/24", f"fd{number:02x}::/64", **options)
        self.networks[name] = network
        stage.make(network.bridge, *network.addresses)
        policy = network.policy
        self.objects.append(ForwardPolicy(policy.bridge, policy.icc, policy.internal, mode, mode, trusted))
        self.objects += network.masquerades
        for one in members:
            member = self.members[one] = stage.member(network, one)
            stage.make(*member.objects)
            for text in member.texts:
                for port in DIRECT_PORTS:
                    self.services.open(member.path, text, port)
                    self.services.open(member.path, text, port, UDP)
        for subnet, host in zip(network.subnets, (HOST4, HOST6), strict=True):
            stage.run("ip", "route", "add", str(subnet), "via", host, namespace=stage.outside)

    def place(self, name):
        """Name the namespace of somebody."""
        known = {"host": self.stage.host, "outside": self.stage.outside}
        return known.get(name) or self.members[name].path

    def address(self, name, family):
        """Name somebody's own address."""
        known = {"host": HOSTS, "outside": OUTSIDES}
        return known[name][family] if name in known else self.members[name].texts[family == 6]

    def probe(self, row):
        """Make a row into a probe."""
        protocol, _, port = row.port.partition("/")
        addresses = {"host": HOSTS, "extra": EXTRAS, "loopback": LOOPBACKS}
        address = addresses[row.by][row.family] if row.by in addresses else self.address(row.server, row.family)
        return Probe(self.place(row.client), address, int(port), {"tcp": TCP, "udp": UDP}[protocol])

    def seen(self, row):
        """Say what a row expects to be seen."""
        if row.expected in {"-", "isolated"}:
            return None
        if row.expected == "gateway":
            return str(self.members[row.server].network.subnets[row.family == 6][1])
        known = {"host": HOSTS, "snat": EXTRAS}
        return known[row.expected][row.family] if row.expected in known else self.address(row.client, row.family)

    def check(self):
        """Check the whole table."""
        table = list(rows())
        answers = ask_all([self.probe(row) for row in table])
        wrong = [
            f"{row}: {answer}, not {self.seen(row)}"
            for row, answer in zip(table, answers, strict=True)
            if answer != self.seen(row)
        ]
        assert not wrong, "\n".join(wrong)


@pytest.fixture(params=["nftables", "iptables"])
def firewall(request):
    """Name each backend that programs anything."""
    return request.param


@pytest.fixture
def services():
    """Give services that end with the test."""
    made = Services()
    yield made
    made.close()


@pytest.fixture
def town(stage, services):
    """Give a town without a firewall."""
    for address, length in ((EXTRA4, 32), (EXTRA6, 128)):
        stage.run("ip", "addr", "add", f"{address}/{length}", "dev", "uplink", *unpreferred(address))
    stage.make(*stage.forwarding[1:])
    for name in ("iptables", "ip6tables"):  # else bridged frames pass the rules, and are not routed
        stage.run("sh", "-c", f"! cd /proc/sys/net/bridge 2>/dev/null || echo 0 > bridge-nf-call-{name}")
    for address in (OUTSIDE4, OUTSIDE6):
        services.open(stage.outside, address, 99)
        services.open(stage.outside, address, 99, UDP)
    return Town(stage, services)


def unpreferred(address):
    """Add an address that is not chosen for what goes out by itself."""
    return ["nodad", "preferred_lft", "0"] if ":" in address else []


def test_the_matrix(town):
    """Before there are rules every endpoint is reached at its own address; with them, as the table says; then again."""
    controls = [row for row in rows() if row.expected == "-" and row.by == "itself"]
    answers = ask_all([town.probe(row) for row in controls])
    blocked = [str(row) for row, answer in zip(controls, answers, strict=True) if answer is None]
    assert len(controls) > 20
    assert not blocked, "\n".join(blocked)
    town.stage.make(*town.objects)
    assert set(town.objects) <= town.stage.observed()
    town.check()
    outcomes = town.stage.apply(Verb.REMOVE, [thing for thing in town.objects if not isinstance(thing, Firewall)])
    assert {outcome.status for outcome in outcomes.values()} == {Status.REMOVED}
    answers = ask_all([town.probe(row) for row in controls])
    assert None not in answers
    again = town.stage.apply(Verb.MAKE, [thing for thing in town.objects if not isinstance(thing, Firewall)])
    assert {outcome.status for outcome in again.values()} == {Status.MADE}
    town.check()
