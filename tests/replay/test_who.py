"""Who held what, when: by the tag index, the same as by looking at every event."""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netledger import Controller
from netledger.domain import events as ev
from netledger.domain.commands import (
    AddAlias,
    CreateConfigurationNetwork,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    LeaveEndpoint,
    LoseSandbox,
    RemoveAlias,
)
from netledger.domain.errors import Invalid
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.values import Subnet, format_address, format_mac, parse_address
from netledger.ledger.ledger import Ledger
from netledger.replay.moments import Moment
from netledger.replay.who import Window, who_had_address, who_had_mac, who_had_name, who_had_port
from netledger.testing.strategies import histories
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


def at(position):
    """Ask about the state after one position."""
    return Window(Moment(position), Moment(position))


def between(first, last):
    """Ask about the states after these positions and all between."""
    return Window(Moment(first), Moment(last))


class Naive:
    """Everything that is held, from all events in log order: what `who` must agree with. Shares no code with it."""

    def __init__(self):
        self.held = {}
        """(kind, subject, place, holder, ...) to the position of the event that gave it."""
        self.names = {}
        self.joined_as = {}
        self.inside = {}
        self.containers = {}

    def fold(self, position, event):
        take = {
            "AddressAllocated": lambda: [("address", format_address(event.address), event.pool, event.owner[1])],
            "EndpointCreated": lambda: [
                ("mac", format_mac(event.mac), event.network, event.endpoint),
                ("endpoint", event.name, event.network, event.endpoint),
            ],
            "AliasAdded": lambda: [("alias", event.alias, event.network, event.endpoint)],
            "NetworkCreated": lambda: [("network", event.name, event.scope, event.network)],
            "ConfigurationNetworkCreated": lambda: [("network", event.name, event.scope, event.network)],
            "SandboxCreated": lambda: [("container", event.container, event.host, event.sandbox)],
            "SandboxRenamed": lambda: [("container", event.container, event.host, event.sandbox)],
            "PortBound": lambda: [("port", *self._port(event))],
        }
        give = {
            "AddressReleased": lambda: [("address", format_address(event.address), event.pool, event.owner[1])],
            "EndpointDeleted": lambda: [
                key for key in self.held if key[0] in {"mac", "endpoint", "alias"} and key[3] == event.endpoint
            ],
            "AliasRemoved": lambda: [("alias", event.alias, event.network, event.endpoint)],
            "SandboxRenamed": lambda: [("container", event.before, event.host, event.sandbox)],
            "NetworkDeleted": lambda: [("network", event.name, event.scope, event.network)],
            "ConfigurationNetworkDeleted": lambda: [("network", event.name, event.scope, event.network)],
            "SandboxDeleted": lambda: [("container", event.container, event.host, event.sandbox)],
            "SandboxLost": lambda: [("container", event.container, event.host, event.sandbox)],
            "PortReleased": lambda: [("port", *self._port(event))],
        }
        kind = type(event).__name__
        for key in take.get(kind, list)():
            assert key not in self.held
            self.held[key] = position
        for key in give.get(kind, list)():
            del self.held[key]
        if kind in {"EndpointCreated", "NetworkCreated", "ConfigurationNetworkCreated"}:
            self.names[event.endpoint if kind == "EndpointCreated" else event.network] = event.name
        elif kind in {"SandboxCreated", "SandboxRenamed"}:
            self.names[event.sandbox] = event.container
        elif kind == "EndpointJoined":
            self.inside[event.endpoint] = event.sandbox
            self.joined_as[event.endpoint] = self.names[event.sandbox]
        elif kind in {"EndpointLeft", "EndpointAbandoned"}:
            del self.inside[event.endpoint]

    def holders(self, subject, kinds):
        """Say who holds something now: since when, who that is, and where it is or who is in it."""
        return {
            (kind, what, place, holder, since, tuple(sorted(self._stays(holder))))
            for (kind, what, place, holder, *_), since in self.held.items()
            if kind in kinds and (what == subject or (kind == "port" and what.endswith(f":{subject}")))
        }

    def _stays(self, holder):
        return [(endpoint, sandbox) for endpoint, sandbox in self.inside.items() if holder in {endpoint, sandbox}]

    @staticmethod
    def _port(event):
        address = format_address(event.host_address)
        text = f"[{address}]" if ":" in address else address
        return f"{text}:{event.host_port}/{PROTOCOLS[event.protocol]}", event.host, event.endpoint


