"""The typed ledger, on a file and in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from netledger.domain.decision import Guard
from netledger.domain.errors import LedgerConflict, LedgerDamaged, LedgerError
from netledger.domain.events import EVENT_TYPES, AliasAdded, AliasRemoved, HostBooted, Recorded
from netledger.ledger.ledger import Ledger
from netledger.ledger.recorder import BATCH_EVENTS

Alias = Callable[..., AliasAdded]


def test_events_come_back_in_order_at_consecutive_positions(ledger: Ledger, alias: Alias) -> None:
    """What is appended is read back equal, and the last position is returned."""
    assert ledger.head == 0
    assert list(ledger.read()) == []
    events = [alias(number) for number in range(1, 6)]
    assert ledger.append(events[:2], (), 0) == 2
    assert ledger.append(events[2:], (), 2) == 5
    assert list(ledger.read()) == [Recorded(number, event) for number, event in enumerate(events, 1)]
    assert ledger.head == 5


def test_reads_are_cut_by_position_tags_types_and_limit(ledger: Ledger, alias: Alias) -> None:
    """All tags must match, and one of the types; repeated tags count once."""
    gone = AliasRemoved(9, "tester", "r9/0#00", "test", "h1", "e1", "n1", "alias1")
    ledger.append([alias(1), alias(2, endpoint="e2"), gone, alias(4)], (), 0)

    def positions(**how: object) -> list[int]:
        return [recorded.position for recorded in ledger.read(**how)]

    assert positions(after=1) == [2, 3, 4]
    assert positions(after=1, until=3) == [2, 3]
    assert positions(limit=2) == [1, 2]
    assert positions(limit=0) == []
    assert positions(tags=["endpoint:e1"]) == [1, 3, 4]
    assert positions(tags=["endpoint:e1", "endpoint:e1"]) == [1, 3, 4]
    assert positions(tags=["endpoint:e1", "name:endpoint/n1/alias1"]) == [1, 3]
    assert positions(tags=["endpoint:e1"], types=[AliasRemoved]) == [3]
    assert positions(types=[AliasRemoved, AliasAdded], after=1, limit=2) == [2, 3]
    assert positions(types=[HostBooted]) == []
    assert positions(tags=["request:r4/0"]) == [4]


def test_times_are_read_without_the_rest(ledger: Ledger, alias: Alias) -> None:
    """Position and time of each event, cut at both ends."""
    ledger.append([alias(number) for number in (1, 2, 3)], (), 0)
    everything = [(recorded.position, recorded.event.at) for recorded in ledger.read()]
    assert list(ledger.times()) == everything
    assert list(ledger.times(after=1, until=2)) == everything[1:2]


def test_a_read_longer_than_a_batch_has_no_seam(ledger: Ledger, alias: Alias) -> None:
    """Batches follow each other without gap or repeat, whatever is read by."""
    count = 2 * BATCH_EVENTS + 1
    ledger.append([alias(number) for number in range(count)], (), 0)
    gone = AliasRemoved(9, "tester", "r9/0#00", "test", "h1", "e1", "n1", "alias1")
    ledger.append([gone], (), count)
    everything = list(range(1, count + 2))
    assert [recorded.position for recorded in ledger.read()] == everything
    assert [recorded.position for recorded in ledger.read(tags=["endpoint:e1"])] == everything
    assert [recorded.position for recorded in ledger.read(types=[AliasRemoved, AliasAdded])] == everything
    assert [recorded.position for recorded in ledger.read(types=[AliasAdded], limit=count - 1)] == everything[:-2]


def test_a_read_ends_where_the_log_ended_when_it_began(ledger: Ledger, alias: Alias) -> None:
    """A reader that is slower than the writer comes to an end."""
    ledger.append([alias(1)], (), 0)
    seen = []
    for recorded in ledger.read():
        seen.append(recorded.position)
        ledger.append([alias(2)], (), ledger.head)
    assert seen == [1]


def test_a_guard_forbids_what_came_after_the_position(ledger: Ledger, alias: Alias) -> None:
    """A guard's tags must all be there, and one of its types; what came before the position does not count."""
    ledger.append([alias(1), alias(2, endpoint="e2")], (), 0)
    met = [
        Guard(("endpoint:e9",)),
        Guard(("endpoint:e1", "endpoint:e2")),
        Guard(("endpoint:e1",), (AliasRemoved, HostBooted)),
    ]
    assert ledger.append([alias(3)], met, 0) == 3
    for broken in (
        Guard(("endpoint:e2",)),
        Guard(("endpoint:e2", "name:endpoint/n1/alias2")),
        Guard(("endpoint:e2",), (AliasRemoved, AliasAdded)),
        Guard((), (AliasAdded,)),
        Guard(()),
    ):
        assert ledger.append([alias(4)], [broken], ledger.head)
        head = ledger.head
        with pytest.raises(LedgerConflict, match="was appended at position"):
            ledger.append([alias(5)], [*met, broken], 1)
        assert ledger.head == head


