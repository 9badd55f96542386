"""Nothing is held twice: address blocks, addresses, MAC addresses, names, interfaces, ports."""

from __future__ import annotations

import ipaddress
from typing import Any, TypeAlias

from ...domain import events as ev
from .checker import Checker, Held, require

Block: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Pools(Checker):
    """Address blocks."""

    name = "pools"
    invariant = "No two address pools of one space overlap."

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, tuple[tuple[str, str], Block]] = {}

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        block, space = _block(event.subnet), (event.scope, event.space)
        for other_space, other in self._held.values():
            is_near = other_space == space and other.version == block.version
            require(not is_near or not _overlap(other, block), f"{block} overlaps {other}")
        self._held[event.pool] = (space, block)

    def pool_released(self, event: ev.PoolReleased) -> None:
        require(self._held.pop(event.pool, None), "the pool was not held")


class Addresses(Checker):
    """Addresses in pools."""

    name = "addresses"
    invariant = "An address is in its pool, held by one owner at a time, and given back by that owner only."

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[str, Block] = {}
        self._held = Held("address")

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        self._blocks[event.pool] = _block(event.subnet)

    def pool_released(self, event: ev.PoolReleased) -> None:
        inside = [address for pool, address in self._held.keys() if pool == event.pool]  # noqa: SIM118  # no mapping
        require(not inside, f"{len(inside)} addresses of it are held")

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        block = self._blocks.get(event.pool)
        require(block is not None, "its pool is not there")
        assert block is not None, "required above"
        address = ipaddress.ip_address(event.address)
        require(address in block, f"{address} is outside {block}")
        self._held.take((event.pool, event.address), event.owner)

    def address_released(self, event: ev.AddressReleased) -> None:
        self._held.give((event.pool, event.address), event.owner)


class Macs(Checker):
    """MAC addresses."""

    name = "macs"
    invariant = "A MAC address is held once in a network."

    def __init__(self) -> None:
        super().__init__()
        self._held = Held("MAC address")

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        if event.mac:
            self._held.take((event.network, event.mac), event.endpoint)

    def endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        if event.mac:
            self._held.give((event.network, event.mac), event.endpoint)


class Names(Checker):
    """Names of networks, endpoints and containers, and aliases."""

    name = "names"
    invariant = (
        "A name is held once: a network's in its scope, an endpoint's in its network, a container's on its host."
    )

    def __init__(self) -> None:
        super().__init__()
        self._held = Held("name")
        self._aliases = Held("alias")

    def network_created(self, event: ev.NetworkCreated | ev.ConfigurationNetworkCreated) -> None:
        self._held.take(("network", event.scope, event.name), event.network)

    def network_deleted(self, event: ev.NetworkDeleted | ev.ConfigurationNetworkDeleted) -> None:
        self._held.give(("network", event.scope, event.name), event.network)

    configuration_network_created, configuration_network_deleted = network_created, network_deleted

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        self._held.take(("endpoint", event.network, event.name), event.endpoint)

    def endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        self._held.give(("endpoint", event.network, event.name), event.endpoint)
        for alias in self._aliases.of(event.endpoint):
            self._aliases.give(alias, event.endpoint)

    def sandbox_created(self, event: ev.SandboxCreated) -> None:
        self._held.take(("container", event.host, event.container), event.sandbox)

    def sandbox_deleted(self, event: ev.SandboxDeleted | ev.SandboxLost) -> None:
        self._held.give(("container", event.host, event.container), event.sandbox)

    sandbox_lost = sandbox_deleted

    def sandbox_renamed(self, event: ev.SandboxRenamed) -> None:
        self._held.give(("container", event.host, event.before), event.sandbox)
        self._held.take(("container", event.host, event.container), event.sandbox)

    def alias_added(self, event: ev.AliasAdded) -> None:
        self._aliases.take((event.endpoint, event.alias), event.endpoint)

    def alias_removed(self, event: ev.AliasRemoved) -> None:
        self._aliases.give((event.endpoint, event.alias), event.endpoint)


