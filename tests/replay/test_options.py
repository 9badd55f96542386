"""What each option of a network means for packets, as a matrix: who reaches whom, with a control for what is not.

`web` is in network `n`, which has the options; `db` is beside it; `far` is in another network, `m`, that has none.
`outside` knows the way to the endpoints' own addresses by the host.
"""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated.model import RouteEntry
from netledger.domain.values import parse_address, parse_subnet
from netledger.replay.simulation import HOST as THE_HOST
from netledger.replay.simulation import OUTSIDE, Simulation
from tests.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, join

BRIDGE = "com.docker.network.bridge"
YES, NO, NO_ROUTE = "reached", "dropped", "no route"
SUBNETS = {4: "10.1.0.0/24", 6: "fd01::/64"}
WEB = {4: "10.1.0.2", 6: "fd01::2"}


def build(
    family: int = 4, *, internal: bool = False, driver: str = "bridge", ports=("8080:80",), **options
) -> Simulation:
    """Simulate a host with the networks; option names are written without their prefix, dots as underscores."""
    desk = Desk()
    desk.do(
        create_network("n", SUBNETS[family], driver=driver, internal=internal, options=options.get("options", {})),
        create_network("m", {4: "10.2.0.0/24", 6: "fd02::/64"}[family]),
        create_endpoint("n", "web", *(() if internal else ports)),
        create_endpoint("n", "db"),
        create_endpoint("m", "far"),
    )
    for name, endpoint in (("web", "n/web"), ("db", "n/db"), ("far", "m/far")):
        desk.do(create_sandbox(name, path=f"/run/{name}"), join(endpoint, name))
    return simulate(desk, SUBNETS[family])


def simulate(desk: Desk, *routed: str) -> Simulation:
    """Simulate a host; whoever is outside routes these blocks to it."""
    simulation = Simulation(desk.views, HOST)
    outside = simulation.fabric.hosts[OUTSIDE].own
    for block in map(parse_subnet, routed):
        outside.routes.append(RouteEntry(block, "eth0", simulation.address(THE_HOST, block.family)))
    return simulation


def verdicts(simulation: Simulation, questions, family: int = 4) -> dict[tuple[str, str, str], str]:
    """Ask them all."""
    return {question: str(simulation.reach(*question, family=family).verdict) for question in questions}


OWN_PORT = (OUTSIDE, "n/web", "tcp/80")
OTHER_PORT = (OUTSIDE, "n/web", "tcp/81")
PING = (OUTSIDE, "n/web", "icmp")
PUBLISHED = (OUTSIDE, THE_HOST, "tcp/8080")
FROM_FAR = ("far", "n/web", "tcp/80")
FROM_FAR_OTHER = ("far", "n/web", "tcp/81")
BESIDE = ("db", "n/web", "tcp/81")
FROM_HOST = (THE_HOST, "n/web", "tcp/81")
OUT = ("web", OUTSIDE, "icmp")

