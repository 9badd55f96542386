"""The log in memory: for tests, for embedding without a file, and for branches of another log.

Keeps: the same order, guards, chain and types as the file; an append costs what its events cost, whatever the log's
length. Readers need no lock: rows and index only grow, and the tip, which says how much of them counts, moves last.
Knows nothing of: event classes, files.
"""

from __future__ import annotations

import os
import secrets
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import msgpack
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBRecorder, DCBSequencedEvent
from eventsourcing.persistence import ProgrammingError

from ..domain.errors import LedgerError
from .batch import Batch, compose
from .chain import Row, Tip, Verification, first_wrong_in_index, genesis, walk
from .dcb import Listeners, Response, Subscription, guard_failed, items_of, must_check
from .recorder import BATCH_EVENTS, RawEvent, Statistics, cut, scoped, time_of
from .registry import EventType, Registry


class MemoryRecorder(DCBRecorder):
    """A log that lasts as long as this object."""

    def __init__(self, catalogue: Mapping[str, EventType] | None = None) -> None:
        self.id = secrets.token_hex(16)
        self.damage: str | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._listeners = Listeners()
        self._registry = Registry(catalogue or {})
        self._rows: list[Row] = []
        self._positions_of_tag: dict[str, list[int]] = {}
        self._positions_of_type: dict[int, list[int]] = {}
        self._cursors: dict[str, int] = {}
        self._tip = Tip(0, genesis(self.id))

    # --- appending ---------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append all or nothing; return the last position."""
        if not events:
            raise ProgrammingError("append: no events; give at least one")
        self._check_process()
        with self._lock:
            if must_check(condition, self._tip.position):
                assert condition is not None
                self._check(condition)
            batch = compose(events, self._tip, self._registry)
            try:
                self._registry.adopt(batch.registrations)
                self._rows.extend(batch.rows)
                for tag, position in batch.index:
                    self._positions_of_tag.setdefault(tag, []).append(position)
                for row in batch.rows:
                    self._positions_of_type.setdefault(row[1], []).append(row[0])
                self._tip = batch.tip
            finally:  # Ctrl-C may have come between
                self._drop_what_is_behind_the_tip(batch)
        self._listeners.notify()
        return batch.tip.position

    def _drop_what_is_behind_the_tip(self, batch: Batch) -> None:
        if len(self._rows) == self._tip.position:
            return
        del self._rows[self._tip.position :]
        for tag, _ in batch.index:
            _drop_behind(self._tip.position, self._positions_of_tag.get(tag, []))
        for row in batch.rows:
            _drop_behind(self._tip.position, self._positions_of_type.get(row[1], []))

    def _check(self, condition: DCBAppendCondition) -> None:
        for item in items_of(condition.fail_if_events_match):
            for position in self._matching(item.tags, item.types, condition.after or 0, self._tip.position):
                raise guard_failed(condition, item, position)

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last committed position."""
        self._check_process()
        return self._tip.position

    def read(self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None) -> Response:
        """Read as the library does: events that match any item of the query."""
        head = self.head
        found = [self._matching(item.tags, item.types, after or 0, head) for item in items_of(query)]
        positions = found[0] if len(found) == 1 else sorted(set().union(*found))
        events = (self._event(position) for position in islice(positions, limit))
        if limit is None:
            return Response(events, head or None)
        first = list(events)
        return Response(iter(first), first[-1].position if first else None)

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> Subscription[MemoryRecorder]:
        """Read what is there and then what comes."""
        return Subscription(self, self._listeners, query, after)

    def read_raw(
        self, *, after: int, until: int, tags: Sequence[str], types: Sequence[str], limit: int | None
    ) -> Iterator[Sequence[RawEvent]]:
        """Yield batches of the events that have all tags and one of the types, in order of position."""
        found = islice(self._matching(tags, types, after, min(until, self.head)), limit)
        while positions := list(islice(found, BATCH_EVENTS)):
            yield [(position, self._rows[position - 1][1], self._rows[position - 1][3]) for position in positions]

    def positions(self, tag: str, *, after: int, until: int, limit: int, last: bool = False) -> list[int]:
        """List where a tag is, in order."""
        until = min(until, self.head)
        held = self._positions_of_tag.get(tag, [])
        return cut(held[bisect_right(held, after) : bisect_right(held, until)], limit, last=last)

    def find_tags(self, prefix: str, ending: str) -> list[str]:
        """List the tags that are the prefix, a scope, a slash and the ending; looks at all tags."""
        last = self.head
        found = scoped(list(self._positions_of_tag), prefix, ending)
        return [tag for tag in found if self._positions_of_tag[tag][:1] and self._positions_of_tag[tag][0] <= last]

    def describe(self, number: int) -> EventType:
        """Say which event type a number stands for."""
        return self._registry.kinds[number]

    def _event(self, position: int) -> DCBSequencedEvent:
        _, number, tags, data, _ = self._rows[position - 1]
        return DCBSequencedEvent(DCBEvent(self.describe(number).name, data, msgpack.unpackb(tags)), position)

    def _matching(self, tags: Sequence[str], types: Sequence[str], after: int, until: int) -> Iterator[int]:
        """Yield the positions that match, by the shortest list that leads to them."""
        numbers = set(self._registry.numbers_of(types))
        if tags:
            candidates: Sequence[int] = min((self._positions_of_tag.get(tag, []) for tag in tags), key=len)
        elif types:
            candidates = sorted(position for number in numbers for position in self._positions_of_type[number])
        else:
            candidates = range(1, until + 1)
        wanted = set(tags)
        for index in range(bisect_right(candidates, after), len(candidates)):
            position = candidates[index]
            if position > until:
                return
            row = self._rows[position - 1]
            if (not types or row[1] in numbers) and (len(wanted) < 2 or wanted <= set(msgpack.unpackb(row[2]))):
                yield position

    # --- cursors -----------------------------------------------------------------------------------------------------

    def cursor(self, name: str) -> int:
        """How far a subscriber is; 0 where it is unknown."""
        return self._cursors.get(name, 0)

    def set_cursor(self, name: str, position: int) -> None:
        """Remember how far a subscriber is."""
        self._cursors[name] = position

    def flush_cursors(self) -> None:
        """Do nothing: nothing here outlasts the process."""

    # --- the rest ----------------------------------------------------------------------------------------------------

    def listening(self) -> AbstractContextManager[threading.Event]:
        """Give an event that is set after each append."""
        return self._listeners.listening()

    def verify(self) -> Verification:
        """Walk the whole chain and compare the tag index."""
        rows = self._rows[: self.head]
        found = walk(genesis(self.id), rows, self._registry.frames)
        if found.problem is not None:
            return found
        index = (
            (tag, position)
            for tag, positions in list(self._positions_of_tag.items())
            for position in positions
            if position <= len(rows)
        )
        wrong = first_wrong_in_index(found.events, ((row[0], row[2]) for row in rows), index)
        problem = None if wrong is None else f"the tag index has other tags for position {wrong} than the event"
        return Verification(found.events, found.head_hash, wrong, problem)

    def stat(self) -> Statistics:
        """Count what is there; `bytes` are those of the events alone."""
        tip = self._tip
        rows = self._rows[: tip.position]
        return Statistics(
            id=self.id,
            schema_version=0,
            head=tip.position,
            head_hash=tip.chain.hex(),
            events=dict(Counter(self.describe(row[1]).name for row in rows)),
            bytes=sum(len(row[2]) + len(row[3]) for row in rows),
            first_at=time_of(rows[0][3]) if rows else None,
            last_at=time_of(rows[-1][3]) if rows else None,
        )

    def backup(self, destination: Path) -> None:
        """Refuse: there is no file to copy."""
        raise LedgerError(f"back up to {destination}: this ledger is in memory only; open one with a path")

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerError(
                f"use a ledger in memory: it belongs to process {self._process}, and a forked child's copy would go "
                "its own way; open a ledger with a path in both"
            )


def _drop_behind(last: int, positions: list[int]) -> None:
    while positions and positions[-1] > last:
        positions.pop()