class Interfaces(Checker):
    """Interfaces of a host and of its sandboxes."""

    name = "interfaces"
    invariant = (
        "An interface name is held once on a host and once in a sandbox; a bridge has 1,023 ports at most; "
        "a parent carries what it has room for, and a host one network of drivers that have one."
    )

    def __init__(self) -> None:
        super().__init__()
        self._host = Held("interface")
        self._inside = Held("interface")
        self._ports: dict[str, int] = {}
        self._drivers: dict[str, str] = {}
        self._standing: dict[tuple[str, str], dict[str, ev.NetworkCreated]] = {}

    def network_created(self, event: ev.NetworkCreated) -> None:
        self._drivers[event.network] = event.driver
        self._stand(event)
        if event.device:
            self._host.take((event.host, event.device), event.network)

    def _stand(self, event: ev.NetworkCreated) -> None:
        """Check that what it stands on has room for it."""
        for used in event.uses:
            others = self._standing.setdefault((event.host, used), {})
            for other in others.values():
                is_shared = used.startswith("parent:") and other.driver == event.driver
                require(is_shared and not _is_alone(event) and not _is_alone(other), f"{used} has {other.name} on it")
            others[event.network] = event

    def network_deleted(self, event: ev.NetworkDeleted) -> None:
        for standing in self._standing.values():
            standing.pop(event.network, None)
        if event.device:
            self._host.give((event.host, event.device), event.network)

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        if self._drivers[event.network] != "bridge":
            return
        self._ports[event.network] = self._ports.get(event.network, 0) + 1
        require(self._ports[event.network] <= 1023, "its network has more endpoints than a bridge has ports")

    def endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        self._ports[event.network] = self._ports.get(event.network, 0) - 1

    def endpoint_joined(self, event: ev.EndpointJoined) -> None:
        if event.device:
            self._host.take((event.host, event.device), event.endpoint)
            self._inside.take((event.sandbox, event.interface), event.endpoint)

    def endpoint_left(self, event: ev.EndpointLeft | ev.EndpointAbandoned) -> None:
        if event.device:
            self._host.give((event.host, event.device), event.endpoint)
        for key in self._inside.of(event.endpoint):
            self._inside.give(key, event.endpoint)

    endpoint_abandoned = endpoint_left


class Ports(Checker):
    """Ports of a host."""

    name = "ports"
    invariant = "A port of a host address is bound by one endpoint at a time, and released by it only."

    def __init__(self) -> None:
        super().__init__()
        self._bound: dict[tuple[Any, ...], list[ev.PortBound]] = {}

    def port_bound(self, event: ev.PortBound) -> None:
        same = self._bound.setdefault((event.host, event.protocol, event.host_port, len(event.host_address)), [])
        for other in same:
            is_apart = any(other.host_address) and any(event.host_address) and other.host_address != event.host_address
            require(is_apart, f"it is bound by {other.endpoint[:12]}")
        same.append(event)

    def port_released(self, event: ev.PortReleased) -> None:
        same = self._bound.get((event.host, event.protocol, event.host_port, len(event.host_address)), [])
        mine = [port for port in same if (port.endpoint, port.host_address) == (event.endpoint, event.host_address)]
        require(len(mine) == 1, "the endpoint has not bound it")
        same.remove(mine[0])


def _is_alone(event: ev.NetworkCreated) -> bool:
    """Whether a network leaves no room for another on its parent."""
    return event.driver == "ipvlan" or event.options.get("macvlan_mode") == "passthru"


def _block(subnet: Any) -> Block:  # noqa: ANN401  # read by its fields alone
    return ipaddress.ip_network((subnet.address, subnet.prefix))


def _overlap(one: Block, other: Block) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.overlaps(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.overlaps(other)
    return False
