"""Everything that can have happened: immutable events, in the past tense, one fact each.

Keeps: a released event's fields are never renamed, retyped or reordered; new optional ones go at the end; anything
else is a new `VERSION` with an upcaster. Every value that a decision chose is in the event: replay chooses nothing.
Beside its fields an event says by which `tags` the log finds it, and which entities' kernel objects it `touched`.
Knows nothing of: where it is stored, what anything looks like in a kernel.
"""

from __future__ import annotations

from typing import ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct

from .facts import NamespaceIdentity
from .resolution import Resolution
from .values import (
    AllocationPolicy,
    EndpointId,
    HostId,
    NetworkId,
    PoolId,
    Position,
    PredefinedPool,
    SandboxId,
    SandboxKind,
    Subnet,
    format_address,
    format_mac,
)

Entity: TypeAlias = tuple[str, str]
"""A kind (`host`, `network`, `sandbox`, `endpoint`) and an id: what owns kernel objects."""

OptionValue: TypeAlias = bool | int | str

LOCAL_DEFAULT = "LocalDefault"
"""libnetwork's address space of one host."""

GLOBAL_DEFAULT = "GlobalDefault"
"""libnetwork's address space of all hosts."""

GLOBAL_SCOPE = "global"
"""The scope of what all hosts share, where others have a host's id."""

UNCLAIMED = "unclaimed"
"""The kind of an address's owner that is neither a network nor an endpoint: whoever asked for it, by a lease's id."""

DEFAULT_IPAM = "default"
"""The name of our own address management among IPAM drivers."""


class Origin(NamedTuple):
    """Where an event comes from: the five fields that every event starts with."""

    at: int
    actor: str
    request: str
    reason: str
    host: HostId


class Event(Struct, frozen=True, array_like=True, gc=False):
    """What every event starts with: `at` in UTC nanoseconds, who asked, in which request, why, on which host.

    `request` is `ID/INDEX#DIGEST`: the caller's request id, the command's place in its batch, and a digest of the
    command, by which a repeated request is recognised.
    """

    at: int
    actor: str
    request: str
    reason: str
    host: HostId

    VERSION: ClassVar[int] = 1

    def tags(self) -> tuple[str, ...]:
        """By which tags the log finds this event, without the request's."""
        return (f"host:{self.host}",)

    def touched(self) -> tuple[Entity, ...]:
        """Which entities may own other kernel objects after this event than before it."""
        return ()


EventT_co = TypeVar("EventT_co", bound=Event, covariant=True)


class Recorded(Struct, Generic[EventT_co], frozen=True, gc=False):
    """An event and its position in the log."""

    position: Position
    event: EventT_co


def tags_of(event: Event) -> tuple[str, ...]:
    """All tags of an event."""
    return (*event.tags(), f"request:{event.request.partition('#')[0]}")


# --- hosts -----------------------------------------------------------------------------------------------------------


class HostRegistered(Event, frozen=True):
    """A host began to keep its networks in this log."""

    name: str
    boot: str

    def touched(self) -> tuple[Entity, ...]:
        return (("host", self.host),)


class HostBooted(Event, frozen=True):
    """The host was found to have booted anew: every namespace of an earlier boot is gone."""

    boot: str
    before: str


class ClockStepped(Event, frozen=True):
    """The host's clock was found behind the log's last event, by `back` nanoseconds."""

    back: int


class ConfigurationChanged(Event, frozen=True):
    """A host's settings became these: where predefined pools are taken from, and for how long leases are retained.

    No `default_pools`: libnetwork's. `retention_seconds`: so long an endpoint keeps its addresses whose sandbox's
    namespace is proven gone.
    """

    default_pools: tuple[PredefinedPool, ...]
    retention_seconds: int


class FirewallChosen(Event, frozen=True):
    """From here on the host's dataplane programs this firewall backend; what another has programmed is to go.

    `asked`: what was asked for, a backend's name or `auto`. `lacking`: what was found, with `auto`, of those that come
    before it in the choice: why they cannot be used on this host.
    """

    backend: str
    asked: str
    lacking: dict[str, str]


class FirewallRetired(Event, frozen=True):
    """What a firewall backend before the present one had programmed was taken away.

    `left`: why it could not be taken away, where somebody insisted on leaving that backend nevertheless.
    """

    backend: str
    left: str


