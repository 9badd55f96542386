"""Links on a parent: our messages as pyroute2 decodes them, its links as we read them, and what they lift to."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from netledger.dataplanes.linux import kinds, rtnetlink
from netledger.dataplanes.linux.lifting import lift_parented, lift_parents, lift_stand_in, lift_vlan
from netledger.dataplanes.linux.marks import Marks
from netledger.domain.objects import Ipvlan, Macvlan, StandIn, VlanLink

from .test_rtnetlink import decoded, indices, macs, names

NETWORK, ENDPOINT = "ab" * 32, "cd" * 32
MARKS = Marks("0a1b2c3d")
descriptors = st.none() | st.integers(0, 1000)


def data_of(message, kind):
    """Decode a message's link, and check what all of them have in common."""
    link = decoded(ifinfmsg, message)
    assert (message.kind, link["flags"], link["change"]) == (rtnetlink.RTM_NEWLINK, 0, 0)
    information = link.get_attr("IFLA_LINKINFO")
    assert information.get_attr("IFLA_INFO_KIND") == kind
    return link, information.get_attr("IFLA_INFO_DATA")


def received(message, index, **changes):
    """Read a message that creates a link as the kernel would list the link."""
    seen = rtnetlink.decode_link(message.body)
    return structs.replace(seen, index=index, **changes)


@given(names, macs, st.sampled_from(sorted(kinds.MACVLAN_MODES)), indices, indices, descriptors)
def test_macvlan(name, mac, mode, parent, group, namespace):
    """Mode, parent, MAC address, group and namespace; read back, it is what was asked for."""
    message = kinds.create_macvlan(name, mac, mode, parent, group, namespace)
    link, data = data_of(message, "macvlan")
    assert (link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_LINK")) == (name, parent)
    assert (link.get_attr("IFLA_ADDRESS"), link.get_attr("IFLA_GROUP")) == (mac.hex(":"), group)
    assert link.get_attr("IFLA_NET_NS_FD") == namespace
    assert data.get_attr("IFLA_MACVLAN_MODE") == mode
    seen = received(message, 7, alias=MARKS.endpoint(ENDPOINT), is_up=True, peer_namespace=3)
    assert lift_parented(MARKS, seen, {parent: "lan0"}, "s") == Macvlan(ENDPOINT, "lan0", "s", name, mac, mode)


@given(
    names,
    st.sampled_from(sorted(kinds.IPVLAN_MODES)),
    st.sampled_from(sorted(kinds.IPVLAN_FLAGS)),
    indices,
    indices,
    descriptors,
)
def test_ipvlan(name, mode, flag, parent, group, namespace):
    """The same with mode and flag, and no MAC address of its own."""
    message = kinds.create_ipvlan(name, mode, flag, parent, group, namespace)
    link, data = data_of(message, "ipvlan")
    assert (link.get_attr("IFLA_LINK"), link.get_attr("IFLA_ADDRESS")) == (parent, None)
    assert data.get_attr("IFLA_IPVLAN_MODE") == kinds.IPVLAN_MODES[mode]
    assert struct.pack("=HHH", 6, 2, kinds.IPVLAN_FLAGS[flag]) in message.body, "pyroute2 does not know the flags"
    seen = received(message, 7, alias=MARKS.endpoint(ENDPOINT), is_up=True, peer_namespace=3)
    assert lift_parented(MARKS, seen, {parent: "lan0"}, "s") == Ipvlan(ENDPOINT, "lan0", "s", name, mode, flag)


@given(names, st.integers(1, 4094), indices, indices)
def test_vlan(name, tag, parent, group):
    """The tag and the parent; one that is down, or without its mark, lifts to another."""
    message = kinds.create_vlan(name, tag, parent, group)
    link, data = data_of(message, "vlan")
    assert (link.get_attr("IFLA_LINK"), data.get_attr("IFLA_VLAN_ID")) == (parent, tag)
    wanted = VlanLink(name, "lan0", tag)
    assert lift_vlan(MARKS, received(message, 7, alias=MARKS.vlan(), is_up=True), {parent: "lan0"}) == wanted
    for changes in ({"alias": MARKS.vlan(), "is_up": False}, {"alias": "", "is_up": True}):
        assert lift_vlan(MARKS, received(message, 7, **changes), {parent: "lan0"}) != wanted


@given(names, indices)
def test_a_cable(name, group):
    """Both ends are of the group; the far one is named by the kernel."""
    link, data = data_of(kinds.create_cable(name, group), "veth")
    far = data.get_attr("VETH_INFO_PEER")
    assert (link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_GROUP")) == (name, group)
    assert (far.get_attr("IFLA_IFNAME"), far.get_attr("IFLA_GROUP")) == (kinds.FAR_END_TEMPLATE, group)


def link(index, name, kind, peer, alias, *, group=MARKS.live, up=True):
    """Make up a link of the host."""
    return rtnetlink.Link(index, name, kind, bytes(6), 1500, up, 0, group, alias, peer, -1, False)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("far_up", [True, False])
def test_a_stand_in_needs_both_ends(up, far_up):
    """A cable of which either end is down carries nothing: it is no network's; a dummy has no other end."""
    near = link(5, "dm-1", "veth", 6, MARKS.stand_in(NETWORK), up=up)
    far = link(6, "df0", "veth", 5, MARKS.far_end("dm-1"), up=far_up)
    is_whole = up and far_up
    assert (lift_stand_in(MARKS, near, far) == StandIn("dm-1", NETWORK)) is is_whole
    assert lift_stand_in(MARKS, near, None) != StandIn("dm-1", NETWORK)
    dummy = link(5, "dm-1", "dummy", 0, MARKS.stand_in(NETWORK), up=up)
    assert (lift_stand_in(MARKS, dummy, None) == StandIn("dm-1", NETWORK)) is up


def test_what_is_somebody_elses_is_not_lifted():
    """Neither a link of no group of ours, nor a far end, nor what is parked."""
    links = [
        link(5, "dm-1", "veth", 6, MARKS.stand_in(NETWORK)),
        link(6, "df0", "veth", 5, MARKS.far_end("dm-1")),
        link(7, "eth0.5", "vlan", 1, "", group=0),
        link(8, "dm-2", "dummy", 0, MARKS.stand_in(NETWORK), group=MARKS.trash),
        link(9, "veth0", "veth", 2, MARKS.endpoint(ENDPOINT)),
    ]
    assert list(lift_parents(MARKS, links)) == [StandIn("dm-1", NETWORK)]
