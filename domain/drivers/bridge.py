"""The bridge driver: a Linux bridge in the host's namespace, a veth pair for each endpoint.

Keeps: what a network or endpoint needs in a kernel follows from its events alone.
Knows nothing of: how a kernel is told. Labels, defaults and refusals: moby, daemon/libnetwork/drivers/bridge.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from ..errors import Invalid
from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound
from ..objects import (
    HOST_NAMESPACE,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Masquerade,
    PortForward,
    Sysctl,
    VethPair,
)
from ..options import options_as_labels, parse_options
from ..values import (
    IPV4_BYTES,
    NetworkId,
    SandboxKind,
    check_interface_name,
    mac_for,
    parse_address,
)

PORT_LIMIT_OF_A_BRIDGE = 1023
"""Ports of one Linux bridge (BR_MAX_PORTS, net/bridge/br_private.h, less port 0)."""

DEFAULT_MTU = 1500
"""What the kernel gives an Ethernet device that nobody gives another; objects say 0 for it."""
MTU_LEAST = 68
MTU_MOST = 65535

LINK_LOCAL_ROUTER = parse_address("fe80::1")
LINK_LOCAL_PREFIX = 64


class BridgeOptions(Struct, frozen=True, kw_only=True):
    """The options of a bridge network, by libnetwork's labels."""

    name: str = field(name="com.docker.network.bridge.name", default="")
    icc: bool = field(name="com.docker.network.bridge.enable_icc", default=True)
    masquerade: bool = field(name="com.docker.network.bridge.enable_ip_masquerade", default=True)
    host_binding_ipv4: str = field(name="com.docker.network.bridge.host_binding_ipv4", default="0.0.0.0")  # noqa: S104  # libnetwork's default
    mtu: int = field(name="com.docker.network.driver.mtu", default=0)


class BridgeDriver:
    """What the domain asks of a network driver, answered for bridges."""

    name = "bridge"
    needs = ("bridge", "veth", "nftables", "address marks")
    endpoint_limit = PORT_LIMIT_OF_A_BRIDGE
    pools_per_family = 1

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Check the options and fill in the defaults."""
        options = parse_options(BridgeOptions, given, asked)
        if options.mtu and not MTU_LEAST <= options.mtu <= MTU_MOST:
            raise Invalid(asked, f"invalid MTU number {options.mtu}", f"give one from {MTU_LEAST} to {MTU_MOST}, or 0")
        if len(parse_address(options.host_binding_ipv4)) != IPV4_BYTES:
            raise Invalid(asked, f"host_binding_ipv4 {options.host_binding_ipv4!r} is not an IPv4 address")
        return options_as_labels(options)

    def features(self, options: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for a network with these options."""
        return self.needs if _read(options).icc else (*self.needs, "port isolation")

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:
        """Name the bridge: the label's name, else `br-` and twelve digits of the network's id."""
        name = _read(options).name
        return check_interface_name(name) if name else f"br-{network[:12]}"

    def host_binding(self, options: Mapping[str, OptionValue]) -> bytes:
        """Which IPv4 address of the host ports are published at when none is asked for."""
        return parse_address(_read(options).host_binding_ipv4)

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """List what the network itself needs in the host's namespace."""
        options = _read(network.options)
        objects: list[KernelObject] = [
            Bridge(network.device, network.network, mac_for(network.network), _mtu(options)),
            ForwardPolicy(network.device, options.icc, network.internal),
        ]
        for pool in network.pools:
            objects.append(Address(HOST_NAMESPACE, network.device, pool.gateway, pool.subnet.prefix))
            if options.masquerade and not network.internal:
                objects.append(Masquerade(network.device, pool.subnet.family))
        if 6 in network.families:
            objects.append(Address(HOST_NAMESPACE, network.device, LINK_LOCAL_ROUTER, LINK_LOCAL_PREFIX))
        return objects

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound],
    ) -> list[KernelObject]:
        """List what a joined endpoint needs; `ports` are those that are published."""
        options = _read(network.options)
        delegated = kind is SandboxKind.DELEGATED
        sandbox = HOST_NAMESPACE if delegated else joined.sandbox
        name = container_end(joined.device) if delegated else joined.interface
        objects: list[KernelObject] = [
            VethPair(
                host_name=joined.device,
                endpoint=joined.endpoint,
                bridge=network.device,
                sandbox=sandbox,
                name=name,
                mac=endpoint.mac,
                mtu=_mtu(options),
                isolated=not options.icc,
                up=not delegated,
            )
        ]
        if not delegated:
            objects += [Address(sandbox, name, held.address, held.prefix) for held in endpoint.addresses]
        objects += [
            PortForward(port.protocol, port.host_address, port.host_port, port.address, port.port) for port in ports
        ]
        return objects


def container_end(device: str) -> str:
    """Name the container end of a delegated pair while it is in the host namespace: `nl...` becomes `np...`."""
    return "np" + device[2:]


def lower_host(networks: Iterable[NetworkCreated]) -> list[KernelObject]:
    """List what these bridge networks need of the host as a whole: forwarding, and the firewall's own table."""
    networks = list(networks)
    families = {family for network in networks for family in network.families}
    objects: list[KernelObject] = [Firewall()] if networks else []
    if 4 in families:
        objects.append(Sysctl(HOST_NAMESPACE, "net.ipv4.ip_forward", "1"))
    if 6 in families:
        objects.append(Sysctl(HOST_NAMESPACE, "net.ipv6.conf.all.forwarding", "1"))
    return objects


def _read(options: Mapping[str, OptionValue]) -> BridgeOptions:
    return _read_items(tuple(options.items()))


@functools.lru_cache(maxsize=1024)  # asked for several times with each endpoint
def _read_items(items: tuple[tuple[str, OptionValue], ...]) -> BridgeOptions:
    return parse_options(BridgeOptions, dict(items), "bridge options")


def _mtu(options: BridgeOptions) -> int:
    return 0 if options.mtu == DEFAULT_MTU else options.mtu