# --- address pools and addresses -------------------------------------------------------------------------------------


class PoolAllocated(Event, frozen=True):
    """A block of addresses was taken from an address space, for a network or for whoever asked for it (`lease`).

    `predefined` is true where netledger chose the block; `avoided` is then what the host was seen to use already.
    `policy`: which free address an endpoint gets; only of `sub_pool`, where there is one. An address that is given back
    is to rest for `rest_seconds`, and with the sticky policy kept for the endpoint's name for `grace_seconds`.
    `ipam_driver` decided; `driver_pool` is what another than ours calls the pool.
    """

    pool: PoolId
    scope: str
    space: str
    subnet: Subnet
    network: NetworkId
    predefined: bool
    policy: AllocationPolicy
    sub_pool: Subnet | None = None
    rest_seconds: int = 0
    grace_seconds: int = 0
    avoided: tuple[str, ...] = ()
    lease: str = ""
    ipam_driver: str = DEFAULT_IPAM
    driver_pool: str = ""

    def tags(self) -> tuple[str, ...]:
        return pool_tags(self.pool, self.scope, self.space, self.network)


class PoolReleased(Event, frozen=True):
    """A block of addresses went back to its address space."""

    pool: PoolId
    scope: str
    space: str
    subnet: Subnet
    network: NetworkId

    def tags(self) -> tuple[str, ...]:
        return pool_tags(self.pool, self.scope, self.space, self.network)


class PoolClaimed(Event, frozen=True):
    """A network began to use a pool that somebody had asked for under `lease`."""

    pool: PoolId
    scope: str
    space: str
    network: NetworkId
    lease: str

    def tags(self) -> tuple[str, ...]:
        return pool_tags(self.pool, self.scope, self.space, self.network)


class PoolDisclaimed(Event, frozen=True):
    """A network ceased to use a pool, which is again that of whoever asked for it under `lease`."""

    pool: PoolId
    scope: str
    space: str
    network: NetworkId
    lease: str

    def tags(self) -> tuple[str, ...]:
        return pool_tags(self.pool, self.scope, self.space, self.network)


def pool_tags(pool: PoolId, scope: str, space: str, network: NetworkId) -> tuple[str, ...]:
    """Tag what happens to a pool; one that nobody has claimed is no network's."""
    tags = (f"pool:{pool}", space_tag(scope, space))
    return (*tags, f"network:{network}") if network else tags


def space_tag(scope: str, space: str) -> str:
    """Tag an address space."""
    return f"space:{scope}/{space}"


class AddressAllocated(Event, frozen=True):
    """An address was taken from a pool by `owner`: a network, an endpoint, or `("unclaimed", LEASE)`.

    `purpose`: gateway, auxiliary (a network's, which calls it `name`), endpoint, unclaimed. `decided_by` is `netledger`
    where it chose the address, `caller` where it was asked for, `driver` where another IPAM driver chose it, and
    `reservation` where it was kept for the owner's name. `lease`: that of an unclaimed address which the owner claimed,
    or has back. `rest_cut`: so many nanoseconds early was it taken from its rest.
    """

    pool: PoolId
    address: bytes
    owner: Entity
    purpose: str
    decided_by: str
    name: str = ""
    lease: str = ""
    rest_cut: int = 0

    def tags(self) -> tuple[str, ...]:
        return address_tags(self.pool, self.address, self.owner)


class AddressReleased(Event, frozen=True):
    """An address went back to its pool. `why`: what took it from an owner that did not give it."""

    pool: PoolId
    address: bytes
    owner: Entity
    why: str = ""

    def tags(self) -> tuple[str, ...]:
        return address_tags(self.pool, self.address, self.owner)


class AddressReservationMade(Event, frozen=True):
    """An address is kept for the endpoint of a name: until a time in UTC nanoseconds, or (0) until it is ended."""

    pool: PoolId
    address: bytes
    network: NetworkId
    name: str
    until: int

    def tags(self) -> tuple[str, ...]:
        return address_tags(self.pool, self.address, ("network", self.network))


class AddressReservationEnded(Event, frozen=True):
    """An address is not kept for a name any more; `why`."""

    pool: PoolId
    address: bytes
    network: NetworkId
    name: str
    why: str

    def tags(self) -> tuple[str, ...]:
        return address_tags(self.pool, self.address, ("network", self.network))


