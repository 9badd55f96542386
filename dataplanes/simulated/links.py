"""What happens to a frame: which interfaces it comes out at when an interface sends it.

Keeps: a frame comes out only at interfaces that are up and would take it: their own MAC address, or everybody's.
Knows nothing of: routes, translation.

Bridges learn, and forget when what they learned from goes. A frame to a MAC address that a bridge does not know goes to
all of its ports. Isolated ports of a bridge do not reach each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...domain.objects import Bridge, Key, VethPair
from ...domain.values import EndpointId, NetworkId
from .firewall import Ruling
from .lifting import lift_link
from .model import BridgeDevice, Device, Ethernet, Ipvlan, Macvlan, Segment, Veth, Vlan, Vxlan
from .packets import Packet

EVERYBODY = b"\xff" * 6


class Frame(NamedTuple):
    """A frame: an IP packet on its way to `target`, or without one the question who has the address `target`."""

    source: bytes
    destination: bytes
    target: bytes
    packet: Packet | None = None
    vlan: int = 0


class Passage(NamedTuple):
    """One thing that a frame passed: the interface, and words about it."""

    device: Device
    what: str


class Arrival(NamedTuple):
    """An interface that a frame came out at, what it passed on the way, and the packet as it is by now.

    `port`: of a bridge that is itself the one who is meant, where the frame came in.
    """

    device: Device
    passed: tuple[Passage, ...]
    packet: Packet | None = None
    port: Device | None = None


class Judgement(NamedTuple):
    """What the IP layer says about a bridged packet, and the packet as it leaves it."""

    ruling: Ruling
    packet: Packet


class Wires:
    """The way of frames. `judge` is asked about a bridged packet; `tunnel` carries a VXLAN frame to its other ends."""

    def __init__(
        self,
        judge: Callable[[BridgeDevice, Packet], Judgement],
        tunnel: Callable[[Vxlan, bytes], Iterator[Device]],
    ) -> None:
        self._judge = judge
        self._tunnel = tunnel

    def send(self, device: Device, frame: Frame, passed: tuple[Passage, ...] = ()) -> Iterator[Arrival]:
        """Send a frame out of an interface; yield where it comes out."""
        if not device.is_up:
            return
        match device:
            case Veth(peer=Veth() as peer):
                yield from self._arrive(peer, frame, passed)
            case Ethernet(segment=Segment() as segment):
                is_for_all = frame.destination == EVERYBODY
                for card in segment.devices.values():
                    may_take = is_for_all or card.mac == frame.destination or card.children or card.bridge is not None
                    if may_take and (card is not device or segment.reflects):
                        yield from self._arrive(card, frame, passed)
            case BridgeDevice():
                yield from self._bridge(device, None, frame, passed)
            case Macvlan(parent=Device() as parent):
                yield from self._from_macvlan(device, parent, frame, passed)
            case Ipvlan(parent=Device() as parent):
                yield from self._from_ipvlan(device, parent, frame, passed)
            case Vlan(parent=Device() as parent, vlan=tag):
                tagged = frame._replace(vlan=tag)
                yield from self.send(parent, tagged, (*passed, Passage(device, f"tags with VLAN {tag}")))
            case Vxlan():
                yield from self._from_vxlan(device, frame, passed)

    def _arrive(self, device: Device, frame: Frame, passed: tuple[Passage, ...]) -> Iterator[Arrival]:
        """Let a frame come in at an interface."""
        if not device.is_up:
            return
        if device.bridge is not None:
            yield from self._bridge(device.bridge, device, frame, passed)
        else:
            yield from self._up(device, frame, passed)

    def _up(
        self, device: Device, frame: Frame, passed: tuple[Passage, ...], port: Device | None = None
    ) -> Iterator[Arrival]:
        """Hand a frame to an interface and to those that stand on it; `port`: of a bridge, where it came in."""
        if frame.vlan:
            for child in device.children:
                if isinstance(child, Vlan) and child.vlan == frame.vlan:
                    yield from self._arrive(child, frame._replace(vlan=0), passed)
            return
        taken = False
        for child in device.children:
            if self._takes(child, frame):
                taken = True
                yield from self._arrive(child, frame, (*passed, Passage(device, f"passes it up to {child.name}")))
        if frame.destination == EVERYBODY or (frame.destination == device.mac and not taken):
            yield Arrival(device, passed, frame.packet, port)

    def through(self, bridge: BridgeDevice, port: Device, frame: Frame) -> Iterator[Arrival]:
        """Bridge a frame that came in at a port on to whom it is for now."""
        yield from self._bridge_on(bridge, port, frame, ())

    def _bridge(
        self, bridge: BridgeDevice, incoming: Device | None, frame: Frame, passed: tuple[Passage, ...]
    ) -> Iterator[Arrival]:
        """Let a frame through a bridge, from a port or from the bridge's own host."""
        if not bridge.is_up:
            return
        if incoming is not None:
            if frame.source not in bridge.static:
                bridge.learned[frame.source] = incoming
                bridge.learned_at[frame.source] = bridge.clock
            is_own = frame.destination == bridge.mac or any(self._takes(each, frame) for each in bridge.children)
            if is_own or frame.destination == EVERYBODY:
                yield from self._up(bridge, frame, passed, incoming)
                if frame.destination != EVERYBODY:
                    return
        yield from self._bridge_on(bridge, incoming, frame, passed)

    def _bridge_on(
        self, bridge: BridgeDevice, incoming: Device | None, frame: Frame, passed: tuple[Passage, ...]
    ) -> Iterator[Arrival]:
        """Send a frame out of the other ports of a bridge, as far as it may leave there."""
        for port in self._ports(bridge, frame.destination):
            if not port.is_up or not may_pass(incoming, port):
                continue
            sent = frame
            if incoming is not None and frame.packet is not None:
                judgement = self._judge(bridge, frame.packet)
                if not judgement.ruling.is_accepted:
                    continue
                sent = frame._replace(packet=judgement.packet)
            over = (*passed, Passage(bridge, f"bridges it to {port.name}"), Passage(port, f"{port.name} sends it"))
            yield from self.send(port, sent, over)

    def _ports(self, bridge: BridgeDevice, destination: bytes) -> Iterator[Device]:
        known = bridge.static.get(destination) or bridge.learned.get(destination)
        if known is not None and destination != EVERYBODY and bridge.ports.get(known.name) is known:
            yield known
        else:
            yield from list(bridge.ports.values())

    def _takes(self, child: Device, frame: Frame) -> bool:
        """Whether an interface on top of another takes a frame that came in from the wire."""
        match child:
            case Macvlan(mode="passthru"):
                return True
            case Macvlan():
                return frame.destination in (EVERYBODY, child.mac) and not _is_from_private_sibling(child, frame)
            case Ipvlan():
                has = any(address == frame.target for address, _ in child.addresses)
                return has and (child.mode == "l2" or frame.packet is not None)
            case _:
                return False

    def _from_macvlan(
        self, device: Macvlan, parent: Device, frame: Frame, passed: tuple[Passage, ...]
    ) -> Iterator[Arrival]:
        """In bridge mode siblings are reached at once; else only what is beyond the parent; the parent itself never."""
        siblings = (there for there in parent.children if isinstance(there, Macvlan) and there is not device)
        is_taken = False
        for sibling in siblings if device.mode == "bridge" else ():
            if sibling.mode == "bridge" and sibling.is_up and frame.destination in (EVERYBODY, sibling.mac):
                is_taken = is_taken or frame.destination == sibling.mac
                yield from self._arrive(sibling, frame, passed)
        if not is_taken:
            yield from self.send(parent, frame, (*passed, Passage(parent, f"{parent.name} sends it")))

    def _from_ipvlan(
        self, device: Ipvlan, parent: Device, frame: Frame, passed: tuple[Passage, ...]
    ) -> Iterator[Arrival]:
        """Siblings are told apart by address; everybody has the parent's MAC address."""
        for sibling in parent.children:
            is_other = isinstance(sibling, Ipvlan) and sibling is not device
            if is_other and sibling.is_up and any(address == frame.target for address, _ in sibling.addresses):
                if device.flag == "vepa":
                    break
                if device.flag == "bridge":
                    yield Arrival(sibling, passed, frame.packet)
                return
        wire = frame._replace(source=parent.mac)
        yield from self.send(parent, wire, (*passed, Passage(parent, f"{parent.name} sends it")))

    def _from_vxlan(self, device: Vxlan, frame: Frame, passed: tuple[Passage, ...]) -> Iterator[Arrival]:
        """Send it to the one other end that the FDB has for the MAC address, else to all of them."""
        known = device.fdb.get(frame.destination)
        over = (*passed, Passage(device, f"wraps it into VXLAN {device.vni}"))
        for remote in device.remotes if known is None else (known,):
            for other in self._tunnel(device, remote):
                yield from self._arrive(other, frame, over)


def may_pass(incoming: Device | None, port: Device) -> bool:
    """Whether a bridge sends what came in at a port (None: from its own host) out of a port (should_deliver)."""
    if incoming is None:
        return True
    return (port is not incoming or port.is_hairpin) and not (incoming.is_isolated and port.is_isolated)


def _is_from_private_sibling(device: Macvlan, frame: Frame) -> bool:
    """Whether a frame that the wire sends back is of an interface that nothing beside it is to hear."""
    beside = device.parent.children if device.parent is not None else []
    return any(isinstance(each, Macvlan) and each.mode == "private" and each.mac == frame.source for each in beside)


def key_of(device: Device) -> Key | None:
    """Name the object that an interface of ours was made for."""
    if device.mark is None:
        return None
    if isinstance(device, BridgeDevice):
        return Bridge(device.name, NetworkId(""), b"", 0).key
    if isinstance(device, Veth):
        end = device if device.is_host_end or device.peer is None else device.peer
        return VethPair(end.name, EndpointId(""), "", device.namespace.sandbox, "", b"", 0, isolated=False).key
    return next((made.key for made in lift_link(device)), None)
