"""An author of commands: mostly ones that make sense now, seldom ones that will be refused.

Keeps: the same choices in the same state give the same commands. How many choices a name takes does not depend on the
state, so that the rest of a command means the same in another. The universe of names is so small that things meet.
Knows nothing of: where choices come from (Hypothesis, a seeded generator).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from msgspec import structs

from ..dataplanes.simulated import SimulatedDataplane, SimulatedKernel, StepFaults
from ..dataplanes.simulated.dataplane import CARD
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
    LeaveEndpoint,
    LoseSandbox,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RemoveAlias,
    RenameSandbox,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    SetSandboxKey,
)
from ..domain.drivers.attachment import ANNOUNCEMENTS
from ..domain.endpoint_options import INTERFACE, SYSCTLS
from ..domain.errors import Refusal
from ..domain.events import UNCLAIMED, OptionValue, StaticRoute
from ..domain.facts import NamespaceIdentity
from ..domain.firewalls import AUTO, AUTOMATIC
from ..domain.ipam.options import MAC as MAC_POLICY
from ..domain.ipam.options import SERIAL
from ..domain.ipam.pools import NULL_IPAM
from ..domain.values import (
    AllocationPolicy,
    EndpointId,
    MacPolicy,
    NetworkId,
    PoolId,
    PortRequest,
    PredefinedPool,
    SandboxId,
    SandboxKind,
    Subnet,
    family_of,
    parse_address,
    parse_mac,
    parse_subnet,
    subnet_of,
)
from ..projections.views import Views
from .blunders import BLUNDERS
from .desk import Desk, identifier

T = TypeVar("T")

BRIDGE = "com.docker.network.bridge.name"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
MTU = "com.docker.network.driver.mtu"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
GATEWAY_MODES = {family: f"com.docker.network.bridge.gateway_mode_ipv{family}" for family in (4, 6)}
TRUSTED = "com.docker.network.bridge.trusted_host_interfaces"
INHIBIT = "com.docker.network.bridge.inhibit_ipv4"
SNAT = "com.docker.network.host_ipv4"
SINGLE = ("host", "null")
SETTINGS = "settings"
"""The configuration network that there usually is."""
DRIVERS = (*("bridge",) * 14, "macvlan", "macvlan", "ipvlan", "ipvlan", "host", "null")
USUALLY = 90
"""In percent: how often a command fits the state."""
LEFT_OUT = 85
"""In percent: how often a network does without an option."""

ENDPOINT_OPTIONS: tuple[Mapping[str, OptionValue], ...] = (
    *({},) * 16,
    {INTERFACE: "eth1"},
    {SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1"},
    {SYSCTLS: "net.ipv6.conf.IFNAME.disable_ipv6=1"},
    {ANNOUNCEMENTS: 0},
)
ELSEWHERE = {4: parse_subnet("10.99.0.0/16"), 6: parse_subnet("fd99::/32")}
"""Blocks that further routes lead to."""
LEASES = ("lease1", "lease2", "lease3")
IPAM_OPTIONS: tuple[dict[str, OptionValue], ...] = (
    {SERIAL: "true"},
    {SERIAL: False},
    {MAC_POLICY: MacPolicy.IPV4},
    {MAC_POLICY: MacPolicy.IPV4, SERIAL: True},
)
OVERLAPPING = (
    PredefinedPool(parse_subnet("10.64.0.0/16"), 28),
    PredefinedPool(parse_subnet("10.64.0.0/10"), 26),
    PredefinedPool(parse_subnet("fd40::/48"), 64),
)
SETTINGS_OF_HOSTS: tuple[tuple[tuple[PredefinedPool, ...], str], ...] = (
    ((), "nftables"),
    ((PredefinedPool(parse_subnet("10.128.0.0/9"), 24),), "iptables"),
    (OVERLAPPING, AUTO),
)
"""From where predefined pools are taken, or which firewall a host has."""
MOVE = -1
"""In the place of a time: the host is to have another firewall."""

KINDS = (
    *("create endpoint",) * 6,
    *("join",) * 9,
    *("leave",) * 4,
    *("create network", "create sandbox") * 2,
    *("add alias", "remove alias", "set key", "rename"),
    *("delete endpoint", "delete sandbox", "delete network", "lose sandbox"),
    *("addresses",) * 3,
)
"""What there is to ask for, the more common more than once: two of three are what networks are there for."""

ADDRESS_KINDS = (
    *("request pool", "release pool", "request address", "release address"),
    *("reserve address", "end reservation", "expire", "configure"),
)
"""What `addresses` is one of."""

GROUND = (*("create network",) * 2, *("create sandbox",) * 2, *("create endpoint",) * 3, *("join",) * 2)
"""What a history may begin with, so that there is something to work with."""


class Choice(Protocol):
    """Where choices come from."""

    def pick(self, among: Sequence[T]) -> T:
        """Choose one; the first is the simplest."""

    def chance(self, percent: int) -> bool:
        """Answer yes so often; yes is the simpler answer."""


class Seeded:
    """Choices of a seeded generator: the same seed, the same choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret: the same seed is to give the same choices

    def pick(self, among: Sequence[T]) -> T:
        """Choose one, all equally likely."""
        return among[self._random.randrange(len(among))]

    def chance(self, percent: int) -> bool:
        """Answer yes so often."""
        return self._random.randrange(100) < percent


