"""Links that stand on another link, or on nothing, as rtnetlink messages: macvlan, ipvlan, VLAN, dummy, a veth cable.

Keeps: what is packed here reads back through the functions below as the words that were given.
Must not know: plans, marks.
Sources: linux/if_link.h, drivers/net/macvlan.c and ipvlan/ipvlan_main.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from .netlink import (
    CREATE,
    EXCLUSIVE,
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    attributes_of,
    nested,
    number_of,
)
from .rtnetlink import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_NET_NS_FD,
    RTM_NEWLINK,
    VETH_INFO_PEER,
    Link,
    group,
)

MACVLAN, IPVLAN, VLAN, DUMMY, VETH = "macvlan", "ipvlan", "vlan", "dummy", "veth"

IFLA_MACVLAN_MODE = 1
IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 2
IFLA_VLAN_ID = 1

MACVLAN_MODES: Mapping[str, int] = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES: Mapping[str, int] = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS: Mapping[str, int] = {"bridge": 0, "private": 1, "vepa": 2}

FAR_END_TEMPLATE = "df%d"
"""The kernel fills in the lowest unused number."""

_HEADER = struct.Struct("=BxHiII").pack(0, 0, 0, 0, 0)
_U16 = struct.Struct("=H")


def create_macvlan(name: str, mac: bytes, mode: str, parent: int, link_group: int, namespace: int | None) -> Message:
    """Create a macvlan interface on a link of this namespace, in the one behind a descriptor (None: in this one)."""
    data = attribute_u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    return _on_parent(MACVLAN, name, parent, link_group, namespace, data, attribute(IFLA_ADDRESS, mac))


def create_ipvlan(name: str, mode: str, flag: str, parent: int, link_group: int, namespace: int | None) -> Message:
    """Create an ipvlan interface in the same way."""
    data = attribute(IFLA_IPVLAN_MODE, _U16.pack(IPVLAN_MODES[mode]))
    data += attribute(IFLA_IPVLAN_FLAGS, _U16.pack(IPVLAN_FLAGS[flag]))
    return _on_parent(IPVLAN, name, parent, link_group, namespace, data)


def create_vlan(name: str, tag: int, parent: int, link_group: int) -> Message:
    """Create an 802.1Q interface on a link of this namespace."""
    return _on_parent(VLAN, name, parent, link_group, None, attribute(IFLA_VLAN_ID, _U16.pack(tag)))


def create_cable(name: str, link_group: int) -> Message:
    """Create a veth pair, both ends here and of a group; the kernel names the far one."""
    far = _HEADER + attribute_text(IFLA_IFNAME, FAR_END_TEMPLATE) + group(link_group)
    kind = attribute_text(IFLA_INFO_KIND, VETH) + nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far))
    body = _HEADER + attribute_text(IFLA_IFNAME, name) + group(link_group) + nested(IFLA_LINKINFO, kind)
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, body)


def macvlan_mode(link: Link) -> str:
    """Tell a macvlan interface's mode; empty for one that nobody asks for (source)."""
    return _word(MACVLAN_MODES, link, IFLA_MACVLAN_MODE)


def ipvlan_mode(link: Link) -> str:
    """Tell an ipvlan interface's mode."""
    return _word(IPVLAN_MODES, link, IFLA_IPVLAN_MODE)


def ipvlan_flag(link: Link) -> str:
    """Tell an ipvlan interface's flag."""
    return _word(IPVLAN_FLAGS, link, IFLA_IPVLAN_FLAGS)


def vlan_tag(link: Link) -> int:
    """Tell an 802.1Q interface's tag."""
    return number_of(attributes_of(link.parameters).get(IFLA_VLAN_ID))


def _on_parent(
    kind: str, name: str, parent: int, link_group: int, namespace: int | None, data: bytes, attributes: bytes = b""
) -> Message:
    body = _HEADER + attribute_text(IFLA_IFNAME, name) + attribute_u32(IFLA_LINK, parent) + attributes
    body += group(link_group)
    if namespace is not None:
        body += attribute_u32(IFLA_NET_NS_FD, namespace)
    body += nested(IFLA_LINKINFO, attribute_text(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, data))
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, body)


def _word(words: Mapping[str, int], link: Link, kind: int) -> str:
    number = number_of(attributes_of(link.parameters).get(kind))
    return next((word for word, value in words.items() if value == number), "")