def told(answer):
    """Give what an answer says in the naive fold's words."""
    return {
        (
            one.kind,
            one.subject,
            one.place,
            one.holder,
            one.began.position,
            tuple(sorted((stay.endpoint, stay.sandbox) for stay in one.presences)),
        )
        for one in answer.intervals
    }


NAMES = {"network", "endpoint", "alias", "container"}


def questions(log):
    """List everything that was ever held in a log, with the function that asks for it."""
    asked = set()
    for record in log:
        match record.event:
            case ev.AddressAllocated(address=address):
                asked.add((who_had_address, format_address(address), ("address",)))
            case ev.EndpointCreated(mac=mac, name=name) if mac:
                asked.add((who_had_mac, format_mac(mac), ("mac",)))
                asked.add((who_had_name, name, tuple(NAMES)))
            case ev.AliasAdded(alias=name) | ev.NetworkCreated(name=name) | ev.SandboxCreated(container=name):
                asked.add((who_had_name, name, tuple(NAMES)))
            case ev.ConfigurationNetworkCreated(name=name):
                asked.add((who_had_name, name, tuple(NAMES)))
            case ev.PortBound(host_port=number, protocol=protocol):
                asked.add((who_had_port, f"{number}/{PROTOCOLS[protocol]}", ("port",)))
    return sorted(asked, key=lambda one: one[1])


def looking_closely(often, nearby):
    """Have `who` take so many events for many, and read so few at first."""
    stack = ExitStack()
    for name, value in (("OFTEN", often), ("NEARBY", nearby)):
        stack.enter_context(mock.patch(f"netledger.replay.who.{name}", value))
    return stack


@settings(slow, max_examples=80)
@given(histories(), st.data(), st.sampled_from((200, 1)), st.integers(1, 4))
def test_at_each_position_it_says_what_all_events_say(batches, data, often, nearby):
    """For everything ever held: holder, beginning and sandboxes in every state of the log, as by a naive fold."""
    with looking_closely(often, nearby), Controller.open(dataplane="none") as controller:
        for batch in batches:
            controller.execute(batch)
        log = list(controller.history())
        ledger = controller.ledger
        asked = questions(log)
        question, subject, kinds = data.draw(st.sampled_from(asked))
        naive = Naive()
        states = [naive.holders(subject, kinds)]
        for record in log:
            naive.fold(record.position, record.event)
            states.append(naive.holders(subject, kinds))
        for position, expected in enumerate(states):
            assert told(question(ledger, subject, at(position))) == expected, (subject, position)
        for question, subject, kinds in asked:  # all of them in the last state
            answer = question(ledger, subject, at(len(log)))
            assert told(answer) == naive.holders(subject, kinds)
            for one in answer.intervals:
                assert one.name == (one.subject if one.kind == "container" else naive.names[one.holder])
                assert one.network_name == naive.names.get(one.network, "")
                for stay in one.presences:
                    assert (stay.endpoint_name, stay.container) == (
                        naive.names[stay.endpoint],
                        naive.joined_as[stay.endpoint],
                    )


@settings(slow, max_examples=60)
@given(histories(), st.data(), st.sampled_from((200, 1)), st.integers(1, 4))
def test_a_window_has_what_its_states_have_and_nobody_has_neighbours(batches, data, often, nearby):
    """A window's intervals are those of its states; where there is none, the nearest ones on both sides are told."""
    with looking_closely(often, nearby), Controller.open(dataplane="none") as controller:
        for batch in batches:
            controller.execute(batch)
        log = list(controller.history())
        question, subject, _ = data.draw(st.sampled_from(questions(log)))
        first = data.draw(st.integers(0, len(log)))
        last = data.draw(st.integers(first, len(log)))
        found = question(controller.ledger, subject, between(first, last))
        everybody = question(controller.ledger, subject).intervals

        def key(one):
            return (one.kind, one.subject, one.place, one.holder, one.began, one.ended)

        meant = [one for one in everybody if any(one.held_after(place) for place in range(first, last + 1))]
        assert list(map(key, found.intervals)) == list(map(key, meant))
        assert all(one.began.position < (one.ended.position if one.ended else len(log) + 1) for one in everybody)
        if meant:
            assert found.before is found.following is None
            return
        ends = [one.ended.position for one in everybody if one.ended and one.ended.position <= first]
        begins = [one.began.position for one in everybody if one.began.position > last]
        assert (found.before and found.before.ended.position) == max(ends, default=None)
        assert (found.following and found.following.began.position) == min(begins, default=None)


