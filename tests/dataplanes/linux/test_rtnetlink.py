"""Our few hand-packed messages, as pyroute2 decodes them, and its messages, as we decode them."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netledger.dataplanes.linux import rtnetlink
from netledger.dataplanes.linux.netlink import CREATE, EXCLUSIVE, REPLACE, REQUEST, Message
from netledger.domain.values import Subnet

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._é", min_size=1, max_size=7)
macs = st.binary(min_size=6, max_size=6)
indices = st.integers(1, 2**31 - 1)
mtus = st.integers(68, 65535)
addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


def decoded(kind, message: Message):
    """Decode with pyroute2."""
    data = struct.pack("=IHHII", 16 + len(message.body), message.kind, message.flags | REQUEST, 7, 0) + message.body
    assert len(data) % 4 == 0
    made = kind(data)
    made.decode()
    assert made["header"]["length"] == len(data)
    return made


def text(address: bytes) -> str:
    """Write an address as pyroute2 does."""
    return str(ipaddress.ip_address(address))


def subnet_of(address: bytes, prefix: int) -> Subnet:
    """Clear an address's host bits."""
    network = ipaddress.ip_network((address, min(prefix, len(address) * 8)), strict=False)
    return Subnet(network.network_address.packed, network.prefixlen)


@given(names, names, macs, st.just(0) | mtus, indices, indices, st.none() | st.integers(0, 1000))
def test_create_veth(host_name, name, mac, mtu, bridge, group, namespace):
    """A pair: names, MAC, sizes, bridge, group, the far end's namespace."""
    message = rtnetlink.create_veth(host_name, name, mac, mtu, bridge, group, namespace)
    assert (message.kind, message.flags) == (rtnetlink.RTM_NEWLINK, CREATE | EXCLUSIVE)
    link = decoded(ifinfmsg, message)
    assert link.get_attr("IFLA_IFNAME") == host_name
    assert link.get_attr("IFLA_MASTER") == bridge
    assert link.get_attr("IFLA_GROUP") == group
    assert link.get_attr("IFLA_MTU") == (mtu or None)
    assert (link.get_attr("IFLA_NUM_TX_QUEUES"), link.get_attr("IFLA_NUM_RX_QUEUES")) == (1, 1)
    assert (link["flags"], link["change"]) == (0, 0)
    information = link.get_attr("IFLA_LINKINFO")
    assert information.get_attr("IFLA_INFO_KIND") == "veth"
    peer = information.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == name
    assert peer.get_attr("IFLA_ADDRESS") == mac.hex(":")
    assert peer.get_attr("IFLA_MTU") == (mtu or None)
    assert peer.get_attr("IFLA_NET_NS_FD") == namespace


@given(
    indices, st.sampled_from([None, True, False]), st.text(max_size=80).filter(lambda t: "\0" not in t), st.booleans()
)
def test_set_link(index, up, alias, isolated):
    """Settings of a link: state, alias, master, group, isolation, no address of its own."""
    attributes = rtnetlink.alias(alias) + rtnetlink.master(5) + rtnetlink.group(6) + rtnetlink.size(1400)
    attributes += rtnetlink.NO_AUTOMATIC_IPV6 + rtnetlink.port_settings(isolated=isolated)
    message = rtnetlink.set_link(index=index, up=up, attributes=attributes)
    assert not message.flags & (CREATE | EXCLUSIVE | REPLACE)
    link = decoded(ifinfmsg, message)
    assert link["index"] == index
    assert (link["flags"], link["change"]) == {None: (0, 0), True: (1, 1), False: (0, 1)}[up]
    assert link.get_attr("IFLA_IFALIAS") == alias
    assert [link.get_attr(f"IFLA_{name}") for name in ("MASTER", "GROUP", "MTU")] == [5, 6, 1400]
    family = link.get_attr("IFLA_AF_SPEC").get_attr("AF_INET6")
    assert family.get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1
    information = link.get_attr("IFLA_LINKINFO")
    assert information.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    settings = information.get_attr("IFLA_INFO_SLAVE_DATA")
    assert (settings.get_attr("IFLA_BRPORT_ISOLATED"), settings.get_attr("IFLA_BRPORT_MODE")) == (isolated, 1)


@given(names, indices)
def test_naming_a_link(name, number):
    """Deleting and asking, by name, index and group."""
    assert decoded(ifinfmsg, rtnetlink.get_link(name)).get_attr("IFLA_IFNAME") == name
    assert decoded(ifinfmsg, rtnetlink.delete_link_named(name)).get_attr("IFLA_IFNAME") == name
    assert decoded(ifinfmsg, rtnetlink.get_link_at(number))["index"] == number
    assert decoded(ifinfmsg, rtnetlink.delete_link(number))["index"] == number
    assert decoded(ifinfmsg, rtnetlink.delete_group(number)).get_attr("IFLA_GROUP") == number
    created = decoded(ifinfmsg, rtnetlink.create_link(name, "bridge"))
    assert created.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") == "bridge"


