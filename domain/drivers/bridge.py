"""The bridge driver: a Linux bridge in the host's namespace, a veth pair for each endpoint.

Keeps: what a network or endpoint needs in a kernel follows from its events alone.
Knows nothing of: how a kernel is told. Labels, defaults and refusals: moby, daemon/libnetwork/drivers/bridge.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from msgspec import field

from ..errors import Invalid
from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound, PortOpened
from ..objects import (
    HOST_NAMESPACE,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    GatewayMode,
    KernelObject,
    LoopbackAccess,
    Masquerade,
    OpenPort,
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
    family_of,
    format_address,
    mac_for,
    parse_address,
)
from .attachment import AttachmentOptions, addresses_of, check_attachment, end_of
from .driver import BOTH_FAMILIES, NetworkTraits

PORT_LIMIT_OF_A_BRIDGE = 1023
"""Ports of one Linux bridge (BR_MAX_PORTS, net/bridge/br_private.h, less port 0)."""

DEFAULT_MTU = 1500
"""What the kernel gives an Ethernet device that nobody gives another; objects say 0 for it."""
MTU_LEAST = 68
MTU_MOST = 65535

LINK_LOCAL_ROUTER = parse_address("fe80::1")
LINK_LOCAL_PREFIX = 64
DEFAULT_BRIDGE = "docker0"
"""The bridge of libnetwork's default network."""
LOOPBACK_FEATURES = {4: "loopback ipv4", 6: "loopback ipv6"}
BRIDGE_NAME = "com.docker.network.bridge.name"
DEFAULT_BRIDGE_OPTION = "com.docker.network.bridge.default_bridge"


class BridgeOptions(AttachmentOptions, frozen=True, kw_only=True):
    """The options of a bridge network, by libnetwork's labels."""

    name: str = field(name=BRIDGE_NAME, default="")
    icc: bool = field(name="com.docker.network.bridge.enable_icc", default=True)
    masquerade: bool = field(name="com.docker.network.bridge.enable_ip_masquerade", default=True)
    host_binding_ipv4: str = field(name="com.docker.network.bridge.host_binding_ipv4", default="0.0.0.0")  # noqa: S104  # libnetwork's default
    mtu: int = field(name="com.docker.network.driver.mtu", default=0)
    default_bridge: bool = field(name=DEFAULT_BRIDGE_OPTION, default=False)
    inhibit_ipv4: bool = field(name="com.docker.network.bridge.inhibit_ipv4", default=False)
    trusted: str = field(name="com.docker.network.bridge.trusted_host_interfaces", default="")
    mode4: str = field(name="com.docker.network.bridge.gateway_mode_ipv4", default=GatewayMode.NAT.value)
    mode6: str = field(name="com.docker.network.bridge.gateway_mode_ipv6", default=GatewayMode.NAT.value)
    host_ipv4: str = field(name="com.docker.network.host_ipv4", default="")
    host_ipv6: str = field(name="com.docker.network.host_ipv6", default="")

    def mode(self, family: int) -> GatewayMode:
        """Tell the gateway mode of an address family."""
        return GatewayMode(self.mode4 if family == 4 else self.mode6)

    def source(self, family: int) -> bytes:
        """Tell the address that endpoints take when they go out; empty: that of the interface which they leave by."""
        text = self.host_ipv4 if family == 4 else self.host_ipv6
        return parse_address(text) if text else b""

    @property
    def trusted_interfaces(self) -> tuple[str, ...]:
        return tuple(sorted(set(filter(None, self.trusted.split(":")))))


