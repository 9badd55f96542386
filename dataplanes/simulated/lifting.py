"""What is in a simulated kernel, read back as the objects that were asked for.

Keeps: reads the model alone, whoever changed it; what bears no mark of ours is not seen.
Knows nothing of: plans, packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...domain.objects import (
    HOST_NAMESPACE,
    Address,
    Announcement,
    Bridge,
    Firewall,
    ForwardPolicy,
    GatewayMode,
    InterfaceSysctl,
    Ipvlan,
    KernelObject,
    LoopbackAccess,
    Macvlan,
    Masquerade,
    Namespace,
    OpenPort,
    PortForward,
    Route,
    StandIn,
    Sysctl,
    VethPair,
    VlanLink,
)
from ...domain.values import IPV6_BYTES, EndpointId, NetworkId, SandboxId
from . import model
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
            yield from _lift_firewall(namespace, namespace.firewall)
        for device in namespace.devices.values():
            yield from _lift_device(device)
        ours = (route for route in namespace.routes if route.is_ours)
        yield from (Route(sandbox, route.device, route.destination, route.gateway) for route in ours)


def find(namespaces: Mapping[SandboxId, NetworkNamespace], wanted: KernelObject) -> KernelObject | None:
    """Read back the one object that has the key of `wanted`; None when there is none."""
    host = namespaces[HOST_NAMESPACE]
    if isinstance(wanted, Macvlan | Ipvlan):
        inside = namespaces.get(wanted.sandbox)
        return None if inside is None else _find_on_parent(inside, wanted)
    match wanted:
        case Bridge() | StandIn() | VlanLink() | VethPair():
            return _find_link(host, wanted)
        case Namespace():
            there = namespaces.get(wanted.sandbox)
            return Namespace(wanted.sandbox, there.path) if there is not None and there.is_ours else None
        case Address() | Route() | Sysctl() | InterfaceSysctl() | Announcement():
            namespace = namespaces.get(wanted.sandbox)
            return None if namespace is None else _find_inside(namespace, wanted)
        case _:
            return None if host.firewall is None else _find_element(host, host.firewall, wanted)


def lift_bridge(bridge: BridgeDevice) -> Bridge:
    """Lift a bridge; one that is down reads back unlike any that is wanted."""
    if bridge.name in bridge.namespace.adopted:
        return Bridge(bridge.name, NetworkId(""), b"", 0, adopted=True)
    network = NetworkId(bridge.mark or "")
    return Bridge(bridge.name, network, bridge.mac, _mtu(bridge) if bridge.is_up else CONTRADICTORY)


def lift_pair(end: Veth) -> VethPair:
    """Lift a veth pair by its host end; a port that is not in hairpin mode reads back unlike any that is wanted."""
    other = end.peer
    assert other is not None, "a pair has two ends"
    return VethPair(
        end.name,
        EndpointId(end.mark or ""),
        end.bridge.name if end.bridge is not None and end.is_up else "",
        other.namespace.sandbox,
        other.name,
        other.mac,
        _mtu(end) if end.mtu == other.mtu and end.is_hairpin else CONTRADICTORY,
        end.is_isolated,
        up=other.is_up,
    )


def _lift_firewall(host: NetworkNamespace, state: FirewallState) -> Iterator[KernelObject]:
    """Yield the table and what is in it."""
    yield Firewall()
    for family, bridges in state.masquerade.items():
        yield from (Masquerade(bridge, family, source) for bridge, source in bridges.items())
    for family, names in state.loopback.items():
        yield from (LoopbackAccess(name, family) for name in names if _routes_loopback(host, name, family))
    yield from (OpenPort(*place) for place in state.open)
    yield from (_policy(state, bridge) for bridge in state.bridges)
    for (protocol, host_address, host_port), (address, port) in state.ports.items():
        yield PortForward(protocol, host_address, host_port, address, port)


def _policy(state: FirewallState, bridge: str) -> ForwardPolicy:
    return ForwardPolicy(
        bridge,
        icc=bridge in state.icc,
        internal=bridge in state.internal,
        mode4=state.modes[4].get(bridge, GatewayMode.NAT),
        mode6=state.modes[6].get(bridge, GatewayMode.NAT),
        trusted=tuple(sorted(interface for interface, trusting in state.trusted if trusting == bridge)),
    )


def _routes_loopback(host: NetworkNamespace, bridge: str, family: int) -> bool:
    """Whether loopback access is whole: the bridge has its part of it, which goes with the bridge.

    And to ::1 something is translated exactly while answers get back.
    """
    device = host.devices.get(bridge)
    if device is None or family not in device.routes_loopback:
        return False
    is_open = host.firewall is not None and host.firewall.reaches_loopback6
    return family == 4 or is_open != host.filters_bridged(IPV6_BYTES)


def _find_element(host: NetworkNamespace, state: FirewallState, wanted: KernelObject) -> KernelObject | None:
    match wanted:
        case Firewall():
            return wanted
        case Masquerade():
            source = state.masquerade[wanted.family].get(wanted.bridge)
            return None if source is None else Masquerade(wanted.bridge, wanted.family, source)
        case LoopbackAccess():
            is_whole = _routes_loopback(host, wanted.bridge, wanted.family)
            return wanted if wanted.bridge in state.loopback[wanted.family] and is_whole else None
        case OpenPort():
            return wanted if (wanted.protocol, wanted.address, wanted.port) in state.open else None
        case ForwardPolicy():
            return _policy(state, wanted.bridge) if wanted.bridge in state.bridges else None
        case PortForward():
            place = (wanted.protocol, wanted.host_address, wanted.host_port)
            return PortForward(*place, *state.ports[place]) if place in state.ports else None
        case _:
            message = f"{type(wanted).__name__} is no element of the firewall"
            raise AssertionError(message)


def _find_link(host: NetworkNamespace, wanted: Bridge | StandIn | VlanLink | VethPair) -> KernelObject | None:
    device = host.devices.get(wanted.host_name if isinstance(wanted, VethPair) else wanted.name)
    found = next(lift_link(device), None) if device is not None and _is_ours(device) else None
    return found if type(found) is type(wanted) else None


def _find_on_parent(inside: NetworkNamespace, wanted: Macvlan | Ipvlan) -> KernelObject | None:
    """Find an endpoint's interface where it is to be, and nowhere else: a kernel does not look for it, either."""
    for device in inside.devices.values():
        if device.mark == wanted.endpoint and isinstance(device, model.Macvlan | model.Ipvlan):
            found = next(lift_link(device))
            return found if found.key == wanted.key else None
    return None