@pytest.fixture
def controller():
    """Give a controller without a kernel."""
    with Controller.open(dataplane="none", actor="alice") as controller:
        yield controller


def carry_out(controller, *commands, **asking):
    """Carry out commands; return where the log ends then."""
    for result in controller.execute(commands, **asking):
        result.check()
    return controller.ledger.head


def test_an_interval_tells_who_gave_and_took_it_and_every_sandbox_meanwhile(controller):
    """Actor, request, reason, time and position of each event; the holder's and the containers' names."""
    carry_out(controller, create_network("n", "10.1.0.0/24"), create_sandbox("c1"), create_sandbox("c2"))
    carry_out(controller, create_endpoint("n", "e", "8080:80"), actor="bob", reason="deploy", request="r1")
    first = carry_out(controller, join("n/e", "c1"))
    left = carry_out(controller, LeaveEndpoint(identifier("n/e")))
    carry_out(controller, join("n/e", "c2"))
    carry_out(controller, DeleteSandbox(identifier("c2"), force=True))
    last = carry_out(controller, DeleteEndpoint(identifier("n/e")), actor="carol", reason="no more", request="r2")
    (one,) = who_had_address(controller.ledger, "10.1.0.2").intervals
    assert (one.kind, one.subject, one.purpose, one.decided_by) == ("address", "10.1.0.2", "endpoint", "netledger")
    assert (one.holder_kind, one.holder, one.name) == ("endpoint", identifier("n/e"), "e")
    assert (one.network, one.network_name, one.host) == (identifier("n"), "n", controller.host)
    assert (one.began.actor, one.began.request, one.began.reason) == ("bob", "r1/0", "deploy")
    assert (one.ended.actor, one.ended.request, one.ended.reason) == ("carol", "r2/0", "no more")
    log = {record.position: record.event for record in controller.history()}
    assert isinstance(log[one.began.position], ev.AddressAllocated)
    assert isinstance(log[one.ended.position], ev.AddressReleased)
    assert (one.began.at, one.ended.event) == (log[one.began.position].at, "AddressReleased")
    told = [(stay.container, stay.interface, stay.cause, stay.left.event) for stay in one.presences]
    assert told == [("c1", "eth0", "", "EndpointLeft"), ("c2", "eth0", "sandbox deleted", "EndpointAbandoned")]
    assert log[one.presences[0].joined.position].sandbox == identifier("c1")

    def inside(window):
        return [
            [stay.container for stay in one.presences]
            for one in who_had_address(controller.ledger, "10.1.0.2", window).intervals
        ]

    assert inside(at(first)) == [["c1"]]
    assert inside(at(left)) == [[]], "between two sandboxes it is in none"
    assert inside(between(left, last)) == [["c2"]]
    assert inside(at(last)) == []
    (port,) = who_had_port(controller.ledger, "8080/tcp", at(first)).intervals
    assert (port.subject, port.purpose, port.name) == ("0.0.0.0:8080/tcp", "10.1.0.2:80", "e")
    assert [stay.container for stay in port.presences] == ["c1"]


def test_a_network_s_gateway_is_the_network_s(controller):
    """Its name is known though the address is given before the network is there, and stays so when it is gone."""
    carry_out(controller, create_network("n", "10.1.0.0/24"))
    gone = carry_out(controller, DeleteNetwork(identifier("n")))
    carry_out(controller, create_network("m", "10.1.0.0/24", network=identifier("n")))
    first, second = who_had_address(controller.ledger, "10.1.0.1").intervals
    assert (first.holder_kind, first.holder, first.name, first.purpose) == ("network", identifier("n"), "n", "gateway")
    assert (second.holder, second.name) == (identifier("n"), "m"), "another network with the same id"
    nobody = who_had_address(controller.ledger, "10.1.0.1", at(gone))
    assert nobody.intervals == ()
    assert (nobody.before.name, nobody.following.name) == ("n", "m")
    assert nobody.before.ended.position <= gone < nobody.following.began.position
    assert who_had_address(controller.ledger, "10.1.0.1", at(first.ended.position)).before == nobody.before
    assert who_had_address(controller.ledger, "10.1.0.1", at(second.began.position - 1)).following == second


