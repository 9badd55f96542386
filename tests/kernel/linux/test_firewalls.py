"""Every firewall backend that programs anything keeps one contract: the same reachability, by real packets.

Who reaches whom is a table: from, to, by which of its addresses, at which port, and the address that is seen there in
either family: the client's `own`, the `host`'s in the outside world, the `gateway`'s of the server's network, `snat`,
and `-` for nothing. Each `-` at an endpoint's own address has a control: the same probe passes before there are rules.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

import pytest

from netledger.dataplanes.contract import Instance, Plan, Status, Step, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.plan import difference
from netledger.domain.objects import (
    Firewall,
    ForwardPolicy,
    GatewayMode,
    LoopbackAccess,
    Masquerade,
    OpenPort,
    PortForward,
    is_of_firewall,
)
from tests.kernel.linux.conftest import (
    ANSWER_SECONDS,
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    SILENCE_SECONDS,
    TCP,
    UDP,
    inside,
    packed,
)
from tests.kernel.linux.services import ICMP, Probe, Services, ask_all

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
  outside   web        itself     icmp/1    -        -
  outside   bare       itself     icmp/2    own      own
  outside   plain      itself     icmp/3    own      own
  outside   fussy      itself     icmp/4    -        -
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
# the host itself: at its own loopback, and straight to an endpoint
  host      web        loopback   tcp/8080  gateway  gateway
  host      web        loopback   udp/8080  gateway  gateway
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
        self.objects += [LoopbackAccess(front, 4), LoopbackAccess(front, 6)]
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
        return Probe(self.place(row.client), address, int(port), {"tcp": TCP, "udp": UDP, "icmp": ICMP}[protocol])

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
        seen = [self.seen(row) for row in table]
        answers = ask_all([self.probe(row) for row in table], seen)
        wrong = [
            f"{row}: {answer}, not {expected}"
            for row, answer, expected in zip(table, answers, seen, strict=True)
            if answer != expected
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


def test_an_endpoint_reaches_its_own_port_where_bridged_frames_are_filtered(town):
    """There its packets are translated while they are bridged; they leave by the port that they came in at."""
    for name in ("iptables", "ip6tables"):
        town.stage.run("sh", "-c", f"! cd /proc/sys/net/bridge 2>/dev/null || echo 1 > bridge-nf-call-{name}")
    town.stage.make(*town.objects)
    own = [row for row in rows() if row.client == row.server == "web" and row.by == "host"]
    assert len(own) == 2
    seen = [town.seen(row) for row in own]
    assert ask_all([town.probe(row) for row in own], seen) == seen


class World:
    """One network with an endpoint and everything that a firewall can have, all of it made."""

    def __init__(self, stage):
        self.stage = stage
        network = self.network = stage.network("front", "10.5.0.0/24", "fd05::/64")
        web = self.web = stage.member(network, "web")
        policy = ForwardPolicy(network.device, True, False, GatewayMode.ROUTED, GatewayMode.NAT, ("uplink",))
        self.bridge = network.device
        self.wanted = [
            Firewall(),
            policy,
            Masquerade(network.device, 4, packed(HOST4)),
            Masquerade(network.device, 6),
            LoopbackAccess(network.device, 4),
            LoopbackAccess(network.device, 6),
            *web.publish(8080),
            *web.publish(53, protocol=UDP),
            *web.publish(8081, at=HOST4),
            *(OpenPort(TCP, packed(text), 80) for text in web.texts),
        ]
        stage.make(*stage.forwarding[1:], network.bridge, *network.addresses, *web.objects, *self.wanted)

    def observed(self):
        """Observe what is of the firewall."""
        return {thing for thing in self.stage.observed() if is_of_firewall(thing)}

    def plan(self):
        """Plan what makes the firewall as it is wanted."""
        wanted = {thing.key: thing for thing in self.wanted}
        observed = {thing.key: thing for thing in self.observed()}
        return difference(wanted, observed, self.stage.places)


@pytest.fixture
def world(stage):
    """Give a world as it is wanted."""
    return World(stage)


def test_what_was_made_reads_back(world):
    """Observing gives what was asked for, and nothing is left to plan; made again it is so already."""
    assert world.observed() == set(world.wanted)
    assert world.plan().steps == ()
    assert {outcome.status for outcome in world.stage.apply(Verb.MAKE, world.wanted).values()} == {Status.ALREADY}


def test_everything_is_taken_away(world):
    """What was made goes without a trace; what is gone already is no fault."""
    stage = world.stage
    stage.remove(*world.wanted)
    assert world.observed() == set()
    assert stage.run("nft", "list", "ruleset") == ""
    for tool in ("iptables-legacy-save", "ip6tables-legacy-save"):
        assert "0a1b2c3d" not in stage.run(tool)
    assert stage.run("cat", f"/proc/sys/net/ipv4/conf/{world.bridge}/route_localnet").strip() == "0"
    assert stage.apply(Verb.REMOVE, [Firewall()])[Firewall().key].status is Status.ALREADY
    assert {outcome.status for outcome in stage.apply(Verb.REMOVE, world.wanted[1:]).values()} == {Status.ALREADY}


def test_an_object_takes_the_place_of_another(world):
    """By replacing, and by being made where another of its key is found: the other one is gone."""
    stage, bridge, web = world.stage, world.bridge, world.web
    before = next(thing for thing in world.wanted if isinstance(thing, ForwardPolicy))
    shut = ForwardPolicy(bridge, icc=False, internal=True)
    port = web.publish(8080)[0]
    moved = PortForward(port.protocol, port.host_address, port.host_port, packed("10.5.0.9"), 81)
    plan = Plan((Step(Verb.REPLACE, shut, before), Step(Verb.REPLACE, moved, port)), stage.places)
    assert {outcome.status for outcome in stage.dataplane.apply(plan)} == {Status.MADE}
    assert world.observed() == {*world.wanted, shut, moved} - {before, port}
    assert {outcome.status for outcome in stage.apply(Verb.MAKE, [port, web.publish(8080)[1]]).values()} == {
        Status.MADE,
        Status.ALREADY,
    }
    assert world.observed() == {*world.wanted, shut} - {before}


def test_loopback_access_is_its_setting_too(world):
    """Turned off by somebody it is missing, and it alone; making it turns it on."""
    setting = f"/proc/sys/net/ipv4/conf/{world.bridge}/route_localnet"
    world.stage.run("sh", "-c", f"echo 0 > {setting}")
    lost = LoopbackAccess(world.bridge, 4)
    assert world.observed() == set(world.wanted) - {lost}
    world.stage.make(lost)
    assert world.stage.run("cat", setting).strip() == "1"


def set_filter(stage, value):
    """Have bridged IPv6 packets pass the IP layer's hooks, or not; not every kernel knows how to."""
    stage.run("sh", "-c", f"! cd /proc/sys/net/bridge 2>/dev/null || echo {value} > bridge-nf-call-ip6tables")


