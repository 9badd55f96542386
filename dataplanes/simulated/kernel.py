"""The kernel of one simulated host: objects go in, the state of its namespaces changes, objects are read out of it.

Keeps: a thing exists once; what goes takes along what cannot be without it; nobody is told what is there: `objects` is
read from the state, each time that it changed. Knows nothing of: plans, packets, the log.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from ...domain.facts import NamespaceIdentity
from ...domain.objects import (
    HOST_NAMESPACE,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Key,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from ...domain.values import IPV4_BYTES, SandboxId, Subnet
from .lifting import find, lift
from .limits import KernelError, check_name, check_parent, check_port, check_room, checked_mtu
from .model import (
    BridgeDevice,
    Device,
    Ipvlan,
    Macvlan,
    NetworkNamespace,
    RouteEntry,
    Veth,
    Vlan,
)
from .model import Firewall as FirewallState

DeviceT = TypeVar("DeviceT", bound=Device)

AGEING_SECONDS = 300
"""Of a bridge, unless it is told otherwise (BR_DEFAULT_AGEING_TIME)."""


class SimulatedKernel:
    """The network of one host: `namespaces` by sandbox, the host's own under the empty string.

    `make`, `replace` and `remove` do what netledger asks for, with the kernel's own refusals; `alter`, `clear` and
    `add_interface` are what somebody else does behind its back.
    """

    def __init__(self, host: str = "host") -> None:
        self.host = host
        self.epoch = 0
        """How often anything was changed."""
        self._macs = itertools.count(1)
        own = NetworkNamespace(host, HOST_NAMESPACE, is_ours=False, listeners=set())
        self.namespaces: dict[SandboxId, NetworkNamespace] = {HOST_NAMESPACE: own}
        self._lifted: dict[Key, KernelObject] = {}
        self._lifted_at = -1

    # --- what is there

    @property
    def own(self) -> NetworkNamespace:
        """The host's own namespace."""
        return self.namespaces[HOST_NAMESPACE]

    @property
    def objects(self) -> Mapping[Key, KernelObject]:
        """Everything of ours, by key, as it is now."""
        if self._lifted_at != self.epoch:
            self._lifted = {there.key: there for there in lift(self.namespaces)}
            self._lifted_at = self.epoch
        return MappingProxyType(self._lifted)

    @property
    def foreign_devices(self) -> dict[str, str]:
        """Interfaces of the host that are not ours: name and what it is, in words."""
        return {name: there.description for name, there in self.own.devices.items() if not _is_ours(there)}

    def find(self, wanted: KernelObject) -> KernelObject | None:
        """Read back the object that has the key of `wanted`; None when there is none. Needs no search."""
        return find(self.namespaces, wanted)

    # --- what we do

    def make(self, wanted: KernelObject) -> None:
        """Make an object; raise what the kernel would."""
        if self.find(wanted) is not None:
            raise KernelError(errno.EEXIST, "File exists")
        match wanted:
            case Sysctl():
                inside = self._inside(wanted.sandbox)
                inside.sysctls[wanted.name] = wanted.value
                inside.asked_sysctls.add(wanted.name)
            case Firewall():
                self.own.firewall = FirewallState()
            case Namespace():
                self.namespaces[wanted.sandbox] = NetworkNamespace(self.host, wanted.sandbox, wanted.path)
            case Bridge():
                self._make_bridge(wanted)
            case VethPair():
                self._make_pair(wanted)
            case Address():
                device = self._device(wanted.sandbox, wanted.device)
                device.addresses[(wanted.address, wanted.prefix)] = True
                device.added[(wanted.address, wanted.prefix)] = self.epoch
            case Route():
                self._make_route(wanted)
            case Masquerade() | ForwardPolicy() | PortForward():
                self._make_element(wanted)
        self.epoch += 1

    def replace(self, wanted: KernelObject) -> None:
        """Put an object in the place of the one that has its key.

        A bridge is altered and keeps what stands on it; so does a pair whose ends stay where they are.
        """
        if isinstance(wanted, Bridge):
            bridge = self._bridge(wanted.name)
            bridge.mac, bridge.mtu = wanted.mac, checked_mtu(wanted.mtu)
            bridge.mark, bridge.is_up = wanted.network, True
            self.epoch += 1
        elif isinstance(wanted, VethPair) and self._adjust_pair(wanted):
            self.epoch += 1
        else:
            self.remove(wanted)
            self.make(wanted)

    def remove(self, gone: KernelObject) -> None:
        """Remove what has the key of `gone`, and what goes with it; raise what the kernel would."""
        there = self.find(gone)
        if there is None:
            raise KernelError(errno.ENOENT, "No such file or directory")
        match there:
            case Sysctl():
                self._inside(there.sandbox).asked_sysctls.discard(there.name)
            case Firewall():
                self.own.firewall = None
            case Namespace():
                self.drop_namespace(there.sandbox)
            case Bridge():
                self._drop_device(self._bridge(there.name))
            case VethPair():
                self._drop_device(self.own.devices[there.host_name])
            case Address():
                self._drop_address(there)
            case Route():
                inside = self._inside(there.sandbox)
                kept = [route for route in inside.routes if not route.is_ours or route.destination != there.destination]
                inside.routes[:] = kept
            case Masquerade() | ForwardPolicy() | PortForward():
                self._drop_element(there)
        self.epoch += 1

    def enter(self, sandbox: SandboxId, path: str, identity: NamespaceIdentity) -> None:
        """Let a sandbox be the namespace that somebody else made at `path`."""
        there = self.namespaces.get(sandbox)
        if there is None or there.identity != identity:
            if there is not None:
                self.drop_namespace(sandbox)
            made = NetworkNamespace(self.host, sandbox, path, is_ours=False, identity=identity)
            self.namespaces[sandbox] = made
            self.epoch += 1

    # --- what others do

    def alter(self, altered: KernelObject) -> None:
        """Make an object, or put it in the place of the one that has its key, as somebody would behind our back."""
        if self.find(altered) is None:
            self._lay_ground(altered)
            self.make(altered)
        else:
            self.replace(altered)

    def clear(self) -> None:
        """Take away everything of ours."""
        for sandbox in [name for name in self.namespaces if name != HOST_NAMESPACE]:
            self.drop_namespace(sandbox)
        for device in [device for device in self.own.devices.values() if device.mark is not None]:
            if device.name in self.own.devices:
                self._drop_device(device)
        self.own.firewall = None
        self.own.sysctls.clear()
        self.own.asked_sysctls.clear()
        self.epoch += 1

    def add_interface(self, name: str, description: str) -> Device:
        """Let somebody else have an interface in the host's namespace."""
        return self.plug(Device(name, self.own, next(self.own.indices), description=description))

    def plug(self, device: DeviceT) -> DeviceT:
        """Put an interface of any kind, that somebody made, into its namespace and on its parent."""
        check_name(device.name)
        if device.name in device.namespace.devices:
            raise KernelError(errno.EEXIST, f"File exists: {device.name} in that namespace")
        if isinstance(device, Macvlan | Ipvlan | Vlan) and device.parent is not None:
            check_parent(device, device.parent)
            if not any(device.mac):
                device.mac = device.parent.mac
            if isinstance(device, Ipvlan):  # one mode for all that stand on one interface (ipvlan_set_port_mode)
                for sibling in device.parent.children:
                    sibling.mode = device.mode  # type: ignore[attr-defined]  # nothing else stands beside an ipvlan
            device.parent.children.append(device)
        if device.bridge is not None:
            check_port(device.bridge, device)
            device.bridge.ports[device.name] = device
        device.namespace.devices[device.name] = device
        self.epoch += 1
        return device

    def pass_time(self, seconds: int) -> None:
        """Let time pass: bridges forget what they have not heard of for AGEING_SECONDS."""
        for bridge in self.own.devices.values():
            if isinstance(bridge, BridgeDevice):
                bridge.clock += seconds
                for mac, at in list(bridge.learned_at.items()):
                    if bridge.clock - at >= AGEING_SECONDS:
                        del bridge.learned[mac], bridge.learned_at[mac]
        self.epoch += 1

    def drop_namespace(self, sandbox: SandboxId) -> None:
        """Take away a namespace with everything in it."""
        namespace = self.namespaces[sandbox]
        for device in list(namespace.devices.values()):
            self._drop_device(device)
        del self.namespaces[sandbox]
        self.epoch += 1

    # --- one kind each

    def _make_bridge(self, wanted: Bridge) -> None:
        self._check_free(wanted.name)
        bridge = BridgeDevice(
            wanted.name,
            self.own,
            next(self.own.indices),
            wanted.mac,
            checked_mtu(wanted.mtu),
            mark=wanted.network,
            description="a bridge",
        )
        self.own.devices[wanted.name] = bridge

    def _make_pair(self, wanted: VethPair) -> None:
        self._check_free(wanted.host_name)
        check_name(wanted.name)
        bridge = self.own.devices.get(wanted.bridge)
        if not isinstance(bridge, BridgeDevice):
            raise KernelError(errno.ENODEV, f"No such device {wanted.bridge}")
        inside = self._inside(wanted.sandbox)
        if wanted.name in inside.devices:
            raise KernelError(errno.EEXIST, f"File exists: {wanted.name} in that namespace")
        check_room(bridge)
        mtu = checked_mtu(wanted.mtu)
        mac = b"\x0e\x00" + next(self._macs).to_bytes(4)
        end = Veth(wanted.host_name, self.own, next(self.own.indices), mac, mtu, mark=wanted.endpoint, is_host_end=True)
        other = Veth(wanted.name, inside, next(inside.indices), wanted.mac, mtu, wanted.up, wanted.endpoint, peer=end)
        end.peer, end.bridge, end.is_isolated = other, bridge, wanted.isolated
        bridge.ports[end.name] = end
        self.own.devices[end.name] = end
        inside.devices[other.name] = other

    def _adjust_pair(self, wanted: VethPair) -> bool:
        """Bring a pair that is there to what is wanted, if that can be done in place."""
        end = self.own.devices[wanted.host_name]
        bridge = self.own.devices.get(wanted.bridge)
        assert isinstance(end, Veth), "it was found as one"
        other = end.peer
        if other is None or (other.namespace.sandbox, other.name) != (wanted.sandbox, wanted.name):
            return False
        if not isinstance(bridge, BridgeDevice):
            raise KernelError(errno.ENODEV, f"No such device {wanted.bridge}")
        if end.bridge is not bridge:
            check_room(bridge)
            if end.bridge is not None:
                _unplug(end.bridge, end)
            bridge.ports[end.name], end.bridge = end, bridge
        end.mtu = other.mtu = checked_mtu(wanted.mtu)
        end.mark = other.mark = wanted.endpoint
        end.is_up, other.is_up, end.is_isolated, other.mac = True, wanted.up, wanted.isolated, wanted.mac
        return True

    def _make_route(self, wanted: Route) -> None:
        device = self._device(wanted.sandbox, wanted.device)
        on_link = (True for own, prefix in device.addresses if wanted.gateway in Subnet(own, prefix))
        if wanted.gateway and next(on_link, None) is None:
            raise KernelError(errno.ENETUNREACH, "Network is unreachable: the gateway is on no link")
        route = RouteEntry(wanted.destination, wanted.device, wanted.gateway, is_ours=True)
        device.namespace.routes.append(route)

    def _make_element(self, wanted: Masquerade | ForwardPolicy | PortForward) -> None:
        table = self.own.firewall
        if table is None:
            raise KernelError(errno.ENOENT, "No such file or directory: the table is not there")
        match wanted:
            case Masquerade():
                table.masquerade[wanted.family].add(wanted.bridge)
            case ForwardPolicy():
                table.bridges.add(wanted.bridge)
                table.same.add(wanted.bridge)
                (table.icc.add if wanted.icc else table.icc.discard)(wanted.bridge)
                (table.internal.add if wanted.internal else table.internal.discard)(wanted.bridge)
            case PortForward():
                place = (wanted.protocol, wanted.host_address, wanted.host_port)
                table.ports[place] = (wanted.address, wanted.port)

    def _drop_element(self, gone: Masquerade | ForwardPolicy | PortForward) -> None:
        table = self.own.firewall
        assert table is not None, "an element was found in it"
        match gone:
            case Masquerade():
                table.masquerade[gone.family].discard(gone.bridge)
            case ForwardPolicy():
                for bridges in (table.bridges, table.same, table.icc, table.internal):
                    bridges.discard(gone.bridge)
            case PortForward():
                del table.ports[(gone.protocol, gone.host_address, gone.host_port)]

    def _drop_address(self, gone: Address) -> None:
        """Take an address off; with its last IPv4 address a device loses its IPv4 routes."""
        device = self._device(gone.sandbox, gone.device)
        del device.addresses[(gone.address, gone.prefix)]
        device.added.pop((gone.address, gone.prefix), None)
        width = len(gone.address)
        if width == IPV4_BYTES and all(len(address) != width for address, _ in device.addresses):
            routes = device.namespace.routes
            routes[:] = [route for route in routes if route.device != device.name or len(route.gateway) != width]

    def _drop_device(self, device: Device) -> None:
        """Take away an interface: its routes, its place in a bridge, its own ports' bridge, the other end of a pair."""
        namespace = device.namespace
        if namespace.devices.pop(device.name, None) is None:
            return
        if namespace.routes:
            namespace.routes[:] = [route for route in namespace.routes if route.device != device.name]
        for child in list(device.children):
            self._drop_device(child)
        if isinstance(device, Macvlan | Ipvlan | Vlan) and device.parent is not None:
            device.parent.children.remove(device)
        if device.bridge is not None:
            _unplug(device.bridge, device)
        if isinstance(device, BridgeDevice):
            for port in device.ports.values():
                port.bridge, port.is_isolated = None, False
        if isinstance(device, Veth) and device.peer is not None:
            self._drop_device(device.peer)

    def _lay_ground(self, altered: KernelObject) -> None:
        """Make what somebody would have made first: the table for an element."""
        if isinstance(altered, Masquerade | ForwardPolicy | PortForward) and self.own.firewall is None:
            self.own.firewall = FirewallState()

    # --- looking things up

    def _inside(self, sandbox: SandboxId) -> NetworkNamespace:
        namespace = self.namespaces.get(sandbox)
        if namespace is None:
            raise KernelError(errno.ENOENT, f"No such file or directory: the namespace of sandbox {sandbox[:12]}")
        return namespace

    def _device(self, sandbox: SandboxId, name: str) -> Device:
        device = self._inside(sandbox).devices.get(name)
        if device is None or device.mark is None:
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return device

    def _bridge(self, name: str) -> BridgeDevice:
        bridge = self.own.devices[name]
        assert isinstance(bridge, BridgeDevice), "it was found as one"
        return bridge

    def _check_free(self, name: str) -> None:
        check_name(name)
        there = self.own.devices.get(name)
        if there is not None:
            words = "File exists" if _is_ours(there) else f"{there.description} has the name {name} and is not ours"
            raise KernelError(errno.EEXIST, words)


def _unplug(bridge: BridgeDevice, port: Device) -> None:
    """Take a port off a bridge, which forgets what it has learned and was told about it."""
    del bridge.ports[port.name]
    bridge.learned_at = {mac: at for mac, at in bridge.learned_at.items() if bridge.learned.get(mac) is not port}
    for entries in (bridge.static, bridge.learned):
        for mac in [mac for mac, there in entries.items() if there is port]:
            del entries[mac]


def _is_ours(device: Device) -> bool:
    return device.mark is not None or device.name == "lo"