def test_a_batch_does_not_conflict_with_itself(ledger: Ledger, alias: Alias) -> None:
    """Guards are checked before any event of the batch is there."""
    ledger.append([alias(1)], (), 0)
    guards = [Guard(("endpoint:e7",)), Guard(("endpoint:e8",))]
    assert ledger.append([alias(2, "e7"), alias(3, "e8"), alias(4, "e7")], guards, 0) == 4


def test_two_writers_of_one_name_leave_one(path: Path, alias: Alias) -> None:
    """Of a batch whose guard another writer broke, no event is in the log, not even those that had no conflict."""
    with Ledger.open(path) as ours, Ledger.open(path) as theirs:
        seen = ours.append([alias(1, "e1")], (), 0)
        assert theirs.head == seen
        taken = Guard(("name:endpoint/n1/alias7",))
        theirs.append([alias(7, "e2")], [taken], seen)
        with pytest.raises(LedgerConflict, match="name:endpoint/n1/alias7 was appended at position 2"):
            ours.append([alias(5, "e5"), alias(7, "e3"), alias(6, "e6")], [Guard(("endpoint:e5",)), taken], seen)
        assert [recorded.event.endpoint for recorded in ours.read()] == ["e1", "e2"]
        assert ours.append([alias(5, "e5")], [Guard(("endpoint:e5",))], seen) == 3
        assert ours.verify().problem is None


def test_types_registered_by_another_writer_are_known(path: Path, alias: Alias) -> None:
    """Type numbers come from the log, whoever wrote a type first; those of a failed append are forgotten."""
    gone = AliasRemoved(9, "tester", "r9/0#00", "test", "h1", "e1", "n1", "alias1")
    with Ledger.open(path) as ours, Ledger.open(path) as theirs:
        ours.append([alias(1)], (), 0)
        with pytest.raises(LedgerConflict):
            theirs.append([gone], [Guard(())], 0)
        ours.append([HostBooted(1, "", "", "", "h1", "boot", "before")], (), 1)
        theirs.append([gone], (), 2)
        assert [recorded.position for recorded in ours.read(types=[AliasRemoved])] == [3]
        assert [type(recorded.event).__name__ for recorded in ours.read()] == [
            type(recorded.event).__name__ for recorded in theirs.read()
        ]
        assert ours.verify().problem is None


def test_an_append_after_the_log_s_end_is_refused(ledger: Ledger, alias: Alias) -> None:
    """Who has seen more than the log holds has seen another log."""
    ledger.append([alias(1)], (), 0)
    with pytest.raises(LedgerDamaged, match="the log ends at 1"):
        ledger.append([alias(2)], [Guard(("endpoint:e9",))], 7)