def address_tags(pool: PoolId, address: bytes, owner: Entity) -> tuple[str, ...]:
    """Tag what happens to one address."""
    text = format_address(address)
    return (f"pool:{pool}", f"address:{pool}/{text}", f"ip:{text}", f"{owner[0]}:{owner[1]}")


# --- networks --------------------------------------------------------------------------------------------------------


class NetworkPool(Struct, frozen=True, array_like=True, gc=False):
    """A pool of a network, and the address that its gateway has there; empty where it has none."""

    pool: PoolId
    subnet: Subnet
    gateway: bytes


class NetworkCreated(Event, frozen=True):
    """A network came to be. `options` are the driver's, after defaults; `device` the interface that carries it.

    `abilities`: what the host could do then and this network makes use of (some of `facts.FEATURES`). `uses`: what of
    the host it stands on, beside its own interface, and others may be refused for: `parent:NAME`, `driver:NAME`.
    `is_adopted`: its bridge was there before. `makes_parent`: its parent is a VLAN interface of ours.
    `ipam_driver` gives its addresses, by `ipam_options`; those of ours are kept where they differ from the defaults.
    `config_from`: the configuration network that its settings were taken from, and which stays as long as it.
    """

    network: NetworkId
    name: str
    scope: str
    driver: str
    device: str
    internal: bool
    pools: tuple[NetworkPool, ...]
    options: dict[str, OptionValue]
    labels: dict[str, str]
    abilities: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    is_adopted: bool = False
    makes_parent: bool = False
    ipam_driver: str = DEFAULT_IPAM
    ipam_options: dict[str, OptionValue] = {}
    config_from: str = ""

    def tags(self) -> tuple[str, ...]:
        tags = network_tags(self.network, self.scope, self.name, self.host, self.device)
        tags = (*tags, dependence_tag(NetworkId(self.config_from))) if self.config_from else tags
        return (*tags, *(use_tag(self.host, used) for used in self.uses))

    def touched(self) -> tuple[Entity, ...]:
        return (("host", self.host), ("network", self.network))

    @property
    def families(self) -> frozenset[int]:
        """The address families that it has pools of: 4, 6."""
        return frozenset(pool.subnet.family for pool in self.pools)


class NetworkDeleted(Event, frozen=True):
    """A network ceased to be. `forced`: its endpoints were taken away with it."""

    network: NetworkId
    name: str
    scope: str
    driver: str
    device: str
    forced: bool

    def tags(self) -> tuple[str, ...]:
        return network_tags(self.network, self.scope, self.name, self.host, self.device)

    def touched(self) -> tuple[Entity, ...]:
        return (("host", self.host), ("network", self.network))


def network_tags(network: NetworkId, scope: str, name: str, host: HostId, device: str) -> tuple[str, ...]:
    """Tag the beginning and the end of a network."""
    tags = (f"network:{network}", name_tag(scope, name))
    return (*tags, device_tag(host, device)) if device else tags


class ConfigurationPool(Struct, frozen=True, array_like=True, gc=False):
    """A pool that a network is to have: a `commands.PoolRequest` as it was asked for; empty: no gateway asked for."""

    family: int
    subnet: Subnet | None
    gateway: bytes
    policy: AllocationPolicy
    space: str
    size: int
    sub_pool: Subnet | None
    auxiliary: dict[str, bytes]
    rest_seconds: int
    grace_seconds: int


class ConfigurationNetworkCreated(Event, frozen=True):
    """A configuration-only network came to be: settings that networks are made with, and nothing in any kernel.

    It holds no pool. `options` are a driver's, as they were given: the driver of a network that is made with them
    checks them.
    """

    network: NetworkId
    name: str
    scope: str
    pools: tuple[ConfigurationPool, ...]
    options: dict[str, OptionValue]
    labels: dict[str, str]
    ipam_driver: str = DEFAULT_IPAM
    ipam_options: dict[str, OptionValue] = {}

    def tags(self) -> tuple[str, ...]:
        return network_tags(self.network, self.scope, self.name, self.host, "")


