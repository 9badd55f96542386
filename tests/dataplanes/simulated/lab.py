"""A laboratory bench: namespaces and interfaces of every kind on simulated hosts, put together by hand."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from netledger.dataplanes.simulated.fabric import Fabric
from netledger.dataplanes.simulated.kernel import SimulatedKernel
from netledger.dataplanes.simulated.model import (
    BridgeDevice,
    Device,
    Ipvlan,
    Macvlan,
    NetworkNamespace,
    RouteEntry,
    Veth,
    Vlan,
    Vxlan,
)
from netledger.dataplanes.simulated.packets import Packet, Reach, Spot, Verdict
from netledger.domain.values import parse_address, parse_subnet

FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


class Lab:
    """Hosts `h1`, `h2`... on an underlay 198.18.0.0/15, with `eth0` each, and what tests put on them."""

    def __init__(self, hosts: int = 1) -> None:
        self.fabric = Fabric()
        self.hosts = [self.fabric.add_host(f"h{number}") for number in range(1, hosts + 1)]
        for host in self.hosts:
            host.own.listeners = None
        self._macs = itertools.count(1)

    def namespace(self, name: str, host: SimulatedKernel | None = None) -> NetworkNamespace:
        """Make a namespace in which everything answers."""
        host = host or self.hosts[0]
        made = NetworkNamespace(host.host, name, listeners=None)
        host.namespaces[name] = made
        host.epoch += 1
        return made

    def plug(self, kind: type[Device], name: str, inside: NetworkNamespace, *addresses: str, **others: Any) -> Any:
        """Put an interface into a namespace."""
        mac = others.pop("mac", b"\x02\x10" + next(self._macs).to_bytes(4))
        parsed = [ipaddress.ip_interface(text) for text in addresses]
        own = {(each.packed, each.network.prefixlen): False for each in parsed}
        device = kind(name, inside, next(inside.indices), mac, addresses=own, **others)
        return self.kernel(inside).plug(device)

    def bridge(self, name: str, *addresses: str) -> BridgeDevice:
        """Make a bridge on the first host."""
        return self.plug(BridgeDevice, name, self.hosts[0].own, *addresses)

    def attach(
        self,
        bridge: BridgeDevice,
        name: str,
        *addresses: str,
        inside: NetworkNamespace | None = None,
        device: str = "eth0",
        **others: Any,
    ) -> Veth:
        """Make a pair from a bridge into a namespace, else a new one of this name; return the bridge's port."""
        inside = inside or self.namespace(name, self.kernel(bridge.namespace))
        inner = self.plug(Veth, device, inside, *addresses)
        port = self.plug(Veth, f"v-{name}", bridge.namespace, bridge=bridge, **others)
        inner.peer, port.peer = port, inner
        return port

    def macvlan(self, name: str, parent: Device, *addresses: str, mode: str = "bridge") -> Macvlan:
        """Make a namespace with a macvlan interface."""
        inside = self.namespace(name, self.kernel(parent.namespace))
        return self.plug(Macvlan, "eth0", inside, *addresses, parent=parent, mode=mode)

    def ipvlan(self, name: str, parent: Device, *addresses: str, mode: str = "l2") -> Ipvlan:
        """Make a namespace with an ipvlan interface."""
        inside = self.namespace(name, self.kernel(parent.namespace))
        return self.plug(Ipvlan, "eth0", inside, *addresses, parent=parent, mode=mode, mac=bytes(6))

    def vlan(self, parent: Device, tag: int, *addresses: str) -> Vlan:
        """Make a VLAN interface beside its parent."""
        name = f"{parent.name}.{tag}"
        return self.plug(Vlan, name, parent.namespace, *addresses, parent=parent, vlan=tag, mac=bytes(6))

    def vxlan(self, host: SimulatedKernel, vni: int, *remotes: SimulatedKernel, **others: Any) -> Vxlan:
        """Make a VXLAN interface on a host that floods to other hosts."""
        local, *_ = host.own.devices["eth0"].addresses
        known = [self.underlay(each) for each in remotes]
        return self.plug(Vxlan, f"vx{vni}", host.own, vni=vni, local=local[0], remotes=known, mtu=1450, **others)

    def route(
        self, inside: NetworkNamespace, destination: str, device: str, gateway: str = "", metric: int = 0
    ) -> None:
        """Add a route."""
        packed = parse_address(gateway) if gateway else b""
        inside.routes.append(RouteEntry(parse_subnet(destination), device, packed, metric=metric))
        self.kernel(inside).epoch += 1

    def forward(self, inside: NetworkNamespace, value: str = "1") -> None:
        """Let a namespace forward packets, or not."""
        inside.sysctls.update(dict.fromkeys(FORWARDING, value))

    def reach(self, source: str, destination: str, protocol: str = "icmp", port: int = 0) -> Reach:
        """Ask from a namespace, or a host."""
        return self.fabric.reach(self.spot(source), destination, protocol, port)

    def verdict(self, source: str, destination: str) -> Verdict:
        """Ask, for the verdict alone."""
        return self.reach(source, destination).verdict

    def send(self, place: str, destination: str, **others: Any) -> Reach:
        """Send a packet of UDP; the connection stays."""
        fields = {"source": b"", "source_port": 1000, "port": 53, **others}
        packet = Packet(destination=parse_address(destination), protocol=17, **fields)
        return self.fabric.send(self.spot(place), packet)

    def spot(self, name: str) -> Spot:
        """Find a host or the host of a namespace."""
        if name in self.fabric.hosts:
            return Spot(name)
        return next(Spot(host.host, name) for host in self.hosts if name in host.namespaces)

    def kernel(self, inside: NetworkNamespace) -> SimulatedKernel:
        """Find the host of a namespace."""
        return self.fabric.hosts[inside.host]

    def underlay(self, host: SimulatedKernel) -> bytes:
        """Give a host's IPv4 address on the underlay."""
        return next(address for address, _ in host.own.devices["eth0"].addresses)
