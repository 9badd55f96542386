"""Every refusal that the domain has is reached by what the author writes, and one that never is would be seen."""

from __future__ import annotations

import ast

import pytest

from netledger.domain.commands import (
    ChooseFirewall,
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteNetwork,
    RegisterHost,
    RequestAddress,
    ReserveAddress,
    SetSandboxKey,
)
from netledger.domain.drivers.bridge import BRIDGE_NAME, DEFAULT_BRIDGE_OPTION
from netledger.domain.errors import Refusal
from netledger.domain.events import StaticRoute
from netledger.domain.facts import BASIC_FEATURES, EVERYTHING, FEATURES, Capabilities, HostPorts
from netledger.domain.values import PoolId, SandboxKind, parse_address, parse_subnet
from netledger.testing.author import GROUND, Author, Seeded
from netledger.testing.blunders import BAD_WORDS
from netledger.testing.coverage import Coverage, CoverageReport, Site, find_sites
from netledger.testing.desk import (
    HOST,
    Desk,
    create_endpoint,
    create_network,
    create_sandbox,
    identifier,
    join,
)

STEPS = 3000
LEASED = parse_address("10.2.0.9")
EXCUSED = {
    ("endpoints.py", "_mac"): "takes as many MAC addresses as there are attempts: tests/domain/test_endpoints.py",
    ("gateway_bridge.py", "_check_may_enter"): "other IPAM drivers: tests/domain/test_gateway_bridge.py",
    ("interfaces.py", "choose_interface"): "takes every interface of a sandbox: tests/domain/test_sandboxes.py",
    ("ipam/pools.py", "choose_blocks"): "two blocks of one family, other IPAM drivers: tests/domain/test_ipam.py",
    ("ipam/endpoints.py", "_wanted"): "other IPAM drivers: tests/domain/test_ipam.py",
    ("ipam/pools.py", "_choose"): "takes every predefined block: tests/domain/test_networks.py",
    ("ports.py", "_ephemeral"): "takes every port there is: tests/domain/test_ports.py",
}
"""Functions whose refusals a random walk does not come to, and what reaches them instead."""


class Held(dict):
    """Obstacles: somebody else has everything."""

    def get(self, key, default=None):
        """Name the holder of anything."""
        return f"process 7 ({key})"


ON_CERTAIN_HOSTS = (
    (create_network("d", options={BRIDGE_NAME: "br-none", DEFAULT_BRIDGE_OPTION: True}), {"links": {}}),
    (create_network("d", driver="macvlan", options={"parent": "eth0.10"}), {"links": {}}),
    (create_network("d", driver="macvlan", options={"parent": "eth0"}), {"links": {}}),
    (create_endpoint("old", "e", "127.0.0.1:80:80"), {}),
    (create_endpoint("new", "e", "[::1]:80:80"), {"host_ports": HostPorts(unreached6="not now")}),
    (create_endpoint("new", "g", endpoint=identifier("new/f")), {}),
    (create_endpoint("new", "f", endpoint=identifier("new/e")), {}),
    (create_endpoint("new", "e", "8080-8081:80", "8080-8081:81", "8080-8081:82"), {}),
    (DeleteNetwork(identifier("settings")), {}),
    (ChooseFirewall("iptables", lacking={"iptables": "no such library"}), {}),
    (ChooseFirewall("auto", lacking={"nftables": "no such library", "iptables": "no such tables"}), {}),
    (ChooseFirewall("iptables", lacking={"nftables": "no such library"}), {}),
    (ReserveAddress(identifier("new"), "leased", LEASED), {}),
    (SetSandboxKey(identifier("g"), "run/netns/g"), {}),
    (join("new/f", "h", routes=(StaticRoute(parse_subnet("10.99.0.0/16")),) * 2), {}),
    (SetSandboxKey(identifier("g"), "/run/netns/g"), {}),
    (create_endpoint("new", "shop2", "8080:80"), {}),
    (create_endpoint("new", "twice", "9090:80", "9090:81"), {}),
    (create_endpoint("new", "late", "9090:80"), {"obstacles": Held(everything="held")}),
    (join("old/f", "h", routes=(StaticRoute(parse_subnet("fd99::/32")),)), {}),
    (join("new/f", "h", routes=(StaticRoute(parse_subnet("0.0.0.0/0")),)), {}),
    (join("new/f", "h", routes=(StaticRoute(parse_subnet("10.99.0.0/16"), parse_address("10.3.0.1")),)), {}),
    (join("new/f", "h", routes=(StaticRoute(parse_subnet("10.99.0.0/16"), parse_address("fd02::1")),)), {}),
)
"""What is refused on few hosts only, and what there is about them."""


