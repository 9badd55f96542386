"""The contract of a recorder holds for both of ours, and notices what breaks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent
from eventsourcing.persistence import IntegrityError
from hypothesis import Phase, settings

from netledger.ledger.chain import Verification
from netledger.ledger.memory import MemoryRecorder
from netledger.ledger.recorder import Statistics
from netledger.ledger.sqlite import SQLiteRecorder
from netledger.testing.contracts.recorder import RecorderContract

FIRST_FOUND = settings(
    max_examples=1000, deadline=None, derandomize=True, database=None, phases=[Phase.generate], print_blob=False
)


class TestSQLiteRecorder(RecorderContract):
    """The log in a file keeps the contract."""

    def open_recorder(self, directory: Path) -> SQLiteRecorder:
        """Open the file."""
        return SQLiteRecorder(directory / "ledger.db", synchronous="NORMAL")


class TestMemoryRecorder(RecorderContract):
    """The log in memory keeps the contract."""

    is_shared = False

    def open_recorder(self, directory: Path) -> MemoryRecorder:
        """Make a new log: there is nothing in the directory."""
        return MemoryRecorder()


class Careless(MemoryRecorder):
    """Appends whatever the condition says."""

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Leave the condition out."""
        return super().append(events)


class Halfway(MemoryRecorder):
    """Keeps the first event of a batch whose condition failed."""

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append half of it anyway."""
        try:
            return super().append(events, condition)
        except IntegrityError:
            super().append(events[:1])
            raise


class SelfConscious(MemoryRecorder):
    """Takes a batch's own events for another's."""

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append one event after the other."""
        return [super(SelfConscious, self).append([event], condition) for event in events][-1]


class AnyTag(MemoryRecorder):
    """Finds what has one of the tags."""

    def read_raw(self, *, tags: Sequence[str], **others: Any) -> Iterator[Sequence]:
        """Look for the first tag alone."""
        return super().read_raw(tags=tags[:1], **others)


class Hasty(MemoryRecorder):
    """Takes whatever begins and ends so for a tag with one scope."""

    def find_tags(self, prefix: str, ending: str) -> list[str]:
        """Look at both ends alone."""
        return sorted(tag for tag in self._positions_of_tag if tag.startswith(prefix) and tag.endswith(f"/{ending}"))


class FirstOnly(MemoryRecorder):
    """Gives the first positions whichever are wanted."""

    def positions(self, tag: str, **how: Any) -> list[int]:
        """Look at one end."""
        return super().positions(tag, **{**how, "last": False})


class Seamy(MemoryRecorder):
    """Loses the last event of each full batch."""

    def read_raw(self, **how: Any) -> Iterator[Sequence]:
        """Drop one."""
        for page in super().read_raw(**how):
            yield page[:-1] if len(page) > 10 else page


class Deaf(MemoryRecorder):
    """Wakes nobody."""

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append while nobody listens."""
        signals, self._listeners._signals = self._listeners._signals, set()
        try:
            return super().append(events, condition)
        finally:
            self._listeners._signals = signals


class Unchained(MemoryRecorder):
    """Says that all is well without looking."""

    def verify(self) -> Verification:
        """Make up a hash."""
        return Verification(self.head, "00" * 32)

    def stat(self) -> Statistics:
        """Make up the same hash."""
        found = super().stat()
        return Statistics(found.id, 0, found.head, "00" * 32, found.events, 0, found.first_at, found.last_at)


class Forgetful(SQLiteRecorder):
    """Keeps cursors only in memory."""

    def flush_cursors(self) -> None:
        """Write nothing."""


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (Careless, "test_a_failed_condition_appends_nothing"),
        (Careless, "test_any_program_gives_what_the_library_s_gives"),
        (Halfway, "test_a_failed_condition_appends_nothing"),
        (Halfway, "test_any_program_gives_what_the_library_s_gives"),
        (SelfConscious, "test_a_condition_looks_at_what_came_after_its_position"),
        (AnyTag, "test_raw_reads_are_cut_by_tags_types_and_limits"),
        (AnyTag, "test_raw_reads_give_what_the_library_s_query_gives"),
        (FirstOnly, "test_positions_of_a_tag_are_cut_at_either_end"),
        (Hasty, "test_tags_are_found_whatever_their_scope"),
        (Hasty, "test_no_tag_hides_another"),
        (Seamy, "test_a_read_longer_than_a_batch_has_no_seam"),
        (Deaf, "test_whoever_listens_is_told_of_an_append"),
        (Unchained, "test_the_chain_covers_every_event"),
    ],
)
def test_each_mistake_is_found(wrong: type[MemoryRecorder], test: str) -> None:
    """A recorder that breaks a rule fails the test of that rule."""

    class Contract(RecorderContract):
        settings = FIRST_FOUND

        def open_recorder(self, directory: Path) -> MemoryRecorder:
            return wrong()

    needs_recorder = not test.startswith(("test_any_program", "test_raw_reads_give", "test_no_tag"))
    with closing(wrong()) as recorder, pytest.raises((AssertionError, pytest.fail.Exception, IntegrityError)):
        getattr(Contract(), test)(*[recorder] * needs_recorder)


def test_a_cursor_that_is_not_kept_is_noticed(tmp_path: Path) -> None:
    """A recorder that forgets its cursors fails when it is opened again."""

    class Contract(RecorderContract):
        def open_recorder(self, directory: Path) -> SQLiteRecorder:
            return Forgetful(directory / "ledger.db", synchronous="NORMAL")

    contract = Contract()
    with pytest.raises(AssertionError, match="a cursor that was flushed is kept"):
        contract.test_a_log_is_there_when_it_is_opened_again(contract.open_recorder(tmp_path), tmp_path)


def test_two_openings_that_are_two_logs_are_noticed(tmp_path: Path) -> None:
    """A recorder that says it is shared and is not fails with the id."""
    with pytest.raises(AssertionError, match="the same log has the same id"):
        RecorderContract().test_two_openings_are_one_log(MemoryRecorder(), MemoryRecorder())
