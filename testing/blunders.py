"""Commands that no state makes right: one for each thing that can be wrong with a command in itself.

Keeps: each is refused wherever it is carried out. Knows nothing of: what is there.
"""

from __future__ import annotations

from collections.abc import Callable

from ..domain.commands import (
    AddAlias,
    ChooseFirewall,
    Command,
    Configure,
    CreateConfigurationNetwork,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    EndReservation,
    Expire,
    JoinEndpoint,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    SetSandboxKey,
)
from ..domain.endpoint_options import SYSCTLS
from ..domain.events import OptionValue, StaticRoute
from ..domain.resolution import EXTRA_HOSTS_LIMIT, SERVERS_LIMIT, Resolution, Resolver
from ..domain.values import (
    EndpointId,
    NetworkId,
    PoolId,
    PortRequest,
    PredefinedPool,
    SandboxId,
    SandboxKind,
    Subnet,
    parse_address,
    parse_mac,
    parse_port,
    parse_subnet,
)
from .desk import identifier

NEW = "blunder"
LONG = "x" * 5000
ANYWHERE = parse_address("10.77.0.1")


def network(*pools: PoolRequest, **others: object) -> Callable[[str, str], Command]:
    """Create a network with something wrong about it."""
    name = str(others.pop("name", NEW))
    driver = str(others.pop("driver", "bridge"))
    options = others.pop("options", {})
    labels = others.pop("labels", {})
    assert isinstance(options, dict), "options are a dict"
    assert isinstance(labels, dict), "labels are a dict"
    identity = NetworkId(str(others.pop("network", identifier(NEW))))
    ipam_driver = str(others.pop("ipam_driver", "default"))
    ipam_options = others.pop("ipam_options", {})
    assert isinstance(ipam_options, dict), "options are a dict"
    made = CreateNetwork(
        identity,
        name,
        driver,
        pools or (PoolRequest(4),),
        options=options,
        labels=labels,
        ipam_driver=ipam_driver,
        ipam_options=ipam_options,
    )
    return lambda _network, _endpoint: made if others.get("pools", True) else _without_pools(made)


def _without_pools(made: CreateNetwork) -> CreateNetwork:
    return CreateNetwork(made.network, made.name, pools=())


def _subnet(text: str, gateway: bytes | None = None) -> PoolRequest:
    block = parse_subnet(text)
    return PoolRequest(block.family, block, gateway)


def _option(label: str, value: OptionValue) -> Callable[[str, str], Command]:
    return network(options={label: value})


def _endpoint(
    name: str = NEW,
    *,
    addresses: tuple[bytes, ...] = (),
    mac: bytes = b"",
    ports: tuple[PortRequest, ...] = (),
    labels: dict[str, str] | None = None,
    options: dict[str, OptionValue] | None = None,
    link_local: tuple[bytes, ...] = (),
    identity: str = "",
) -> Callable[[str, str], Command]:
    def write(in_network: str, _endpoint: str) -> Command:
        made = EndpointId(identity or identifier(NEW))
        others = {"labels": labels or {}, "options": options or {}, "link_local": link_local}
        return CreateEndpoint(made, NetworkId(in_network), name, addresses, mac, ports, **others)  # type: ignore[arg-type]

    return write


def _sandbox(**fields: object) -> Callable[[str, str], Command]:
    made = CreateSandbox(SandboxId(identifier(NEW)), **{"container": NEW, **fields})  # type: ignore[arg-type]  # its own
    return lambda _network, _endpoint: made


def _port(
    protocol: int = 6, port: int = 80, host_port: int = 0, host_address: bytes = b"", host_port_end: int = 0
) -> PortRequest:
    return PortRequest(protocol, port, host_port, host_address, host_port_end)


def _configuration(**fields: object) -> Callable[[str, str], Command]:
    """Create a configuration network with something wrong about it."""
    made = CreateConfigurationNetwork(NetworkId(identifier(NEW)), **{"name": NEW, **fields})  # type: ignore[arg-type]  # its own
    return lambda _network, _endpoint: made


def _route(destination: str, gateway: bytes = b"") -> Callable[[str, str], Command]:
    """Join with a route that no endpoint can have."""
    routes = (StaticRoute(parse_subnet(destination), gateway),)
    return lambda _network, endpoint: JoinEndpoint(EndpointId(endpoint), SandboxId(identifier("c0")), routes=routes)


