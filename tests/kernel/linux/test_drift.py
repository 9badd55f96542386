"""What somebody alters behind our back is observed as exactly that, and made good by the plan that follows."""

from __future__ import annotations

import pytest
from msgspec import structs

from netledger.dataplanes.contract import Plan, Status, Step, Verb
from netledger.dataplanes.plan import difference
from netledger.domain.objects import Firewall, ForwardPolicy, Masquerade, PortForward
from tests.kernel.linux.conftest import packed

V4, V6 = "10.5.0.0/24", "fd05::/64"


class World:
    """A network with two endpoints, and all that is wanted."""

    def __init__(self, stage):
        self.stage = stage
        self.network = stage.network("network1", V4, V6)
        self.web, self.db = stage.member(self.network, "web"), stage.member(self.network, "db")
        self.ports = [*self.web.publish(8080), *self.web.publish(9090, at="198.51.100.1")]
        self.wanted = {
            thing.key: thing
            for thing in (
                *stage.forwarding,
                *self.network.objects,
                *self.web.objects,
                *self.db.objects,
                *self.ports,
            )
        }
        stage.make(*self.wanted.values())

    def missing(self):
        """List what was wanted and is not observed."""
        return set(self.wanted.values()) - self.stage.observed()

    def repair(self):
        """Plan and apply until nothing is left to do; at most twice."""
        for _ in range(2):
            observed = self.stage.dataplane.observe(self.stage.places).objects
            plan = difference(self.wanted, observed, self.stage.places)
            outcomes = self.stage.dataplane.apply(plan)
            assert not [outcome for outcome in outcomes if outcome.status is Status.FAULT], outcomes
            assert self.stage.dataplane.settle(5)
        assert self.stage.observed() == set(self.wanted.values())
        with self.stage.listening(self.web.path, self.web.texts[0], 80) as listener:
            assert self.stage.reach(self.stage.outside, "198.51.100.1", 8080, listener)
            assert self.stage.reach(self.db.path, self.web.texts[0], 80, listener)
        with self.stage.listening(self.web.path, self.web.texts[1], 80) as listener:
            assert self.stage.reach(self.db.path, self.web.texts[1], 80, listener)


@pytest.fixture
def world(stage):
    """Give a world as it is wanted."""
    return World(stage)


def test_nothing_is_missing_at_first(world):
    """The control of all that follows."""
    assert world.stage.observed() == set(world.wanted.values())
    assert not difference(world.wanted, world.stage.dataplane.observe(world.stage.places).objects, {}).steps


def test_a_deleted_host_end(world):
    """The pair and what was on it are missing."""
    world.stage.run("ip", "link", "delete", world.web.pair.host_name)
    assert world.missing() == set(world.web.inner)
    world.repair()


def test_a_deleted_bridge(world):
    """The bridge and its addresses are missing, and the pairs hang on nothing."""
    world.stage.run("ip", "link", "delete", world.network.device)
    pairs = {world.web.pair, world.db.pair}
    assert world.missing() == {world.network.bridge, *world.network.addresses, *pairs, *world.stage.forwarding[1:]} - (
        set(world.stage.forwarding[1:]) & world.stage.observed()
    )
    world.repair()


def test_an_unmounted_namespace(world):
    """The namespace and all that was in it are missing."""
    world.stage.run("umount", "--lazy", world.web.path)
    assert world.missing() == set(world.web.objects)
    world.repair()


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("ip addr flush dev eth0 scope global", "addresses and route"),
        ("ip route flush root 0/0 proto 117", "first route"),
        ("ip link set eth0 down", "pair, sixth and routes"),
        ("ip link set eth0 address 02:00:00:00:00:01", "pair"),
        ("ip link set eth0 alias stranger", "everything"),
        ("ip link set eth0 mtu 1400", "pair"),
        ("ip link set lo down", "namespace"),
        ("ip addr del LINKLOCAL/64 dev eth0", "sixth"),
    ],
)
def test_something_altered_inside_a_sandbox(world, command, what):
    """What it takes away or alters is missing, and nothing else."""
    web = world.web
    local = next(
        address["local"]
        for address in world.stage.ip("addr", "show", "eth0", namespace=web.path)[0]["addr_info"]
        if address["scope"] == "link"
    )
    world.stage.run(*command.replace("LINKLOCAL", local).split(), namespace=web.path)
    four, six = web.addresses
    expected = {
        "addresses and route": {four, six, web.routes[0]},
        "first route": {web.routes[0]},
        "pair, sixth and routes": {web.pair, six, *web.routes},
        "pair": {web.pair},
        "everything": set(web.inner),
        "namespace": {web.namespace},
        "sixth": {six},
    }[what]
    assert world.missing() == expected
    world.repair()


