"""Network, Endpoint, Sandbox: handles on things in the log, in the shape of libnetwork's objects.

Keeps: a handle holds an id and nothing else; what it tells is the current state, and `NotFound` once the thing is gone.
Knows nothing of: how anything is decided or applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from msgspec import Struct

from ..dataplanes.contract import Counters
from ..dataplanes.places import place_of
from ..domain.commands import (
    AddAlias,
    CreateEndpoint,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
    RemoveAlias,
    RenameSandbox,
    SetSandboxKey,
)
from ..domain.endpoint_options import SYSCTLS
from ..domain.errors import NotFound, Unavailable
from ..domain.events import (
    ConfigurationNetworkCreated,
    EndpointCreated,
    NetworkCreated,
    OptionValue,
    SandboxCreated,
    StaticRoute,
)
from ..domain.values import (
    PROTOCOL_NAMES,
    EndpointId,
    NetworkId,
    SandboxId,
    check_id,
    format_address,
    format_host,
    format_mac,
    parse_address,
    parse_mac,
    parse_ports,
    parse_subnet,
)
from .requests import Asking, new_id

if TYPE_CHECKING:
    from ..domain.events import Recorded
    from .controller import Controller


UNSPECIFIED = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # nothing is bound to it
"""What stands for a block that is chosen, by its family."""


class NetworkInfo(Struct, frozen=True):
    """What a network is. `subnets` and `gateways` (empty: none) are in the same order; `created` is a log position.

    `config_only`: it is settings alone, with the subnets as they are asked for: `0.0.0.0/24` stands for one that will
    be chosen, `0.0.0.0/0` for one of the configured size. `config_from`: the name of the one that it depends on.
    """

    id: str
    name: str
    driver: str
    scope: str
    device: str
    internal: bool
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    options: Mapping[str, OptionValue]
    labels: Mapping[str, str]
    endpoints: tuple[str, ...]
    created: int
    config_only: bool = False
    config_from: str = ""


class EndpointInfo(Struct, frozen=True):
    """What an endpoint is and where it is joined; what it has not is empty.

    `addresses` with prefix length. `port_map`: from `80/tcp` to the host addresses and ports that stand for it, or in a
    routed network to its own; `published` tells whether they do now, which is while the endpoint is its sandbox's way
    out (routed: while it is in a sandbox).
    """

    id: str
    name: str
    network: str
    network_name: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    aliases: tuple[str, ...]
    port_map: Mapping[str, tuple[str, ...]]
    published: bool
    labels: Mapping[str, str]
    sandbox: str
    device: str
    interface: str
    created: int
    joined: int
    options: Mapping[str, OptionValue] = {}
    link_local: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class SandboxInfo(Struct, frozen=True):
    """What a sandbox is. `key` is the path of its namespace; `gateways` from `ipv4`, `ipv6` to endpoint ids.

    `hosts_path` and `resolv_conf_path` are empty where it has no files.
    """

    id: str
    container: str
    kind: str
    key: str
    hostname: str
    domainname: str
    labels: Mapping[str, str]
    endpoints: tuple[str, ...]
    gateways: Mapping[str, str]
    created: int
    hosts_path: str = ""
    resolv_conf_path: str = ""


def settings_of(event: ConfigurationNetworkCreated, position: int) -> NetworkInfo:
    """Tell what a configuration-only network holds."""
    return NetworkInfo(
        id=event.network,
        name=event.name,
        driver="null",
        scope="local",
        device="",
        internal=False,
        subnets=tuple(
            str(pool.subnet) if pool.subnet is not None else f"{UNSPECIFIED[pool.family]}/{pool.size}"
            for pool in event.pools
        ),
        gateways=tuple(format_address(pool.gateway) if pool.gateway else "" for pool in event.pools),
        options=event.options,
        labels=event.labels,
        endpoints=(),
        created=position,
        config_only=True,
    )


class Network:
    """A network; endpoints are created in it."""

    def __init__(self, controller: Controller, identity: NetworkId) -> None:
        self._controller = controller
        self.id = identity

    @property
    def name(self) -> str:
        """Its name."""
        return self._record().event.name

    @property
    def driver(self) -> str:
        """The name of its driver; `null` for a configuration-only network, as in libnetwork."""
        return self.info().driver

    def info(self) -> NetworkInfo:
        """Tell what it is."""
        with self._controller.reading() as views:
            record = self._record()
            event = record.event
            if isinstance(event, ConfigurationNetworkCreated):
                return settings_of(event, record.position)
            template = views.configuration_network(NetworkId(event.config_from))
            return NetworkInfo(
                id=event.network,
                name=event.name,
                driver=event.driver,
                scope="local",
                device=event.device,
                internal=event.internal,
                subnets=tuple(str(pool.subnet) for pool in event.pools),
                gateways=tuple(format_address(pool.gateway) if pool.gateway else "" for pool in event.pools),
                options=event.options,
                labels=event.labels,
                endpoints=tuple(views.endpoints_of(event.network)),
                created=record.position,
                config_from=template.event.name if template is not None else "",
            )

    def endpoints(self) -> list[Endpoint]:
        """List its endpoints."""
        with self._controller.reading() as views:
            return [Endpoint(self._controller, endpoint) for endpoint in views.endpoints_of(self.id)]

    def create_endpoint(  # noqa: PLR0913  # each option of an endpoint by its keyword
        self,
        name: str,
        *,
        addresses: Sequence[str] = (),
        mac: str = "",
        ports: Sequence[str] = (),
        aliases: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, OptionValue] | None = None,
        sysctls: Sequence[str] = (),
        link_local: Sequence[str] = (),
        id: str | None = None,  # noqa: A002  # the word that libnetwork's API has for it
        **asking: Unpack[Asking],
    ) -> Endpoint:
        """Create an endpoint in it.

        `ports` are published as Docker writes them: `8080:80/tcp`, `192.0.2.1:53:53/udp`, `80`, `8000-8010:80`.
        `addresses` that are not given are chosen. `options` are by libnetwork's labels; `sysctls`, like
        `net.ipv4.conf.IFNAME.log_martians=1`, are added to the option for them. `link_local` are further addresses.
        """
        subject = f"endpoint/{self.id}/{name}"
        identity = EndpointId(check_id("endpoint", id) if id else new_id(asking.get("request"), subject))
        command = CreateEndpoint(
            identity,
            self.id,
            name,
            addresses=tuple(parse_address(text) for text in addresses),
            mac=parse_mac(mac) if mac else b"",
            ports=tuple(port for text in ports for port in parse_ports(text)),
            aliases=tuple(aliases),
            labels=dict(labels or {}),
            options=_with_sysctls(options or {}, sysctls),
            link_local=tuple(parse_address(text) for text in link_local),
        )
        self._controller.do(command, **asking)
        return Endpoint(self._controller, identity)

    def delete(self, *, force: bool = False, **asking: Unpack[Asking]) -> None:
        """Delete it; with `force`, its endpoints first."""
        self._controller.do(DeleteNetwork(self.id, force), **asking)

    def _record(self) -> Recorded[NetworkCreated] | Recorded[ConfigurationNetworkCreated]:
        with self._controller.reading() as views:
            record = views.network(self.id) or views.configuration_network(self.id)
        if record is None:
            raise NotFound(f"network {self.id[:12]}", "it is not there", "see `netledger network ls`")
        return record

    def __repr__(self) -> str:
        return f"<Network {self.id[:12]}>"


class Endpoint:
    """An endpoint; it joins a sandbox."""

    def __init__(self, controller: Controller, identity: EndpointId) -> None:
        self._controller = controller
        self.id = identity

    @property
    def name(self) -> str:
        """Its name."""
        return self._record().event.name

    @property
    def network(self) -> Network:
        """The network that it is in."""
        return Network(self._controller, self._record().event.network)

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox that it is in."""
        with self._controller.reading() as views:
            joined = views.joined(self.id)
        return Sandbox(self._controller, joined.event.sandbox) if joined else None

    def info(self) -> EndpointInfo:
        """Tell what it is and where it is joined."""
        with self._controller.reading() as views:
            record = self._record()
            event = record.event
            network = views.network(event.network)
            assert network is not None, "an endpoint's network is there"
            joined = views.joined(self.id)
            ports: dict[str, tuple[str, ...]] = {}
            for port in views.ports_of(self.id):
                inner = f"{port.event.port}/{PROTOCOL_NAMES[port.event.protocol]}"
                outer = f"{format_host(port.event.host_address)}:{port.event.host_port}"
                ports[inner] = (*ports.get(inner, ()), outer)
            for opened in views.opened_of(self.id):
                inner = f"{opened.event.port}/{PROTOCOL_NAMES[opened.event.protocol]}"
                outer = f"{format_host(opened.event.address)}:{opened.event.port}"
                ports[inner] = (*ports.get(inner, ()), outer)
            return EndpointInfo(
                id=event.endpoint,
                name=event.name,
                network=event.network,
                network_name=network.event.name,
                mac=format_mac(event.mac),
                addresses=tuple(f"{format_address(held.address)}/{held.prefix}" for held in event.addresses),
                gateways=tuple(
                    format_address(pool.gateway)
                    for pool in network.event.pools
                    if pool.gateway and pool.pool in {held.pool for held in event.addresses}
                ),
                aliases=tuple(views.aliases_of(self.id)),
                port_map=ports,
                published=views.is_published(self.id, 4)
                or views.is_published(self.id, 6)
                or (joined is not None and bool(views.opened_of(self.id))),
                labels=event.labels,
                sandbox=joined.event.sandbox if joined else "",
                device=joined.event.device if joined else "",
                interface=joined.event.interface if joined else "",
                created=record.position,
                joined=joined.position if joined else 0,
                options=event.options,
                link_local=tuple(map(format_address, event.link_local)),
                routes=tuple(map(str, joined.event.routes)) if joined else (),
            )

    def join(
        self,
        sandbox: Sandbox,
        *,
        priority: int = 0,
        interface: str = "",
        routes: Sequence[str] = (),
        **asking: Unpack[Asking],
    ) -> None:
        """Put it into a sandbox; the endpoint with the highest priority is the sandbox's way out.

        `routes` are further ones by its interface: `10.9.0.0/16` on its link, `10.9.0.0/16=10.1.0.9` by a gateway.
        """
        command = JoinEndpoint(self.id, sandbox.id, priority, interface, tuple(map(parse_route, routes)))
        self._controller.do(command, **asking)

    def leave(self, **asking: Unpack[Asking]) -> None:
        """Take it out of the sandbox that it is in."""
        self._controller.do(LeaveEndpoint(self.id), **asking)

    def add_alias(self, alias: str, **asking: Unpack[Asking]) -> None:
        """Give it another name in its network."""
        self._controller.do(AddAlias(self.id, alias), **asking)

    def remove_alias(self, alias: str, **asking: Unpack[Asking]) -> None:
        """Take one of its other names from it."""
        self._controller.do(RemoveAlias(self.id, alias), **asking)

    def delete(self, *, force: bool = False, **asking: Unpack[Asking]) -> None:
        """Delete it and give back what it holds; with `force`, even from its sandbox."""
        self._controller.do(DeleteEndpoint(self.id, force), **asking)

    def _record(self) -> Recorded[EndpointCreated]:
        with self._controller.reading() as views:
            record = views.endpoint(self.id)
        if record is None:
            raise NotFound(f"endpoint {self.id[:12]}", "it is not there", "see `netledger endpoint ls`")
        return record

    def __repr__(self) -> str:
        return f"<Endpoint {self.id[:12]}>"


