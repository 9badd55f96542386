"""Who must reach whom: questions about packets whose answers follow from the model of networks alone.

Keeps: an expectation is read from networks, endpoints and joins, never from kernel objects, rules or routes, so it says
what those ought to amount to. Asked at a quiet point, where the kernel is what the log calls for.
Knows nothing of: how a packet finds its way.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

from ...dataplanes.simulated.fabric import CARD, Fabric, Question
from ...dataplanes.simulated.packets import ICMP, Spot, Verdict
from ...domain.drivers import traits_of
from ...domain.events import EndpointCreated, NetworkCreated
from ...domain.gateways import stays
from ...domain.objects import GatewayMode
from ...domain.values import SandboxId, SandboxKind, family_of
from ...projections.views import Views

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
INHIBIT = "com.docker.network.bridge.inhibit_ipv4"
SOURCES = {family: f"com.docker.network.host_ipv{family}" for family in (4, 6)}


class Expectation(NamedTuple):
    """A question, the verdicts that are right, and why."""

    question: Question
    right: frozenset[Verdict]
    because: str


REACHED = frozenset({Verdict.REACHED})
UNANSWERED = frozenset({Verdict.UNANSWERED})
STOPPED = frozenset(Verdict) - {Verdict.REACHED, Verdict.REFUSED, Verdict.UNANSWERED, Verdict.ANOTHER}
"""It never arrived."""


class _Member(NamedTuple):
    """An endpoint of a bridge network in a sandbox."""

    sandbox: SandboxId
    network: NetworkCreated
    endpoint: EndpointCreated

    @property
    def families(self) -> set[int]:
        return {family_of(held.address) for held in self.endpoint.addresses}

    def mode(self, family: int) -> GatewayMode:
        """Tell how its network meets the outside."""
        return traits_of(self.network).mode(family)

    def host_is_in_it(self, family: int) -> bool:
        """Whether the host has the gateway's address in its network."""
        is_inhibited = family == 4 and bool(self.network.options[INHIBIT])
        return self.mode(family) is not GatewayMode.ISOLATED and not is_inhibited

    def let_in(self, family: int) -> bool:
        """Whether the host lets strangers' ICMP in, to its endpoints' own addresses."""
        return not self.network.internal and self.mode(family) in (GatewayMode.ROUTED, GatewayMode.NAT_UNPROTECTED)


def expectations(views: Views, host: str, stranger: Spot, fabric: Fabric) -> Iterator[Expectation]:
    """List what must hold of one host; `stranger` is a machine on the underlay that is none of its containers."""
    members = list(_members(views))
    card = [address for address, _ in fabric.hosts[host].own.devices[CARD].addresses]
    outside = fabric.addresses_of(stranger)
    if _is_card_taken(views):
        card = outside = []  # what arrives there is not the host's, so nothing follows from its networks
    networks_of = {
        sandbox: [stay.network for stay in stays(views, sandbox)] for sandbox in {member.sandbox for member in members}
    }
    for member in members:
        yield from _own_gateway(member, host)
        yield from _ports(views, member, stranger, card)
        yield from _way_out(views, member, networks_of[member.sandbox], host, outside)
    for one, other in permutations(members, 2):
        yield from _neighbours(views, one, other, networks_of, host)


def _members(views: Views) -> Iterator[_Member]:
    for joined in views.endpoints.joined.values():
        sandbox, network = views.sandbox(joined.event.sandbox), views.network(joined.event.network)
        endpoint = views.endpoint(joined.event.endpoint)
        assert sandbox is not None, "a joined endpoint's sandbox is there"
        assert network is not None, "a joined endpoint's network is there"
        assert endpoint is not None, "a joined endpoint is there"
        if sandbox.event.kind is not SandboxKind.DELEGATED and network.event.driver == "bridge":
            yield _Member(joined.event.sandbox, network.event, endpoint.event)


def _is_card_taken(views: Views) -> bool:
    """Whether an endpoint has the host's card to itself (macvlan's mode passthru)."""
    there = (stay for sandbox in views.sandboxes.sandboxes for stay in stays(views, sandbox))
    traits = (traits_of(stay.network) for stay in there)
    return any(each.has_parent_alone and each.parent == CARD for each in traits)