def reaches_loopback6(world, port=8080):
    """Ask for a published port at ::1; what the kernel answers there at once, else who is seen at the endpoint."""

    def ask():
        with socket.socket(socket.AF_INET6) as asking:
            asking.settimeout(5)
            return asking.connect_ex(("::1", port))

    number = inside(world.stage.host, ask)
    return errno.errorcode[number] if number else ask_all([Probe(world.stage.host, "::1", port)])[0]


def test_ipv6_loopback_access_is_its_route_too(world, services):
    """Taken away by somebody it is missing, and it alone, and nothing comes back; making it puts the route there."""
    set_filter(world.stage, 0)
    lost = LoopbackAccess(world.bridge, 6)
    world.stage.apply(Verb.MAKE, [lost])
    services.open(world.web.path, world.web.texts[1], 80)
    assert reaches_loopback6(world) == "fd05::1"
    world.stage.run("ip", "-6", "route", "delete", "local", "::1", "dev", world.bridge, "table", "local")
    assert world.observed() == set(world.wanted) - {lost}
    assert ask_all([Probe(world.stage.host, "::1", 8080)]) == [None]
    world.stage.make(lost)
    assert reaches_loopback6(world) == "fd05::1"
    world.stage.run("ip", "link", "set", world.bridge, "down")  # takes the route along
    world.stage.run("ip", "link", "set", world.bridge, "up")
    assert world.observed() == set(world.wanted) - {lost}


