"""Links, addresses, routes and neighbours as rtnetlink messages, packed and unpacked by hand.

Packing the few messages of one attach through a general library costs more than the kernel's work on them. Keeps:
what is packed here, pyroute2 decodes to the same (tests/dataplanes/linux/test_rtnetlink.py).
Must not know: plans, sandboxes, whose links they are.

Sources: linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h, veth.h, neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from msgspec import Struct

from ...domain.values import IPV4_BYTES, Subnet
from .netlink import (
    APPEND,
    CREATE,
    EXCLUSIVE,
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    attributes_of,
    nested,
    number_of,
    text_of,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29

IFF_UP, IFF_NOARP = 0x1, 0x80
LOOPBACK_INDEX = 1

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD = 18, 20, 26, 27, 28
IFLA_EXT_MASK, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_LINK_NETNSID = 29, 31, 32, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
VETH_INFO_PEER = 1
IFLA_INET6_ADDR_GEN_MODE, ADDRESS_GENERATION_NONE = 8, 1
SKIP_STATISTICS = 8

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO = 1, 2, 8, 11
IFA_F_NODAD = 0x02

NDA_DST, NTF_USE = 1, 0x01

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
TABLE_MAIN, TABLE_LOCAL = 254, 255
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
UNICAST, LOCAL = 1, 2
"""RTN_*: what is routed is sent on, or delivered here."""

KINDS_ON_A_PARENT = frozenset({"macvlan", "ipvlan", "vlan"})

MARK = 117
"""The protocol number on the addresses and routes that we add (IFA_PROTO, rtm_protocol); free in iproute2's list."""

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")

NO_AUTOMATIC_IPV6 = nested(
    IFLA_AF_SPEC, nested(socket.AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([ADDRESS_GENERATION_NONE])))
)
"""No link-local address by itself: its chatter, flooded to every port, is what slows a bridge down as it fills."""

_ONE_QUEUE = attribute_u32(IFLA_NUM_TX_QUEUES, 1) + attribute_u32(IFLA_NUM_RX_QUEUES, 1)


class Link(Struct, frozen=True, gc=False):
    """An interface as a dump shows it; `peer` is the index of a veth's other end, in namespace `peer_namespace`.

    Or of the link that it stands on.

    `peer_namespace` is the kernel's number for it in this one; -1 when it is the same namespace.
    """

    index: int
    name: str
    kind: str
    mac: bytes
    mtu: int
    is_up: bool
    master: int
    group: int
    alias: str
    peer: int
    peer_namespace: int
    is_isolated: bool
    is_hairpin: bool = False
    parameters: bytes = b""
    """What is particular to its kind (IFLA_INFO_DATA), for kinds that stand on another link; see `kinds`."""
    asks: bool = True
    """Whether it asks for its neighbours' MAC addresses."""


class AddressEntry(Struct, frozen=True, gc=False):
    """An address as a dump shows it; `protocol` is who added it (IFA_PROTO)."""

    index: int
    address: bytes
    prefix: int
    protocol: int


class RouteEntry(Struct, frozen=True, gc=False):
    """A route as a dump shows it; `index` is its device, 0 where it has several."""

    destination: Subnet
    gateway: bytes
    index: int
    protocol: int


def create_veth(
    host_name: str,
    name: str,
    mac: bytes,
    mtu: int,
    bridge: int,
    link_group: int,
    namespace: int | None,
) -> Message:
    """Create a pair, the container end in the namespace behind a descriptor (None: in this one); both ends down.

    Moving an end into a namespace later costs 15 to 20 ms: it waits for RCU. One queue saves 0.25 ms a pair.
    """
    alike = (size(mtu) if mtu else b"") + _ONE_QUEUE
    peer = _LINK.pack(0, 0, 0, 0, 0) + attribute_text(IFLA_IFNAME, name) + attribute(IFLA_ADDRESS, mac) + alike
    if namespace is not None:
        peer += attribute_u32(IFLA_NET_NS_FD, namespace)
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute_text(IFLA_IFNAME, host_name) + alike
    body += master(bridge) if bridge else b""
    body += group(link_group)
    body += nested(
        IFLA_LINKINFO,
        attribute_text(IFLA_INFO_KIND, "veth"),
        nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer)),
    )
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, body)


def create_link(name: str, kind: str, attributes: bytes = b"") -> Message:
    """Create a link of a kind that needs nothing of its own."""
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute_text(IFLA_IFNAME, name) + attributes
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, body + nested(IFLA_LINKINFO, attribute_text(IFLA_INFO_KIND, kind)))


