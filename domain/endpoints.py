"""Endpoints: created in a network with addresses and ports, joined to a sandbox, and back.

Keeps: an endpoint's name and MAC address are held once in its network, it is in one sandbox at most, and it is not
deleted from a sandbox unless forced. Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Container

from .commands import AddAlias, CreateEndpoint, DeleteEndpoint, JoinEndpoint, LeaveEndpoint, RemoveAlias
from .decision import Context, Decision, Guard
from .drivers import driver_of
from .errors import Conflict, Exhausted, InUse, Invalid, NotFound
from .events import (
    AddressReservationMade,
    AliasAdded,
    AliasRemoved,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    Event,
    NetworkCreated,
    NetworkDeleted,
    Origin,
    PortReleased,
    Recorded,
    device_tag,
)
from .gateways import elect
from .ipam.endpoints import MAC_ATTEMPTS, Addresses, choose_addresses, free_mac, give_back, superseded_by
from .ports import bind_ports
from .values import (
    PRIORITY_LIMIT,
    EndpointId,
    Position,
    SandboxId,
    check_address,
    check_id,
    check_interface_name,
    check_labels,
    check_mac,
    check_name,
    format_mac,
)
from .view import View, name_of

DEVICE_PREFIX = "nl"
DEVICE_HASH_CHARACTERS = 11
INTERFACES_IN_A_SANDBOX = 1024


def create_endpoint(view: View, command: CreateEndpoint, context: Context) -> Decision:
    """Decide on an endpoint: its addresses, MAC address and host ports."""
    asked = f"create endpoint {command.name!r}"
    check_id("endpoint", command.endpoint)
    check_name("endpoint", command.name)
    check_mac(asked, command.mac)
    labels = check_labels(command.labels)
    for address in command.addresses:
        check_address(asked, address)
    network = view.network(command.network)
    if network is None:
        raise NotFound(asked, f"there is no network {command.network[:12]}", "see `netledger network ls`")
    origin = context.origin
    losers = superseded_by(view, command, network.event)
    _check_identity(view, command, network, losers, asked)
    addresses = choose_addresses(view, command, network.event, losers, context, asked)
    mac = _mac(view, command, network.event, addresses, asked)
    superseded = [
        event for endpoint, why in losers.items() for event in forget(view, endpoint, origin, forced=True, why=why)
    ]
    created = EndpointCreated(
        *origin,
        endpoint=command.endpoint,
        network=command.network,
        name=command.name,
        mac=mac,
        addresses=addresses.held,
        labels=labels,
    )
    if command.ports and not addresses.held:
        raise Invalid(asked, f"network {network.event.name} gives it no address to publish ports of", "publish none")
    ports = bind_ports(view, command.ports, created, network.event, context, asked)
    aliases = tuple(
        AliasAdded(*origin, endpoint=command.endpoint, network=command.network, alias=check_name("alias", alias))
        for alias in dict.fromkeys(command.aliases)
    )
    guards = (
        Guard((f"endpoint:{command.endpoint}",)),
        Guard((f"network:{command.network}",), (NetworkDeleted, EndpointCreated, AddressReservationMade)),
        *addresses.guards,
    )
    taken = addresses.events(origin, command.endpoint)
    return Decision((*superseded, *taken, created, *ports.events, *aliases), (*guards, *ports.guards))


def delete_endpoint(view: View, command: DeleteEndpoint, context: Context) -> Decision:
    """Decide to delete an endpoint and to give back what it holds; by force, even from its sandbox."""
    endpoint = find_endpoint(view, command.endpoint, f"delete endpoint {command.endpoint[:12]}")
    joined = view.joined(command.endpoint)
    if joined is not None and not command.force:
        raise InUse(
            f"delete endpoint {endpoint.event.name}",
            f"it is in {name_of(view, ('sandbox', joined.event.sandbox))}",
            "let it leave first, or force it",
            position=joined.position,
        )
    events: list[Event] = []
    if joined is not None:
        events += abandon(view, command.endpoint, context.origin, cause="endpoint deleted")
    events += forget(view, command.endpoint, context.origin, forced=joined is not None, keep=True)
    guards = [Guard((f"endpoint:{command.endpoint}",))]
    if any(isinstance(event, AddressReservationMade) for event in events):
        guards.append(Guard((f"network:{endpoint.event.network}",), (AddressReservationMade,)))
    if joined is not None:
        guards.append(Guard((f"sandbox:{joined.event.sandbox}",)))
    return Decision(tuple(events), tuple(guards))


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
    device = device_name(context.instance, command.endpoint, view.position)
    event = EndpointJoined(
        *context.origin,
        endpoint=command.endpoint,
        network=endpoint.event.network,
        sandbox=command.sandbox,
        device=device,
        interface=_interface(view, command, asked),
        priority=command.priority,
    )
    elected = elect(view, command.sandbox, context.origin, joining=event)
    guards = (
        Guard((f"endpoint:{command.endpoint}",)),
        Guard((f"sandbox:{command.sandbox}",)),
        Guard((device_tag(context.origin.host, device),), (NetworkCreated, EndpointJoined)),
    )
    return Decision((event, *elected), guards)


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
    events = leave_events(view, command.endpoint, context.origin, cause="")
    guards = (Guard((f"endpoint:{command.endpoint}",)), Guard((f"sandbox:{joined.event.sandbox}",)))
    return Decision(tuple(events), guards)


def add_alias(view: View, command: AddAlias, context: Context) -> Decision:
    """Decide to give an endpoint another name; several endpoints may share one."""
    asked = f"add alias {command.alias!r}"
    check_name("alias", command.alias)
    endpoint = find_endpoint(view, command.endpoint, asked)
    if command.alias in view.aliases_of(command.endpoint):
        raise Conflict(asked, f"endpoint {endpoint.event.name} has it already", position=endpoint.position)
    event = AliasAdded(*context.origin, endpoint=command.endpoint, network=endpoint.event.network, alias=command.alias)
    return Decision((event,), (Guard((f"endpoint:{command.endpoint}",)),))


def remove_alias(view: View, command: RemoveAlias, context: Context) -> Decision:
    """Decide to take one of its other names from an endpoint."""
    asked = f"remove alias {command.alias!r}"
    endpoint = find_endpoint(view, command.endpoint, asked)
    if command.alias not in view.aliases_of(command.endpoint):
        raise NotFound(asked, f"endpoint {endpoint.event.name} does not have it", position=endpoint.position)
    event = AliasRemoved(
        *context.origin, endpoint=command.endpoint, network=endpoint.event.network, alias=command.alias
    )
    return Decision((event,), (Guard((f"endpoint:{command.endpoint}",)),))


def find_endpoint(view: View, endpoint: EndpointId, asked: str) -> Recorded[EndpointCreated]:
    """Find an endpoint or refuse."""
    record = view.endpoint(endpoint)
    if record is None:
        raise NotFound(asked, f"there is no endpoint {endpoint[:12]}", "see `netledger endpoint ls`")
    return record


def leave_events(
    view: View, endpoint: EndpointId, origin: Origin, *, cause: str, leaving: Container[EndpointId] = ()
) -> list[Event]:
    """Take an endpoint out of its sandbox; `leaving` are others that leave with it and cannot be its successors."""
    joined = view.joined(endpoint)
    assert joined is not None, "only a joined endpoint leaves"
    left = EndpointLeft(
        *origin,
        endpoint=endpoint,
        network=joined.event.network,
        sandbox=joined.event.sandbox,
        device=joined.event.device,
        cause=cause,
    )
    return [left, *elect(view, joined.event.sandbox, origin, leaving=endpoint, excluded=leaving)]


def abandon(
    view: View, endpoint: EndpointId, origin: Origin, *, cause: str, leaving: Container[EndpointId] = ()
) -> list[Event]:
    """Take an endpoint out of its sandbox by force, if it is in one."""
    joined = view.joined(endpoint)
    if joined is None:
        return []
    gone = EndpointAbandoned(
        *origin,
        endpoint=endpoint,
        network=joined.event.network,
        sandbox=joined.event.sandbox,
        device=joined.event.device,
        cause=cause,
        evidence="forced by the caller",
    )
    return [gone, *elect(view, joined.event.sandbox, origin, leaving=endpoint, excluded=leaving)]


def forget(
    view: View, endpoint: EndpointId, origin: Origin, *, forced: bool, keep: bool = False, why: str = ""
) -> list[Event]:
    """Give back all that an endpoint holds and end it; `keep`: a sticky pool keeps its address for its name."""
    record = view.endpoint(endpoint)
    assert record is not None, "only an endpoint that is there is deleted"
    events: list[Event] = [
        PortReleased(
            *origin,
            endpoint=endpoint,
            protocol=port.event.protocol,
            host_address=port.event.host_address,
            host_port=port.event.host_port,
        )
        for port in view.ports_of(endpoint)
    ]
    events += give_back(view, record.event, origin, keep=keep, why=why)
    events.append(
        EndpointDeleted(
            *origin,
            endpoint=endpoint,
            network=record.event.network,
            name=record.event.name,
            mac=record.event.mac,
            forced=forced,
        )
    )
    return events


def device_name(instance: str, endpoint: EndpointId, position: Position) -> str:
    """Name the host end: a hash of ledger, endpoint and where the log ends, so that no two joins use one name."""
    digest = hashlib.sha256(f"{instance}/{endpoint}/{position}".encode()).digest()[:10]  # 16 characters in base 32
    return DEVICE_PREFIX + base64.b32encode(digest).decode().lower()[:DEVICE_HASH_CHARACTERS]


def _check_identity(
    view: View,
    command: CreateEndpoint,
    network: Recorded[NetworkCreated],
    losers: Collection[EndpointId],
    asked: str,
) -> None:
    existing = view.endpoint(command.endpoint)
    if existing is not None:
        raise Conflict(
            asked, f"id {command.endpoint[:12]} is endpoint {existing.event.name}", position=existing.position
        )
    holder = view.endpoint_named(command.network, command.name)
    if holder is not None and holder not in losers:
        record = view.endpoint(holder)
        assert record is not None, "an endpoint's name leads to an endpoint"
        raise Conflict(
            asked,
            f"endpoint with name {command.name} already exists in network {network.event.name}",
            "choose another name, or delete that one first",
            position=record.position,
        )
    limit = driver_of(network.event.driver).endpoint_limit
    if len(view.endpoints_of(command.network)) - len(losers) >= limit:
        raise Exhausted(
            asked,
            f"network {network.event.name} has {limit} endpoints, as many as a Linux bridge has ports",
            "create another network and put it there",
            position=network.position,
        )


def _mac(view: View, command: CreateEndpoint, network: NetworkCreated, addresses: Addresses, asked: str) -> bytes:
    if command.mac:
        holder = view.mac_holder(command.network, command.mac)
        if holder is not None and holder not in addresses.superseded:
            record = view.endpoint(holder)
            assert record is not None, "a MAC address leads to an endpoint"
            raise Conflict(
                asked,
                f"MAC address {format_mac(command.mac)} is that of endpoint {record.event.name}",
                "choose another, or leave it out",
                position=record.position,
            )
        return command.mac
    mac = free_mac(view, command.endpoint, network, addresses)
    if mac is None:
        raise Exhausted(asked, f"no free MAC address was found in {MAC_ATTEMPTS} attempts", "give one")
    return mac


def _interface(view: View, command: JoinEndpoint, asked: str) -> str:
    taken = _interfaces(view, command.sandbox)
    if command.interface:
        check_interface_name(command.interface)
        if command.interface in taken or command.interface == "lo":
            raise Conflict(
                asked,
                f"interface {command.interface} is taken in that sandbox",
                "choose another name",
                position=taken.get(command.interface),
            )
        return command.interface
    for number in range(INTERFACES_IN_A_SANDBOX):
        if f"eth{number}" not in taken:
            return f"eth{number}"
    raise Exhausted(asked, f"the sandbox has {INTERFACES_IN_A_SANDBOX} interfaces", "use another sandbox")


def _interfaces(view: View, sandbox: SandboxId) -> dict[str, Position]:
    """List the interfaces in a sandbox, with the positions of their joins."""
    names = {}
    for endpoint in view.joined_to(sandbox):
        joined = view.joined(endpoint)
        assert joined is not None, "an endpoint in a sandbox has joined it"
        names[joined.event.interface] = joined.position
    return names
