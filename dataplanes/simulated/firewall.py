"""The rules of `linux/ruleset.nft`, carried out on a simulated host's sets and maps, in the same order.

Keeps: one function for each chain, one statement for each rule. Knows nothing of: what was asked for, how packets move.
"""

from __future__ import annotations

from typing import NamedTuple

from ...domain.objects import ForwardPolicy, Key, Masquerade, PortForward
from ...domain.values import IPV4_BYTES
from .model import Firewall
from .packets import Packet


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


def forward(table: Firewall, incoming: str, outgoing: str, *, is_known: bool, is_translated: bool) -> Ruling:
    """Chain `forward`. `is_known`: its connection was let through before; `is_translated`: its destination was."""
    if is_known:
        return Ruling(is_accepted=True, why="belongs to a connection")
    if incoming == outgoing and incoming in table.icc:
        return Ruling(is_accepted=True, why=f"containers of {incoming} may talk", key=_policy(incoming))
    for bridge in (incoming, outgoing):
        if bridge in table.internal:
            return Ruling(is_accepted=False, why=f"{bridge} is internal", key=_policy(bridge))
    if outgoing in table.bridges:
        why = "to a published port" if is_translated else f"not let into {outgoing}"
        return Ruling(is_accepted=is_translated, why=why, key=_policy(outgoing))
    return Ruling(is_accepted=True, why="not about our bridges")


def masquerade(table: Firewall, packet: Packet, incoming: str, outgoing: str, *, is_translated: bool) -> Key | None:
    """Chain `postrouting`: the object because of which the packet takes the host's address; None when it does not."""
    if is_translated and incoming == outgoing and incoming in table.same:
        return _policy(incoming)
    family = 4 if len(packet.source) == IPV4_BYTES else 6
    if incoming in table.masquerade[family] and outgoing not in table.bridges:
        return Masquerade(incoming, family).key
    return None


def _policy(bridge: str) -> Key:
    return ForwardPolicy(bridge, icc=False, internal=False).key
