"""The interfaces of a simulated host: how each kind is made, put right in place, and taken away.

Keeps: a name is there once in a namespace; what goes takes along its routes, its place in a bridge, what stands on it,
and the other end of its pair. Knows nothing of: addresses, firewalls, packets.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TypeAlias

from ...domain import objects
from ...domain.objects import HOST_NAMESPACE, Bridge, LoopbackAccess, StandIn, VethPair, VlanLink
from ...domain.values import NetworkId, SandboxId
from .limits import KernelError, check_name, check_parent, check_port, check_room, checked_mtu
from .model import BridgeDevice, Device, Dummy, Ipvlan, Macvlan, NetworkNamespace, Numbers, Veth, Vlan

Link: TypeAlias = Bridge | StandIn | VlanLink | VethPair | objects.Macvlan | objects.Ipvlan


class Interfaces:
    """The interfaces in `namespaces`. What is asked for that is not possible raises what the kernel would."""

    def __init__(self, namespaces: Mapping[SandboxId, NetworkNamespace]) -> None:
        self._namespaces = namespaces
        self._macs = Numbers()

    # --- ours

    def make(self, wanted: Link) -> None:
        """Make the interfaces of an object."""
        match wanted:
            case Bridge(adopted=True):
                self._adopt(wanted)
            case Bridge():
                self._check_free(wanted.name)
                mtu, mark = checked_mtu(wanted.mtu), wanted.network
                self._add(BridgeDevice(wanted.name, self._own, 0, wanted.mac, mtu, mark=mark, description="a bridge"))
            case StandIn():
                self._check_free(wanted.name)
                self._add(Dummy(wanted.name, self._own, 0, self.new_mac(), mark=wanted.network))
            case VlanLink():
                self._check_free(wanted.name)
                parent, mark = self._parent(wanted.parent), NetworkId("")
                made = Vlan(wanted.name, self._own, 0, mtu=parent.mtu, mark=mark, parent=parent, vlan=wanted.vlan)
                self.plug(made)
            case VethPair():
                self._make_pair(wanted)
            case _:
                self._make_on_parent(wanted)

    def drop(self, gone: Link) -> None:
        """Take away the interfaces of an object; a bridge of others stays."""
        match gone:
            case Bridge(adopted=True):
                self._own.adopted.discard(gone.name)
            case VethPair():
                self.take_away(self._own.devices[gone.host_name])
            case objects.Macvlan() | objects.Ipvlan():
                self.take_away(self.inside(gone.sandbox).devices[gone.name])
            case _:
                self.take_away(self._own.devices[gone.name])

    def adjust_bridge(self, wanted: Bridge) -> None:
        """Bring a bridge that is there to what is wanted; its ports stay."""
        bridge = self._own.devices[wanted.name]
        bridge.mac, bridge.mtu = wanted.mac, checked_mtu(wanted.mtu)
        bridge.mark, bridge.is_up = wanted.network, True

    def adjust_pair(self, wanted: VethPair) -> bool:
        """Bring a pair that is there to what is wanted, if that can be done in place."""
        end = self._own.devices[wanted.host_name]
        assert isinstance(end, Veth), "it was found as one"
        other = end.peer
        if other is None or (other.namespace.sandbox, other.name) != (wanted.sandbox, wanted.name):
            return False
        bridge = self._bridge(wanted.bridge)
        if end.bridge is not bridge:
            check_room(bridge)
            if end.bridge is not None:
                _unplug(end.bridge, end)
            bridge.ports[end.name], end.bridge = end, bridge
        end.mtu = other.mtu = checked_mtu(wanted.mtu)
        end.mark = other.mark = wanted.endpoint
        end.is_up, other.is_up, other.mac = True, wanted.up, wanted.mac
        end.is_isolated, end.is_hairpin = wanted.isolated, True
        return True

    def route_loopback(self, access: LoopbackAccess, *, is_wanted: bool) -> None:
        """Let the host's loopback addresses of a family be routed on a bridge, or no more."""
        if is_wanted or access.bridge in self._own.devices:
            families = self._parent(access.bridge).routes_loopback
            (families.add if is_wanted else families.discard)(access.family)

    # --- anybody's

    def plug(self, device: Device) -> None:
        """Put an interface of any kind into its namespace, on its parent, and into its bridge."""
        check_name(device.name)
        if device.name in device.namespace.devices:
            raise KernelError(errno.EEXIST, f"File exists: {device.name} in that namespace")
        if isinstance(device, Macvlan | Ipvlan | Vlan) and device.parent is not None:
            check_parent(device, device.parent)
            if not any(device.mac):
                device.mac = device.parent.mac
            if isinstance(device, Ipvlan):  # one mode for all that stand on one interface (ipvlan_set_port_mode)
                for sibling in device.parent.children:
                    if isinstance(sibling, Ipvlan):
                        sibling.mode, sibling.flag = device.mode, device.flag
            device.parent.children.append(device)
        if device.bridge is not None:
            check_port(device.bridge, device)
            device.bridge.ports[device.name] = device
        self._add(device)

    def take_away(self, device: Device) -> None:
        """Take away an interface, and what cannot be without it."""
        namespace = device.namespace
        if namespace.devices.pop(device.name, None) is None:
            return
        namespace.adopted.discard(device.name)
        if namespace.routes:
            namespace.routes[:] = [route for route in namespace.routes if route.device != device.name]
        for child in list(device.children):
            self.take_away(child)
        if isinstance(device, Macvlan | Ipvlan | Vlan) and device.parent is not None:
            device.parent.children.remove(device)
        if device.bridge is not None:
            _unplug(device.bridge, device)
        if isinstance(device, BridgeDevice):
            for port in device.ports.values():
                port.bridge, port.is_isolated, port.is_hairpin = None, False, False
        if isinstance(device, Veth) and device.peer is not None:
            self.take_away(device.peer)

    def inside(self, sandbox: SandboxId) -> NetworkNamespace:
        """Find the namespace of a sandbox."""
        namespace = self._namespaces.get(sandbox)
        if namespace is None:
            raise KernelError(errno.ENOENT, f"No such file or directory: the namespace of sandbox {sandbox[:12]}")
        return namespace

    def new_mac(self) -> bytes:
        """Give a MAC address that no other interface of the host was given."""
        return b"\x0e\x00" + next(self._macs).to_bytes(4)

    # --- one kind each

    def _adopt(self, wanted: Bridge) -> None:
        there = self._parent(wanted.name)
        if not isinstance(there, BridgeDevice) or there.mark is not None:
            raise KernelError(errno.EEXIST, f"{there.description} has the name {wanted.name} and cannot be adopted")
        self._own.adopted.add(wanted.name)

    def _make_pair(self, wanted: VethPair) -> None:
        self._check_free(wanted.host_name)
        check_name(wanted.name)
        bridge = self._bridge(wanted.bridge)
        inside = self.inside(wanted.sandbox)
        if wanted.name in inside.devices:
            raise KernelError(errno.EEXIST, f"File exists: {wanted.name} in that namespace")
        check_room(bridge)
        mtu = checked_mtu(wanted.mtu)
        end = Veth(wanted.host_name, self._own, 0, self.new_mac(), mtu, mark=wanted.endpoint, is_host_end=True)
        other = Veth(wanted.name, inside, 0, wanted.mac, mtu, wanted.up, wanted.endpoint, peer=end)
        end.peer, end.bridge, end.is_isolated, end.is_hairpin = other, bridge, wanted.isolated, True
        bridge.ports[end.name] = end
        self._add(end)
        self._add(other)

    def _make_on_parent(self, wanted: objects.Macvlan | objects.Ipvlan) -> None:
        """Make a macvlan or ipvlan interface."""
        parent = self._parent(wanted.parent)
        place = (wanted.name, self.inside(wanted.sandbox), 0)
        made: Macvlan | Ipvlan
        if isinstance(wanted, objects.Macvlan):
            made = Macvlan(*place, wanted.mac, parent.mtu, mark=wanted.endpoint, parent=parent, mode=wanted.mode)
        else:
            made = Ipvlan(*place, parent.mac, parent.mtu, mark=wanted.endpoint, parent=parent, mode=wanted.mode)
            made.flag = wanted.flag
        made.is_up = wanted.up
        self.plug(made)

    def _add(self, made: Device) -> None:
        made.index = made.index or next(made.namespace.indices)
        made.namespace.devices[made.name] = made

    # --- looking things up

    @property
    def _own(self) -> NetworkNamespace:
        return self._namespaces[HOST_NAMESPACE]

    def _parent(self, name: str) -> Device:
        parent = self._own.devices.get(name)
        if parent is None:
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return parent

    def _bridge(self, name: str) -> BridgeDevice:
        bridge = self._own.devices.get(name)
        if not isinstance(bridge, BridgeDevice):
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return bridge

    def _check_free(self, name: str) -> None:
        check_name(name)
        there = self._own.devices.get(name)
        if there is not None:
            words = "File exists" if is_ours(there) else f"{there.description} has the name {name} and is not ours"
            raise KernelError(errno.EEXIST, words)


def is_ours(device: Device) -> bool:
    """Whether an interface was made for an object, or is in every namespace."""
    return device.mark is not None or device.name == "lo"


def _unplug(bridge: BridgeDevice, port: Device) -> None:
    """Take a port off a bridge, which forgets what it has learned and was told about it."""
    del bridge.ports[port.name]
    bridge.learned_at = {mac: at for mac, at in bridge.learned_at.items() if bridge.learned.get(mac) is not port}
    for entries in (bridge.static, bridge.learned):
        for mac in [mac for mac, there in entries.items() if there is port]:
            del entries[mac]