class Sandbox:
    """A container's network namespace; endpoints join it."""

    def __init__(self, controller: Controller, identity: SandboxId) -> None:
        self._controller = controller
        self.id = identity

    @property
    def key(self) -> str:
        """The path of its namespace, which `nsenter --net=` can enter; empty for a delegated one."""
        return self._record().event.path

    @property
    def container(self) -> str:
        """The id of its container."""
        return self._record().event.container

    def info(self) -> SandboxInfo:
        """Tell what it is."""
        with self._controller.reading() as views:
            record = self._record()
            event = record.event
            gateways = {f"ipv{family}": views.gateway(self.id, family) for family in (4, 6)}
            return SandboxInfo(
                id=event.sandbox,
                container=event.container,
                kind=event.kind,
                key=event.path,
                hostname=event.hostname,
                domainname=event.domainname,
                labels=event.labels,
                endpoints=tuple(views.joined_to(self.id)),
                gateways={family: endpoint for family, endpoint in gateways.items() if endpoint},
                created=record.position,
                hosts_path=event.resolution.hosts_path if event.resolution else "",
                resolv_conf_path=event.resolution.resolv_conf_path if event.resolution else "",
            )

    def endpoints(self) -> list[Endpoint]:
        """List the endpoints in it."""
        with self._controller.reading() as views:
            return [Endpoint(self._controller, endpoint) for endpoint in views.joined_to(self.id)]

    def statistics(self) -> Mapping[str, Counters]:
        """Read what the interfaces in it have counted, by name.

        Raises `Unavailable` where they cannot be counted, and `DataplaneFault` where its namespace is gone.
        """
        asked = f"count the packets of container {self.container}"
        with self._controller.working() as machine:
            place = place_of(machine.views, self.id)
            assert place is not None, "it is there: its container was named"
            if machine.dataplane is None:
                raise Unavailable(asked, "there is no dataplane", "open the host with one")
            if not place.path:
                raise Unavailable(asked, "its namespace is its runtime's, and netledger was not told where it is")
            counted = machine.dataplane.statistics(place)
        if counted is None:
            raise Unavailable(asked, "this dataplane counts none", "ask on a real kernel")
        return counted

    def set_key(self, path: str, **asking: Unpack[Asking]) -> None:
        """Hand over a delegated sandbox's namespace: from here on its interfaces are configured in it."""
        self._controller.do(SetSandboxKey(self.id, path), **asking)

    def rename(self, container: str, **asking: Unpack[Asking]) -> None:
        """Give its container another name."""
        self._controller.do(RenameSandbox(self.id, container), **asking)

    def delete(self, *, force: bool = False, **asking: Unpack[Asking]) -> None:
        """Delete it; with `force`, its endpoints are taken out of it first, and stay."""
        self._controller.do(DeleteSandbox(self.id, force), **asking)

    def _record(self) -> Recorded[SandboxCreated]:
        with self._controller.reading() as views:
            record = views.sandbox(self.id)
        if record is None:
            raise NotFound(f"sandbox {self.id[:12]}", "it is not there", "see `netledger sandbox ls`")
        return record

    def __repr__(self) -> str:
        return f"<Sandbox {self.id[:12]}>"


def parse_route(text: str) -> StaticRoute:
    """Read `DESTINATION` or `DESTINATION=GATEWAY`."""
    destination, equals, gateway = text.partition("=")
    return StaticRoute(parse_subnet(destination), parse_address(gateway) if equals else b"")


def _with_sysctls(options: Mapping[str, OptionValue], sysctls: Sequence[str]) -> dict[str, OptionValue]:
    """Add kernel settings to those that the options have."""
    before = [str(options[SYSCTLS])] if options.get(SYSCTLS) else []
    return {**options, SYSCTLS: ",".join([*before, *sysctls])} if sysctls else dict(options)
