from __future__ import annotations

import pytest
from msgspec import structs

from netledger.domain.commands import AddAlias, DeleteEndpoint, LeaveEndpoint, RemoveAlias
from netledger.domain.endpoints import MAC_ATTEMPTS
from netledger.domain.errors import Conflict, Exhausted, InUse, Invalid, NotFound
from netledger.domain.events import (
    AddressAllocated,
    AddressReleased,
    AliasAdded,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    NetworkCreated,
    PortBound,
    PortReleased,
)
from netledger.domain.interfaces import INTERFACES_IN_A_SANDBOX
from netledger.domain.values import AllocationPolicy, SandboxKind, format_address, mac_for, parse_address, parse_mac
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join, pool

MAC = parse_mac("02:42:0a:00:00:07")


def addresses_of(desk, endpoint):
    """List an endpoint's addresses as text."""
    return [format_address(held.address) for held in desk.views.endpoint(identifier(endpoint)).event.addresses]


def test_an_endpoint_holds_its_addresses_ports_and_names(desk):
    """Creating appends its addresses, itself, its ports and its aliases, in that order."""
    desk.do(create_network("n1", "10.1.0.0/24", "fd01::/64"))
    events = desk.do(create_endpoint("n1", "web", "8080:80", addresses=["10.1.0.9"], aliases=("www", "w", "www")))
    assert [type(event) for event in events] == [
        AddressAllocated,
        AddressAllocated,
        EndpointCreated,
        PortBound,
        PortBound,
        AliasAdded,
        AliasAdded,
    ]
    assert [event.decided_by for event in events[:2]] == ["caller", "netledger"]
    assert addresses_of(desk, "n1/web") == ["10.1.0.9", "fd01::2"]
    assert [format_address(event.host_address) for event in events[3:5]] == ["0.0.0.0", "::"]
    assert [format_address(event.address) for event in events[3:5]] == ["10.1.0.9", "fd01::2"]
    assert list(desk.views.aliases_of(identifier("n1/web"))) == ["www", "w"]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"addresses": ["10.1.0.9", "10.1.0.10"]},
            "create endpoint 'e': two IPv4 addresses; an endpoint has one of each family",
        ),
        (
            {"addresses": ["fd00::9"]},
            "create endpoint 'e': network n1 has no IPv6; leave that address out",
        ),
        (
            {"addresses": ["10.2.0.9"]},
            "create endpoint 'e': address 10.2.0.9 is in none of this network's subnets; they are: 10.1.0.0/24",
        ),
        (
            {"addresses": ["10.1.0.0"]},
            "create endpoint 'e': address 10.1.0.0 is reserved in 10.1.0.0/24; take one between its first and its last",
        ),
        (
            {"addresses": ["10.1.0.255"]},
            (
                "create endpoint 'e': address 10.1.0.255 is reserved in 10.1.0.0/24; "
                "take one between its first and its last"
            ),
        ),
        (
            {"mac": bytes(6)},
            "create endpoint 'e': MAC address 00:00:00:00:00:00 is not a unicast one of 6 bytes; leave it out",
        ),
        ({"labels": {"a": "\n"}}, "value of label a: '\\n': it has characters that cannot be printed; leave them out"),
        ({"endpoint": "xyz"}, "endpoint id 'xyz': not 64 lower-case hex digits; leave it out and one is made"),
        (
            {"aliases": ("a b",)},
            (
                "alias name 'a b': not a name of 1 to 255 letters, digits, '_', '.' and '-' "
                "that begins with a letter or digit"
            ),
        ),
    ],
)
def test_an_endpoint_that_is_ill_described_is_refused(desk, others, message):
    """Addresses outside, reserved or of no family, ids and aliases that are none are each named."""
    desk.do(create_network("n1", "10.1.0.0/24"))
    assert str(desk.refusal(Invalid, create_endpoint("n1", "e", **others))) == message


def test_an_endpoint_needs_its_network(desk):
    """An unknown network is not found."""
    short = identifier("n1")[:12]
    assert str(desk.refusal(NotFound, create_endpoint("n1", "e"))) == (
        f"create endpoint 'e': there is no network {short}; see `netledger network ls`"
    )


