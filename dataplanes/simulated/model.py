"""What a simulated kernel is made of: namespaces, devices, firewall. State only; `kernel.py` changes it.

Keeps: a device is in one namespace, under one name. Knows nothing of: packets, plans, the log.
Every address is packed: 4 or 16 bytes. `mark` says whose a thing is: the key of the object that it was made for, with
what the kernel object cannot say itself; None for what others made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ...domain.facts import NamespaceIdentity
from ...domain.objects import GatewayMode
from ...domain.values import EndpointId, NetworkId, SandboxId, Subnet

DEFAULT_MTU = 1500
LOOPBACK_MTU = 65536
BRIDGED_PACKETS_PASS = {4: "net.bridge.bridge-nf-call-iptables", 16: "net.bridge.bridge-nf-call-ip6tables"}

Mark: TypeAlias = NetworkId | EndpointId | None
"""As the kernel keeps it in a device's alias: the network of a bridge, the endpoint of a veth pair."""


@dataclass(eq=False, slots=True)
class Numbers:
    """Numbers from 1 on, each given once; a copy goes on from where it was copied."""

    last: int = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.last += 1
        return self.last


@dataclass(eq=False, slots=True)
class Device:
    """An interface. `addresses` are (address, prefix length); the value says whether they are ours."""

    name: str
    namespace: NetworkNamespace
    index: int
    mac: bytes = bytes(6)
    mtu: int = DEFAULT_MTU
    is_up: bool = True
    mark: Mark = None
    addresses: dict[tuple[bytes, int], bool] = field(default_factory=dict)
    added: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """When each of ours was added: of two routes to one subnet the older one counts."""
    bridge: BridgeDevice | None = None
    """The bridge that it is a port of."""
    is_isolated: bool = False
    is_hairpin: bool = False
    """Of a port: whether frames may leave where they came in."""
    children: list[Device] = field(default_factory=list)
    """The macvlan, ipvlan and vlan interfaces that stand on it, in whatever namespace they are."""
    description: str = "an interface"
    """What it is, in words, for whoever is refused because of it."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """The settings of this interface that are ours."""
    routes_loopback: set[int] = field(default_factory=set)
    """The families whose loopback addresses of the host are routed on it, a part of loopback access: for IPv4 by the
    setting route_localnet, for IPv6 by a route to ::1."""
    announced: tuple[int, int] | None = None
    """How often, and how many milliseconds apart, its addresses were announced."""


@dataclass(eq=False, slots=True)
class Loopback(Device):
    """`lo`: what is sent comes back."""


@dataclass(eq=False, slots=True)
class Ethernet(Device):
    """A network card on a cable that others are on, too."""

    segment: Segment | None = None


@dataclass(eq=False, slots=True)
class Veth(Device):
    """One end of a pair."""

    peer: Veth | None = None
    is_host_end: bool = False


@dataclass(eq=False, slots=True)
class BridgeDevice(Device):
    """A Linux bridge. `static` are FDB entries that somebody made; `learned` age, and go with their port."""

    ports: dict[str, Device] = field(default_factory=dict)
    static: dict[bytes, Device] = field(default_factory=dict)
    learned: dict[bytes, Device] = field(default_factory=dict)
    learned_at: dict[bytes, int] = field(default_factory=dict)
    """When each was last heard of, in seconds of `clock`."""
    clock: int = 0


@dataclass(eq=False, slots=True)
class Dummy(Device):
    """An interface that leads nowhere."""


@dataclass(eq=False, slots=True)
class Macvlan(Device):
    """A MAC address of its own on `parent`; `mode` bridge, private, vepa or passthru."""

    parent: Device | None = None
    mode: str = "bridge"


@dataclass(eq=False, slots=True)
class Ipvlan(Device):
    """Addresses of its own behind the MAC address of `parent`; `mode` l2, l3 or l3s; `flag` bridge, private or vepa."""

    parent: Device | None = None
    mode: str = "l2"
    flag: str = "bridge"


@dataclass(eq=False, slots=True)
class Vlan(Device):
    """Frames of `parent` that bear one 802.1Q tag."""

    parent: Device | None = None
    vlan: int = 0


@dataclass(eq=False, slots=True)
class Vxlan(Device):
    """Frames carried over UDP. `remotes` get what `fdb` (MAC address to remote address) does not know."""

    vni: int = 0
    local: bytes = b""
    remotes: list[bytes] = field(default_factory=list)
    fdb: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Segment:
    """A cable, or a switch that does nothing of its own: each frame comes out at every other device on it.

    One that `reflects` sends it back where it came from, too, as VEPA wants it (802.1Qbg).
    """

    name: str
    reflects: bool = False
    devices: dict[tuple[str, str], Ethernet] = field(default_factory=dict)
    """By host and name."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route out of a device; `gateway` empty: the destination is on the link."""

    destination: Subnet
    device: str
    gateway: bytes = b""
    is_ours: bool = False
    metric: int = 0