class ConfigurationNetworkDeleted(Event, frozen=True):
    """A configuration-only network ceased to be."""

    network: NetworkId
    name: str
    scope: str

    def tags(self) -> tuple[str, ...]:
        return network_tags(self.network, self.scope, self.name, self.host, "")


def dependence_tag(configuration: NetworkId) -> str:
    """Tag the creation of a network that depends on a configuration network."""
    return f"config-from:{configuration}"


def use_tag(host: HostId, used: str) -> str:
    """Tag what of a host a network stands on."""
    return f"uses:{host}/{used}"


def name_tag(scope: str, name: str) -> str:
    """Tag a network's name."""
    return f"name:network/{scope}/{name}"


def device_tag(host: HostId, device: str) -> str:
    """Tag an interface name in a host's namespace."""
    return f"device:{host}/{device}"


# --- endpoints -------------------------------------------------------------------------------------------------------


class EndpointAddress(Struct, frozen=True, array_like=True, gc=False):
    """An address of an endpoint, and the prefix length of the pool that it is from."""

    pool: PoolId
    address: bytes
    prefix: int


class EndpointCreated(Event, frozen=True):
    """An endpoint of a network came to be, with its addresses and MAC address (empty where it has none of its own).

    `options` are those that were given, by libnetwork's labels; `link_local` are further addresses, of no pool.
    """

    endpoint: EndpointId
    network: NetworkId
    name: str
    mac: bytes
    addresses: tuple[EndpointAddress, ...]
    labels: dict[str, str]
    options: dict[str, OptionValue] = {}
    link_local: tuple[bytes, ...] = ()

    def tags(self) -> tuple[str, ...]:
        return endpoint_tags(self.endpoint, self.network, self.name, self.mac)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


class EndpointDeleted(Event, frozen=True):
    """An endpoint ceased to be. `forced`: it was still joined, and was taken from its sandbox."""

    endpoint: EndpointId
    network: NetworkId
    name: str
    mac: bytes
    forced: bool

    def tags(self) -> tuple[str, ...]:
        return endpoint_tags(self.endpoint, self.network, self.name, self.mac)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


def endpoint_tags(endpoint: EndpointId, network: NetworkId, name: str, mac: bytes) -> tuple[str, ...]:
    """Tag the beginning and the end of an endpoint."""
    tags = (f"endpoint:{endpoint}", f"network:{network}", endpoint_name_tag(network, name))
    return (*tags, mac_tag(network, mac)) if mac else tags


def endpoint_name_tag(network: NetworkId, name: str) -> str:
    """Tag an endpoint's name in its network."""
    return f"name:endpoint/{network}/{name}"


def mac_tag(network: NetworkId, mac: bytes) -> str:
    """Tag a MAC address in a network."""
    return f"mac:{network}/{format_mac(mac)}"


class StaticRoute(Struct, frozen=True, array_like=True, gc=False):
    """A route of an endpoint's interface by way of `gateway`; without one the destination is on its link."""

    destination: Subnet
    gateway: bytes = b""

    def __str__(self) -> str:
        return f"{self.destination}{f' via {format_address(self.gateway)}' if self.gateway else ''}"


class EndpointJoined(Event, frozen=True):
    """An endpoint was put into a sandbox: `device` is its end in the host, `interface` the one in the sandbox.

    Both are empty where its network has no interfaces.
    """

    endpoint: EndpointId
    network: NetworkId
    sandbox: SandboxId
    device: str
    interface: str
    priority: int
    routes: tuple[StaticRoute, ...] = ()

    def tags(self) -> tuple[str, ...]:
        return join_tags(self.endpoint, self.sandbox, self.host, self.device)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint), ("sandbox", self.sandbox))


class EndpointLeft(Event, frozen=True):
    """An endpoint was taken out of its sandbox, is no way out of it any more, and its ports are not published.

    `cause` says what made it leave where nobody asked. `no_way_out`: why the sandbox, whose other networks lead
    nowhere, did not get an endpoint in the gateway bridge.
    """

    endpoint: EndpointId
    network: NetworkId
    sandbox: SandboxId
    device: str
    cause: str
    no_way_out: str = ""

    def tags(self) -> tuple[str, ...]:
        return join_tags(self.endpoint, self.sandbox, self.host, self.device)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint), ("sandbox", self.sandbox))