def test_cursors_survive_and_only_lag(path: Path, alias: Alias) -> None:
    """A cursor is durable with the next append, on flush and on close; a crash before that gives an older one."""
    with Ledger.open(path) as ledger:
        assert ledger.cursor("h1/simulated") == 0
        ledger.append([alias(1)], (), 0)
        ledger.set_cursor("h1/simulated", 1)
        assert ledger.cursor("h1/simulated") == 1
        with Ledger.open(path, read_only=True) as other:
            assert other.cursor("h1/simulated") == 0
            with pytest.raises(LedgerConflict):
                ledger.append([alias(2)], [Guard(())], 0)
            assert other.cursor("h1/simulated") == 0
            ledger.append([alias(2)], (), 1)
            assert other.cursor("h1/simulated") == 1
            ledger.set_cursor("h1/simulated", 2)
            ledger.flush_cursors()
            ledger.flush_cursors()
            assert other.cursor("h1/simulated") == 2
            ledger.set_cursor("h1/simulated", 1)
            assert ledger.cursor("h1/simulated") == 1
    with Ledger.open(path) as ledger:
        assert ledger.cursor("h1/simulated") == 1


@pytest.mark.parametrize("own", [True, False])
def test_follow_gives_every_event_once(path: Path, alias: Alias, own: bool) -> None:
    """A follower that starts before, between and during appends misses none, whoever appends."""
    count = 300
    with Ledger.open(path, synchronous="NORMAL") as ledger, Ledger.open(path, synchronous="NORMAL") as other:
        ledger.append([alias(0)], (), 0)
        writer = ledger if own else other

        def append() -> None:
            for number in range(1, count):
                writer.append([alias(number)], (), number)

        thread = threading.Thread(target=append)
        thread.start()
        stop = threading.Event()
        follower = ledger.follow(0, stop, 0.01)
        assert [recorded.position for recorded in islice(follower, count)] == list(range(1, count + 1))
        thread.join()
        stop.set()
        assert list(follower) == []


def test_follow_wakes_for_appends_of_this_process(ledger: Ledger, alias: Alias) -> None:
    """A follower that waits is woken: its poll here would come after the test's end."""
    follower = ledger.follow(0, None, 3600)
    thread = threading.Timer(0.05, lambda: ledger.append([alias(1)], (), 0))
    thread.start()
    assert next(follower).position == 1
    thread.join()


def test_follow_wakes_for_what_comes_between_its_read_and_its_wait(ledger: Ledger, alias: Alias, monkeypatch) -> None:
    """Nothing was found, and then it is appended: the follower does not sleep over it."""
    read_raw = ledger._recorder.read_raw

    def read_and_be_late(**how: object) -> Iterator[object]:
        found = list(read_raw(**how))
        if not found:
            ledger.append([alias(1)], (), ledger.head)
        return iter(found)

    monkeypatch.setattr(ledger._recorder, "read_raw", read_and_be_late)
    assert next(ledger.follow(0, None, 3600)).position == 1


def test_interrupt_during_an_append_in_memory_leaves_nothing(alias: Alias) -> None:
    """Ctrl-C between a batch's rows and the end of it: the log is as it was, and goes on there."""
    with Ledger.open(None) as ledger:
        ledger.append([alias(1)], (), 0)

        class Interrupting(dict):
            at: object = None

            def setdefault(self, key: object, default: object = None) -> object:
                if key == self.at:
                    raise KeyboardInterrupt
                return super().setdefault(key, default)

        recorder = ledger._recorder
        for name, at in (("_positions_of_tag", "request:r2/0"), ("_positions_of_type", 1)):
            index = Interrupting(getattr(recorder, name))
            setattr(recorder, name, index)
            index.at = at
            with pytest.raises(KeyboardInterrupt):
                ledger.append([alias(2)] * 2, (), 1)
            index.at = None
            assert ledger.head == 1
            assert ledger.verify().problem is None
        assert ledger.append([alias(3)], (), 1) == 2
        assert [recorded.event for recorded in ledger.read()] == [alias(1), alias(3)]
        assert [recorded.position for recorded in ledger.read(tags=["endpoint:e1"])] == [1, 2]
        assert [recorded.position for recorded in ledger.read(types=[AliasAdded])] == [1, 2]


