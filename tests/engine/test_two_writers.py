"""Two writers of one log: whoever decided on what the other has changed meanwhile decides again.

Each scenario is run twice: with its guards, where the log stays right, and without, where the checker finds it wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from unittest import mock

import pytest
from msgspec import Struct, structs

from netledger import Controller
from netledger.domain.commands import (
    AddAlias,
    ChooseFirewall,
    Command,
    Configure,
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    EndReservation,
    Expire,
    LeaveEndpoint,
    LoseSandbox,
    RecordBoot,
    RegisterHost,
    ReleaseAddress,
    ReleasePool,
    RemoveAlias,
    RenameSandbox,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    RetireFirewall,
    SetSandboxKey,
)
from netledger.domain.errors import Conflict, Exhausted, Forbidden, InUse, NotFound, Refusal, Unavailable
from netledger.domain.events import AliasAdded, EndpointJoined, NetworkCreated
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.interfaces import device_name
from netledger.domain.rules import RULES
from netledger.domain.values import (
    AllocationPolicy,
    PoolId,
    PredefinedPool,
    SandboxKind,
    format_address,
    parse_address,
    parse_mac,
    parse_subnet,
)
from netledger.engine.machine import APPEND_ATTEMPTS
from netledger.engine.requests import author
from netledger.engine.results import Result
from netledger.projections.views import Views
from netledger.testing.checkers import check_log
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join, pool

BRIDGE = "com.docker.network.bridge.name"
MAC = parse_mac("02:42:0a:00:00:07")
N1, N2 = identifier("n1"), identifier("n2")
E, F, G = identifier("n1/e"), identifier("n1/f"), identifier("n2/g")
C, D = identifier("c"), identifier("d")
NETWORKS: list[Command] = [create_network("n1", "10.1.0.0/24"), create_network("n2", "10.2.0.0/24")]
FREE: list[Command] = [
    *NETWORKS,
    create_endpoint("n1", "e", "8080:80", aliases=("www",)),
    create_endpoint("n1", "f", "8081:80"),
    create_endpoint("n2", "g", "8082:80"),
    create_sandbox("c"),
    create_sandbox("d"),
]
JOINED: list[Command] = [*FREE, join("n1/e", "c"), join("n2/g", "c")]
"""`e` is the way out, by its network's name; `g` would be next."""


DELEGATED = create_sandbox("x", kind=SandboxKind.DELEGATED)


def attached(container: str) -> Command:
    """Ask for a sandbox in the one namespace that there is."""
    identity = NamespaceIdentity("boot", 7)
    return create_sandbox(container, kind=SandboxKind.ATTACHED, path="/run/netns/blue", identity=identity)


REQUEST = RequestPool(pool("10.3.0.0/24"), N1)
HOSTS = "HOST"
"""Stands in for the host's id in a pool's id until the log has one."""
POOL = PoolId(f"{HOSTS}/LocalDefault/10.3.0.0/24")
N1_POOL = PoolId(f"{HOSTS}/LocalDefault/10.1.0.0/24")
NINE = parse_address("10.3.0.9")
TAKE = RequestAddress(POOL, N2, NINE)
CLAIM = create_network("n3", pool("10.3.0.0/24", "10.3.0.1"))
STICKY = pool("10.1.0.0/24", policy=AllocationPolicy.STICKY, grace_seconds=3600)
DEAD: list[Command] = [*FREE, DELEGATED, join("n1/e", "x"), LoseSandbox(identifier("x"), "its namespace is gone")]


SETTINGS = CreateConfigurationNetwork(N1, "settings", (pool("10.1.0.0/24"),))
DEPENDENT = CreateNetwork(N2, "n2", config_from="settings")


class Scenario(Struct):
    """What is there, what the first writer does while the second has decided, and what becomes of the second's batch.

    A `None` among the outcomes is a command that is carried out. `is_harmless`: without guards the log would be odd,
    but break no invariant.
    """

    before: Sequence[Command]
    first: Sequence[Command]
    second: Sequence[Command]
    outcomes: Sequence[type[Refusal] | None]
    is_harmless: bool = False


