"""The kernel objects that a host can have: a small closed vocabulary of frozen values.

Keeps: one object, one `key`; two objects with the same key and unequal fields are the same thing, altered.
What is here is the same for the kernel and the simulator. Knows nothing of: how either makes them.

`sandbox` names the namespace that an object stands in; the empty string is the host's own. A key has the whole id, a
printed object its first digits.
"""

from __future__ import annotations

import enum
from typing import NewType, TypeAlias

from msgspec import Struct

from .values import PROTOCOL_NAMES, EndpointId, NetworkId, SandboxId, Subnet, format_address, format_host, format_mac

Key = NewType("Key", str)

HOST_NAMESPACE = SandboxId("")
ID_SHOWN = 12


class GatewayMode(enum.StrEnum):
    """How a bridge network meets the outside, for one address family (libnetwork's words).

    `nat`: its endpoints go out under the host's address, and only published ports lead in. `nat-unprotected`: the same,
    but its endpoints' own addresses can be reached at every port. `routed`: no translation; of its endpoints' own
    addresses the published ports and ICMP can be reached. `isolated`: the host has no address there; only for
    internal networks.
    """

    NAT = "nat"
    NAT_UNPROTECTED = "nat-unprotected"
    ROUTED = "routed"
    ISOLATED = "isolated"


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


class InterfaceSysctl(Struct, frozen=True, gc=False, tag=True):
    """A kernel setting of an interface in a sandbox; gone with it. `name` as in `Sysctl`, with the interface's name in.

    Set before the interface gets addresses, since some (disable_ipv6) decide whether it can have any.
    """

    sandbox: SandboxId
    device: str
    name: str
    value: str

    @property
    def key(self) -> Key:
        return Key(f"sysctl/{self.sandbox or 'host'}/{self.name}")

    def __str__(self) -> str:
        return f"sysctl/{_place(self.sandbox)}/{self.name} = {self.value}"


class Bridge(Struct, frozen=True, gc=False, tag=True):
    """A Linux bridge in the host namespace, up; `mtu` 0 is the kernel's default.

    `adopted`: somebody else made it. It is never made, altered or deleted by us, and `network`, `mac` and `mtu` are
    empty: they are its owner's business. Making it takes notice of it (a fault where there is no such bridge), removing
    it lets go of it. It is observed where it is a bridge, bears no mark, and our firewall's table has its policy. Of
    its addresses only those are ours that we added.
    """

    name: str
    network: NetworkId
    mac: bytes
    mtu: int
    adopted: bool = False

    @property
    def key(self) -> Key:
        return Key(f"bridge/{self.name}")

    def __str__(self) -> str:
        if self.adopted:
            return f"{self.key} adopted"
        return f"{self.key} mac {format_mac(self.mac)} {_size(self.mtu)} for network {self.network[:ID_SHOWN]}"


class StandIn(Struct, frozen=True, gc=False, tag=True):
    """An Ethernet interface of the host, up, that leads nowhere: what a macvlan or ipvlan network without parent is on.

    How is the dataplane's choice: libnetwork makes a `dummy`; a kernel without it can have one end of a veth pair
    whose other end is up and has no address (a bridge without ports has no carrier, so nothing is sent on it).
    """

    name: str
    network: NetworkId

    @property
    def key(self) -> Key:
        return Key(f"stand-in/{self.name}")

    def __str__(self) -> str:
        return f"{self.key} for network {self.network[:ID_SHOWN]}"


class VlanLink(Struct, frozen=True, gc=False, tag=True):
    """An 802.1Q interface in the host namespace, up: the frames of `parent`, which is not ours, with the tag `vlan`.

    The host's, not a network's: several networks may stand on it, and with the last of them it goes.
    """

    name: str
    parent: str
    vlan: int

    @property
    def key(self) -> Key:
        return Key(f"vlan/{self.name}")

    def __str__(self) -> str:
        return f"{self.key} tag {self.vlan} on {self.parent}"


class Masquerade(Struct, frozen=True, gc=False, tag=True):
    """What leaves `bridge` for anything but a bridge of ours takes the host's address; `family` 4 or 6.

    Which address: `source` (packed), or where that is empty the one of the interface that it leaves by.
    """

    bridge: str
    family: int
    source: bytes = b""

    @property
    def key(self) -> Key:
        return Key(f"masquerade/{self.bridge}/ipv{self.family}")

    def __str__(self) -> str:
        return f"{self.key} as {format_address(self.source)}" if self.source else str(self.key)


