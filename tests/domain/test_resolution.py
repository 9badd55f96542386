"""The texts of a hosts file and of a resolv.conf follow libnetwork's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.domain.errors import Invalid
from netledger.domain.resolution import (
    Resolution,
    Resolver,
    check_resolution,
    hosts_text,
    parse_resolv_conf,
    resolv_conf_text,
)
from netledger.domain.values import parse_address

HOST = Resolver(("127.0.0.53", "192.0.2.53", "2001:db8::53", "fe80::1%eth0"), ("corp.example",), ("ndots:2",))


def test_a_hosts_file_has_the_usual_then_the_further_then_its_own():
    """In libnetwork's order, tabs between address and names, the whole name before the short one."""
    resolution = Resolution((("db", parse_address("10.0.0.9")), ("v6", parse_address("fd00::9"))))
    text = hosts_text(resolution, "web", "example.org", [parse_address("10.5.0.2"), parse_address("fd05::2")])
    assert text.splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.0.0.9\tdb",
        "fd00::9\tv6",
        "10.5.0.2\tweb.example.org web",
        "fd05::2\tweb.example.org web",
    ]


@pytest.mark.parametrize(("hostname", "names"), [("web", "web"), ("web.example.org", "web.example.org web")])
def test_a_whole_host_name_is_followed_by_its_first_part(hostname, names):
    """As libnetwork writes it."""
    assert hosts_text(Resolution(), hostname, "", [bytes(4)]).splitlines()[-1] == f"0.0.0.0\t{names}"


def test_without_a_host_name_there_is_no_line_of_its_own():
    """The file has what every one has."""
    assert len(hosts_text(Resolution(), "", "", [bytes(4)]).splitlines()) == 6


@pytest.mark.parametrize(
    ("wanted", "has_ipv6", "lines"),
    [
        (Resolver(), False, ["nameserver 192.0.2.53", "search corp.example", "options ndots:2"]),
        (
            Resolver(),
            True,
            ["nameserver 192.0.2.53", "nameserver 2001:db8::53", "search corp.example", "options ndots:2"],
        ),
        (Resolver(("127.0.0.1",)), False, ["nameserver 127.0.0.1", "search corp.example", "options ndots:2"]),
        (Resolver(search=(".",)), False, ["nameserver 192.0.2.53", "options ndots:2"]),
        (
            Resolver(search=("a", "b"), options=("rotate",)),
            False,
            ["nameserver 192.0.2.53", "search a b", "options rotate"],
        ),
    ],
)
def test_each_kind_of_line_is_the_given_one_or_the_hosts(wanted, has_ipv6, lines):
    """Of the host's servers those on its loopback, and IPv6 ones where the container has none, are left out."""
    assert resolv_conf_text(Resolution(wanted=wanted, found=HOST), has_ipv6=has_ipv6).splitlines() == lines


@pytest.mark.parametrize(("has_ipv6", "count"), [(False, 2), (True, 4)])
def test_a_container_is_never_without_a_name_server(has_ipv6, count):
    """Where none of the host's can be reached, there are libnetwork's fallbacks."""
    text = resolv_conf_text(Resolution(found=Resolver(("127.0.0.53", "::1"))), has_ipv6=has_ipv6)
    assert [line.split()[0] for line in text.splitlines()] == ["nameserver"] * count


def test_a_resolv_conf_is_read_as_the_library_reads_it():
    """Comments are left out; of search and domain lines the last counts; options add up."""
    text = (
        "# comment\nnameserver 192.0.2.1 # why\n; no\ndomain a\nsearch b c\noptions ndots:1\noptions rotate\nother x\n"
    )
    assert parse_resolv_conf(text) == Resolver(("192.0.2.1",), ("b", "c"), ("ndots:1", "rotate"))


@given(st.text(max_size=200))
def test_whatever_is_in_the_hosts_file_a_text_comes_of_it(text):
    """Each line that is written begins with a known word and has no control characters."""
    written = resolv_conf_text(Resolution(found=parse_resolv_conf(text)), has_ipv6=True)
    assert all(line.split()[0] in {"nameserver", "search", "options"} for line in written.splitlines())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Resolution(tuple((f"h{n}", bytes(4)) for n in range(257))), "there are 257 extra hosts; give 256 at most"),
        (Resolution((("", bytes(4)),)), "has no name"),
        (Resolution((("a b", bytes(4)),)), "extra host 'a b'"),
        (Resolution((("a", bytes(5)),)), "has 5 bytes"),
        (Resolution(wanted=Resolver(("ns.example",))), "not an IPv4 or IPv6 address"),
        (Resolution(wanted=Resolver(("192.0.2.1",) * 9)), "there are 9 name servers"),
        (Resolution(wanted=Resolver(search=("a",) * 33)), "there are 33 search domains"),
        (Resolution(wanted=Resolver(options=("a",) * 33)), "there are 33 resolver options"),
        (Resolution(wanted=Resolver(search=("a_b",))), "search domain 'a_b'"),
        (Resolution(wanted=Resolver(options=("a b",))), "is not one word"),
        (Resolution(hosts_path="hosts"), "path 'hosts' is not absolute"),
        (Resolution(hosts_path="/a", resolv_conf_path="/a"), "/a is to be both files"),
    ],
)
def test_what_cannot_be_written_is_refused(wrong, words):
    """Before any event, with what is wrong."""
    with pytest.raises(Invalid) as caught:
        check_resolution("create sandbox", wrong)
    assert words in str(caught.value)
