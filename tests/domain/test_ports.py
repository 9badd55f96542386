from __future__ import annotations

import pytest
from msgspec import structs

from netledger.domain.commands import DeleteEndpoint
from netledger.domain.errors import Conflict, Exhausted, Invalid, Unavailable
from netledger.domain.events import PortBound
from netledger.domain.facts import NOBODY, Capabilities, HostPorts, port_range, reserved_ranges
from netledger.domain.ports import EPHEMERAL_FIRST, EPHEMERAL_LAST, PORTS_OF_AN_ENDPOINT, in_the_way, obstacle_key
from netledger.domain.values import PortRequest, format_address, parse_address
from tests.desk import HOST, ORIGIN, create_endpoint, create_network, identifier

BINDING = "com.docker.network.bridge.host_binding_ipv4"


@pytest.fixture
def net(desk):
    """Give a desk with networks of IPv4, of both families, and of IPv6."""
    desk.do(create_network("n4", "10.1.0.0/16"), create_network("n46", "10.2.0.0/16", "fd02::/64"))
    desk.do(create_network("n6", "fd03::/64"))
    return desk


def bound(events):
    """Write the bound ports as HOST:PORT->ADDRESS:PORT."""
    return [
        f"{format_address(e.host_address)}:{e.host_port}->{format_address(e.address)}:{e.port}"
        for e in events
        if isinstance(e, PortBound)
    ]


def test_a_port_is_published_in_each_family(net):
    """Without a host address it stands at every address of the host, in each family that the endpoint has."""
    assert bound(net.do(create_endpoint("n4", "a", "80:8080"))) == ["0.0.0.0:80->10.1.0.2:8080"]
    assert bound(net.do(create_endpoint("n46", "a", "81:8080"))) == [
        "0.0.0.0:81->10.2.0.2:8080",
        ":::81->fd02::2:8080",
    ]
    assert bound(net.do(create_endpoint("n6", "a", "82:8080"))) == [":::82->fd03::2:8080"]


def test_a_port_at_one_address_is_published_there_alone(net):
    """A host address decides the family; a network's default binding is one for IPv4."""
    assert bound(net.do(create_endpoint("n46", "a", "192.0.2.1:80:80"))) == ["192.0.2.1:80->10.2.0.2:80"]
    assert bound(net.do(create_endpoint("n46", "b", "[2001:db8::1]:80:80"))) == ["2001:db8::1:80->fd02::3:80"]
    net.do(create_network("bound", "10.4.0.0/16", "fd04::/64", options={BINDING: "192.0.2.1"}))
    assert bound(net.do(create_endpoint("bound", "c", "83:80"))) == ["192.0.2.1:83->10.4.0.2:80"]


def test_a_port_that_could_stand_nowhere_is_refused(net):
    """A host address of a family that the endpoint lacks, given or by the network's default, is refused."""
    assert str(net.refusal(Invalid, create_endpoint("n4", "a", "[2001:db8::1]:80:80"))) == (
        "create endpoint 'a': port [2001:db8::1]:80:80/tcp is to be published at an IPv6 address "
        "and the endpoint has none of IPv6; leave the host address out"
    )
    net.do(create_network("bound6", "fd04::/64", options={BINDING: "192.0.2.1"}))
    assert str(net.refusal(Invalid, create_endpoint("bound6", "a", "80"))) == (
        "create endpoint 'a': network bound6 publishes ports at 192.0.2.1 and the endpoint has no IPv4 address; "
        "name an IPv6 host address for the port"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_port_at_the_loopback_needs_a_host_that_leads_out_of_it(net, host):
    """Where the host had not what that takes when the network was created, it says so; so does a network's default."""
    missing = Capabilities(dict.fromkeys(("loopback ipv4", "loopback ipv6"), "not yet"))
    net.do(create_network("old", "10.9.0.0/24", "fd09::/64"), capabilities=missing)
    refusal = net.refusal(Unavailable, create_endpoint("old", "a", f"{host}:80:80"))
    family = 6 if ":" in host else 4
    assert str(refusal) == (
        f"create endpoint 'a': port {host}:80:80/tcp is to be published at {host.strip('[]')}, and when network old "
        f"was created this host had no 'loopback ipv{family}'; publish at another address, or at all of them; see "
        "`netledger doctor`"
    )
    net.do(create_network("inner", options={BINDING: "127.0.0.1"}), capabilities=missing)
    net.refusal(Unavailable, create_endpoint("inner", "a", "80"))
    assert bound(net.do(create_endpoint("n46", "a", f"{host}:80:80"))) == [
        f"{host.strip('[]')}:80->{'10.2.0.2' if family == 4 else 'fd02::2'}:80"
    ]


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (PortRequest(1, 80), "unknown protocol 1; known: 6, 17, 132"),
        (PortRequest(6, 0), "0 is not a port from 1 to 65535"),
        (PortRequest(6, 80, 65536), "65536 is not a host port from 1 to 65535, or 0 for any free one"),
        (PortRequest(6, 80, 80, b"\x01"), "packed address '01' has 1 bytes; give 4 or 16"),
    ],
)
def test_a_port_that_no_text_can_say_is_refused(net, port, message):
    """Commands that are built by hand are checked like those that were read."""
    command = structs.replace(create_endpoint("n4", "a"), ports=(port,))
    assert str(net.refusal(Invalid, command)) == f"create endpoint 'a': {message}"


