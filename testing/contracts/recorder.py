"""The contract of a ledger's recorder as tests. Subclass `RecorderContract` and say how to open one.

    class TestMyRecorder(RecorderContract):
        def open_recorder(self, directory):
            return MyRecorder(directory / "log")

It is the library's own conformance for DCB recorders, a comparison with the library's recorder on arbitrary programs,
and what a ledger needs beyond it: dense positions, appends of all or nothing, raw reads, cursors, the hash chain.
Keeps: every test begins with an empty log. Knows nothing of: event classes, files.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import msgpack
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem, DCBRecorder
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.dcb.tests import DCBRecorderTestCase
from eventsourcing.persistence import IntegrityError, ProgrammingError
from hypothesis import given, settings
from hypothesis import strategies as st

from ...domain.errors import LedgerConflict, LedgerDamaged
from ...ledger.chain import genesis, link
from ...ledger.recorder import BATCH_EVENTS, NO_END, Recorder
from .recorder_programs import Program, histories, program_steps, run_step

if TYPE_CHECKING:
    from eventsourcing.dcb.api import DCBReadResponse, DCBSubscription

__all__ = ["LogRecorder", "RecorderContract"]

_odd_texts = st.text("ab/-0:é", max_size=3)
_odd_tags = st.tuples(st.sampled_from(("k:", "l:", "k:a/", "k")), _odd_texts).map("".join)

WRITERS = 4
APPENDS = 40


class LogRecorder(Recorder, Protocol):
    """What a ledger needs (`ledger/recorder.py`), and what the library calls a recorder."""

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        """Read the events that match any item of the query."""

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> DCBSubscription[DCBRecorder]:
        """Read what is there and then what comes."""


class RecorderContract:
    """What any recorder keeps."""

    is_shared: ClassVar[bool] = True
    """Whether opening the same directory again, at once or later, opens the same log."""
    settings: ClassVar[settings] = settings(max_examples=150, deadline=None)
    """How many programs are compared with the library's recorder."""

    def open_recorder(self, directory: Path) -> LogRecorder:
        """Open the log in this directory, made if there is none."""
        raise NotImplementedError("say how to open your recorder: override open_recorder")

    @pytest.fixture
    def recorder(self, tmp_path: Path) -> Iterator[LogRecorder]:
        """Open an empty log."""
        with closing(self.open_recorder(tmp_path)) as recorder:
            yield recorder

    @pytest.fixture
    def other(self, recorder: LogRecorder, tmp_path: Path) -> Iterator[LogRecorder]:
        """Open the same log a second time."""
        if not self.is_shared:
            pytest.skip("this recorder's log is its own: nobody else opens it")
        assert recorder.head == 0
        with closing(self.open_recorder(tmp_path)) as other:
            yield other

    # --- the library's own cases

    def test_it_appends_and_reads_as_the_library_does(self, recorder: LogRecorder) -> None:
        """The library's conformance case for reading and conditional appends."""
        DCBRecorderTestCase()._test_append_read(_library(recorder))  # noqa: SLF001 - how the library offers it

    def test_subscriptions_wake_as_the_library_s_do(self, recorder: LogRecorder) -> None:
        """The library's conformance case for subscriptions."""
        DCBRecorderTestCase()._test_append_subscribe(_library(recorder))  # noqa: SLF001 - how the library offers it

    def test_cases_hold_behind_other_events(self, recorder: LogRecorder) -> None:
        """The subscription case holds on a log that is not empty."""
        recorder.append([_event() for _ in range(3)])
        case = DCBRecorderTestCase()
        case._test_append_subscribe(_library(recorder), initial_position=3)  # noqa: SLF001 - how the library offers it

    def test_any_program_gives_what_the_library_s_gives(self) -> None:
        """Conditional appends and reads in any order give what the library's recorder in memory gives."""

        @self.settings
        @given(program_steps)
        def compare(program: Program) -> None:
            oracle, head = InMemoryDCBRecorder(), 0
            with tempfile.TemporaryDirectory() as directory, closing(self.open_recorder(Path(directory))) as recorder:
                for step in program:
                    expected = run_step(oracle, head, step)
                    assert run_step(_library(recorder), head, step) == expected, f"the library differs at {step}"
                    head = expected if isinstance(expected, int) else head
                assert recorder.head == head, "head is the last position"
                assert recorder.verify().problem is None, "the chain of whatever was appended verifies"

        compare()

    def test_raw_reads_give_what_the_library_s_query_gives(self) -> None:
        """Raw reads by tags and types, cut at both ends, give the library's events."""

        @self.settings
        @given(histories)
        def compare(history: tuple[list[DCBEvent], DCBQueryItem, int, int, int | None]) -> None:
            events, item, after, until, limit = history
            oracle = InMemoryDCBRecorder()
            with tempfile.TemporaryDirectory() as directory, closing(self.open_recorder(Path(directory))) as recorder:
                if events:
                    oracle.append(events)
                    recorder.append(events)
                expected = [
                    (found.position, found.event.type, found.event.data)
                    for found in oracle.read(DCBQuery([item]), after=after)
                    if found.position <= until
                ][:limit]
                pages = recorder.read_raw(after=after, until=until, tags=item.tags, types=item.types, limit=limit)
                got = [(place, recorder.describe(number).name, data) for page in pages for place, number, data in page]
                assert got == expected, "read_raw: events with all the tags and one of the types, in order"

        compare()

    # --- appending

    def test_positions_are_dense(self, recorder: LogRecorder) -> None:
        """They begin at 1 and have no gap; an append returns the last."""
        assert recorder.head == 0, "an empty log's head is 0"
        assert recorder.append([_event("a"), _event("b")]) == 2, "append returns the position of its last event"
        assert recorder.append([_event("c")]) == 3, "positions follow each other without a gap"
        assert _positions(recorder) == [1, 2, 3]
        assert recorder.head == 3

    def test_an_append_of_nothing_is_a_programming_error(self, recorder: LogRecorder) -> None:
        """It is refused, as the library does."""
        with pytest.raises(ProgrammingError):
            recorder.append([])

    def test_a_failed_condition_appends_nothing(self, recorder: LogRecorder) -> None:
        """Not an event of the batch is there, by whatever it is read; the next one takes the next position."""
        recorder.append([_event("a")])
        with pytest.raises(IntegrityError) as caught:
            recorder.append([_event("x", kind="New"), _event("y")], _unless("a", after=0))
        assert isinstance(caught.value, LedgerConflict), "a failed condition is an IntegrityError and a LedgerConflict"
        assert "1" in str(caught.value), "it names the position that is in the way"
        assert recorder.head == 1
        for tag in ("x", "y"):
            assert _positions(recorder, tags=[tag]) == [], "what failed is not found by its tags"
        assert _positions(recorder, types=["New"]) == [], "what failed is not found by its type"
        assert recorder.append([_event("z", kind="New")]) == 2
        assert recorder.verify().problem is None

    def test_a_condition_looks_at_what_came_after_its_position(self, recorder: LogRecorder) -> None:
        """All tags of an item must be there, and one of its types; neither what came before nor the batch counts."""
        recorder.append([_event("a", "b"), _event("a"), _event("c", kind="Other")])
        assert recorder.append([_event("a")], _unless("a", after=3)) == 4
        assert recorder.append([_event("d"), _event("d")], _unless("d", after=0)) == 6, "not against itself"
        assert recorder.append([_event("e")], _unless("a", "c", after=0)) == 7, "no event has both tags"
        assert recorder.append([_event("e")], _unless("c", after=0, types=["Thing"])) == 8, "none of that type"
        for condition in (
            _unless("a", "b", after=0),
            _unless("c", after=2, types=["Thing", "Other"]),
            _unless(after=7),
        ):
            with pytest.raises(IntegrityError):
                recorder.append([_event("f")], condition)
        assert recorder.head == 8

    def test_a_position_that_is_not_there_is_damage(self, recorder: LogRecorder) -> None:
        """Whoever has seen more than the log holds has seen another log."""
        recorder.append([_event("a")])
        with pytest.raises(LedgerDamaged):
            recorder.append([_event("b")], _unless("z", after=7))
        assert recorder.head == 1

    # --- reading

    def test_raw_reads_are_cut_by_tags_types_and_limits(self, recorder: LogRecorder) -> None:
        """All tags, one of the types, both ends, and a limit; a tag given twice counts once."""
        recorder.append([_event("a"), _event("a", "b", "b"), _event("b", kind="Other"), _event("a", kind="Other")])
        assert _positions(recorder, tags=["a"]) == [1, 2, 4]
        assert _positions(recorder, tags=["b", "a", "b"]) == [2]
        assert _positions(recorder, tags=["b"], types=["Other"]) == [3]
        assert _positions(recorder, types=["Other", "Thing"], after=1, limit=2) == [2, 3]
        assert _positions(recorder, types=["None"]) == []
        assert _positions(recorder, tags=["none"]) == []
        assert _positions(recorder, after=1, until=3) == [2, 3]
        assert _positions(recorder, limit=0) == []

    def test_positions_of_a_tag_are_cut_at_either_end(self, recorder: LogRecorder) -> None:
        """The first so many or the last so many, in order, of committed events alone, after one and until another."""
        recorder.append([_event("a"), _event("b"), _event("a", "b"), _event("a", "a"), _event("a")])

        def found(**how: Any) -> list[int]:  # noqa: ANN401 - the method's own
            return recorder.positions("a", **{"after": 0, "until": NO_END, "limit": 9, **how})

        assert found() == found(last=True) == [1, 3, 4, 5]
        assert (found(limit=2), found(limit=2, last=True)) == ([1, 3], [4, 5])
        assert (found(after=1, until=4), found(after=1, until=4, limit=1, last=True)) == ([3, 4], [4])
        assert found(limit=0) == found(limit=0, last=True) == found(after=5) == []
        assert recorder.positions("none", after=0, until=NO_END, limit=9) == []
        with pytest.raises(IntegrityError):
            recorder.append([_event("a")], _unless("b", after=0))
        assert found(after=4) == [5], "what failed is not found"

    def test_tags_are_found_whatever_their_scope(self, recorder: LogRecorder) -> None:
        """Those with the prefix, one scope and the ending, in order and once each, of committed events alone."""
        recorder.append([_event("k:b/x", "k:a/x"), _event("k:a/x", "k:a/y", "k:a/b/x", "k:c/y", "other:d/x", "k:/x")])
        assert recorder.find_tags("k:", "x") == ["k:/x", "k:a/x", "k:b/x"]
        assert recorder.find_tags("k:", "b/x") == ["k:a/b/x"], "the ending may have slashes, the scope none"
        assert recorder.find_tags("k:a/", "x") == ["k:a/b/x"], "a prefix may end in a slash"
        assert recorder.find_tags("none:", "x") == []
        with pytest.raises(IntegrityError):
            recorder.append([_event("k:z/x")], _unless("k:a/x", after=1))
        assert recorder.find_tags("k:", "x") == ["k:/x", "k:a/x", "k:b/x"], "what failed is not found"

    def test_no_tag_hides_another(self) -> None:
        """Whatever tags there are, `find_tags` lists those that look like it."""

        @self.settings
        @given(tags=st.sets(_odd_tags, min_size=1), prefix=st.sampled_from(("k:", "k:a/", "l:")), ending=_odd_texts)
        def compare(tags: set[str], prefix: str, ending: str) -> None:
            looks_like_it = re.compile(f"{re.escape(prefix)}[^/]*/{re.escape(ending)}")
            with tempfile.TemporaryDirectory() as directory, closing(self.open_recorder(Path(directory))) as recorder:
                recorder.append([_event(tag) for tag in tags])
                expected = sorted(tag for tag in tags if looks_like_it.fullmatch(tag))
                assert recorder.find_tags(prefix, ending) == expected, "find_tags: all that fit and no others"

        compare()

    def test_a_read_longer_than_a_batch_has_no_seam(self, recorder: LogRecorder) -> None:
        """Batches follow each other without gap or repeat, whatever is read by."""
        count = 2 * BATCH_EVENTS + 1
        recorder.append([_event("a", kind=("Thing", "Other")[number % 2]) for number in range(count)])
        everything = list(range(1, count + 1))
        assert _positions(recorder) == everything
        assert _positions(recorder, tags=["a"]) == everything
        assert _positions(recorder, types=["Other", "Thing"]) == everything
        assert _positions(recorder, tags=["a"], limit=count - 1) == everything[:-1]

    def test_a_subscription_gives_each_event_once(self, recorder: LogRecorder) -> None:
        """Those before it began, then each that comes, in order, while another thread appends."""
        recorder.append([_event("a")])
        thread = threading.Thread(target=lambda: [recorder.append([_event("a")] * 2) for _ in range(APPENDS)])
        with recorder.subscribe() as subscription:
            thread.start()
            found = [event.position for event in islice(subscription, 2 * APPENDS + 1)]
        thread.join()
        assert found == list(range(1, 2 * APPENDS + 2)), "no event is lost or given twice"

    def test_whoever_listens_is_told_of_an_append(self, recorder: LogRecorder) -> None:
        """The signal is set after an append of this process."""
        with recorder.listening() as appended:
            assert not appended.is_set()
            recorder.append([_event("a")])
            assert appended.wait(1), "listening: the signal is set after each append"

    # --- at once

    def test_threads_append_side_by_side(self, recorder: LogRecorder) -> None:
        """Appends of several threads get positions of their own, and readers see whole appends."""
        ends = _all_at_once([recorder] * WRITERS, recorder)
        assert ends == list(range(2, 2 * WRITERS * APPENDS + 1, 2)), "each append of two has two positions of its own"
        assert recorder.verify().problem is None

    def test_two_openings_are_one_log(self, recorder: LogRecorder, other: LogRecorder) -> None:
        """Each sees what the other appends, in a read, in its conditions, and while both write."""
        assert recorder.id == other.id, "the same log has the same id"
        assert recorder.append([_event("a")]) == 1
        assert other.head == 1
        with pytest.raises(IntegrityError):
            other.append([_event("b")], _unless("a", after=0))
        assert other.append([_event("b", kind="Other")], _unless("a", after=1)) == 2
        assert _positions(recorder, types=["Other"]) == [2], "types that the other opening wrote first are known"
        ends = _all_at_once([recorder, other] * (WRITERS // 2), recorder)
        assert ends == list(range(4, 2 * WRITERS * APPENDS + 3, 2)), "two writers never get the same position"
        assert recorder.verify() == other.verify()
        assert recorder.verify().problem is None

    def test_of_two_writers_with_one_condition_one_wins(self, recorder: LogRecorder, other: LogRecorder) -> None:
        """However often both try to be the first behind the same position, exactly one is."""
        for number in range(APPENDS):
            won: list[int] = []
            barrier = threading.Barrier(2)
            threads = [
                threading.Thread(target=_racing(writer, f"name{number}", barrier, won)) for writer in (recorder, other)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1, f"one of two writers with the same condition wins, not {len(won)}"

    def test_a_log_is_there_when_it_is_opened_again(self, recorder: LogRecorder, tmp_path: Path) -> None:
        """Its id, events, tags, types, cursors and chain are what they were; it goes on at its end."""
        if not self.is_shared:
            pytest.skip("this recorder's log is its own: nobody opens it again")
        recorder.append([_event("a"), _event("b", kind="Other")])
        recorder.set_cursor("reader", 2)
        recorder.flush_cursors()
        before = (recorder.id, recorder.verify(), recorder.stat().head_hash, _everything(recorder))
        recorder.close()
        with closing(self.open_recorder(tmp_path)) as again:
            assert again.damage is None
            assert (again.id, again.verify(), again.stat().head_hash, _everything(again)) == before
            assert again.cursor("reader") == 2, "a cursor that was flushed is kept"
            assert again.append([_event("c", kind="Other")], _unless("a", after=1)) == 3
            assert _positions(again, types=["Other"]) == [2, 3]
            assert again.verify().problem is None

    # --- the rest

    def test_the_chain_covers_every_event(self, recorder: LogRecorder) -> None:
        """The head's hash is the one that follows from the id and each event's position, type, tags and data."""
        chain = genesis(recorder.id)
        assert recorder.verify().head_hash == recorder.stat().head_hash == chain.hex()
        recorder.append([_event("a", "b"), _event(kind="Other")])
        recorder.append([_event("c", data=msgpack.packb([17, "x"]))])
        for page in recorder.read_raw(after=0, until=NO_END, tags=(), types=(), limit=None):
            for position, number, data in page:
                (event,) = recorder.read(after=position - 1, limit=1)
                frame = recorder.describe(number).frame()
                chain = link(chain, position, frame, msgpack.packb(event.event.tags), data)
        found = recorder.verify()
        assert (found.events, found.problem, found.bad_position) == (3, None, None)
        assert found.head_hash == chain.hex(), "the chain links position, type, tags and data of every event"
        assert recorder.stat().head_hash == chain.hex()

    def test_it_counts_what_is_there(self, recorder: LogRecorder) -> None:
        """Statistics tell types, ends and times."""
        empty = recorder.stat()
        assert (empty.head, empty.events, empty.first_at, empty.last_at) == (0, {}, None, None)
        recorder.append([_event(data=msgpack.packb([at])) for at in (3, 5)])
        recorder.append([_event(kind="Other", data=msgpack.packb([8]))])
        found = recorder.stat()
        assert found.events == {"Thing": 2, "Other": 1}
        assert (found.head, found.first_at, found.last_at, found.id) == (3, 3, 8, recorder.id)

    def test_a_log_has_an_id_of_its_own(self, recorder: LogRecorder, tmp_path: Path) -> None:
        """32 hex digits, unlike another log's; a new log is whole."""
        directory = tmp_path / "another"
        directory.mkdir()
        with closing(self.open_recorder(directory)) as another:
            assert len(bytes.fromhex(recorder.id)) == len(bytes.fromhex(another.id)) == 16
            assert recorder.id != another.id
        assert recorder.damage is None

    def test_cursors_are_kept_by_name(self, recorder: LogRecorder) -> None:
        """An unknown one is 0, each has its own position, and they may go back."""
        assert recorder.cursor("reader") == 0
        recorder.append([_event("a")])
        recorder.set_cursor("reader", 1)
        assert (recorder.cursor("reader"), recorder.cursor("another")) == (1, 0)
        recorder.flush_cursors()
        recorder.set_cursor("reader", 0)
        assert recorder.cursor("reader") == 0

    def test_closing_twice_is_no_error(self, recorder: LogRecorder) -> None:
        """The second time there is nothing to give back."""
        recorder.append([_event("a")])
        recorder.close()
        recorder.close()


def _library(recorder: LogRecorder) -> DCBRecorder:
    return cast("DCBRecorder", recorder)


def _event(*tags: str, kind: str = "Thing", data: bytes = b"data") -> DCBEvent:
    return DCBEvent(kind, data, list(tags))


def _unless(*tags: str, after: int, types: Sequence[str] = ()) -> DCBAppendCondition:
    return DCBAppendCondition(DCBQuery([DCBQueryItem(list(types), list(tags))]), after)


def _positions(
    recorder: LogRecorder,
    *,
    after: int = 0,
    until: int = NO_END,
    tags: Sequence[str] = (),
    types: Sequence[str] = (),
    limit: int | None = None,
) -> list[int]:
    pages = recorder.read_raw(after=after, until=until, tags=tags, types=types, limit=limit)
    return [position for page in pages for position, _, _ in page]


def _everything(recorder: LogRecorder) -> list[tuple[int, str, bytes, list[str]]]:
    return [(found.position, found.event.type, found.event.data, found.event.tags) for found in recorder.read()]


def _all_at_once(writers: Sequence[LogRecorder], reader: LogRecorder) -> list[int]:
    """Append pairs with each of the writers in a thread of its own; return where the appends ended, in order."""
    ends: list[int] = []
    before = reader.head

    def append(writer: LogRecorder) -> None:
        ends.extend(writer.append([_event("pair"), _event("pair")]) for _ in range(APPENDS))

    threads = [threading.Thread(target=append, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = _positions(reader, after=before)
        assert seen == list(range(before + 1, before + len(seen) + 1)), "a reader sees no gap while others append"
        assert len(seen) % 2 == 0, "a reader sees whole appends"
    for thread in threads:
        thread.join()
    return sorted(ends)


def _racing(writer: LogRecorder, name: str, barrier: threading.Barrier, won: list[int]) -> Callable[[], None]:
    def run() -> None:
        barrier.wait()
        try:
            won.append(writer.append([_event(name)], _unless(name, after=0)))
        except IntegrityError:
            return

    return run
