"""Published ports: which host port stands for which port of an endpoint.

Keeps: no host port is held twice at addresses that meet (an unspecified address meets every one of its family).
Knows nothing of: sockets. That another process holds a port comes in as an obstacle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from .decision import Context, Decision, Guard
from .drivers import driver_of, traits_of
from .errors import Conflict, Exhausted, Invalid, Unavailable
from .events import EndpointCreated, NetworkCreated, PortBound, PortOpened, port_tag
from .facts import CHOSEN_PORTS, NOBODY, RESERVED_PORTS
from .features import check_feature
from .objects import GatewayMode
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
"""libnetwork's range for host ports that nobody asked for, of a host that does not say which it takes itself."""

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
    """Decide on the ports of a new endpoint: those of the host asked for by number first, then ranges, then any.

    The same port at several host addresses gets one host port. In a family that is routed there is no host port: the
    endpoint's own is opened, whatever was asked for (moby's port mapper `routed`).
    """
    for request in requests:
        check_port(asked, request)
    if not requests:
        return Decision(())
    if len(requests) > PORTS_OF_AN_ENDPOINT:
        raise Invalid(asked, f"{len(requests)} ports; an endpoint publishes {PORTS_OF_AN_ENDPOINT} at most")
    _check_network(network, asked)
    check_feature(context, "published ports", asked)
    traits = traits_of(network)
    opened: dict[PortOpened, None] = {}
    groups: list[_Group] = []
    for request in sorted(requests, key=_order):
        hosts = []
        for host in _host_addresses(request, endpoint, network, asked):
            family = family_of(host)
            if traits.mode(family) is GatewayMode.ROUTED:
                own = _address(endpoint, family)
                opened[PortOpened(*context.origin, endpoint.endpoint, request.protocol, own, request.port)] = None
            else:
                hosts.append(_checked_loopback(host, request, network, context, asked))
        if hosts:
            _into_group(groups, request, hosts)
    taken: list[PortBound] = []
    for group in groups:
        taken += _bind(view, group, endpoint, taken, context, asked)
    tags = dict.fromkeys(port_tag(context.origin.host, port.protocol, port.host_port) for port in taken)
    return Decision((*taken, *opened), tuple(Guard((tag,), (PortBound,)) for tag in tags))


class _Group(NamedTuple):
    """A port that is published at several addresses of the host under one number."""

    request: PortRequest
    hosts: list[bytes]


def _order(request: PortRequest) -> tuple[bool, bool, int, int, int, int, bytes]:
    """Sort as moby does: exact host ports first, then ranges, then any; by port and protocol within each."""
    return (
        not request.is_exact,
        not request.host_port,
        request.port,
        request.protocol,
        request.host_port,
        request.host_port_end,
        request.host_address,
    )


def _into_group(groups: list[_Group], request: PortRequest, hosts: list[bytes]) -> None:
    """Put a request to the one before it that differs in nothing but the host address, if there is one."""
    before = groups[-1] if groups else None
    if (
        before is not None
        and structs.replace(request, host_address=b"") == structs.replace(before.request, host_address=b"")
        and not any(_meet(host, other) for host in hosts for other in before.hosts)
    ):
        before.hosts.extend(hosts)
    else:
        groups.append(_Group(request, hosts))


def _bind(
    view: View, group: _Group, endpoint: EndpointCreated, taken: Sequence[PortBound], context: Context, asked: str
) -> list[PortBound]:
    request, hosts = group
    chosen_from: tuple[int, ...] = ()
    if request.is_exact:
        host_port, decided_by = request.host_port, "caller"
        for host in hosts:
            _check_free(view, request, host, taken, context, asked)
    elif request.host_port:
        host_port, decided_by = _from_range(view, request, hosts, taken, context, asked), "netledger"
    else:
        host_port, decided_by = _ephemeral(view, request, hosts, taken, context, asked), "netledger"
        if _ephemeral_range(context) != (EPHEMERAL_FIRST, EPHEMERAL_LAST):
            chosen_from = _ephemeral_range(context)
    return [
        PortBound(
            *context.origin,
            endpoint=endpoint.endpoint,
            protocol=request.protocol,
            host_address=host,
            host_port=host_port,
            address=_address(endpoint, family_of(host)),
            port=request.port,
            decided_by=decided_by,
            chosen_from=chosen_from,
        )
        for host in hosts
    ]


def _check_network(network: NetworkCreated, asked: str) -> None:
    if network.internal:
        raise Invalid(asked, f"network {network.name} is internal: nothing outside reaches its ports", "publish none")
    if not traits_of(network).publishes:
        raise Invalid(
            asked,
            f"network {network.name} publishes no ports: its driver, {network.driver}, puts no host in between",
            "publish none; its endpoints are reached at their own addresses",
        )