def test_an_internal_network_publishes_nothing(net):
    """A port of an endpoint that nothing outside reaches is refused."""
    net.do(create_network("inside", internal=True))
    assert str(net.refusal(Invalid, create_endpoint("inside", "a", "80"))) == (
        "create endpoint 'a': network inside is internal: nothing outside reaches its ports; publish none"
    )


@pytest.mark.parametrize(
    ("held", "wanted", "meet"),
    [
        ("8080:80", "8080:80", True),
        ("192.0.2.1:8080:80", "8080:80", True),
        ("8080:80", "192.0.2.1:8080:80", True),
        ("192.0.2.1:8080:80", "192.0.2.1:8080:80", True),
        ("192.0.2.1:8080:80", "192.0.2.2:8080:80", False),
        ("192.0.2.1:8080:80", "[2001:db8::1]:8080:80", False),
        ("[::]:8080:80", "[2001:db8::1]:8080:80", True),
        ("[::]:8080:80", "0.0.0.0:8080:80", False),
        ("8080:80/udp", "8080:80/tcp", False),
        ("8080:80", "8081:80", False),
    ],
)
def test_ports_conflict_where_their_addresses_meet(net, held, wanted, meet):
    """The unspecified address meets every one of its family; protocols and families are apart."""
    net.do(create_endpoint("n46", "a", held))
    command = create_endpoint("n46", "b", wanted)
    if not meet:
        net.do(command)
        return
    position = min(record.position for record in net.log if isinstance(record.event, PortBound))
    refusal = net.refusal(Conflict, command)
    assert refusal.because.endswith(" is published by endpoint a")
    assert refusal.remedy == "choose another host port, or delete that endpoint"
    assert refusal.position == position


def test_a_conflict_is_told_in_full(net):
    """Address, port, protocol, holder, position and remedy are in the message."""
    net.do(create_endpoint("n4", "a", "8080:80"))
    position = net.position_of(PortBound)
    assert str(net.refusal(Conflict, create_endpoint("n4", "b", "192.0.2.1:8080:80"))) == (
        f"create endpoint 'b': port 192.0.2.1:8080/tcp is published by endpoint a (position {position}); "
        "choose another host port, or delete that endpoint"
    )


def test_a_port_asked_for_twice_is_refused(net):
    """One endpoint cannot have the same host port twice at addresses that meet."""
    assert str(net.refusal(Conflict, create_endpoint("n4", "a", "8080:80", "192.0.2.1:8080:81"))) == (
        "create endpoint 'a': port 192.0.2.1:8080/tcp is asked for twice; publish it once, or choose another host port"
    )
    net.do(create_endpoint("n4", "a", "8080:80", "8080:80/udp", "192.0.2.1:8081:80", "192.0.2.2:8081:80"))


