"""Every difference that was ever found between the simulator and the kernel, as the shortest program that showed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from unittest import mock

import pytest
from msgspec import structs

from netledger.dataplanes.simulated import firewall, forwarding
from netledger.dataplanes.simulated.model import RouteEntry
from netledger.domain.commands import (
    Command,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    LeaveEndpoint,
)
from netledger.domain.objects import Sysctl
from netledger.domain.values import SandboxKind, Subnet, parse_address
from netledger.testing.author import ICC, MTU
from netledger.testing.desk import create_endpoint, create_network, create_sandbox, identifier, join

from .prober import ICMP, NO_ROUTE, REACHED, REFUSED, SILENCE, TOO_BIG, UDP, Answer, Prober
from .twins import NOWHERE4, NOWHERE6, OUTSIDE, Twins, ip

HOST4, HOST6, OUTSIDE4 = "192.0.2.1", "2001:db8::1", "192.0.2.2"


def shop(**options: object) -> list[Command]:
    """Write a network with two containers, web (10.1.0.2, which publishes 8080) and db (10.1.0.3)."""
    return [
        create_network("n1", "10.1.0.0/24", "fd01::/64", **options),
        *attached("n1/web", "8080:80"),
        *attached("n1/db"),
    ]


def attached(endpoint: str, *ports: str) -> list[Command]:
    """Write an endpoint in a container of its name."""
    network, name = endpoint.split("/")
    return [create_endpoint(network, name, *ports), create_sandbox(name), join(endpoint, name)]


def borrowed(name: str) -> CreateSandbox:
    """Write a sandbox whose namespace is somebody else's, c0 to c3."""
    return CreateSandbox(identifier(name), name, SandboxKind.ATTACHED, f"/run/netns/{name}")


def add_default_route(twins: Twins, name: str, gateway: str) -> None:
    """Let somebody in such a namespace find a way out of it."""
    ip(f"route add default via {gateway}", namespace=name)
    inside = twins.kernel.namespaces[identifier(name)]
    inside.routes.append(RouteEntry(Subnet(bytes(4), 0), "eth0", parse_address(gateway)))
    twins.kernel.epoch += 1


@pytest.fixture
def plain(prober: Prober):
    """Give twins whose bridged packets do not pass the IP layer's hooks."""
    made = Twins(prober, filters_bridged=False)
    yield made
    made.close()


def test_a_published_port_from_its_own_network(plain):
    """Through the IP layer it is seen from the bridge's address, so that the answer comes back; also by itself."""
    plain.do(*shop())
    assert plain.ask("db", HOST4, port=8080) == Answer(REACHED, "web", "10.1.0.1")
    assert plain.ask("web", HOST4, port=8080) == Answer(REACHED, "web", "10.1.0.1")
    assert plain.ask("db", HOST6, port=8080) == Answer(REACHED, "web", "fd01::1")


def test_a_published_port_from_its_own_network_where_bridged_packets_are_filtered(twins):
    """It is translated while it is bridged, and masqueraded all the same; it may leave by the port that it came by."""
    twins.do(*shop())
    for place in ("db", "web"):
        assert twins.ask(place, HOST4, port=8080) == Answer(REACHED, "web", "10.1.0.1")
        assert twins.ask(place, HOST6, port=8080) == Answer(REACHED, "web", "fd01::1")
    assert twins.ask("host", HOST4, port=8080) == Answer(REACHED, "web", HOST4)


def test_a_port_at_the_ipv6_loopback(plain):
    """It is reached by the host, also where it is published there alone; and by nobody else."""
    plain.do(*shop(), *attached("n1/cache", "[::1]:8081:80", "[::1]:8081:80/udp"))
    assert plain.ask("host", "::1", port=8080) == Answer(REACHED, "web", "fd01::1")
    assert plain.ask("host", "::1", port=8081) == Answer(REACHED, "cache", "fd01::1")
    assert plain.ask("host", "::1", UDP, 8081) == Answer(REACHED, "cache", "fd01::1")
    assert plain.ask("host", HOST6, port=8081) == Answer(REFUSED)
    assert plain.ask(OUTSIDE, HOST6, port=8081) == Answer(REFUSED)
    assert plain.ask("web", "::1", port=8081) == Answer(REFUSED)


def test_a_port_at_the_ipv6_loopback_where_bridged_packets_are_filtered(twins):
    """There the answer would be dropped: it is refused, and what is set later is drift that can be mended."""
    twins.do(*shop())
    assert twins.ask("host", "::1", port=8080) == Answer(REFUSED)
    for value, expected in (("0", Answer(REACHED, "web", "fd01::1")), ("1", Answer(REFUSED))):
        twins.filter_bridged(value)
        assert len(twins.mend()) == 1
        assert twins.ask("host", "::1", port=8080) == expected


