"""Packets, and what is said about what became of one.

Keeps: values only. Knows nothing of: how a packet finds its way.
"""

from __future__ import annotations

import enum

from msgspec import Struct

from ...domain.objects import ID_SHOWN, Key
from ...domain.values import IPV4_BYTES, PROTOCOL_NAMES, Position, SandboxId, format_address

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58
ECHO = {4: ICMP, 16: ICMPV6}
FIRST_TTL = 64
SMALL = 84
"""Bytes of a packet whose size nobody asked about: an echo request as ping(8) sends it."""


class Packet(Struct, frozen=True, gc=False):
    """An IP packet. Addresses are packed; an echo's identifier is its `source_port`; `size` is the whole, in bytes."""

    source: bytes
    destination: bytes
    protocol: int
    source_port: int = 0
    port: int = 0
    ttl: int = FIRST_TTL
    size: int = SMALL

    @property
    def flow(self) -> Flow:
        return Flow(self.protocol, self.source, self.source_port, self.destination, self.port)

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, "icmp")
        if self.protocol in ECHO.values():
            return f"{name} {format_address(self.source)} -> {format_address(self.destination)}"
        return f"{name} {_at(self.source, self.source_port)} -> {_at(self.destination, self.port)}"


class Flow(Struct, frozen=True, gc=False):
    """What tells the packets of one direction of a connection from all others."""

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    port: int

    @property
    def opposite(self) -> Flow:
        return Flow(self.protocol, self.destination, self.port, self.source, self.source_port)


class Verdict(enum.StrEnum):
    """What became of a packet, or of a question and its answer."""

    REACHED = "reached"
    REFUSED = "refused"
    """It arrived, and nothing listens there; the refusal came back."""
    DROPPED = "dropped"
    NO_ROUTE = "no route"
    NO_NEIGHBOUR = "no neighbour"
    """Nobody on the link has the address."""
    TTL_EXCEEDED = "ttl exceeded"
    TOO_BIG = "too big"
    UNANSWERED = "unanswered"
    """The packet arrived, but the answer did not."""
    ANOTHER = "another"
    """Somebody else has that address, and answers."""


class Spot(Struct, frozen=True, gc=False):
    """Where a process is: in a sandbox of a host, or with an empty sandbox in the host's own namespace."""

    host: str
    sandbox: SandboxId = SandboxId("")

    def __str__(self) -> str:
        return f"{self.host}/{self.sandbox[:ID_SHOWN]}" if self.sandbox else self.host


class Hop(Struct, frozen=True, gc=False):
    """One thing that decided about a packet: where, what, because of which object, called for by which log position."""

    host: str
    sandbox: SandboxId
    what: str
    key: Key | None = None
    position: Position = Position(0)

    def __str__(self) -> str:
        because = f"  [{self.key}{f' @{self.position}' if self.position else ''}]" if self.key else ""
        return f"{Spot(self.host, self.sandbox)}: {self.what}{because}"


class Reach(Struct, frozen=True):
    """The answer to "does it reach?": a first packet, where it was delivered, and the way of the answer back."""

    verdict: Verdict
    at: Spot | None
    """Where the packet was delivered."""
    seen_from: bytes
    """The source address that was seen there."""
    port: int
    """The port that it had there."""
    hops: tuple[Hop, ...]
    reply: tuple[Hop, ...] = ()

    @property
    def is_reached(self) -> bool:
        return self.verdict is Verdict.REACHED

    def __str__(self) -> str:
        where = f" at {self.at}" if self.at else ""
        seen = f", seen from {format_address(self.seen_from)}" if self.seen_from else ""
        lines = [f"{self.verdict}{where}{seen}", *(f"  {hop}" for hop in self.hops)]
        if self.reply:
            lines += ["the answer:", *(f"  {hop}" for hop in self.reply)]
        return "\n".join(lines)


def _at(address: bytes, port: int) -> str:
    text = format_address(address)
    return f"{text}:{port}" if len(address) == IPV4_BYTES else f"[{text}]:{port}"
