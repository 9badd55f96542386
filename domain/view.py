"""What rules may ask of the current state. The projections answer; everything here is read only.

Knows nothing of: how the state is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from .events import (
    UNCLAIMED,
    AddressAllocated,
    AddressReleased,
    AddressReservationMade,
    ConfigurationChanged,
    ConfigurationNetworkCreated,
    EndpointCreated,
    EndpointJoined,
    EndpointLeft,
    Entity,
    FirewallChosen,
    HostRegistered,
    NetworkCreated,
    PoolAllocated,
    PortBound,
    PortOpened,
    Recorded,
    SandboxCreated,
)
from .facts import NamespaceIdentity
from .values import EndpointId, HostId, NetworkId, PoolId, Position, SandboxId


class View(Protocol):
    """The state at one position of the log."""

    @property
    def position(self) -> Position:
        """That of the last event which it knows of."""

    def host(self, host: HostId) -> Recorded[HostRegistered] | None:
        """Find a host that keeps its networks here."""

    def boot(self, host: HostId) -> str:
        """Name the boot that the host was last known to run in."""

    def network(self, network: NetworkId) -> Recorded[NetworkCreated] | None:
        """Find a network."""

    def network_named(self, scope: str, name: str) -> NetworkId | None:
        """Find a network by its name."""

    def configuration_network(self, network: NetworkId) -> Recorded[ConfigurationNetworkCreated] | None:
        """Find a configuration-only network."""

    def configuration_network_named(self, scope: str, name: str) -> NetworkId | None:
        """Find a configuration-only network by its name."""

    def dependents_of(self, configuration: NetworkId) -> Mapping[NetworkId, Position]:
        """List the networks that were made with the settings of a configuration network, the oldest first."""

    def endpoint(self, endpoint: EndpointId) -> Recorded[EndpointCreated] | None:
        """Find an endpoint."""

    def endpoint_named(self, network: NetworkId, name: str) -> EndpointId | None:
        """Find an endpoint by its name in its network."""

    def endpoints_of(self, network: NetworkId) -> Mapping[EndpointId, Position]:
        """List the endpoints of a network, the oldest first."""

    def aliases_of(self, endpoint: EndpointId) -> Mapping[str, Position]:
        """List the other names of an endpoint."""

    def mac_holder(self, network: NetworkId, mac: bytes) -> EndpointId | None:
        """Find who has a MAC address in a network."""

    def device_holder(self, host: HostId, device: str) -> Entity | None:
        """Find whose interface has this name in the host's namespace."""

    def joined(self, endpoint: EndpointId) -> Recorded[EndpointJoined] | None:
        """Find the sandbox that an endpoint is in."""

    def joined_to(self, sandbox: SandboxId) -> Mapping[EndpointId, Position]:
        """List the endpoints in a sandbox, in the order in which they joined."""

    def sandbox(self, sandbox: SandboxId) -> Recorded[SandboxCreated] | None:
        """Find a sandbox."""

    def sandbox_in(self, host: HostId, namespace: NamespaceIdentity) -> SandboxId | None:
        """Find the sandbox whose namespace, which is not ours, is this one."""

    def sandbox_of(self, host: HostId, container: str) -> SandboxId | None:
        """Find the sandbox of a container."""

    def gateway(self, sandbox: SandboxId, family: int) -> EndpointId | None:
        """Find the endpoint that is a sandbox's way out for an address family."""

    def pools_of(self, scope: str, space: str) -> Iterable[Recorded[PoolAllocated]]:
        """List the pools taken from an address space."""

    def pool(self, pool: PoolId) -> Recorded[PoolAllocated] | None:
        """Find a pool, as it was taken."""

    def pool_user(self, pool: PoolId) -> NetworkId | None:
        """Find the network that uses a pool, which it may have claimed."""

    def holders_in(self, pool: PoolId) -> Iterable[Recorded[AddressAllocated]]:
        """List who holds which address of a pool, ascending."""

    def reservation(self, pool: PoolId, address: bytes) -> Recorded[AddressReservationMade] | None:
        """Find for which name an address is kept."""

    def reservation_for(self, pool: PoolId, name: str) -> Recorded[AddressReservationMade] | None:
        """Find which address of a pool is kept for a name."""

    def reservations_in(self, pool: PoolId) -> Iterable[Recorded[AddressReservationMade]]:
        """List the addresses of a pool that are kept for names, the oldest reservation first."""

    def resting(self, pool: PoolId) -> Mapping[bytes, Recorded[AddressReleased]]:
        """List the addresses of a pool that may still be at rest, the one that was released first before the others."""

    def reservations(self) -> Iterable[Recorded[AddressReservationMade]]:
        """List every address that is kept for a name."""

    def gone(self) -> Mapping[EndpointId, Recorded[EndpointLeft]]:
        """List the endpoints whose sandbox was lost with its namespace, and which have joined none since."""

    def configuration(self, host: HostId) -> Recorded[ConfigurationChanged] | None:
        """Find a host's settings, where they were ever changed."""

    def firewall(self, host: HostId) -> Recorded[FirewallChosen] | None:
        """Find which firewall backend a host's dataplane programs, where one was ever chosen."""

    def retiring(self, host: HostId) -> tuple[str, ...]:
        """List the firewall backends whose rules are still to be taken away on a host, that of the first move first."""

    def holder(self, pool: PoolId, address: bytes) -> Recorded[AddressAllocated] | None:
        """Find who holds an address."""

    def free_ordinal(self, pool: PoolId, low: int, high: int, now: int) -> int | None:
        """Choose, by the pool's policy, an ordinal from `low` to `high` that is free `now`: not kept, not at rest."""

    def networks_on(self, host: HostId) -> Iterable[Recorded[NetworkCreated]]:
        """List the networks of a host, the oldest first."""

    def opened_of(self, endpoint: EndpointId) -> Sequence[Recorded[PortOpened]]:
        """List the ports that an endpoint publishes at its own address."""

    def ports_of(self, endpoint: EndpointId) -> Sequence[Recorded[PortBound]]:
        """List the host ports that an endpoint holds."""

    def port_holders(self, host: HostId, protocol: int, host_port: int) -> Sequence[Recorded[PortBound]]:
        """List who holds a port of a host, at any of its addresses."""

    def last_ephemeral_port(self, host: HostId, protocol: int) -> int:
        """Name the host port that was last chosen; 0 when none was."""

    def is_published(self, endpoint: EndpointId, family: int) -> bool:
        """Whether an endpoint's ports of an address family are published."""


def name_of(view: View, entity: Entity) -> str:
    """Say what people call a network, an endpoint or a sandbox: by its name, a sandbox by its container's."""
    kind, identifier = entity
    if kind == "network":
        network = view.network(NetworkId(identifier))
        return f"network {network.event.name}" if network else f"network {identifier[:12]}"
    if kind == "endpoint":
        endpoint = view.endpoint(EndpointId(identifier))
        return f"endpoint {endpoint.event.name}" if endpoint else f"endpoint {identifier[:12]}"
    if kind == UNCLAIMED:
        return f"unclaimed lease {identifier[:12]}"
    sandbox = view.sandbox(SandboxId(identifier))
    return f"the sandbox of container {sandbox.event.container}" if sandbox else f"sandbox {identifier[:12]}"