@pytest.mark.parametrize(("hosts", "verdict"), [("twins", SILENCE), ("plain", REACHED)])
def test_a_published_port_between_isolated_ports(request, hosts, verdict):
    """Where bridged packets are filtered, isolated ports reach nothing published, not even their own; else they do."""
    each = request.getfixturevalue(hosts)
    each.do(*shop(options={ICC: False}))
    assert each.ask("db", "10.1.0.2") == Answer(SILENCE)
    for place in ("db", "web"):
        assert each.ask(place, HOST4, port=8080).verdict == verdict
        assert each.ask(place, HOST6, port=8080).verdict == verdict


def test_a_router_of_ipv6_that_forwards_nothing_knows_no_way(twins):
    """It says so (ip6_pkt_discard); one of IPv4 is silent."""
    assert twins.ask(OUTSIDE, NOWHERE6, ICMP, 0) == Answer(NO_ROUTE)
    assert twins.ask(OUTSIDE, NOWHERE4, ICMP, 0) == Answer(SILENCE)


def test_forwarding_stays_on_after_the_last_network(twins):
    """Others may have come to rely on it."""
    twins.do(create_network("n1", "10.1.0.0/24"))
    twins.do(DeleteNetwork(identifier("n1")))
    assert twins.ask(OUTSIDE, NOWHERE4, ICMP, 0) == Answer(NO_ROUTE)


def test_two_interfaces_on_one_network(twins):
    """The interface whose address is older is the way into the network."""
    names = ("a", "b", "c", "d")
    twins.do(
        create_network("n1", "10.1.0.0/24"),
        create_sandbox("box"),
        *(create_endpoint("n1", name) for name in names),
        *(join(f"n1/{name}", "box") for name in names),
    )
    assert twins.ask("box", "10.1.0.1") == Answer(REACHED, "host", "10.1.0.2")


def test_a_namespace_whose_loopback_is_down(twins):
    """It does not reach itself, and others reach it."""
    twins.do(
        create_network("n1", "10.1.0.0/24"),
        create_endpoint("n1", "a"),
        borrowed("c0"),
        join("n1/a", "c0"),
    )
    ip("link set lo down", namespace="c0")
    twins.kernel.namespaces[identifier("c0")].devices["lo"].is_up = False
    assert twins.ask("c0", "10.1.0.2") == Answer(SILENCE)
    assert twins.ask("host", "10.1.0.2") == Answer(REACHED, "c0", "10.1.0.1")


@pytest.mark.parametrize("driver", ["bridge", "macvlan"])
def test_a_sandbox_that_is_created_again_in_another_namespace(twins, driver):
    """Nothing of it stays in the old one, where it would be in the way of the new one, and nothing is to be mended."""
    if twins.dataplanes[0].capabilities().lacks(driver):
        pytest.skip(f"this kernel has no {driver}")
    twins.do(create_network("n1", "10.1.0.0/24", driver=driver, internal=True), create_endpoint("n1", "a"))
    twins.do(borrowed("c0"), join("n1/a", "c0"))
    leaving = LeaveEndpoint(identifier("n1/a")), DeleteSandbox(identifier("c0"))
    for again in (create_sandbox("c0"), structs.replace(borrowed("c0"), path="/run/netns/c1"), borrowed("c0")):
        assert twins.do(*leaving, again, join("n1/a", "c0")) == []
        assert twins.mend() == []
    for command in (LeaveEndpoint, DeleteEndpoint):
        twins.do(command(identifier("n1/a")))
    twins.do(DeleteNetwork(identifier("n1")))
    assert twins.mend() == []


def test_what_is_refused_comes_back_through_the_translation(twins):
    """Nobody listens behind a published port: the refusal, an ICMP error for UDP, is told to who asked."""
    twins.do(create_network("n1", "10.1.0.0/24"), *attached("n1/web", "8080:81", "8080:81/udp"))
    assert twins.ask(OUTSIDE, HOST4, 6, 8080) == Answer(REFUSED)
    assert twins.ask(OUTSIDE, HOST4, 17, 8080) == Answer(REFUSED)


