"""What stands for which object in the firewall's sets and maps, of a simulated host.

Keeps: what is added and dropped again leaves nothing. Knows nothing of: packets, devices.
"""

from __future__ import annotations

from typing import TypeAlias

from ...domain.objects import ForwardPolicy, GatewayMode, LoopbackAccess, Masquerade, OpenPort, PortForward
from .model import Firewall

FirewallElement: TypeAlias = Masquerade | ForwardPolicy | LoopbackAccess | PortForward | OpenPort


def add(table: Firewall, wanted: FirewallElement) -> None:
    """Put an object in."""
    match wanted:
        case Masquerade():
            table.masquerade[wanted.family][wanted.bridge] = wanted.source
        case LoopbackAccess():
            table.loopback[wanted.family].add(wanted.bridge)
        case ForwardPolicy():
            _add_policy(table, wanted)
        case PortForward():
            table.ports[wanted.protocol, wanted.host_address, wanted.host_port] = (wanted.address, wanted.port)
        case OpenPort():
            table.open.add((wanted.protocol, wanted.address, wanted.port))


def drop(table: Firewall, gone: FirewallElement) -> None:
    """Take an object out that is in."""
    match gone:
        case Masquerade():
            del table.masquerade[gone.family][gone.bridge]
        case LoopbackAccess():
            table.loopback[gone.family].remove(gone.bridge)
        case ForwardPolicy():
            for bridges in (table.bridges, table.same, table.icc, table.internal):
                bridges.discard(gone.bridge)
            for modes in table.modes.values():
                modes.pop(gone.bridge, None)
            table.trusted -= {pair for pair in table.trusted if pair[1] == gone.bridge}
        case PortForward():
            del table.ports[gone.protocol, gone.host_address, gone.host_port]
        case OpenPort():
            table.open.remove((gone.protocol, gone.address, gone.port))


def _add_policy(table: Firewall, wanted: ForwardPolicy) -> None:
    table.bridges.add(wanted.bridge)
    table.same.add(wanted.bridge)
    (table.icc.add if wanted.icc else table.icc.discard)(wanted.bridge)
    (table.internal.add if wanted.internal else table.internal.discard)(wanted.bridge)
    for family, mode in ((4, wanted.mode4), (6, wanted.mode6)):
        if mode is GatewayMode.NAT:
            table.modes[family].pop(wanted.bridge, None)
        else:
            table.modes[family][wanted.bridge] = mode
    table.trusted |= {(interface, wanted.bridge) for interface in wanted.trusted}