def test_a_name_is_held_once_in_its_network(desk):
    """The refusal gives the holder's position; another network may have the same name."""
    desk.do(create_network("n1"), create_network("n2"), create_endpoint("n1", "e"))
    refusal = desk.refusal(Conflict, create_endpoint("n1", "e", endpoint=identifier("other")))
    position = desk.position_of(EndpointCreated)
    assert str(refusal) == (
        f"create endpoint 'e': endpoint with name e already exists in network n1 (position {position}); "
        "choose another name, or delete that one first"
    )
    desk.do(create_endpoint("n2", "e"))


def test_an_id_is_held_once(desk):
    """A second endpoint with the same id is refused, in whatever network."""
    desk.do(create_network("n1"), create_network("n2"), create_endpoint("n1", "e"))
    refusal = desk.refusal(Conflict, create_endpoint("n2", "f", endpoint=identifier("n1/e")))
    assert str(refusal).startswith(f"create endpoint 'f': id {identifier('n1/e')[:12]} is endpoint e (position ")


def test_a_held_address_names_its_holder(desk):
    """An address of the gateway or of another endpoint is refused with who has it, since when."""
    desk.do(create_network("n1", "10.1.0.0/24"), create_endpoint("n1", "e", addresses=["10.1.0.9"]))
    for address, holder in (("10.1.0.9", "endpoint e"), ("10.1.0.1", "network n1")):
        refusal = desk.refusal(Conflict, create_endpoint("n1", "f", addresses=[address]))
        position = desk.position_of(AddressAllocated, address=parse_address(address))
        assert str(refusal) == (
            f"create endpoint 'f': address {address} is held by {holder} (position {position}); "
            "choose another, or leave it out and a free one is chosen"
        )


def test_an_exhausted_subnet_says_which(desk):
    """When every address is held the blocks are named; one given back is found again."""
    desk.do(create_network("n1", "10.1.0.0/29"))
    for number in range(5):
        desk.do(create_endpoint("n1", f"e{number}"))
    assert str(desk.refusal(Exhausted, create_endpoint("n1", "e5"))) == (
        "create endpoint 'e5': no free IPv4 address in 10.1.0.0/29; "
        "see `netledger ipam inspect`; delete endpoints of the network, or create one with a larger subnet"
    )
    desk.do(DeleteEndpoint(identifier("n1/e2")), create_endpoint("n1", "e5"))
    assert addresses_of(desk, "n1/e5") == ["10.1.0.4"]


@pytest.mark.parametrize(
    ("subnet", "gateway", "endpoint"),
    [
        ("10.1.0.0/31", "10.1.0.0", "10.1.0.1"),
        ("10.1.0.0/30", "10.1.0.1", "10.1.0.2"),
        ("fd01::/127", "fd01::", "fd01::1"),
        ("fd01::/126", "fd01::1", "fd01::2"),
    ],
)
def test_the_smallest_subnets_have_room_for_one(desk, subnet, gateway, endpoint):
    """RFC 3021 and RFC 6164: both addresses of the narrowest blocks are held."""
    desk.do(create_network("n1", subnet), create_endpoint("n1", "e"))
    assert format_address(desk.views.network(identifier("n1")).event.pools[0].gateway) == gateway
    assert addresses_of(desk, "n1/e") == [endpoint]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(AllocationPolicy.NEXT, "10.1.0.4"), (AllocationPolicy.LOWEST, "10.1.0.2")],
)
def test_a_released_address_rests_unless_the_lowest_is_asked_for(desk, policy, expected):
    """`next` takes the one after the last it chose, `lowest` the first that is free."""
    desk.do(create_network("n1", pool("10.1.0.0/24", policy=policy)))
    desk.do(create_endpoint("n1", "e1"), create_endpoint("n1", "e2"), DeleteEndpoint(identifier("n1/e1")))
    desk.do(create_endpoint("n1", "e3"))
    assert addresses_of(desk, "n1/e3") == [expected]