def walk(seed: int, coverage: Coverage) -> None:
    """Write commands on a desk, now and then on a host that lacks something or where others hold everything."""
    desk, choice = Desk(), Seeded(seed)
    author = Author(choice, views=lambda: desk.views)
    for number in range(STEPS):
        kind = GROUND[number] if number < len(GROUND) else "blunder" if choice.chance(5) else None
        facts = {}
        if not choice.chance(95):
            facts = choice.pick(
                (
                    {"obstacles": Held(everything="held")},
                    {"capabilities": Capabilities(dict.fromkeys(FEATURES, "it is not there"))},
                    {"capabilities": Capabilities(dict.fromkeys(set(FEATURES) - set(BASIC_FEATURES), "not yet"))},
                    {"links": {}},
                )
            )
        command = author.command(kind)
        coverage.asked(command)
        try:
            desk.do(command, **facts)
        except Refusal as refusal:
            coverage.refused(refusal)


@pytest.fixture(scope="module")
def coverage():
    """Walk, and read what cannot be read."""
    made = Coverage()
    for seed in range(7):
        walk(seed, made)
    desk = Desk()
    desk.do(RegisterHost(HOST, "host1", "boot"))
    desk.do(create_network("full", "10.0.0.0/16"))
    desk.do(*(create_endpoint("full", f"e{number}") for number in range(1023)))
    for command in (RegisterHost(HOST, "host1", "boot"), create_endpoint("full", "last")):
        with pytest.raises(Refusal) as caught:
            desk.do(command)
        made.refused(caught.value)
    older = Capabilities(dict.fromkeys(set(FEATURES) - set(BASIC_FEATURES), "not yet"))
    desk.do(create_network("old", "10.1.0.0/24"), capabilities=older)
    desk.do(create_endpoint("old", "f"))
    desk.do(create_network("new", "10.2.0.0/24", "fd02::/64"), create_endpoint("new", "f"), create_sandbox("h"))
    desk.do(create_sandbox("g", kind=SandboxKind.DELEGATED))
    desk.do(CreateConfigurationNetwork(identifier("settings"), "settings"))
    desk.do(CreateNetwork(identifier("made"), "made", config_from="settings"))
    desk.do(RequestAddress(PoolId(f"{HOST}/LocalDefault/10.2.0.0/24"), identifier("lease"), LEASED))
    desk.do(create_endpoint("new", "leased", addresses=["10.2.0.9"]))
    desk.do(create_endpoint("new", "shop", "8080:80"))
    desk.do(ChooseFirewall("nftables"))
    for command, facts in ON_CERTAIN_HOSTS:
        with pytest.raises(Refusal) as caught:
            desk.do(command, **facts)
        made.refused(caught.value)
    for parse, text in BAD_WORDS:
        with pytest.raises(Refusal) as caught:
            parse(text)
        made.refused(caught.value)
    return made


def test_every_refusal_is_reached(coverage):
    """The walk comes to every `raise` of a refusal in the domain, but for those that are excused with a reason."""
    assert len(coverage.sites) > 120
    assert list(map(str, coverage.missing(EXCUSED))) == []


def test_every_kind_of_command_is_asked_for(coverage):
    """The author writes every command but those that the engine writes itself."""
    assert len(coverage.commands) == 23
    assert min(coverage.commands.values()) > 100
    assert "refusals reached:" in str(CoverageReport.of(coverage))


def test_an_excuse_is_needed():
    """A function is excused only while it has sites."""
    sites = {(site.file, site.function) for site in find_sites()}
    assert EXCUSED.keys() <= sites


def test_a_site_that_nothing_reaches_is_seen():
    """A refusal that nothing raises is missing; one that was raised is not."""
    unreachable = Site("rules.py", "decide", 1, 1)
    reached = find_sites()[0]
    made = Coverage([unreachable, reached])
    made.reached[reached] += 1
    assert made.missing() == [unreachable]


def test_sites_are_read_from_the_source(tmp_path):
    """Each raise of a refusal is a site, with its function and lines; other raises are none."""
    source = "def f(x):\n    if x:\n        raise Invalid(\n            'a', 'b')\n    raise ValueError\n"
    ast.parse(source)
    (tmp_path / "some.py").write_text(source)
    assert find_sites(tmp_path) == [Site("some.py", "f", 3, 4)]


def test_the_same_seed_writes_the_same_commands():
    """A walk is its seed's."""
    one, other = Author(Seeded(7)), Author(Seeded(7))
    assert [one.command() for _ in range(200)] == [other.command() for _ in range(200)]
    assert EVERYTHING.missing == {}
