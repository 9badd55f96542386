"""Parents: interfaces of the host that macvlan and ipvlan networks stand on.

Keeps: a parent carries networks of one driver, and one alone where that wants it alone; one that is not there is made
only if it names a VLAN of one that is, and goes with the last network on it.
Knows nothing of: how an interface is made. Source: moby, daemon/libnetwork/drivers/macvlan and ipvlan.
"""

from __future__ import annotations

from .decision import Context
from .drivers import NetworkTraits, traits_of
from .drivers.parent import LARGEST_VLAN, vlan_of
from .errors import Conflict, Invalid, NotFound
from .events import NetworkCreated
from .features import check_feature
from .values import HostId
from .view import View


def links_of_parent(parent: str) -> tuple[str, ...]:
    """Name the interfaces that a decision about a parent depends on: itself, and the one whose VLAN it may be."""
    base, dot, _ = parent.rpartition(".")
    return (parent, base) if dot else (parent,)


def check_parent_is_free(view: View, driver: str, traits: NetworkTraits, host: HostId, asked: str) -> None:
    """Refuse a parent that another network has in a way that leaves no room."""
    for other in view.networks_on(host):
        theirs = traits_of(other.event)
        if theirs.parent != traits.parent:
            continue
        if other.event.driver != driver or traits.has_parent_alone or theirs.has_parent_alone:
            raise Conflict(
                asked,
                f"parent {traits.parent} carries {other.event.driver} network {other.event.name}",
                "choose another parent, or delete that network first",
                position=other.position,
            )


def makes_a_parent(view: View, context: Context, traits: NetworkTraits, asked: str) -> bool:
    """Decide whether the parent is to be made: it is a VLAN of ours already, or of an interface that is there."""
    parent = traits.parent
    if any(_makes(other.event, parent) for other in view.networks_on(context.origin.host)):
        return True
    is_there = parent in context.links if context.links is not None else "." not in parent
    if is_there:
        return False
    base, dot, _ = parent.rpartition(".")
    if not dot:
        raise NotFound(asked, f"this host has no interface {parent}", "name one that it has, like eth0 or eth0.10")
    if vlan_of(parent) is None:
        raise Invalid(asked, f"{parent} is no VLAN from 1 to {LARGEST_VLAN} of an interface", "write it like eth0.10")
    if context.links is not None and base not in context.links:
        raise NotFound(asked, f"this host has no interface {base} for {parent}", "name a VLAN of one that it has")
    check_feature(context, "vlan", asked)
    return True


def _makes(network: NetworkCreated, parent: str) -> bool:
    return network.makes_parent and traits_of(network).parent == parent
