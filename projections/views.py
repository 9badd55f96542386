"""All views as one state: folded in log order, undone as one, asked by rules, readers and the lowering.

Keeps: `position` is that of the last event folded; after `undo` everything is as at `begin`.
Knows nothing of: the log, threads, kernels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..domain.events import (
    AddressAllocated,
    AddressReleased,
    AddressReservationMade,
    ConfigurationChanged,
    ConfigurationNetworkCreated,
    EndpointCreated,
    EndpointJoined,
    EndpointLeft,
    Entity,
    Event,
    FirewallChosen,
    HostRegistered,
    NetworkCreated,
    PoolAllocated,
    PortBound,
    PortOpened,
    Recorded,
    SandboxCreated,
)
from ..domain.facts import NamespaceIdentity
from ..domain.values import NOWHERE, EndpointId, HostId, NetworkId, PoolId, Position, SandboxId
from .digests import canonical
from .driver_pools import DriverPools
from .endpoints import Endpoints
from .faults import Faults
from .firewalls import Firewalls
from .ipam import Ipam
from .journal import Journal, Projection
from .names import Names
from .networks import Networks
from .ports import Ports
from .sandboxes import Sandboxes

_NONE: Mapping[Any, Position] = {}


class Views:
    """The state at one position of the log; satisfies `domain.view.View`."""

    def __init__(self) -> None:
        self.position: Position = NOWHERE
        self.last_at = 0
        """When the last event happened, by its host's clock."""
        self._journal = Journal()
        self._begun_at: tuple[Position, int] = (NOWHERE, 0)
        self.networks = Networks(self._journal)
        self.endpoints = Endpoints(self._journal)
        self.sandboxes = Sandboxes(self._journal)
        self.ipam = Ipam(self._journal)
        self.ports = Ports(self._journal)
        self.names = Names(self._journal)
        self.faults = Faults(self._journal)
        self.driver_pools = DriverPools(self._journal)
        self.firewalls = Firewalls(self._journal)
        self._parts: dict[str, Projection] = {
            "networks": self.networks,
            "endpoints": self.endpoints,
            "sandboxes": self.sandboxes,
            "ipam": self.ipam,
            "ports": self.ports,
            "names": self.names,
            "faults": self.faults,
            "driver pools": self.driver_pools,
            "firewalls": self.firewalls,
        }
        self._handlers: dict[type[Event], tuple[Callable[[Position, Any], None], ...]] = {}
        for part in self._parts.values():
            for kind, handler in part.handlers.items():
                self._handlers[kind] = (*self._handlers.get(kind, ()), handler)

    # --- folding

    def fold(self, position: Position, event: Event) -> None:
        """Take in the next event."""
        assert position > self.position, "events are folded in log order"
        for handler in self._handlers.get(type(event), ()):
            handler(position, event)
        self.position = position
        self.last_at = event.at

    def begin(self) -> None:
        """Begin a speculative fold."""
        self._journal.begin()
        self._begun_at = (self.position, self.last_at)

    def commit(self) -> None:
        """Keep what was folded since `begin`."""
        self._journal.commit()

    def undo(self) -> None:
        """Take back what was folded since `begin`."""
        self._journal.undo()
        self.position, self.last_at = self._begun_at

    def digest(self) -> str:
        """Hash everything that the views hold, the same for the same state however it came about (SHA-256)."""
        digest = hashlib.sha256(b"%d" % self.position)
        for name, part in self._parts.items():
            for table_name, table in part.tables().items():
                rows = sorted((msgspec.msgpack.encode(key), canonical(value)) for key, value in table.items())
                digest.update(msgspec.msgpack.encode((name, table_name, rows)))
        return digest.hexdigest()

    # --- asking

    def host(self, host: HostId) -> Recorded[HostRegistered] | None:
        """Find a host that keeps its networks here."""
        return self.networks.hosts.get(host)

    def boot(self, host: HostId) -> str:
        """Name the boot that the host was last known to run in; empty for an unknown host."""
        return self.networks.boots.get(host, "")

    def network(self, network: NetworkId) -> Recorded[NetworkCreated] | None:
        """Find a network."""
        return self.networks.networks.get(network)

    def network_named(self, scope: str, name: str) -> NetworkId | None:
        """Find a network by its name."""
        return self.names.networks.get((scope, name))

    def configuration_network(self, network: NetworkId) -> Recorded[ConfigurationNetworkCreated] | None:
        """Find a configuration-only network."""
        return self.networks.configuration_networks.get(network)

    def configuration_network_named(self, scope: str, name: str) -> NetworkId | None:
        """Find a configuration-only network by its name."""
        return self.names.configuration_networks.get((scope, name))

    def dependents_of(self, configuration: NetworkId) -> Mapping[NetworkId, Position]:
        """List the networks that were made with the settings of a configuration network, the oldest first."""
        return self.networks.dependents.get(configuration, _NONE)

    def endpoint(self, endpoint: EndpointId) -> Recorded[EndpointCreated] | None:
        """Find an endpoint."""
        return self.endpoints.endpoints.get(endpoint)

    def endpoint_named(self, network: NetworkId, name: str) -> EndpointId | None:
        """Find an endpoint by its name in its network."""
        return self.names.endpoints.get((network, name))

    def endpoints_of(self, network: NetworkId) -> Mapping[EndpointId, Position]:
        """List the endpoints of a network."""
        return self.endpoints.by_network.get(network, _NONE)

    def aliases_of(self, endpoint: EndpointId) -> Mapping[str, Position]:
        """List the other names of an endpoint."""
        return self.endpoints.aliases.get(endpoint, _NONE)

    def mac_holder(self, network: NetworkId, mac: bytes) -> EndpointId | None:
        """Find who has a MAC address in a network."""
        return self.endpoints.by_mac.get((network, mac))

    def device_holder(self, host: HostId, device: str) -> Entity | None:
        """Find whose interface has this name in the host's namespace."""
        return self.names.devices.get((host, device))

    def joined(self, endpoint: EndpointId) -> Recorded[EndpointJoined] | None:
        """Find the sandbox that an endpoint is in."""
        return self.endpoints.joined.get(endpoint)

    def joined_to(self, sandbox: SandboxId) -> Mapping[EndpointId, Position]:
        """List the endpoints in a sandbox."""
        return self.sandboxes.endpoints.get(sandbox, _NONE)

    def sandbox(self, sandbox: SandboxId) -> Recorded[SandboxCreated] | None:
        """Find a sandbox."""
        return self.sandboxes.sandboxes.get(sandbox)

    def sandbox_in(self, host: HostId, namespace: NamespaceIdentity) -> SandboxId | None:
        """Find the sandbox whose namespace, which is not ours, is this one."""
        return self.sandboxes.sandbox_in(host, namespace)

    def sandbox_of(self, host: HostId, container: str) -> SandboxId | None:
        """Find the sandbox of a container."""
        return self.names.containers.get((host, container))

    def gateway(self, sandbox: SandboxId, family: int) -> EndpointId | None:
        """Find the endpoint that is a sandbox's way out for an address family."""
        record = self.sandboxes.gateways.get((sandbox, family))
        return record.event.endpoint if record else None

    def pools_of(self, scope: str, space: str) -> Iterable[Recorded[PoolAllocated]]:
        """List the pools taken from an address space."""
        return [self.ipam.pools[pool] for pool in self.ipam.by_space.get((scope, space), _NONE)]

    def pool(self, pool: PoolId) -> Recorded[PoolAllocated] | None:
        """Find a pool, as it was taken."""
        return self.ipam.pools.get(pool)

    def pool_user(self, pool: PoolId) -> NetworkId | None:
        """Find the network that uses a pool, which it may have claimed."""
        claim = self.ipam.claims.get(pool)
        return claim.event.network if claim is not None else self.ipam.pools[pool].event.network or None

    def holders_in(self, pool: PoolId) -> Iterable[Recorded[AddressAllocated]]:
        """List who holds which address of a pool, ascending."""
        return self.ipam.holders_in(pool)

    def reservation(self, pool: PoolId, address: bytes) -> Recorded[AddressReservationMade] | None:
        """Find for which name an address is kept."""
        reserved = self.ipam.reservations.get(pool)
        return reserved.get(address) if reserved is not None else None

    def reservation_for(self, pool: PoolId, name: str) -> Recorded[AddressReservationMade] | None:
        """Find which address of a pool is kept for a name."""
        address = self.ipam.reserved_names.get((pool, name))
        return self.reservation(pool, address) if address is not None else None

    def reservations_in(self, pool: PoolId) -> Iterable[Recorded[AddressReservationMade]]:
        """List the addresses of a pool that are kept for names, the oldest reservation first."""
        return tuple(self.ipam.reservations.get(pool, {}).values())

    def reservations(self) -> Iterable[Recorded[AddressReservationMade]]:
        """List every address that is kept for a name."""
        return [made for reserved in self.ipam.reservations.values() for made in reserved.values()]

    def resting(self, pool: PoolId) -> Mapping[bytes, Recorded[AddressReleased]]:
        """List the addresses of a pool that may still be at rest, the one that was released first before the others."""
        return self.ipam.resting.get(pool, {})

    def gone(self) -> Mapping[EndpointId, Recorded[EndpointLeft]]:
        """List the endpoints whose sandbox was lost with its namespace, and which have joined none since."""
        return self.endpoints.gone

    def configuration(self, host: HostId) -> Recorded[ConfigurationChanged] | None:
        """Find a host's settings, where they were ever changed."""
        return self.networks.configurations.get(host)

    def firewall(self, host: HostId) -> Recorded[FirewallChosen] | None:
        """Find which firewall backend a host's dataplane programs, where one was ever chosen."""
        return self.firewalls.chosen.get(host)

    def retiring(self, host: HostId) -> tuple[str, ...]:
        """List the firewall backends whose rules are still to be taken away on a host, that of the first move first."""
        return tuple(backend for of, backend in self.firewalls.retiring if of == host)

    def holder(self, pool: PoolId, address: bytes) -> Recorded[AddressAllocated] | None:
        """Find who holds an address."""
        return self.ipam.holders.get((pool, address))

    def free_ordinal(self, pool: PoolId, low: int, high: int, now: int) -> int | None:
        """Choose, by the pool's policy, an ordinal from `low` to `high` that is free `now`: not kept, not at rest."""
        return self.ipam.free_ordinal(pool, low, high, now)

    def networks_on(self, host: HostId) -> Iterable[Recorded[NetworkCreated]]:
        """List the networks of a host."""
        return [network for network in self.networks.networks.values() if network.event.host == host]

    def opened_of(self, endpoint: EndpointId) -> Sequence[Recorded[PortOpened]]:
        """List the ports that an endpoint publishes at its own address."""
        return tuple(self.ports.opened.get(endpoint, {}).values())

    def ports_of(self, endpoint: EndpointId) -> Sequence[Recorded[PortBound]]:
        """List the host ports that an endpoint holds."""
        return tuple(self.ports.by_endpoint.get(endpoint, {}).values())

    def port_holders(self, host: HostId, protocol: int, host_port: int) -> Sequence[Recorded[PortBound]]:
        """List who holds a port of a host, at any of its addresses."""
        return tuple(self.ports.by_number.get((host, protocol, host_port), {}).values())

    def last_ephemeral_port(self, host: HostId, protocol: int) -> int:
        """Name the host port that was last chosen; 0 when none was."""
        return self.ports.last_chosen.get((host, protocol), 0)

    def is_published(self, endpoint: EndpointId, family: int) -> bool:
        """Whether an endpoint's ports of an address family are published."""
        return (endpoint, family) in self.ports.published
