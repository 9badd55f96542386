"""Every checker accepts what the rules decide, and catches a log that breaks its invariant, naming the position."""

from __future__ import annotations

import pytest
from msgspec import structs

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain import events as ev
from netledger.domain.commands import (
    ChooseFirewall,
    Configure,
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteEndpoint,
    RegisterHost,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    RetireFirewall,
)
from netledger.domain.events import Recorded
from netledger.domain.objects import Bridge
from netledger.domain.values import PoolId, PredefinedPool, Subnet, parse_address, parse_subnet
from netledger.testing import checkers
from netledger.testing.author import Author, Seeded, Universe
from netledger.testing.checkers import CHECKERS, LIVE, check_everything, check_log, violations
from netledger.testing.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, identifier, join, pool


def honest() -> list[ev.Event]:
    """Decide a small history: a network, two endpoints with a port, one in a sandbox."""
    desk = Desk()
    desk.do(
        RegisterHost(HOST, "host1", "boot"),
        create_network("n", "10.0.0.0/24"),
        create_endpoint("n", "web", "8080:80"),
        create_endpoint("n", "db"),
        create_sandbox("c"),
        join("n/web", "c"),
        Configure((PredefinedPool(parse_subnet("10.64.0.0/10"), 24),)),
        create_network("p"),
        CreateConfigurationNetwork(
            identifier("s"), "s", (pool("10.9.0.0/24", "10.9.0.9"),), {"com.docker.network.driver.mtu": "1400"}
        ),
        CreateNetwork(identifier("m"), "m", config_from="s"),
        RequestPool(pool("10.1.0.0/29"), identifier("lease")),
        RequestAddress(PoolId(f"{HOST}/LocalDefault/10.1.0.0/29"), identifier("one")),
        ReserveAddress(identifier("n"), "kept", parse_address("10.0.0.9")),
        create_network("r", pool("10.2.0.0/29", rest_seconds=60, sub_pool=parse_subnet("10.2.0.4/30"))),
        create_endpoint("r", "x"),
        DeleteEndpoint(identifier("r/x")),
        *(ChooseFirewall(name) for name in ("iptables", "none", "nftables")),
        RetireFirewall("none"),
    )
    return [record.event for record in desk.log]


def numbered(events) -> list[Recorded[ev.Event]]:
    """Give events their positions."""
    return [Recorded(position, event) for position, event in enumerate(events, 1)]


def find(events, kind):
    """Find the first event of a kind."""
    return next(event for event in events if isinstance(event, kind))


def again(kind, **changes):
    """Forge a log: the first event of a kind a second time at the end, with other fields."""
    return lambda events: [*events, structs.replace(find(events, kind), **changes)]


def last(kind, **changes):
    """Forge a log: the last event of a kind a second time at the end, with other fields."""
    return lambda events: [*events, structs.replace(find(reversed(events), kind), **changes)]


def made(name, **changes):
    """Forge a log: the creation of a network a second time at the end, with other fields."""
    return lambda events: [
        *events,
        structs.replace(next(e for e in events if isinstance(e, ev.NetworkCreated) and e.name == name), **changes),
    ]


def without(kind):
    """Forge a log: the first event of a kind is not there."""
    return lambda events: [event for event in events if event is not find(events, kind)]


def ended(kind, *, like, **fields):
    """Forge a log: something ends too early."""

    def forge(events):
        shown = {"forced": False, **structs.asdict(find(events, like)), **fields}
        return [*events, kind(**{name: shown[name] for name in kind.__struct_fields__ if name in shown})]

    return forge


def then(*forgeries):
    """Forge a log: one wrong or right thing after the other."""

    def forge(events):
        for each in forgeries:
            events = each(events)
        return events

    return forge


def claimed(kind, **fields):
    """Forge a log: something of the pool that a lease has requested, with these fields beside it."""

    def forge(events):
        requested = next(e for e in events if isinstance(e, ev.PoolAllocated) and e.lease)
        shown = {**structs.asdict(requested), "network": identifier("n"), **fields}
        return [*events, kind(**{name: shown[name] for name in kind.__struct_fields__ if name in shown})]

    return forge