def test_a_port_of_another_process_is_not_taken(net):
    """What the host has bound is named; a chosen port goes round it."""
    obstacles = {
        obstacle_key(HOST, 6, bytes(4), 8080): "nginx (process 7)",
        obstacle_key(HOST, 6, bytes(4), EPHEMERAL_FIRST): "ssh (process 9)",
    }
    assert str(net.refusal(Conflict, create_endpoint("n4", "a", "8080:80"), obstacles=obstacles)) == (
        "create endpoint 'a': port 0.0.0.0:8080/tcp is held by nginx (process 7); "
        "free it, or choose another host port or address"
    )
    assert bound(net.do(create_endpoint("n4", "a", "80"), obstacles=obstacles)) == [
        f"0.0.0.0:{EPHEMERAL_FIRST + 1}->10.1.0.2:80"
    ]


def test_a_port_of_another_process_is_in_the_way_at_its_address_alone(net):
    """Who holds one address of the host holds no other; a chosen port is free at all that are wanted."""
    held = obstacle_key(HOST, 6, parse_address("192.0.2.1"), 8080)
    net.refusal(Conflict, create_endpoint("n4", "a", "192.0.2.1:8080:80"), obstacles={held: "nginx (process 7)"})
    net.do(create_endpoint("n4", "a", "192.0.2.2:8080:80"), obstacles={held: "nginx (process 7)"})
    held = obstacle_key(HOST, 6, bytes(16), EPHEMERAL_FIRST)
    assert bound(net.do(create_endpoint("n46", "b", "80"), obstacles={held: "ssh (process 9)"})) == [
        f"0.0.0.0:{EPHEMERAL_FIRST + 1}->10.2.0.2:80",
        f":::{EPHEMERAL_FIRST + 1}->fd02::2:80",
    ]


def test_chosen_ports_go_on_after_the_last_one(net):
    """Chosen ports ascend from 49153, do not come back at once, and are of each protocol for itself."""
    assert bound(net.do(create_endpoint("n4", "a", "80", "81", "80/udp"))) == [
        "0.0.0.0:49153->10.1.0.2:80",
        "0.0.0.0:49153->10.1.0.2:80",
        "0.0.0.0:49154->10.1.0.2:81",
    ]
    net.do(DeleteEndpoint(identifier("n4/a")))
    assert bound(net.do(create_endpoint("n4", "b", "80"))) == ["0.0.0.0:49155->10.1.0.3:80"]


def test_a_chosen_port_is_the_same_in_both_families(net):
    """One that is taken in either family is passed over, also within one endpoint."""
    net.do(create_endpoint("n6", "a", f"{EPHEMERAL_FIRST}:80"))
    assert bound(net.do(create_endpoint("n46", "b", "80", f"{EPHEMERAL_FIRST + 1}:81"))) == [
        f"0.0.0.0:{EPHEMERAL_FIRST + 1}->10.2.0.2:81",
        f":::{EPHEMERAL_FIRST + 1}->fd02::2:81",
        f"0.0.0.0:{EPHEMERAL_FIRST + 2}->10.2.0.2:80",
        f":::{EPHEMERAL_FIRST + 2}->fd02::2:80",
    ]


def test_ports_asked_for_by_number_are_taken_first(net):
    """A port that is chosen does not take one that the same endpoint asks for by number."""
    wanted = ("80", f"{EPHEMERAL_FIRST}:81")
    assert bound(net.do(create_endpoint("n4", "a", *wanted))) == [
        f"0.0.0.0:{EPHEMERAL_FIRST}->10.1.0.2:81",
        f"0.0.0.0:{EPHEMERAL_FIRST + 1}->10.1.0.2:80",
    ]


def hold(desk, port, decided_by="netledger"):
    """Let some endpoint hold a TCP port of the host."""
    desk.fold(PortBound(*ORIGIN, "other", 6, bytes(4), port, bytes([10, 9, 0, 2]), 80, decided_by))


def test_chosen_ports_wrap(net):
    """After 65535 comes the first free one from 49153."""
    hold(net, EPHEMERAL_FIRST, "caller")
    hold(net, EPHEMERAL_LAST)
    assert bound(net.do(create_endpoint("n4", "a", "80"))) == [f"0.0.0.0:{EPHEMERAL_FIRST + 1}->10.1.0.2:80"]


