"""Connection tracking: what a connection's packets look like on both sides of a host that translates addresses.

Keeps: the packets of the answer are translated by the inverse of what the first packet was. Knows nothing of: rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import structs

from .packets import Flow, Packet

FIRST_FREE_PORT = 1024
LAST_PORT = 65535


@dataclass(slots=True)
class Connection:
    """A connection by its first packet, before and after translation."""

    before: Flow
    after: Flow
    is_translated: bool = False
    """Its destination was: nftables' `ct status dnat`."""
    is_confirmed: bool = False
    """Its first packet was let through."""


@dataclass(slots=True)
class Tracker:
    """The connections of one namespace, each under both of its directions."""

    flows: dict[Flow, Connection] = field(default_factory=dict)

    def find(self, packet: Packet) -> tuple[Connection | None, bool]:
        """Find the connection that a packet belongs to, and whether the packet is one of its answer."""
        connection = self.flows.get(packet.flow)
        return connection, connection is not None and packet.flow != connection.before

    def add(self, connection: Connection) -> None:
        """Remember a connection whose first packet was let through."""
        connection.is_confirmed = True
        self.flows[connection.before] = connection
        self.flows[connection.after.opposite] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        for flow in (connection.before, connection.after.opposite):
            self.flows.pop(flow, None)

    def free_port(self, after: Flow) -> int:
        """Choose a source port with which the answer finds its way back: the packet's own, else the next free one."""
        port = after.source_port
        for _ in range(LAST_PORT):
            if structs.replace(after, source_port=port).opposite not in self.flows:
                return port
            port = port + 1 if port < LAST_PORT else FIRST_FREE_PORT
        message = "no source port is free"
        raise AssertionError(message)


def translate(packet: Packet, connection: Connection, *, is_answer: bool) -> Packet:
    """Write the addresses and ports that a packet of a connection has after translation."""
    flow = connection.before.opposite if is_answer else connection.after
    return structs.replace(
        packet, source=flow.source, source_port=flow.source_port, destination=flow.destination, port=flow.port
    )