SCENARIOS = {
    # create network
    "network name": Scenario([], [create_network("n1", network=N2)], [create_network("n1")], [Conflict]),
    "network id": Scenario([], [create_network("n1")], [create_network("n2", network=N1)], [Conflict]),
    "network name, with an endpoint in it and another command": Scenario(
        [],
        [create_network("n1", network=N2)],
        [create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c")],
        [Conflict, NotFound, None],
    ),
    "bridge name": Scenario(
        [],
        [create_network("n1", options={BRIDGE: "shared"})],
        [create_network("n2", options={BRIDGE: "shared"})],
        [Conflict],
    ),
    "named block": Scenario([], [create_network("n1", "10.0.0.0/8")], NETWORKS[1:], [Conflict]),
    "predefined block": Scenario([], [create_network("n1")], [create_network("n2")], [None]),
    "driver of one network": Scenario(
        [], [create_network("n1", driver="host")], [create_network("n2", driver="host")], [Conflict]
    ),
    "parent that takes one network": Scenario(
        [],
        [create_network("n1", driver="macvlan", options={"parent": "eth0", "macvlan_mode": "passthru"})],
        [create_network("n2", driver="macvlan", options={"parent": "eth0"})],
        [Conflict],
    ),
    # delete network
    "network gets an endpoint": Scenario(NETWORKS, [create_endpoint("n1", "e")], [DeleteNetwork(N1)], [InUse]),
    "network gets an endpoint, forced": Scenario(
        NETWORKS, [create_endpoint("n1", "e")], [DeleteNetwork(N1, force=True)], [None]
    ),
    "network deleted twice": Scenario(NETWORKS, [DeleteNetwork(N1)], [DeleteNetwork(N1)], [NotFound]),
    "network's endpoint deleted, forced": Scenario(FREE, [DeleteEndpoint(E)], [DeleteNetwork(N1, force=True)], [None]),
    "network's endpoint joins, forced": Scenario(FREE, [join("n1/e", "c")], [DeleteNetwork(N1, force=True)], [None]),
    "network's successor leaves, forced": Scenario(JOINED, [LeaveEndpoint(G)], [DeleteNetwork(N1, force=True)], [None]),
    # configuration networks
    "name of a configuration network": Scenario([], [create_network("settings", network=N2)], [SETTINGS], [Conflict]),
    "name of a network": Scenario([], [SETTINGS], [create_network("settings", network=N2)], [Conflict]),
    "id of a configuration network": Scenario([], [create_network("n1")], [SETTINGS], [Conflict]),
    "configuration network deleted": Scenario([SETTINGS], [DeleteNetwork(N1)], [DEPENDENT], [NotFound]),
    "configuration network depended on": Scenario([SETTINGS], [DEPENDENT], [DeleteNetwork(N1, force=True)], [InUse]),
    "configuration network deleted twice": Scenario([SETTINGS], [DeleteNetwork(N1)], [DeleteNetwork(N1)], [NotFound]),
    # sandbox key and name
    "key set twice": Scenario(
        [create_sandbox("g", kind=SandboxKind.DELEGATED)],
        [SetSandboxKey(identifier("g"), "/run/a", NamespaceIdentity("boot", 1))],
        [SetSandboxKey(identifier("g"), "/run/b", NamespaceIdentity("boot", 2))],
        [Conflict],
    ),
    "container's new name": Scenario(
        [create_sandbox("g"), create_sandbox("h")],
        [RenameSandbox(identifier("g"), "i")],
        [RenameSandbox(identifier("h"), "i")],
        [Conflict],
    ),
    # create endpoint
    "endpoint's network deleted": Scenario(NETWORKS, [DeleteNetwork(N1)], [create_endpoint("n1", "e")], [NotFound]),
    "endpoint name": Scenario(
        NETWORKS, [create_endpoint("n1", "e")], [create_endpoint("n1", "e", endpoint=F)], [Conflict]
    ),
    "endpoint id": Scenario(
        NETWORKS, [create_endpoint("n1", "e")], [create_endpoint("n2", "e", endpoint=E)], [Conflict]
    ),
    "named address": Scenario(
        NETWORKS,
        [create_endpoint("n1", "e", addresses=["10.1.0.9"])],
        [create_endpoint("n1", "f", addresses=["10.1.0.9"])],
        [Conflict],
    ),
    "chosen address": Scenario(NETWORKS, [create_endpoint("n1", "e")], [create_endpoint("n1", "f")], [None]),
    "MAC address": Scenario(
        NETWORKS, [create_endpoint("n1", "e", mac=MAC)], [create_endpoint("n1", "f", mac=MAC)], [Conflict]
    ),
    "named port": Scenario(
        NETWORKS,
        [create_endpoint("n1", "e", "8080:80")],
        [create_endpoint("n2", "e", "192.0.2.1:8080:80", endpoint=F)],
        [Conflict],
    ),
    "chosen port": Scenario(
        NETWORKS, [create_endpoint("n1", "e", "80")], [create_endpoint("n2", "e", "80", endpoint=F)], [None]
    ),
    # delete endpoint
    "endpoint joins": Scenario(FREE, [join("n1/e", "c")], [DeleteEndpoint(E)], [InUse]),
    "endpoint joins, forced": Scenario(FREE, [join("n1/e", "c")], [DeleteEndpoint(E, force=True)], [None]),
    "endpoint deleted twice": Scenario(FREE, [DeleteEndpoint(E)], [DeleteEndpoint(E)], [NotFound]),
    "endpoint's successor leaves, forced": Scenario(
        JOINED, [LeaveEndpoint(G)], [DeleteEndpoint(E, force=True)], [None]
    ),
    # join
    "joining endpoint deleted": Scenario(FREE, [DeleteEndpoint(E)], [join("n1/e", "c")], [NotFound]),
    "joining endpoint's network deleted": Scenario(
        FREE, [DeleteNetwork(N1, force=True)], [join("n1/e", "c")], [NotFound]
    ),
    "joining endpoint joins elsewhere": Scenario(FREE, [join("n1/e", "d")], [join("n1/e", "c")], [Conflict]),
    "joined sandbox deleted": Scenario(FREE, [DeleteSandbox(C)], [join("n1/e", "c")], [NotFound]),
    "named interface": Scenario(
        FREE, [join("n1/e", "c", interface="lan")], [join("n2/g", "c", interface="lan")], [Conflict]
    ),
    "chosen interface": Scenario(FREE, [join("n1/e", "c")], [join("n1/f", "c")], [None]),
    "way out": Scenario(FREE, [join("n1/e", "c", interface="a")], [join("n2/g", "c", interface="b")], [None]),
    # leave
    "left twice": Scenario(JOINED, [LeaveEndpoint(E)], [LeaveEndpoint(E)], [Conflict]),
    "leaving endpoint deleted": Scenario(JOINED, [DeleteEndpoint(E, force=True)], [LeaveEndpoint(E)], [NotFound]),
    "left sandbox deleted": Scenario(JOINED, [DeleteSandbox(C, force=True)], [LeaveEndpoint(E)], [Conflict]),
    "leaving endpoint's successor leaves": Scenario(JOINED, [LeaveEndpoint(G)], [LeaveEndpoint(E)], [None]),
    # aliases
    "named endpoint deleted": Scenario(FREE, [DeleteEndpoint(E)], [AddAlias(E, "db")], [NotFound]),
    "alias added twice": Scenario(FREE, [AddAlias(E, "db")], [AddAlias(E, "db")], [Conflict]),
    "alias removed twice": Scenario(FREE, [RemoveAlias(E, "www")], [RemoveAlias(E, "www")], [NotFound]),
    # sandboxes
    "container": Scenario([], [create_sandbox("c")], [create_sandbox("c", sandbox=D)], [Conflict]),
    "sandbox id": Scenario([], [create_sandbox("c")], [create_sandbox("d", sandbox=C)], [Conflict]),
    "sandbox joined": Scenario(FREE, [join("n1/e", "c")], [DeleteSandbox(C)], [InUse]),
    "sandbox joined, forced": Scenario(FREE, [join("n1/e", "c")], [DeleteSandbox(C, force=True)], [None]),
    "sandbox joined by one more, forced": Scenario(JOINED, [join("n1/f", "c")], [DeleteSandbox(C, force=True)], [None]),
    "sandbox left, forced": Scenario(JOINED, [LeaveEndpoint(E)], [DeleteSandbox(C, force=True)], [None]),
    "sandbox deleted twice": Scenario(FREE, [DeleteSandbox(C)], [DeleteSandbox(C)], [NotFound]),
    "sandbox renamed": Scenario(FREE, [RenameSandbox(C, "new")], [DeleteSandbox(C)], [None]),
    "sandbox renamed, forced": Scenario(JOINED, [RenameSandbox(C, "new")], [DeleteSandbox(C, force=True)], [None]),
    "lost sandbox renamed": Scenario(
        [DELEGATED], [RenameSandbox(identifier("x"), "new")], [LoseSandbox(identifier("x"), "gone")], [None]
    ),
    "lost sandbox joined": Scenario(
        [*FREE, DELEGATED], [join("n1/e", "x")], [LoseSandbox(identifier("x"), "gone")], [None]
    ),
    "lost sandbox deleted": Scenario(
        [*FREE, DELEGATED, join("n1/e", "x")],
        [DeleteSandbox(identifier("x"), force=True)],
        [LoseSandbox(identifier("x"), "gone")],
        [NotFound],
    ),
    "namespace": Scenario([], [attached("c")], [attached("d")], [Conflict]),
    # address management
    "block of another space": Scenario(
        [],
        [create_network("n1", pool("10.0.0.0/8", space="red"))],
        [create_network("n2", pool("10.2.0.0/24", space="red"))],
        [Conflict],
    ),
    "range of the same block": Scenario(
        [],
        [create_network("n1", pool("10.0.0.0/24", sub_pool=parse_subnet("10.0.0.0/25")))],
        [create_network("n2", pool("10.0.0.0/24", sub_pool=parse_subnet("10.0.0.128/25")))],
        [Conflict],
    ),
    "predefined pools change": Scenario(
        [], [Configure((PredefinedPool(parse_subnet("10.64.0.0/10"), 24),))], [create_network("n1")], [None]
    ),
    "settings, the same twice": Scenario([], [Configure((), 60)], [Configure((), 60)], [None], is_harmless=True),
    "requested block": Scenario([], [create_network("n1", "10.0.0.0/8")], [REQUEST], [Conflict]),
    "requested pool claimed": Scenario([REQUEST], [CLAIM], [ReleasePool(POOL)], [InUse]),
    "requested pool released": Scenario([REQUEST], [ReleasePool(POOL)], [CLAIM], [None]),
    "pool released twice": Scenario([REQUEST], [ReleasePool(POOL)], [ReleasePool(POOL)], [NotFound]),
    "pool gets an address": Scenario([REQUEST], [TAKE], [ReleasePool(POOL)], [InUse]),
    "pool claimed twice": Scenario([REQUEST], [CLAIM], [create_network("n4", "10.3.0.0/24")], [Conflict]),
    "requested gateway released": Scenario(
        [REQUEST, RequestAddress(POOL, N1, parse_address("10.3.0.1"))],
        [ReleaseAddress(POOL, parse_address("10.3.0.1"))],
        [CLAIM],
        [None],
    ),
    "address of a released pool": Scenario([REQUEST], [ReleasePool(POOL)], [TAKE], [NotFound]),
    "requested address": Scenario([REQUEST], [TAKE], [TAKE], [Conflict]),
    "chosen requested address": Scenario([REQUEST], [RequestAddress(POOL, N1)], [RequestAddress(POOL, N2)], [None]),
    "address released twice": Scenario(
        [REQUEST, TAKE], [ReleaseAddress(POOL, NINE)], [ReleaseAddress(POOL, NINE)], [NotFound]
    ),
    "released address is claimed": Scenario(
        [REQUEST, TAKE, CLAIM],
        [create_endpoint("n3", "e", addresses=["10.3.0.9"])],
        [ReleaseAddress(POOL, NINE)],
        [Forbidden],
    ),
    "claimed address is released": Scenario(
        [REQUEST, TAKE, CLAIM],
        [ReleaseAddress(POOL, NINE)],
        [create_endpoint("n3", "e", addresses=["10.3.0.9"])],
        [None],
    ),
    "network's pool gets a requested address": Scenario(
        NETWORKS, [RequestAddress(N1_POOL, N2)], [DeleteNetwork(N1)], [InUse]
    ),
    "network's pool gets a requested address, forced": Scenario(
        NETWORKS, [RequestAddress(N1_POOL, N2)], [DeleteNetwork(N1, force=True)], [None]
    ),
    "reserved address": Scenario(
        NETWORKS,
        [ReserveAddress(N1, "f", parse_address("10.1.0.2"))],
        [create_endpoint("n1", "e")],
        [None],
    ),
    "address for a name": Scenario(
        NETWORKS, [ReserveAddress(N1, "e", parse_address("10.1.0.9"))], [create_endpoint("n1", "e")], [None]
    ),
    "address reserved twice": Scenario(
        NETWORKS,
        [ReserveAddress(N1, "f", parse_address("10.1.0.9"))],
        [ReserveAddress(N1, "e", parse_address("10.1.0.9"))],
        [Conflict],
    ),
    "name reserved twice": Scenario(
        NETWORKS,
        [ReserveAddress(N1, "e", parse_address("10.1.0.8"))],
        [ReserveAddress(N1, "e", parse_address("10.1.0.9"))],
        [Conflict],
    ),
    "reserved address is taken": Scenario(
        NETWORKS,
        [RequestAddress(N1_POOL, N2, parse_address("10.1.0.9"))],
        [ReserveAddress(N1, "e", parse_address("10.1.0.9"))],
        [Conflict],
        is_harmless=True,
    ),
    "reservation's network deleted": Scenario(
        NETWORKS, [DeleteNetwork(N1)], [ReserveAddress(N1, "e", parse_address("10.1.0.9"))], [NotFound]
    ),
    "reservation ended twice": Scenario(
        [*NETWORKS, ReserveAddress(N1, "e", parse_address("10.1.0.9"))],
        [EndReservation(N1, parse_address("10.1.0.9"))],
        [EndReservation(N1, parse_address("10.1.0.9"))],
        [NotFound],
    ),
    "network gets a reservation": Scenario(
        NETWORKS, [ReserveAddress(N1, "e", parse_address("10.1.0.9"))], [DeleteNetwork(N1)], [None]
    ),
    "name that is kept again": Scenario(
        [create_network("n1", STICKY), create_endpoint("n1", "e")],
        [ReserveAddress(N1, "e", parse_address("10.1.0.9"))],
        [DeleteEndpoint(E)],
        [None],
    ),
    "name's other reservation is ended": Scenario(
        [
            create_network("n1", STICKY),
            create_endpoint("n1", "e"),
            DeleteEndpoint(E),
            create_endpoint("n1", "e", endpoint=F, addresses=["10.1.0.9"]),
        ],
        [EndReservation(N1, parse_address("10.1.0.2"))],
        [DeleteEndpoint(F)],
        [None],
    ),
    "expired twice": Scenario(DEAD, [Expire(0)], [Expire(0)], [None]),
    "expired endpoint joins": Scenario(DEAD, [join("n1/e", "c")], [Expire(0)], [None]),
    "superseded endpoint joins": Scenario(
        DEAD, [join("n1/e", "c")], [create_endpoint("n1", "h", addresses=["10.1.0.2"])], [Conflict]
    ),
    # hosts
    "firewall, the same twice": Scenario(
        [], [ChooseFirewall("iptables")], [ChooseFirewall("iptables")], [None], is_harmless=True
    ),
    "retired firewall chosen again": Scenario(
        [ChooseFirewall("nftables"), ChooseFirewall("iptables")],
        [ChooseFirewall("nftables")],
        [RetireFirewall("nftables")],
        [None],
    ),
    "firewall retired twice": Scenario(
        [ChooseFirewall("nftables"), ChooseFirewall("iptables")],
        [RetireFirewall("nftables")],
        [RetireFirewall("nftables")],
        [None],
    ),
    "boot recorded twice": Scenario([], [RecordBoot("boot2")], [RecordBoot("boot2")], [None]),
    "host registered twice": Scenario([], [RegisterHost("h2", "m", "b")], [RegisterHost("h2", "m", "b")], [Conflict]),
}

Writers = tuple[Controller, Controller]


def execute(controller: Controller, commands: Sequence[Command]) -> list[Result]:
    """Carry out commands, those too that no caller gives."""
    return controller.execute([on_its_host(command, controller) for command in commands])


def on_its_host(command: Command, controller: Controller) -> Command:
    """Put the host's id into a pool's."""
    name = getattr(command, "pool", None)
    if not isinstance(name, str):
        return command
    return structs.replace(command, pool=PoolId(name.replace(HOSTS, controller.host)))


def race(
    second: Controller, act: Callable[[], object], commands: Sequence[Command], *, guarded: bool = True
) -> list[Result]:
    """Let a writer decide, then let somebody act, then let the writer append; `guarded=False` drops its guards."""
    append = second.ledger.append
    calls = []

    def late(events, guards, after):
        calls.append(after)
        if len(calls) == 1:
            act()
        return append(events, guards if guarded else (), after)

    with mock.patch.object(second.ledger, "append", late):
        return execute(second, commands)


def succeed(controller: Controller, commands: Sequence[Command]) -> None:
    """Carry out commands, none of which may be refused."""
    if commands:
        for result in execute(controller, commands):
            result.check()


def check(*controllers: Controller) -> None:
    """Check that the log keeps the invariants, and that everyone's views are its fold."""
    log = list(controllers[0].history())
    check_log(log)
    scratch = Views()
    for record in log:
        scratch.fold(record.position, record.event)
    for controller in controllers:
        with controller.reading() as views:
            assert views.digest() == scratch.digest()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_second_writer_decides_again(writers: Writers, name: str) -> None:
    """What the first has changed is respected: the second is refused or takes something else, and the log is right."""
    first, second = writers
    scenario = SCENARIOS[name]
    succeed(first, scenario.before)
    results = race(second, lambda: succeed(first, scenario.first), scenario.second)
    assert [type(result.error) if result.error else None for result in results] == list(scenario.outcomes)
    check(first, second)
    for result in results:
        told = [record for record in first.history() if record in result.events]
        assert told == list(result.events), "results name the positions where their events are"


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.is_harmless])
def test_without_its_guards_the_log_would_be_wrong(writers: Writers, name: str) -> None:
    """The control: the same race with the guards dropped leaves a log that the checker rejects."""
    first, second = writers
    scenario = SCENARIOS[name]
    succeed(first, scenario.before)
    with suppress(AssertionError, KeyError):
        race(second, lambda: succeed(first, scenario.first), scenario.second, guarded=False)
    with pytest.raises(AssertionError):
        check_log(second.ledger.read())