OTHER = identifier("another")
N_POOL = PoolId(f"{HOST}/LocalDefault/10.0.0.0/24")
FORGERIES = [
    (checkers.Hosts, again(ev.SandboxCreated, host="elsewhere"), "is not registered"),
    (checkers.Hosts, again(ev.HostRegistered), "registered already"),
    (checkers.Pools, again(ev.PoolAllocated, pool=OTHER), "overlaps 10.0.0.0/24"),
    (checkers.Addresses, again(ev.AddressAllocated), "is held by"),
    (checkers.Addresses, again(ev.AddressAllocated, address=b"\x0a\x09\x00\x01"), "10.9.0.1 is outside 10.0.0.0/24"),
    (checkers.Addresses, ended(ev.AddressReleased, like=ev.AddressAllocated, owner=("endpoint", OTHER)), "not by"),
    (checkers.Firewalls, again(ev.FirewallRetired), "the host was not moved from it since"),
    (checkers.Firewalls, again(ev.FirewallRetired, backend="nftables"), "the host has it"),
    (checkers.Macs, again(ev.EndpointCreated, endpoint=OTHER, name="x"), "MAC address"),
    (checkers.Names, again(ev.NetworkCreated, network=OTHER), "is held by"),
    (checkers.Names, again(ev.EndpointCreated, endpoint=OTHER), "is held by"),
    (checkers.Names, again(ev.SandboxCreated, sandbox=OTHER), "is held by"),
    (checkers.Interfaces, again(ev.EndpointJoined, endpoint=OTHER, device="x"), "is held by"),
    (checkers.Interfaces, again(ev.EndpointJoined, endpoint=OTHER, interface="x"), "is held by"),
    (checkers.Ports, again(ev.PortBound, endpoint=OTHER), "it is bound by"),
    (checkers.Ports, again(ev.PortBound, host_address=b"\xc0\x00\x02\x01"), "it is bound by"),
    (checkers.Ports, ended(ev.PortReleased, like=ev.PortBound, endpoint=OTHER), "has not bound it"),
    (checkers.Owners, again(ev.EndpointJoined, sandbox=OTHER), "the sandbox is not there"),
    (checkers.Owners, again(ev.EndpointJoined), "in a sandbox already"),
    (checkers.Owners, again(ev.EndpointCreated, endpoint=OTHER), "does not hold its address"),
    (checkers.Owners, again(ev.EndpointCreated, endpoint=OTHER, network=OTHER), "its network is not there"),
    (checkers.Owners, again(ev.EndpointCreated, endpoint=OTHER, addresses=()), "lacks a family"),
    (checkers.Leftovers, ended(ev.NetworkDeleted, like=ev.NetworkCreated), "still has a pool, an address, an endpoint"),
    (checkers.Leftovers, ended(ev.EndpointDeleted, like=ev.EndpointCreated), "still has a port, an address, an interf"),
    (checkers.Leftovers, ended(ev.SandboxDeleted, like=ev.SandboxCreated), "still has an endpoint"),
    (checkers.Gateways, without(ev.GatewayElected), "it is not the way out"),
    (checkers.Gateways, without(ev.PortsProgrammed), "are not published"),
    (checkers.Gateways, again(ev.GatewayElected, sandbox=OTHER), "it is not in the sandbox"),
    (checkers.Choices, last(ev.AddressAllocated, address=b"\x0a\x02\x00\x03"), "it is not in 10.2.0.4/30"),
    (
        checkers.Choices,
        last(ev.AddressAllocated, address=b"\x0a\x02\x00\x05"),
        "it was at rest, and 1 others were free",
    ),
    (checkers.Choices, last(ev.AddressAllocated, decided_by="caller"), "its rest was cut by 60000000000 ns"),
    (checkers.Choices, last(ev.PoolAllocated, sub_pool=Subnet(b"\x0a\x03\x00\x00", 30)), "its range is outside it"),
    (checkers.Reservations, again(ev.AddressReservationMade, name="x"), "kept for a name already"),
    (checkers.Reservations, again(ev.AddressReservationMade, address=b"\x0a\0\0\x08"), "has another address"),
    (checkers.Reservations, again(ev.AddressAllocated, address=b"\x0a\0\0\x09"), "for the endpoint of a name"),
    (
        checkers.Reservations,
        ended(ev.AddressReservationEnded, like=ev.AddressReservationMade, why="its time is over"),
        "its time is not over",
    ),
    (checkers.Reservations, ended(ev.PoolReleased, like=ev.PoolAllocated), "are kept for names"),
    (
        checkers.Reservations,
        again(ev.EndpointCreated, name="kept"),
        "did not get the address that is kept for its name",
    ),
    (
        checkers.Reservations,
        again(ev.EndpointCreated, addresses=(ev.EndpointAddress(N_POOL, b"\x0a\0\0\x09", 24),)),
        "its address is kept for another name",
    ),
    (checkers.Claims, last(ev.AddressAllocated, lease=OTHER), "it was not requested under that lease"),
    (checkers.Claims, ended(ev.PoolClaimed, like=ev.PoolAllocated, lease=OTHER), "nobody has requested it"),
    (checkers.Claims, ended(ev.PoolDisclaimed, like=ev.PoolAllocated), "has not claimed it"),
    (checkers.Claims, again(ev.PoolAllocated, network="", lease=""), "a network's or a lease's"),
    (
        checkers.Claims,
        then(claimed(ev.PoolClaimed), claimed(ev.PoolClaimed, network=identifier("p"))),
        "a network has claimed it already",
    ),
    (checkers.Claims, then(claimed(ev.PoolClaimed), claimed(ev.PoolReleased)), "a network has claimed it"),
    (
        checkers.Claims,
        then(claimed(ev.PoolClaimed), claimed(ev.PoolDisclaimed), claimed(ev.PoolDisclaimed)),
        "the network has not claimed it",
    ),
    (
        checkers.Claims,
        then(claimed(ev.PoolClaimed), claimed(ev.PoolDisclaimed, network=OTHER)),
        "the network has not claimed it",
    ),
    (checkers.Choices, ended(ev.PoolReleased, like=ev.PoolAllocated, pool=OTHER), "the pool is not there"),
    (checkers.Choices, again(ev.AddressAllocated, pool=OTHER), "its pool is not there"),
    (checkers.Choices, again(ev.AddressReservationMade, pool=OTHER), "its pool is not there"),
    (checkers.Choices, ended(ev.AddressReleased, like=ev.AddressAllocated, address=b"\x0a\0\0\x63"), "held by nobody"),
    (
        checkers.Choices,
        ended(ev.AddressReservationEnded, like=ev.AddressReservationMade, address=b"\x0a\0\0\x63", why=""),
        "it is kept for nobody",
    ),
    (
        checkers.Reservations,
        ended(ev.AddressReservationEnded, like=ev.AddressReservationMade, address=b"\x0a\0\0\x63", why=""),
        "it is kept for no name",
    ),
    (
        checkers.Reservations,
        ended(ev.AddressReservationEnded, like=ev.AddressReservationMade, name="x", why=""),
        "it is kept for kept",
    ),
    (
        checkers.Reservations,
        then(
            ended(ev.AddressReservationEnded, like=ev.AddressReservationMade, why="the name it was kept for took it"),
            again(ev.EndpointCreated, addresses=(ev.EndpointAddress(N_POOL, b"\x0a\0\0\x09", 24),)),
        ),
        "it took what was kept for another name",
    ),
    (
        checkers.Settings,
        again(ev.ConfigurationChanged, default_pools=(PredefinedPool(parse_subnet("10.64.0.0/24"), 16),)),
        "a block is larger than its pool",
    ),
    (checkers.Names, again(ev.ConfigurationNetworkCreated, network=OTHER), "is held by"),
    (
        checkers.ConfigurationNetworks,
        ended(ev.ConfigurationNetworkDeleted, like=ev.ConfigurationNetworkCreated),
        "m depends on it",
    ),
    (checkers.ConfigurationNetworks, again(ev.ConfigurationNetworkCreated), "it is there already"),
    (checkers.ConfigurationNetworks, made("m", config_from=OTHER), "configuration network is not there"),
    (checkers.ConfigurationNetworks, made("m", labels={"a": "b"}), "it has other labels"),
    (checkers.ConfigurationNetworks, made("m", ipam_driver="x"), "another IPAM driver"),
    (checkers.ConfigurationNetworks, made("m", ipam_options={"x": 1}), "other IPAM options"),
    (
        checkers.ConfigurationNetworks,
        made("m", options={"com.docker.network.driver.mtu": 1500}),
        "its option com.docker.network.driver.mtu is another",
    ),
    (
        checkers.ConfigurationNetworks,
        made("m", pools=(ev.NetworkPool("p", Subnet(b"\x0a\x08\0\0", 24), b""),)),
        "10.9.0.0/24 is asked for",
    ),
    (
        checkers.ConfigurationNetworks,
        made("m", pools=(ev.NetworkPool("p", Subnet(b"\x0a\x09\0\0", 24), b""),)),
        "another gateway is asked for",
    ),
    (checkers.ConfigurationNetworks, again(ev.PoolAllocated, network=identifier("s")), "takes no pool"),
    (checkers.ConfigurationNetworks, again(ev.EndpointCreated, network=identifier("s")), "has no endpoints"),
    (checkers.ConfigurationNetworks, again(ev.NetworkCreated, network=identifier("s")), "a configuration network has"),
    (checkers.Settings, again(ev.PoolAllocated, pool=OTHER, predefined=True), "in none of the host's pools"),
]