@dataclass(eq=False, slots=True)
class Firewall:
    """This instance's table: the sets and maps of `ruleset.nft`, whose rules `firewall.py` carries out.

    Fields have the names of the sets; a pair of a bridge with itself (`same`, `icc`) is that bridge's name.
    """

    bridges: set[str] = field(default_factory=set)
    same: set[str] = field(default_factory=set)
    icc: set[str] = field(default_factory=set)
    internal: set[str] = field(default_factory=set)
    modes: dict[int, dict[str, GatewayMode]] = field(default_factory=lambda: {4: {}, 6: {}})
    """By family, the bridges whose mode is another than `nat`."""
    trusted: set[tuple[str, str]] = field(default_factory=set)
    """(interface, bridge)"""
    loopback: dict[int, set[str]] = field(default_factory=lambda: {4: set(), 6: set()})
    reaches_loopback6: bool = False
    """Whether what the host sends to ::1 is translated: the set `reached6`."""
    masquerade: dict[int, dict[str, bytes]] = field(default_factory=lambda: {4: {}, 6: {}})
    """By family and bridge the address that is taken; empty: the one of the interface that a packet leaves by."""
    open: set[tuple[int, bytes, int]] = field(default_factory=set)
    """(protocol, address, port) of endpoints"""
    ports: dict[tuple[int, bytes, int], tuple[bytes, int]] = field(default_factory=dict)
    """(protocol, host address, host port) to (address, port); a host address of zeros is every one of the host's."""


@dataclass(eq=False, slots=True)
class NetworkNamespace:
    """One network stack. `listeners` are (protocol, port); None: something answers at every port."""

    host: str
    sandbox: SandboxId
    """Empty for the host's own."""
    path: str = ""
    is_ours: bool = True
    identity: NamespaceIdentity | None = None
    """Which one it is, of those that others made at `path`."""
    devices: dict[str, Device] = field(default_factory=dict)
    routes: list[RouteEntry] = field(default_factory=list)
    neighbours: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    """Static ones: (device, address) to MAC address."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Values by name, whoever set them; what is not here has the kernel's default."""
    asked_sysctls: set[str] = field(default_factory=set)
    """Those that are asked for; they are not turned back when they no longer are."""
    listeners: set[tuple[int, int]] | None = None
    firewall: Firewall | None = None
    adopted: set[str] = field(default_factory=set)
    """Bridges that others made and that are used as if they were ours."""
    indices: Iterator[int] = field(default_factory=Numbers)

    @property
    def which(self) -> NamespaceIdentity | str:
        """What tells it from others: the identity, or the path of one that is ours."""
        return self.identity or self.path

    def filters_bridged(self, width: int) -> bool:
        """Whether bridged packets, with addresses so wide, pass the IP layer's hooks.

        Unless set they do not: not every machine has br_netfilter.
        """
        return self.sysctls.get(BRIDGED_PACKETS_PASS[width], "0") == "1"

    def __post_init__(self) -> None:
        self.devices["lo"] = Loopback("lo", self, next(self.indices), mtu=LOOPBACK_MTU)
