"""The kernel of one simulated host: objects go in, the state of its namespaces changes, objects are read out of it.

Keeps: a thing exists once; what goes takes along what cannot be without it; nobody is told what is there: `objects` is
read from the state, each time that it changed. Knows nothing of: plans, packets, the log.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from ...domain.facts import NamespaceIdentity
from ...domain.objects import (
    HOST_NAMESPACE,
    Address,
    Announcement,
    Bridge,
    File,
    Firewall,
    ForwardPolicy,
    InterfaceSysctl,
    KernelObject,
    Key,
    LoopbackAccess,
    Masquerade,
    Namespace,
    OpenPort,
    PortForward,
    Route,
    StandIn,
    Sysctl,
    VethPair,
    VlanLink,
)
from ...domain.objects import Ipvlan as WantedIpvlan
from ...domain.objects import Macvlan as WantedMacvlan
from ...domain.values import NetworkId, SandboxId, Subnet
from . import elements
from .lifting import find, lift
from .model import (
    DEFAULT_MTU,
    BridgeDevice,
    Device,
    Dummy,
    Ethernet,
    Ipvlan,
    Macvlan,
    NetworkNamespace,
    Numbers,
    RouteEntry,
    Veth,
    Vlan,
)
from .model import Firewall as FirewallState

Link: TypeAlias = Bridge | StandIn | VlanLink | VethPair | WantedMacvlan | WantedIpvlan
Furniture: TypeAlias = InterfaceSysctl | Address | Route | Announcement

DeviceT = TypeVar("DeviceT", bound=Device)

BRIDGE_PORTS = 1023
NAME_BYTES = 15
SMALLEST_MTU = 68
LARGEST_MTU = 65535


class KernelError(Exception):
    """Say which errno the kernel would answer, and in which words."""

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        super().__init__(message)


class SimulatedKernel:
    """The network of one host: `namespaces` by sandbox, the host's own under the empty string.

    `make`, `replace` and `remove` do what netledger asks for, with the kernel's own refusals; `alter`, `clear` and
    `add_interface` are what somebody else does behind its back.
    """

    def __init__(self, host: str = "host") -> None:
        self.host = host
        self.epoch = 0
        """How often anything was changed."""
        self._macs = Numbers()
        own = NetworkNamespace(host, HOST_NAMESPACE, is_ours=False, listeners=set())
        self.namespaces: dict[SandboxId, NetworkNamespace] = {HOST_NAMESPACE: own}
        self.files: dict[str, File] = {}
        """Files of sandboxes, by path."""
        self.edited: set[str] = set()
        """The paths of those that somebody made their own."""
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
            self._lifted = {there.key: there for there in (*lift(self.namespaces), *self.files.values())}
            self._lifted_at = self.epoch
        return MappingProxyType(self._lifted)

    @property
    def foreign_devices(self) -> dict[str, str]:
        """Interfaces of the host that are not ours: name and what it is, in words."""
        return {name: there.description for name, there in self.own.devices.items() if not _is_ours(there)}

    def find(self, wanted: KernelObject) -> KernelObject | None:
        """Read back the object that has the key of `wanted`; None when there is none. Needs no search."""
        return self.files.get(wanted.path) if isinstance(wanted, File) else find(self.namespaces, wanted)

    # --- what we do

    def make(self, wanted: KernelObject) -> None:
        """Make an object; raise what the kernel would."""
        if self.find(wanted) is not None:
            raise KernelError(errno.EEXIST, "File exists")
        match wanted:
            case File():
                self.files[wanted.path] = wanted
            case Sysctl():
                self._inside(wanted.sandbox).sysctls[wanted.name] = wanted.value
            case Firewall():
                self.own.firewall = FirewallState()
            case Namespace():
                self.namespaces[wanted.sandbox] = NetworkNamespace(self.host, wanted.sandbox, wanted.path)
            case Bridge() | StandIn() | VlanLink() | VethPair() | WantedMacvlan() | WantedIpvlan():
                self._make_link(wanted)
            case InterfaceSysctl() | Address() | Route() | Announcement():
                self._furnish(wanted)
            case Masquerade() | ForwardPolicy() | LoopbackAccess() | PortForward() | OpenPort():
                elements.add(self._table(), wanted)
        self.epoch += 1

    def replace(self, wanted: KernelObject) -> None:
        """Put an object in the place of the one that has its key. A bridge is altered and keeps what stands on it."""
        if isinstance(wanted, Bridge) and not wanted.adopted and wanted.name not in self.own.adopted:
            bridge = self._bridge(wanted.name)
            bridge.mac, bridge.mtu = wanted.mac, _checked_mtu(wanted.mtu)
            bridge.mark, bridge.is_up = wanted.network, True
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
            case File():
                del self.files[there.path]
            case Sysctl():
                del self._inside(there.sandbox).sysctls[there.name]
            case Firewall():
                self.own.firewall = None
            case Namespace():
                self.drop_namespace(there.sandbox)
            case Bridge() | StandIn() | VlanLink() | VethPair() | WantedMacvlan() | WantedIpvlan():
                self._drop_link(there)
            case InterfaceSysctl() | Address() | Route() | Announcement():
                self._strip(there)
            case Masquerade() | ForwardPolicy() | LoopbackAccess() | PortForward() | OpenPort():
                elements.drop(self._table(), there)
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

    def edit(self, path: str) -> None:
        """Let somebody edit a sandbox's file, which is theirs from then on."""
        del self.files[path]
        self.edited.add(path)
        self.epoch += 1

    def clear(self) -> None:
        """Take away everything of ours but files, as a reboot does."""
        for sandbox in [name for name in self.namespaces if name != HOST_NAMESPACE]:
            self.drop_namespace(sandbox)
        for device in [device for device in self.own.devices.values() if device.mark is not None]:
            if device.name in self.own.devices:
                self._drop_device(device)
        for device in self.own.devices.values():
            device.addresses = {place: is_ours for place, is_ours in device.addresses.items() if not is_ours}
        self.own.adopted.clear()
        self.own.firewall = None
        self.own.sysctls.clear()
        self.epoch += 1

    def add_interface(self, name: str, description: str) -> Device:
        """Let somebody else have an interface in the host's namespace."""
        return self.plug(Device(name, self.own, next(self.own.indices), description=description))

    def add_card(self, name: str) -> Ethernet:
        """Let the host have a network card, which is on no cable yet."""
        card = Ethernet(name, self.own, next(self.own.indices), self._new_mac(), description="a network card")
        return self.plug(card)

    def add_bridge(self, name: str, *addresses: tuple[bytes, int]) -> BridgeDevice:
        """Let somebody else have a bridge in the host's namespace."""
        place = (name, self.own, next(self.own.indices), self._new_mac())
        bridge = BridgeDevice(*place, description="a bridge", addresses=dict.fromkeys(addresses, False))
        return self.plug(bridge)

    def plug(self, device: DeviceT) -> DeviceT:
        """Put an interface of any kind, that somebody made, into its namespace and on its parent."""
        _check_name(device.name)
        if device.name in device.namespace.devices:
            raise KernelError(errno.EEXIST, f"File exists: {device.name} in that namespace")
        device.namespace.devices[device.name] = device
        if isinstance(device, Macvlan | Ipvlan | Vlan) and device.parent is not None:
            device.parent.children.append(device)
        if device.bridge is not None:
            device.bridge.ports[device.name] = device
        self.epoch += 1
        return device

    def unplug(self, name: str) -> None:
        """Take an interface out of the host's namespace, whosoever it is, with what stands on it."""
        self._drop_device(self.own.devices[name])
        self.epoch += 1

    def drop_namespace(self, sandbox: SandboxId) -> None:
        """Take away a namespace with everything in it."""
        namespace = self.namespaces[sandbox]
        for device in list(namespace.devices.values()):
            self._drop_device(device)
        del self.namespaces[sandbox]
        self.epoch += 1

    # --- one kind each

    def _make_link(self, wanted: Link) -> None:
        match wanted:
            case Bridge(adopted=True):
                self._adopt(wanted)
            case Bridge():
                self._make_bridge(wanted)
            case StandIn():
                self._check_free(wanted.name)
                self._add_link(Dummy(wanted.name, self.own, 0, self._new_mac(), mark=wanted.network))
            case VlanLink():
                self._make_vlan(wanted)
            case VethPair():
                self._make_pair(wanted)
            case _:
                self._make_on_parent(wanted)

    def _drop_link(self, gone: Link) -> None:
        match gone:
            case Bridge(adopted=True):
                self.own.adopted.discard(gone.name)
            case VethPair():
                self._drop_device(self.own.devices[gone.host_name])
            case WantedMacvlan() | WantedIpvlan():
                self._drop_device(self._inside(gone.sandbox).devices[gone.name])
            case _:
                self._drop_device(self.own.devices[gone.name])

    def _furnish(self, wanted: Furniture) -> None:
        """Put something on an interface."""
        device = self._device(wanted.sandbox, wanted.device)
        match wanted:
            case InterfaceSysctl():
                device.sysctls[wanted.name] = wanted.value
            case Address():
                device.addresses[(wanted.address, wanted.prefix)] = True
            case Route():
                self._make_route(device, wanted)
            case Announcement():
                device.announced = (wanted.count, wanted.interval_milliseconds)

    def _strip(self, gone: Furniture) -> None:
        """Take something off an interface."""
        device = self._device(gone.sandbox, gone.device)
        match gone:
            case InterfaceSysctl():
                del device.sysctls[gone.name]
            case Address():
                _drop_address(device, gone)
            case Route():
                routes = device.namespace.routes
                routes[:] = [route for route in routes if not route.is_ours or route.destination != gone.destination]
            case Announcement():
                device.announced = None

    def _make_bridge(self, wanted: Bridge) -> None:
        self._check_free(wanted.name)
        bridge = BridgeDevice(
            wanted.name,
            self.own,
            next(self.own.indices),
            wanted.mac,
            _checked_mtu(wanted.mtu),
            mark=wanted.network,
            description="a bridge",
        )
        self.own.devices[wanted.name] = bridge

    def _make_pair(self, wanted: VethPair) -> None:
        self._check_free(wanted.host_name)
        _check_name(wanted.name)
        bridge = self.own.devices.get(wanted.bridge)
        if not isinstance(bridge, BridgeDevice):
            raise KernelError(errno.ENODEV, f"No such device {wanted.bridge}")
        inside = self._inside(wanted.sandbox)
        if wanted.name in inside.devices:
            raise KernelError(errno.EEXIST, f"File exists: {wanted.name} in that namespace")
        if len(bridge.ports) >= BRIDGE_PORTS:
            raise KernelError(errno.EXFULL, "Exchange full")
        mtu = _checked_mtu(wanted.mtu)
        index = next(self.own.indices)
        end = Veth(wanted.host_name, self.own, index, self._new_mac(), mtu, mark=wanted.endpoint, is_host_end=True)
        other = Veth(wanted.name, inside, next(inside.indices), wanted.mac, mtu, wanted.up, wanted.endpoint, peer=end)
        end.peer, end.bridge, end.is_isolated = other, bridge, wanted.isolated
        bridge.ports[end.name] = end
        self.own.devices[end.name] = end
        inside.devices[other.name] = other

    def _make_route(self, device: Device, wanted: Route) -> None:
        on_link = (True for own, prefix in device.addresses if wanted.gateway in Subnet(own, prefix))
        if wanted.gateway and next(on_link, None) is None:
            raise KernelError(errno.ENETUNREACH, "Network is unreachable: the gateway is on no link")
        route = RouteEntry(wanted.destination, wanted.device, wanted.gateway, is_ours=True)
        device.namespace.routes.append(route)

    def _make_vlan(self, wanted: VlanLink) -> None:
        self._check_free(wanted.name)
        parent = self._parent(wanted.parent)
        if any(isinstance(child, Vlan) and child.vlan == wanted.vlan for child in parent.children):
            raise KernelError(errno.EEXIST, f"File exists: {wanted.parent} has VLAN {wanted.vlan}")
        mark, tag = NetworkId(""), wanted.vlan
        made = Vlan(wanted.name, self.own, 0, parent.mac, parent.mtu, mark=mark, parent=parent, vlan=tag)
        self._add_link(made)
        parent.children.append(made)

    def _make_on_parent(self, wanted: WantedMacvlan | WantedIpvlan) -> None:
        """Make a macvlan or ipvlan interface; a parent has one kind of them, and one alone in mode passthru."""
        _check_name(wanted.name)
        parent, inside = self._parent(wanted.parent), self._inside(wanted.sandbox)
        if wanted.name in inside.devices:
            raise KernelError(errno.EEXIST, f"File exists: {wanted.name} in that namespace")
        others = [child for child in parent.children if isinstance(child, Macvlan | Ipvlan)]
        kind = Macvlan if isinstance(wanted, WantedMacvlan) else Ipvlan
        if parent.bridge is not None or any(not isinstance(child, kind) for child in others):
            raise KernelError(errno.EBUSY, f"Device or resource busy: {parent.name} is used otherwise")
        if others and "passthru" in (wanted.mode, *(child.mode for child in others)):
            raise KernelError(errno.EINVAL, f"Invalid argument: passthru leaves no room for another on {parent.name}")
        place = (wanted.name, inside, 0)
        made: Macvlan | Ipvlan
        if isinstance(wanted, WantedMacvlan):
            made = Macvlan(*place, wanted.mac, parent.mtu, mark=wanted.endpoint, parent=parent, mode=wanted.mode)
        else:
            made = Ipvlan(*place, parent.mac, parent.mtu, mark=wanted.endpoint, parent=parent, mode=wanted.mode)
            made.flag = wanted.flag
        made.is_up = wanted.up
        self._add_link(made)
        parent.children.append(made)

    def _add_link(self, made: Device) -> None:
        made.index = next(made.namespace.indices)
        made.namespace.devices[made.name] = made

    def _adopt(self, wanted: Bridge) -> None:
        there = self.own.devices.get(wanted.name)
        if there is None:
            raise KernelError(errno.ENODEV, f"No such device {wanted.name}")
        if not isinstance(there, BridgeDevice) or there.mark is not None:
            raise KernelError(errno.EEXIST, f"{there.description} has the name {wanted.name} and cannot be adopted")
        self.own.adopted.add(wanted.name)

    def _drop_device(self, device: Device) -> None:
        """Take away an interface: its routes, its place in a bridge, its own ports' bridge, the other end of a pair."""
        namespace = device.namespace
        if namespace.devices.pop(device.name, None) is None:
            return
        namespace.adopted.discard(device.name)
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
                port.bridge = None
        if isinstance(device, Veth) and device.peer is not None:
            self._drop_device(device.peer)

    def _lay_ground(self, altered: KernelObject) -> None:
        """Make what somebody would have made first: the table for an element."""
        element = Masquerade | ForwardPolicy | LoopbackAccess | PortForward | OpenPort
        if isinstance(altered, element) and self.own.firewall is None:
            self.own.firewall = FirewallState()

    # --- looking things up

    def _inside(self, sandbox: SandboxId) -> NetworkNamespace:
        namespace = self.namespaces.get(sandbox)
        if namespace is None:
            raise KernelError(errno.ENOENT, f"No such file or directory: the namespace of sandbox {sandbox[:12]}")
        return namespace

    def _device(self, sandbox: SandboxId, name: str) -> Device:
        device = self._inside(sandbox).devices.get(name)
        if device is None or (device.mark is None and name not in device.namespace.adopted):
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return device

    def _parent(self, name: str) -> Device:
        parent = self.own.devices.get(name)
        if parent is None:
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return parent

    def _table(self) -> FirewallState:
        if self.own.firewall is None:
            raise KernelError(errno.ENOENT, "No such file or directory: the table is not there")
        return self.own.firewall

    def _new_mac(self) -> bytes:
        return b"\x0e\x00" + next(self._macs).to_bytes(4)

    def _bridge(self, name: str) -> BridgeDevice:
        bridge = self.own.devices[name]
        assert isinstance(bridge, BridgeDevice), "it was found as one"
        return bridge

    def _check_free(self, name: str) -> None:
        _check_name(name)
        there = self.own.devices.get(name)
        if there is not None:
            words = "File exists" if _is_ours(there) else f"{there.description} has the name {name} and is not ours"
            raise KernelError(errno.EEXIST, words)


