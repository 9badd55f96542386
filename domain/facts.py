"""Facts about a host that come in with a command and that no rule can find out for itself.

Knows nothing of: how they were found.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .values import PORT_LIMIT, Subnet

NOBODY = "nobody: "
"""How what is in the way of a name or port of the host begins where no other holds it; why follows, and what to do."""


class NamespaceIdentity(Struct, frozen=True, array_like=True, gc=False):
    """Which network namespace it is, whatever its path: SO_NETNS_COOKIE (or the inode), within one boot."""

    boot: str
    cookie: int


class HostLink(Struct, frozen=True, gc=False):
    """An interface in the host's namespace: its `kind` as ip(8) says it (empty for a card), and whether it is ours."""

    kind: str
    is_ours: bool = False


class Capabilities(Struct, frozen=True):
    """What a dataplane can make. `missing` says for each thing that it cannot, why and what to do about it.

    The names are those of `FEATURES`. `omits_firewall`: the host's firewall is somebody else's business, so that no
    object of it is to be asked for.
    """

    missing: Mapping[str, str]
    omits_firewall: bool = False

    def lacks(self, feature: str) -> str | None:
        """Why a feature is not to be had; None when it is."""
        return self.missing.get(feature)


BASIC_FEATURES = (
    *("namespace", "bridge", "veth", "firewall", "ipv6", "port isolation", "address marks"),
    "published ports",
    "internal networks",  # of drivers that need the firewall
)
"""What most networks need."""

FEATURES = (
    *BASIC_FEATURES,
    "gateway modes",  # nat-unprotected, routed: `ForwardPolicy.mode4`, `mode6`, `OpenPort`
    "trusted interfaces",  # `ForwardPolicy.trusted`, `OpenPort`
    "snat address",  # `Masquerade.source`
    "loopback ipv4",  # `LoopbackAccess`
    "loopback ipv6",
    "adopted bridges",  # `Bridge.adopted`
    "macvlan",
    "ipvlan",
    "vlan",
    "stand-in",
    "interface sysctls",
    "static routes",  # `Route` of an endpoint, and one without gateway
    "announcements",
)
"""What drivers and rules ask for by name before they decide."""

EVERYTHING = Capabilities(missing={})


class TakenBlock(Struct, frozen=True, gc=False):
    """Addresses that the host uses already, and what for: `route dev eth0`, `name server`."""

    block: Subnet
    use: str

    def __str__(self) -> str:
        return f"{self.block} {self.use}"


class HostPorts(Struct, frozen=True, gc=False):
    """What the host says about its ports.

    `reserved`: ranges, first and last port, from which none is chosen for anybody (net.ipv4.ip_local_reserved_ports);
    who asks for one of them by number gets it. `unreached6`: why the host reaches now no port that is published at
    ::1, and what to do about it; empty where it does. `chosen_from`: first and last of those that one is chosen from
    (net.ipv4.ip_local_port_range); None where the host does not say.
    """

    reserved: tuple[tuple[int, int], ...] = ()
    unreached6: str = ""
    chosen_from: tuple[int, int] | None = None

    def reserves(self, port: int) -> bool:
        """Whether a port is in one of the ranges."""
        return any(first <= port <= last for first, last in self.reserved)


NOTHING_SPECIAL = HostPorts()
RESERVED_PORTS = "net.ipv4.ip_local_reserved_ports"
CHOSEN_PORTS = "net.ipv4.ip_local_port_range"
FILTERED_LOOPBACK6 = (
    "bridged packets pass ip6tables, so the kernel drops what answers to ::1; "
    "`sysctl -w net.bridge.bridge-nf-call-ip6tables=0`, unless something on this host needs it, then `netledger repair`"
)


def reserved_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Read ports as the kernel writes them: `8080,9148-9150`."""
    pairs = (part.partition("-") for part in text.strip().split(",") if part)
    return tuple((int(first), int(last or first)) for first, _, last in pairs)


def port_range(text: str) -> tuple[int, int] | None:
    """Read first and last port as the kernel writes them, `32768<TAB>60999`; None for what is no range of ports."""
    numbers = [int(part) for part in text.split() if part.isdecimal()]
    first, last = numbers if len(numbers) == len(text.split()) == 2 else (0, 0)  # a range's ends
    return (first, last) if 0 < first <= last <= PORT_LIMIT else None


class PoolAnswer(Struct, frozen=True):
    """The block that another IPAM driver than ours gave for a pool request, its name for it, and the gateway in it.

    `space`: the driver's name for the address space, where it is not the request's.
    """

    subnet: Subnet
    driver_pool: str
    gateway: bytes = b""
    space: str = ""


class IpamAnswers(Struct, frozen=True):
    """What another IPAM driver than ours answered, asked before a command is decided.

    `pools`: one for each of the command's pool requests; `addresses`: those that it gave to the command's endpoint.
    """

    pools: tuple[PoolAnswer, ...] = ()
    addresses: tuple[bytes, ...] = ()