@given(indices, addresses, st.integers(0, 32))
def test_addresses(index, address, prefix):
    """An address with our mark, IPv6 without duplicate detection; and its removal."""
    for message in (rtnetlink.add_address(index, address, prefix), rtnetlink.delete_address(index, address, prefix)):
        found = decoded(ifaddrmsg, message)
        assert (found["index"], found["prefixlen"], found["family"]) == (index, prefix, 2 if len(address) == 4 else 10)
        assert found.get_attr("IFA_LOCAL") == text(address)
    added = decoded(ifaddrmsg, rtnetlink.add_address(index, address, prefix))
    assert added.get_attr("IFA_ADDRESS") == text(address)
    assert added["flags"] == (2 if len(address) == 16 else 0)
    assert bytes(rtnetlink.attributes_of(rtnetlink.add_address(index, address, prefix).body, 8)[11]) == b"\x75"
    assert rtnetlink.decode_addresses([rtnetlink.add_address(index, address, prefix).body]) == [
        rtnetlink.AddressEntry(index, address, prefix, rtnetlink.MARK)
    ]


@given(indices, addresses)
def test_neighbours(index, address):
    """An address that the kernel is to ask for, without an entry that stays, and the forgetting of it."""
    for message, kind, flags, uses in (
        (rtnetlink.ask_for_neighbour(index, address), rtnetlink.RTM_NEWNEIGH, CREATE, 1),
        (rtnetlink.forget_neighbour(index, address), rtnetlink.RTM_DELNEIGH, 0, 0),
    ):
        assert (message.kind, message.flags) == (kind, flags)
        found = decoded(ndmsg, message)
        assert (found["ifindex"], found["family"], found["state"]) == (index, 2 if len(address) == 4 else 10, 0)
        assert found["flags"] == uses
        assert found.get_attr("NDA_DST") == text(address)


@given(
    indices,
    addresses.flatmap(lambda a: st.tuples(st.just(a), st.binary(min_size=len(a), max_size=len(a)))),
    st.integers(0, 128),
)
def test_routes(index, pair, prefix):
    """A route with our mark, and its removal; decoded as it was encoded."""
    address, gateway = pair
    destination = subnet_of(address, prefix)
    for table, kind, message in (
        (254, 1, rtnetlink.add_route(destination, gateway, index)),
        (254, 1, rtnetlink.delete_route(destination, gateway, index)),
        (255, 2, rtnetlink.add_route(destination, gateway, index, table=255, kind=2)),
        (255, 2, rtnetlink.delete_route(destination, gateway, index, table=255, kind=2)),
    ):
        found = decoded(rtmsg, message)
        placed = (found["dst_len"], found["proto"], found["table"], found["type"])
        assert placed == (destination.prefix, 117, table, kind)
        assert found.get_attr("RTA_DST") == (text(destination.address) if destination.prefix else None)
        assert found.get_attr("RTA_GATEWAY") == text(gateway)
        assert found.get_attr("RTA_OIF") == index
        entry = rtnetlink.RouteEntry(destination, gateway, index, 117)
        assert rtnetlink.decode_routes([message.body], table=table, kind=kind) == [entry]
        assert rtnetlink.decode_routes([message.body], table=table, kind=3 - kind) == []


@given(names, macs, mtus, indices, indices, st.text("abc xyz", max_size=40), st.tuples(*[st.booleans()] * 3))
def test_links_decoded(name, mac, mtu, index, group, alias, switches):
    """A link that pyroute2 packed is unpacked by us to the same."""
    up, isolated, hairpin = switches
    message = ifinfmsg()
    message["index"], message["flags"] = index, int(up)
    slave = {"attrs": [("IFLA_BRPORT_MODE", int(hairpin)), ("IFLA_BRPORT_ISOLATED", int(isolated))]}
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac.hex(":")),
        ("IFLA_MTU", mtu),
        ("IFLA_LINK", 9),
        ("IFLA_LINK_NETNSID", 3),
        ("IFLA_MASTER", 4),
        ("IFLA_GROUP", group),
        ("IFLA_IFALIAS", alias),
        (
            "IFLA_LINKINFO",
            {
                "attrs": [
                    ("IFLA_INFO_KIND", "veth"),
                    ("IFLA_INFO_SLAVE_KIND", "bridge"),
                    ("IFLA_INFO_SLAVE_DATA", slave),
                ]
            },
        ),
    ]
    message.encode()
    link = rtnetlink.decode_link(bytes(message.data)[16:])
    assert link == rtnetlink.Link(index, name, "veth", mac, mtu, up, 4, group, alias, 9, 3, isolated, hairpin)


@pytest.mark.parametrize("data", [b"", b"\x03\0\x01\0", b"\xff\xff\x01\0abcd"])
def test_damaged_attributes(data):
    """What is too short to be an attribute ends the walk; nothing loops or raises."""
    assert set(rtnetlink.attributes_of(data)) <= {1}
