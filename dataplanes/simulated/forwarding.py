"""What happens to a packet, from the namespace that sends it to the one that it is delivered in.

Keeps: a packet meets the hooks in the kernel's order (output or prerouting, forward, postrouting); every decision
leaves a hop. Knows nothing of: what was asked for, answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import structs

from ...domain.objects import HOST_NAMESPACE, Key, Route
from ...domain.values import IPV4_BYTES, family_of, format_address
from .firewall import Ruling, forward, masquerade, publish
from .kernel import SimulatedKernel
from .links import EVERYBODY, Arrival, Frame, Judgement, Wires, key_of
from .model import BridgeDevice, Device, Firewall, Ipvlan, NetworkNamespace, RouteEntry, Vxlan
from .neighbourhood import Neighbourhood
from .packets import ECHO, UDP, Hop, Packet, Verdict
from .routing import RoutingTable, is_loopback, route_by, source_for
from .tracking import Connection, Tracker, translate

FORWARDING = {IPV4_BYTES: "net.ipv4.ip_forward", 16: "net.ipv6.conf.all.forwarding"}
VXLAN_PORT = 4789


class End(NamedTuple):
    """Where a packet's way ended, and as what."""

    verdict: Verdict
    inside: NetworkNamespace
    packet: Packet


class Machines:
    """The hosts that packets move among, and what they remember: connections, neighbours, routing tables."""

    def __init__(self) -> None:
        self.kernels: dict[str, SimulatedKernel] = {}
        self.trackers: dict[str, Tracker] = {}
        self.neighbours: dict[tuple[Device, bytes], bytes] = {}
        self.neighbourhood = Neighbourhood(lambda inside: self.table(inside).addresses)
        self._tables: dict[str, tuple[int, dict[NetworkNamespace, RoutingTable]]] = {}
        self._stamp = -1

    def refresh(self) -> None:
        """Forget the neighbours if anything has changed anywhere."""
        stamp = sum(kernel.epoch for kernel in self.kernels.values())
        if stamp != self._stamp:
            self._stamp = stamp
            self.neighbours.clear()
            self.neighbourhood.forget()

    def table(self, inside: NetworkNamespace) -> RoutingTable:
        """Give a namespace's routing table as it is now."""
        epoch = self.kernels[inside.host].epoch
        known = self._tables.get(inside.host)
        if known is None or known[0] != epoch:
            known = self._tables[inside.host] = (epoch, {})
        table = known[1].get(inside)
        if table is None:
            table = known[1][inside] = RoutingTable.of(inside)
        return table

    def tracker(self, inside: NetworkNamespace) -> Tracker | None:
        """Give the connections of a namespace that translates; None for the others."""
        return self.trackers.setdefault(inside.host, Tracker()) if inside.firewall is not None else None


