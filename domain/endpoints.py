"""Endpoints: created in a network with addresses and ports, and deleted.

Keeps: an endpoint's name and MAC address are held once in its network, and it is not deleted from a sandbox unless
forced. Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from collections.abc import Collection

from .commands import AddAlias, CreateEndpoint, DeleteEndpoint, RemoveAlias
from .configuration_networks import check_is_no_configuration
from .decision import Context, Decision, Guard
from .drivers import traits_of
from .endpoint_options import check_endpoint_options
from .errors import Conflict, Exhausted, InUse, Invalid, NotFound
from .events import (
    AddressReservationEnded,
    AddressReservationMade,
    AliasAdded,
    AliasRemoved,
    EndpointCreated,
    Event,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
)
from .features import check_feature
from .gateway_bridge import Change, settle_leaving
from .ipam.endpoints import MAC_ATTEMPTS, Addresses, choose_addresses, free_mac, superseded_by
from .leaving import abandon, forget
from .networks import create_network
from .ports import bind_ports
from .room import check_has_room
from .values import (
    EndpointId,
    check_address,
    check_id,
    check_labels,
    check_link_local,
    check_mac,
    check_name,
    format_address,
    format_mac,
)
from .view import View, name_of


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
        check_is_no_configuration(view, command.network, asked, "cannot create endpoint on configuration-only network")
        raise NotFound(asked, f"there is no network {command.network[:12]}", "see `netledger network ls`")
    traits = traits_of(network.event)
    origin = context.origin
    losers = superseded_by(view, command, network.event)
    _check_identity(view, command, network, losers, asked)
    families = network.event.families - ({6} if options.disables_ipv6 else frozenset())
    addresses = choose_addresses(view, command, network.event, losers, context, asked, families)
    has_mac = traits.has_macs
    mac = _mac(view, command, network.event, addresses, asked) if has_mac else _no_mac(command, network.event, asked)
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
        options=given,
        link_local=link_local,
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
            no_way_out=change.no_way_out,
        )
    events += forget(view, command.endpoint, context.origin, forced=joined is not None, keep=True)
    guards = [Guard((f"endpoint:{command.endpoint}",))]
    if any(isinstance(event, AddressReservationMade) for event in events):
        guards.append(Guard((f"network:{endpoint.event.network}",), (AddressReservationMade,)))
    guards += [
        Guard((f"address:{event.pool}/{format_address(event.address)}",))
        for event in events
        if isinstance(event, AddressReservationEnded)
    ]
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
    check_has_room(view, network, asked, going=len(losers))


def _no_mac(command: CreateEndpoint, network: NetworkCreated, asked: str) -> bytes:
    if command.mac:
        raise Invalid(
            asked,
            f"{network.driver} interfaces do not support custom mac address assignment",
            "leave the MAC address out",
        )
    return b""


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