def set_link(
    *,
    index: int = 0,
    name: str = "",
    up: bool | None = None,
    attributes: bytes = b"",
) -> Message:
    """Change a link, named by index or by name; `up` None leaves its state."""
    flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
    body = _LINK.pack(0, 0, index, flags, change)
    if name:
        body += attribute_text(IFLA_IFNAME, name)
    return Message(RTM_NEWLINK, 0, body + attributes)


def alias(text: str) -> bytes:
    """Pack a link's alias. The kernel drops one that comes with the creation."""
    return attribute_text(IFLA_IFALIAS, text)


def master(index: int) -> bytes:
    """Pack of which bridge a link is a port."""
    return attribute_u32(IFLA_MASTER, index)


def group(number: int) -> bytes:
    """Pack a link's group."""
    return attribute_u32(IFLA_GROUP, number)


def hardware_address(mac: bytes) -> bytes:
    """Pack a link's MAC address."""
    return attribute(IFLA_ADDRESS, mac)


def size(mtu: int) -> bytes:
    """Pack a link's MTU."""
    return attribute_u32(IFLA_MTU, mtu)


def port_settings(*, isolated: bool) -> bytes:
    """Pack whether a bridge port reaches no other isolated port, and that frames may leave where they came in.

    That is hairpin mode. A published port that is reached from the very endpoint needs it, where bridged packets pass
    the IP layer's hooks: there they are translated and stay on the bridge.
    """
    settings = attribute(IFLA_BRPORT_MODE, b"\1") + attribute(IFLA_BRPORT_ISOLATED, bytes([isolated]))
    kind = attribute_text(IFLA_INFO_SLAVE_KIND, "bridge")
    return nested(IFLA_LINKINFO, kind, nested(IFLA_INFO_SLAVE_DATA, settings))


def delete_link(index: int) -> Message:
    """Delete a link."""
    return Message(RTM_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))


def delete_link_named(name: str) -> Message:
    """Delete a link that was just made."""
    return Message(RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + attribute_text(IFLA_IFNAME, name))


def delete_group(number: int) -> Message:
    """Delete every link of a group in one go."""
    return Message(RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + group(number))


def get_link(name: str) -> Message:
    """Ask for one link by name."""
    return Message(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + attribute_text(IFLA_IFNAME, name) + _NO_STATISTICS)


def get_link_at(index: int) -> Message:
    """Ask for one link by index."""
    return Message(RTM_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + _NO_STATISTICS)


def list_links() -> Message:
    """Ask for every link."""
    return Message(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _NO_STATISTICS)


_NO_STATISTICS = attribute_u32(IFLA_EXT_MASK, SKIP_STATISTICS)


def add_address(index: int, address: bytes, prefix: int, protocol: int = MARK) -> Message:
    """Add an address; IPv6 without duplicate detection. `protocol` 0 leaves it unmarked."""
    family, flags = (socket.AF_INET, 0) if len(address) == IPV4_BYTES else (socket.AF_INET6, IFA_F_NODAD)
    body = _ADDRESS.pack(family, prefix, flags, 0, index) + attribute(IFA_LOCAL, address)
    body += attribute(IFA_ADDRESS, address)
    if protocol:
        body += attribute(IFA_PROTO, bytes([protocol]))
    return Message(RTM_NEWADDR, CREATE | EXCLUSIVE, body)


def delete_address(index: int, address: bytes, prefix: int) -> Message:
    """Delete an address."""
    family = socket.AF_INET if len(address) == IPV4_BYTES else socket.AF_INET6
    body = _ADDRESS.pack(family, prefix, 0, 0, index) + attribute(IFA_LOCAL, address)
    return Message(RTM_DELADDR, 0, body)


def list_addresses() -> Message:
    """Ask for every address of both families."""
    return Message(RTM_GETADDR, 0, _ADDRESS.pack(0, 0, 0, 0, 0))


def _route(destination: Subnet, gateway: bytes, index: int, table: int, kind: int) -> bytes:
    family = socket.AF_INET if len(destination.address) == IPV4_BYTES else socket.AF_INET6
    scope = SCOPE_UNIVERSE if gateway or family == socket.AF_INET6 else SCOPE_LINK
    body = _ROUTE.pack(family, destination.prefix, 0, 0, table, MARK, scope, kind, 0)
    if destination.prefix:
        body += attribute(RTA_DST, destination.address)
    if gateway:
        body += attribute(RTA_GATEWAY, gateway)
    return body + attribute_u32(RTA_OIF, index)