@pytest.mark.parametrize(("checker", "forge", "words"), FORGERIES)
def test_a_forged_log_is_caught(checker, forge, words):
    """The checker of the broken invariant says what is wrong; before the forgery it says nothing."""
    events = honest()
    assert violations(numbered(events), [checker]) == ()
    forged = forge(events)
    [found] = violations(numbered(forged), [checker])
    assert words in found.words
    assert found.checker == checker.name
    assert 0 < found.position <= len(forged)
    if len(forged) > len(events):
        assert found.position == len(forged), str(found)


REST = 60 * 10**9


def rested(first: int, second: int, now: int) -> list[ev.Event]:
    """Let both addresses of a pool be released, at these times and in this order, and the first of them given again."""
    desk = Desk()
    desk.do(
        create_network("r", pool("10.2.0.0/29", "10.2.0.6", rest_seconds=60, sub_pool=parse_subnet("10.2.0.4/31"))),
        create_endpoint("r", "x"),
        create_endpoint("r", "y"),
        DeleteEndpoint(identifier("r/x")),
        DeleteEndpoint(identifier("r/y")),
    )
    times = iter((first, second))
    events = [
        structs.replace(record.event, at=next(times)) if isinstance(record.event, ev.AddressReleased) else record.event
        for record in desk.log
    ]
    cut = max(0, first + REST - now)
    given = find(events, ev.EndpointCreated).addresses[0].address
    taken = next(event for event in events if isinstance(event, ev.AddressAllocated) and event.address == given)
    return [*events, structs.replace(taken, at=now, rest_cut=cut)]