class EndpointAbandoned(Event, frozen=True):
    """An endpoint was taken out of its sandbox by force: `cause` is what was forced, `evidence` what allowed it.

    `no_way_out` as for `EndpointLeft`.
    """

    endpoint: EndpointId
    network: NetworkId
    sandbox: SandboxId
    device: str
    cause: str
    evidence: str
    no_way_out: str = ""

    def tags(self) -> tuple[str, ...]:
        return join_tags(self.endpoint, self.sandbox, self.host, self.device)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint), ("sandbox", self.sandbox))


def join_tags(endpoint: EndpointId, sandbox: SandboxId, host: HostId, device: str) -> tuple[str, ...]:
    """Tag an endpoint's stay in a sandbox."""
    tags = (f"endpoint:{endpoint}", f"sandbox:{sandbox}")
    return (*tags, device_tag(host, device)) if device else tags


class AliasAdded(Event, frozen=True):
    """An endpoint got another name in its network; endpoints may share one."""

    endpoint: EndpointId
    network: NetworkId
    alias: str

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", endpoint_name_tag(self.network, self.alias))


class AliasRemoved(Event, frozen=True):
    """An endpoint lost one of its other names."""

    endpoint: EndpointId
    network: NetworkId
    alias: str

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", endpoint_name_tag(self.network, self.alias))


# --- published ports -------------------------------------------------------------------------------------------------


class PortBound(Event, frozen=True):
    """An endpoint took a port of the host: `host_port` of `host_address` stands for `port` of its `address`.

    `decided_by` is `netledger` where it chose the host port and `caller` where it was asked for. `chosen_from`: first
    and last port of the host's range that it was chosen from, where that is another than 49153 to 65535.
    """

    endpoint: EndpointId
    protocol: int
    host_address: bytes
    host_port: int
    address: bytes
    port: int
    decided_by: str
    chosen_from: tuple[int, ...] = ()

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", port_tag(self.host, self.protocol, self.host_port))

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


class PortReleased(Event, frozen=True):
    """An endpoint gave a port of the host back."""

    endpoint: EndpointId
    protocol: int
    host_address: bytes
    host_port: int

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", port_tag(self.host, self.protocol, self.host_port))

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


class PortOpened(Event, frozen=True):
    """An endpoint's port was published at its own `address`: reached by routing, while it is in a sandbox."""

    endpoint: EndpointId
    protocol: int
    address: bytes
    port: int

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}",)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


class PortClosed(Event, frozen=True):
    """An endpoint's port ceased to be published at its own address."""

    endpoint: EndpointId
    protocol: int
    address: bytes
    port: int

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}",)

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


def port_tag(host: HostId, protocol: int, host_port: int) -> str:
    """Tag a port of a host, whatever the host address."""
    return f"ports:{host}/{protocol}/{host_port}"


class PortsProgrammed(Event, frozen=True):
    """An endpoint's ports of one address family began to be published: it is its sandbox's gateway there."""

    endpoint: EndpointId
    sandbox: SandboxId
    family: int

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", f"sandbox:{self.sandbox}")

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


class PortsRevoked(Event, frozen=True):
    """An endpoint's ports of one address family ceased to be published."""

    endpoint: EndpointId
    sandbox: SandboxId
    family: int

    def tags(self) -> tuple[str, ...]:
        return (f"endpoint:{self.endpoint}", f"sandbox:{self.sandbox}")

    def touched(self) -> tuple[Entity, ...]:
        return (("endpoint", self.endpoint),)


# --- sandboxes -------------------------------------------------------------------------------------------------------


class SandboxCreated(Event, frozen=True):
    """A sandbox came to be. `path` leads to its namespace; `identity` says which that was, where it is not ours.

    `resolution`: what its hosts file and resolv.conf are made of; None where its creator wants none.
    """

    sandbox: SandboxId
    container: str
    kind: SandboxKind
    path: str
    identity: NamespaceIdentity | None
    hostname: str
    domainname: str
    labels: dict[str, str]
    resolution: Resolution | None = None

    def tags(self) -> tuple[str, ...]:
        tags = (f"sandbox:{self.sandbox}", container_tag(self.host, self.container))
        return (*tags, namespace_tag(self.host, self.identity)) if self.identity is not None else tags

    def touched(self) -> tuple[Entity, ...]:
        return (("sandbox", self.sandbox),)


