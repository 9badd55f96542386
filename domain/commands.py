"""Everything that can be asked: commands, in the imperative.

Ids and facts come in with the command, so that deciding is pure. Knows nothing of: who asks, when, why (see `Origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from .events import DEFAULT_IPAM, LOCAL_DEFAULT, OptionValue, StaticRoute
from .facts import NamespaceIdentity
from .resolution import Resolution
from .values import (
    AllocationPolicy,
    EndpointId,
    HostId,
    NetworkId,
    PoolId,
    PortRequest,
    PredefinedPool,
    SandboxId,
    SandboxKind,
    Subnet,
)


class PoolRequest(Struct, frozen=True):
    """A block of addresses to take (None: any predefined one of `family`) and its gateway (None: the first address).

    `space`: the address space that it is taken from. `size`: the prefix length of a block that is chosen (0: as
    configured). `sub_pool`: the part of it that addresses are chosen from. `auxiliary`: addresses in it that nobody is
    to get, by name. `rest_seconds`: so long an address rests before another gets it. `grace_seconds`: so long the
    sticky policy keeps it for the name that had it.
    """

    family: int
    subnet: Subnet | None = None
    gateway: bytes | None = None
    policy: AllocationPolicy = AllocationPolicy.NEXT
    space: str = LOCAL_DEFAULT
    size: int = 0
    sub_pool: Subnet | None = None
    auxiliary: Mapping[str, bytes] = {}
    rest_seconds: int = 0
    grace_seconds: int = 0


class CreateNetwork(Struct, frozen=True, tag=True):
    """Create a network; `options` are the driver's, as given, and `ipam_options` those of what gives its addresses.

    `config_from` names a configuration network, which has all of them instead: then they are left at their defaults.
    """

    network: NetworkId
    name: str
    driver: str = "bridge"
    pools: tuple[PoolRequest, ...] = (PoolRequest(4),)
    internal: bool = False
    options: Mapping[str, OptionValue] = {}
    labels: Mapping[str, str] = {}
    ipam_driver: str = DEFAULT_IPAM
    ipam_options: Mapping[str, OptionValue] = {}
    config_from: str = ""


class CreateConfigurationNetwork(Struct, frozen=True, tag=True):
    """Keep settings for networks to be made with: a configuration-only network."""

    network: NetworkId
    name: str
    pools: tuple[PoolRequest, ...] = (PoolRequest(4),)
    options: Mapping[str, OptionValue] = {}
    labels: Mapping[str, str] = {}
    ipam_driver: str = DEFAULT_IPAM
    ipam_options: Mapping[str, OptionValue] = {}


class DeleteNetwork(Struct, frozen=True, tag=True):
    """Delete a network; with `force`, its endpoints first. A configuration network that is depended on is kept."""

    network: NetworkId
    force: bool = False


class CreateEndpoint(Struct, frozen=True, tag=True):
    """Create an endpoint; `addresses` are asked for, at most one of a family, the others are chosen.

    `options` are by libnetwork's labels: see `endpoint_options`. `link_local` are further addresses of its interface.
    """

    endpoint: EndpointId
    network: NetworkId
    name: str
    addresses: tuple[bytes, ...] = ()
    mac: bytes = b""
    ports: tuple[PortRequest, ...] = ()
    aliases: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    options: Mapping[str, OptionValue] = {}
    link_local: tuple[bytes, ...] = ()


class DeleteEndpoint(Struct, frozen=True, tag=True):
    """Delete an endpoint; with `force`, even from its sandbox."""

    endpoint: EndpointId
    force: bool = False


class CreateSandbox(Struct, frozen=True, tag=True):
    """Create a sandbox for a container. `path` leads to its namespace; `identity` says which it is, if not ours.

    `resolution`: what its hosts file and resolv.conf are to be made of; None: it has none.
    """

    sandbox: SandboxId
    container: str
    kind: SandboxKind = SandboxKind.MANAGED
    path: str = ""
    identity: NamespaceIdentity | None = None
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = {}
    resolution: Resolution | None = None


class DeleteSandbox(Struct, frozen=True, tag=True):
    """Delete a sandbox; with `force`, its endpoints are taken out of it first."""

    sandbox: SandboxId
    force: bool = False


class JoinEndpoint(Struct, frozen=True, tag=True):
    """Put an endpoint into a sandbox. The one with the highest priority is the way out.

    `interface` empty: the endpoint's option, else the network's prefix and the lowest unused number. `routes` are
    further ones, by its interface.
    """

    endpoint: EndpointId
    sandbox: SandboxId
    priority: int = 0
    interface: str = ""
    routes: tuple[StaticRoute, ...] = ()


class LeaveEndpoint(Struct, frozen=True, tag=True):
    """Take an endpoint out of the sandbox that it is in."""

    endpoint: EndpointId


class AddAlias(Struct, frozen=True, tag=True):
    """Give an endpoint another name in its network."""

    endpoint: EndpointId
    alias: str


class RemoveAlias(Struct, frozen=True, tag=True):
    """Take one of its other names from an endpoint."""

    endpoint: EndpointId
    alias: str


class RegisterHost(Struct, frozen=True, tag=True):
    """Begin to keep a host's networks in this log."""

    host: HostId
    name: str
    boot: str


