"""Where a packet goes next: the longest prefix that contains its destination.

Keeps: of two equal prefixes the smaller metric wins, then the older one. Knows nothing of: links, firewalls, packets.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...domain.values import IPV4_BYTES, Subnet
from .model import NetworkNamespace, RouteEntry

LOOPBACK4 = 127
LOOPBACK6 = bytes(15) + b"\x01"


@dataclass(slots=True)
class RoutingTable:
    """The routes and the own addresses of one namespace, as they are when it is made."""

    addresses: dict[bytes, str] = field(default_factory=dict)
    """The own ones: address to device."""
    routes: dict[int, dict[int, dict[int, RouteEntry]]] = field(default_factory=dict)
    """By bytes of an address, prefix length and network number."""
    lengths: dict[int, list[int]] = field(default_factory=dict)
    """The prefix lengths that occur, the longest first."""

    @classmethod
    def of(cls, namespace: NetworkNamespace) -> RoutingTable:
        """Read a namespace's addresses and routes; those of a device that is down do not count, its addresses do."""
        table = cls()
        for route in _routes(namespace):
            width = len(route.destination.address)
            network = int.from_bytes(route.destination.address) >> (width * 8 - route.destination.prefix)
            same = table.routes.setdefault(width, {}).setdefault(route.destination.prefix, {})
            if network not in same or route.metric < same[network].metric:
                same[network] = route
        table.lengths = {width: sorted(lengths, reverse=True) for width, lengths in table.routes.items()}
        for device in namespace.devices.values():
            table.addresses |= dict.fromkeys((address for address, _ in device.addresses), device.name)
        return table

    def is_local(self, address: bytes) -> bool:
        """Whether the namespace itself is meant."""
        return address in self.addresses or is_loopback(address)

    def route(self, destination: bytes) -> RouteEntry | None:
        """Find the route to a destination."""
        width = len(destination)
        number = int.from_bytes(destination)
        for prefix in self.lengths.get(width, ()):
            found = self.routes[width][prefix].get(number >> (width * 8 - prefix))
            if found is not None:
                return found
        return None


def route_by(namespace: NetworkNamespace, device: str, destination: bytes) -> RouteEntry:
    """Find the route to a destination for what is to leave by a device; without one it is taken to be on the link."""
    width = len(destination)
    on_link = RouteEntry(Subnet(destination, width * 8), device)
    found = [route for route in _routes(namespace) if route.device == device and destination in route.destination]
    return min(found, key=lambda route: (-route.destination.prefix, route.metric), default=on_link)


def is_loopback(address: bytes) -> bool:
    """Whether an address is one of this very machine's in any namespace."""
    return address[0] == LOOPBACK4 if len(address) == IPV4_BYTES else address == LOOPBACK6


def source_for(namespace: NetworkNamespace, device: str, next_hop: bytes) -> bytes | None:
    """Choose the source address for what leaves by a device.

    One in the next hop's subnet, else the device's first, else the first of any other (inet_select_addr).
    """
    own = [(there, prefix) for there, prefix in namespace.devices[device].addresses if len(there) == len(next_hop)]
    best = next((there for there, prefix in own if next_hop in Subnet(there, prefix)), None)
    if best is not None or own:
        return best if best is not None else own[0][0]
    others = (there for other in namespace.devices.values() for there, _ in other.addresses)
    return next((there for there in others if len(there) == len(next_hop)), None)


def others_routes(namespace: NetworkNamespace) -> Iterator[RouteEntry]:
    """List the routes of a namespace that are not ours: neither routes of ours, nor to what is on our devices."""
    for route in _routes(namespace):
        if not route.is_ours and namespace.devices[route.device].mark is None:
            width = len(route.destination.address) * 8
            host_bits = width - route.destination.prefix
            first = int.from_bytes(route.destination.address, "big") >> host_bits << host_bits
            yield dataclasses.replace(
                route, destination=Subnet(first.to_bytes(width // 8, "big"), route.destination.prefix)
            )


def _routes(namespace: NetworkNamespace) -> Iterator[RouteEntry]:
    links = [
        (device.added.get(own, 0), device.name, own)
        for device in namespace.devices.values()
        if device.is_up
        for own in device.addresses
    ]
    for _, name, (address, prefix) in sorted(links, key=operator.itemgetter(0)):
        yield RouteEntry(Subnet(address, prefix), name)
    for route in namespace.routes:
        if route.device in namespace.devices and namespace.devices[route.device].is_up:
            yield route
