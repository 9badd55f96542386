from __future__ import annotations

import pytest

from netledger.domain.commands import (
    AddAlias,
    ChooseFirewall,
    Configure,
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    Expire,
    LeaveEndpoint,
    LoseSandbox,
    RecordBoot,
    RegisterHost,
    RemoveAlias,
    RenameSandbox,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    RetireFirewall,
    SetSandboxKey,
)
from netledger.domain.events import (
    EVENT_TYPES,
    ClockStepped,
    DataplaneFaulted,
    DriftDetected,
    DriftRepaired,
    Event,
    HostRebuilt,
    Recorded,
    ReturnEnded,
    ReturnOwed,
)
from netledger.domain.facts import IpamAnswers, NamespaceIdentity, PoolAnswer
from netledger.domain.values import (
    AllocationPolicy,
    PoolId,
    Position,
    PredefinedPool,
    SandboxKind,
    parse_address,
    parse_subnet,
)
from netledger.projections.views import Views
from tests.desk import HOST, ORIGIN, Desk, create_endpoint, create_network, create_sandbox, identifier, join, pool


def pool_of(subnet: str) -> PoolId:
    """Name a pool of the host's own address space."""
    return PoolId(f"{HOST}/LocalDefault/{subnet}")


def everything_that_can_happen() -> list[Recorded[Event]]:
    """Make a log that holds an event of every type."""
    desk = Desk()
    desk.do(
        RegisterHost(HOST, "machine", "boot1"),
        RecordBoot("boot2"),
        create_network("a", "10.1.0.0/24", "fd01::/64"),
        create_network("b", "10.2.0.0/24"),
        create_endpoint("a", "e", "8080:80", "81", aliases=("www",)),
        create_endpoint("b", "e", "82"),
        create_endpoint("b", "f"),
        create_sandbox("c", kind=SandboxKind.ATTACHED, path="/run/c", identity=NamespaceIdentity("boot2", 7)),
        create_sandbox("d"),
        join("b/e", "c"),
        join("a/e", "c", priority=1),
        AddAlias(identifier("b/e"), "db"),
        RemoveAlias(identifier("b/e"), "db"),
        LeaveEndpoint(identifier("a/e")),
        join("b/f", "d"),
        DeleteSandbox(identifier("d"), force=True),
        LoseSandbox(identifier("c"), "gone"),
        DeleteEndpoint(identifier("a/e")),
        create_network("r", "10.3.0.0/24", options={"com.docker.network.bridge.gateway_mode_ipv4": "routed"}),
        create_endpoint("r", "e", "80"),
        create_sandbox("d", kind=SandboxKind.DELEGATED),
        join("r/e", "d"),
        RenameSandbox(identifier("d"), "e"),
        SetSandboxKey(identifier("d"), "/run/d", NamespaceIdentity("boot2", 8)),
        DeleteNetwork(identifier("r"), force=True),
        DeleteNetwork(identifier("b"), force=True),
        CreateConfigurationNetwork(identifier("settings"), "settings", (pool("10.5.0.0/24"),)),
        CreateNetwork(identifier("m"), "m", config_from="settings"),
        DeleteNetwork(identifier("m")),
        DeleteNetwork(identifier("settings")),
        Configure((PredefinedPool(parse_subnet("10.64.0.0/10"), 24),), 60),
        RequestPool(pool("10.3.0.0/29"), identifier("lease")),
        RequestAddress(pool_of("10.3.0.0/29"), identifier("one")),
        RequestAddress(pool_of("10.3.0.0/29"), identifier("two")),
        create_network("d", pool("10.3.0.0/29", "10.3.0.1", rest_seconds=5)),
        create_endpoint("d", "e", addresses=["10.3.0.2"]),
        DeleteNetwork(identifier("d"), force=True),
        create_network("c", pool("10.4.0.0/29", policy=AllocationPolicy.STICKY, grace_seconds=9, rest_seconds=5)),
        create_endpoint("c", "e"),
        create_endpoint("c", "f"),
        DeleteEndpoint(identifier("c/e")),
        ReserveAddress(identifier("c"), "g", parse_address("10.4.0.6")),
        create_endpoint("c", "e"),
        DeleteEndpoint(identifier("c/f")),
    )
    desk.do(ChooseFirewall("nftables"), ChooseFirewall("iptables"), ChooseFirewall("none", lacking={}))
    desk.do(RetireFirewall("nftables"))
    desk.wait(20)
    desk.do(create_endpoint("c", "h"), Expire(), DeleteNetwork(identifier("c"), force=True))
    block = PoolAnswer(parse_subnet("10.5.0.0/24"), "lab/5", parse_address("10.5.0.1"))
    desk.do(create_network("r", "10.5.0.0/24", ipam_driver="lab"), ipam=IpamAnswers(pools=(block,)))
    desk.do(create_endpoint("r", "e"), ipam=IpamAnswers(addresses=(parse_address("10.5.0.9"),)))
    desk.do(DeleteEndpoint(identifier("r/e")))
    desk.do(create_endpoint("r", "f"), ipam=IpamAnswers(addresses=(parse_address("10.5.0.9"),)))
    desk.do(DeleteNetwork(identifier("r"), force=True))
    for event in (
        ReturnOwed(*ORIGIN, "lab", "lab/5", b"", "it did not answer in time"),
        ReturnEnded(*ORIGIN, "lab", "lab/5", b"", ""),
        ClockStepped(*ORIGIN, back=2),
        DataplaneFaulted(*ORIGIN, owner=("network", "b"), key="bridge/b", verb="remove", number=16, message="busy"),
        DriftDetected(*ORIGIN, differences=("- bridge/b",)),
        DriftRepaired(*ORIGIN, repairs=("- bridge/b",)),
        DataplaneFaulted(*ORIGIN, owner=("network", "b"), key="bridge/b", verb="remove", number=16, message="busy"),
        HostRebuilt(*ORIGIN, made=0, replaced=0, removed=1),
    ):
        desk.fold(event)
    return desk.log