def test_readers_see_whole_appends_while_another_thread_appends(ledger: Ledger, alias: Alias) -> None:
    """Head and reads agree: no gap, no half of an append, no head without its events."""
    done = threading.Event()

    def append() -> None:
        for number in range(150):
            ledger.append([alias(number)] * 3, (), 3 * number)
        done.set()

    thread = threading.Thread(target=append)
    thread.start()
    while not done.is_set():
        head = ledger.head
        assert head % 3 == 0
        found = [recorded.position for recorded in ledger.read()]
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= head
        assert len(found) % 3 == 0
        by_tag = [recorded.position for recorded in ledger.read(tags=["endpoint:e1"], until=head)]
        assert by_tag == list(range(1, head + 1))
    thread.join()
    assert ledger.verify().problem is None


def test_threads_append_side_by_side(ledger: Ledger, alias: Alias) -> None:
    """Appends of several threads get positions of their own."""
    got: list[int] = []

    def append(thread: int) -> None:
        got.extend(ledger.append([alias(thread * 100 + number)], (), 0) for number in range(50))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(1, 201))
    assert ledger.verify().events == 200


def test_stat_counts(ledger: Ledger, alias: Alias) -> None:
    """Statistics tell types, ends, times and the chain's head."""
    empty = ledger.stat()
    assert (empty.head, empty.events, empty.first_at, empty.last_at) == (0, {}, None, None)
    assert empty.head_hash == ledger.verify().head_hash
    ledger.append([alias(3), alias(5), HostBooted(8, "", "", "", "h1", "boot", "before")], (), 0)
    found = ledger.stat()
    assert found.events == {"AliasAdded": 2, "HostBooted": 1}
    assert (found.head, found.first_at, found.last_at, found.id) == (3, 3, 8, ledger.id)
    assert found.head_hash == ledger.verify().head_hash
    assert found.bytes > 0


def test_ids_are_made_with_the_log(path: Path) -> None:
    """A ledger keeps its id; another one has another."""
    with Ledger.open(path) as first, Ledger.open(path) as again, Ledger.open(None) as other:
        assert first.id == again.id
        assert first.id != other.id
        assert len(bytes.fromhex(first.id)) == 16
        assert first.instance == first.id[:8]


def test_read_only_and_closed_ledgers_say_so(path: Path, alias: Alias) -> None:
    """Neither takes an event; a ledger that is not there is not made for reading."""
    with pytest.raises(LedgerError, match="open"):
        Ledger.open(path, read_only=True)
    with pytest.raises(LedgerError, match="open"):
        Ledger.open(path, create=False)
    assert not path.exists()
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
    with Ledger.open(path, read_only=True) as reader:
        assert reader.head == 1
        with pytest.raises(LedgerError, match="reading only"):
            reader.append([alias(2)], (), 1)
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append([alias(2)], (), 1)
    with pytest.raises(LedgerError, match="closed"):
        list(ledger.read())


def test_backup_is_a_ledger_of_its_own(path: Path, tmp_path: Path, alias: Alias) -> None:
    """A copy made while the log is written verifies, and takes events; a file that is there is not replaced."""
    copy = tmp_path / "copy.db"
    with Ledger.open(path) as ledger:
        ledger.append([alias(number) for number in range(100)], (), 0)
        ledger.backup(copy)
        ledger.append([alias(100)], (), 100)
        with pytest.raises(LedgerError, match="there already"):
            ledger.backup(copy)
        with Ledger.open(copy) as restored:
            assert restored.id == ledger.id
            assert list(restored.read()) == list(ledger.read(until=100))
            assert restored.append([alias(7)], (), 100) == 101
            assert restored.verify().problem is None
        assert ledger.verify().problem is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy.db", "ledger.db"]


def test_every_event_type_can_be_registered(ledger: Ledger) -> None:
    """The catalogue has every type that the domain has, under its class's name."""
    assert set(ledger._codec.catalogue) == set(EVENT_TYPES)
    for name, kind in EVENT_TYPES.items():
        assert kind.__name__ == name
        assert ledger._codec.catalogue[name].fields[:5] == ("at", "actor", "request", "reason", "host")
