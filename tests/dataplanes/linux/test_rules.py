"""Objects as iptables rules, and back from their comments."""

from __future__ import annotations

import pytest
from hypothesis import given

from netledger.dataplanes.linux.firewall.rules import COMMENT_LIMIT, Names, rules_of, skeleton, thing_of, things_of
from netledger.domain.objects import ForwardPolicy, Masquerade, OpenPort, PortForward

from .test_elements import things

NAMES = Names("0a1b2c3d")
CHAIN_LIMIT = 28


def can_be_said(thing):
    """Whether a made-up object has names that iptables takes for what they are."""
    try:
        rules_of(NAMES, thing)
    except ValueError:
        return False
    return True


@given(things)
def test_there_and_back(objects):
    """What is lowered to rules is read back from their comments, of either family."""
    sayable = [thing for thing in objects if can_be_said(thing)]
    rules = [rule for thing in sayable for rule in rules_of(NAMES, thing)]
    assert set(things_of(NAMES, (rule.comment for rule in rules))) == set(sayable)


@given(things)
def test_rules_are_of_one_object(objects):
    """In one chain no two rules have the same comment, and every comment fits and names its object's key alone."""
    sayable = [thing for thing in objects if can_be_said(thing)]
    rules = [rule for thing in sayable for rule in rules_of(NAMES, thing)]
    rules += [rule for family in (4, 6) for rule in skeleton(NAMES, family)]
    assert len({(rule.family, rule.table, rule.chain, rule.comment) for rule in rules}) == len(rules)
    assert all(len(rule.comment.encode()) <= COMMENT_LIMIT and len(rule.chain) <= CHAIN_LIMIT for rule in rules)
    subjects = {rule.subject for thing in sayable for rule in rules_of(NAMES, thing)}
    assert len(subjects) == len(sayable)


def test_the_skeleton_is_of_no_object():
    """Rules that are always there stand for nothing, nor do those of another instance, or of a stranger."""
    own = [rule.comment for family in (4, 6) for rule in skeleton(NAMES, family)]
    others = [rule.comment for rule in rules_of(Names("ffffffff"), OpenPort(6, bytes(4), 80))]
    strange = [
        "my own rule",
        "netledger-0a1b2c3d 10 open tcp",
        "netledger-0a1b2c3d 10 open 6 0.0.0.0 eighty :",
        "netledger-0a1b2c3d 10 open 6 nowhere 80 =",
        "netledger-0a1b2c3d 10 open 6 0.0.0.0 080 :",
        "netledger-0a1b2c3d 80 policy br0 = yes perhaps nat nat -",
    ]
    assert [thing_of(NAMES, comment) for comment in (*own, *others, *strange)] == [None] * len(
        (*own, *others, *strange)
    )


@pytest.mark.parametrize("name", ["br+", "!br0", "a,b", "-", "br\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a" * 16])
def test_names_that_iptables_would_misread(name):
    """They are refused, as another interface's name would be meant, or none."""
    with pytest.raises(ValueError, match="cannot be said to iptables"):
        rules_of(NAMES, Masquerade(name, 4))
    with pytest.raises(ValueError, match="cannot be said to iptables"):
        rules_of(NAMES, ForwardPolicy("br0", icc=True, internal=False, trusted=(name,)))


def test_values_that_fit_nowhere():
    """Each is refused with what is wrong."""
    with pytest.raises(ValueError, match="70000 is no port"):
        rules_of(NAMES, PortForward(6, bytes(4), 70000, bytes(4), 80))
    with pytest.raises(ValueError, match="of another family"):
        rules_of(NAMES, Masquerade("br0", 6, bytes(4)))
    many = tuple(f"interface{number:03}" for number in range(30))
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        rules_of(NAMES, ForwardPolicy("br0", icc=True, internal=False, trusted=many))
