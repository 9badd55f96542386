"""Gateways: which endpoint is a sandbox's way out, for each address family.

Keeps: at most one for a family; its ports are the ones that are published. The order is moby's (network.go,
endpoint.Less): higher priority, then more families with a gateway, then the network's name. An internal network is no
way out. Knows nothing of: routes, kernels.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from .events import EndpointJoined, Event, GatewayElected, NetworkCreated, Origin, PortsProgrammed, PortsRevoked
from .values import EndpointId, SandboxId, family_of
from .view import View


class _Candidate(NamedTuple):
    """Sorts before those that it is preferred to."""

    demerit: int
    families_missing: int
    network: str
    endpoint: EndpointId


def elect(
    view: View,
    sandbox: SandboxId,
    origin: Origin,
    *,
    joining: EndpointJoined | None = None,
    leaving: EndpointId | None = None,
    excluded: Container[EndpointId] = (),
) -> list[Event]:
    """Decide which endpoints are the ways out once one has joined or left; only what changes is an event."""
    events: list[Event] = []
    for family in (4, 6):
        before = view.gateway(sandbox, family)
        if leaving is not None and before != leaving:
            continue
        candidates = _candidates(view, sandbox, family, joining, leaving, excluded)
        if not candidates or candidates[0].endpoint == before:
            continue
        best = candidates[0].endpoint
        if before is not None and before != leaving and view.is_published(before, family):
            events.append(PortsRevoked(*origin, endpoint=before, sandbox=sandbox, family=family))
        why = _why(candidates)
        events.append(GatewayElected(*origin, sandbox=sandbox, family=family, endpoint=best, why=why))
        if any(family_of(port.event.host_address) == family for port in view.ports_of(best)):
            events.append(PortsProgrammed(*origin, endpoint=best, sandbox=sandbox, family=family))
    return events


def _candidates(
    view: View,
    sandbox: SandboxId,
    family: int,
    joining: EndpointJoined | None,
    leaving: EndpointId | None,
    excluded: Container[EndpointId],
) -> list[_Candidate]:
    joins = [joining] if joining is not None else []
    for endpoint in view.joined_to(sandbox):
        joined = view.joined(endpoint)
        assert joined is not None, "an endpoint in a sandbox has joined it"
        if endpoint != leaving and endpoint not in excluded:
            joins.append(joined.event)
    candidates = []
    for join in joins:
        network = view.network(join.network)
        assert network is not None, "an endpoint's network is there"
        if _is_way_out(network.event, family):
            missing = 2 - len(network.event.families)
            candidates.append(_Candidate(-join.priority, missing, network.event.name, join.endpoint))
    return sorted(candidates)


def _is_way_out(network: NetworkCreated, family: int) -> bool:
    return not network.internal and any(pool.gateway and pool.subnet.family == family for pool in network.pools)


def _why(candidates: list[_Candidate]) -> str:
    first = candidates[0]
    if len(candidates) == 1:
        return f"the only way out, by network {first.network}"
    second = candidates[1]
    if first.demerit != second.demerit:
        return f"priority {-first.demerit} over {-second.demerit} of network {second.network}"
    if first.families_missing != second.families_missing:
        return f"gateways of both families over one of network {second.network}"
    return f"network {first.network} sorts before {second.network}"