def test_every_rule_is_raced() -> None:
    """No rule is missing among the scenarios."""
    assert {type(command) for scenario in SCENARIOS.values() for command in scenario.second} == set(RULES)


def test_a_bridge_name_that_a_join_takes(writers: Writers) -> None:
    """A network is refused the name that another writer's endpoint has got meanwhile."""
    first, second = writers
    succeed(first, FREE)
    device = device_name(first.ledger.instance, E, first.ledger.head)
    command = create_network("n3", options={BRIDGE: device})
    assert isinstance(race(second, lambda: succeed(first, [join("n1/e", "c")]), [command])[0].error, Conflict)
    check(first, second)


def test_a_joins_interface_name_that_a_network_takes(writers: Writers) -> None:
    """An endpoint gets another interface name when a network has taken the one that it was to have."""
    first, second = writers
    succeed(first, FREE)
    device = device_name(first.ledger.instance, E, first.ledger.head)
    taken = create_network("n3", options={BRIDGE: device})
    result = race(second, lambda: succeed(first, [taken]), [join("n1/e", "c")])[0]
    result.check()
    joined = next(record.event for record in result.events if isinstance(record.event, EndpointJoined))
    assert joined.device != device
    check(first, second)


def test_the_last_port_of_a_bridge_is_taken_once(writers: Writers) -> None:
    """Of two writers that create the 1,023rd endpoint one is refused."""
    first, second = writers
    succeed(first, [create_network("n1"), *(create_endpoint("n1", f"x{number}") for number in range(1022))])
    last = create_endpoint("n1", "last")
    result = race(second, lambda: succeed(first, [create_endpoint("n1", "e")]), [last])[0]
    assert isinstance(result.error, Exhausted)
    with first.reading() as views:
        assert len(views.endpoints_of(N1)) == 1023