def test_where_bridged_packets_are_filtered_nothing_is_sent_from_the_ipv6_loopback(world, services):
    """Connections to ::1 are refused there at once, as nobody listens; when that is set otherwise it is drift."""
    stage, access = world.stage, LoopbackAccess(world.bridge, 6)
    if "1" not in stage.run("sh", "-c", "cat /proc/sys/net/bridge/bridge-nf-call-ip6tables || true"):
        pytest.skip("this kernel filters no bridged packets")
    services.open(world.web.path, world.web.texts[1], 80)
    assert world.observed() == set(world.wanted)
    assert ask_all([Probe(stage.outside, HOST6, 8080)]) == [OUTSIDE6]
    assert reaches_loopback6(world) == "ECONNREFUSED"
    for value, expected in ((0, "fd05::1"), (1, "ECONNREFUSED"), (0, "fd05::1")):
        set_filter(stage, value)
        assert world.observed() == set(world.wanted) - {access}
        stage.make(access)
        assert world.observed() == set(world.wanted)
        assert reaches_loopback6(world) == expected


def test_the_ipv6_loopback_is_reached_as_long_as_one_network_lets_it(world, services):
    """Also when another one's access goes, or the chains are made anew; the last one takes everything along."""
    stage = world.stage
    set_filter(stage, 0)
    other = stage.network("other", "10.6.0.0/24", "fd06::/64")
    stage.make(other.bridge, *other.addresses, other.policy, LoopbackAccess(other.device, 6))
    stage.apply(Verb.MAKE, [LoopbackAccess(world.bridge, 6)])
    services.open(world.web.path, world.web.texts[1], 80)
    assert reaches_loopback6(world) == "fd05::1"
    stage.remove(LoopbackAccess(other.device, 6))
    assert world.observed() >= set(world.wanted)
    assert reaches_loopback6(world) == "fd05::1"
    stage.run("sh", "-c", f"nft delete table inet {stage.table}; ip6tables-legacy -t nat -F; true")
    stage.dataplane.apply(world.plan())
    assert reaches_loopback6(world) == "fd05::1"
    stage.remove(LoopbackAccess(world.bridge, 6))
    assert "local ::1 dev br-" not in stage.run("ip", "-6", "route", "show", "table", "local")
    assert reaches_loopback6(world) == "ECONNREFUSED"
    assert world.observed() >= set(world.wanted) - {LoopbackAccess(world.bridge, 6)}