def test_what_is_too_big_is_told_before_the_rules_are_asked(twins):
    """Also to those who would not be let in."""
    small = {MTU: 1400}
    twins.do(create_network("n1", "10.1.0.0/24", options=small), *attached("n1/web", "8080:80/udp"))
    twins.do(create_network("n2", "10.2.0.0/24"), *attached("n2/other"))
    for source, address, port in (("other", "10.1.0.2", 80), (OUTSIDE, "10.1.0.2", 80), (OUTSIDE, HOST4, 8080)):
        assert twins.ask(source, address, UDP, port, 1401) == Answer(TOO_BIG)
    assert twins.ask(OUTSIDE, HOST4, UDP, 8080, 1400) == Answer(REACHED, "web", OUTSIDE4)
    assert twins.ask("other", "10.1.0.2", UDP, 80, 1400) == Answer(SILENCE)
    assert twins.ask("web", OUTSIDE4, UDP, 80, 1401) == Answer(TOO_BIG)


def test_a_route_of_ipv6_outlives_its_address(twins):
    """With its last IPv4 address an interface loses its IPv4 routes; those of IPv6 stay. A repair ends the same."""
    twins.do(*shop())
    keys = [key for key, there in sorted(twins.compare_states().items()) if not isinstance(there, Sysctl)]
    inside = identifier("web")
    for address in ("fd01::2/64", "10.1.0.2/24"):
        twins.lose(keys.index(f"address/{inside}/eth0/{address}"))
    assert twins.ask(OUTSIDE, HOST4, port=8080) == Answer(REACHED, "web", OUTSIDE4)


def test_a_pair_that_is_put_back_on_its_bridge_keeps_its_addresses(twins):
    """It is put right in place: what stands on it stays, in the order in which it came."""
    twins.do(create_network("n1", "10.1.0.0/24"), create_sandbox("box"))
    for name in ("a", "b"):
        twins.do(create_endpoint("n1", name), join(f"n1/{name}", "box"))
    keys = [key for key, there in sorted(twins.compare_states().items()) if not isinstance(there, Sysctl)]
    twins.lose(keys.index(f"address/{identifier('box')}/eth0/10.1.0.2/24"))
    assert twins.ask("box", "10.1.0.1") == Answer(REACHED, "host", "10.1.0.3")
    twins.lose(next(index for index, key in enumerate(keys) if key.startswith("bridge/")))
    assert twins.ask("box", "10.1.0.1") == Answer(REACHED, "host", "10.1.0.3")


def test_a_port_of_a_bridge_that_goes_is_isolated_no_more(twins):
    """Isolation is the port's, and goes with it."""
    twins.do(*shop(options={ICC: False}))
    keys = [key for key, there in sorted(twins.compare_states().items()) if not isinstance(there, Sysctl)]
    twins.lose(next(index for index, key in enumerate(keys) if key.startswith("bridge/")))
    assert twins.ask("db", "10.1.0.2") == Answer(SILENCE)


def test_a_size_is_remembered_for_an_address_and_not_for_a_port(twins):
    """What was found out on the way to a published port is no rule for the host's own (and expires here at once)."""
    twins.do(create_network("n1", "fd01::/64", options={MTU: 1400}), *attached("n1/web", "8080:80/udp"))
    twins.do(create_network("n2", "fd02::/64"))
    assert twins.ask("host", "fd02::1", UDP, 8080, 1450) == Answer(TOO_BIG)
    assert twins.ask("host", "fd02::1", UDP, 80, 1450) == Answer(REACHED, "host", "fd02::1")


# --- a simulator that is wrong is found out -------------------------------------------------------------------------


def without(name: str) -> Callable[..., object]:
    """Make a forward chain that forgets what is in one of its sets."""

    def forward(table, *between, **known):
        return firewall.forward(dataclasses.replace(table, **{name: set()}), *between, **known)

    return forward


@pytest.mark.parametrize(
    ("chain", "mutation", "question"),
    [
        ("forward", without("icc"), ("db", "10.1.0.2")),
        ("forward", without("bridges"), (OUTSIDE, "10.1.0.2")),
        ("forward", without("internal"), ("c0", OUTSIDE4)),
        ("masquerade", lambda *_, **__: None, ("db", OUTSIDE4)),
        ("publish", lambda *_: None, (OUTSIDE, HOST4, 6, 8080)),
    ],
    ids=["icc", "bridges", "internal", "masquerade", "publish"],
)
def test_a_rule_that_the_simulator_forgets_is_found(prober, chain, mutation, question):
    """One packet is enough to tell."""
    twins = Twins(prober, patience_seconds=0)
    try:
        twins.do(*shop(), create_network("n2", "10.2.0.0/24", internal=True), create_endpoint("n2", "inner"))
        twins.do(borrowed("c0"), join("n2/inner", "c0"))
        add_default_route(twins, "c0", "10.2.0.1")  # as root in a container may
        twins.ask(*question)
        with (
            mock.patch.object(forwarding, chain, mutation),
            pytest.raises(AssertionError, match="packets fare differently"),
        ):
            twins.ask(*question)
    finally:
        twins.close()