def _find_inside(
    namespace: NetworkNamespace, wanted: Address | Route | Sysctl | InterfaceSysctl | Announcement
) -> KernelObject | None:
    sandbox = namespace.sandbox
    match wanted:
        case InterfaceSysctl():
            device = namespace.devices.get(wanted.device)
            value = None if device is None else device.sysctls.get(wanted.name)
            return None if value is None else InterfaceSysctl(sandbox, wanted.device, wanted.name, value)
        case Announcement():
            device = namespace.devices.get(wanted.device)
            done = None if device is None else device.announced
            return None if done is None else Announcement(sandbox, wanted.device, *done)
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
    """Yield an interface of ours and what is on it. A pair is lifted at its host end."""
    if not _is_ours(device):
        return
    sandbox = device.namespace.sandbox
    yield from lift_link(device)
    yield from (InterfaceSysctl(sandbox, device.name, name, value) for name, value in device.sysctls.items())
    for (address, prefix), is_ours in device.addresses.items():
        if is_ours:
            yield Address(sandbox, device.name, address, prefix)
    if device.announced is not None:
        yield Announcement(sandbox, device.name, *device.announced)


def lift_link(device: Device) -> Iterator[KernelObject]:
    """Yield the interface itself; one that is down, or on nothing, reads back unlike any that is wanted."""
    sandbox, endpoint = device.namespace.sandbox, EndpointId(device.mark or "")
    match device:
        case BridgeDevice():
            yield lift_bridge(device)
        case Veth(is_host_end=True):
            yield lift_pair(device)
        case model.Dummy():
            yield StandIn(device.name, NetworkId(device.mark or "") if device.is_up else NetworkId(""))
        case model.Vlan():
            yield VlanLink(device.name, _parent(device) if device.is_up else "", device.vlan)
        case model.Macvlan():
            parent = _parent(device)
            yield Macvlan(endpoint, parent, sandbox, device.name, device.mac, device.mode, up=device.is_up)
        case model.Ipvlan():
            parent = _parent(device)
            yield Ipvlan(endpoint, parent, sandbox, device.name, device.mode, device.flag, up=device.is_up)


def _parent(device: model.Vlan | model.Macvlan | model.Ipvlan) -> str:
    return device.parent.name if device.parent is not None else ""


def _is_ours(device: Device) -> bool:
    return device.mark is not None or device.name in device.namespace.adopted


def _asked_sysctls(namespace: NetworkNamespace) -> Iterator[tuple[str, str]]:
    return ((name, namespace.sysctls[name]) for name in sorted(namespace.asked_sysctls))


def _mtu(device: Device) -> int:
    return 0 if device.mtu == DEFAULT_MTU else device.mtu