def test_reserved_ports_are_chosen_for_nobody(net):
    """They are passed over; who asks for one by number, or for a range with it, gets it."""
    facts = HostPorts(((EPHEMERAL_FIRST, EPHEMERAL_FIRST + 2), (EPHEMERAL_FIRST + 4, EPHEMERAL_FIRST + 4)))
    made = [net.do(create_endpoint("n4", name, "80"), host_ports=facts) for name in "abc"]
    assert [
        event.host_port - EPHEMERAL_FIRST for events in made for event in events if isinstance(event, PortBound)
    ] == [
        3,
        5,
        6,
    ]
    asked = (f"{EPHEMERAL_FIRST}:80", f"{EPHEMERAL_FIRST + 1}-{EPHEMERAL_FIRST + 2}:81")
    events = net.do(create_endpoint("n4", "d", *asked), host_ports=facts)
    assert [event.host_port - EPHEMERAL_FIRST for event in events if isinstance(event, PortBound)] == [0, 1]
    everything = HostPorts(((1, 65535),))
    assert str(net.refusal(Exhausted, create_endpoint("n4", "e", "80"), host_ports=everything)) == (
        f"create endpoint 'e': all 16383 tcp ports from {EPHEMERAL_FIRST} to {EPHEMERAL_LAST} are taken or reserved "
        "(net.ipv4.ip_local_reserved_ports); ask for a port outside that range"
    )


RANGE = HostPorts(chosen_from=(32768, 60999))


def chosen(events):
    """List the ports that were chosen, each with the range that it was chosen from."""
    return [(event.host_port, event.chosen_from) for event in events if isinstance(event, PortBound)]


def test_ports_are_chosen_from_the_hosts_range(net):
    """One after the other from its first, within one endpoint too; so it goes on below 49153."""
    made = net.do(create_endpoint("n4", "a", "80", "81", "80/udp"), host_ports=RANGE)
    assert [port for port, _ in chosen(made)] == [32768, 32768, 32769]
    assert {chosen_from for _, chosen_from in chosen(made)} == {(32768, 60999)}
    net.do(DeleteEndpoint(identifier("n4/a")))
    assert chosen(net.do(create_endpoint("n4", "b", "80"), host_ports=RANGE)) == [(32770, (32768, 60999))]


def test_a_range_of_the_host_is_gone_round(net):
    """After its last port comes its first one again."""
    facts = HostPorts(chosen_from=(40000, 40002))
    made = [chosen(net.do(create_endpoint("n4", name, "80"), host_ports=facts)) for name in "ab"]
    net.do(DeleteEndpoint(identifier("n4/a")))
    made += [chosen(net.do(create_endpoint("n4", name, "80"), host_ports=facts)) for name in "cd"]
    assert [port for ((port, _),) in made] == [40000, 40001, 40002, 40000]


def test_a_range_that_the_host_has_no_more_decides_nothing(net):
    """The next port is of the range that the host has now: its first, if the last one is outside."""
    net.do(create_endpoint("n4", "a", "80"), host_ports=RANGE)
    assert chosen(net.do(create_endpoint("n4", "b", "80"))) == [(EPHEMERAL_FIRST, ())]
    assert chosen(net.do(create_endpoint("n4", "c", "80"), host_ports=RANGE)) == [
        (EPHEMERAL_FIRST + 1, RANGE.chosen_from)
    ]
    low = HostPorts(chosen_from=(1024, 1999))
    assert chosen(net.do(create_endpoint("n4", "d", "80"), host_ports=low)) == [(1024, (1024, 1999))]


def test_what_is_asked_for_by_number_or_range_is_taken_where_it_is(net):
    """Whatever the host's range is; and a port that was so chosen is none to go on from."""
    asked = ("8080:80", "9000-9001:81", "49200:82", "50000-50010:83")
    made = chosen(net.do(create_endpoint("n4", "a", *asked), host_ports=RANGE))
    assert made == [(8080, ()), (49200, ()), (9000, ()), (50000, ())]


