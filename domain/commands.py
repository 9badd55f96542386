"""Everything that can be asked: commands, in the imperative.

Ids and facts come in with the command, so that deciding is pure. Knows nothing of: who asks, when, why (see `Origin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from .events import OptionValue, StaticRoute
from .facts import NamespaceIdentity
from .resolution import Resolution
from .values import AllocationPolicy, EndpointId, HostId, NetworkId, PortRequest, SandboxId, SandboxKind, Subnet


class PoolRequest(Struct, frozen=True):
    """A block of addresses to take (None: any predefined one of `family`) and its gateway (None: the first address)."""

    family: int
    subnet: Subnet | None = None
    gateway: bytes | None = None
    policy: AllocationPolicy = AllocationPolicy.NEXT


class CreateNetwork(Struct, frozen=True, tag=True):
    """Create a network; `options` are the driver's, as given."""

    network: NetworkId
    name: str
    driver: str = "bridge"
    pools: tuple[PoolRequest, ...] = (PoolRequest(4),)
    internal: bool = False
    options: Mapping[str, OptionValue] = {}
    labels: Mapping[str, str] = {}


class DeleteNetwork(Struct, frozen=True, tag=True):
    """Delete a network; with `force`, its endpoints first."""

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


Command: TypeAlias = (
    CreateNetwork
    | DeleteNetwork
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
)
