"""What a kernel refuses whoever asks for it: names, sizes, and what cannot stand on or beside what.

Keeps: each refusal has the errno of Linux. Knows nothing of: what is asked for, packets.
"""

from __future__ import annotations

import errno

from .model import DEFAULT_MTU, BridgeDevice, Device, Ipvlan, Loopback, Macvlan, Vlan

BRIDGE_PORTS = 1023
NAME_BYTES = 15
SMALLEST_MTU = 68
LARGEST_MTU = 65535


class KernelError(Exception):
    """Say which errno the kernel would answer, and in which words."""

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        super().__init__(message)


def check_room(bridge: BridgeDevice) -> None:
    """Refuse one port too many."""
    if len(bridge.ports) >= BRIDGE_PORTS:
        raise KernelError(errno.EXFULL, "Exchange full")


def check_port(bridge: BridgeDevice, port: Device) -> None:
    """Refuse what cannot be a port: a bridge, a loopback, what something stands on."""
    check_room(bridge)
    if isinstance(port, BridgeDevice):
        raise KernelError(errno.ELOOP, "Too many levels of symbolic links: a bridge is no port of a bridge")
    if isinstance(port, Loopback):
        raise KernelError(errno.EINVAL, f"Invalid argument: {port.name} is no Ethernet interface")
    if any(isinstance(each, Macvlan | Ipvlan) for each in port.children):
        raise KernelError(errno.EBUSY, f"Device or resource busy: {port.name}")


def check_parent(device: Macvlan | Ipvlan | Vlan, parent: Device) -> None:
    """Refuse what cannot stand together on one interface, which hands its frames to one only (its rx_handler)."""
    if isinstance(device, Vlan):
        if any(isinstance(each, Vlan) and each.vlan == device.vlan for each in parent.children):
            raise KernelError(errno.EEXIST, f"File exists: VLAN {device.vlan} of {parent.name}")
        return
    kinds = {type(each): each for each in parent.children if isinstance(each, Macvlan | Ipvlan)}
    if parent.bridge is not None or (kinds and type(device) not in kinds):
        raise KernelError(errno.EBUSY, f"Device or resource busy: {parent.name}")
    modes = {each.mode for each in parent.children if isinstance(each, Macvlan)}
    if isinstance(device, Macvlan) and modes and "passthru" in {device.mode, *modes}:
        raise KernelError(errno.EINVAL, f"Invalid argument: passthru has {parent.name} for itself")


def check_name(name: str) -> None:
    """Refuse what is no name of an interface."""
    if not 1 <= len(name.encode()) <= NAME_BYTES:
        raise KernelError(errno.EINVAL, f"Invalid argument: the interface name {name!r} has not 1 to 15 bytes")


def checked_mtu(mtu: int) -> int:
    """Refuse what is no MTU; 0 is the default."""
    if mtu and not SMALLEST_MTU <= mtu <= LARGEST_MTU:
        raise KernelError(errno.EINVAL, f"Invalid argument: mtu {mtu}")
    return mtu or DEFAULT_MTU
