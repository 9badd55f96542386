"""Joining: an endpoint is put into a sandbox, and leaves it again.

Keeps: an endpoint is in one sandbox at most; in a sandbox an interface's name and a route's destination are there once.
Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from .commands import JoinEndpoint, LeaveEndpoint
from .decision import Context, Decision, Guard
from .drivers import traits_of
from .endpoint_options import INTERFACE
from .endpoints import find_endpoint
from .errors import Conflict, Invalid, NotFound
from .events import (
    EndpointCreated,
    EndpointJoined,
    NetworkCreated,
    Recorded,
    SandboxCreated,
    StaticRoute,
    device_tag,
)
from .features import check_feature
from .gateway_bridge import settle, settle_leaving
from .gateways import Stay, elect
from .interfaces import choose_interface, device_name
from .leaving import leave_events
from .networks import create_network
from .values import (
    PRIORITY_LIMIT,
    Position,
    SandboxId,
    SandboxKind,
    Subnet,
    check_address,
    check_subnet,
    format_address,
    subnet_of,
)
from .view import View, name_of


def join_endpoint(view: View, command: JoinEndpoint, context: Context) -> Decision:
    """Decide to put an endpoint into a sandbox: the interfaces' names, and whether it is a way out."""
    asked = f"join endpoint {command.endpoint[:12]} to sandbox {command.sandbox[:12]}"
    endpoint = find_endpoint(view, command.endpoint, asked)
    sandbox = view.sandbox(command.sandbox)
    if sandbox is None:
        raise NotFound(asked, f"there is no sandbox {command.sandbox[:12]}", "see `netledger sandbox ls`")
    asked = f"join endpoint {endpoint.event.name} to container {sandbox.event.container}"
    joined = view.joined(command.endpoint)
    if joined is not None:
        raise Conflict(
            asked,
            f"it is in {name_of(view, ('sandbox', joined.event.sandbox))} already",
            "let it leave that one first",
            position=joined.position,
        )
    if not -PRIORITY_LIMIT - 1 <= command.priority <= PRIORITY_LIMIT:
        raise Invalid(asked, f"priority {command.priority} is not one from {-PRIORITY_LIMIT - 1} to {PRIORITY_LIMIT}")
    network = view.network(endpoint.event.network)
    assert network is not None, "an endpoint's network is there"
    traits = traits_of(network.event)
    _check_places(network.event, sandbox, asked)
    device = interface = ""
    if traits.has_interfaces:
        device = device_name(context.instance, command.endpoint, view.position)
        wanted = command.interface or str(endpoint.event.options.get(INTERFACE, ""))
        interface = choose_interface(_interfaces(view, command.sandbox), wanted, traits.interface_prefix, asked)
    event = EndpointJoined(
        *context.origin,
        endpoint=command.endpoint,
        network=endpoint.event.network,
        sandbox=command.sandbox,
        device=device,
        interface=interface,
        priority=command.priority,
        routes=_routes(view, command, endpoint.event, interface, context, asked),
    )
    stay = Stay(event, endpoint.event, network.event)
    change = settle(view, command.sandbox, context, create_network, joining=(stay,))
    elected = elect(view, command.sandbox, context.origin, joining=(stay, *change.joining), excluded=change.leaving)
    guards = [Guard((f"endpoint:{command.endpoint}",)), Guard((f"sandbox:{command.sandbox}",)), *change.guards]
    if device:
        guards.append(Guard((device_tag(context.origin.host, device),), (NetworkCreated, EndpointJoined)))
    return Decision((event, *change.events, *elected), tuple(guards))


def leave_endpoint(view: View, command: LeaveEndpoint, context: Context) -> Decision:
    """Decide to take an endpoint out of its sandbox."""
    endpoint = find_endpoint(view, command.endpoint, f"leave with endpoint {command.endpoint[:12]}")
    joined = view.joined(command.endpoint)
    if joined is None:
        raise Conflict(
            f"leave with endpoint {endpoint.event.name}",
            "it is in no sandbox",
            "join it to a sandbox first",
            position=endpoint.position,
        )
    change = settle_leaving(view, joined.event, context, create_network)
    events = leave_events(
        view,
        command.endpoint,
        context.origin,
        cause="",
        leaving=change.leaving,
        also=change.events,
        joining=change.joining,
        no_way_out=change.no_way_out,
    )
    guards = (Guard((f"endpoint:{command.endpoint}",)), Guard((f"sandbox:{joined.event.sandbox}",)), *change.guards)
    return Decision(tuple(events), guards)


def _check_places(network: NetworkCreated, sandbox: Recorded[SandboxCreated], asked: str) -> None:
    """Refuse to put what is of the host's own namespace anywhere else, or anything else there."""
    is_host = traits_of(network).is_host
    if is_host != (sandbox.event.kind is SandboxKind.HOST):
        raise Invalid(
            asked,
            f"network {network.name} is {'' if is_host else 'not '}the host's own and the sandbox is "
            f"a {sandbox.event.kind} one",
            "put endpoints of a host network, and no others, into sandboxes of kind host",
        )


def _routes(
    view: View, command: JoinEndpoint, endpoint: EndpointCreated, interface: str, context: Context, asked: str
) -> tuple[StaticRoute, ...]:
    """Check the static routes of an endpoint's interface."""
    if not command.routes:
        return ()
    check_feature(context, "static routes", asked)
    if not interface:
        raise Invalid(asked, "it has routes, and no interface for them", "leave them out")
    blocks = [subnet_of(held.address, held.prefix) for held in endpoint.addresses]
    held = {
        route.destination: record.position
        for other in view.joined_to(command.sandbox)
        if (record := view.joined(other)) is not None
        for route in record.event.routes
    }
    seen: set[Subnet] = set()
    for route in command.routes:
        _check_route(route, blocks, asked)
        if route.destination in held or route.destination in seen:
            raise Conflict(
                asked,
                f"the sandbox has a route to {route.destination} already",
                "leave it out",
                position=held.get(route.destination),
            )
        seen.add(route.destination)
    return tuple(command.routes)


def _check_route(route: StaticRoute, blocks: Sequence[Subnet], asked: str) -> None:
    check_subnet(asked, route.destination)
    if route.destination.prefix == 0:
        raise Invalid(asked, f"{route.destination} is every address", "use the priority to make it the way out")
    if not any(block.family == route.destination.family for block in blocks):
        raise Invalid(asked, f"the endpoint has no address of the family of {route.destination}", "leave the route out")
    if route.gateway and not any(route.gateway in block for block in blocks):
        raise Invalid(
            asked,
            f"gateway {format_address(check_address(asked, route.gateway))} of {route.destination} is in none of the "
            "endpoint's subnets",
            f"they are: {', '.join(map(str, blocks))}",
        )
    if route.gateway and len(route.gateway) != len(route.destination.address):
        raise Invalid(asked, f"{route} leads from one address family to the other", "take a gateway of the same")


def _interfaces(view: View, sandbox: SandboxId) -> dict[str, Position]:
    """List the interfaces in a sandbox, with the positions of their joins."""
    names = {}
    for endpoint in view.joined_to(sandbox):
        joined = view.joined(endpoint)
        assert joined is not None, "an endpoint in a sandbox has joined it"
        names[joined.event.interface] = joined.position
    return names
