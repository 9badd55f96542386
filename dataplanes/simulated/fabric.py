"""Hosts on one network: the questions that can be asked of it, and packets sent across it.

Keeps: `reach` leaves no connection behind; the same state gives the same answers. Knows nothing of: the log.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Mapping

from ...domain.values import SandboxId, Subnet, parse_address, parse_subnet
from .forwarding import Journey, Machines
from .kernel import SimulatedKernel
from .model import Ethernet, Ipvlan, NetworkNamespace, RouteEntry, Segment, Vlan
from .packets import ECHO, ICMP, ICMPV6, SMALL, TCP, UDP, Packet, Reach, Spot, Verdict

PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": 132, "icmp": ICMP}
FIRST_PORT = 32768
PORTS = 28232
UNDERLAY4 = "198.18.0.0/15"
"""RFC 2544: for tests of network devices."""
UNDERLAY6 = "2001:db8:ffff::/64"
CARD = "eth0"

Question = tuple[Spot, bytes, int, int]
"""Who asks, the destination, the protocol and the port."""


class Fabric:
    """Hosts, each with a card on the same underlay, with the underlay's next address of each family."""

    def __init__(self, underlay4: str = UNDERLAY4, underlay6: str = UNDERLAY6) -> None:
        self.hosts: dict[str, SimulatedKernel] = {}
        """Everything on the underlay, by name: hosts, and outside machines."""
        self.underlay = Segment("underlay")
        self._blocks = (parse_subnet(underlay4), parse_subnet(underlay6))
        self._numbers = itertools.count(1)
        self._further: list[tuple[str, bytes]] = []
        """Addresses that hosts have beside those of the underlay's blocks."""
        self._machines = Machines()
        self._ports = itertools.cycle(range(FIRST_PORT, FIRST_PORT + PORTS))

    # --- building

    def add_host(self, name: str) -> SimulatedKernel:
        """Add a new host."""
        return self.adopt(SimulatedKernel(name))

    def adopt(self, kernel: SimulatedKernel) -> SimulatedKernel:
        """Put a host that there is already on the underlay."""
        number = next(self._numbers)
        self._connect(kernel, {(block.at(number), block.prefix) for block in self._blocks})
        return kernel

    def give(self, host: str, addresses: Iterable[bytes]) -> None:
        """Let a host have further addresses on its card; everybody on the underlay finds them on the link.

        One that the host has already, or another had before, is left where it is.
        """
        kernel = self.hosts[host]
        card, taken = kernel.own.devices[CARD], {address for _, address in self._further}
        taken |= {address for each in self.hosts.values() for address in _addresses(each.own)}
        for address in dict.fromkeys(addresses):
            if address not in taken:
                self._further.append((host, address))
                card.addresses[address, len(address) * 8] = False
                for other in self.hosts.values():
                    _lead(other, host, address)
        kernel.epoch += 1

    def add_outside(self, name: str, *addresses: str) -> Spot:
        """Add a machine that is no host of ours, where everything answers; `addresses` as `192.0.2.2/24`."""
        kernel = SimulatedKernel(name)
        kernel.own.listeners = None
        if addresses:
            parsed = [ipaddress.ip_interface(text) for text in addresses]
            self._connect(kernel, {(address.packed, address.network.prefixlen) for address in parsed})
        else:
            self.adopt(kernel)
        return Spot(name)

    def _connect(self, kernel: SimulatedKernel, addresses: Iterable[tuple[bytes, int]]) -> None:
        if kernel.host in self.hosts:
            message = f"there is a host {kernel.host!r} already"
            raise ValueError(message)
        number = len(self.hosts) + 1
        there = kernel.own.devices.get(CARD)
        card = there if isinstance(there, Ethernet) and there.segment is None else kernel.add_card(CARD)
        card.mac, card.segment = b"\x06\x00" + number.to_bytes(4), self.underlay
        card.addresses = dict.fromkeys(sorted(addresses, key=lambda there: (len(there[0]), there)), False)
        for child in card.children:
            child.mac = card.mac if isinstance(child, Ipvlan | Vlan) else child.mac
        for host, address in self._further:
            _lead(kernel, host, address)
        kernel.epoch += 1
        self.underlay.devices[(kernel.host, CARD)] = card
        self.hosts[kernel.host] = self._machines.kernels[kernel.host] = kernel

    # --- asking

    def addresses_of(self, spot: Spot) -> list[bytes]:
        """List the addresses of a host or sandbox, loopback aside."""
        return _addresses(self._at(spot))

    def reach(
        self,
        source: Spot,
        destination: bytes | str,
        protocol: int | str = "icmp",
        port: int = 0,
        *,
        source_address: bytes = b"",
        size: int = SMALL,
    ) -> Reach:
        """Ask whether a process at `source` reaches a destination, and the answer comes back. Leaves nothing behind.

        `size`: of the packet that asks, in bytes, its headers included; it is not to be fragmented.
        """
        address = parse_address(destination) if isinstance(destination, str) else destination
        number = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        number = ECHO[len(address)] if number in (ICMP, ICMPV6) else number
        asked, journeys = self._ask(source, Packet(source_address, address, number, next(self._ports), port, size=size))
        for journey in journeys:
            for tracker, connection in journey.connections:
                tracker.remove(connection)
        return asked

    def send(self, source: Spot, packet: Packet) -> Reach:
        """Send a packet and its answer; the connection stays in the hosts' memory."""
        return self._ask(source, packet)[0]

    def matrix(self, questions: Iterable[Question]) -> Mapping[Question, Verdict]:
        """Ask many questions."""
        return {question: self.reach(*question).verdict for question in questions}

    def _ask(self, source: Spot, packet: Packet) -> tuple[Reach, list[Journey]]:
        self._machines.refresh()
        asking = self._at(source)
        way = Journey(self._machines)
        end = way.originate(asking, packet)
        hops = tuple(way.hops)
        if end.verdict not in (Verdict.REACHED, Verdict.REFUSED):
            return Reach(end.verdict, None, b"", 0, hops), [way]
        back = Journey(self._machines, is_answer=True)
        arrived = end.packet
        answer = arrived.flow.opposite
        returned = back.originate(
            end.inside, Packet(answer.source, answer.destination, answer.protocol, answer.source_port, answer.port)
        )
        is_back = (
            returned.verdict is Verdict.REACHED
            and returned.inside is asking
            and (returned.packet.source, returned.packet.source_port, returned.packet.port)
            == (packet.destination, packet.port, packet.source_port)
        )
        verdict = end.verdict if is_back else Verdict.UNANSWERED
        at = Spot(end.inside.host, end.inside.sandbox)
        return Reach(verdict, at, arrived.source, arrived.port, hops, tuple(back.hops)), [way, back]

    def _at(self, spot: Spot) -> NetworkNamespace:
        kernel = self.hosts.get(spot.host)
        inside = None if kernel is None else kernel.namespaces.get(SandboxId(spot.sandbox))
        if inside is None:
            message = f"there is no {spot}"
            raise LookupError(message)
        return inside


def _addresses(namespace: NetworkNamespace) -> list[bytes]:
    return [address for there in namespace.devices.values() for address, _ in there.addresses]


def _lead(kernel: SimulatedKernel, host: str, address: bytes) -> None:
    """Let a host find another's further address on the underlay."""
    if kernel.host != host:
        kernel.own.routes.append(RouteEntry(Subnet(address, len(address) * 8), CARD))
        kernel.epoch += 1