def test_the_cursor_wraps_and_ignores_what_callers_chose(desk):
    """An address that was asked for does not move the cursor; after the last address comes the first."""
    desk.do(create_network("n1", "10.1.0.0/29"), create_endpoint("n1", "e1", addresses=["10.1.0.6"]))
    for number, expected in enumerate(["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"]):
        desk.do(create_endpoint("n1", f"f{number}"))
        assert addresses_of(desk, f"n1/f{number}") == [expected]
    desk.do(DeleteEndpoint(identifier("n1/f0")), create_endpoint("n1", "g"))
    assert addresses_of(desk, "n1/g") == ["10.1.0.2"]


def test_a_mac_address_is_held_once_in_its_network(desk):
    """One that was given conflicts with its holder; in another network it may be used."""
    desk.do(create_network("n1"), create_network("n2"), create_endpoint("n1", "e", mac=MAC))
    position = desk.position_of(EndpointCreated)
    assert str(desk.refusal(Conflict, create_endpoint("n1", "f", mac=MAC))) == (
        f"create endpoint 'f': MAC address 02:42:0a:00:00:07 is that of endpoint e (position {position}); "
        "choose another, or leave it out"
    )
    desk.do(create_endpoint("n2", "f", mac=MAC))


def test_a_chosen_mac_address_avoids_those_in_use(desk):
    """When the first choices are taken the next is chosen; when all are, it is said."""
    wanted = identifier("n1/e")
    desk.do(create_network("n1"), create_endpoint("n1", "f0", mac=mac_for(wanted, 0)))
    desk.do(create_endpoint("n1", "e"))
    assert desk.views.endpoint(wanted).event.mac == mac_for(wanted, 1)
    desk.do(DeleteEndpoint(wanted))
    for attempt in range(1, MAC_ATTEMPTS):
        desk.do(create_endpoint("n1", f"f{attempt}", mac=mac_for(wanted, attempt)))
    assert str(desk.refusal(Exhausted, create_endpoint("n1", "e"))) == (
        "create endpoint 'e': no free MAC address was found in 16 attempts; give one"
    )


def test_a_bridge_has_1023_ports(desk):
    """The endpoint after the 1,023rd is refused, until one is gone; another network is not full."""
    desk.do(create_network("n1"), create_network("n2"))
    for number in range(1023):
        desk.do(create_endpoint("n1", f"e{number}"))
    position = desk.position_of(NetworkCreated, name="n1")
    assert str(desk.refusal(Exhausted, create_endpoint("n1", "one-more"))) == (
        "create endpoint 'one-more': network n1 has 1023 endpoints, as many as a Linux bridge has ports "
        f"(position {position}); create another network and put it there"
    )
    desk.do(create_endpoint("n2", "one-more"))
    desk.do(DeleteEndpoint(identifier("n1/e7")), create_endpoint("n1", "one-more"))


def test_deleting_gives_back_everything(desk):
    """Ports and addresses go back before the endpoint ends, and nothing of it is left in any view."""
    desk.do(create_network("n1"))
    before = {name: dict(table) for name, table in desk.views.ports.tables().items()}
    events = desk.do(
        create_endpoint("n1", "e", "8080:80", aliases=("a",)),
        DeleteEndpoint(identifier("n1/e")),
    )
    assert [type(event) for event in events[-3:]] == [PortReleased, AddressReleased, EndpointDeleted]
    assert events[-1].forced is False
    assert desk.views.ports.tables() == before
    assert not desk.views.endpoints.endpoints
    assert not desk.views.endpoints.aliases
    assert not desk.views.endpoints.by_mac
    assert not desk.views.names.endpoints


