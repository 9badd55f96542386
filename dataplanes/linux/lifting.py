"""What links on a parent, stand-ins and VLAN interfaces are, as the objects that were asked for. Pure.

Keeps: what was made and left alone lifts to what was asked for; what somebody altered lifts to something else.
Must not know: sockets, plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...domain.objects import Ipvlan, Macvlan, StandIn, VlanLink
from ...domain.values import EndpointId, NetworkId, SandboxId
from .kinds import DUMMY, IPVLAN, MACVLAN, VETH, VLAN, ipvlan_flag, ipvlan_mode, macvlan_mode, vlan_tag
from .marks import Marks
from .rtnetlink import Link
from .run import HOST

PARENTED = (MACVLAN, IPVLAN)


def lift_parented(marks: Marks, link: Link, names: Mapping[int, str], sandbox: SandboxId) -> Macvlan | Ipvlan:
    """Lift a macvlan or ipvlan interface; `names` are those of the host's links by index.

    One whose making was interrupted, and bears no endpoint's mark yet, is nobody's.
    """
    mark = marks.read_endpoint(link.alias)
    endpoint = mark.endpoint if mark is not None else EndpointId("")
    is_up = link.is_up if mark is None or mark.delegation is None else False
    is_parent_here = (link.peer_namespace == -1) == (sandbox == HOST)
    parent = names.get(link.peer, "") if is_parent_here else ""
    if link.kind == MACVLAN:
        return Macvlan(endpoint, parent, sandbox, link.name, link.mac, macvlan_mode(link), is_up)
    return Ipvlan(endpoint, parent, sandbox, link.name, ipvlan_mode(link), ipvlan_flag(link), is_up)


def lift_parented_here(
    marks: Marks, links: Sequence[Link], names: Mapping[int, str], sandbox: SandboxId
) -> Iterator[tuple[Link, Macvlan | Ipvlan]]:
    """Lift all of ours in one namespace."""
    for link in links:
        if link.kind in PARENTED and link.group == marks.live:
            yield link, lift_parented(marks, link, names, sandbox)


def lift_parents(marks: Marks, links: Sequence[Link]) -> Iterator[StandIn | VlanLink]:
    """Lift what of ours in the host's namespace is there for others to stand on."""
    by_index = {link.index: link for link in links}
    for link in links:
        if link.group != marks.live:
            continue
        if link.kind in (DUMMY, VETH) and marks.read_stand_in(link.alias) is not None:
            yield lift_stand_in(marks, link, by_index.get(link.peer))
        elif link.kind == VLAN:
            yield lift_vlan(marks, link, {index: there.name for index, there in by_index.items()})


def lift_stand_in(marks: Marks, link: Link, far: Link | None) -> StandIn:
    """Lift a stand-in; one without carrier, down or with its far end down, is no network's."""
    is_whole = link.is_up and (link.kind == DUMMY or (far is not None and far.is_up and marks.is_far_end(far.alias)))
    network = marks.read_stand_in(link.alias)
    return StandIn(link.name, network if is_whole and network is not None else NetworkId(""))


def lift_vlan(marks: Marks, link: Link, names: Mapping[int, str]) -> VlanLink:
    """Lift an 802.1Q interface; one that is down, or whose making was interrupted, has no tag that anybody asks for."""
    is_whole = link.is_up and marks.is_vlan(link.alias)
    return VlanLink(link.name, names.get(link.peer, ""), vlan_tag(link) if is_whole else 0)
