from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.domain.errors import Invalid
from netledger.domain.values import (
    PortRequest,
    Subnet,
    check_domain_name,
    check_id,
    check_interface_name,
    check_labels,
    check_name,
    check_text,
    format_address,
    format_mac,
    link_local_for,
    mac_for,
    parse_address,
    parse_mac,
    parse_port,
    parse_ports,
    parse_subnet,
)

REMEDY = "write it like 8080:80/tcp, 192.0.2.1:8080:80, 8000-8010:80 or [2001:db8::1]:53:53/udp"


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("10.5.0.0", "no prefix length", "; write it like 10.5.0.0/24"),
        ("fd00::", "no prefix length", "; write it like fd00::/64"),
        ("banana", "no prefix length", "; write it like 10.5.0.0/16"),
        ("10.5.0.0/33", "not a CIDR block: ", "; write it like 10.5.0.0/16"),
        ("ten/8", "not a CIDR block: ", "; write it like 10.5.0.0/16"),
        ("10.5.0.9/16", "it has host bits set", "; did you mean 10.5.0.0/16?"),
        ("fd00::7/64", "it has host bits set", "; did you mean fd00::/64?"),
    ],
)
def test_a_bad_subnet_is_refused_with_what_is_wrong(text, begin, end):
    """A block without prefix, with host bits, or that is none says so and how to write it."""
    with pytest.raises(Invalid) as caught:
        parse_subnet(text)
    assert str(caught.value).startswith(f"subnet {text!r}: {begin}")
    assert str(caught.value).endswith(end)


def test_a_bad_address_is_refused():
    """What is neither IPv4 nor IPv6 is named, with an example."""
    with pytest.raises(Invalid) as caught:
        parse_address("10.0.0.256")
    assert str(caught.value) == "address '10.0.0.256': not an IPv4 or IPv6 address; write it like 10.0.0.7 or fd00::7"


@pytest.mark.parametrize("text", ["02:42:0a:00:00", "02-42-0a-00-00-07", "zz:42:0a:00:00:07", ""])
def test_a_mac_address_is_six_hex_pairs(text):
    """Anything but six hex pairs between colons is refused."""
    with pytest.raises(Invalid, match=r"not six hex pairs; write it like 02:42:0a:00:00:07"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"])
def test_a_multicast_or_zero_mac_address_is_refused(text):
    """An interface cannot have a group's address, or none."""
    with pytest.raises(Invalid, match=r"a multicast or zero address; use one whose first byte is even, like 02"):
        parse_mac(text)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("80", PortRequest(6, 80)),
        ("80/udp", PortRequest(17, 80)),
        ("8080:80", PortRequest(6, 80, 8080)),
        ("0:80/sctp", PortRequest(132, 80)),
        ("127.0.0.1:8080:80/tcp", PortRequest(6, 80, 8080, bytes([127, 0, 0, 1]))),
        ("127.0.0.1::80", PortRequest(6, 80, 0, bytes([127, 0, 0, 1]))),
        ("[::1]:53:53/udp", PortRequest(17, 53, 53, bytes(15) + b"\x01")),
        ("65535:65535", PortRequest(6, 65535, 65535)),
        ("8000-8010:80", PortRequest(6, 80, 8000, b"", 8010)),
        ("127.0.0.1:8000-8000:80/udp", PortRequest(17, 80, 8000, bytes([127, 0, 0, 1]))),
    ],
)
def test_a_port_is_read_as_docker_writes_it(text, request_):
    """Host address, host port and protocol may be left out."""
    assert parse_port(text) == request_
    assert parse_port(str(request_)) == request_