def test_a_joined_endpoint_is_in_use(desk):
    """It is refused with the sandbox and where it joined; force takes it out with an event of its own."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"), join("n1/e", "c"))
    position = desk.position_of(EndpointJoined)
    assert str(desk.refusal(InUse, DeleteEndpoint(identifier("n1/e")))) == (
        f"delete endpoint e: it is in the sandbox of container c (position {position}); let it leave first, or force it"
    )
    events = desk.do(DeleteEndpoint(identifier("n1/e"), force=True))
    assert isinstance(events[0], EndpointAbandoned)
    assert (events[0].cause, events[0].evidence) == ("endpoint deleted", "forced by the caller")
    assert events[-1].forced
    assert [owner for owner, _ in desk.views.names.devices.values()] == ["network"]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (DeleteEndpoint(identifier("n1/e")), f"delete endpoint {identifier('n1/e')[:12]}"),
        (LeaveEndpoint(identifier("n1/e")), f"leave with endpoint {identifier('n1/e')[:12]}"),
        (
            join("n1/e", "c"),
            f"join endpoint {identifier('n1/e')[:12]} to sandbox {identifier('c')[:12]}",
        ),
        (AddAlias(identifier("n1/e"), "a"), "add alias 'a'"),
        (RemoveAlias(identifier("n1/e"), "a"), "remove alias 'a'"),
    ],
)
def test_an_unknown_endpoint_is_not_found(desk, command, asked):
    """Every command on an endpoint that is not there says so."""
    short = identifier("n1/e")[:12]
    assert str(desk.refusal(NotFound, command)) == f"{asked}: there is no endpoint {short}; see `netledger endpoint ls`"


def test_joining_needs_a_sandbox(desk):
    """An unknown sandbox is not found."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"))
    short = identifier("c")[:12]
    assert str(desk.refusal(NotFound, join("n1/e", "c"))) == (
        f"join endpoint {identifier('n1/e')[:12]} to sandbox {short}: there is no sandbox {short}; "
        "see `netledger sandbox ls`"
    )


def test_an_endpoint_is_in_one_sandbox(desk):
    """Joining twice is refused, even where it is already, with the position of the first time."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"), create_sandbox("d"))
    desk.do(join("n1/e", "c"))
    position = desk.position_of(EndpointJoined)
    for container in ("c", "d"):
        assert str(desk.refusal(Conflict, join("n1/e", container))) == (
            f"join endpoint e to container {container}: it is in the sandbox of container c already "
            f"(position {position}); let it leave that one first"
        )


def test_leaving_needs_a_sandbox_to_leave(desk):
    """An endpoint that is in none cannot leave."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"))
    position = desk.position_of(EndpointCreated)
    assert str(desk.refusal(Conflict, LeaveEndpoint(identifier("n1/e")))) == (
        f"leave with endpoint e: it is in no sandbox (position {position}); join it to a sandbox first"
    )


def test_interfaces_are_numbered_from_the_lowest_free(desk):
    """`eth0`, `eth1` ...; a name that was left is used again, and one that was asked for is kept free of others."""
    desk.do(create_network("n1"), create_sandbox("c"))
    for name in ("e0", "e1", "e2", "e3"):
        desk.do(create_endpoint("n1", name))
    desk.do(join("n1/e0", "c"), join("n1/e1", "c", interface="eth1"), join("n1/e2", "c"))
    desk.do(LeaveEndpoint(identifier("n1/e0")), join("n1/e3", "c"))
    interfaces = [desk.views.joined(identifier(f"n1/e{number}")).event.interface for number in (1, 2, 3)]
    assert interfaces == ["eth1", "eth2", "eth0"]


@pytest.mark.parametrize("interface", ["eth0", "lo"])
def test_an_interface_name_is_held_once_in_its_sandbox(desk, interface):
    """A name that another endpoint has there, or the loopback's, is refused."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_endpoint("n1", "f"), create_sandbox("c"))
    desk.do(join("n1/e", "c"))
    where = f" (position {desk.position_of(EndpointJoined)})" if interface == "eth0" else ""
    assert str(desk.refusal(Conflict, join("n1/f", "c", interface=interface))) == (
        f"join endpoint f to container c: interface {interface} is taken in that sandbox{where}; choose another name"
    )


def test_an_interface_name_is_what_the_kernel_takes(desk):
    """A name with a slash is refused."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"))
    desk.refusal(Invalid, join("n1/e", "c", interface="eth/0"))