class Journey:
    """One packet's way. `hops` is its account, `connections` what it made the hosts remember."""

    def __init__(self, machines: Machines, *, is_answer: bool = False) -> None:
        self.machines = machines
        self.hops: list[Hop] = []
        self.connections: list[tuple[Tracker, Connection]] = []
        self._is_answer = is_answer
        self._wires = Wires(self._judge_bridged, self._tunnel)

    # --- the way

    def originate(self, inside: NetworkNamespace, packet: Packet) -> End:
        """Send a packet from a process in a namespace; without a source address it gets the one that the route says."""
        table = self.machines.table(inside)
        if not packet.source:
            source = self._source(inside, table, packet.destination)
            if source is None:
                return self._no_route(inside, packet)
            packet = structs.replace(packet, source=source)
        is_published = table.is_local(packet.destination) and (
            not is_loopback(packet.destination) or self._leads_out_of_loopback(inside, table, packet)
        )
        packet, connection = self._translate(inside, packet, may_publish=is_published)
        if table.is_local(packet.destination):
            if not inside.devices["lo"].is_up:
                return self._end(Verdict.DROPPED, inside, packet, "its loopback is down")
            self._confirm(inside, connection)
            return self._deliver(inside, packet)
        return self._route(inside, packet, connection, incoming=None)

    def _leads_out_of_loopback(self, inside: NetworkNamespace, table: RoutingTable, packet: Packet) -> bool:
        """Whether a packet to a loopback address is translated, if its port is published.

        For IPv4: only if it is on a bridge that lets the answer back. For IPv6 the rules look at no bridge.
        """
        if len(packet.destination) != IPV4_BYTES:
            return inside.firewall is not None and inside.firewall.reaches_loopback6
        target = publish(inside.firewall, packet) if inside.firewall is not None else None
        route = table.route(target.address) if target is not None else None
        if inside.firewall is None or route is None:
            return False
        return 4 in inside.devices[route.device].routes_loopback and route.device in inside.firewall.loopback[4]

    def _lets_back(self, device: Device, port: Device | None, packet: Packet) -> bool:
        """Whether an answer that came in at an interface, translated back to a loopback address, is let in.

        Not for IPv6 where it was translated while it was bridged: before the kernel looked for ::1 in it (ip6_rcv).
        """
        family = family_of(packet.destination)
        is_seen = family == 6 and port is not None and _sees_bridged(device.namespace, packet)
        return family in device.routes_loopback and not is_seen

    def _receive(self, device: Device, packet: Packet, port: Device | None = None) -> End:
        """Let a packet come in at an interface; `port`: of a bridge, the one that it came in at."""
        inside = device.namespace
        table = self.machines.table(inside)
        if is_loopback(packet.source) or is_loopback(packet.destination):
            return self._end(Verdict.DROPPED, inside, packet, "a loopback address from outside")
        if len(packet.source) == IPV4_BYTES and packet.source in table.addresses:
            return self._end(Verdict.DROPPED, inside, packet, "its own address from outside")
        packet, connection = self._translate(inside, packet, may_publish=table.is_local(packet.destination))
        if is_loopback(packet.destination) and not self._lets_back(device, port, packet):
            return self._end(Verdict.DROPPED, inside, packet, f"lets no answer back by {device.name}")
        if table.is_local(packet.destination):
            self._confirm(inside, connection)
            return self._deliver(inside, packet)
        return self._pass_on(device, port, packet, connection)

    def _pass_on(self, device: Device, port: Device | None, packet: Packet, connection: Connection | None) -> End:
        """Forward a packet that came in at an interface and is for somebody else, if this namespace does that."""
        inside = device.namespace
        if len(packet.destination) != IPV4_BYTES and self.machines.table(inside).route(packet.destination) is None:
            return self._no_route(inside, packet)  # says so even where it forwards nothing (ip6_pkt_discard)
        if inside.sysctls.get(FORWARDING[len(packet.destination)], "0") != "1":
            return self._end(Verdict.DROPPED, inside, packet, "forwards nothing")
        if packet.ttl <= 1:
            return self._end(Verdict.TTL_EXCEEDED, inside, packet, "its time to live is over")
        if port is not None and self._is_bridged_on(device, packet, connection):
            return self._bridge_on(device, port, packet, connection)
        return self._route(inside, structs.replace(packet, ttl=packet.ttl - 1), connection, incoming=device)

    def _route(
        self,
        inside: NetworkNamespace,
        packet: Packet,
        connection: Connection | None,
        *,
        incoming: Device | None,
        by: Device | None = None,
    ) -> End:
        """Route a packet out of a namespace; `incoming` None: it was sent in it; `by`: it leaves by this one alone."""
        if by is None:
            route = self.machines.table(inside).route(packet.destination)
        else:
            route = route_by(inside, by.name, packet.destination)
        if route is None:
            return self._no_route(inside, packet)
        device = inside.devices[route.device]
        via = f"via {format_address(route.gateway)} " if route.gateway else ""
        self._hop(inside, f"routes it {via}out of {device.name}", _key_of_route(inside, route, device))
        if packet.size > device.mtu:  # found out before the rules are asked (ip_forward)
            words = f"{packet.size} bytes do not fit into the {device.mtu} of {device.name}"
            return self._end(Verdict.TOO_BIG, inside, packet, words, key_of(device))
        if inside.firewall is not None:
            if incoming is not None:
                ruling = _forward(inside.firewall, packet, incoming.name, device.name, connection)
                self._hop(inside, ruling.why, ruling.key)
                if not ruling.is_accepted:
                    return End(Verdict.DROPPED, inside, packet)
            packet = self._masquerade(inside, packet, connection, incoming, device, route)
        self._confirm(inside, connection)
        return self._transmit(device, packet, route.gateway or packet.destination)

    def _transmit(self, device: Device, packet: Packet, next_hop: bytes) -> End:
        """Put a packet on the link."""
        if isinstance(device, Ipvlan) and device.mode != "l2" and device.parent is not None:
            return self._transmit_ipvlan(device, device.parent, packet)
        neighbour = self._neighbour(device, next_hop)
        frame = None if neighbour is None else Frame(device.mac, neighbour, packet.destination, packet)
        arrival = None if frame is None else next(self._wires.send(device, frame), None)
        if arrival is None:
            words = f"nobody at {device.name} answers for {format_address(next_hop)}"
            return self._end(Verdict.NO_NEIGHBOUR, device.namespace, packet, words, key_of(device))
        return self._arrive(arrival, packet)

    def _arrive(self, arrival: Arrival, packet: Packet) -> End:
        self._pass(arrival)
        return self._receive(arrival.device, arrival.packet or packet, arrival.port)

    def _transmit_ipvlan(self, device: Ipvlan, parent: Device, packet: Packet) -> End:
        """In the layer 3 modes siblings are reached at once, and the parent's namespace sends on everything else.

        It does so as if it had sent it, in l3s too, so its rules about what is forwarded are not asked; IPv4 leaves by
        the parent alone (ipvlan_process_v4_outbound: the output interface is given), IPv6 by any.
        """
        for sibling in parent.children if device.flag != "vepa" else ():
            if isinstance(sibling, Ipvlan) and any(own == packet.destination for own, _ in sibling.addresses):
                if device.flag == "private":
                    words = f"siblings of {device.name} are private"
                    return self._end(Verdict.DROPPED, device.namespace, packet, words, key_of(device))
                return self._receive(sibling, packet)
        by = parent if len(packet.destination) == IPV4_BYTES else None
        return self._route(parent.namespace, packet, None, incoming=None, by=by)

    def _deliver(self, inside: NetworkNamespace, packet: Packet) -> End:
        """Hand a packet to whoever listens."""
        is_echo = packet.protocol in ECHO.values()
        if self._is_answer or is_echo or inside.listeners is None or (packet.protocol, packet.port) in inside.listeners:
            return self._end(Verdict.REACHED, inside, packet, f"delivers {packet}")
        return self._end(Verdict.REFUSED, inside, packet, f"has nobody who listens: {packet}")

    # --- translation

    def _translate(
        self, inside: NetworkNamespace, packet: Packet, *, may_publish: bool
    ) -> tuple[Packet, Connection | None]:
        """Do what the hooks output and prerouting do: find the connection, or begin one; translate."""
        tracker = self.machines.tracker(inside)
        if tracker is None or inside.firewall is None:
            return packet, None
        connection, is_answer = tracker.find(packet)
        if connection is not None:
            translated = translate(packet, connection, is_answer=is_answer)
            if translated != packet:
                self._hop(inside, f"knows the connection: {translated}")
            return translated, connection
        after = packet.flow
        target = publish(inside.firewall, packet) if may_publish else None
        if target is not None:
            after = structs.replace(after, destination=target.address, port=target.port)
        connection = Connection(packet.flow, after, is_translated=target is not None)
        packet = translate(packet, connection, is_answer=False)
        if target is not None:
            self._hop(inside, f"publishes the port: {packet}", target.key)
        return packet, connection

    def _masquerade(
        self,
        inside: NetworkNamespace,
        packet: Packet,
        connection: Connection | None,
        incoming: Device | None,
        outgoing: Device,
        route: RouteEntry,
    ) -> Packet:
        """Let, at hook postrouting, a connection's first packet take the host's address where the rules say so."""
        tracker = self.machines.tracker(inside)
        if inside.firewall is None or tracker is None or connection is None or connection.is_confirmed:
            return packet
        came = incoming.name if incoming is not None else ""
        disguise = masquerade(inside.firewall, packet, came, outgoing.name, is_translated=connection.is_translated)
        if disguise is None:
            return packet
        own = disguise.address or source_for(inside, outgoing.name, route.gateway or packet.destination)
        if own is None:
            return packet
        after = structs.replace(connection.after, source=own)
        connection.after = structs.replace(after, source_port=tracker.free_port(after))
        packet = translate(packet, connection, is_answer=False)
        self._hop(inside, f"masquerades it: {packet}", disguise.key)
        return packet

    def _confirm(self, inside: NetworkNamespace, connection: Connection | None) -> None:
        """Remember a connection whose first packet was let through."""
        tracker = self.machines.tracker(inside)
        if connection is not None and tracker is not None and not connection.is_confirmed:
            tracker.add(connection)
            self.connections.append((tracker, connection))

    # --- links

    def _neighbour(self, device: Device, next_hop: bytes) -> bytes | None:
        """Find out the MAC address of a next hop: the static entry, or what whoever has the address answers."""
        static = device.namespace.neighbours.get((device.name, next_hop))
        if static is not None:
            return static
        known = self.machines.neighbours.get((device, next_hop))
        if known is None:
            for there in self._answerers(device, next_hop):
                if self._wires_back(there, device, next_hop):
                    known = self.machines.neighbours[(device, next_hop)] = there.mac
                    break
        return known

    def _answerers(self, device: Device, address: bytes) -> Iterator[Device]:
        """Find who hears the question for an address and answers it."""
        known = self.machines.neighbourhood.answerers(device, address)
        if known is not None:
            yield from known
            return
        for arrival in self._wires.send(device, Frame(device.mac, EVERYBODY, address)):
            if self._answers(arrival.device, address):
                yield arrival.device

    def _answers(self, device: Device, address: bytes) -> bool:
        """Tell who answers: for IPv4 to any address of the namespace (arp_ignore 0), for IPv6 to the interface's."""
        if len(address) == IPV4_BYTES:
            return address in self.machines.table(device.namespace).addresses
        return any(own == address for own, _ in device.addresses)

    def _wires_back(self, device: Device, asker: Device, address: bytes) -> bool:
        """Whether the answer gets back to the one of the asker's addresses that it was asked from."""
        answer = Frame(device.mac, asker.mac, source_for(asker.namespace, asker.name, address) or b"")
        return any(arrival.device is asker for arrival in self._wires.send(device, answer))

    def _judge_bridged(self, bridge: BridgeDevice, packet: Packet) -> Judgement:
        """Where bridged packets pass the IP layer, the forward chain decides about them, and answers are translated."""
        inside = bridge.namespace
        tracker = self.machines.tracker(inside)
        if inside.firewall is None or tracker is None or not _sees_bridged(inside, packet):
            return Judgement(Ruling(is_accepted=True, why="bridged"), packet)
        connection, is_answer = tracker.find(packet)
        ruling = _forward(inside.firewall, packet, bridge.name, bridge.name, connection)
        if not ruling.is_accepted:
            self._hop(inside, ruling.why, ruling.key)
        elif connection is None:
            self._confirm(inside, Connection(packet.flow, packet.flow))
        else:
            packet = translate(packet, connection, is_answer=is_answer)
        return Judgement(ruling, packet)

    def _is_bridged_on(self, device: Device, packet: Packet, connection: Connection | None) -> bool:
        """Whether a packet to a published port stays on the bridge that it came in at.

        Where bridged packets pass the IP layer, it was translated before the bridge looked at it, and the bridge then
        hands it to the other port itself (br_nf_pre_routing_finish, net/bridge/br_netfilter_hooks.c).
        """
        if not isinstance(device, BridgeDevice) or connection is None or not connection.is_translated:
            return False
        route = self.machines.table(device.namespace).route(packet.destination)
        return route is not None and route.device == device.name and _sees_bridged(device.namespace, packet)

    def _bridge_on(self, device: Device, port: Device, packet: Packet, connection: Connection | None) -> End:
        """Bridge such a packet on: not between isolated ports, and back to its own port only in hairpin mode."""
        inside = device.namespace
        assert isinstance(device, BridgeDevice), "a bridge has ports"
        assert inside.firewall is not None, "something translated the packet"
        ruling = _forward(inside.firewall, packet, device.name, device.name, connection)
        self._hop(inside, ruling.why, ruling.key)
        if not ruling.is_accepted:
            return End(Verdict.DROPPED, inside, packet)
        neighbour = self._neighbour(device, packet.destination)
        if neighbour is None:
            words = f"nobody at {device.name} answers for {format_address(packet.destination)}"
            return self._end(Verdict.NO_NEIGHBOUR, inside, packet, words, key_of(device))
        frame = Frame(device.mac, neighbour, packet.destination)
        arrival = next(self._wires.through(device, port, frame), None)
        if arrival is None:
            words = f"{device.name} sends nothing from {port.name} to itself or between isolated ports"
            return self._end(Verdict.DROPPED, inside, packet, words, key_of(port))
        route = self.machines.table(inside).route(packet.destination)
        assert route is not None, "it leads back to the bridge"
        packet = self._masquerade(inside, packet, connection, device, device, route)
        self._confirm(inside, connection)
        return self._arrive(arrival, packet)

    def _tunnel(self, device: Vxlan, remote: bytes) -> Iterator[Device]:
        """Find the other end of a VXLAN where its packets are delivered."""
        outer = Packet(device.local, remote, UDP, VXLAN_PORT, VXLAN_PORT)
        end = Journey(self.machines, is_answer=True).originate(device.namespace, outer)
        if end.verdict is Verdict.REACHED:
            for other in end.inside.devices.values():
                if isinstance(other, Vxlan) and other.vni == device.vni and other is not device:
                    yield other

    # --- the account

    def _pass(self, arrival: Arrival) -> None:
        for device, what in arrival.passed:
            self._hop(device.namespace, what, key_of(device))

    def _hop(self, inside: NetworkNamespace, what: str, key: Key | None = None) -> None:
        self.hops.append(Hop(inside.host, inside.sandbox, what, key))

    def _end(self, verdict: Verdict, inside: NetworkNamespace, packet: Packet, why: str, key: Key | None = None) -> End:
        self._hop(inside, why, key)
        return End(verdict, inside, packet)

    def _no_route(self, inside: NetworkNamespace, packet: Packet) -> End:
        return self._end(Verdict.NO_ROUTE, inside, packet, f"no route to {format_address(packet.destination)}")

    def _source(self, inside: NetworkNamespace, table: RoutingTable, destination: bytes) -> bytes | None:
        if table.is_local(destination):
            return destination
        route = table.route(destination)
        return source_for(inside, route.device, route.gateway or destination) if route is not None else None


def _sees_bridged(inside: NetworkNamespace, packet: Packet) -> bool:
    return inside.filters_bridged(len(packet.source))


def _forward(table: Firewall, packet: Packet, incoming: str, outgoing: str, connection: Connection | None) -> Ruling:
    is_known = connection is not None and connection.is_confirmed
    is_translated = connection is not None and connection.is_translated
    return forward(table, packet, incoming, outgoing, is_known=is_known, is_translated=is_translated)


def _key_of_route(inside: NetworkNamespace, route: RouteEntry, device: Device) -> Key | None:
    if route.is_ours:
        return Route(inside.sandbox, route.device, route.destination, route.gateway).key
    return key_of(device) if inside.sandbox != HOST_NAMESPACE or isinstance(device, BridgeDevice) else None