def test_a_choice_that_was_taken_becomes_another(writers: Writers) -> None:
    """Two writers that choose at once end with two addresses, two ports and two blocks."""
    first, second = writers
    succeed(first, NETWORKS)
    race(second, lambda: succeed(first, [create_endpoint("n1", "e", "80")]), [create_endpoint("n1", "f", "80")])
    race(second, lambda: succeed(first, [create_network("n3")]), [create_network("n4")])
    with second.reading() as views:
        addresses = [format_address(views.endpoint(endpoint).event.addresses[0].address) for endpoint in (E, F)]
        ports = [views.ports_of(endpoint)[0].event.host_port for endpoint in (E, F)]
        blocks = [str(views.network(identifier(name)).event.pools[0].subnet) for name in ("n3", "n4")]
    assert addresses == ["10.1.0.2", "10.1.0.3"]
    assert ports == [49153, 49154]
    assert blocks == ["172.17.0.0/16", "172.18.0.0/16"]
    check(first, second)


def test_what_does_not_meet_is_not_decided_again(writers: Writers) -> None:
    """An append behind another writer's unrelated events succeeds at once, at the positions that its result says."""
    first, second = writers
    succeed(first, FREE)
    decided = []
    decide = second._machine.decider.decide

    def counting(*arguments):
        decided.append(arguments)
        return decide(*arguments)

    with mock.patch.object(second._machine.decider, "decide", counting):
        results = race(second, lambda: succeed(first, [AddAlias(G, "db")]), [AddAlias(E, "db"), AddAlias(F, "db")])
    assert len(decided) == 1
    log = list(first.history())
    assert [result.events for result in results] == [(log[-2],), (log[-1],)]
    assert [type(record.event) for record in log[-3:]] == [AliasAdded] * 3
    check(first, second)


