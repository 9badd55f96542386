"""What the macvlan and ipvlan drivers have in common: interfaces that stand on a parent interface of the host.

A network without a parent, and an internal one, stands on an interface of its own that leads nowhere, and is internal
(as in libnetwork). A parent like `eth0.10` that is not there is a VLAN interface which is made.
Keeps: a parent is never changed. Knows nothing of: which interfaces a host has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import Invalid
from ..events import NetworkCreated
from ..objects import KernelObject, StandIn, VlanLink
from ..values import check_interface_name

PARENT = "parent"
LOOPBACK = "lo"
ENDPOINTS_ON_A_PARENT = 32768
"""No limit of the kernel's is lower."""
LARGEST_VLAN = 4094


def check_parent(parent: str, kind: str, asked: str) -> None:
    """Refuse a parent that can be none."""
    if parent:
        check_interface_name(parent)
    if parent == LOOPBACK:
        raise Invalid(asked, f"loopback interface is not a valid {kind} parent link", "name another interface")


def vlan_of(parent: str) -> tuple[str, int] | None:
    """Read `eth0.10` as the interface `eth0` and the VLAN 10; None for what names no VLAN from 1 to 4094."""
    base, dot, number = parent.rpartition(".")
    is_number = number.isascii() and number.isdigit() and 1 <= int(number) <= LARGEST_VLAN
    return (base, int(number)) if dot and base and "." not in base and is_number else None


def lower_vlans(networks: Sequence[NetworkCreated]) -> Iterable[KernelObject]:
    """List the VLAN interfaces that networks stand on and that were not there before."""
    for parent in sorted({str(network.options[PARENT]) for network in networks if network.makes_parent}):
        vlan = vlan_of(parent)
        assert vlan is not None, "only a VLAN interface is made"
        yield VlanLink(parent, *vlan)


def lower_stand_in(network: NetworkCreated) -> list[KernelObject]:
    """List the interface that a network without parent stands on."""
    return [StandIn(network.device, network.network)] if network.device else []


def parent_of(network: NetworkCreated) -> str:
    """Name the interface that a network stands on."""
    return network.device or str(network.options[PARENT])