def test_another_address_in_the_place_of_ours(world):
    """With the last IPv4 address the kernel drops the IPv4 routes, so one plan puts the address and the route right."""
    stage, web = world.stage, world.web
    own = web.addresses[0]
    other = structs.replace(own, address=packed("10.99.0.2"))
    stage.make(other)
    stage.run("ip", "addr", "del", f"{web.texts[0]}/{own.prefix}", "dev", "eth0", namespace=web.path)
    assert stage.observed() == set(world.wanted.values()) - {own} | {other}, "the route stays as long as there is one"
    plan = difference(world.wanted, stage.dataplane.observe(stage.places).objects, stage.places)
    outcomes = stage.dataplane.apply(plan)
    assert {outcome.status for outcome in outcomes} <= {Status.REMOVED, Status.MADE, Status.ALREADY}
    assert stage.observed() == set(world.wanted.values())
    world.repair()


@pytest.mark.parametrize(
    "command",
    [
        "ip link set {host_name} nomaster",
        "ip link set {host_name} down",
        "ip link set {host_name} type bridge_slave isolated on",
        "ip link set {host_name} type bridge_slave hairpin off",
        "ip link set {host_name} mtu 1400",
        "ip link set {host_name} alias stranger",
    ],
)
def test_an_altered_host_end(world, command):
    """The pair is missing; putting it right keeps what is on it."""
    world.stage.run(*command.format(host_name=world.web.pair.host_name).split())
    assert world.web.pair in world.missing()
    before = world.stage.ip("link", "show", "eth0", namespace=world.web.path)[0]["ifindex"]
    world.repair()
    assert world.stage.ip("link", "show", "eth0", namespace=world.web.path)[0]["ifindex"] == before


@pytest.mark.parametrize("command", ["down", "mtu 1400", "address 02:00:00:00:00:09", "alias stranger", "group 7"])
def test_an_altered_bridge(world, command):
    """The bridge is missing, and is put right in place."""
    before = world.stage.ip("link", "show", world.network.device)[0]["ifindex"]
    world.stage.run("ip", "link", "set", world.network.device, *command.split())
    assert world.network.bridge in world.missing()
    world.repair()
    assert world.stage.ip("link", "show", world.network.device)[0]["ifindex"] == before


FIREWALL = (Firewall, ForwardPolicy, Masquerade, PortForward)


@pytest.mark.parametrize("command", ["flush ruleset", "delete table inet {table}"])
def test_a_deleted_firewall(world, command):
    """The whole firewall is missing, and is made again whole in one transaction."""
    world.stage.run("nft", command.format(table=world.stage.table))
    assert world.missing() == {thing for thing in world.wanted.values() if isinstance(thing, FIREWALL)}
    world.repair()


@pytest.mark.parametrize(
    "command",
    [
        "flush chain inet {table} forward",
        "add rule inet {table} forward accept",
        "insert rule inet {table} publish return",
        "add chain inet {table} extra",
        "delete element inet {table} same {{ {bridge} . {bridge} }}",
        "add element inet {table} icc {{ nonsense . {bridge} }}",
        "flush set inet {table} bridges",
    ],
)
def test_an_altered_firewall(world, command):
    """The table is missing, and is made again whole in one transaction; what was in it is still there."""
    command = command.format(table=world.stage.table, bridge=world.network.device)
    world.stage.run("nft", command)
    assert world.missing() == {Firewall()}
    world.repair()


