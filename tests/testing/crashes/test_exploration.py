"""No death of the engine is one that the next start does not make good: all pairs of operations, in every moment."""

from __future__ import annotations

import pytest

from netledger.domain.commands import ChooseFirewall
from netledger.domain.firewalls import AUTOMATIC
from netledger.testing.crashes import ALPHABET, Exploration, Operation

EACH = pytest.mark.parametrize("first", ALPHABET, ids=lambda operation: operation.name)
KINDS = {"append", "write", "kernel", "checkpoint"}


@pytest.mark.timeout(600)
@EACH
def test_every_death_in_a_pair_is_made_good(first, note):
    """Whatever comes after an operation, and whenever in either the process dies, once or several times in a row."""
    exploration = Exploration()
    exploration.explore(first, length=2)
    tally = exploration.tally
    note("pairs", tally)
    assert tally.programs == len(ALPHABET)
    assert tally.points.keys() == KINDS
    assert tally.points.total() > 2_000, "so few moments are not all"
    assert tally.points["write"] > 300
    assert tally.points["kernel"] > 1_000
    assert tally.worlds > 120


@EACH
@pytest.mark.parametrize("is_checkpointed", [False, True], ids=["log grows", "log begins anew"])
def test_every_torn_file_is_gone_on_from(first, is_checkpointed, note):
    """Every kind of torn file takes the same request again, and what comes after it; a fault may be met by a start."""
    exploration = Exploration(is_thorough=True, is_checkpointed=is_checkpointed)
    exploration.explore(first, length=1)
    note("single operations on every torn file", exploration.tally)
    assert exploration.tally.opened > 40


@pytest.mark.soak
@EACH
def test_every_death_in_a_triple_is_made_good(first, note):
    """The same of every three operations."""
    exploration = Exploration()
    exploration.explore(first, length=3)
    note("triples", exploration.tally)
    assert exploration.tally.programs == len(ALPHABET) ** 2
    assert exploration.tally.points.total() > 8_000


@pytest.mark.soak
@EACH
@pytest.mark.parametrize("is_checkpointed", [False, True], ids=["log grows", "log begins anew"])
def test_every_torn_file_of_a_pair_is_gone_on_from(first, is_checkpointed, note):
    """The same of every two operations, on every kind of torn file."""
    exploration = Exploration(is_thorough=True, is_checkpointed=is_checkpointed)
    exploration.explore(first, length=2)
    note("pairs on every torn file", exploration.tally)
    assert exploration.tally.opened > 800


MOVES = tuple(
    Operation(f"use {name}", lambda _, name=name: [ChooseFirewall(name)], "a move of the host is two events")
    for name in AUTOMATIC
)


@EACH
def test_every_death_in_a_move_of_the_firewall_is_made_good(first, note):
    """To the one, back or on to the other, after something that the rules are about; and without any of it before."""
    exploration = Exploration(MOVES)
    exploration.explore(first, length=3)
    note("moves of the firewall", exploration.tally)
    assert exploration.tally.programs == len(MOVES) ** 2
    assert exploration.tally.points.total() > 300


def test_an_exploration_is_the_same_each_time():
    """What a failure prints is found again: no chance is in it."""
    tallies = []
    for _ in range(2):
        exploration = Exploration()
        exploration.explore(ALPHABET[0], length=1)
        tallies.append(exploration.tally)
    assert tallies[0] == tallies[1]


def test_names_are_told_apart():
    """Operations are known by their names: each name is one operation's, and says why it is there."""
    assert len({operation.name for operation in ALPHABET}) == len(ALPHABET) == 8
    assert all(operation.why for operation in ALPHABET)