MODES = {
    "nat": {
        OWN_PORT: NO,
        OTHER_PORT: NO,
        PING: NO,
        PUBLISHED: YES,
        FROM_FAR: NO,
        FROM_FAR_OTHER: NO,
        BESIDE: YES,
        FROM_HOST: YES,
        OUT: YES,
    },
    "nat-unprotected": {
        OWN_PORT: YES,
        OTHER_PORT: YES,
        PING: YES,
        PUBLISHED: YES,
        FROM_FAR: YES,
        FROM_FAR_OTHER: YES,
        BESIDE: YES,
        FROM_HOST: YES,
        OUT: YES,
    },
    "routed": {
        OWN_PORT: YES,
        OTHER_PORT: NO,
        PING: YES,
        PUBLISHED: "refused",
        FROM_FAR: YES,
        FROM_FAR_OTHER: NO,
        BESIDE: YES,
        FROM_HOST: YES,
        OUT: YES,
    },
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mode", MODES)
def test_gateway_modes(mode, family):
    """What of an endpoint's own address is reached, and what of the host's; each row is another mode's control."""
    simulation = build(family, options={f"{BRIDGE}.gateway_mode_ipv{family}": mode})
    assert verdicts(simulation, MODES[mode], family) == MODES[mode]
    seen = simulation.reach("web", OUTSIDE, family=family).seen_from
    own = parse_address(WEB[family])
    assert (seen == own) == (mode == "routed"), "only in mode routed an endpoint goes out under its own address"


def test_an_isolated_network_has_no_address_in_the_host():
    """Its endpoints reach each other and nothing else; not even the host reaches them, as it does in mode nat."""
    questions = (BESIDE, FROM_HOST, FROM_FAR, OUT)
    isolated = build(internal=True, options={f"{BRIDGE}.gateway_mode_ipv4": "isolated"})
    assert verdicts(isolated, questions) == {BESIDE: YES, FROM_HOST: NO_ROUTE, FROM_FAR: NO_ROUTE, OUT: NO_ROUTE}
    internal = build(internal=True)
    assert verdicts(internal, questions) == {BESIDE: YES, FROM_HOST: YES, FROM_FAR: NO, OUT: NO_ROUTE}


def test_trusted_interfaces_reach_published_ports_at_their_own_address():
    """From a trusted interface published ports are reached directly, and no others."""
    trusting = build(options={f"{BRIDGE}.trusted_host_interfaces": "eth0:eth9"})
    assert verdicts(trusting, (OWN_PORT, OTHER_PORT, PUBLISHED)) == {OWN_PORT: YES, OTHER_PORT: NO, PUBLISHED: YES}
    other = build(options={f"{BRIDGE}.trusted_host_interfaces": "eth9"})
    assert verdicts(other, (OWN_PORT, PUBLISHED)) == {OWN_PORT: NO, PUBLISHED: YES}


@pytest.mark.parametrize("family", [4, 6])
def test_the_address_that_endpoints_go_out_under(family):
    """A given one, the host's, or without masquerading their own."""
    source = {4: "198.18.0.99", 6: "2001:db8:ffff::99"}[family]
    label = f"com.docker.network.host_ipv{family}"
    given = build(family, options={label: source})
    given.kernel.own.devices["eth0"].addresses[parse_address(source), 32 if family == 4 else 128] = False
    given.kernel.epoch += 1
    plain = build(family)
    bare = build(family, options={f"{BRIDGE}.enable_ip_masquerade": False})
    seen = [there.reach("web", OUTSIDE, family=family) for there in (given, plain, bare)]
    assert [str(answer.verdict) for answer in seen] == [YES, YES, YES]
    assert [answer.seen_from for answer in seen] == [
        parse_address(source),
        plain.address(THE_HOST, family),
        parse_address(WEB[family]),
    ]


@pytest.mark.parametrize(("family", "loopback"), [(4, "127.0.0.1"), (6, "::1")])
def test_the_host_reaches_published_ports_at_its_loopback(family, loopback):
    """A port at every address, and one at the loopback alone; that one nobody else reaches. Without it: refused."""
    host = f"[{loopback}]" if family == 6 else loopback
    simulation = build(family, ports=("8080:80", f"{host}:8081:80"))
    asked = [(THE_HOST, loopback, "tcp/8080"), (THE_HOST, loopback, "tcp/8081"), PUBLISHED]
    inside = (OUTSIDE, THE_HOST, "tcp/8081")
    assert verdicts(simulation, (*asked, inside), family) == dict.fromkeys(asked, YES) | {inside: "refused"}
    assert str(simulation.reach(THE_HOST, loopback, "tcp/8082").verdict) == "refused"
    routed = build(family, options={f"{BRIDGE}.gateway_mode_ipv{family}": "routed"})
    assert str(routed.reach(THE_HOST, loopback, "tcp/8080").verdict) == "refused"


def test_without_icc_endpoints_do_not_reach_each_other():
    """But published ports they do, by the host; and with it they reach each other."""
    apart = build(options={f"{BRIDGE}.enable_icc": False})
    assert str(apart.reach(*BESIDE).verdict) == "no neighbour"
    assert str(apart.reach("db", THE_HOST, "tcp/8080").verdict) == YES
    assert str(build().reach(*BESIDE).verdict) == YES


def test_a_bridge_without_ipv4_address_leads_nowhere_by_itself():
    """With inhibit_ipv4 the gateway is somebody else's: nobody answers for it until it is there."""
    simulation = build(options={f"{BRIDGE}.inhibit_ipv4": True})
    assert verdicts(simulation, (BESIDE, OUT)) == {BESIDE: YES, OUT: "no neighbour"}
    assert verdicts(build(), (BESIDE, OUT)) == {BESIDE: YES, OUT: YES}


def on_a_parent(driver: str, block: str = "198.18.0.0/15", **options: str) -> Simulation:
    """Simulate two endpoints of a network on a parent; `eth0` is on the underlay, whose block the network's is."""
    desk = Desk()
    desk.do(create_network("n", block, driver=driver, options=options))
    for number, name in enumerate(("web", "db"), 1):
        made = create_endpoint("n", name, addresses=[f"198.18.9.{number}"])
        desk.do(made, create_sandbox(name, path=f"/run/{name}"), join(f"n/{name}", name))
    return simulate(desk, "198.18.9.0/24") if block != "198.18.0.0/15" else simulate(desk)


ROUTED = "198.18.9.0/24"
NOBODY = "no neighbour"


@pytest.mark.parametrize(
    ("driver", "block", "options", "beside"),
    [
        ("macvlan", "198.18.0.0/15", {"macvlan_mode": "bridge"}, YES),
        ("macvlan", "198.18.0.0/15", {"macvlan_mode": "private"}, NOBODY),
        ("macvlan", "198.18.0.0/15", {"macvlan_mode": "vepa"}, NOBODY),
        ("ipvlan", "198.18.0.0/15", {"ipvlan_mode": "l2"}, YES),
        ("ipvlan", "198.18.0.0/15", {"ipvlan_mode": "l2", "ipvlan_flag": "private"}, NOBODY),
        ("ipvlan", "198.18.0.0/15", {"ipvlan_mode": "l2", "ipvlan_flag": "vepa"}, NOBODY),
        ("ipvlan", ROUTED, {"ipvlan_mode": "l3"}, YES),
        ("ipvlan", ROUTED, {"ipvlan_mode": "l3", "ipvlan_flag": "private"}, NO),
    ],
)
def test_endpoints_on_a_parent(driver, block, options, beside):
    """Siblings are reached by the mode; whoever is on the wire always; the host's own interface never."""
    simulation = on_a_parent(driver, block, parent="eth0", **options)
    asked = (("web", "n/db", "icmp"), ("web", OUTSIDE, "icmp"), (THE_HOST, "n/web", "icmp"))
    assert list(verdicts(simulation, asked).values()) == [beside, YES, NOBODY]
    if block != ROUTED:
        assert str(simulation.reach(OUTSIDE, "n/web", "tcp/80").verdict) == YES


def test_layer_3_goes_out_by_its_interface():
    """In mode l3 an endpoint reaches the outside by the host's routes, under its own address, and is reached."""
    simulation = on_a_parent("ipvlan", ROUTED, parent="eth0", ipvlan_mode="l3")
    answer = simulation.reach("web", OUTSIDE)
    assert answer.seen_from == parse_address("198.18.9.1")
    assert "out of eth0" in str(answer)


def test_a_network_without_parent_is_alone():
    """Its endpoints reach each other, and nothing else is on the link."""
    simulation = on_a_parent("macvlan", ROUTED)
    assert str(simulation.reach("web", "n/db").verdict) == YES
    assert str(simulation.reach("web", OUTSIDE).verdict) == NO_ROUTE


def test_the_gateway_bridge_leads_out():
    """An endpoint on a parent without a gateway goes out by the gateway bridge, whose endpoints are apart."""
    simulation = on_a_parent("macvlan", ROUTED, parent="eth9")
    answer = simulation.reach("web", OUTSIDE)
    assert (str(answer.verdict), answer.seen_from) == (YES, simulation.address(THE_HOST, 4))
    assert "eth1" in str(answer)
    assert str(simulation.reach("web", "n/db").verdict) == YES