@pytest.mark.parametrize(
    ("first", "second", "now"),
    [
        (1000, 1000, 1000 + REST),
        (1000, 1000, 1000 + REST - 1),
        (1000, 900, 1000 + REST - 1),  # the second writer's clock is behind: it rises no sooner than the first
        (1000, 900, 1000 + REST - 100),
        (900, 1000, 950 + REST),
    ],
)
def test_the_address_that_was_released_first_rises_first(first, second, now):
    """Its rest may be cut short where no other is left: by the order of the log, not by clocks that differ a little."""
    assert violations(numbered(rested(first, second, now)), [checkers.Choices]) == ()


@pytest.mark.parametrize("behind", [0, 100])
def test_an_address_whose_rest_is_over_is_taken_before_one_is_cut_short(behind):
    """Of two released in this order, the first has risen, and the second is given: that is no necessity."""
    events = rested(1000, 2000, 1500 + REST)
    other = next(event for event in events if isinstance(event, ev.AddressAllocated) and event.address[-1] == 5)
    events[-1] = structs.replace(other, at=1500 + REST - behind, rest_cut=500 + behind)
    [found] = violations(numbered(events), [checkers.Choices])
    assert found.words == "AddressAllocated: it was at rest, and 1 others were free"
    assert found.position == len(events)


def test_a_missing_position_is_caught():
    """A log with a hole."""
    records = numbered(honest())
    [found] = violations([*records[:3], *records[4:]], [checkers.Positions])
    assert (found.position, found.words) == (5, f"{type(records[4].event).__name__}: it follows position 3")


def test_every_checker_has_a_forgery():
    """No checker that nothing can fail."""
    assert {checker for checker, _, _ in FORGERIES} | {checkers.Positions} == set(CHECKERS)
    assert all(checker.name and checker.invariant.endswith(".") for checker in CHECKERS)


def test_what_is_counted_is_held():
    """An address that is held and counted by nobody is seen."""
    with Controller.open(dataplane="simulated") as controller:
        network = controller.create_network("n")
        network.create_endpoint("e")
        with controller.reading() as views:
            del views.ipam.holders[max(views.ipam.holders)]
        assert "counts" in {found.checker for found in check_everything(controller)}


def test_all_checkers_read_a_long_history():
    """What the engine records in a thousand commands breaks nothing, and everything live agrees."""
    with Controller.open(dataplane=Universe().dataplane()) as controller:
        author = Author(Seeded(3), views=lambda: controller.views)
        for _ in range(1000):
            controller.execute([author.command()])
        check_log(controller.history())
        assert check_everything(controller) == ()


def test_a_wrong_log_is_said_in_one_error():
    """`check_log` lists every violation, the first position first."""
    with pytest.raises(AssertionError, match=r"(?s)interfaces: position 36: .*\nowners: position 36: "):
        check_log(numbered(again(ev.EndpointJoined)(honest())))


def test_a_kernel_that_differs_is_seen():
    """What was removed behind the engine's back is named by the live check."""
    kernel = SimulatedKernel()
    with Controller.open(dataplane=SimulatedDataplane(kernel)) as controller:
        controller.create_network("n")
        kernel.remove(next(there for there in kernel.objects.values() if isinstance(there, Bridge)))
        [found] = check_everything(controller)
        assert found.checker == "kernel"
        assert "bridge/" in found.words


def test_views_that_are_not_the_fold_are_seen():
    """A view that somebody wrote into is not the fold of the log any more."""
    with Controller.open(dataplane="simulated") as controller:
        network = controller.create_network("n")
        with controller.reading() as views:
            del views.names.networks[controller.host, network.name]
        assert "fold" in {found.checker for found in check_everything(controller)}
    assert {one.name for one in LIVE} == {"chain", "fold", "undo", "counts", "kernel"}
