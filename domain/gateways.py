"""Gateways: which endpoint is a sandbox's way out, for each address family.

Keeps: at most one for a family; its ports are the ones that are published. The order is moby's (network.go,
endpoint.Less): higher priority, then any network but the gateway bridge's, then more families with a gateway, then the
network's name. An internal network is no way out. Knows nothing of: routes, kernels.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from .drivers import traits_of
from .events import (
    EndpointCreated,
    EndpointJoined,
    Event,
    GatewayElected,
    NetworkCreated,
    Origin,
    PortsProgrammed,
    PortsRevoked,
)
from .values import EndpointId, SandboxId, family_of
from .view import View

GATEWAY_NETWORK = "docker_gwbridge"
"""libnetwork's name of the network that leads out where no other does."""


class Stay(NamedTuple):
    """An endpoint in a sandbox: how it joined, and what it is."""

    joined: EndpointJoined
    endpoint: EndpointCreated
    network: NetworkCreated

    @property
    def is_of_gateway_network(self) -> bool:
        return self.network.name == GATEWAY_NETWORK

    def leads_out(self, family: int) -> bool:
        """Whether it is a way out for an address family: by a gateway of its subnet, or by its link itself."""
        if self.network.internal:
            return False
        mine = {held.pool for held in self.endpoint.addresses if family_of(held.address) == family}
        if traits_of(self.network).leads_out_by_link:
            return bool(mine)
        return any(pool.gateway for pool in self.network.pools if pool.pool in mine)


class _Candidate(NamedTuple):
    """Sorts before those that it is preferred to."""

    demerit: int
    is_of_gateway_network: bool
    families_missing: int
    network: str
    endpoint: EndpointId


def stays(view: View, sandbox: SandboxId, without: Container[EndpointId] = ()) -> list[Stay]:
    """List the endpoints in a sandbox, in the order in which they joined."""
    found = []
    for identity in view.joined_to(sandbox):
        joined, endpoint = view.joined(identity), view.endpoint(identity)
        assert joined is not None, "an endpoint in a sandbox has joined it"
        assert endpoint is not None, "a joined endpoint is there"
        network = view.network(joined.event.network)
        assert network is not None, "an endpoint's network is there"
        if identity not in without:
            found.append(Stay(joined.event, endpoint.event, network.event))
    return found


def elect(
    view: View,
    sandbox: SandboxId,
    origin: Origin,
    *,
    joining: Sequence[Stay] = (),
    leaving: EndpointId | None = None,
    excluded: Container[EndpointId] = (),
) -> list[Event]:
    """Decide which endpoints are the ways out once some have joined or one has left; only what changes is an event.

    `excluded` are others that leave with it: they are no successors, and nothing needs to be revoked from them.
    """
    events: list[Event] = []
    there = [*(stay for stay in stays(view, sandbox, excluded) if stay.joined.endpoint != leaving), *joining]
    for family in (4, 6):
        before = view.gateway(sandbox, family)
        if leaving is not None and before not in (leaving, None):
            continue
        candidates = _candidates(there, family)
        if not candidates or candidates[0].endpoint == before:
            continue
        best = candidates[0].endpoint
        is_there = before is not None and before != leaving and before not in excluded
        if before is not None and is_there and view.is_published(before, family):
            events.append(PortsRevoked(*origin, endpoint=before, sandbox=sandbox, family=family))
        why = _why(candidates)
        events.append(GatewayElected(*origin, sandbox=sandbox, family=family, endpoint=best, why=why))
        if any(family_of(port.event.host_address) == family for port in view.ports_of(best)):
            events.append(PortsProgrammed(*origin, endpoint=best, sandbox=sandbox, family=family))
    return events


def _candidates(there: Iterable[Stay], family: int) -> list[_Candidate]:
    return sorted(
        _Candidate(
            -stay.joined.priority,
            stay.is_of_gateway_network,
            2 - sum(stay.leads_out(each) for each in (4, 6)),
            stay.network.name,
            stay.joined.endpoint,
        )
        for stay in there
        if stay.leads_out(family)
    )


def _why(candidates: list[_Candidate]) -> str:
    first = candidates[0]
    if len(candidates) == 1:
        return f"the only way out, by network {first.network}"
    second = candidates[1]
    if first.demerit != second.demerit:
        return f"priority {-first.demerit} over {-second.demerit} of network {second.network}"
    if first.is_of_gateway_network != second.is_of_gateway_network:
        return f"network {second.network} is only for sandboxes without another way out"
    if first.families_missing != second.families_missing:
        return f"gateways of both families over one of network {second.network}"
    return f"network {first.network} sorts before {second.network}"