class Universe:
    """The names that there are, and the namespaces of attached sandboxes."""

    def __init__(self, networks: int = 3, endpoints: int = 6, sandboxes: int = 4) -> None:
        self.networks = [f"n{number}" for number in range(networks)]
        self.endpoints = [f"e{number}" for number in range(endpoints)]
        self.sandboxes = [f"c{number}" for number in range(sandboxes)]
        self.namespaces = {
            f"/run/netns/{name}": NamespaceIdentity("boot", number) for number, name in enumerate(self.sandboxes)
        }
        """What has to be at which path, for the commands to be carried out."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that ids of networks, endpoints, sandboxes and leases may be made of before anything has them."""
        return (*self.networks, *SINGLE, SETTINGS, *self.endpoints, *self.sandboxes, *LEASES)

    def dataplane(
        self, kernel: SimulatedKernel | None = None, *, faults: StepFaults | None = None
    ) -> SimulatedDataplane:
        """Make a simulated dataplane on which every command can be carried out."""
        made = SimulatedDataplane(kernel, faults=faults)
        if CARD not in made.kernel.own.devices:
            made.kernel.add_card(CARD)
        made.namespaces.update(self.namespaces)
        return made


class Author:
    """Writes commands; knows what is there by `views`, or carries its commands out on a desk of its own."""

    def __init__(
        self, choice: Choice, universe: Universe | None = None, views: Callable[[], Views] | None = None
    ) -> None:
        self.choice = choice
        self.universe = universe or Universe()
        self._desk = Desk() if views is None else None
        self._views = views

    @property
    def views(self) -> Views:
        """The state that commands are written for."""
        if self._views is not None:
            return self._views()
        assert self._desk is not None, "without views there is a desk"
        return self._desk.views

    def command(self, kind: str | None = None) -> Command:
        """Write a command of a kind; without one, usually of one for which everything is there."""
        command = self._write(kind or self._kind())
        if self._desk is not None:
            with suppress(Refusal):
                self._desk.do(command)
        return command

    def fitting(self, kinds: Sequence[str]) -> list[str]:
        """List those kinds of commands, of some, for which everything is there."""
        is_there = self._what_is_there()
        return [kind for kind in kinds if is_there.get(kind, True)]

    def blunder(self) -> Command:
        """Write a command that no state makes right."""
        views, universe = self.views, self.universe
        network = self._known(universe.networks, views.networks.networks)
        return self.choice.pick(BLUNDERS)(network, self._known(universe.endpoints, views.endpoints.endpoints))

    def farewell(self) -> list[Command]:
        """Ask for the end of everything in the universe, and of the gateway bridge; host and null networks last."""
        universe, views, ids = self.universe, self.views, (identifier, _other_identifier)
        mine = [make(name) for name in universe.networks for make in ids]
        networks, ipam = views.networks.networks, views.ipam
        single = [key for key, record in networks.items() if record.event.driver in SINGLE]
        others = [key for key in networks if key not in mine and key not in single]
        requested = [
            (pool, address)
            for (pool, address), holder in ipam.holders.items()
            if ipam.pools[pool].event.lease and (holder.event.owner[0] == UNCLAIMED or holder.event.lease)
        ]
        return [
            *(DeleteSandbox(make(name), force=True) for name in universe.sandboxes for make in ids),
            *(DeleteEndpoint(endpoint) for network in single for endpoint in views.endpoints_of(network)),
            *(DeleteNetwork(network, force=True) for network in (*mine, *others)),
            *(DeleteNetwork(network) for network in views.networks.configuration_networks),
            *(ReleaseAddress(pool, address) for pool, address in requested),
            *(ReleasePool(pool) for pool, record in ipam.pools.items() if record.event.lease),
        ]

    # --- one kind each

    def _kind(self) -> str:
        """Choose a kind of command, usually one that makes sense now."""
        usually = self.choice.chance(USUALLY)
        return self.choice.pick(self.fitting(KINDS) if usually else KINDS)

    def _what_is_there(self) -> Mapping[str, bool]:
        """Say of kinds of commands whether there is what they are about; of the others nothing."""
        views, universe = self.views, self.universe
        endpoints, joined, sandboxes = views.endpoints.endpoints, views.endpoints.joined, views.sandboxes.sandboxes
        kinds = [there.event.kind for there in sandboxes.values()]
        return {
            "create network": any(self._is_free(name, views.networks.networks) for name in universe.networks),
            "create sandbox": any(self._is_free(name, sandboxes) for name in universe.sandboxes),
            "create endpoint": bool(views.networks.networks)
            and any(self._is_free(name, endpoints) for name in universe.endpoints),
            "join": bool(sandboxes) and len(joined) < len(endpoints),
            "leave": bool(joined),
            "add alias": bool(endpoints),
            "remove alias": bool(views.endpoints.aliases),
            "set key": SandboxKind.DELEGATED in kinds,
            "rename": bool(sandboxes),
            "delete endpoint": bool(endpoints),
            "delete sandbox": bool(sandboxes),
            "delete network": bool(views.networks.networks),
            "lose sandbox": any(kind is not SandboxKind.MANAGED for kind in kinds),
        }

    def _write(self, kind: str) -> Command:
        writers: dict[str, Callable[[], Command]] = {
            "create network": self._create_network,
            "create endpoint": self._create_endpoint,
            "create sandbox": self._create_sandbox,
            "join": self._join,
            "leave": lambda: LeaveEndpoint(self._known(self.universe.endpoints, self.views.endpoints.joined)),
            "add alias": lambda: AddAlias(
                self._known(self.universe.endpoints, self.views.endpoints.endpoints), self._alias()
            ),
            "remove alias": lambda: RemoveAlias(
                self._known(self.universe.endpoints, self.views.endpoints.aliases), self._alias()
            ),
            "delete endpoint": lambda: DeleteEndpoint(
                self._known(self.universe.endpoints, self.views.endpoints.endpoints), self.choice.chance(50)
            ),
            "delete network": self._delete_network,
            "delete sandbox": lambda: DeleteSandbox(
                self._known(self.universe.sandboxes, self.views.sandboxes.sandboxes), self.choice.chance(50)
            ),
            "lose sandbox": self._lose_sandbox,
            "set key": self._set_key,
            "rename": lambda: RenameSandbox(
                self._known(self.universe.sandboxes, self.views.sandboxes.sandboxes),
                self.choice.pick((*self.universe.sandboxes, "another")),
            ),
            "addresses": lambda: self._write(self.choice.pick(ADDRESS_KINDS)),
            "request pool": self._request_pool,
            "release pool": self._release_pool,
            "request address": self._request_address,
            "release address": self._release_address,
            "reserve address": self._reserve_address,
            "end reservation": self._end_reservation,
            "expire": self._expire,
            "configure": self._configure,
            "choose firewall": self._choose_firewall,
            "blunder": self.blunder,
        }
        return writers[kind]()

    def _create_network(self) -> Command:
        if not self.choice.chance(80):
            is_there = bool(self.views.networks.configuration_networks)
            usual, other = self._create_from_configuration, self._create_configuration
            return usual() if self.choice.chance(75 if is_there else 100 - USUALLY) else other()
        driver = self.choice.pick(DRIVERS)
        if driver in SINGLE:
            name = self.choice.pick((driver, f"another-{driver}"))
            return CreateNetwork(identifier(name), name, driver)
        name = self._free(self.universe.networks, self.views.networks.networks)
        pools = self._pools(self.universe.networks.index(name))
        options = self.options() if driver == "bridge" else self._options_of(driver)
        internal = "isolated" in options.values() or not self.choice.chance(75)
        made = CreateNetwork(self._identity(name), name, driver, pools, internal, options)
        if self.choice.chance(80):
            return made
        if self.choice.chance(70):
            return structs.replace(made, ipam_options=self.choice.pick(IPAM_OPTIONS))
        return structs.replace(made, pools=(), ipam_driver=NULL_IPAM)

    def _create_configuration(self) -> CreateConfigurationNetwork:
        """Write settings for networks to be made with; seldom under a network's name."""
        pick = self.choice.pick
        name = pick((*(SETTINGS,) * 6, *self.universe.networks))
        predefined = (PoolRequest(4),)
        pools = pick((predefined, (PoolRequest(4), PoolRequest(6)), self._pools(0)))
        settings: tuple[Mapping[str, OptionValue], ...] = ({}, {MTU: "1400"}, {ICC: False}, {"parent": "eth0"})
        options = pick(settings)
        return CreateConfigurationNetwork(self._identity(name), name, pools, options, pick(({}, {"team": "blue"})))

    def _create_from_configuration(self) -> CreateNetwork:
        """Write a network that takes its settings from a configuration network; seldom with some of its own."""
        pick = self.choice.pick
        name = self._free(self.universe.networks, self.views.networks.networks)
        known = [record.event.name for record in self.views.networks.configuration_networks.values()]
        made = CreateNetwork(
            self._identity(name),
            name,
            pick(("bridge", "bridge", *DRIVERS)),
            internal=not self.choice.chance(75),
            config_from=pick(known or [SETTINGS]),
        )
        if self.choice.chance(60):
            return made
        if self.choice.chance(50):
            return structs.replace(made, options={ICC: False})
        return structs.replace(made, labels={"team": "red"})

    def _delete_network(self) -> DeleteNetwork:
        networks = self.views.networks
        if not self.choice.chance(95):
            names = (SETTINGS, *self.universe.networks)
            return DeleteNetwork(self._known(names, networks.configuration_networks), self.choice.chance(50))
        names = tuple(self.universe.networks) if self.choice.chance(95) else SINGLE
        return DeleteNetwork(self._known(names, networks.networks), self.choice.chance(50))

    def _options_of(self, driver: str) -> dict[str, OptionValue]:
        """Write options of another driver than the bridge driver."""
        pick = self.choice.pick
        parent = pick(("eth0", "eth0", "eth0.10", "eth1", ""))
        if driver == "macvlan":
            return {"parent": parent, "macvlan_mode": pick(("bridge", "private", "vepa", "passthru"))}
        return {"parent": parent, "ipvlan_mode": pick(("l2", "l3", "l3s")), "ipvlan_flag": pick(("bridge", "private"))}

    def _has_single(self) -> bool:
        """Whether a network is there of which a host has one."""
        return any(identifier(name) in self.views.networks.networks for name in SINGLE)

    def _set_key(self) -> SetSandboxKey:
        known = self.views.sandboxes.sandboxes.values()
        delegated = {there.event.sandbox for there in known if there.event.kind is SandboxKind.DELEGATED}
        path = self.choice.pick(tuple(self.universe.namespaces))
        sandbox = self._known(self.universe.sandboxes, delegated)
        return SetSandboxKey(sandbox, path, self.universe.namespaces[path])

    def _create_sandbox(self) -> CreateSandbox:
        name = self._free(self.universe.sandboxes, self.views.sandboxes.sandboxes)
        managed, attached, delegated = SandboxKind.MANAGED, SandboxKind.ATTACHED, SandboxKind.DELEGATED
        kind = self.choice.pick((*(managed,) * 5, attached, attached, delegated, SandboxKind.HOST))
        if kind is not attached:
            id_of = name if self.choice.chance(USUALLY) else self.choice.pick(self.universe.sandboxes)
            return CreateSandbox(identifier(id_of), name, kind)
        path = f"/run/netns/{name if self.choice.chance(85) else self.choice.pick(self.universe.sandboxes)}"
        return CreateSandbox(identifier(name), name, kind, path, self.universe.namespaces[path])

    def _create_endpoint(self) -> CreateEndpoint:
        """Write an endpoint whose addresses and ports its network can usually have."""
        views, choice = self.views, self.choice
        name = self._free(self.universe.endpoints, views.endpoints.endpoints)
        names = self.universe.networks if choice.chance(95) or not self._has_single() else SINGLE
        known, is_network = self._known(names, views.networks.networks), choice.chance(98)
        network = NetworkId(known if is_network else identifier(SETTINGS))
        ports = self._ports_of(network)
        wanted = self._addresses_of(network)
        others = () if choice.chance(50) else (self._alias(),)
        mac = choice.pick((*(b"",) * 5, parse_mac("02:42:0a:00:00:07")))
        options = choice.pick(ENDPOINT_OPTIONS)
        link_local = (parse_address("169.254.0.7"),) if ANNOUNCEMENTS in options else ()
        return CreateEndpoint(
            self._identity(name), network, name, wanted, mac, ports, others, options=options, link_local=link_local
        )

    def _addresses_of(self, network: NetworkId) -> tuple[bytes, ...]:
        """Ask for an address that an endpoint of a network can have, mostly for none; seldom for another."""
        choice, record = self.choice, self.views.network(network)
        is_any, is_fitting = choice.chance(50), choice.chance(USUALLY)
        pools = record.event.pools if record is not None else ()
        every = [(pool.subnet, pool.pool, number) for pool in pools for number in (2, 3, 4, 5, 1, 0)]
        every = [(block, pool, number) for block, pool, number in every if number < 1 << block.host_bits]
        free = [
            (block.at(number),)
            for block, pool, number in every
            if number and (pool, block.at(number)) not in self.views.ipam.holders
        ]
        others = [*((block.at(number),) for block, _, number in every), (parse_address("10.9.0.1"),)]
        wanted = choice.pick((free or [()]) if is_fitting else others)
        return () if is_any else wanted

    def _ports_of(self, network: NetworkId) -> tuple[PortRequest, ...]:
        """Publish ports where a network can; seldom elsewhere."""
        record = self.views.network(network)
        cannot = record is not None and (
            record.event.internal or not record.event.pools or record.event.driver != "bridge"
        )
        usually = self.choice.chance(USUALLY)
        return () if cannot and usually else self.ports()

    def _join(self) -> JoinEndpoint:
        views, choice = self.views, self.choice
        free = [there for there in views.endpoints.endpoints if there not in views.endpoints.joined]
        endpoint = self._known(self.universe.endpoints, free)
        sandboxes = self._sandboxes_for(endpoint)
        empty = [sandbox for sandbox in sandboxes if not views.joined_to(sandbox)]
        usually = choice.chance(60)
        sandbox = self._known(self.universe.sandboxes, empty if empty and usually else sandboxes)
        priority = choice.pick((0, 1, 2)) if choice.chance(98) else 1 << 40
        interface = choice.pick((*("",) * 8, "eth0", "eth1"))
        has_routes = not choice.chance(85)
        routes = self._routes(endpoint) if has_routes and not interface else ()
        return JoinEndpoint(endpoint, sandbox, priority, interface, routes)

    def _sandboxes_for(self, endpoint: EndpointId) -> list[SandboxId]:
        """List the sandboxes that an endpoint may join: those of the host's own namespace are a host network's."""
        record = self.views.endpoint(endpoint)
        network = self.views.network(record.event.network) if record is not None else None
        is_host = network is not None and network.event.driver == "host"
        return [
            key
            for key, there in self.views.sandboxes.sandboxes.items()
            if is_host == (there.event.kind is SandboxKind.HOST)
        ]

    def _routes(self, endpoint: EndpointId) -> tuple[StaticRoute, ...]:
        """Write a route by way of an endpoint's subnet's first address, or of the link; seldom in another family."""
        record = self.views.endpoint(endpoint)
        held = record.event.addresses if record is not None else ()
        usually, other = self.choice.chance(USUALLY), self.choice.pick(tuple(ELSEWHERE))
        family = family_of(held[0].address) if held and usually else other
        gateways = [b"", *(subnet_of(each.address, each.prefix).at(1) for each in held)]
        fitting = [gateway for gateway in gateways if not usually or not gateway or family_of(gateway) == family]
        return (StaticRoute(ELSEWHERE[family], self.choice.pick(fitting)),)

    def _lose_sandbox(self) -> LoseSandbox:
        known = self.views.sandboxes.sandboxes.values()
        others = {there.event.sandbox for there in known if there.event.kind is not SandboxKind.MANAGED}
        return LoseSandbox(self._known(self.universe.sandboxes, others), "gone")

    def _request_pool(self) -> RequestPool:
        requests = self._pools(self.choice.pick(range(len(self.universe.networks))))
        request = structs.replace(requests[0], gateway=None, auxiliary={})
        return RequestPool(request, identifier(self.choice.pick(LEASES)))

    def _release_pool(self) -> ReleasePool:
        return ReleasePool(self._pool(waiting=True), self._lease())

    def _request_address(self) -> RequestAddress:
        pool = self._pool(waiting=self.choice.chance(USUALLY))
        record = self.views.pool(pool)
        wanted = b""
        if record is not None and not self.choice.chance(60):
            ordinals = [number for number in (2, 1, 3, 0) if number < 1 << record.event.subnet.host_bits]
            wanted = record.event.subnet.at(self.choice.pick(ordinals))
        return RequestAddress(pool, identifier(self.choice.pick(LEASES)), wanted)

    def _release_address(self) -> ReleaseAddress:
        ipam = self.views.ipam
        mine = [key for key, holder in ipam.holders.items() if holder.event.owner[0] == UNCLAIMED]
        if not mine or not self.choice.chance(USUALLY):
            pool = self._pool(waiting=False)
            record = self.views.pool(pool)
            return ReleaseAddress(pool, record.event.subnet.at(1) if record is not None else parse_address("10.0.0.1"))
        pool, address = self.choice.pick(mine)
        return ReleaseAddress(pool, address, self._lease())

    def _reserve_address(self) -> ReserveAddress:
        network = NetworkId(self._known(self.universe.networks, self.views.networks.networks))
        record = self.views.network(network)
        pools = record.event.pools if record is not None else ()
        fitting = [
            pool.subnet.at(number) for pool in pools for number in (2, 3, 1) if number < 1 << pool.subnet.host_bits
        ]
        address = self.choice.pick(fitting) if fitting and self.choice.chance(USUALLY) else parse_address("10.9.0.1")
        return ReserveAddress(network, self.choice.pick(self.universe.endpoints[:2]), address)

    def _end_reservation(self) -> EndReservation:
        kept = [made.event for made in self.views.reservations()]
        if kept and self.choice.chance(USUALLY):
            made = self.choice.pick(kept)
            return EndReservation(made.network, made.address)
        return EndReservation(
            self._known(self.universe.networks, self.views.networks.networks), parse_address("10.9.0.1")
        )

    def _expire(self) -> Expire | ChooseFirewall:
        """End what is over, or move the host to the other firewall."""
        retention = self.choice.pick((None, 0, MOVE))
        if retention != MOVE:
            return Expire(retention)
        chosen = next(iter(self.views.firewalls.chosen.values()), None)
        is_first = chosen is not None and chosen.event.backend == AUTOMATIC[0]
        return ChooseFirewall(AUTOMATIC[1] if is_first else AUTOMATIC[0])

    def _configure(self) -> Configure | ChooseFirewall:
        """Set where pools are taken from, or which firewall the host has."""
        pools, firewall = self.choice.pick(SETTINGS_OF_HOSTS)
        retention = self.choice.pick((0, MOVE, 3600))
        return ChooseFirewall(firewall) if retention == MOVE else Configure(pools, retention)

    def _choose_firewall(self) -> ChooseFirewall:
        """Choose any firewall; seldom on a host on which some cannot be used."""
        asked = self.choice.pick(("nftables", "iptables", "none", AUTO))
        if asked == "none" or self.choice.chance(USUALLY):
            return ChooseFirewall(asked)
        lacking = self.choice.pick((("iptables",), ("nftables",), AUTOMATIC))
        return ChooseFirewall(asked, self.choice.chance(50), dict.fromkeys(lacking, "no such library"))

    # --- parts

    def _pool(self, *, waiting: bool) -> PoolId:
        """Choose a pool, one that waits to be claimed where that is wanted."""
        there = self.views.ipam.pools
        fitting = [pool for pool, record in there.items() if bool(record.event.lease) == waiting] or list(there)
        return self.choice.pick(fitting) if fitting else PoolId("nowhere")

    def _lease(self) -> str:
        """Say who gives something back: mostly nobody does."""
        return "" if self.choice.chance(70) else identifier(self.choice.pick(LEASES))

    def options(self) -> dict[str, OptionValue]:
        """Write some of the bridge driver's options."""
        known: tuple[tuple[str, tuple[OptionValue, ...]], ...] = (
            (BRIDGE, ("shared",)),
            (ICC, (True, False)),
            (MASQUERADE, (True, False)),
            (MTU, (0, 1400)),
            (HOST_BINDING, ("192.0.2.1",)),
            (TRUSTED, ("eth0",)),
            (INHIBIT, (True,)),
            (SNAT, ("192.0.2.9",)),
            *((GATEWAY_MODES[family], ("routed", "nat-unprotected", "isolated")) for family in (4, 6)),
        )
        return {label: self.choice.pick(values) for label, values in known if not self.choice.chance(LEFT_OUT)}

    def ports(self) -> tuple[PortRequest, ...]:
        """Write up to two published ports."""
        pick = self.choice.pick
        addresses = (b"", b"", b"", b"", *map(parse_address, ("192.0.2.1", "2001:db8::1", "127.0.0.1")))
        ports = []
        for _ in range(pick((0, 1, 2))):
            first, last = pick(((0, 0), (0, 0), (8080, 0), (8081, 0), (8080, 8081)))
            ports.append(PortRequest(pick((6, 17)), pick((80, 443)), first, pick(addresses), last))
        return tuple(ports)

    def _pools(self, number: int) -> tuple[PoolRequest, ...]:
        """Write one block of IPv4, of IPv6 or of each: predefined, or named, some of them tiny, seldom another's."""
        pick, chance = self.choice.pick, self.choice.chance
        third = number if chance(USUALLY) else pick(range(len(self.universe.networks)))
        blocks: dict[int, tuple[str | None, ...]] = {
            4: (None, None, *(f"10.{third}.0.0/24",) * 3, f"10.{third}.0.0/29", f"10.{third}.0.0/31"),
            6: (None, None, *(f"fd00:{third:x}::/64",) * 2, f"fd00:{third:x}::/126"),
        }
        requests = []
        for family in pick(((4,), (4,), (4, 6), (4, 6), (6,))):
            text = pick(blocks[family])
            block = parse_subnet(text) if text is not None else None
            gateway = _second(block) if block is not None and not chance(80) else None
            request = PoolRequest(family, block, gateway, pick(tuple(AllocationPolicy)))
            requests.append(request if chance(60) else self._with_details(request))
        return tuple(requests)

    def _with_details(self, request: PoolRequest) -> PoolRequest:
        """Ask for a size, a range, auxiliary addresses, a rest or a grace period."""
        pick, block = self.choice.pick, request.subnet
        request = structs.replace(request, rest_seconds=pick((0, 0, 5, 3600)), grace_seconds=pick((3600, 0, 5)))
        if block is None:
            return structs.replace(request, size=pick((0, 24, 29) if request.family == 4 else (0, 64, 120)))
        if block.host_bits <= 2:
            return request
        half = Subnet(block.at(1 << block.host_bits - 1), block.prefix + 1)
        taken = {"printer": block.at(3)} if self.choice.chance(60) else {"one": block.at(1), "three": block.at(3)}
        return structs.replace(
            request, sub_pool=pick((None, half, half)), auxiliary=pick(({}, taken)) if block.host_bits > 2 else {}
        )

    def _identity(self, name: str) -> Any:  # noqa: ANN401  # ids of every kind are 64 hex digits
        """Give the id that goes with a name; seldom another one."""
        return identifier(name) if self.choice.chance(95) else _other_identifier(name)

    def _alias(self) -> str:
        return self.choice.pick(("www", "db"))

    def _known(self, names: Sequence[str], there: Collection[str]) -> Any:  # noqa: ANN401  # ids of every kind
        """Choose the id of what is there, seldom of anything else."""
        every = [make(name) for make in (identifier, _other_identifier) for name in names]
        fitting = [identity for identity in every if identity in there]
        usually = self.choice.chance(USUALLY)
        return self.choice.pick(fitting if fitting and usually else every[: len(names)])

    def _free(self, names: Sequence[str], there: Collection[str]) -> str:
        """Choose a name whose ids are free, seldom any other."""
        fitting = [name for name in names if self._is_free(name, there)]
        usually = self.choice.chance(USUALLY)
        return self.choice.pick(fitting if fitting and usually else names)

    def _is_free(self, name: str, there: Collection[str]) -> bool:
        """Whether neither of a name's ids is there."""
        return identifier(name) not in there and _other_identifier(name) not in there


def _other_identifier(name: str) -> Any:  # noqa: ANN401  # ids of every kind are 64 hex digits
    return identifier(f"another {name}")


def _second(block: Subnet) -> bytes:
    """Give a gateway that nobody would choose by default, where there is room."""
    return block.at(2) if block.host_bits > 1 else block.at(1)
