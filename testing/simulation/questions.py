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
from ...domain.events import EndpointCreated, NetworkCreated
from ...domain.values import SandboxId, SandboxKind, family_of
from ...projections.views import Views

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


class Expectation(NamedTuple):
    """A question, the verdicts that are right, and why."""

    question: Question
    right: frozenset[Verdict]
    because: str


REACHED = frozenset({Verdict.REACHED})
UNANSWERED = frozenset({Verdict.UNANSWERED})
STOPPED = frozenset(Verdict) - {Verdict.REACHED, Verdict.REFUSED, Verdict.UNANSWERED}
"""It never arrived."""


class _Member(NamedTuple):
    sandbox: SandboxId
    network: NetworkCreated
    endpoint: EndpointCreated


def expectations(views: Views, host: str, stranger: Spot, fabric: Fabric) -> Iterator[Expectation]:
    """List what must hold of one host; `stranger` is a machine on the underlay that is none of its containers."""
    members = list(_members(views))
    card = [address for address, _ in fabric.hosts[host].own.devices[CARD].addresses]
    networks_of: dict[SandboxId, list[NetworkCreated]] = {}
    for member in members:
        networks_of.setdefault(member.sandbox, []).append(member.network)
    for member in members:
        yield from _own_gateway(member, host)
        yield from _ports(views, member, stranger, card)
        yield from _way_out(views, member, networks_of[member.sandbox], host, fabric.addresses_of(stranger))
    for one, other in permutations(members, 2):
        yield from _neighbours(one, other, networks_of, host)


def _members(views: Views) -> Iterator[_Member]:
    for joined in views.endpoints.joined.values():
        sandbox, network = views.sandbox(joined.event.sandbox), views.network(joined.event.network)
        endpoint = views.endpoint(joined.event.endpoint)
        assert sandbox is not None, "a joined endpoint's sandbox is there"
        assert network is not None, "a joined endpoint's network is there"
        assert endpoint is not None, "a joined endpoint is there"
        if sandbox.event.kind is not SandboxKind.DELEGATED and network.event.driver == "bridge":
            yield _Member(joined.event.sandbox, network.event, endpoint.event)


def _own_gateway(member: _Member, host: str) -> Iterator[Expectation]:
    for pool in member.network.pools:
        question = (Spot(host, member.sandbox), pool.gateway, ICMP, 0)
        yield Expectation(question, REACHED, f"the gateway of its own network {member.network.name}")
    for held in member.endpoint.addresses:
        yield Expectation((Spot(host), held.address, ICMP, 0), REACHED, "a container of the host's")


def _ports(views: Views, member: _Member, stranger: Spot, host_addresses: list[bytes]) -> Iterator[Expectation]:
    for port in views.ports_of(member.endpoint.endpoint):
        bound = port.event
        if not views.is_published(member.endpoint.endpoint, family_of(bound.host_address)) or any(bound.host_address):
            continue
        for address in host_addresses:
            if len(address) == len(bound.host_address):
                question = (stranger, address, bound.protocol, bound.host_port)
                yield Expectation(question, REACHED, f"published at position {port.position}")


def _way_out(
    views: Views, member: _Member, networks: list[NetworkCreated], host: str, outside: list[bytes]
) -> Iterator[Expectation]:
    """Whatever has a way out reaches a machine outside; its answer comes back where the host masquerades."""
    for address in outside:
        family = family_of(address)
        gateway = views.gateway(member.sandbox, family)
        question = (Spot(host, member.sandbox), address, ICMP, 0)
        if gateway == member.endpoint.endpoint:
            masquerades = bool(member.network.options[MASQUERADE])
            right = REACHED if masquerades else UNANSWERED
            yield Expectation(question, right, f"{member.network.name} {'masquerades' if masquerades else 'routes'}")
        elif all(network.internal for network in networks):
            yield Expectation(question, STOPPED, "all of its networks are internal")


def _neighbours(
    one: _Member, other: _Member, networks_of: dict[SandboxId, list[NetworkCreated]], host: str
) -> Iterator[Expectation]:
    if one.sandbox == other.sandbox:
        return
    names = {network.network for network in networks_of[one.sandbox]}
    if one.network.network == other.network.network:
        may_talk = bool(one.network.options[ICC])
        right, because = REACHED if may_talk else STOPPED, f"both are in {one.network.name}"
        because += "" if may_talk else ", whose containers may not talk"
    elif names.isdisjoint(network.network for network in networks_of[other.sandbox]):
        right, because = STOPPED, f"no network of the one's is one of the other's, {other.network.name}"
    else:
        return
    for held in other.endpoint.addresses:
        if family_of(held.address) in one.network.families:
            yield Expectation((Spot(host, one.sandbox), held.address, ICMP, 0), right, because)
