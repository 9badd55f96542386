"""Configuration-only networks: settings under a name, which other networks are made with (config-only, config-from).

Keeps: one that a network depends on is not deleted. It takes no pool and has nothing in a kernel; what a network takes
from it is written in that network's own event, so that nothing of it is ever read again.
Knows nothing of: what any driver makes of its options, kernels, how the state is kept.
"""

from __future__ import annotations

from msgspec import structs

from .commands import CreateConfigurationNetwork, CreateNetwork, DeleteNetwork, PoolRequest
from .decision import Context, Decision, Guard
from .errors import Conflict, Forbidden, InUse, Invalid, NotFound
from .events import (
    DEFAULT_IPAM,
    ConfigurationNetworkCreated,
    ConfigurationNetworkDeleted,
    ConfigurationPool,
    NetworkCreated,
    Recorded,
    dependence_tag,
    name_tag,
)
from .ipam.networks import check_ipam
from .ipam.pools import NULL_IPAM, check_request
from .values import NetworkId, check_id, check_labels, check_name
from .view import View, name_of

POOLS_LIMIT = 64
"""So many address pools a configuration network asks for at most; a driver may take fewer."""

UNTOUCHED_POOLS: tuple[tuple[PoolRequest, ...], ...] = ((), (PoolRequest(4),))
"""What a command asks for whose author said nothing of addresses."""


def create_configuration_network(view: View, command: CreateConfigurationNetwork, context: Context) -> Decision:
    """Decide to keep settings under a name; what no network could have is refused at once."""
    asked = f"create configuration network {command.name!r}"
    check_id("network", command.network)
    check_name("network", command.name)
    labels = check_labels(command.labels)
    check_labels({label: str(value) for label, value in command.options.items()})
    as_network = CreateNetwork(
        command.network,
        command.name,
        pools=command.pools,
        ipam_driver=command.ipam_driver,
        ipam_options=command.ipam_options,
    )
    ipam_options = check_ipam(as_network, asked)
    if not command.pools and command.ipam_driver != NULL_IPAM:
        raise Invalid(asked, "it has neither IPv4 nor IPv6", "enable one of them")
    if len(command.pools) > POOLS_LIMIT:
        raise Invalid(asked, f"it asks for {len(command.pools)} address pools", f"give {POOLS_LIMIT} at most")
    for request in command.pools:
        check_request(request, asked)
    scope = context.origin.host
    check_identity_is_free(view, command.network, asked)
    check_name_is_free(view, scope, command.name, asked)
    created = ConfigurationNetworkCreated(
        *context.origin,
        network=command.network,
        name=command.name,
        scope=scope,
        pools=tuple(map(_kept, command.pools)),
        options=dict(command.options),
        labels=labels,
        ipam_driver=command.ipam_driver,
        ipam_options=ipam_options,
    )
    return Decision((created,), (Guard((f"network:{command.network}",)), name_guard(scope, command.name)))


def delete_configuration_network(
    view: View, record: Recorded[ConfigurationNetworkCreated], command: DeleteNetwork, context: Context
) -> Decision:
    """Decide to forget settings; those that a network was made with are kept, by force or not."""
    event = record.event
    dependents = view.dependents_of(command.network)
    if dependents:
        first, position = next(iter(dependents.items()))
        raise InUse(
            f"delete network {event.name}",
            f'configuration network "{event.name}" is in use by {len(dependents)} network(s), '
            f"the first is {name_of(view, ('network', first))}",
            "delete them first",
            position=position,
        )
    deleted = ConfigurationNetworkDeleted(*context.origin, network=command.network, name=event.name, scope=event.scope)
    guards = (
        Guard((f"network:{command.network}",), (ConfigurationNetworkDeleted,)),
        Guard((dependence_tag(command.network),), (NetworkCreated,)),
    )
    return Decision((deleted,), guards)


def with_configuration(
    view: View, command: CreateNetwork, scope: str, asked: str
) -> tuple[CreateNetwork, NetworkId | None]:
    """Put the settings of the configuration network that it names into a command; give that one's id.

    Refuses, in libnetwork's words, a name that no configuration network has, and any setting beside it.
    """
    if not command.config_from:
        return command, None
    identity = view.configuration_network_named(scope, command.config_from)
    record = view.configuration_network(identity) if identity is not None else None
    if record is None:
        raise NotFound(
            asked,
            f'configuration network "{command.config_from}" does not exist',
            "see `netledger network ls`, or create it with --config-only",
        )
    remedy = f"leave them out: {command.config_from} has them"
    if command.options:
        raise Forbidden(
            asked,
            "network driver options are not supported if the network depends on a configuration network",
            remedy,
            position=record.position,
        )
    has_own = command.ipam_driver != DEFAULT_IPAM or command.ipam_options or command.labels
    if has_own or command.pools not in UNTOUCHED_POOLS:
        raise Forbidden(
            asked,
            "user-specified configurations are not supported if the network depends on a configuration network",
            remedy,
            position=record.position,
        )
    event = record.event
    settled = structs.replace(
        command,
        pools=tuple(map(_asked_for, event.pools)),
        options=event.options,
        labels=event.labels,
        ipam_driver=event.ipam_driver,
        ipam_options=event.ipam_options,
    )
    return settled, event.network


def check_identity_is_free(view: View, network: NetworkId, asked: str) -> None:
    """Refuse the id of a network of either kind."""
    record = view.network(network) or view.configuration_network(network)
    if record is not None:
        raise Conflict(asked, f"id {network[:12]} is network {record.event.name}", position=record.position)


def check_is_no_configuration(view: View, network: NetworkId, asked: str, because: str) -> None:
    """Refuse a configuration network where it takes one that is real."""
    record = view.configuration_network(network)
    if record is not None:
        remedy = f"create a network with --config-from {record.event.name}"
        raise Forbidden(asked, f"{because} ({record.event.name})", remedy, position=record.position)


def check_name_is_free(view: View, scope: str, name: str, asked: str) -> None:
    """Refuse the name of a network of either kind."""
    network, configuration = view.network_named(scope, name), view.configuration_network_named(scope, name)
    holder = view.network(network) if network is not None else None
    record = holder or (view.configuration_network(configuration) if configuration is not None else None)
    if record is not None:
        raise Conflict(
            asked,
            f"network with name {name} already exists ({record.event.network[:12]})",
            "choose another name, or delete that one first",
            position=record.position,
        )


def name_guard(scope: str, name: str) -> Guard:
    """Guard that a name of a network is free."""
    return Guard((name_tag(scope, name),), (NetworkCreated, ConfigurationNetworkCreated))


def _kept(request: PoolRequest) -> ConfigurationPool:
    return ConfigurationPool(
        request.family,
        request.subnet,
        request.gateway or b"",
        request.policy,
        request.space,
        request.size,
        request.sub_pool,
        dict(request.auxiliary),
        request.rest_seconds,
        request.grace_seconds,
    )


def _asked_for(pool: ConfigurationPool) -> PoolRequest:
    return PoolRequest(
        pool.family,
        pool.subnet,
        pool.gateway or None,
        pool.policy,
        pool.space,
        pool.size,
        pool.sub_pool,
        pool.auxiliary,
        pool.rest_seconds,
        pool.grace_seconds,
    )