class RecordBoot(Struct, frozen=True, tag=True):
    """Record that the host runs with this boot id."""

    boot: str


class SetSandboxKey(Struct, frozen=True, tag=True):
    """Hand over a delegated sandbox's namespace, which is at `path`; `identity` says which it is."""

    sandbox: SandboxId
    path: str
    identity: NamespaceIdentity | None = None


class RenameSandbox(Struct, frozen=True, tag=True):
    """Give a sandbox's container another name."""

    sandbox: SandboxId
    container: str


class LoseSandbox(Struct, frozen=True, tag=True):
    """Record that a sandbox's namespace, which is not ours, is gone or another one."""

    sandbox: SandboxId
    evidence: str


class Configure(Struct, frozen=True, tag=True):
    """Set from where predefined pools are taken (none: libnetwork's), and how long leases are retained."""

    default_pools: tuple[PredefinedPool, ...] = ()
    retention_seconds: int = 0


class ChooseFirewall(Struct, frozen=True, tag=True):
    """Have the host's dataplane program a firewall backend by name, or (`auto`) the first that works.

    `lacking` says of backends why they cannot be used on this host; None where nobody looked. `force`: even if what
    another backend has programmed cannot be taken away there.
    """

    asked: str
    force: bool = False
    lacking: Mapping[str, str] | None = None


class RetireFirewall(Struct, frozen=True, tag=True):
    """Record that what a firewall backend before the present one had programmed is gone."""

    backend: str


class RequestPool(Struct, frozen=True, tag=True):
    """Take a pool that no network uses yet, under the id of a lease: what Docker's IPAM plugins are asked for."""

    pool: PoolRequest
    lease: str


class ReleasePool(Struct, frozen=True, tag=True):
    """Give back a pool that was taken by `RequestPool`; with a `lease`, only that one's."""

    pool: PoolId
    lease: str = ""


class RequestAddress(Struct, frozen=True, tag=True):
    """Take an address of a pool, a certain one or (empty) a free one, for nobody yet but the id of a lease."""

    pool: PoolId
    lease: str
    address: bytes = b""


class ReleaseAddress(Struct, frozen=True, tag=True):
    """Give back an address that was taken by `RequestAddress`; with a `lease`, only that one's."""

    pool: PoolId
    address: bytes
    lease: str = ""


class ReserveAddress(Struct, frozen=True, tag=True):
    """Keep an address of a network for the endpoint of a name, which gets it whenever it is created."""

    network: NetworkId
    name: str
    address: bytes


class EndReservation(Struct, frozen=True, tag=True):
    """Do not keep an address for a name any more."""

    network: NetworkId
    address: bytes


class Expire(Struct, frozen=True, tag=True):
    """End the reservations whose time is over, and delete the endpoints whose owner is proven gone.

    Those that were proven gone within the last `retention_seconds` stay (None: as configured).
    """

    retention_seconds: int | None = None


Command: TypeAlias = (
    CreateNetwork
    | DeleteNetwork
    | CreateConfigurationNetwork
    | CreateEndpoint
    | DeleteEndpoint
    | CreateSandbox
    | DeleteSandbox
    | JoinEndpoint
    | LeaveEndpoint
    | AddAlias
    | RemoveAlias
    | RegisterHost
    | RecordBoot
    | LoseSandbox
    | SetSandboxKey
    | RenameSandbox
    | Configure
    | ChooseFirewall
    | RetireFirewall
    | RequestPool
    | ReleasePool
    | RequestAddress
    | ReleaseAddress
    | ReserveAddress
    | EndReservation
    | Expire
)