class SandboxKeySet(Event, frozen=True):
    """A delegated sandbox's namespace was handed over: from here on it is an attached one, at `path`.

    `endpoints` are in it: their interfaces are ours to configure.
    """

    sandbox: SandboxId
    container: str
    path: str
    identity: NamespaceIdentity
    endpoints: tuple[EndpointId, ...]

    def tags(self) -> tuple[str, ...]:
        return (f"sandbox:{self.sandbox}", namespace_tag(self.host, self.identity))

    def touched(self) -> tuple[Entity, ...]:
        return (("sandbox", self.sandbox), *(("endpoint", endpoint) for endpoint in self.endpoints))


class SandboxRenamed(Event, frozen=True):
    """A sandbox's container got another name; it was `before`."""

    sandbox: SandboxId
    container: str
    before: str

    def tags(self) -> tuple[str, ...]:
        names = (container_tag(self.host, self.container), container_tag(self.host, self.before))
        return (f"sandbox:{self.sandbox}", *names)


class SandboxLost(Event, frozen=True):
    """A sandbox ceased to be because its namespace is gone or another one; `evidence` says which."""

    sandbox: SandboxId
    container: str
    evidence: str

    def tags(self) -> tuple[str, ...]:
        return (f"sandbox:{self.sandbox}", container_tag(self.host, self.container))

    def touched(self) -> tuple[Entity, ...]:
        return (("sandbox", self.sandbox),)


class SandboxDeleted(Event, frozen=True):
    """A sandbox ceased to be. `forced`: endpoints were taken out of it."""

    sandbox: SandboxId
    container: str
    forced: bool

    def tags(self) -> tuple[str, ...]:
        return (f"sandbox:{self.sandbox}", container_tag(self.host, self.container))

    def touched(self) -> tuple[Entity, ...]:
        return (("sandbox", self.sandbox),)


def container_tag(host: HostId, container: str) -> str:
    """Tag a container's id on its host."""
    return f"container:{host}/{container}"


def namespace_tag(host: HostId, identity: NamespaceIdentity) -> str:
    """Tag a namespace that is not ours."""
    return f"namespace:{host}/{identity.boot}/{identity.cookie}"


class GatewayElected(Event, frozen=True):
    """A sandbox's way out for one address family was chosen, and why. It lasts until the endpoint leaves."""

    sandbox: SandboxId
    family: int
    endpoint: EndpointId
    why: str

    def tags(self) -> tuple[str, ...]:
        return (f"sandbox:{self.sandbox}", f"endpoint:{self.endpoint}")

    def touched(self) -> tuple[Entity, ...]:
        return (("sandbox", self.sandbox),)


# --- dataplane -------------------------------------------------------------------------------------------------------


class DataplaneFaulted(Event, frozen=True):
    """The dataplane could not make or remove (`verb`) the object `key` of `owner`."""

    owner: Entity
    key: str
    verb: str
    number: int
    message: str

    def tags(self) -> tuple[str, ...]:
        return (f"host:{self.host}", f"{self.owner[0]}:{self.owner[1]}")


class DriftDetected(Event, frozen=True):
    """The host was found to differ from the log: one line for each object, as a plan prints it."""

    differences: tuple[str, ...]


class DriftRepaired(Event, frozen=True):
    """The host was made to agree with the log again: one line for each object, as a plan prints it."""

    repairs: tuple[str, ...]


class HostRebuilt(Event, frozen=True):
    """The host was rebuilt from the log: how many objects were made, replaced and removed."""

    made: int
    replaced: int
    removed: int


# --- other IPAM drivers than ours -------------------------------------------------------------------------------------


class ReturnOwed(Event, frozen=True):
    """An IPAM driver could not be given back what it had given, and will be; `message` is what was in the way.

    `driver_pool` is the driver's name for the pool; `address` empty: the pool itself.
    """

    ipam_driver: str
    driver_pool: str
    address: bytes
    message: str


class ReturnEnded(Event, frozen=True):
    """An IPAM driver was given back what it had given; `refused` is what it said if it would not have it."""

    ipam_driver: str
    driver_pool: str
    address: bytes
    refused: str


EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}
"""Every event there is, by the name that it has in the log."""
