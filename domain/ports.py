"""Published ports: which host port stands for which port of an endpoint.

Keeps: no host port is held twice at addresses that meet (an unspecified address meets every one of its family).
Knows nothing of: sockets. That another process holds a port comes in as an obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence

from .decision import Context, Decision, Guard
from .drivers import driver_of
from .errors import Conflict, Exhausted, Invalid, Unavailable, Unimplemented
from .events import EndpointCreated, NetworkCreated, PortBound, port_tag
from .values import (
    IPV4_BYTES,
    IPV6_BYTES,
    PROTOCOL_NAMES,
    HostId,
    PortRequest,
    check_port,
    family_of,
    format_address,
    format_host,
    parse_subnet,
)
from .view import View, name_of

EPHEMERAL_FIRST = 49153
EPHEMERAL_LAST = 65535
"""libnetwork's range for host ports that nobody asked for."""

PORTS_OF_AN_ENDPOINT = 1024

_LOOPBACKS = (parse_subnet("127.0.0.0/8"), parse_subnet("::1/128"))
_UNSPECIFIED = {4: bytes(IPV4_BYTES), 6: bytes(IPV6_BYTES)}


def bind_ports(
    view: View,
    requests: Sequence[PortRequest],
    endpoint: EndpointCreated,
    network: NetworkCreated,
    context: Context,
    asked: str,
) -> Decision:
    """Decide on the host ports of a new endpoint: those asked for by number first, then any free ones."""
    for request in requests:
        check_port(asked, request)
    if not requests:
        return Decision(())
    if network.internal:
        raise Invalid(asked, f"network {network.name} is internal: nothing outside reaches its ports", "publish none")
    reason = context.capabilities.lacks("published ports")
    if reason:
        raise Unavailable(asked, f"this host publishes no ports: {reason}", "publish none")
    if len(requests) > PORTS_OF_AN_ENDPOINT:
        raise Invalid(asked, f"{len(requests)} ports; an endpoint publishes {PORTS_OF_AN_ENDPOINT} at most")
    taken: list[PortBound] = []
    for request in sorted(requests, key=lambda request: request.host_port == 0):
        hosts = _host_addresses(request, endpoint, network, asked)
        if request.host_port:
            host_port, decided_by = request.host_port, "caller"
            for host in hosts:
                _check_free(view, request, host, taken, context, asked)
        else:
            host_port, decided_by = _ephemeral(view, request, hosts, taken, context, asked), "netledger"
        taken += [
            PortBound(
                *context.origin,
                endpoint=endpoint.endpoint,
                protocol=request.protocol,
                host_address=host,
                host_port=host_port,
                address=_address(endpoint, family_of(host)),
                port=request.port,
                decided_by=decided_by,
            )
            for host in hosts
        ]
    tags = dict.fromkeys(port_tag(context.origin.host, port.protocol, port.host_port) for port in taken)
    return Decision(tuple(taken), tuple(Guard((tag,), (PortBound,)) for tag in tags))


def _host_addresses(
    request: PortRequest, endpoint: EndpointCreated, network: NetworkCreated, asked: str
) -> list[bytes]:
    """At which host addresses it is published: the one asked for, else all, in each family that the endpoint has."""
    families = [family_of(held.address) for held in endpoint.addresses]
    if request.host_address:
        family = family_of(request.host_address)
        if family not in families:
            raise Invalid(
                asked,
                f"port {request} is to be published at an IPv{family} address and the endpoint has none of IPv{family}",
                "leave the host address out",
            )
        return [_not_loopback(request.host_address, request, asked)]
    binding = driver_of(network.driver).host_binding(network.options)
    if not any(binding):
        return [_UNSPECIFIED[family] for family in families]
    if 4 not in families:
        raise Invalid(
            asked,
            f"network {network.name} publishes ports at {format_host(binding)} and the endpoint has no IPv4 address",
            "name an IPv6 host address for the port",
        )
    return [_not_loopback(binding, request, asked)]


def _not_loopback(host: bytes, request: PortRequest, asked: str) -> bytes:
    if any(host in block for block in _LOOPBACKS):
        raise Unimplemented(
            asked,
            f"port {request} is to be published at {format_address(host)}, "
            "and published ports are not reached through the loopback yet",
            "publish at another address, or at all of them",
        )
    return host


def obstacle_key(host: HostId, protocol: int, host_address: bytes, host_port: int) -> str:
    """Under what it is known who else holds a port at one address of the host."""
    return f"{port_tag(host, protocol, host_port)}@{format_address(host_address)}"


def _address(endpoint: EndpointCreated, family: int) -> bytes:
    return next(held.address for held in endpoint.addresses if family_of(held.address) == family)


def _meet(one: bytes, other: bytes) -> bool:
    return len(one) == len(other) and (one == other or not any(one) or not any(other))


def _check_free(
    view: View, request: PortRequest, host: bytes, taken: Sequence[PortBound], context: Context, asked: str
) -> None:
    name = f"{format_host(host)}:{request.host_port}/{PROTOCOL_NAMES[request.protocol]}"
    for mine in taken:
        if (mine.protocol, mine.host_port) == (request.protocol, request.host_port) and _meet(mine.host_address, host):
            raise Conflict(asked, f"port {name} is asked for twice", "publish it once, or choose another host port")
    for holder in view.port_holders(context.origin.host, request.protocol, request.host_port):
        if _meet(holder.event.host_address, host):
            raise Conflict(
                asked,
                f"port {name} is published by {name_of(view, ('endpoint', holder.event.endpoint))}",
                "choose another host port, or delete that endpoint",
                position=holder.position,
            )
    obstacle = context.obstacles.get(obstacle_key(context.origin.host, request.protocol, host, request.host_port))
    if obstacle:
        raise Conflict(asked, f"port {name} is held by {obstacle}", "free it, or choose another host port or address")


def _ephemeral(
    view: View, request: PortRequest, hosts: Sequence[bytes], taken: Sequence[PortBound], context: Context, asked: str
) -> int:
    """Choose the next free one after the last that was chosen, wrapping, as libnetwork's port allocator does."""
    host = context.origin.host
    mine = [port.host_port for port in taken if port.protocol == request.protocol]
    last = max([port for port in mine if port >= EPHEMERAL_FIRST] or [view.last_ephemeral_port(host, request.protocol)])
    size = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1
    start = last + 1 - EPHEMERAL_FIRST if last >= EPHEMERAL_FIRST else 0
    for step in range(size):
        port = EPHEMERAL_FIRST + (start + step) % size
        if port in mine or any(obstacle_key(host, request.protocol, at, port) in context.obstacles for at in hosts):
            continue
        holders = view.port_holders(host, request.protocol, port)
        if not any(_meet(holder.event.host_address, address) for holder in holders for address in hosts):
            return port
    raise Exhausted(
        asked,
        f"all {size} {PROTOCOL_NAMES[request.protocol]} ports from {EPHEMERAL_FIRST} to {EPHEMERAL_LAST} are taken",
        "ask for a port outside that range",
    )
