"""The gateway bridge: a network that leads a sandbox out whose other networks do not (libnetwork's docker_gwbridge).

Keeps: a sandbox has an endpoint in it only while it has other interfaces and none of its networks is internal or leads
out; it gets one when an endpoint joins or leaves. A join is refused where none can be had, a leave never is.
The network is made when it is first needed and stays; the endpoint is made and deleted as events of whatever changed
the need. A network that users made before, of that name, is used as it is.
Knows nothing of: kernels. Source: moby, daemon/libnetwork/default_gateway.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from .commands import CreateNetwork
from .decision import Context, Decision, Guard
from .drivers import traits_of
from .errors import Conflict, Refusal
from .events import (
    EndpointCreated,
    EndpointJoined,
    EndpointLeft,
    Event,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
    device_tag,
)
from .gateways import GATEWAY_NETWORK, Stay, stays
from .interfaces import choose_interface, device_name
from .ipam import Taken, choose_address
from .ipam.endpoints import OURS, Addresses
from .leaving import forget
from .room import check_has_room
from .values import EndpointId, NetworkId, SandboxId, mac_for
from .view import View

PREFIX = "gateway_"
ICC = "com.docker.network.bridge.enable_icc"
ASKED = "lead a sandbox out"


class Change(NamedTuple):
    """What a change in a sandbox means for its endpoint in the gateway bridge."""

    events: tuple[Event, ...] = ()
    guards: tuple[Guard, ...] = ()
    joining: tuple[Stay, ...] = ()
    leaving: frozenset[EndpointId] = frozenset()
    no_way_out: str = ""
    """Why none enters although one is needed."""


def settle(  # what changes, and the rule by which a network is created
    view: View,
    sandbox: SandboxId,
    context: Context,
    create_network: Callable[[View, CreateNetwork, Context], Decision] | None,
    *,
    joining: Sequence[Stay] = (),
    leaving: Container[EndpointId] = (),
) -> Change:
    """Decide what becomes of a sandbox's endpoint in the gateway bridge when others have joined or left.

    Without `create_network`, which is when many sandboxes are changed at once, none enters: one that needs to does when
    something joins or leaves it again.
    """
    there = [*stays(view, sandbox, leaving), *joining]
    others = [stay for stay in there if not is_of_bridge(stay)]
    mine = [stay for stay in there if is_of_bridge(stay)]
    if is_needed(others) and not mine:
        if create_network is None:
            return Change()
        return _enter(view, sandbox, context, create_network, there)
    if mine and not is_needed(others):
        gone = frozenset(stay.endpoint.endpoint for stay in mine)
        return Change(tuple(event for stay in mine for event in _leave(view, stay, context)), leaving=gone)
    return Change()


def settle_leaving(
    view: View,
    joined: EndpointJoined,
    context: Context,
    create_network: Callable[[View, CreateNetwork, Context], Decision],
) -> Change:
    """Decide the same for one endpoint that leaves; nothing for one of the gateway bridge itself.

    Nobody is kept from leaving because the gateway bridge cannot be had: the sandbox goes without, and gets it with the
    next join or leave that finds room.
    """
    network = view.network(joined.network)
    assert network is not None, "an endpoint's network is there"
    if network.event.name == GATEWAY_NETWORK:
        return Change()
    try:
        return settle(view, joined.sandbox, context, create_network, leaving=(joined.endpoint,))
    except Refusal as refusal:
        return Change(no_way_out=str(refusal))


def is_needed(others: Sequence[Stay]) -> bool:
    """Whether a sandbox with these other endpoints needs the gateway bridge."""
    wired = [stay for stay in others if traits_of(stay.network).has_interfaces]
    if not wired or any(stay.network.internal for stay in wired):
        return False
    return not any(stay.leads_out(family) for stay in wired for family in (4, 6))


def is_of_bridge(stay: Stay) -> bool:
    """Whether it is an endpoint in the gateway bridge that we made."""
    return stay.is_of_gateway_network and stay.endpoint.name.startswith(PREFIX)


def _enter(
    view: View,
    sandbox: SandboxId,
    context: Context,
    create_network: Callable[[View, CreateNetwork, Context], Decision],
    there: Sequence[Stay],
) -> Change:
    origin = context.origin
    known = view.network_named(origin.host, GATEWAY_NETWORK)
    record = view.network(known) if known is not None else None
    made = Decision(())
    if record is None:
        identity = NetworkId(_identity(view, sandbox, "network"))
        made = create_network(view, CreateNetwork(identity, GATEWAY_NETWORK, options={ICC: False}), context)
    else:
        _check_may_enter(view, record)
    network = record.event if record is not None else _network_in(made.events)
    addresses = _addresses(view, network, context, is_new=record is None)
    endpoint = _endpoint(view, sandbox, network, addresses, context)
    taken = addresses.events(origin, endpoint.endpoint)
    joined = EndpointJoined(
        *origin,
        endpoint=endpoint.endpoint,
        network=network.network,
        sandbox=sandbox,
        device=device_name(context.instance, endpoint.endpoint, view.position),
        interface=choose_interface({stay.joined.interface: view.position for stay in there}, "", "eth", ASKED),
        priority=0,
    )
    guards = [
        *made.guards,
        Guard((f"network:{network.network}",), (NetworkDeleted, EndpointCreated)),
        Guard((device_tag(origin.host, joined.device),), (NetworkCreated, EndpointJoined)),
        *addresses.guards,
    ]
    stay = Stay(joined, endpoint, network)
    return Change((*made.events, *taken, endpoint, joined), tuple(guards), (stay,))


def _check_may_enter(view: View, network: Recorded[NetworkCreated]) -> None:
    """Refuse a network that users made which has no room left, or whose addresses are not ours to choose."""
    driver = network.event.ipam_driver
    if driver not in OURS:
        raise Conflict(
            ASKED,
            f"IPAM driver {driver!r}, which is not asked here, gives the addresses of network {network.event.name}",
            "delete that network, and one is made; or let the sandbox join one that leads out first",
            position=network.position,
        )
    check_has_room(view, network, ASKED)


def _leave(view: View, stay: Stay, context: Context) -> list[Event]:
    joined = stay.joined
    left = EndpointLeft(
        *context.origin,
        endpoint=joined.endpoint,
        network=joined.network,
        sandbox=joined.sandbox,
        device=joined.device,
        cause="the sandbox needs no gateway bridge any more",
    )
    return [left, *forget(view, joined.endpoint, context.origin, forced=False)]


def _network_in(events: Sequence[Event]) -> NetworkCreated:
    return next(event for event in events if isinstance(event, NetworkCreated))


def _addresses(view: View, network: NetworkCreated, context: Context, *, is_new: bool) -> Addresses:
    """Choose an address of each family; in a network that is not there yet the first beside the gateway's."""
    if is_new:
        firsts = [(pool, pool.subnet.at(1 if pool.subnet.at(1) != pool.gateway else 2)) for pool in network.pools]
        return Addresses(tuple(Taken(pool.pool, pool.subnet, first, "netledger") for pool, first in firsts), {})
    pools = [pool.pool for pool in network.pools]
    chosen = [
        choose_address(view, pools, None, family, ASKED, now=context.origin.at) for family in sorted(network.families)
    ]
    return Addresses(tuple(chosen), {})


def _endpoint(
    view: View,
    sandbox: SandboxId,
    network: NetworkCreated,
    addresses: Addresses,
    context: Context,
) -> EndpointCreated:
    record = view.sandbox(sandbox)
    assert record is not None, "a sandbox that an endpoint joins is there"
    identity = EndpointId(_identity(view, sandbox, "endpoint"))
    return EndpointCreated(
        *context.origin,
        endpoint=identity,
        network=network.network,
        name=f"{PREFIX}{record.event.container[:12]}_{sandbox[:12]}",
        mac=mac_for(identity),
        addresses=addresses.held,
        labels={},
    )


def _identity(view: View, sandbox: SandboxId, what: str) -> str:
    """Make an id out of what is unlike anything before: a sandbox's id, and where the log ends."""
    return hashlib.sha256(f"gateway bridge/{what}/{sandbox}/{view.position}".encode()).hexdigest()
