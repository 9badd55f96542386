"""The contract of a network driver holds for the bridge driver and a second one, and notices what breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from msgspec import Struct, field

from netledger import Controller
from netledger.domain.drivers import DRIVERS, BridgeDriver, NetworkTraits
from netledger.domain.drivers.ipvlan import IpvlanDriver
from netledger.domain.drivers.macvlan import MacvlanDriver
from netledger.domain.errors import Invalid
from netledger.domain.events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound, PortOpened
from netledger.domain.objects import HOST_NAMESPACE, Address, Bridge, Firewall, ForwardPolicy, KernelObject, VethPair
from netledger.domain.options import options_as_labels, parse_options
from netledger.domain.values import NetworkId, SandboxKind, mac_for
from netledger.testing.contracts.network_driver import NetworkDriverContract, registered

GATEWAY4 = "com.docker.network.bridge.gateway_mode_ipv4"
GATEWAY6 = "com.docker.network.bridge.gateway_mode_ipv6"


class TestBridgeDriver(NetworkDriverContract):
    """The bridge driver keeps the contract."""

    accepted = (
        {},
        {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": 1400},
        {"com.docker.network.bridge.name": "nlkit", "com.docker.network.bridge.enable_ip_masquerade": False},
    )
    refused = (
        {"com.docker.network.driver.mtu": 67},
        {"com.docker.network.bridge.enable_icc": "perhaps"},
        {"com.docker.network.bridge.host_binding_ipv4": "::"},
    )

    def make_driver(self) -> BridgeDriver:
        """Make the driver."""
        return BridgeDriver()


class TestRoutedBridges(NetworkDriverContract):
    """The bridge driver, in its other gateway modes and with every other option, is one that the engine can use."""

    accepted = (
        {},
        {GATEWAY4: "routed", GATEWAY6: "nat-unprotected", "com.docker.network.bridge.inhibit_ipv4": "true"},
        {
            "com.docker.network.bridge.trusted_host_interfaces": "eth1:eth0:eth1",
            "com.docker.network.host_ipv6": "fd99::1",
        },
        {"com.docker.network.container_iface_prefix": "net", "com.docker.network.advertise_addr_nmsgs": 0},
    )
    refused = (
        {GATEWAY4: "bridged"},
        {"com.docker.network.host_ipv4": "fd99::1"},
        {"com.docker.network.host_ipv6": "::"},
        {"com.docker.network.bridge.trusted_host_interfaces": "eth0:a/b"},
        {"com.docker.network.container_iface_prefix": "interface-name"},
        {"com.docker.network.advertise_addr_nmsgs": 4},
        {"com.docker.network.advertise_addr_ms": 99},
    )

    def make_driver(self) -> BridgeDriver:
        """Make the driver."""
        return BridgeDriver()


class TestMacvlanDriver(NetworkDriverContract):
    """The macvlan driver is one that the engine can use."""

    accepted = ({"parent": "eth7"}, {"parent": "eth8.10", "macvlan_mode": "vepa"}, {})
    refused = ({"parent": "lo"}, {"macvlan_mode": "l2"}, {"parent": "a/b"})
    parents = ("eth7", "eth8")
    ports = ()

    def make_driver(self) -> MacvlanDriver:
        """Make the driver."""
        return MacvlanDriver()


class TestIpvlanDriver(NetworkDriverContract):
    """The ipvlan driver is one that the engine can use."""

    accepted = ({"parent": "eth7"}, {"parent": "eth8.10", "ipvlan_mode": "l3", "ipvlan_flag": "private"}, {})
    refused = ({"parent": "lo"}, {"ipvlan_mode": "bridge"}, {"ipvlan_flag": "passthru"})
    parents = ("eth7", "eth8")
    ports = ()

    def make_driver(self) -> IpvlanDriver:
        """Make the driver."""
        return IpvlanDriver()


class QuietOptions(Struct, frozen=True):
    """The options of a quiet network."""

    mtu: int = field(name="example.quiet.mtu", default=0)


class QuietDriver:
    """A bridge on which nobody hears another, and which nothing leaves."""

    name = "quiet"
    needs = ("bridge", "veth", "port isolation")
    endpoint_limit = 100
    pools_per_family = 1

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Check the one option."""
        options = parse_options(QuietOptions, given, asked)
        if options.mtu > 9000:
            raise Invalid(asked, f"MTU {options.mtu} is too large")
        return options_as_labels(options)

    def features(self, options: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """Name nothing beyond its needs."""
        return self.needs

    def settle(
        self, options: dict[str, OptionValue], asked: str, *, internal: bool
    ) -> tuple[dict[str, OptionValue], bool]:
        """Take it as it is."""
        return options, internal

    def traits(self, options: Mapping[str, OptionValue]) -> NetworkTraits:
        """Be as plain as can be."""
        return NetworkTraits()

    def lower_host(self, networks: Sequence[NetworkCreated]) -> list[KernelObject]:
        """Need the firewall's table."""
        return [Firewall()]

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:
        """Name the bridge."""
        return f"qu-{network[:12]}"

    def host_binding(self, options: Mapping[str, OptionValue]) -> bytes:
        """Publish at every address."""
        return bytes(4)

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """Make a bridge with its addresses."""
        return [
            Bridge(
                network.device, network.network, mac_for(network.network), int(network.options["example.quiet.mtu"])
            ),
            ForwardPolicy(network.device, icc=False, internal=True),
            *(Address(HOST_NAMESPACE, network.device, pool.gateway, pool.subnet.prefix) for pool in network.pools),
        ]

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound | PortOpened],
    ) -> list[KernelObject]:
        """Make an isolated pair."""
        delegated = kind is SandboxKind.DELEGATED
        sandbox = HOST_NAMESPACE if delegated else joined.sandbox
        name = f"q{joined.device[1:]}" if delegated else joined.interface
        pair = VethPair(
            host_name=joined.device,
            endpoint=joined.endpoint,
            bridge=network.device,
            sandbox=sandbox,
            name=name,
            mac=endpoint.mac,
            mtu=int(network.options["example.quiet.mtu"]),
            isolated=True,
            up=not delegated,
        )
        held = [] if delegated else [Address(sandbox, name, each.address, each.prefix) for each in endpoint.addresses]
        return [pair, *held]