def add_route(
    destination: Subnet, gateway: bytes, index: int, *, table: int = TABLE_MAIN, kind: int = UNICAST
) -> Message:
    """Add a route with our mark; an empty gateway means directly reachable.

    One that is delivered here stands beside others to the same destination, out of other interfaces.
    """
    flags = CREATE | (APPEND if kind == LOCAL else EXCLUSIVE)
    return Message(RTM_NEWROUTE, flags, _route(destination, gateway, index, table, kind))


def delete_route(
    destination: Subnet, gateway: bytes, index: int, *, table: int = TABLE_MAIN, kind: int = UNICAST
) -> Message:
    """Delete a route, only if it bears our mark."""
    return Message(RTM_DELROUTE, 0, _route(destination, gateway, index, table, kind))


def list_routes(family: int, protocol: int = 0, *, table: int = TABLE_MAIN) -> Message:
    """Ask for a table's routes; with strict checking only those of a protocol."""
    return Message(RTM_GETROUTE, 0, _ROUTE.pack(family, 0, 0, 0, table, protocol, 0, 0, 0))


def ask_for_neighbour(index: int, address: bytes) -> Message:
    """Have the kernel ask a link, at once, who has an address (NTF_USE)."""
    return Message(RTM_NEWNEIGH, CREATE, _neighbour(index, address, NTF_USE))


def forget_neighbour(index: int, address: bytes) -> Message:
    """Have it forget what it knows of the address, and that it has asked."""
    return Message(RTM_DELNEIGH, 0, _neighbour(index, address, 0))


def _neighbour(index: int, address: bytes, flags: int) -> bytes:
    family = socket.AF_INET if len(address) == IPV4_BYTES else socket.AF_INET6
    return _NEIGHBOUR.pack(family, index, 0, flags, 0) + attribute(NDA_DST, address)


def decode_link(body: bytes) -> Link:
    """Unpack one link."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes_of(body, _LINK.size)
    information = attributes_of(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
    isolated = hairpin = 0
    if IFLA_INFO_SLAVE_DATA in information and text_of(information.get(IFLA_INFO_SLAVE_KIND)) == "bridge":
        settings = attributes_of(information[IFLA_INFO_SLAVE_DATA])
        isolated, hairpin = (number_of(settings.get(kind)) for kind in (IFLA_BRPORT_ISOLATED, IFLA_BRPORT_MODE))
    namespace = found.get(IFLA_LINK_NETNSID)
    kind = text_of(information.get(IFLA_INFO_KIND))
    return Link(
        index,
        text_of(found.get(IFLA_IFNAME)),
        kind,
        bytes(found.get(IFLA_ADDRESS, b"")),
        number_of(found.get(IFLA_MTU)),
        bool(flags & IFF_UP),
        number_of(found.get(IFLA_MASTER)),
        number_of(found.get(IFLA_GROUP)),
        text_of(found.get(IFLA_IFALIAS)),
        number_of(found.get(IFLA_LINK)),
        -1 if namespace is None else number_of(namespace),
        bool(isolated),
        bool(hairpin),
        bytes(information.get(IFLA_INFO_DATA, b"")) if kind in KINDS_ON_A_PARENT else b"",
        not flags & IFF_NOARP,
    )


def decode_links(bodies: Sequence[bytes]) -> list[Link]:
    """Unpack a dump of links."""
    return [decode_link(body) for body in bodies]


def decode_addresses(bodies: Sequence[bytes]) -> list[AddressEntry]:
    """Unpack a dump of addresses."""
    entries: list[AddressEntry] = []
    for body in bodies:
        _, prefix, _, _, index = _ADDRESS.unpack_from(body)
        found = attributes_of(body, _ADDRESS.size)
        address = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
        if address is not None:
            entries.append(AddressEntry(index, bytes(address), prefix, number_of(found.get(IFA_PROTO))))
    return entries


def decode_routes(bodies: Sequence[bytes], *, table: int = TABLE_MAIN, kind: int = UNICAST) -> list[RouteEntry]:
    """Unpack a dump of routes: those of one table and kind."""
    entries: list[RouteEntry] = []
    for body in bodies:
        family, prefix, _, _, its_table, protocol, _, its_kind, _ = _ROUTE.unpack_from(body)
        found = attributes_of(body, _ROUTE.size)
        if its_kind != kind or number_of(found.get(RTA_TABLE), its_table) != table:
            continue
        width = IPV4_BYTES if family == socket.AF_INET else 16
        destination = Subnet(bytes(found.get(RTA_DST, bytes(width))), prefix)
        gateway = bytes(found.get(RTA_GATEWAY, b""))
        entries.append(RouteEntry(destination, gateway, number_of(found.get(RTA_OIF)), protocol))
    return entries