def test_a_sandbox_has_so_many_interfaces(desk):
    """When all names are taken the join is refused."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"), join("n1/e", "c"))
    template = desk.views.joined(identifier("n1/e")).event
    for number in range(1, INTERFACES_IN_A_SANDBOX):
        other = {"endpoint": f"other{number}", "device": f"device{number}", "interface": f"eth{number}"}
        desk.fold(structs.replace(template, **other))
    desk.do(create_endpoint("n1", "f"))
    assert str(desk.refusal(Exhausted, join("n1/f", "c"))) == (
        "join endpoint f to container c: the sandbox has 1024 interfaces; use another sandbox"
    )


def test_no_two_joins_use_one_device_name(desk):
    """The host end's name is of ours, of the kernel's length, and new at each join, however quickly they follow."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"))
    seen = set()
    for _ in range(8):
        joined = next(event for event in desk.do(join("n1/e", "c")) if isinstance(event, EndpointJoined))
        seen.add(joined.device)
        assert joined.device.startswith("nl")
        assert len(joined.device) == 13
        left = desk.do(LeaveEndpoint(identifier("n1/e")))
        assert [type(event) for event in left] == [EndpointLeft]
        assert left[0].cause == ""
    assert len(seen) == 8


def test_a_delegated_sandbox_is_joined_like_any_other(desk):
    """Who moves the interface makes no difference to the log."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c", kind=SandboxKind.DELEGATED))
    desk.do(join("n1/e", "c"))
    assert desk.views.joined(identifier("n1/e")).event.interface == "eth0"


def test_aliases_are_added_once_and_removed_once(desk):
    """Adding one twice conflicts, removing one that is not there is not found; endpoints may share one."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_endpoint("n1", "f"))
    desk.do(AddAlias(identifier("n1/e"), "a"), AddAlias(identifier("n1/f"), "a"))
    position = desk.position_of(EndpointCreated, name="e")
    assert str(desk.refusal(Conflict, AddAlias(identifier("n1/e"), "a"))) == (
        f"add alias 'a': endpoint e has it already (position {position})"
    )
    desk.refusal(Invalid, AddAlias(identifier("n1/e"), "-"))
    desk.do(RemoveAlias(identifier("n1/e"), "a"))
    assert str(desk.refusal(NotFound, RemoveAlias(identifier("n1/e"), "a"))) == (
        f"remove alias 'a': endpoint e does not have it (position {position})"
    )
    assert list(desk.views.aliases_of(identifier("n1/f"))) == ["a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"addresses": (b"123",)}, "packed address '313233' has 3 bytes; give 4 or 16"),
        ({"mac": b"\x01" + bytes(5)}, "MAC address 01:00:00:00:00:00 is not a unicast one of 6 bytes; leave it out"),
        ({"mac": b"\x02"}, "MAC address 02 is not a unicast one of 6 bytes; leave it out"),
    ],
)
def test_a_command_built_by_hand_is_checked_like_one_that_was_read(desk, changes, message):
    """Packed values of the wrong length or kind are refused before they get into an event."""
    desk.do(create_network("n1"))
    command = structs.replace(create_endpoint("n1", "e"), **changes)
    assert str(desk.refusal(Invalid, command)) == f"create endpoint 'e': {message}"


@pytest.mark.parametrize("priority", [2**31, -(2**31) - 1])
def test_a_priority_is_a_32_bit_number(desk, priority):
    """One that no other program could store is refused; the ends of the range are taken."""
    desk.do(create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c"))
    refusal = desk.refusal(Invalid, join("n1/e", "c", priority=priority))
    assert refusal.because == f"priority {priority} is not one from -2147483648 to 2147483647"
    desk.do(join("n1/e", "c", priority=priority - 1 if priority > 0 else priority + 1))


def test_an_interface_in_mode_passthru_takes_one_endpoint(desk):
    """The kernel has room for one macvlan on such a parent: the second is refused before it is recorded."""
    mode = {"macvlan_mode": "passthru"}
    desk.do(create_network("alone", "10.8.0.0/24", driver="macvlan", options=mode), create_endpoint("alone", "one"))
    refusal = desk.refusal(Exhausted, create_endpoint("alone", "two"))
    assert "network alone has 1 endpoint, as many as an interface in mode passthru takes" in str(refusal)