class BridgeDriver:
    """What the domain asks of a network driver, answered for bridges."""

    name = "bridge"
    needs = ("bridge", "veth", "firewall", "address marks")
    endpoint_limit = PORT_LIMIT_OF_A_BRIDGE
    pools_per_family = 1

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Check the options and fill in the defaults."""
        options = parse_options(BridgeOptions, given, asked)
        if options.mtu and not MTU_LEAST <= options.mtu <= MTU_MOST:
            raise Invalid(asked, f"invalid MTU number {options.mtu}", f"give one from {MTU_LEAST} to {MTU_MOST}, or 0")
        if len(parse_address(options.host_binding_ipv4)) != IPV4_BYTES:
            raise Invalid(asked, f"host_binding_ipv4 {options.host_binding_ipv4!r} is not an IPv4 address")
        for mode in (options.mode4, options.mode6):
            if mode not in tuple(GatewayMode):
                raise Invalid(asked, f"unknown gateway mode {mode}", f"known: {', '.join(GatewayMode)}")
        for family in (4, 6):
            source = options.source(family)
            if source and (family_of(source) != family or not any(source)):
                raise Invalid(
                    asked, f"host_ipv{family} {format_address(source)} is not an IPv{family} address of a host"
                )
        for interface in options.trusted_interfaces:
            check_interface_name(interface)
        check_attachment(options, asked)
        return options_as_labels(options)

    def settle(
        self, options: dict[str, OptionValue], asked: str, *, internal: bool
    ) -> tuple[dict[str, OptionValue], bool]:
        """Refuse to isolate a network that is not internal."""
        read = _read(options)
        if not internal and GatewayMode.ISOLATED in (read.mode(4), read.mode(6)):
            raise Invalid(asked, "gateway mode 'isolated' can only be used for an internal network", "make it internal")
        return options, internal

    def features(self, options: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for a network with these options."""
        read = _read(options)
        modes = {read.mode(4), read.mode(6)} - {GatewayMode.NAT, GatewayMode.ISOLATED}
        needed = [*self.needs]
        needed += [] if read.icc else ["port isolation"]
        needed += ["gateway modes"] if modes else []
        needed += ["trusted interfaces"] if read.trusted else []
        needed += ["snat address"] if read.host_ipv4 or read.host_ipv6 else []
        return tuple(needed)

    def traits(self, options: Mapping[str, OptionValue]) -> NetworkTraits:
        """Tell its gateway modes, and where it has no gateway: in an isolated family, and inside, if inhibited."""
        read = _read(options)
        return NetworkTraits(
            gateway_families=frozenset(f for f in BOTH_FAMILIES if read.mode(f) is not GatewayMode.ISOLATED),
            outer_gateway_families=frozenset({4} if read.inhibit_ipv4 else ()),
            mode4=read.mode(4),
            mode6=read.mode(6),
            interface_prefix=read.interface_prefix,
            abilities=(*LOOPBACK_FEATURES.values(), "announcements"),
        )

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:
        """Name the bridge: the label's name, else `docker0` for the default one, else `br-` and twelve digits."""
        read = _read(options)
        if read.name:
            return check_interface_name(read.name)
        return DEFAULT_BRIDGE if read.default_bridge else f"br-{network[:12]}"

    def host_binding(self, options: Mapping[str, OptionValue]) -> bytes:
        """Which IPv4 address of the host ports are published at when none is asked for."""
        return parse_address(_read(options).host_binding_ipv4)

    def lower_host(self, networks: Sequence[NetworkCreated]) -> Iterable[KernelObject]:
        """List what bridge networks need of the host as a whole: forwarding, and the firewall's own table."""
        families = {family for network in networks for family in network.families}
        yield Firewall()
        if 4 in families:
            yield Sysctl(HOST_NAMESPACE, "net.ipv4.ip_forward", "1")
        if 6 in families:
            yield Sysctl(HOST_NAMESPACE, "net.ipv6.conf.all.forwarding", "1")

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """List what the network itself needs in the host's namespace."""
        options, device = _read(network.options), network.device
        modes = {f: options.mode(f) if f in network.families else GatewayMode.NAT for f in BOTH_FAMILIES}
        bridge = Bridge(device, network.network, mac_for(network.network), _mtu(options))
        objects: list[KernelObject] = [
            Bridge(device, NetworkId(""), b"", 0, adopted=True) if network.is_adopted else bridge,
            ForwardPolicy(device, options.icc, network.internal, modes[4], modes[6], options.trusted_interfaces),
        ]
        for pool in network.pools:
            family = pool.subnet.family
            is_translated = not network.internal and modes[family] is not GatewayMode.ROUTED
            if (
                pool.gateway
                and modes[family] is not GatewayMode.ISOLATED
                and not (family == 4 and options.inhibit_ipv4)
            ):
                objects.append(Address(HOST_NAMESPACE, device, pool.gateway, pool.subnet.prefix))
            if options.masquerade and is_translated:
                objects.append(Masquerade(device, family, options.source(family)))
            if is_translated and LOOPBACK_FEATURES[family] in network.abilities:
                objects.append(LoopbackAccess(device, family))
        if 6 in network.families and modes[6] is not GatewayMode.ISOLATED:
            objects.append(Address(HOST_NAMESPACE, device, LINK_LOCAL_ROUTER, LINK_LOCAL_PREFIX))
        return objects

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound | PortOpened],
    ) -> list[KernelObject]:
        """List what a joined endpoint needs; `ports` are those that are published."""
        options = _read(network.options)
        end = end_of(joined, kind)
        pair = VethPair(
            host_name=joined.device,
            endpoint=joined.endpoint,
            bridge=network.device,
            sandbox=end.sandbox,
            name=end.name,
            mac=endpoint.mac,
            mtu=_mtu(options),
            isolated=not options.icc,
            up=end.up,
        )
        return [pair, *addresses_of(endpoint, end), *_lower_ports(ports, trusts=bool(options.trusted_interfaces))]


def _lower_ports(ports: Sequence[PortBound | PortOpened], *, trusts: bool) -> Iterable[KernelObject]:
    """List the host's ports that lead to an endpoint, and which of its own may be reached."""
    opened: dict[tuple[int, bytes, int], None] = {}
    for port in ports:
        if isinstance(port, PortBound):
            yield PortForward(port.protocol, port.host_address, port.host_port, port.address, port.port)
        if trusts or isinstance(port, PortOpened):
            opened[port.protocol, port.address, port.port] = None
    yield from (OpenPort(*place) for place in opened)


def _read(options: Mapping[str, OptionValue]) -> BridgeOptions:
    return _read_items(tuple(options.items()))


@functools.lru_cache(maxsize=1024)  # asked for several times with each endpoint
def _read_items(items: tuple[tuple[str, OptionValue], ...]) -> BridgeOptions:
    return parse_options(BridgeOptions, dict(items), "bridge options")


def _mtu(options: BridgeOptions) -> int:
    return 0 if options.mtu == DEFAULT_MTU else options.mtu