def test_a_writer_that_never_comes_first_gives_up(writers: Writers) -> None:
    """After eight tries the batch is refused as unavailable, nothing of it is in the log, and the next one works."""
    first, second = writers
    succeed(first, NETWORKS)
    append = second.ledger.append
    attempts = []

    def always_late(events, guards, after):
        attempts.append(after)
        succeed(first, [create_endpoint("n1", f"x{len(attempts)}")])
        return append(events, guards, after)

    with mock.patch.object(second.ledger, "append", always_late), pytest.raises(Unavailable) as caught:
        second.execute([create_endpoint("n1", "e")])
    assert str(caught.value) == "1 command(s): other writers of this log were first 8 times in a row; try again"
    assert len(attempts) == APPEND_ATTEMPTS == 8
    check(first, second)
    succeed(second, [create_endpoint("n1", "e")])
    check(first, second)


def test_two_writers_with_one_request(writers: Writers) -> None:
    """The same request given to two processes at once is carried out once, and both are answered the same."""
    first, second = writers
    commands = [create_network("n1")]
    told = []
    second_append = second.ledger.append

    def late(events, guards, after):
        if not told:
            told.extend(first.execute(commands, request="r"))
        return second_append(events, guards, after)

    with mock.patch.object(second.ledger, "append", late):
        results = second.execute(commands, request="r")
    assert results[0].is_repetition
    assert results[0].events == told[0].events
    assert sum(isinstance(record.event, NetworkCreated) for record in first.history()) == 1
    check(first, second)


def test_two_writers_open_a_new_log_as_one_host(state, start) -> None:
    """Whoever comes second finds the host registered, also when both find the log empty."""
    from netledger.engine.machine import Machine

    execute_ = Machine.execute
    opened = []

    def late(machine, commands, who):
        if not opened and isinstance(commands[0], RegisterHost):
            opened.append(None)
            opened.append(start(state))
        return execute_(machine, commands, who)

    with mock.patch.object(Machine, "execute", late):
        second = start(state)
    first = opened[1]
    assert first.host == second.host
    assert first.ledger.head == second.ledger.head == 1
    check(first, second)


def test_an_execution_by_the_machine_names_its_author(writers: Writers) -> None:
    """Actor and reason are in every event of a batch."""
    first, _ = writers
    first._machine.execute([create_network("n1")], author("alice", "why not", "r1"))
    events = [record.event for record in first.history(after=1)]
    assert {(event.actor, event.reason) for event in events} == {("alice", "why not")}
    assert {event.request.partition("#")[0] for event in events} == {"r1/0"}
