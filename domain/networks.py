"""Networks: created with their address pools, deleted when nothing uses them.

Keeps: a name is held once in its scope, an interface name once on its host; a network with endpoints is not deleted
unless forced. Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from msgspec import structs

from .commands import Command, CreateNetwork, DeleteNetwork, PoolRequest
from .configuration_networks import (
    check_identity_is_free,
    check_is_no_configuration,
    check_name_is_free,
    delete_configuration_network,
    name_guard,
    with_configuration,
)
from .decision import Context, Decision, Guard
from .drivers import DRIVERS, NetworkDriver, NetworkTraits, find_driver, traits_of
from .drivers.bridge import BRIDGE_NAME, DEFAULT_BRIDGE, DEFAULT_BRIDGE_OPTION
from .drivers.parent import PARENT
from .errors import Conflict, Forbidden, InUse, Invalid, NotFound, Refusal
from .events import (
    ConfigurationNetworkDeleted,
    EndpointCreated,
    EndpointJoined,
    Event,
    NetworkCreated,
    NetworkDeleted,
    OptionValue,
    Recorded,
    device_tag,
    use_tag,
)
from .features import check_feature
from .gateway_bridge import settle
from .gateways import GATEWAY_NETWORK
from .ipam.networks import check_ipam, give_back, held_for_others, take
from .ipam.pools import NULL_IPAM
from .leaving import abandon, forget
from .parents import check_parent_is_free, links_of_parent, makes_a_parent
from .values import EndpointId, HostId, NetworkId, check_id, check_labels, check_name, format_address
from .view import View, name_of


def create_network(view: View, command: CreateNetwork, context: Context) -> Decision:
    """Decide on a network: its address pools, gateways, interface and options."""
    asked = f"create network {command.name!r}"
    origin = context.origin
    check_id("network", command.network)
    check_name("network", command.name)
    scope = origin.host
    command, configuration = with_configuration(view, command, scope, asked)
    labels = check_labels(command.labels)
    ipam_options = check_ipam(command, asked)
    driver = find_driver(command.driver)
    if driver is None:
        raise Invalid(asked, f"unknown driver {command.driver!r}", f"known: {', '.join(sorted(DRIVERS))}")
    options = driver.options(command.options, asked)
    options, internal = driver.settle(options, asked, internal=command.internal)
    traits = driver.traits(options)
    isolating = ("internal networks",) if internal and "firewall" in driver.needs else ()
    for feature in (*driver.features(options), *isolating):
        check_feature(context, feature, asked)
    check_identity_is_free(view, command.network, asked)
    check_name_is_free(view, scope, command.name, asked)
    requests = _requests(command, driver, traits, asked)
    uses = _uses(view, command, traits, origin.host, asked)
    makes_parent = makes_a_parent(view, context, traits, asked) if traits.parent else False
    device = driver.device(command.network, options)
    is_adopted = bool(device) and _check_device_is_free(view, context, device, options, asked)
    needs_gateway = traits.needs_gateway(internal=internal)
    taken = take(view, structs.replace(command, pools=requests), context, asked, needs_gateway)
    created = NetworkCreated(
        *origin,
        network=command.network,
        name=command.name,
        scope=scope,
        driver=command.driver,
        device=device,
        internal=internal,
        pools=taken.pools,
        options=options,
        labels=labels,
        abilities=tuple(each for each in traits.abilities if not context.capabilities.lacks(each)),
        uses=uses,
        is_adopted=is_adopted,
        makes_parent=makes_parent,
        ipam_driver=command.ipam_driver,
        ipam_options=ipam_options,
        config_from=configuration or "",
    )
    guards = [
        Guard((f"network:{command.network}",)),
        name_guard(scope, command.name),
        *(Guard((use_tag(origin.host, used),), (NetworkCreated,)) for used in uses),
        *taken.guards,
    ]
    if device:
        guards.append(Guard((device_tag(origin.host, device),), (NetworkCreated, EndpointJoined)))
    if configuration is not None:
        guards.append(Guard((f"network:{configuration}",), (ConfigurationNetworkDeleted,)))
    return Decision((*taken.events, created), tuple(guards))


def delete_network(view: View, command: DeleteNetwork, context: Context) -> Decision:
    """Decide to delete a network and to give its addresses and pools back; by force, with its endpoints."""
    configuration = view.configuration_network(command.network)
    if configuration is not None:
        return delete_configuration_network(view, configuration, command, context)
    asked = f"delete network {command.network[:12]}"
    network = find_network(view, command.network, asked)
    asked = f"delete network {network.event.name}"
    if traits_of(network.event).is_single:
        raise Forbidden(
            asked,
            f"network of type {network.event.driver!r} cannot be deleted",
            "leave it: nothing of it is in a kernel",
            position=network.position,
        )
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
    homes = dict.fromkeys(there.event.sandbox for each in endpoints if (there := view.joined(each)) is not None)
    for endpoint in endpoints:
        events += abandon(view, endpoint, origin, cause="network deleted", leaving=endpoints)
        events += forget(view, endpoint, origin, forced=True)
        guards.append(Guard((f"endpoint:{endpoint}",)))
        joined = view.joined(endpoint)
        if joined is not None:  # another endpoint of the sandbox may have become its way out
            guards.append(Guard((f"sandbox:{joined.event.sandbox}",)))
    for sandbox in homes if network.event.name != GATEWAY_NETWORK else ():
        events += settle(view, sandbox, context, None, leaving=endpoints).events
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


def links_of(view: View, host: HostId, command: Command) -> tuple[str, ...]:
    """Name the interfaces of the host whose being there, and what they are, a command depends on."""
    if not isinstance(command, CreateNetwork):
        return ()
    with suppress(Refusal):  # which the command's rule will raise, too
        command, _ = with_configuration(view, command, host, "")
    parent = command.options.get(PARENT)
    name = command.options.get(BRIDGE_NAME)
    return (*((str(name),) if name else ()), *(links_of_parent(str(parent)) if parent else ()))


def find_network(view: View, network: NetworkId, asked: str) -> Recorded[NetworkCreated]:
    """Find a network or refuse."""
    record = view.network(network)
    if record is None:
        check_is_no_configuration(view, network, asked, "a configuration-only network has no addresses")
        raise NotFound(asked, f"there is no network {network[:12]}", "see `netledger network ls`")
    return record


def _requests(
    command: CreateNetwork, driver: NetworkDriver, traits: NetworkTraits, asked: str
) -> tuple[PoolRequest, ...]:
    """Say which pools are wanted: none for a network without addresses, whatever was left at its default."""
    if traits.has_addresses:
        _check_pool_count(command, driver, asked)
        return command.pools
    if any(request.subnet is not None or request.gateway is not None for request in command.pools):
        raise Invalid(asked, f"{driver.name} networks have no addresses", "leave subnets and gateways out")
    return ()


def _uses(view: View, command: CreateNetwork, traits: NetworkTraits, host: HostId, asked: str) -> tuple[str, ...]:
    """Say what of the host it stands on that others may be refused for; refuse it for them."""
    if traits.is_single:
        for other in view.networks_on(host):
            if other.event.driver == command.driver:
                raise Conflict(
                    asked,
                    f"only one instance of {command.driver!r} network is allowed, and that is {other.event.name}",
                    "use that one",
                    position=other.position,
                )
        return (f"driver:{command.driver}",)
    if traits.parent:
        check_parent_is_free(view, command.driver, traits, host, asked)
        return (f"parent:{traits.parent}",)
    return ()


def _check_device_is_free(
    view: View, context: Context, device: str, options: Mapping[str, OptionValue], asked: str
) -> bool:
    """Refuse a name that is held; whether what holds it is a bridge that somebody made, to be adopted."""
    owner = view.device_holder(context.origin.host, device)
    if owner is not None:
        holder = view.joined(EndpointId(owner[1])) if owner[0] == "endpoint" else view.network(NetworkId(owner[1]))
        raise Conflict(
            asked,
            f"interface {device} is that of {name_of(view, owner)}",
            "choose another bridge name",
            position=holder.position if holder else None,
        )
    link = context.links.get(device) if context.links is not None else None
    is_named = options.get(BRIDGE_NAME) == device
    is_foreign_bridge = link is not None and link.kind == "bridge" and not link.is_ours
    if is_named and is_foreign_bridge and not context.capabilities.lacks("adopted bridges"):
        return True
    if is_named and options.get(DEFAULT_BRIDGE_OPTION) is True and device != DEFAULT_BRIDGE and link is None:
        raise NotFound(
            asked, f"bridge device with non default name {device} must be created manually", f"or leave {device} out"
        )
    obstacle = context.obstacles.get(device_tag(context.origin.host, device))
    if obstacle:
        raise Conflict(
            asked, f"{obstacle} has the name {device} and is not ours", "remove it, or choose another bridge name"
        )
    return False


def _check_pool_count(command: CreateNetwork, driver: NetworkDriver, asked: str) -> None:
    if not command.pools and command.ipam_driver != NULL_IPAM:
        raise Invalid(asked, "it has neither IPv4 nor IPv6", "enable one of them")
    for family in (4, 6):
        if sum(request.family == family for request in command.pools) > driver.pools_per_family:
            raise Invalid(
                asked, f"the {driver.name} driver takes one IPv{family} subnet a network", "create another one"
            )
