"""Who answers for an address on a link, without asking everybody.

Keeps: answers as a flood of the question would, in the same order; a link with anything else on it than cards or veth
pairs has no answer here, and everybody is asked. Knows nothing of: packets, rules.

A bridge with a thousand ports would else hear a thousand questions for each of its thousand askers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...domain.values import IPV4_BYTES
from .links import may_pass
from .model import BridgeDevice, Device, Ethernet, NetworkNamespace, Segment, Veth

Addresses = Callable[[NetworkNamespace], "dict[bytes, str]"]
"""Gives the own addresses of a namespace."""

Link = BridgeDevice | Segment


class Neighbourhood:
    """The links whose every end is known. `forget` when anything has changed."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._known: dict[Link, dict[bytes, list[tuple[Device, Device]]] | None] = {}

    def forget(self) -> None:
        """Forget everything."""
        self._known.clear()

    def answerers(self, device: Device, address: bytes) -> list[Device] | None:
        """List who answers a question sent out of an interface; None where everybody has to be asked."""
        link, incoming = _link_of(device)
        index = None if link is None else self._index(link)
        if link is None or index is None:
            return None
        found: list[Device] = []
        is_bridge = isinstance(link, BridgeDevice)
        if isinstance(link, BridgeDevice):
            if not link.is_up:
                return found
            if incoming is not None:
                _learn(link, device.mac, incoming)
                if self._answers(link, address):
                    found.append(link)
        for port, end in index.get(address, ()):
            if port.is_up and end.is_up and (may_pass(incoming, port) if is_bridge else port is not incoming):
                found.append(end)
        return found

    def _index(self, link: Link) -> dict[bytes, list[tuple[Device, Device]]] | None:
        if link not in self._known:
            ends = list(_ends(link))
            self._known[link] = None if None in ends else self._by_address([end for end in ends if end is not None])
        return self._known[link]

    def _by_address(self, ends: list[tuple[Device, Device]]) -> dict[bytes, list[tuple[Device, Device]]]:
        index: dict[bytes, list[tuple[Device, Device]]] = {}
        for port, end in ends:
            for address in self._answered_by(end):
                index.setdefault(address, []).append((port, end))
        return index

    def _answered_by(self, device: Device) -> Iterator[bytes]:
        """List the addresses that an interface answers for: see `Journey._answers`."""
        yield from (address for address in self._addresses(device.namespace) if len(address) == IPV4_BYTES)
        yield from dict.fromkeys(address for address, _ in device.addresses if len(address) != IPV4_BYTES)

    def _answers(self, device: Device, address: bytes) -> bool:
        return address in self._answered_by(device)


def _link_of(device: Device) -> tuple[Link | None, Device | None]:
    """Find the link that an interface sends on, and where on it the frame comes in."""
    if not device.is_up:
        return None, None
    match device:
        case Veth(peer=Veth(bridge=BridgeDevice() as bridge, is_up=True) as peer) if device.bridge is None:
            return bridge, peer
        case Ethernet(segment=Segment() as segment) if device.bridge is None:
            return segment, device
        case BridgeDevice(bridge=None):
            return device, None
        case _:
            return None, None


def _ends(link: Link) -> Iterator[tuple[Device, Device] | None]:
    """Yield each place where a frame comes out, and the interface that takes it; None where it is not that simple."""
    if isinstance(link, Segment):
        if link.reflects:
            yield None
        yield from ((card, card) if _is_plain(card) else None for card in link.devices.values())
        return
    if link.bridge is not None or link.children:
        yield None
    for port in link.ports.values():
        is_pair = isinstance(port, Veth) and port.peer is not None and not port.children and _is_plain(port.peer)
        yield (port, port.peer) if is_pair and isinstance(port, Veth) and port.peer is not None else None


def _is_plain(device: Device) -> bool:
    return device.bridge is None and not device.children


def _learn(bridge: BridgeDevice, mac: bytes, port: Device) -> None:
    """Remember, as a bridge does that hears the question, where its sender is."""
    if mac not in bridge.static:
        bridge.learned[mac] = port
        bridge.learned_at[mac] = bridge.clock