class TestQuietDriver(NetworkDriverContract):
    """A driver that is not netledger's own keeps the contract."""

    accepted = ({}, {"example.quiet.mtu": "1400"})
    refused = ({"example.quiet.mtu": 9001}, {"example.quiet.mtu": "large"})
    ports = ()

    def make_driver(self) -> QuietDriver:
        """Make the driver."""
        return QuietDriver()


class Nameless(QuietDriver):
    """Has no name."""

    name = ""


class Wishful(QuietDriver):
    """Needs what no dataplane knows."""

    needs = ("levitation",)


class Lax(QuietDriver):
    """Takes whatever it is given."""

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Let everything through."""
        return {"example.quiet.mtu": 0, **given}


class Forgetful(QuietDriver):
    """Leaves defaults out."""

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Give back what was given."""
        super().options(given, asked)
        return dict(given)


class Sharing(QuietDriver):
    """Gives every network the same interface."""

    def settle(
        self, options: dict[str, OptionValue], asked: str, *, internal: bool
    ) -> tuple[dict[str, OptionValue], bool]:
        """Take it as it is."""
        return options, internal

    def traits(self, options: Mapping[str, OptionValue]) -> NetworkTraits:
        """Be as plain as can be."""
        return NetworkTraits()

    def lower_host(self, networks: Sequence[NetworkCreated]) -> list[KernelObject]:
        """Need the firewall's table."""
        return [Firewall()]

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:
        """Name the only bridge."""
        return "quiet0"


class Repeating(QuietDriver):
    """Calls for the bridge once more with each endpoint."""

    def lower_endpoint(self, network: NetworkCreated, *others: object) -> list[KernelObject]:
        """Call for the bridge, too."""
        return [self.lower_network(network)[0], *super().lower_endpoint(network, *others)]


class Groundless(QuietDriver):
    """Forgets the bridge."""

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """Call for all but the bridge."""
        return super().lower_network(network)[1:]


class Moody(QuietDriver):
    """Answers with another MTU each time."""

    counter = itertools.count(1000)

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """Call for a bridge that is never the same."""
        bridge = Bridge(network.device, network.network, mac_for(network.network), next(self.counter))
        return [bridge, *super().lower_network(network)[1:]]


class Clinging(QuietDriver):
    """Keeps calling for what has been: counts the joins in its own memory."""

    def __init__(self) -> None:
        self.seen: dict[str, list[KernelObject]] = {}

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """Call for what ever joined, too."""
        return [*super().lower_network(network), *self.seen.get(network.network, ())]

    def lower_endpoint(self, network: NetworkCreated, *others: object) -> list[KernelObject]:
        """Remember what was called for."""
        self.seen[network.network] = super().lower_endpoint(network, *others)
        return self.seen[network.network]


@pytest.mark.parametrize(
    ("wrong", "test", "words"),
    [
        (Nameless, "test_it_says_what_it_is", "a driver has a name"),
        (Wishful, "test_it_says_what_it_is", "dataplanes know no feature .'levitation'."),
        (Lax, "test_what_is_wrong_is_refused", "an unknown option is refused as Invalid"),
        (Forgetful, "test_options_are_complete_and_lasting", "defaults filled in"),
        (Sharing, "test_a_network_has_an_interface_of_its_own", "have different interfaces"),
        (Repeating, "test_every_object_has_a_key_of_its_own", "these are called for twice: .'bridge/"),
        (Groundless, "test_what_it_stands_on_is_there", "which nothing calls for|nothing calls for it"),
        (Moody, "test_it_answers_the_same_each_time", "calls? for the same objects"),
        (Clinging, "test_leaving_undoes_joining", "leaving undoes joining"),
        (Clinging, "test_one_endpoint_does_not_change_another", "changed when another endpoint joined"),
    ],
)
def test_each_mistake_is_found(wrong: type[QuietDriver], test: str, words: str) -> None:
    """A driver that breaks a rule fails the test of that rule, which says the rule."""
    contract = TestQuietDriver()
    with registered(wrong()) as driver, pytest.raises(AssertionError, match=words):
        getattr(contract, test)(driver)


def test_a_registered_driver_is_known_only_within_the_block() -> None:
    """Networks can be created with it in the block; afterwards it is as before."""
    before = dict(DRIVERS)
    with registered(QuietDriver()), Controller.open(dataplane="simulated") as controller:
        assert controller.create_network("n1", driver="quiet").info().options == {"example.quiet.mtu": 0}
    assert before == DRIVERS
    stand_in = BridgeDriver()
    with registered(stand_in):
        assert DRIVERS["bridge"] is stand_in
    assert before == DRIVERS
    with Controller.open(dataplane="simulated") as controller, pytest.raises(Invalid, match="unknown driver 'quiet'"):
        controller.create_network("n1", driver="quiet")
