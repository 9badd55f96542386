"""What is in a simulated kernel, read back as the objects that were asked for.

Keeps: reads the model alone, whoever changed it; what bears no mark of ours is not seen.
Knows nothing of: plans, packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...domain.objects import (
    HOST_NAMESPACE,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from ...domain.values import EndpointId, NetworkId, SandboxId
from .model import DEFAULT_MTU, BridgeDevice, Device, NetworkNamespace, Veth
from .model import Firewall as FirewallState

CONTRADICTORY = -1
"""An MTU that nobody asks for: the thing is not as any of ours is (down, or its two ends differ)."""


def lift(namespaces: Mapping[SandboxId, NetworkNamespace]) -> Iterator[KernelObject]:
    """Yield every object of ours in the namespaces of one host."""
    for sandbox, namespace in namespaces.items():
        if sandbox != HOST_NAMESPACE and namespace.is_ours:
            yield Namespace(sandbox, namespace.path)
        yield from (Sysctl(sandbox, name, value) for name, value in _asked_sysctls(namespace))
        if namespace.firewall is not None:
            yield from lift_firewall(namespace.firewall)
        for device in namespace.devices.values():
            yield from _lift_device(device)
        ours = (route for route in namespace.routes if route.is_ours)
        yield from (Route(sandbox, route.device, route.destination, route.gateway) for route in ours)


def find(namespaces: Mapping[SandboxId, NetworkNamespace], wanted: KernelObject) -> KernelObject | None:
    """Read back the one object that has the key of `wanted`; None when there is none."""
    host = namespaces[HOST_NAMESPACE]
    match wanted:
        case Bridge():
            bridge = host.devices.get(wanted.name)
            return lift_bridge(bridge) if isinstance(bridge, BridgeDevice) and bridge.mark is not None else None
        case VethPair():
            end = host.devices.get(wanted.host_name)
            return lift_pair(end) if isinstance(end, Veth) and end.mark is not None else None
        case Namespace():
            there = namespaces.get(wanted.sandbox)
            return Namespace(wanted.sandbox, there.path) if there is not None and there.is_ours else None
        case Address() | Route() | Sysctl():
            namespace = namespaces.get(wanted.sandbox)
            return None if namespace is None else _find_inside(namespace, wanted)
        case _:
            return None if host.firewall is None else _find_element(host.firewall, wanted)


def lift_bridge(bridge: BridgeDevice) -> Bridge:
    """Lift a bridge; one that is down reads back unlike any that is wanted."""
    network = NetworkId(bridge.mark or "")
    return Bridge(bridge.name, network, bridge.mac, _mtu(bridge) if bridge.is_up else CONTRADICTORY)


def lift_pair(end: Veth) -> VethPair:
    """Lift a veth pair by its host end."""
    other = end.peer
    assert other is not None, "a pair has two ends"
    return VethPair(
        end.name,
        EndpointId(end.mark or ""),
        end.bridge.name if end.bridge is not None and end.is_up else "",
        other.namespace.sandbox,
        other.name,
        other.mac,
        _mtu(end) if end.mtu == other.mtu else CONTRADICTORY,
        end.is_isolated,
        up=other.is_up,
    )


def lift_firewall(state: FirewallState) -> Iterator[KernelObject]:
    """Yield the table and what is in it."""
    yield Firewall()
    for family, bridges in state.masquerade.items():
        yield from (Masquerade(bridge, family) for bridge in bridges)
    yield from (_policy(state, bridge) for bridge in state.bridges)
    for (protocol, host_address, host_port), (address, port) in state.ports.items():
        yield PortForward(protocol, host_address, host_port, address, port)


def _policy(state: FirewallState, bridge: str) -> ForwardPolicy:
    return ForwardPolicy(bridge, icc=bridge in state.icc, internal=bridge in state.internal)


def _find_element(state: FirewallState, wanted: KernelObject) -> KernelObject | None:
    match wanted:
        case Firewall():
            return wanted
        case Masquerade():
            return wanted if wanted.bridge in state.masquerade[wanted.family] else None
        case ForwardPolicy():
            return _policy(state, wanted.bridge) if wanted.bridge in state.bridges else None
        case PortForward():
            place = (wanted.protocol, wanted.host_address, wanted.host_port)
            return PortForward(*place, *state.ports[place]) if place in state.ports else None
        case _:
            message = f"{type(wanted).__name__} is no element of the firewall"
            raise AssertionError(message)


def _find_inside(namespace: NetworkNamespace, wanted: Address | Route | Sysctl) -> KernelObject | None:
    sandbox = namespace.sandbox
    match wanted:
        case Sysctl():
            value = dict(_asked_sysctls(namespace)).get(wanted.name)
            return None if value is None else Sysctl(sandbox, wanted.name, value)
        case Address():
            device = namespace.devices.get(wanted.device)
            is_there = device is not None and device.addresses.get((wanted.address, wanted.prefix), False)
            return wanted if is_there else None
        case Route():
            ours = (there for there in namespace.routes if there.is_ours and there.destination == wanted.destination)
            there = next(ours, None)
            return None if there is None else Route(sandbox, there.device, there.destination, there.gateway)


def _lift_device(device: Device) -> Iterator[KernelObject]:
    """Yield an interface of ours and its addresses. A pair is lifted at its host end."""
    if device.mark is None:
        return
    sandbox = device.namespace.sandbox
    if isinstance(device, BridgeDevice):
        yield lift_bridge(device)
    elif isinstance(device, Veth) and device.is_host_end:
        yield lift_pair(device)
    for (address, prefix), is_ours in device.addresses.items():
        if is_ours:
            yield Address(sandbox, device.name, address, prefix)


def _asked_sysctls(namespace: NetworkNamespace) -> Iterator[tuple[str, str]]:
    return ((name, namespace.sysctls[name]) for name in sorted(namespace.asked_sysctls))


def _mtu(device: Device) -> int:
    return 0 if device.mtu == DEFAULT_MTU else device.mtu