def test_a_name_is_that_of_whatever_had_it(controller):
    """Networks, endpoints, containers, and aliases, which go with their endpoint and may be shared."""
    carry_out(
        controller,
        create_network("web", "10.1.0.0/24"),
        create_endpoint("web", "web"),
        create_endpoint("web", "e", aliases=("web",)),
        create_endpoint("web", "f"),
        create_sandbox("web"),
        AddAlias(identifier("web/f"), "web"),
        RemoveAlias(identifier("web/f"), "web"),
        join("web/e", "web"),
        DeleteEndpoint(identifier("web/e"), force=True),
    )
    found = who_had_name(controller.ledger, "web").intervals
    assert [(one.kind, one.name, one.ended.event if one.ended else None) for one in found] == [
        ("network", "web", None),
        ("endpoint", "web", None),
        ("alias", "e", "EndpointDeleted"),
        ("container", "web", None),
        ("alias", "f", "AliasRemoved"),
    ]
    assert {one.subject for one in found} == {"web"}
    assert [(stay.endpoint_name, stay.container) for stay in found[3].presences] == [("e", "web")]
    assert who_had_name(controller.ledger, "eb").intervals == ()


def test_a_mac_address_is_looked_for_in_all_networks(controller):
    """It may be held once in each; how it is written does not matter."""
    mac = bytes.fromhex("02420a000007")
    for network, block in (("n1", "10.1.0.0/24"), ("n2", "10.2.0.0/24")):
        carry_out(controller, create_network(network, block), create_endpoint(network, "e", mac=mac))
    found = who_had_mac(controller.ledger, "02:42:0A:00:00:07").intervals
    assert [(one.network_name, one.subject) for one in found] == [
        ("n1", "02:42:0a:00:00:07"),
        ("n2", "02:42:0a:00:00:07"),
    ]


def test_a_port_without_a_protocol_is_that_of_each(controller):
    """And each host address has a holder of its own."""
    carry_out(
        controller,
        create_network("n", "10.1.0.0/24"),
        create_endpoint("n", "a", "192.0.2.1:53:53/udp"),
        create_endpoint("n", "b", "192.0.2.2:53:53/udp", "53:5353/tcp"),
    )
    held = {(one.subject, one.name, one.purpose) for one in who_had_port(controller.ledger, "53").intervals}
    assert held == {
        ("192.0.2.1:53/udp", "a", "10.1.0.2:53"),
        ("192.0.2.2:53/udp", "b", "10.1.0.3:53"),
        ("0.0.0.0:53/tcp", "b", "10.1.0.3:5353"),
    }
    assert [one.name for one in who_had_port(controller.ledger, "53/tcp").intervals] == ["b"]


def test_a_lost_sandbox_ends_with_its_evidence(controller):
    """The endpoint left because the namespace was gone, and the container's name is free from there."""
    carry_out(
        controller,
        create_network("n", "10.1.0.0/24"),
        create_endpoint("n", "e"),
        create_sandbox("c", kind="attached", path="/run/netns/c", identity=NamespaceIdentity("boot", 1)),
        join("n/e", "c"),
        LoseSandbox(identifier("c"), "namespace is gone"),
    )
    (address,) = who_had_address(controller.ledger, "10.1.0.2").intervals
    assert [stay.cause for stay in address.presences] == ["namespace is gone"]
    (container,) = who_had_name(controller.ledger, "c").intervals
    assert container.ended.event == "SandboxLost"


def test_one_address_in_two_spaces_has_two_holders():
    """Pools of two spaces may overlap: each has a holder of its own, also one of a kind that nobody knows yet."""
    origin = (1, "tester", "r/0#0", "", "h1")
    ledger = Ledger.open(None)
    block, address = Subnet(parse_address("10.1.0.0"), 24), parse_address("10.1.0.7")
    ledger.append(
        [
            *(ev.PoolAllocated(*origin, pool, "h1", pool, block, "n1", False, "next") for pool in ("p1", "p2")),
            ev.AddressAllocated(*origin, "p1", address, ("endpoint", "e1"), "endpoint", "netledger"),
            ev.AddressAllocated(*origin, "p2", address, ("unclaimed", "x"), "unclaimed", "caller"),
            ev.AddressReleased(*origin, "p1", address, ("endpoint", "e1")),
            ev.AddressAllocated(*origin, "p2", address, ("endpoint", "e2"), "endpoint", "caller"),
        ],
        (),
        0,
    )
    found = who_had_address(ledger, "10.1.0.7").intervals
    assert [
        (one.place, one.holder_kind, one.holder, one.began.position, one.ended and one.ended.position) for one in found
    ] == [
        ("p1", "endpoint", "e1", 3, 5),
        ("p2", "unclaimed", "x", 4, 6),
        ("p2", "endpoint", "e2", 6, None),
    ]
    assert {one.name for one in found} == {""}, "a holder that the log does not tell of has no name"
    assert {one.place for one in who_had_address(ledger, "10.1.0.7", at(4)).intervals} == {"p1", "p2"}


