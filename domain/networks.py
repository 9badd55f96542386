"""Networks: created with their address pools, deleted when nothing uses them.

Keeps: a name is held once in its scope, an interface name once on its host; a network with endpoints is not deleted
unless forced. Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from .commands import CreateNetwork, DeleteNetwork
from .decision import Context, Decision, Guard
from .drivers import DRIVERS, NetworkDriver
from .endpoints import abandon, forget
from .errors import Conflict, InUse, Invalid, NotFound, Unavailable
from .events import (
    EndpointCreated,
    EndpointJoined,
    Event,
    NetworkCreated,
    NetworkDeleted,
    Recorded,
    device_tag,
    name_tag,
)
from .ipam.networks import check_ipam, give_back, held_for_others, take
from .ipam.pools import NULL_IPAM
from .values import EndpointId, NetworkId, check_id, check_labels, check_name, format_address
from .view import View, name_of


def create_network(view: View, command: CreateNetwork, context: Context) -> Decision:
    """Decide on a network: its address pools, gateways, interface and options."""
    asked = f"create network {command.name!r}"
    origin = context.origin
    check_id("network", command.network)
    check_name("network", command.name)
    labels = check_labels(command.labels)
    ipam_options = check_ipam(command, asked)
    driver = DRIVERS.get(command.driver)
    if driver is None:
        raise Invalid(asked, f"unknown driver {command.driver!r}", f"known: {', '.join(sorted(DRIVERS))}")
    options = driver.options(command.options, asked)
    for feature in driver.features(options):
        reason = context.capabilities.lacks(feature)
        if reason:
            raise Unavailable(asked, f"this host cannot make {feature!r}: {reason}", "see `netledger doctor`")
    existing = view.network(command.network)
    if existing is not None:
        raise Conflict(asked, f"id {command.network[:12]} is network {existing.event.name}", position=existing.position)
    scope = origin.host
    _check_name_is_free(view, scope, command.name, asked)
    device = driver.device(command.network, options)
    _check_device_is_free(view, context, device, asked)
    _check_pool_count(command, driver, asked)
    taken = take(view, command, context, asked)
    created = NetworkCreated(
        *origin,
        network=command.network,
        name=command.name,
        scope=scope,
        driver=command.driver,
        device=device,
        internal=command.internal,
        pools=taken.pools,
        options=options,
        labels=labels,
        ipam_driver=command.ipam_driver,
        ipam_options=ipam_options,
    )
    guards = (
        Guard((f"network:{command.network}",)),
        Guard((name_tag(scope, command.name),), (NetworkCreated,)),
        Guard((device_tag(origin.host, device),), (NetworkCreated, EndpointJoined)),
        *taken.guards,
    )
    return Decision((*taken.events, created), guards)


def delete_network(view: View, command: DeleteNetwork, context: Context) -> Decision:
    """Decide to delete a network and to give its addresses and pools back; by force, with its endpoints."""
    asked = f"delete network {command.network[:12]}"
    network = find_network(view, command.network, asked)
    asked = f"delete network {network.event.name}"
    endpoints = view.endpoints_of(command.network)
    origin = context.origin
    events: list[Event] = []
    guards = [Guard((f"network:{command.network}",), (EndpointCreated, NetworkDeleted))]
    if endpoints and not command.force:
        first = next(iter(endpoints))
        record = view.endpoint(first)
        assert record is not None, "an endpoint of a network is in the endpoints view"
        raise InUse(
            asked,
            f"it has {len(endpoints)} endpoint(s), the first is {record.event.name}",
            "delete them first, or force it",
            position=record.position,
        )
    other = None if command.force else held_for_others(view, network.event)
    if other is not None:
        raise InUse(
            asked,
            f"address {format_address(other.event.address)} of it is held by {name_of(view, other.event.owner)}",
            "let it be released first, or force it",
            position=other.position,
        )
    for endpoint in endpoints:
        events += abandon(view, endpoint, origin, cause="network deleted", leaving=endpoints)
        events += forget(view, endpoint, origin, forced=True)
        guards.append(Guard((f"endpoint:{endpoint}",)))
        joined = view.joined(endpoint)
        if joined is not None:  # another endpoint of the sandbox may have become its way out
            guards.append(Guard((f"sandbox:{joined.event.sandbox}",)))
    events += give_back(view, network.event, origin, events)
    guards += [Guard((f"pool:{pool.pool}",)) for pool in network.event.pools]
    events.append(
        NetworkDeleted(
            *origin,
            network=command.network,
            name=network.event.name,
            scope=network.event.scope,
            driver=network.event.driver,
            device=network.event.device,
            forced=bool(endpoints),
        )
    )
    return Decision(tuple(events), tuple(guards))


def find_network(view: View, network: NetworkId, asked: str) -> Recorded[NetworkCreated]:
    """Find a network or refuse."""
    record = view.network(network)
    if record is None:
        raise NotFound(asked, f"there is no network {network[:12]}", "see `netledger network ls`")
    return record


def _check_name_is_free(view: View, scope: str, name: str, asked: str) -> None:
    holder = view.network_named(scope, name)
    if holder is None:
        return
    record = view.network(holder)
    assert record is not None, "a network's name leads to a network"
    raise Conflict(
        asked,
        f"network with name {name} already exists ({holder[:12]})",
        "choose another name, or delete that one first",
        position=record.position,
    )


def _check_device_is_free(view: View, context: Context, device: str, asked: str) -> None:
    owner = view.device_holder(context.origin.host, device)
    if owner is not None:
        holder = view.joined(EndpointId(owner[1])) if owner[0] == "endpoint" else view.network(NetworkId(owner[1]))
        raise Conflict(
            asked,
            f"interface {device} is that of {name_of(view, owner)}",
            "choose another bridge name",
            position=holder.position if holder else None,
        )
    obstacle = context.obstacles.get(device_tag(context.origin.host, device))
    if obstacle:
        raise Conflict(
            asked, f"{obstacle} has the name {device} and is not ours", "remove it, or choose another bridge name"
        )


def _check_pool_count(command: CreateNetwork, driver: NetworkDriver, asked: str) -> None:
    if not command.pools and command.ipam_driver != NULL_IPAM:
        raise Invalid(asked, "it has neither IPv4 nor IPv6", "enable one of them")
    for family in (4, 6):
        if sum(request.family == family for request in command.pools) > driver.pools_per_family:
            raise Invalid(
                asked, f"the {driver.name} driver takes one IPv{family} subnet a network", "create another one"
            )
