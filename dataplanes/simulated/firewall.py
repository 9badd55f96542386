"""The firewall's rules, carried out on a simulated host's sets and maps: what `ForwardPolicy` and its like promise.

Keeps: one function for each chain, one statement for each rule, in the order of `ForwardPolicy`'s docstring.
Knows nothing of: what was asked for, how packets move.
"""

from __future__ import annotations

from typing import NamedTuple

from ...domain.objects import ForwardPolicy, GatewayMode, Key, LoopbackAccess, Masquerade, OpenPort, PortForward
from ...domain.values import family_of
from .model import Firewall
from .packets import ECHO, Packet
from .routing import is_loopback


class Ruling(NamedTuple):
    """Whether a packet is let through, by which words, because of which object."""

    is_accepted: bool
    why: str
    key: Key | None = None


class Translation(NamedTuple):
    """Where a packet to a published port goes, and because of which object."""

    address: bytes
    port: int
    key: Key


def publish(table: Firewall, packet: Packet) -> Translation | None:
    """Chain `publish`: a port of one address before the same port of all addresses."""
    for host_address in (packet.destination, bytes(len(packet.destination))):
        target = table.ports.get((packet.protocol, host_address, packet.port))
        if target is not None:
            return Translation(*target, PortForward(packet.protocol, host_address, packet.port, *target).key)
    return None


def forward(
    table: Firewall, packet: Packet, incoming: str, outgoing: str, *, is_known: bool, is_translated: bool
) -> Ruling:
    """Chain `forward`. `is_known`: its connection was let through before; `is_translated`: its destination was."""
    if is_known:
        return Ruling(is_accepted=True, why="belongs to a connection")
    if incoming == outgoing and incoming in table.icc:
        return Ruling(is_accepted=True, why=f"containers of {incoming} may talk", key=_policy(incoming))
    for bridge in (incoming, outgoing):
        if bridge in table.internal:
            return Ruling(is_accepted=False, why=f"{bridge} is internal", key=_policy(bridge))
    if outgoing not in table.bridges:
        return Ruling(is_accepted=True, why="not about our bridges")
    if is_translated:
        return Ruling(is_accepted=True, why="to a published port", key=_policy(outgoing))
    return _into(table, packet, incoming, outgoing)


def _into(table: Firewall, packet: Packet, incoming: str, outgoing: str) -> Ruling:
    """Decide about a packet to an endpoint's own address; if from elsewhere, by the bridge's gateway mode."""
    mode = table.modes[family_of(packet.destination)].get(outgoing) if incoming != outgoing else None
    place = (packet.protocol, packet.destination, packet.port)
    if mode is GatewayMode.NAT_UNPROTECTED:
        return Ruling(is_accepted=True, why=f"{outgoing} is not protected", key=_policy(outgoing))
    if mode is GatewayMode.ROUTED and packet.protocol in ECHO.values():
        return Ruling(is_accepted=True, why=f"ICMP is routed to {outgoing}", key=_policy(outgoing))
    if (mode is GatewayMode.ROUTED or (incoming, outgoing) in table.trusted) and place in table.open:
        return Ruling(is_accepted=True, why="to an open port", key=OpenPort(*place).key)
    return Ruling(is_accepted=False, why=f"not let into {outgoing}", key=_policy(outgoing))


class Disguise(NamedTuple):
    """Which address a packet takes (empty: that of the interface which it leaves by), and because of which object."""

    address: bytes
    key: Key


def masquerade(
    table: Firewall, packet: Packet, incoming: str, outgoing: str, *, is_translated: bool
) -> Disguise | None:
    """Chain `postrouting`: what a packet is disguised as; None when it keeps its address."""
    family = family_of(packet.source)
    if is_translated and incoming == outgoing and incoming in table.same:
        return Disguise(b"", _policy(incoming))
    if is_translated and is_loopback(packet.source) and outgoing in table.loopback[family]:
        return Disguise(b"", LoopbackAccess(outgoing, family).key)
    source = table.masquerade[family].get(incoming)
    if source is not None and outgoing not in table.bridges:
        return Disguise(source, Masquerade(incoming, family).key)
    return None


def _policy(bridge: str) -> Key:
    return ForwardPolicy(bridge, icc=False, internal=False).key