@pytest.mark.parametrize("place", [0, 1, 2, 100, 101, 400, 401, 402])
def test_of_an_address_that_changed_hands_very_often_little_is_read(place):
    """Its neighbours on both sides are found all the same, in each pool, and also behind events of other kinds."""
    origin = (1, "tester", "r/0#0", "", "h1")
    ledger = Ledger.open(None)
    block, address = Subnet(parse_address("10.1.0.0"), 24), parse_address("10.1.0.7")
    events = [ev.PoolAllocated(*origin, pool, "h1", pool, block, "n1", False, "next") for pool in ("p1", "p2")]
    for number in range(100):
        owner = ("endpoint", f"e{number}")
        pool = "p2" if number == 50 else "p1"
        events += [
            ev.AddressAllocated(*origin, pool, address, owner, "endpoint", "netledger"),
            ev.HostBooted(*origin, "new", "old"),
            ev.AddressReleased(*origin, pool, address, owner),
            ev.HostBooted(*origin, "new", "old"),
        ]
    ledger.append(events, (), 0)
    reads = mock.Mock(side_effect=ledger._decode)
    with mock.patch.object(ledger, "_decode", reads), looking_closely(100, 4):
        near = who_had_address(ledger, "10.1.0.7", at(place))
    read = sum(len(call.args[0]) for call in reads.mock_calls)
    with looking_closely(1000, 4):
        assert near == who_had_address(ledger, "10.1.0.7", at(place)), "as by reading all of them"
    assert 0 < read < 30
    assert bool(near.intervals) == (place >= 3 and place % 4 in {3, 0})
    assert near.intervals or near.before or near.following


def test_order_in_the_log_decides_when_the_clock_steps():
    """Released by a clock that was set back: the interval is from position to position, though its times run back."""
    ledger = Ledger.open(None)
    address, owner = parse_address("10.1.0.7"), ("endpoint", "e1")

    def origin(second):
        return (second * 10**9, "tester", "r/0#0", "", "h1")

    ledger.append(
        [
            ev.AddressAllocated(*origin(100), "p1", address, owner, "endpoint", "netledger"),
            ev.ClockStepped(*origin(40), back=60 * 10**9),
            ev.AddressReleased(*origin(50), "p1", address, owner),
        ],
        (),
        0,
    )
    (one,) = who_had_address(ledger, "10.1.0.7").intervals
    assert (one.began.position, one.ended.position) == (1, 3)
    assert one.began.at > one.ended.at
    assert [bool(who_had_address(ledger, "10.1.0.7", at(place)).intervals) for place in range(4)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("port", ["", "0", "65536", "x", "80/icmp", "80/", "1" * 9, "²"])
def test_what_is_no_port_is_refused(controller, port):
    """With how to write one."""
    with pytest.raises(Invalid, match="not a port from 1 to 65535, with /tcp or /udp or /sctp; write 8080/tcp"):
        who_had_port(controller.ledger, port)


def test_what_is_no_address_is_refused(controller):
    """Of either kind."""
    with pytest.raises(Invalid, match="not an IPv4 or IPv6 address"):
        who_had_address(controller.ledger, "web")
    with pytest.raises(Invalid, match="not six hex pairs"):
        who_had_mac(controller.ledger, "10.0.0.7")


def test_the_name_of_a_configuration_network_has_a_history():
    """Settings, then a network of the same name: two tenures, each with its own id."""
    office = CreateConfigurationNetwork(identifier("settings"), "office")
    with Controller.open(dataplane="none") as controller:
        controller.do(office)
        controller.do(DeleteNetwork(office.network))
        controller.do(create_network("office"))
        answer = who_had_name(controller.ledger, "office")
        assert [(one.kind, one.holder, one.name, one.network_name) for one in answer.intervals] == [
            ("network", identifier("settings"), "office", "office"),
            ("network", identifier("office"), "office", "office"),
        ]
        assert [one.began.event for one in answer.intervals] == ["ConfigurationNetworkCreated", "NetworkCreated"]
        assert [one.ended.event if one.ended else "" for one in answer.intervals] == ["ConfigurationNetworkDeleted", ""]
        position = answer.intervals[0].began.position
        assert len(who_had_name(controller.ledger, "office", at(position)).intervals) == 1
