"""Objects as elements of the firewall's sets and maps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.dataplanes.linux.firewall.elements import (
    SETS,
    contradicting,
    elements_of,
    has_words,
    in_words,
    objects_of,
    salvage,
)
from netledger.dataplanes.linux.firewall.nfnetlink import Element
from netledger.dataplanes.linux.firewall.nftables import skeleton_text
from netledger.domain.objects import ForwardPolicy, GatewayMode, LoopbackAccess, Masquerade, OpenPort, PortForward

bridges = st.text("abcdefghij-0123456789", min_size=1, max_size=15)
ports = st.integers(1, 65535)
protocols = st.sampled_from([6, 17, 132])


def published(width):
    """Make up published ports of a family."""
    address = st.binary(min_size=width, max_size=width)
    return st.builds(PortForward, protocols, st.just(bytes(width)) | address, ports, address, ports)


def open_ports(width):
    """Make up open ports of a family."""
    return st.builds(OpenPort, protocols, st.binary(min_size=width, max_size=width), ports)


def disguises(family, width):
    """Make up masquerading under an address, or under whichever the way out has."""
    return st.builds(Masquerade, bridges, st.just(family), st.just(b"") | st.binary(min_size=width, max_size=width))


modes = st.sampled_from(GatewayMode)
trusted = st.lists(bridges, unique=True, max_size=3).map(lambda names: tuple(sorted(names)))
policies = st.builds(ForwardPolicy, bridges, st.booleans(), st.booleans(), modes, modes, trusted)
things = st.lists(
    disguises(4, 4)
    | disguises(6, 16)
    | policies
    | st.builds(LoopbackAccess, bridges, st.sampled_from([4, 6]))
    | open_ports(4)
    | open_ports(16)
    | published(4)
    | published(16),
    unique_by=lambda thing: thing.key,
)


@given(things)
def test_there_and_back(objects):
    """What is lowered to elements is lifted to the same objects."""
    found = objects_of(element for thing in objects for element in elements_of(thing))
    assert found is not None
    assert set(found) == set(objects)
    assert len(found) == len(objects)


@given(things)
def test_elements_are_of_one_object(objects):
    """No two objects share an element, and every set is in the skeleton."""
    elements = [element for thing in objects for element in elements_of(thing)]
    assert len({(element.set, element.key) for element in elements}) == len(elements)
    text = skeleton_text("table1")
    assert all(f" {name} {{" in text for name in SETS)


@given(policies)
def test_contradictions(policy):
    """A policy and what contradicts it are every element that any policy of the bridge can have, trust aside."""
    every = {
        element
        for icc in (False, True)
        for internal in (False, True)
        for mode in GatewayMode
        for element in elements_of(ForwardPolicy(policy.bridge, icc, internal, mode, mode))
    }
    assert set(contradicting(policy)) == every - set(elements_of(policy))


def test_sets_that_contradict_each_other():
    """A set that lacks its part of a policy is told from one that is whole."""
    own = elements_of(ForwardPolicy("br0", icc=True, internal=True))
    assert objects_of(own) is not None
    for left_out in own[:2]:
        rest = [element for element in own if element is not left_out]
        assert objects_of(rest) is None
        assert salvage(rest) == [ForwardPolicy("br0", icc=True, internal=True)]


def test_what_stands_for_nothing():
    """An element of another form, as of a map that somebody made anew, or of an unknown protocol, is no object."""
    strange = [
        Element("ports4", b"\0\1", b"\1\2\3\4"),
        Element("ports4", b"\1\0\0\0\0\1\0\0", b"\1\2\3\4\0\1\0\0"),
        Element("bridges", b"\xff".ljust(16, b"\0")),
        Element("icc", b"nonsense".ljust(16, b"\0") * 2),
    ]
    assert salvage(strange) == []
    assert objects_of(strange) is None


@pytest.mark.parametrize(
    "name", ['a"b', "br*", "br0;", "{br0}", "a\\", "br\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a b", "$a"]
)
def test_names_that_nft_would_misread(name):
    """They are not said in its language."""
    assert not has_words(Masquerade(name, 4))
    assert has_words(Masquerade("br-0.1_a", 4))


def test_in_words():
    """Elements as nft writes them."""
    loopback = PortForward(6, b"\x7f\0\0\2", 8080, b"\x0a\0\0\2", 80)
    assert [in_words(element) for element in elements_of(loopback)] == ["127.0.0.2 . 6 . 8080 : 10.0.0.2 . 80"]
    everywhere = PortForward(17, bytes(16), 53, b"\xfd" + bytes(14) + b"\2", 53)
    assert [in_words(element) for element in elements_of(everywhere)] == ["17 . 53 : fd00::2 . 53"]
    opened = OpenPort(132, bytes(15) + b"\1", 9)
    assert [in_words(element) for element in elements_of(opened)] == ["::1 . 132 . 9"]
    disguise = Masquerade("br0", 4, b"\x0a\0\0\1")
    assert [in_words(element) for element in elements_of(disguise)] == ['"br0" : 10.0.0.1']
    policy = ForwardPolicy("br0", icc=True, internal=False)
    assert [in_words(element) for element in elements_of(policy)] == ['"br0"', '"br0" . "br0"', '"br0" . "br0"']
