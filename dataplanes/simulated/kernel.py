"""The kernel of one simulated host: objects go in, the state of its namespaces changes, objects are read out of it.

Keeps: a thing exists once; what goes takes along what cannot be without it; nobody is told what is there: `objects` is
read from the state, each time that it changed. Knows nothing of: plans, packets, the log.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
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
    Ipvlan,
    KernelObject,
    Key,
    LoopbackAccess,
    Macvlan,
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
from ...domain.values import IPV4_BYTES, IPV6_BYTES, SandboxId, Subnet
from . import elements
from .interfaces import Interfaces, is_ours
from .lifting import find, lift
from .limits import KernelError
from .model import BridgeDevice, Device, Ethernet, NetworkNamespace, RouteEntry
from .model import Firewall as FirewallState

Furniture: TypeAlias = InterfaceSysctl | Address | Route | Announcement

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
        own = NetworkNamespace(host, HOST_NAMESPACE, is_ours=False, listeners=set())
        self.namespaces: dict[SandboxId, NetworkNamespace] = {HOST_NAMESPACE: own}
        self.left: list[NetworkNamespace] = []
        """Those of others that were a sandbox's and are none's now, with something of ours left in them."""
        self._interfaces = Interfaces(self.namespaces)
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
        return {name: there.description for name, there in self.own.devices.items() if not is_ours(there)}

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
                inside = self._interfaces.inside(wanted.sandbox)
                inside.sysctls[wanted.name] = wanted.value
                inside.asked_sysctls.add(wanted.name)
            case Firewall():
                self.own.firewall = FirewallState()
            case Namespace():
                self._leave(wanted.sandbox)
                self.namespaces[wanted.sandbox] = NetworkNamespace(self.host, wanted.sandbox, wanted.path)
            case Bridge() | StandIn() | VlanLink() | VethPair() | Macvlan() | Ipvlan():
                self._interfaces.make(wanted)
            case InterfaceSysctl() | Address() | Route() | Announcement():
                self._furnish(wanted)
            case Masquerade() | ForwardPolicy() | LoopbackAccess() | PortForward() | OpenPort():
                elements.add(self._table(), wanted)
                if isinstance(wanted, LoopbackAccess):
                    self._route_loopback(wanted, is_wanted=True)
        self.epoch += 1

    def replace(self, wanted: KernelObject, there: KernelObject | None = None) -> None:
        """Put an object in the place of the one that has its key, or of `there`.

        A bridge is altered and keeps what stands on it; so does a pair whose ends stay where they are.
        """
        if isinstance(wanted, Bridge) and not wanted.adopted and wanted.name not in self.own.adopted:
            self._interfaces.adjust_bridge(wanted)
            self.epoch += 1
        elif isinstance(wanted, VethPair) and self._interfaces.adjust_pair(wanted):
            self.epoch += 1
        else:
            self.remove(wanted if there is None else there)
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
                self._interfaces.inside(there.sandbox).asked_sysctls.discard(there.name)
            case Firewall():
                self.own.firewall = None
            case Namespace():
                self.drop_namespace(there.sandbox)
            case Bridge() | StandIn() | VlanLink() | VethPair() | Macvlan() | Ipvlan():
                self._interfaces.drop(there)
            case InterfaceSysctl() | Address() | Route() | Announcement():
                self._strip(there)
            case Masquerade() | ForwardPolicy() | LoopbackAccess() | PortForward() | OpenPort():
                elements.drop(self._table(), there)
                if isinstance(there, LoopbackAccess):
                    self._route_loopback(there, is_wanted=False)
        self.epoch += 1

    def remove_left(self, gone: Macvlan | Ipvlan, identity: NamespaceIdentity | str) -> bool:
        """Remove an interface from the namespace that it was left in, if it is there; whether it was."""
        mine = self.namespaces.get(gone.sandbox)
        inside = next((each for each in (mine, *self.left) if each is not None and each.which == identity), None)
        for device in () if inside is None else list(inside.devices.values()):
            if device.mark == gone.endpoint:
                self._interfaces.take_away(device)
                self._forget_left()
                self.epoch += 1
                return True
        return False

    def enter(self, sandbox: SandboxId, path: str, identity: NamespaceIdentity) -> None:
        """Let a sandbox be the namespace that somebody else made at `path`."""
        there = self.namespaces.get(sandbox)
        if there is None or there.identity != identity:
            self._leave(sandbox)
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
        self.drop_left(self.left)
        for device in [device for device in self.own.devices.values() if device.mark is not None]:
            if device.name in self.own.devices:
                self._interfaces.take_away(device)
        for device in self.own.devices.values():
            device.addresses = {place: False for place, is_added in device.addresses.items() if not is_added}
            device.added.clear()
        self.own.adopted.clear()
        self.own.firewall = None
        self.own.sysctls.clear()
        self.own.asked_sysctls.clear()
        self.epoch += 1

    def add_interface(self, name: str, description: str) -> Device:
        """Let somebody else have an interface in the host's namespace."""
        return self.plug(Device(name, self.own, next(self.own.indices), description=description))

    def add_card(self, name: str) -> Ethernet:
        """Let the host have a network card, which is on no cable yet."""
        card = Ethernet(
            name, self.own, next(self.own.indices), self._interfaces.new_mac(), description="a network card"
        )
        return self.plug(card)

    def add_bridge(self, name: str, *addresses: tuple[bytes, int]) -> BridgeDevice:
        """Let somebody else have a bridge in the host's namespace."""
        place = (name, self.own, next(self.own.indices), self._interfaces.new_mac())
        bridge = BridgeDevice(*place, description="a bridge", addresses=dict.fromkeys(addresses, False))
        return self.plug(bridge)

    def plug(self, device: DeviceT) -> DeviceT:
        """Put an interface of any kind, that somebody made, into its namespace and on its parent."""
        self._interfaces.plug(device)
        self.epoch += 1
        return device

    def unplug(self, name: str) -> None:
        """Take an interface out of the host's namespace, whosoever it is, with what stands on it."""
        self._interfaces.take_away(self.own.devices[name])
        self.epoch += 1

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
        for device in list(self.namespaces[sandbox].devices.values()):
            self._interfaces.take_away(device)
        del self.namespaces[sandbox]
        self.epoch += 1

    def drop_left(self, gone: Iterable[NetworkNamespace]) -> None:
        """Take away namespaces that something was left in."""
        for device in [device for namespace in gone for device in namespace.devices.values()]:
            self._interfaces.take_away(device)
            self.epoch += 1
        self._forget_left()

    def _leave(self, sandbox: SandboxId) -> None:
        """Let a sandbox be in its namespace no more: one of others stays as it is, with what is in it."""
        there = self.namespaces.get(sandbox)
        if there is None:
            return
        if there.is_ours:
            self.drop_namespace(sandbox)
            return
        del self.namespaces[sandbox]
        self.left.append(there)
        self._forget_left()
        self.epoch += 1

    def _forget_left(self) -> None:
        """Keep those namespaces in mind in which something of ours is."""
        self.left[:] = [each for each in self.left if any(device.mark is not None for device in each.devices.values())]

    # --- what is on an interface

    def _furnish(self, wanted: Furniture) -> None:
        """Put something on an interface."""
        device = self._device(wanted.sandbox, wanted.device)
        match wanted:
            case InterfaceSysctl():
                device.sysctls[wanted.name] = wanted.value
            case Address():
                device.addresses[(wanted.address, wanted.prefix)] = True
                device.added[(wanted.address, wanted.prefix)] = self.epoch
            case Route():
                _add_route(device, wanted)
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

    def _route_loopback(self, access: LoopbackAccess, *, is_wanted: bool) -> None:
        """Make or remove what loopback access is beside the rules; to ::1 it is open only while answers get back."""
        self._interfaces.route_loopback(access, is_wanted=is_wanted)
        if access.family == 6:
            table = self._table()
            table.reaches_loopback6 = bool(table.loopback[6]) and not self.own.filters_bridged(IPV6_BYTES)

    def _lay_ground(self, altered: KernelObject) -> None:
        """Make what somebody would have made first: the table for an element."""
        element = Masquerade | ForwardPolicy | LoopbackAccess | PortForward | OpenPort
        if isinstance(altered, element) and self.own.firewall is None:
            self.own.firewall = FirewallState()

    # --- looking things up

    def _device(self, sandbox: SandboxId, name: str) -> Device:
        device = self._interfaces.inside(sandbox).devices.get(name)
        if device is None or (device.mark is None and name not in device.namespace.adopted):
            raise KernelError(errno.ENODEV, f"No such device {name}")
        return device

    def _table(self) -> FirewallState:
        if self.own.firewall is None:
            raise KernelError(errno.ENOENT, "No such file or directory: the table is not there")
        return self.own.firewall


def _add_route(device: Device, wanted: Route) -> None:
    on_link = (True for own, prefix in device.addresses if wanted.gateway in Subnet(own, prefix))
    if wanted.gateway and next(on_link, None) is None:
        raise KernelError(errno.ENETUNREACH, "Network is unreachable: the gateway is on no link")
    device.namespace.routes.append(RouteEntry(wanted.destination, wanted.device, wanted.gateway, is_ours=True))


def _drop_address(device: Device, gone: Address) -> None:
    """Take an address off; with its last IPv4 address a device loses its IPv4 routes."""
    del device.addresses[(gone.address, gone.prefix)]
    device.added.pop((gone.address, gone.prefix), None)
    if len(gone.address) == IPV4_BYTES and all(len(address) != IPV4_BYTES for address, _ in device.addresses):
        routes = device.namespace.routes
        routes[:] = [
            there for there in routes if there.device != device.name or len(there.destination.address) != IPV4_BYTES
        ]
