from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.domain.events import ClockStepped, Recorded
from netledger.domain.ipam.ordinals import OrdinalSet
from netledger.domain.values import Position
from netledger.projections.journal import Journal
from tests.desk import ORIGIN

KEYS = st.integers(0, 5)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["put", "drop", "discard", "flip", "inner"]), KEYS), max_size=40)


class Tables:
    """A table of positions, one of records, one of tables, and an ordinal set, changed through a journal alone."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.position = 0
        self.positions: dict[int, int] = {}
        self.records: dict[int, Recorded] = {}
        self.outer: dict[int, dict[int, int]] = {}
        self.ordinals = OrdinalSet(4)

    def change(self, operation: str, key: int) -> None:
        """Do one thing, if it can be done."""
        self.position += 1
        journal = self.journal
        if operation == "put" and key not in self.positions:
            journal.put(self.positions, key, self.position)
            journal.put(self.records, key, Recorded(Position(self.position), ClockStepped(*ORIGIN, back=key)))
        elif operation == "drop" and key in self.positions:
            journal.drop(self.positions, key)
            journal.drop(self.records, key)
        elif operation == "discard":
            journal.discard(self.positions, key)
            journal.discard(self.records, key)
        elif operation == "flip":
            (journal.give if self.ordinals.holds(key) else journal.take)(self.ordinals, key)
        elif operation == "inner":
            if key in self.outer:
                journal.drop(self.outer[key], key)
                journal.drop(self.outer, key)
            else:
                journal.put(self.outer, key, {})
                journal.put(self.outer[key], key, self.position)

    def state(self) -> tuple[object, ...]:
        """Copy everything, with the order of what is listed."""
        outer = {key: dict(inner) for key, inner in self.outer.items()}
        return list(self.positions.items()), list(self.records.items()), outer, list(self.ordinals)


@given(OPERATIONS, OPERATIONS, OPERATIONS)
def test_undo_is_as_if_nothing_had_happened(before, speculative, after):
    """Changes since `begin` are taken back, in content and order, and later changes find the same state."""
    journaled, plain = Tables(), Tables()
    for tables in (journaled, plain):
        for operation in before:
            tables.change(*operation)
    state = journaled.state()
    journaled.journal.begin()
    for operation in speculative:
        journaled.change(*operation)
    journaled.journal.undo()
    assert journaled.state() == state
    journaled.position = plain.position
    for tables in (journaled, plain):
        for operation in after:
            tables.change(*operation)
    assert journaled.state() == plain.state()


@given(OPERATIONS, OPERATIONS)
def test_commit_keeps_everything(before, speculative):
    """After `commit` the state is that of a journal that never recorded."""
    journaled, plain = Tables(), Tables()
    for tables in (journaled, plain):
        for operation in before:
            tables.change(*operation)
        if tables is journaled:
            tables.journal.begin()
            assert tables.journal.is_recording
        for operation in speculative:
            tables.change(*operation)
    journaled.journal.commit()
    assert not journaled.journal.is_recording
    assert journaled.state() == plain.state()


def test_speculation_is_not_nested():
    """A second `begin` and an `undo` without `begin` are bugs that an assertion names."""
    journal = Journal()
    with pytest.raises(AssertionError, match="there is no speculative fold to take back"):
        journal.undo()
    journal.begin()
    with pytest.raises(AssertionError, match="under way already"):
        journal.begin()


def test_an_ordinal_is_taken_once_and_given_once():
    """Taking a held ordinal or giving a free one is a bug, not a no-op."""
    journal, ordinals = Journal(), OrdinalSet(4)
    journal.take(ordinals, 3)
    with pytest.raises(AssertionError, match="an ordinal is held once"):
        journal.take(ordinals, 3)
    journal.give(ordinals, 3)
    with pytest.raises(AssertionError, match="only a held ordinal is given back"):
        journal.give(ordinals, 3)