LOG = everything_that_can_happen()


def fold(records) -> Views:
    """Fold records from nothing."""
    views = Views()
    for record in records:
        views.fold(record.position, record.event)
    return views


def test_every_event_type_is_folded_here():
    """The log that these tests use leaves no type out."""
    assert {type(record.event) for record in LOG} == set(EVENT_TYPES.values())


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_any_number_of_events_is_taken_back(name):
    """From before each event of a type, one event and all the rest are folded and undone without a trace."""
    for index, record in enumerate(LOG):
        if type(record.event).__name__ != name:
            continue
        views = fold(LOG[:index])
        before = views.digest()
        for end in (index, index + 1, len(LOG)):
            views.begin()
            for speculative in LOG[index:end]:
                views.fold(speculative.position, speculative.event)
            views.undo()
            assert views.digest() == before
            assert views.position == (LOG[index - 1].position if index else 0)
        for rest in LOG[index:]:
            views.fold(rest.position, rest.event)
        assert views.digest() == fold(LOG).digest()


def test_the_digest_tells_every_state_from_the_one_before():
    """Each event moves the digest, and folding in two ways gives the same."""
    digests = [fold(LOG[:count]).digest() for count in range(len(LOG) + 1)]
    assert len(set(digests)) == len(digests)


def test_events_are_folded_in_log_order():
    """An event at a position that is past is a bug."""
    views = fold(LOG[:5])
    with pytest.raises(AssertionError, match="events are folded in log order"):
        views.fold(Position(5), LOG[4].event)


def test_a_commit_ends_the_speculation():
    """After `commit` what was folded stays, and another fold may begin."""
    views = fold(LOG[:5])
    views.begin()
    views.fold(LOG[5].position, LOG[5].event)
    views.commit()
    views.begin()
    views.undo()
    assert views.digest() == fold(LOG[:6]).digest()


def test_what_is_owed_lasts_until_the_host_is_mended():
    """A fault is owed from its event until a repair or a rebuild of that host."""
    owed = [bool(fold(LOG[: index + 1]).faults.owed) for index in range(len(LOG) - 5, len(LOG))]
    assert owed == [True, True, False, True, False]
    assert fold(LOG[:-1]).faults.owes(HOST)
    assert not fold(LOG[:-1]).faults.owes("other")


def test_views_answer_for_what_is_not_there():
    """Every question about an unknown thing has an empty answer."""
    views = Views()
    assert views.host(HOST) is None
    assert views.boot(HOST) == ""
    assert views.network("x") is None
    assert views.endpoint("x") is None
    assert views.sandbox("x") is None
    assert views.joined("x") is None
    assert views.gateway("x", 4) is None
    assert list(views.endpoints_of("x")) == list(views.aliases_of("x")) == list(views.joined_to("x")) == []
    assert list(views.pools_of("x", "y")) == []
    assert list(views.ports_of("x")) == list(views.port_holders(HOST, 6, 80)) == []
    assert views.last_ephemeral_port(HOST, 6) == 0
    assert views.is_published("x", 4) is False
