"""Both recorders against the library's in-memory one, on arbitrary programs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem, DCBRecorder
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.persistence import IntegrityError
from hypothesis import given, settings
from hypothesis import strategies as st

from netledger.ledger.memory import MemoryRecorder
from netledger.ledger.recorder import NO_END
from netledger.ledger.sqlite import SQLiteRecorder

names = st.sampled_from(["Made", "Gone", "Seen"])
tags = st.lists(st.sampled_from(["a", "b", "c:\n", ""]), max_size=3)
events = st.builds(DCBEvent, names, st.binary(max_size=3), tags)
items = st.builds(DCBQueryItem, st.lists(names, max_size=2), tags.map(lambda found: list(dict.fromkeys(found))))
queries = st.builds(DCBQuery, st.lists(items, max_size=3))
back = st.none() | st.integers(0, 6)
steps = st.lists(
    st.tuples(st.just("append"), st.lists(events, min_size=1, max_size=4), st.none() | st.tuples(queries, back))
    | st.tuples(st.just("read"), queries, back, st.none() | st.integers(0, 4)),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_recorders_agree(program: list[tuple]) -> None:
    """Any program of conditional appends and reads gives the same on SQLite, in memory and in the library."""
    with tempfile.TemporaryDirectory() as directory:
        sqlite = SQLiteRecorder(Path(directory) / "ledger.db", synchronous="NORMAL")
        memory = MemoryRecorder()
        recorders = [InMemoryDCBRecorder(), sqlite, memory]
        head = 0
        for verb, *arguments in program:
            outcomes = [_run(recorder, head, verb, *arguments) for recorder in recorders]
            assert outcomes[0] == outcomes[1] == outcomes[2]
            if verb == "append" and outcomes[0] is not None:
                head = outcomes[0]
        assert sqlite.head == memory.head == head
        assert sqlite.verify().problem is None
        assert memory.verify().problem is None
        assert sqlite.stat().events == memory.stat().events
        sqlite.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(events, max_size=12), items, st.integers(0, 12), st.integers(0, 12), st.none() | st.integers(0, 5))
def test_raw_reads_agree(
    history: list[DCBEvent], item: DCBQueryItem, after: int, until: int, limit: int | None
) -> None:
    """Raw reads by tags and types give what the library's query gives, cut at both ends."""
    oracle, memory = InMemoryDCBRecorder(), MemoryRecorder()
    with tempfile.TemporaryDirectory() as directory:
        sqlite = SQLiteRecorder(Path(directory) / "ledger.db", synchronous="NORMAL")
        for recorder in (oracle, memory, sqlite) if history else ():
            recorder.append(history)
        expected = [
            (found.position, found.event.type, found.event.data)
            for found in oracle.read(DCBQuery([item]), after=after)
            if found.position <= until
        ][:limit]
        for recorder in (memory, sqlite):
            pages = recorder.read_raw(after=after, until=until, tags=item.tags, types=item.types, limit=limit)
            found = [
                (position, recorder.describe(number).name, data) for page in pages for position, number, data in page
            ]
            assert found == expected
            assert recorder.read_raw(after=0, until=NO_END, tags=(), types=("None",), limit=None) is not None
        sqlite.close()


def _run(recorder: DCBRecorder, head: int, verb: str, *arguments: object) -> object:
    if verb == "append":
        new, condition = arguments
        if condition is not None:
            query, ago = condition
            condition = DCBAppendCondition(query, None if ago is None else max(0, head - ago))
        try:
            return recorder.append(new, condition)
        except IntegrityError:
            return None
    query, after, limit = arguments
    response = recorder.read(query, after=after, limit=limit)
    found = [(got.position, got.event.type, got.event.data, got.event.tags) for got in response]
    return found, response.head