def _host_addresses(
    request: PortRequest, endpoint: EndpointCreated, network: NetworkCreated, asked: str
) -> list[bytes]:
    """At which host addresses it is published: the one asked for, else all, in each family that the endpoint has."""
    families = list(dict.fromkeys(family_of(held.address) for held in endpoint.addresses))
    if request.host_address:
        family = family_of(request.host_address)
        if family not in families:
            raise Invalid(
                asked,
                f"port {request} is to be published at an IPv{family} address and the endpoint has none of IPv{family}",
                "leave the host address out",
            )
        return [request.host_address]
    binding = driver_of(network.driver).host_binding(network.options)
    if not any(binding):
        return [_UNSPECIFIED[family] for family in families]
    if 4 not in families:
        raise Invalid(
            asked,
            f"network {network.name} publishes ports at {format_host(binding)} and the endpoint has no IPv4 address",
            "name an IPv6 host address for the port",
        )
    return [binding]


def is_loopback(host: bytes) -> bool:
    """Whether an address is one of those at which only the host itself reaches anything."""
    return any(host in block for block in _LOOPBACKS)


def _checked_loopback(
    host: bytes, request: PortRequest, network: NetworkCreated, context: Context, asked: str
) -> bytes:
    if not is_loopback(host):
        return host
    feature = f"loopback ipv{family_of(host)}"
    if feature not in network.abilities:
        raise Unavailable(
            asked,
            f"port {request} is to be published at {format_address(host)}, and when network {network.name} was "
            f"created this host had no {feature!r}",
            "publish at another address, or at all of them; see `netledger doctor`",
        )
    if family_of(host) == 6 and context.host_ports.unreached6:
        raise Unavailable(
            asked,
            f"port {request} is to be published at {format_address(host)}, where this host reaches nothing: "
            f"{context.host_ports.unreached6}",
            "or publish at another address",
        )
    return host


def obstacle_key(host: HostId, protocol: int, host_address: bytes, host_port: int) -> str:
    """Under what it is known who else holds a port at one address of the host."""
    return f"{port_tag(host, protocol, host_port)}@{format_address(host_address)}"


def in_the_way(obstacle: str) -> tuple[str, str]:
    """Say what keeps us from a port of the host, and what to do: who holds it, or (`NOBODY`) why nobody can."""
    if not obstacle.startswith(NOBODY):
        return f"is held by {obstacle}", "free it, or choose another host port or address"
    because, _, remedy = obstacle.removeprefix(NOBODY).partition("; ")
    return f"cannot be had: {because}", remedy or "choose another host port or address"


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
        because, remedy = in_the_way(obstacle)
        raise Conflict(asked, f"port {name} {because}", remedy)


def _from_range(
    view: View, request: PortRequest, hosts: Sequence[bytes], taken: Sequence[PortBound], context: Context, asked: str
) -> int:
    """Choose the first free one of a range."""
    for port in range(request.host_port, request.host_port_end + 1):
        if _is_free(view, request, port, hosts, taken, context):
            return port
    raise Exhausted(
        asked,
        f"all {PROTOCOL_NAMES[request.protocol]} ports from {request.host_port} to {request.host_port_end} are taken",
        "ask for a larger range",
    )


def _ephemeral(
    view: View, request: PortRequest, hosts: Sequence[bytes], taken: Sequence[PortBound], context: Context, asked: str
) -> int:
    """Choose the next free one after the last that was chosen, wrapping, as libnetwork's port allocator does.

    One that the host reserves is passed over. A last one outside the host's range, which was another then, is none.
    """
    low, high = _ephemeral_range(context)
    mine = [port.host_port for port in taken if port.protocol == request.protocol]
    last_chosen = view.last_ephemeral_port(context.origin.host, request.protocol)
    last = max([port for port in mine if low <= port <= high] or [last_chosen])
    size = high - low + 1
    start = last + 1 - low if low <= last <= high else 0
    for step in range(size):
        port = low + (start + step) % size
        is_reserved = context.host_ports.reserves(port)
        if port not in mine and not is_reserved and _is_free(view, request, port, hosts, (), context):
            return port
    state = f"taken or reserved ({RESERVED_PORTS})" if context.host_ports.reserved else "taken"
    source, remedy = (f" ({CHOSEN_PORTS})", ", or widen it") if context.host_ports.chosen_from else ("", "")
    raise Exhausted(
        asked,
        f"all {size} {PROTOCOL_NAMES[request.protocol]} ports from {low} to {high}{source} are {state}",
        f"ask for a port outside that range{remedy}",
    )


def _ephemeral_range(context: Context) -> tuple[int, int]:
    return context.host_ports.chosen_from or (EPHEMERAL_FIRST, EPHEMERAL_LAST)


def _is_free(
    view: View,
    request: PortRequest,
    port: int,
    hosts: Sequence[bytes],
    taken: Sequence[PortBound],
    context: Context,
) -> bool:
    """Whether a port is free at all these addresses of the host."""
    host, protocol = context.origin.host, request.protocol
    if any(obstacle_key(host, protocol, at, port) in context.obstacles for at in hosts):
        return False
    held = [holder.event.host_address for holder in view.port_holders(host, protocol, port)]
    held += [mine.host_address for mine in taken if (mine.protocol, mine.host_port) == (protocol, port)]
    return not any(_meet(other, at) for other in held for at in hosts)
