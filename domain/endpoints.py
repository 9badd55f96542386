"""Endpoints: created in a network with addresses and ports, and deleted.

Keeps: an endpoint's name and MAC address are held once in its network, and it is not deleted from a sandbox unless
forced. Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from .commands import AddAlias, CreateEndpoint, DeleteEndpoint, RemoveAlias
from .decision import Context, Decision, Guard
from .drivers import driver_of, traits_of
from .endpoint_options import check_endpoint_options
from .errors import Conflict, Exhausted, InUse, Invalid, NotFound
from .events import (
    AddressAllocated,
    AliasAdded,
    AliasRemoved,
    EndpointAddress,
    EndpointCreated,
    Event,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
)
from .features import check_feature
from .gateway_bridge import Change, settle_leaving
from .ipam import choose_address
from .leaving import abandon, forget
from .networks import create_network
from .ports import bind_ports
from .values import (
    EndpointId,
    check_address,
    check_id,
    check_labels,
    check_link_local,
    check_mac,
    check_name,
    family_of,
    format_address,
    format_mac,
    mac_for,
)
from .view import View, name_of

MAC_ATTEMPTS = 16


def create_endpoint(view: View, command: CreateEndpoint, context: Context) -> Decision:
    """Decide on an endpoint: its addresses, MAC address and host ports."""
    asked = f"create endpoint {command.name!r}"
    check_id("endpoint", command.endpoint)
    check_name("endpoint", command.name)
    check_mac(asked, command.mac)
    labels = check_labels(command.labels)
    options, given = check_endpoint_options(command.options, asked)
    for address in command.addresses:
        check_address(asked, address)
    link_local = tuple(check_link_local(asked, address) for address in dict.fromkeys(command.link_local))
    if options.sysctls:
        check_feature(context, "interface sysctls", asked)
    network = view.network(command.network)
    if network is None:
        raise NotFound(asked, f"there is no network {command.network[:12]}", "see `netledger network ls`")
    _check_identity(view, command, network, asked)
    traits = traits_of(network.event)
    addresses = _addresses(view, command, network.event, asked, without_ipv6=options.disables_ipv6)
    mac = _mac(view, command, network.event, asked) if traits.has_macs else _no_mac(command, network.event, asked)
    origin = context.origin
    created = EndpointCreated(
        *origin,
        endpoint=command.endpoint,
        network=command.network,
        name=command.name,
        mac=mac,
        addresses=addresses,
        labels=labels,
        options=given,
        link_local=link_local,
    )
    wanted = set(command.addresses)
    taken = tuple(
        AddressAllocated(
            *origin,
            pool=held.pool,
            address=held.address,
            owner=("endpoint", command.endpoint),
            purpose="endpoint",
            decided_by="caller" if held.address in wanted else "netledger",
        )
        for held in addresses
    )
    ports = bind_ports(view, command.ports, created, network.event, context, asked)
    aliases = tuple(
        AliasAdded(*origin, endpoint=command.endpoint, network=command.network, alias=check_name("alias", alias))
        for alias in dict.fromkeys(command.aliases)
    )
    guards = (
        Guard((f"endpoint:{command.endpoint}",)),
        Guard((f"network:{command.network}",), (NetworkDeleted, EndpointCreated)),
        *(Guard((f"address:{held.pool}/{format_address(held.address)}",), (AddressAllocated,)) for held in addresses),
    )
    return Decision((*taken, created, *ports.events, *aliases), (*guards, *ports.guards))


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
    change = Change()
    if joined is not None:
        change = settle_leaving(view, joined.event, context, create_network)
        events += abandon(
            view,
            command.endpoint,
            context.origin,
            cause="endpoint deleted",
            leaving=change.leaving,
            also=change.events,
            joining=change.joining,
        )
    events += forget(view, command.endpoint, context.origin, forced=joined is not None)
    guards = [Guard((f"endpoint:{command.endpoint}",))]
    if joined is not None:
        guards.append(Guard((f"sandbox:{joined.event.sandbox}",)))
    return Decision(tuple(events), (*guards, *change.guards))


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


def _check_identity(view: View, command: CreateEndpoint, network: Recorded[NetworkCreated], asked: str) -> None:
    existing = view.endpoint(command.endpoint)
    if existing is not None:
        raise Conflict(
            asked, f"id {command.endpoint[:12]} is endpoint {existing.event.name}", position=existing.position
        )
    holder = view.endpoint_named(command.network, command.name)
    if holder is not None:
        record = view.endpoint(holder)
        assert record is not None, "an endpoint's name leads to an endpoint"
        raise Conflict(
            asked,
            f"endpoint with name {command.name} already exists in network {network.event.name}",
            "choose another name, or delete that one first",
            position=record.position,
        )
    limit, why = driver_of(network.event.driver).endpoint_limit, "as many as a Linux bridge has ports"
    if traits_of(network.event).takes_one:
        limit, why = 1, "as many as an interface in mode passthru takes"
    if len(view.endpoints_of(command.network)) >= limit:
        raise Exhausted(
            asked,
            f"network {network.event.name} has {limit} endpoint{'s' if limit > 1 else ''}, {why}",
            "create another network and put it there",
            position=network.position,
        )


def _addresses(
    view: View, command: CreateEndpoint, network: NetworkCreated, asked: str, *, without_ipv6: bool
) -> tuple[EndpointAddress, ...]:
    families = network.families - ({6} if without_ipv6 else frozenset())
    wanted: dict[int, bytes] = {}
    for address in command.addresses:
        family = family_of(address)
        if family in wanted:
            raise Invalid(asked, f"two IPv{family} addresses", "an endpoint has one of each family")
        if family not in families:
            whose = "the endpoint" if family in network.families else f"network {network.name}"
            raise Invalid(asked, f"{whose} has no IPv{family}", "leave that address out")
        wanted[family] = address
    addresses = []
    for family in sorted(families):
        pool, address = choose_address(view, network.pools, wanted.get(family), family, asked)
        addresses.append(EndpointAddress(pool.pool, address, pool.subnet.prefix))
    return tuple(addresses)


def _no_mac(command: CreateEndpoint, network: NetworkCreated, asked: str) -> bytes:
    if command.mac:
        raise Invalid(
            asked,
            f"{network.driver} interfaces do not support custom mac address assignment",
            "leave the MAC address out",
        )
    return b""


def _mac(view: View, command: CreateEndpoint, network: NetworkCreated, asked: str) -> bytes:
    if command.mac:
        holder = view.mac_holder(network.network, command.mac)
        if holder is not None:
            record = view.endpoint(holder)
            assert record is not None, "a MAC address leads to an endpoint"
            raise Conflict(
                asked,
                f"MAC address {format_mac(command.mac)} is that of endpoint {record.event.name}",
                "choose another, or leave it out",
                position=record.position,
            )
        return command.mac
    for attempt in range(MAC_ATTEMPTS):
        mac = mac_for(command.endpoint, attempt)
        if view.mac_holder(network.network, mac) is None:
            return mac
    raise Exhausted(asked, f"no free MAC address was found in {MAC_ATTEMPTS} attempts", "give one")