def test_a_plan_about_one_network_keeps_the_others_elements(world):
    """Somebody altered the table; a plan that makes it, and names another network, drops nothing of the first."""
    stage = world.stage
    odd = ForwardPolicy("odd*", icc=True, internal=False)
    stage.make(odd)
    stage.run("nft", f"add rule inet {stage.table} forward accept")
    second = stage.network("network2", "10.6.0.0/24")
    gone = world.ports[0]
    steps = [Step(Verb.REMOVE, gone)]
    steps += [Step(Verb.MAKE, thing) for thing in (Firewall(), second.bridge, second.policy, *second.masquerades)]
    outcomes = stage.dataplane.apply(Plan(tuple(steps), stage.places))
    assert {outcome.status for outcome in outcomes} == {Status.REMOVED, Status.MADE}, outcomes
    second_ones = {second.bridge, second.policy, *second.masquerades}
    assert stage.observed() == {*world.wanted.values(), odd, *second_ones} - {gone}
    stage.remove(odd, *second_ones)
    world.repair()


def test_a_repair_of_an_altered_table_is_one_plan(world):
    """Strays in a table that was altered go by the same plan that makes it again."""
    stage = world.stage
    stage.run("nft", f"add element inet {stage.table} ports4 {{ udp . 53 : 10.5.0.2 . 53, icmp . 1 : 10.5.0.2 . 1 }}")
    stage.run("nft", f"add element inet {stage.table} icc {{ nonsense . nonsense }}")
    stage.run("nft", f"flush chain inet {stage.table} forward")
    plan = difference(world.wanted, stage.dataplane.observe(stage.places).objects, stage.places)
    stage.dataplane.apply(plan)
    assert stage.observed() == set(world.wanted.values())


def test_a_map_that_somebody_made_anew(world):
    """One that holds other things than ours does is an altered table, and its ports are made again."""
    stage = world.stage
    for chain in ("prerouting", "output", "publish"):
        stage.run("nft", f"flush chain inet {stage.table} {chain}")
    stage.run("nft", f"delete map inet {stage.table} ports4")
    stage.run(
        "nft", f"add map inet {stage.table} ports4 {{ type inet_service : ipv4_addr; elements = {{ 1 : 1.2.3.4 }}; }}"
    )
    assert world.missing() == {Firewall(), *(p for p in world.ports if p.host_port == 8080 and len(p.address) == 4)}
    world.repair()


@pytest.mark.parametrize(
    ("command", "lost"),
    [
        ("delete element inet {table} ports4 {{ tcp . 8080 }}", "port/tcp/0.0.0.0:8080"),
        ("flush map inet {table} ports6", "port/tcp/[::]:8080"),
        ("flush map inet {table} ports4_at", "port/tcp/198.51.100.1:9090"),
        ("flush set inet {table} masquerade6", "masquerade/{bridge}/ipv6"),
        ("flush set inet {table} icc", "policy/{bridge}"),
    ],
)
def test_a_deleted_element(world, command, lost):
    """The one object that it stood for is missing."""
    names = {"table": world.stage.table, "bridge": world.network.device}
    world.stage.run("nft", command.format(**names))
    assert {thing.key for thing in world.missing()} == {lost.format(**names)}
    world.repair()


def test_a_port_that_nobody_asked_for(world):
    """It is observed, so that a plan removes it."""
    world.stage.run("nft", f"add element inet {world.stage.table} ports4 {{ udp . 53 : 10.5.0.2 . 53 }}")
    extra = world.stage.observed() - set(world.wanted.values())
    assert [str(thing) for thing in extra] == ["port/udp/0.0.0.0:53 -> 10.5.0.2:53"]
    world.repair()


def test_forwarding_turned_off(world):
    """The setting reads back as it is."""
    world.stage.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert {thing.key for thing in world.missing()} == {"sysctl/host/net.ipv4.ip_forward"}
    world.repair()


def test_an_orphan_of_a_lost_record(world):
    """A pair whose sandbox nobody names any more is observed, so that a plan removes it."""
    del world.stage.places[world.web.sandbox]
    observed = world.stage.dataplane.observe(world.stage.places).objects
    assert world.web.pair.key in observed
    stale = observed[world.web.pair.key]
    world.stage.remove(stale)
    assert world.web.pair.host_name not in {link["ifname"] for link in world.stage.ip("link")}


def test_everything_at_once(world):
    """All of it is gone, and all of it comes back."""
    stage = world.stage
    for member in (world.web, world.db):
        stage.run("ip", "link", "delete", member.pair.host_name)  # first: a namespace that dies takes it along
        stage.run("umount", "--lazy", member.path)
    stage.run("ip", "link", "delete", world.network.device)
    stage.run("nft", "flush ruleset")
    assert world.missing() >= set(world.wanted.values()) - set(stage.forwarding)
    world.repair()