def datagram(world, source, destination, port):
    """Build a UDP datagram (RFC 8200, RFC 768) in an Ethernet frame from the endpoint to its bridge."""
    addresses = packed(source) + packed(destination)
    text = b"from the bridge"
    words = addresses + struct.pack("!II", 8 + len(text), UDP) + struct.pack("!HHHH", 9, port, 8 + len(text), 0) + text
    total = sum(struct.unpack(f"!{len(words + b'0') // 2}H", words + bytes(len(words) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header = struct.pack("!IHBB", 6 << 28, 8 + len(text), UDP, 64) + addresses
    frame = world.network.bridge.mac + world.web.pair.mac + b"\x86\xdd" + header
    return frame + struct.pack("!HHHH", 9, port, 8 + len(text), ~total & 0xFFFF) + text


@pytest.mark.parametrize("filters_bridged", [0, 1])
def test_nobody_on_a_bridge_reaches_the_ipv6_loopback(world, filters_bridged):
    """A packet that an endpoint makes up, to ::1 or from it, is not delivered; one between real addresses is."""
    stage, web = world.stage, world.web
    set_filter(stage, filters_bridged)
    stage.apply(Verb.MAKE, [LoopbackAccess(world.bridge, 6)])

    def listen():
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.bind(("::", 7007))
        return made

    def send(frame):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0x86DD))
            wire.send(frame)

    def arrives(source, destination, seconds=SILENCE_SECONDS):
        listener.settimeout(seconds)
        inside(web.path, lambda: send(datagram(world, source, destination, 7007)))
        try:
            return listener.recvfrom(64)[1][0]
        except TimeoutError:
            return None

    own, gateway = web.texts[1], "fd05::1"
    with inside(stage.host, listen) as listener:
        assert arrives(own, gateway, ANSWER_SECONDS) == own
        assert arrives(own, "::1") is None
        assert arrives("::1", gateway) is None
        assert arrives("::1", "::1") is None
        assert arrives(own, gateway, ANSWER_SECONDS) == own


def test_values_that_cannot_be_said(world):
    """A fault of its own step; the others are done."""
    bad = PortForward(TCP, bytes(4), 70000, packed("10.5.0.2"), 80)
    good = PortForward(TCP, bytes(4), 7000, packed("10.5.0.2"), 80)
    outcomes = world.stage.apply(Verb.MAKE, [bad, good])
    assert (outcomes[bad.key].status, outcomes[good.key].status) == (Status.FAULT, Status.MADE)
    assert world.observed() == {*world.wanted, good}


ALTERATIONS = {
    "nftables": [
        "nft flush ruleset",
        "nft flush chain inet {table} forward",
        "nft insert rule inet {table} forward accept",
        "nft delete element inet {table} ports4 {{ tcp . 8080 }}",
        "nft add element inet {table} open4 {{ 10.5.0.9 . tcp . 1 }}",
        "nft flush map inet {table} source4",
        "nft delete element inet {table} routed4 {{ {bridge} }}",
        "nft delete element inet {table} loopback6 {{ {bridge} }}",
        "nft add element inet {table} reached6 {{ ::1 }}",
    ],
    "iptables": [
        "iptables-legacy -F FORWARD",
        "ip6tables-legacy -F FORWARD",
        "iptables-legacy -t nat -F",
        "iptables-legacy -D {chain} 1",
        "ip6tables-legacy -F {chain}",
        "iptables-legacy -I {chain} -j ACCEPT",
        "iptables-legacy -t nat -A {chain}-PUBLISH -p tcp --dport 22 -j DNAT --to 10.5.0.2:22",
        "iptables-legacy -R {chain}-OPEN 1 -d 10.5.0.2/32 -p tcp --dport 81 -j RETURN",
        "iptables-legacy -R {chain}-OPEN 1 -d 10.5.0.2/32 -p tcp --dport 81 -m comment --comment {open} -j RETURN",
        "iptables-legacy -t nat -D {chain}-PUBLISH 1",
        "iptables-legacy -t raw -F {chain}-GUARD",
        "ip6tables-legacy -t raw -F {chain}-GUARD",
        "ip6tables-legacy -t nat -I OUTPUT -d ::1 -j {chain}-PUBLISH -m comment --comment {reached}",
        "iptables-legacy -N {chain}-MORE",
        "iptables-legacy -I FORWARD -j {chain} -m comment --comment netledger-0a1b2c3d\\ 00\\ forward",
    ],
}
"""What somebody does to ours behind our back."""
REACHED = "'netledger-0a1b2c3d 00 reached6'"
OPEN = "'netledger-0a1b2c3d 10 open 6 10.5.0.2 80 ='"


@pytest.mark.parametrize(
    ("firewall", "command"), [(name, command) for name, commands in ALTERATIONS.items() for command in commands]
)
def test_what_somebody_alters(world, command):
    """It is observed as something to plan; one plan makes it good, and a connection that was there goes on."""
    stage = world.stage
    with inside(world.web.path, socket.socket) as listener, inside(stage.outside, socket.socket) as caller:
        listener.bind(("", 80))
        listener.listen()
        caller.settimeout(5)
        caller.connect((HOST4, 8080))
        served, _ = listener.accept()
        with served:
            chain = f"NETLEDGER-{stage.instance}"
            names = {"table": stage.table, "bridge": world.bridge, "chain": chain, "open": OPEN, "reached": REACHED}
            stage.run("sh", "-c", command.format(**names))
            plan = world.plan()
            assert plan.steps
            outcomes = stage.dataplane.apply(plan)
            assert not [outcome for outcome in outcomes if outcome.status is Status.FAULT]
            assert world.observed() == set(world.wanted)
            caller.sendall(b"still there?")
            assert served.recv(64) == b"still there?"


STRANGERS = """
nft add table ip stranger
nft add chain ip stranger forward {{ type filter hook forward priority 5 ; }}
nft add rule ip stranger forward ip saddr 203.0.113.1 counter drop
iptables-legacy -N STRANGER
iptables-legacy -A STRANGER -s 203.0.113.1 -m comment --comment "netledger-ffffffff 20 open 6 1.2.3.4 80 =" -j DROP
iptables-legacy -A FORWARD -s 203.0.113.2 -j DROP
iptables-legacy -A FORWARD -j STRANGER
iptables-legacy -A FORWARD -s 203.0.113.3 -j DROP
iptables-legacy -t nat -A PREROUTING -s 203.0.113.4 -p tcp --dport 8080 -j DNAT --to 203.0.113.5
iptables-legacy -t nat -A POSTROUTING -s 203.0.113.4 -j MASQUERADE
iptables-legacy -t raw -A PREROUTING -s 203.0.113.4 -j ACCEPT
iptables-legacy -t mangle -A FORWARD -s 203.0.113.4 -j MARK --set-mark 7
iptables-legacy -N NETLEDGER-USER
iptables-legacy -A NETLEDGER-USER -s 203.0.113.6 -j DROP
ip6tables-legacy -A FORWARD -s 2001:db8:9::1 -j DROP
ip6tables-legacy -N NETLEDGER-ffffffff
ip6tables-legacy -A NETLEDGER-ffffffff -s 2001:db8:9::2 -j RETURN
"""


def foreign(stage):
    """Read every rule and chain that does not name this instance, as the tools of others print them."""
    lines = []
    for tool in (["iptables-legacy-save"], ["ip6tables-legacy-save"]):
        lines += [line for line in stage.run(*tool).splitlines() if line[:1] != "#" and stage.instance not in line]
    return [line.split(" [")[0] for line in lines], stage.run("nft", "list", "table", "ip", "stranger")


def test_rules_of_others_stay_as_they_are(stage):
    """Byte for byte and in their order, those in the user's chain too: with ours, when ours change, and without."""
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        for table in ("filter", "nat", "raw"):
            stage.run(tool, "-t", table, "-L")  # it is there from now on
    stage.run("ip6tables-legacy", "-N", "NETLEDGER-USER")
    for line in STRANGERS.strip().splitlines():
        stage.run("sh", "-c", line.replace("{{", "'{").replace("}}", "}'"))
    before = foreign(stage)
    world = World(stage)
    assert foreign(stage) == before
    assert world.observed() == set(world.wanted)
    for thing in world.wanted[1:]:
        stage.remove(thing)
        stage.make(thing)
    assert foreign(stage) == before
    stage.run("sh", "-c", "nft delete table inet netledger-0a1b2c3d; iptables-legacy -F NETLEDGER-0a1b2c3d; true")
    stage.dataplane.apply(world.plan())
    assert world.observed() == set(world.wanted)
    assert foreign(stage) == before
    stage.remove(*world.wanted)
    assert foreign(stage) == before


def test_the_users_chain_comes_first(stage, services):
    """What it drops is dropped, although the port is published; the chain is made where there is none, and stays."""
    stage.dataplane.close()
    stage.dataplane = LinuxDataplane(stage.instance, str(stage.host), firewall="iptables")
    world = World(stage)
    services.open(world.web.path, world.web.texts[0], 80)
    probe = Probe(stage.outside, HOST4, 8080)
    assert ask_all([probe]) == [OUTSIDE4]
    stage.run("iptables-legacy", "-A", "NETLEDGER-USER", "-s", OUTSIDE4, "-j", "DROP")
    assert ask_all([probe], [None]) == [None]
    stage.remove(*world.wanted)
    assert stage.run("iptables-legacy", "-S", "NETLEDGER-USER").splitlines()[1:] == [
        f"-A NETLEDGER-USER -s {OUTSIDE4}/32 -j DROP"
    ]


def test_two_instances_on_one_host(stage):
    """Each sees only its own, and taking one away leaves the other whole."""
    world = World(stage)
    second = LinuxDataplane(Instance("ffffffff"), str(stage.host), firewall=stage.dataplane.firewall)
    try:
        assert not [thing for thing in second.observe({}).objects.values() if is_of_firewall(thing)]
        assert [outcome.status for outcome in second.apply(Plan((Step(Verb.MAKE, Firewall()),), {}))] == [Status.MADE]
        assert world.observed() == set(world.wanted)
        assert [outcome.status for outcome in second.apply(Plan((Step(Verb.REMOVE, Firewall()),), {}))] == [
            Status.REMOVED
        ]
        assert world.observed() == set(world.wanted)
    finally:
        second.close()