BLUNDERS: tuple[Callable[[str, str], Command], ...] = (
    # networks
    network(driver="token-ring"),
    network(name="-"),
    network(network="no id"),
    network(pools=False),
    network(PoolRequest(5)),
    network(PoolRequest(4), PoolRequest(4)),
    network(PoolRequest(4, gateway=parse_address("fd00::1"))),
    network(PoolRequest(4, gateway=b"123")),
    network(PoolRequest(6, parse_subnet("10.77.0.0/24"))),
    network(PoolRequest(4, Subnet(ANYWHERE, 24))),
    network(PoolRequest(4, Subnet(bytes(4), 33))),
    network(_subnet("0.0.0.0/0")),
    network(_subnet("10.77.0.1/32")),
    network(_subnet("127.1.0.0/16")),
    network(_subnet("10.77.0.0/24", gateway=parse_address("10.78.0.1"))),
    network(_subnet("10.77.0.0/24", gateway=parse_address("10.77.0.0"))),
    network(_subnet("10.77.0.0/24"), _subnet("10.77.0.0/25")),
    network(labels={f"label{number}": "" for number in range(1000)}),
    network(labels={"label": LONG * 10}),
    network(labels={"label": "\x1b"}),
    _option("com.example.unknown", value=True),
    _option("com.docker.network.bridge.enable_icc", "perhaps"),
    _option("com.docker.network.driver.mtu", "-1"),
    _option("com.docker.network.driver.mtu", 67),
    _option("com.docker.network.bridge.host_binding_ipv4", "::1"),
    _option("com.docker.network.bridge.host_binding_ipv4", "localhost"),
    _option("com.docker.network.bridge.name", value=True),
    _option("com.docker.network.bridge.name", "a/b"),
    _option("com.docker.network.bridge.gateway_mode_ipv4", "bridged"),
    _option("com.docker.network.bridge.gateway_mode_ipv6", "isolated"),
    _option("com.docker.network.host_ipv4", "fd77::7"),
    _option("com.docker.network.container_iface_prefix", "interface-name"),
    _option("com.docker.network.advertise_addr_nmsgs", 4),
    _option("com.docker.network.advertise_addr_ms", 99),
    network(driver="macvlan", options={"macvlan_mode": "l2"}),
    network(driver="macvlan", options={"parent": "lo"}),
    network(driver="macvlan", options={"parent": "eth0.5000"}),
    network(driver="ipvlan", options={"ipvlan_mode": "bridge"}),
    network(driver="ipvlan", options={"ipvlan_flag": "passthru"}),
    network(_subnet("10.77.0.0/24"), driver="null"),
    _configuration(pools=()),
    _configuration(pools=(PoolRequest(4),) * 65),
    _configuration(pools=(PoolRequest(4, size=33),)),
    _configuration(options={"label": LONG * 10}),
    _configuration(ipam_driver="null"),
    _configuration(name="-"),
    lambda _network, _endpoint: CreateNetwork(NetworkId(identifier(NEW)), NEW, config_from="nowhere"),
    # address management
    network(PoolRequest(4, space="a b")),
    network(PoolRequest(4, size=33)),
    network(PoolRequest(4, size=8)),
    network(PoolRequest(4, size=32)),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), size=24)),
    network(PoolRequest(4, sub_pool=parse_subnet("10.77.0.0/25"))),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), sub_pool=parse_subnet("10.78.0.0/25"))),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), rest_seconds=-1)),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), auxiliary={"a b": ANYWHERE})),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), auxiliary={"a": b"123"})),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), auxiliary={"a": parse_address("10.78.0.1")})),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), ANYWHERE, auxiliary={"a": ANYWHERE})),
    network(PoolRequest(4, parse_subnet("10.77.0.0/24"), auxiliary={f"a{number}": ANYWHERE for number in range(2000)})),
    network(
        PoolRequest(
            4,
            parse_subnet("10.77.0.0/29"),
            sub_pool=parse_subnet("10.77.0.2/31"),
            auxiliary={"a": parse_address("10.77.0.2"), "b": parse_address("10.77.0.3")},
        )
    ),
    network(ipam_driver="null"),
    network(ipam_driver="token-ring"),
    network(ipam_options={"com.example.unknown": True}),
    network(ipam_options={"netledger.ipam.mac": "round"}),
    lambda _network, _endpoint: RequestPool(PoolRequest(4, gateway=ANYWHERE), identifier(NEW)),
    lambda _network, _endpoint: RequestPool(PoolRequest(4), "no id"),
    lambda _network, _endpoint: ReleasePool(PoolId("nowhere")),
    lambda _network, _endpoint: RequestAddress(PoolId("nowhere"), identifier(NEW)),
    lambda _network, _endpoint: ReleaseAddress(PoolId("nowhere"), ANYWHERE),
    lambda network, _endpoint: ReserveAddress(NetworkId(network), NEW, parse_address("192.0.2.1")),
    lambda network, _endpoint: EndReservation(NetworkId(network), parse_address("192.0.2.1")),
    lambda _network, _endpoint: Expire(-1),
    lambda _network, _endpoint: Configure((PredefinedPool(parse_subnet("10.77.0.0/24"), 23),)),
    lambda _network, _endpoint: Configure((PredefinedPool(parse_subnet("10.77.0.0/24"), 24),) * 300),
    lambda _network, _endpoint: Configure((), -1),
    lambda _network, _endpoint: ChooseFirewall("pf"),
    # endpoints
    _endpoint("a b"),
    _endpoint(options={SYSCTLS: "net.ipv4.ip_forward=1"}),
    _endpoint(options={SYSCTLS: ",".join(["net.ipv4.conf.IFNAME.log_martians=1"] * 100)}),
    _endpoint(link_local=(ANYWHERE,)),
    _endpoint(identity="no id"),
    _endpoint(addresses=(b"123",)),
    _endpoint(addresses=(ANYWHERE, ANYWHERE)),
    _endpoint(addresses=(ANYWHERE,)),
    _endpoint(addresses=(parse_address("fd77::7"),)),
    _endpoint(mac=b"\x01" + bytes(5)),
    _endpoint(ports=(_port(protocol=99),)),
    _endpoint(ports=(_port(port=0),)),
    _endpoint(ports=(_port(host_port=70_000),)),
    _endpoint(ports=(_port(host_address=b"123"),)),
    _endpoint(ports=(_port(host_port=8080, host_port_end=8079),)),
    _endpoint(ports=tuple(_port(port=80 + number, host_port=50_000, host_port_end=50_001) for number in range(3))),
    _endpoint(ports=(_port(host_port=8080), _port(port=81, host_port=8080))),
    _endpoint(ports=tuple(_port(port=1 + number) for number in range(2000))),
    lambda _network, _endpoint: CreateEndpoint(EndpointId(identifier(NEW)), NetworkId(identifier(NEW)), NEW),
    lambda _network, endpoint: AddAlias(EndpointId(endpoint), "a b"),
    lambda _network, endpoint: JoinEndpoint(EndpointId(endpoint), SandboxId(identifier(NEW))),
    lambda _network, _endpoint: DeleteEndpoint(EndpointId(identifier(NEW))),
    lambda _network, _endpoint: DeleteNetwork(NetworkId(identifier(NEW))),
    _route("0.0.0.0/0"),
    _route("10.99.0.0/16", parse_address("198.51.100.1")),
    lambda _network, endpoint: JoinEndpoint(
        EndpointId(endpoint),
        SandboxId(identifier("c0")),
        routes=(StaticRoute(parse_subnet("10.99.0.0/16")),) * 2,
    ),
    # sandboxes
    _sandbox(container=""),
    _sandbox(kind=SandboxKind.HOST, path="/run/netns/blunder"),
    lambda _network, _endpoint: SetSandboxKey(SandboxId(identifier("c0")), "run/netns/blunder"),
    lambda _network, _endpoint: SetSandboxKey(SandboxId(identifier("c1")), "/run/netns/blunder"),
    _sandbox(kind=SandboxKind.ATTACHED, path="run/netns/blunder"),
    _sandbox(kind=SandboxKind.ATTACHED, path="/run/netns/nowhere"),
    _sandbox(hostname="-"),
    _sandbox(resolution=Resolution(tuple((f"h{number}", ANYWHERE) for number in range(EXTRA_HOSTS_LIMIT + 1)))),
    _sandbox(resolution=Resolution((("", ANYWHERE),))),
    _sandbox(resolution=Resolution(wanted=Resolver(servers=("192.0.2.1",) * (SERVERS_LIMIT + 1)))),
    _sandbox(resolution=Resolution(wanted=Resolver(options=("two words",)))),
    _sandbox(resolution=Resolution(hosts_path="etc/hosts")),
    _sandbox(resolution=Resolution(hosts_path="/tmp/one", resolv_conf_path="/tmp/one")),  # noqa: S108  # never written
    lambda _network, _endpoint: DeleteSandbox(SandboxId(identifier(NEW))),
)
"""Each takes the ids of a network and of an endpoint that may be there."""

BAD_WORDS: tuple[tuple[Callable[[str], object], str], ...] = (
    (parse_address, "10.0.0.256"),
    (parse_subnet, "10.0.0.0"),
    (parse_subnet, "10.0.0.0/33"),
    (parse_subnet, "10.0.0.1/24"),
    (parse_mac, "02:42:0a"),
    (parse_mac, "01:00:5e:00:00:01"),
    (parse_port, "80/quic"),
    (parse_port, "[::1:80:80"),
    (parse_port, "[2001:db8::1]:80"),
    (parse_port, "here:80:80"),
    (parse_port, "80-90"),
    (parse_port, "90-80"),
    (parse_port, "8080-8089:80-90"),
    (parse_port, "0"),
)
"""What is read from text, and a text that it refuses."""