class ForwardPolicy(Struct, frozen=True, gc=False, tag=True):
    """Who may be forwarded to and from `bridge`.

    The first that fits decides:

    1. what belongs to a connection that was let through: accepted;
    2. from the bridge to itself, with `icc`: accepted (where bridged frames pass the IP layer);
    3. from or to the bridge, with `internal`: dropped;
    4. to the bridge and translated by a `PortForward`: accepted;
    5. to the bridge from any other interface, in mode `nat-unprotected`: accepted;
    6. the same in mode `routed`: accepted if it is ICMP or to an `OpenPort`;
    7. to the bridge from one of the `trusted` interfaces, and to an `OpenPort`: accepted;
    8. to the bridge: dropped;
    9. from the bridge to anything else: accepted.

    So in mode `nat` an endpoint's own address is never reached from outside, not even at a published port: libnetwork
    needs a rule in the raw table for that, since its filter table cannot tell translated packets from others.
    `mode4` and `mode6` are those of packets of these families; `trusted` are names of interfaces, sorted.
    """

    bridge: str
    icc: bool
    internal: bool
    mode4: GatewayMode = GatewayMode.NAT
    mode6: GatewayMode = GatewayMode.NAT
    trusted: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return Key(f"policy/{self.bridge}")

    def __str__(self) -> str:
        words = [f"{self.key} icc {'on' if self.icc else 'off'}"]
        words += ["internal"] if self.internal else []
        words += [f"ipv4 {self.mode4}"] if self.mode4 is not GatewayMode.NAT else []
        words += [f"ipv6 {self.mode6}"] if self.mode6 is not GatewayMode.NAT else []
        words += [f"trusts {','.join(self.trusted)}"] if self.trusted else []
        return " ".join(words)


class LoopbackAccess(Struct, frozen=True, gc=False, tag=True):
    """The host reaches ports that are published on `bridge` at its loopback addresses, too; `family` 4 or 6.

    A connection from 127.0.0.0/8 or ::1 to a `PortForward` leaves by the bridge under the bridge's address, and its
    answer is let back. For IPv4 this takes `route_localnet` on the bridge, which is part of this object, and a rule
    that drops what comes in by any interface but `lo` and is addressed to 127.0.0.0/8. For IPv6 it takes a route to ::1
    out of the bridge, which is part of this object, and that bridged packets do not pass ip6tables: while they do, the
    object is one that sends nothing from ::1, so that connections to it are refused, and not lost.
    """

    bridge: str
    family: int

    @property
    def key(self) -> Key:
        return Key(f"loopback/{self.bridge}/ipv{self.family}")

    def __str__(self) -> str:
        return str(self.key)


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


class Macvlan(Struct, frozen=True, gc=False, tag=True):
    """A macvlan interface: `name` in `sandbox`, on `parent` in the host namespace, with a MAC address of its own.

    `mode` is `bridge`, `private`, `vepa` or `passthru`. It has the parent's MTU, whatever that is, and no end in the
    host namespace, so its key is its endpoint's. `up` is false for a delegated sandbox: the interface stays in the host
    namespace, as it is, for a runtime to move; `sandbox` is then the host's.
    """

    endpoint: EndpointId
    parent: str
    sandbox: SandboxId
    name: str
    mac: bytes
    mode: str
    up: bool = True

    @property
    def key(self) -> Key:
        return Key(f"macvlan/{self.endpoint}")

    def __str__(self) -> str:
        shown = f"macvlan/{self.endpoint[:ID_SHOWN]} {self.mode} on {self.parent} <-> {self.name}"
        return f"{shown} in {_place(self.sandbox)} mac {format_mac(self.mac)}"


class Ipvlan(Struct, frozen=True, gc=False, tag=True):
    """An ipvlan interface: `name` in `sandbox`, on `parent` in the host namespace, with the parent's MAC address.

    `mode` is `l2`, `l3` or `l3s`; `flag` is `bridge`, `private` or `vepa`; the rest is as for `Macvlan`.
    """

    endpoint: EndpointId
    parent: str
    sandbox: SandboxId
    name: str
    mode: str
    flag: str
    up: bool = True

    @property
    def key(self) -> Key:
        return Key(f"ipvlan/{self.endpoint}")

    def __str__(self) -> str:
        shown = f"ipvlan/{self.endpoint[:ID_SHOWN]} {self.mode} {self.flag} on {self.parent} <-> {self.name}"
        return f"{shown} in {_place(self.sandbox)}"


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
    """A route by way of `gateway` (packed) out of `device`; without a gateway the destination is on the link."""

    sandbox: SandboxId
    device: str
    destination: Subnet
    gateway: bytes

    @property
    def key(self) -> Key:
        return Key(f"route/{self.sandbox or 'host'}/{self.destination}")

    def __str__(self) -> str:
        where = f"route/{_place(self.sandbox)}/{self.destination}"
        return f"{where}{f' via {format_address(self.gateway)}' if self.gateway else ''} dev {self.device}"


