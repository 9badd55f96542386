"""Which namespaces of simulated hosts are alike: the same but for their own addresses.

Keeps: of two that are alike each may stand in the other's place in any question. In doubt they are not alike. Addresses
are alike that the same routes and subnets of all hosts contain, and that namespaces of the same kinds have.
Knows nothing of: the log, how a packet finds its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

from ...domain.values import Subnet
from .kernel import SimulatedKernel
from .model import BridgeDevice, Device, Ipvlan, Loopback, Macvlan, NetworkNamespace, Veth
from .packets import Spot

Kind = Hashable
"""Equal for what is alike."""


class Likeness:
    """Everything that is on an underlay, as it is now."""

    def __init__(self, hosts: Mapping[str, SimulatedKernel]) -> None:
        self._numbers: dict[Kind, int] = {}
        self._kernels = hosts
        spaces = {Spot(name, key): space for name, kernel in hosts.items() for key, space in kernel.namespaces.items()}
        self._told_apart = {address for space in spaces.values() for _, address in space.neighbours}
        self._told_apart |= {route.gateway for space in spaces.values() for route in space.routes if route.gateway}
        """Addresses that somebody has written down: as neighbours, or as gateways."""
        macs = Counter(_on_link(device) for space in spaces.values() for device in space.devices.values())
        self._twice = {there for there, number in macs.items() if number > 1}
        """MAC addresses that several interfaces of a link have: whose a frame is depends on more than kinds."""
        self._prefixes = _prefixes(spaces.values())
        self._kinds = {spot: self._kind(spot, space) for spot, space in spaces.items()}
        holders: dict[bytes, Counter[int]] = {}
        for spot, space in spaces.items():
            for address in _own(space):
                holders.setdefault(address, Counter())[self._kinds[spot]] += 1
        self._holders = {address: frozenset(kinds.items()) for address, kinds in holders.items()}

    def of(self, spot: Spot) -> Kind:
        """Give the kind of a namespace, its addresses in the order in which its devices have them."""
        space = self._kernels[spot.host].namespaces[spot.sandbox]
        return (self._kinds[spot], tuple(self.of_address(address) for address in _own(space)))

    def of_address(self, address: bytes) -> Kind:
        """Give the kind of an address, whoever has it."""
        number = int.from_bytes(address)
        width = len(address) * 8
        inside = frozenset(
            (prefix, number >> (width - prefix))
            for prefix, networks in self._prefixes.get(width, {}).items()
            if number >> (width - prefix) in networks
        )
        exactly = address if address in self._told_apart else b""
        return self._number((width, inside, exactly, self._holders.get(address)))

    def _kind(self, spot: Spot, space: NetworkNamespace) -> int:
        if not spot.sandbox or space.firewall is not None:
            return self._number(spot)
        table = self._kernels[spot.host].own.firewall
        opened = [
            sorted((protocol, port) for protocol, there, port in (table.open if table else ()) if there == address)
            for address in _own(space)
        ]
        return self._number(
            (
                spot.host,
                tuple(self._device(device) for device in space.devices.values()),
                _ages(space),
                tuple(space.routes),
                tuple(space.neighbours.items()),
                tuple(sorted(space.sysctls.items())),
                None if space.listeners is None else frozenset(space.listeners),
                tuple(map(tuple, opened)),
            )
        )

    def _device(self, device: Device) -> Kind:
        """Tell a device but for its addresses and its MAC address."""
        networks = tuple(
            (len(address), int.from_bytes(address) >> (len(address) * 8 - prefix), prefix)
            for address, prefix in device.addresses
        )
        told = (
            type(device).__name__,
            device.name,
            device.mtu,
            device.is_up,
            frozenset(device.routes_loopback),
            tuple(sorted(device.sysctls.items())),
            networks,
        )
        is_known = self._told_apart.isdisjoint(address for address, _ in device.addresses) and not device.children
        is_known = is_known and _on_link(device) not in self._twice
        match device:
            case Loopback():
                return told
            case Veth(peer=Veth(bridge=BridgeDevice() as bridge) as port) if (
                is_known and device.mac not in bridge.static
            ):
                outer = (port.is_up, port.mtu, port.is_isolated, port.is_hairpin)
                return (*told, bridge.namespace.host, bridge.name, outer)
            case Macvlan(parent=Device() as parent, mode=mode) if is_known:
                return (*told, parent.namespace.host, parent.name, mode)
            case Ipvlan(parent=Device() as parent, mode=mode, flag=flag) if is_known:
                return (*told, parent.namespace.host, parent.name, mode, flag)
            case _:
                return (*told, id(device))

    def _number(self, kind: Kind) -> int:
        """Give a kind a number, so that it is compared once."""
        return self._numbers.setdefault(kind, len(self._numbers))


def _on_link(device: Device) -> tuple[int, bytes]:
    """Tell which bridge an interface is on, and its MAC address there; all that stand on parents are on one link."""
    match device:
        case Veth(peer=Veth(bridge=BridgeDevice() as bridge)):
            return id(bridge), device.mac
        case Macvlan():
            return 0, device.mac
        case _:
            return (0 if device.children else id(device)), device.mac


def _own(space: NetworkNamespace) -> list[bytes]:
    return [address for device in space.devices.values() for address, _ in device.addresses]


def _ages(space: NetworkNamespace) -> tuple[int, ...]:
    """Tell in which order its addresses were added: of two routes to one subnet the older one counts."""
    added = [device.added.get(own, 0) for device in space.devices.values() for own in device.addresses]
    order = sorted(set(added))
    return tuple(map(order.index, added))


def _prefixes(spaces: Iterable[NetworkNamespace]) -> dict[int, dict[int, set[int]]]:
    """List every block that a route or a subnet leads to: by bits of an address and prefix length, network numbers."""
    blocks = {
        (subnet.address, subnet.prefix)
        for space in spaces
        for subnet in (
            *(route.destination for route in space.routes),
            *(Subnet(*own) for device in space.devices.values() for own in device.addresses),
        )
    }
    found: dict[int, dict[int, set[int]]] = {}
    for address, prefix in blocks:
        width = len(address) * 8
        found.setdefault(width, {}).setdefault(prefix, set()).add(int.from_bytes(address) >> (width - prefix))
    return found