def _own_gateway(member: _Member, host: str) -> Iterator[Expectation]:
    for pool in member.network.pools:
        if pool.gateway and pool.subnet.family in member.families:
            question = (Spot(host, member.sandbox), pool.gateway, ICMP, 0)
            right = REACHED if member.host_is_in_it(pool.subnet.family) else STOPPED
            yield Expectation(question, right, f"the gateway of its own network {member.network.name}")
    for held in member.endpoint.addresses:
        right = REACHED if member.host_is_in_it(family_of(held.address)) else STOPPED
        yield Expectation((Spot(host), held.address, ICMP, 0), right, f"a container in {member.network.name}")


def _ports(views: Views, member: _Member, stranger: Spot, host_addresses: list[bytes]) -> Iterator[Expectation]:
    for port in views.ports_of(member.endpoint.endpoint):
        bound = port.event
        if not views.is_published(member.endpoint.endpoint, family_of(bound.host_address)) or any(bound.host_address):
            continue
        for address in host_addresses:
            if len(address) == len(bound.host_address):
                question = (stranger, address, bound.protocol, bound.host_port)
                right = REACHED if member.host_is_in_it(family_of(address)) else STOPPED
                yield Expectation(question, right, f"published at position {port.position}")


def _way_out(
    views: Views, member: _Member, networks: list[NetworkCreated], host: str, outside: list[bytes]
) -> Iterator[Expectation]:
    """Whatever has a way out reaches a machine outside; its answer comes back where the host gives its own address."""
    for address in outside:
        family = family_of(address)
        gateway = views.gateway(member.sandbox, family)
        question = (Spot(host, member.sandbox), address, ICMP, 0)
        if gateway == member.endpoint.endpoint and not member.host_is_in_it(family):
            yield Expectation(question, STOPPED, f"nobody has the gateway's address in {member.network.name}")
        elif gateway == member.endpoint.endpoint:
            is_routed = member.mode(family) is GatewayMode.ROUTED or not member.network.options[MASQUERADE]
            is_hidden = not is_routed and not member.network.options[SOURCES[family]]
            how = "routes" if is_routed else f"masquerades as {member.network.options[SOURCES[family]] or 'the host'}"
            yield Expectation(question, REACHED if is_hidden else UNANSWERED, f"{member.network.name} {how}")
        elif all(network.internal for network in networks):
            yield Expectation(question, STOPPED, "all of its networks are internal")


def _neighbours(
    views: Views, one: _Member, other: _Member, networks_of: dict[SandboxId, list[NetworkCreated]], host: str
) -> Iterator[Expectation]:
    if one.sandbox == other.sandbox:
        return
    names = {network.network for network in networks_of[one.sandbox]}
    for held in other.endpoint.addresses:
        family = family_of(held.address)
        if family not in one.families:
            continue
        question = (Spot(host, one.sandbox), held.address, ICMP, 0)
        if one.network.network == other.network.network:
            may_talk = bool(one.network.options[ICC])
            because = f"both are in {one.network.name}" + ("" if may_talk else ", whose containers may not talk")
            yield Expectation(question, REACHED if may_talk else STOPPED, because)
        elif names.isdisjoint(network.network for network in networks_of[other.sandbox]):
            if _is_led_out_as_the_host(views, one.sandbox, family):
                continue
            yield from _strangers(views, one, other, family, question)


def _is_led_out_as_the_host(views: Views, sandbox: SandboxId, family: int) -> bool:
    """Whether the host sends on what leaves a sandbox as if it were its own (ipvlan's modes l3 and l3s).

    Then its firewall does not keep it from the host's other networks: it asks about what is forwarded. IPv4 leaves by
    the parent, and IPv6 gets there.
    """
    gateway = views.gateway(sandbox, family)
    joined = views.joined(gateway) if gateway else None
    network = views.network(joined.event.network) if joined else None
    return network is not None and str(network.event.options.get("ipvlan_mode", "l2")) != "l2"


def _strangers(views: Views, one: _Member, other: _Member, family: int, question: Question) -> Iterator[Expectation]:
    """Those who share no network: the one's packet is let in or not, where both meet the outside by these networks."""
    if not other.let_in(family):
        because = f"no network of the one's is one of the other's, {other.network.name}"
        yield Expectation(question, STOPPED, because)
        return
    ways = [member.endpoint.endpoint == views.gateway(member.sandbox, family) for member in (one, other)]
    if all(ways) and one.host_is_in_it(family) and other.host_is_in_it(family):
        yield Expectation(question, REACHED, f"{other.network.name} is {other.mode(family)}")