class Announcement(Struct, frozen=True, gc=False, tag=True):
    """Tell the link, once, that the addresses of an interface in a sandbox are now at its MAC address.

    `count` gratuitous ARP requests (RFC 5944, 4.6) for each IPv4 address and unsolicited neighbour advertisements
    (RFC 4861, 7.2.6) for each IPv6 one, the first as soon as the interface is up and has them, the others each
    `interval_milliseconds` later, in the background. It leaves no trace, so no dataplane need observe it: see
    `TRACELESS`.
    """

    sandbox: SandboxId
    device: str
    count: int
    interval_milliseconds: int

    @property
    def key(self) -> Key:
        return Key(f"announcement/{self.sandbox or 'host'}/{self.device}")

    def __str__(self) -> str:
        shown = f"announcement/{_place(self.sandbox)}/{self.device}"
        return f"{shown} {self.count} times every {self.interval_milliseconds} ms"


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


class OpenPort(Struct, frozen=True, gc=False, tag=True):
    """A published port of an endpoint's own `address`: see `ForwardPolicy` for who may reach it there."""

    protocol: int
    address: bytes
    port: int

    @property
    def key(self) -> Key:
        return Key(f"open/{PROTOCOL_NAMES[self.protocol]}/{format_host(self.address)}:{self.port}")

    def __str__(self) -> str:
        return str(self.key)


class File(Struct, frozen=True, gc=False, tag=True):
    """A text file on the host, used by a sandbox: its hosts file or its resolv.conf.

    Once somebody has edited it, it is theirs, and it is neither written nor removed any more.
    """

    used_by: SandboxId
    path: str
    text: str

    @property
    def key(self) -> Key:
        return Key(f"file{self.path}")

    def __str__(self) -> str:
        return f"file {self.path} for {_place(self.used_by)}, {len(self.text.splitlines())} lines"


KernelObject: TypeAlias = (
    Sysctl
    | Firewall
    | Bridge
    | StandIn
    | VlanLink
    | Masquerade
    | ForwardPolicy
    | LoopbackAccess
    | Namespace
    | VethPair
    | Macvlan
    | Ipvlan
    | InterfaceSysctl
    | Address
    | Route
    | Announcement
    | File
    | PortForward
    | OpenPort
)

_KINDS: tuple[type[KernelObject], ...] = (
    Sysctl,
    Firewall,
    Bridge,
    StandIn,
    VlanLink,
    Masquerade,
    ForwardPolicy,
    LoopbackAccess,
    Namespace,
    VethPair,
    Macvlan,
    Ipvlan,
    InterfaceSysctl,
    Address,
    Route,
    Announcement,
    File,
    PortForward,
    OpenPort,
)
MAKING_ORDER: dict[type[KernelObject], int] = {kind: rank for rank, kind in enumerate(_KINDS)}
"""What is made before what; things are removed in the opposite order. A bridge's own address is made with addresses."""

TRACELESS: tuple[type[KernelObject], ...] = (Announcement,)
"""What is done rather than made: with what it stands on, and never undone. An observation need not have it."""

Ground: TypeAlias = tuple[str, str]
"""What else stands on: a namespace (`SANDBOX`, ``), an interface in it (`SANDBOX`, `NAME`), the firewall."""

_FIREWALL: Ground = ("firewall", "")


def offers(made: KernelObject) -> tuple[Ground, ...]:
    """Name what goes away with this and takes what stands on it along. A bridge does not: it is altered in place."""
    match made:
        case Namespace():
            return ((made.sandbox, ""),)
        case VethPair() | Macvlan() | Ipvlan():
            return ((made.sandbox, made.name),)
        case StandIn() | VlanLink():
            return ((HOST_NAMESPACE, made.name),)
        case Firewall():
            return (_FIREWALL,)
        case _:
            return ()


def is_of_firewall(made: KernelObject) -> bool:
    """Whether this is the firewall, or stands on it."""
    return _FIREWALL in offers(made) or _FIREWALL in stands_on(made)


def stands_on(made: KernelObject) -> tuple[Ground, ...]:
    """Name what this cannot be without; a parent may be somebody else's."""
    match made:
        case VethPair():
            return ((made.sandbox, ""),)
        case Macvlan() | Ipvlan():
            return ((made.sandbox, ""), (HOST_NAMESPACE, made.parent))
        case VlanLink():
            return ((HOST_NAMESPACE, made.parent),)
        case Address() | Route() | InterfaceSysctl() | Announcement():
            return ((made.sandbox, ""), (made.sandbox, made.device))
        case Masquerade() | ForwardPolicy() | LoopbackAccess() | PortForward() | OpenPort():
            return (_FIREWALL,)
        case _:
            return ()


def _size(mtu: int) -> str:
    """Write the MTU of a bridge; what is read back of one that is not as any of ours is has none."""
    return f"mtu {mtu or 'default'}" if mtu >= 0 else "down, or in another group"


def _place(sandbox: SandboxId) -> str:
    return sandbox[:ID_SHOWN] or "host"