def _unplug(bridge: BridgeDevice, port: Device) -> None:
    """Take a port off a bridge, which forgets what it has learned and was told about it."""
    del bridge.ports[port.name]
    for entries in (bridge.static, bridge.learned):
        for mac in [mac for mac, there in entries.items() if there is port]:
            del entries[mac]


def _drop_address(device: Device, gone: Address) -> None:
    """Take an address off; with its last address of a family a device loses its routes of that family."""
    del device.addresses[(gone.address, gone.prefix)]
    width = len(gone.address)
    if all(len(address) != width for address, _ in device.addresses):
        routes = device.namespace.routes
        left = [there for there in routes if there.device != device.name or len(there.destination.address) != width]
        routes[:] = left


def _is_ours(device: Device) -> bool:
    return device.mark is not None or device.name == "lo"


def _check_name(name: str) -> None:
    if not 1 <= len(name.encode()) <= NAME_BYTES:
        raise KernelError(errno.EINVAL, f"Invalid argument: the interface name {name!r} has not 1 to 15 bytes")


def _checked_mtu(mtu: int) -> int:
    if mtu and not SMALLEST_MTU <= mtu <= LARGEST_MTU:
        raise KernelError(errno.EINVAL, f"Invalid argument: mtu {mtu}")
    return mtu or DEFAULT_MTU
