"""The kernel objects that a host can have: a small closed vocabulary of frozen values.

Keeps: one object, one `key`; two objects with the same key and unequal fields are the same thing, altered.
What is here is the same for the kernel and the simulator. Knows nothing of: how either makes them.

`sandbox` names the namespace that an object stands in; the empty string is the host's own. A key has the whole id, a
printed object its first digits.
"""

from __future__ import annotations

from typing import NewType, TypeAlias

from msgspec import Struct

from .values import PROTOCOL_NAMES, EndpointId, NetworkId, SandboxId, Subnet, format_address, format_host, format_mac

Key = NewType("Key", str)

HOST_NAMESPACE = SandboxId("")
ID_SHOWN = 12


class Sysctl(Struct, frozen=True, gc=False, tag=True):
    """A kernel setting: `name` in dots as sysctl(8) writes it, an interface name's own dots as slashes."""

    sandbox: SandboxId
    name: str
    value: str

    @property
    def key(self) -> Key:
        return Key(f"sysctl/{self.sandbox or 'host'}/{self.name}")

    def __str__(self) -> str:
        return f"sysctl/{_place(self.sandbox)}/{self.name} = {self.value}"


class Firewall(Struct, frozen=True, gc=False, tag=True):
    """This instance's own table with its chains, sets and maps; the elements in them are objects of their own."""

    @property
    def key(self) -> Key:
        return Key("firewall")

    def __str__(self) -> str:
        return "firewall: own table, chains, sets and maps"


class Bridge(Struct, frozen=True, gc=False, tag=True):
    """A Linux bridge in the host namespace, up; `mtu` 0 is the kernel's default."""

    name: str
    network: NetworkId
    mac: bytes
    mtu: int

    @property
    def key(self) -> Key:
        return Key(f"bridge/{self.name}")

    def __str__(self) -> str:
        return (
            f"{self.key} mac {format_mac(self.mac)} mtu {self.mtu or 'default'} for network {self.network[:ID_SHOWN]}"
        )


class Masquerade(Struct, frozen=True, gc=False, tag=True):
    """What leaves `bridge` for the outside takes the host's address; `family` 4 or 6."""

    bridge: str
    family: int

    @property
    def key(self) -> Key:
        return Key(f"masquerade/{self.bridge}/ipv{self.family}")

    def __str__(self) -> str:
        return str(self.key)


class ForwardPolicy(Struct, frozen=True, gc=False, tag=True):
    """Who may be forwarded to and from `bridge`.

    In every case: replies, and connections to published ports. `icc`: its endpoints reach each other through the IP
    layer (where bridged frames pass it). `internal`: nothing crosses between the bridge and anything else.
    """

    bridge: str
    icc: bool
    internal: bool

    @property
    def key(self) -> Key:
        return Key(f"policy/{self.bridge}")

    def __str__(self) -> str:
        return f"{self.key} icc {'on' if self.icc else 'off'}{' internal' if self.internal else ''}"


class Namespace(Struct, frozen=True, gc=False, tag=True):
    """A network namespace of ours, held by a bind mount at `path`, its loopback up."""

    sandbox: SandboxId
    path: str

    @property
    def key(self) -> Key:
        return Key(f"namespace/{self.sandbox}")

    def __str__(self) -> str:
        return f"namespace/{_place(self.sandbox)} at {self.path}"


class VethPair(Struct, frozen=True, gc=False, tag=True):
    """A veth pair: the host end `host_name` is a port of `bridge`, the other end is `name` in `sandbox`.

    `isolated`: the port reaches no other isolated port of the bridge. `mtu` 0 is the kernel's default. `up` is false
    for a delegated sandbox: the container end stays in the host namespace, as it is, for a runtime to move; `sandbox`
    is then the host's.
    """

    host_name: str
    endpoint: EndpointId
    bridge: str
    sandbox: SandboxId
    name: str
    mac: bytes
    mtu: int
    isolated: bool
    up: bool = True

    @property
    def key(self) -> Key:
        return Key(f"veth/{self.host_name}")

    def __str__(self) -> str:
        return f"{self.key} on {self.bridge} <-> {self.name} in {_place(self.sandbox)} mac {format_mac(self.mac)}"


class Address(Struct, frozen=True, gc=False, tag=True):
    """An address on an interface; IPv6 without duplicate detection."""

    sandbox: SandboxId
    device: str
    address: bytes
    prefix: int

    @property
    def key(self) -> Key:
        return Key(f"address/{self.sandbox or 'host'}/{self._rest}")

    def __str__(self) -> str:
        return f"address/{_place(self.sandbox)}/{self._rest}"

    @property
    def _rest(self) -> str:
        return f"{self.device}/{format_address(self.address)}/{self.prefix}"


class Route(Struct, frozen=True, gc=False, tag=True):
    """A route by way of `gateway` (packed) out of `device`."""

    sandbox: SandboxId
    device: str
    destination: Subnet
    gateway: bytes

    @property
    def key(self) -> Key:
        return Key(f"route/{self.sandbox or 'host'}/{self.destination}")

    def __str__(self) -> str:
        where = f"route/{_place(self.sandbox)}/{self.destination}"
        return f"{where} via {format_address(self.gateway)} dev {self.device}"


class PortForward(Struct, frozen=True, gc=False, tag=True):
    """What reaches `host_port` of `host_address` goes to `port` of `address`.

    `host_address` all zero means every address of the host in that family.
    """

    protocol: int
    host_address: bytes
    host_port: int
    address: bytes
    port: int

    @property
    def key(self) -> Key:
        return Key(f"port/{PROTOCOL_NAMES[self.protocol]}/{format_host(self.host_address)}:{self.host_port}")

    def __str__(self) -> str:
        return f"{self.key} -> {format_host(self.address)}:{self.port}"


KernelObject: TypeAlias = (
    Sysctl | Firewall | Bridge | Masquerade | ForwardPolicy | Namespace | VethPair | Address | Route | PortForward
)

_KINDS: tuple[type[KernelObject], ...] = (
    Sysctl,
    Firewall,
    Bridge,
    Masquerade,
    ForwardPolicy,
    Namespace,
    VethPair,
    Address,
    Route,
    PortForward,
)
MAKING_ORDER: dict[type[KernelObject], int] = {kind: rank for rank, kind in enumerate(_KINDS)}
"""What is made before what; things are removed in the opposite order. A bridge's own address is made with addresses."""

Ground: TypeAlias = tuple[str, str]
"""What else stands on: a namespace (`SANDBOX`, ``), an interface in it (`SANDBOX`, `NAME`), the firewall."""

_FIREWALL: Ground = ("firewall", "")


def offers(made: KernelObject) -> tuple[Ground, ...]:
    """Name what goes away with this and takes what stands on it along. A bridge does not: it is altered in place."""
    match made:
        case Namespace():
            return ((made.sandbox, ""),)
        case VethPair():
            return ((made.sandbox, made.name),)
        case Firewall():
            return (_FIREWALL,)
        case _:
            return ()


def stands_on(made: KernelObject) -> tuple[Ground, ...]:
    """Name what this cannot be without."""
    match made:
        case VethPair():
            return ((made.sandbox, ""),)
        case Address() | Route():
            return ((made.sandbox, ""), (made.sandbox, made.device))
        case Masquerade() | ForwardPolicy() | PortForward():
            return (_FIREWALL,)
        case _:
            return ()


def _place(sandbox: SandboxId) -> str:
    return sandbox[:ID_SHOWN] or "host"