def test_when_the_hosts_range_is_taken_it_says_which(net):
    """The range, the setting that it is from, and what to do; reserved ones within it, too."""
    facts = HostPorts(chosen_from=(40000, 40001))
    net.do(create_endpoint("n4", "a", "80", "81"), host_ports=facts)
    assert str(net.refusal(Exhausted, create_endpoint("n4", "b", "80"), host_ports=facts)) == (
        "create endpoint 'b': all 2 tcp ports from 40000 to 40001 (net.ipv4.ip_local_port_range) are taken; "
        "ask for a port outside that range, or widen it"
    )
    facts = HostPorts(((40002, 40002),), chosen_from=(40000, 40002))
    assert str(net.refusal(Exhausted, create_endpoint("n4", "b", "80"), host_ports=facts)) == (
        "create endpoint 'b': all 3 tcp ports from 40000 to 40002 (net.ipv4.ip_local_port_range) are taken or reserved "
        "(net.ipv4.ip_local_reserved_ports); ask for a port outside that range, or widen it"
    )
    net.do(create_endpoint("n4", "b", "80/udp", "8080:80"), host_ports=facts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("32768\t60999", (32768, 60999)),
        ("1 65535\n", (1, 65535)),
        ("5 5", (5, 5)),
        *(
            (text, None)
            for text in ("", "\n", "32768", "1 2 3", "2 1", "0 5", "1 65536", "-1 5", "a b", "1 b", "a 1 2")
        ),
    ],
)
def test_the_range_to_choose_from_as_the_kernel_writes_it(text, found):
    """Two ports, the second not the smaller; anything else says nothing."""
    assert port_range(text) == found


@pytest.mark.parametrize(
    ("text", "ranges"), [("", ()), ("\n", ()), ("8080", ((8080, 8080),)), ("80,9148-9150\n", ((80, 80), (9148, 9150)))]
)
def test_reserved_ports_as_the_kernel_writes_them(text, ranges):
    """Numbers and ranges, commas between them; nothing where there are none."""
    assert reserved_ranges(text) == ranges


def test_a_port_at_the_ipv6_loopback_is_refused_while_nothing_is_reached_there(net):
    """With the reason; at every address it is published all the same, and at IPv4's loopback."""
    facts = HostPorts(unreached6="answers are dropped; set it otherwise")
    assert str(net.refusal(Unavailable, create_endpoint("n46", "a", "[::1]:80:80"), host_ports=facts)) == (
        "create endpoint 'a': port [::1]:80:80/tcp is to be published at ::1, where this host reaches nothing: answers "
        "are dropped; set it otherwise; or publish at another address"
    )
    assert len(bound(net.do(create_endpoint("n46", "a", "80:80"), host_ports=facts))) == 2
    assert len(bound(net.do(create_endpoint("n46", "b", "127.0.0.1:81:80"), host_ports=facts))) == 1


def test_when_all_ports_are_taken_it_says_so(net):
    """With the whole range held a chosen port is refused; one outside the range or of another protocol is not."""
    for port in range(EPHEMERAL_FIRST, EPHEMERAL_LAST + 1):
        hold(net, port)
    assert str(net.refusal(Exhausted, create_endpoint("n4", "a", "80"))) == (
        "create endpoint 'a': all 16383 tcp ports from 49153 to 65535 are taken; ask for a port outside that range"
    )
    net.do(create_endpoint("n4", "a", "8080:80", "80/udp"))


def test_an_endpoint_publishes_so_many_ports_at_most(net):
    """The limit is named, and is not off by one."""
    ports = tuple(PortRequest(6, 80, 1024 + number) for number in range(PORTS_OF_AN_ENDPOINT + 1))
    command = create_endpoint("n4", "a")
    assert str(net.refusal(Invalid, structs.replace(command, ports=ports))) == (
        "create endpoint 'a': 1025 ports; an endpoint publishes 1024 at most"
    )
    net.do(structs.replace(command, ports=ports[:-1]))


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        ("process 7 (nginx)", ("is held by process 7 (nginx)", "free it, or choose another host port or address")),
        (f"{NOBODY}no address; take one", ("cannot be had: no address", "take one")),
        (f"{NOBODY}it is odd", ("cannot be had: it is odd", "choose another host port or address")),
    ],
)
def test_what_is_in_the_way_of_a_port(obstacle, said):
    """Somebody who has it, or a reason why nobody can; and what to do about it."""
    assert in_the_way(obstacle) == said