def test_ranges_are_read_as_docker_writes_them():
    """A range of ports takes as many host ports, one to one, or none; each is a port of its own."""
    pairs = parse_ports("192.0.2.1:8000-8002:80-82/udp")
    assert [(port.host_port, port.port, port.host_port_end) for port in pairs] == [
        (8000, 80, 0),
        (8001, 81, 0),
        (8002, 82, 0),
    ]
    assert {(port.protocol, port.host_address) for port in pairs} == {(17, bytes([192, 0, 2, 1]))}
    assert parse_ports("80-81") == (PortRequest(6, 80), PortRequest(6, 81))
    assert parse_ports("8080:80") == (parse_port("8080:80"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80/icmp", "port '80/icmp': unknown protocol 'icmp'; known: tcp, udp, sctp"),
        ("0", f"port '0': '0' is not a port from 1 to 65535; {REMEDY}"),
        ("65536:80", f"port '65536:80': '65536' is not a host port from 1 to 65535, or 0 for any free one; {REMEDY}"),
        ("80-90:80-90", "port '80-90:80-90': it is a range of 11 ports; publish each by itself"),
        ("80-89:80-90", "port '80-89:80-90': 80-89 and 80-90 differ in length; give as many host ports as ports"),
        ("8090-8080:80", "port '8090-8080:80': invalid port range: 8090-8080; write the smaller number first"),
        ("[::1:80", f"port '[::1:80': the bracket of its IPv6 address is not closed; {REMEDY}"),
        ("[::1]:80", f"port '[::1]:80': a host address without a host port; {REMEDY}"),
        ("1.2.3:4:80", f"port '1.2.3:4:80': '1.2.3' is not an IPv4 or IPv6 address; {REMEDY}"),
        ("80:80:80:80", f"port '80:80:80:80': '80' is not an IPv4 or IPv6 address; {REMEDY}"),
        ("9" * 5000, f"port '{'9' * 5000}': '{'9' * 5000}' is not a port from 1 to 65535; {REMEDY}"),
        ("", f"port '': '' is not a port from 1 to 65535; {REMEDY}"),
        (
            "\u0661:80",
            f"port '\u0661:80': '\u0661' is not a host port from 1 to 65535, or 0 for any free one; {REMEDY}",
        ),
    ],
)
def test_a_bad_port_is_refused_with_what_is_wrong(text, message):
    """The message quotes what was written and names the part that is wrong."""
    with pytest.raises(Invalid) as caught:
        parse_port(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_an_id_that_is_not_64_hex_digits_is_refused(text):
    """Ids are exactly 64 lower-case hex digits."""
    with pytest.raises(Invalid, match=r"not 64 lower-case hex digits; leave it out and one is made"):
        check_id("network", text)
    assert check_id("network", "0123456789abcdef" * 4)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a/b", "x" * 256, "\u00e9", "a\n"])
def test_a_name_follows_dockers_rule(text):
    """Names begin with a letter or digit, go on with those and `_.-`, and end after 255 characters."""
    with pytest.raises(Invalid, match=r"not a name of 1 to 255 letters"):
        check_name("network", text)
    assert check_name("network", "a" * 255)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-bytes-xx", "\u00e9", "a\x00", "eth%d", "eth*"]
)
def test_an_interface_name_is_plain(text):
    """At most 15 plain letters, digits, `_`, `.` and `-`: no pattern, no blank, neither `.` nor `..`."""
    with pytest.raises(Invalid, match=r"not a name of 1 to 15 letters, digits, '_', '.' and '-'$"):
        check_interface_name(text)
    assert check_interface_name("fifteen-bytes-x")


def test_text_to_be_recorded_is_printable_and_bounded():
    """No control character, line separator or lone surrogate; the limit is in bytes and not off by one."""
    for text in ("a\n", "\x1b[2J", "\ud800", "\u2028", "\u202e"):
        with pytest.raises(Invalid, match="cannot be printed"):
            check_text("label", text, 10)
    with pytest.raises(Invalid, match="it has 11 bytes; write 10 at most"):
        check_text("label", "a" + "\u00e9" * 5, 10)
    assert check_text("label", "\u00e9" * 5, 10) == "\u00e9" * 5
    assert check_text("label", "", 10) == ""


def test_labels_are_bounded():
    """How many there are, how long their keys and their values are."""
    most = {f"{number:0255}": "v" * 4096 for number in range(128)}
    assert check_labels(most) == most
    for labels in (most | {"k": ""}, {"k" * 256: ""}, {"k": "v" * 4097}, {"k": "a\n"}, {"k\n": ""}):
        with pytest.raises(Invalid):
            check_labels(labels)


@pytest.mark.parametrize(
    "text", [".", "a.", ".a", "a..b", "-a", "a-", "a b", "a_b", "a" * 64, "a." * 127, "\u00e9", "a\n"]
)
def test_a_host_name_follows_rfc_1123(text):
    """Parts of letters, digits and inner hyphens, 63 characters each and 253 together; or nothing."""
    with pytest.raises(Invalid, match="hostname"):
        check_domain_name("hostname", text)
    for fine in ("", "a", "A-1.example", "a" * 63, "a." * 126 + "a"):
        assert check_domain_name("hostname", fine) == fine


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_an_address_survives_packing(address):
    """Text to bytes and back is the canonical text."""
    assert parse_address(str(address)) == address.packed
    assert format_address(address.packed) == str(address)


@given(st.binary(min_size=4, max_size=4), st.integers(0, 32), st.binary(min_size=4, max_size=4), st.integers(0, 32))
def test_blocks_overlap_as_the_standard_library_says(one, bits, other, other_bits):
    """Overlap and membership agree with `ipaddress`."""
    import ipaddress

    first, second = ipaddress.ip_network((one, bits), strict=False), ipaddress.ip_network((other, other_bits), False)
    left = Subnet(first.network_address.packed, bits)
    right = Subnet(second.network_address.packed, other_bits)
    assert left.overlaps(right) == right.overlaps(left) == first.overlaps(second)
    assert (other in left) == (ipaddress.ip_address(other) in first)
    assert left.at(left.ordinal(one)) == one


def test_a_chosen_mac_address_is_local_and_unicast():
    """The address begins with 02:42, follows from the id, and another attempt gives another."""
    assert format_mac(mac_for("a")).startswith("02:42:")
    assert mac_for("a") == mac_for("a")
    assert len({mac_for("a", attempt) for attempt in range(16)}) == 16


def test_a_link_local_address_is_the_eui64_one():
    """RFC 4291, appendix A: the universal bit is flipped and ff:fe put in the middle."""
    assert format_address(link_local_for(parse_mac("02:42:ac:11:00:02"))) == "fe80::42:acff:fe11:2"
