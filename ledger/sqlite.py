"""The log in an SQLite file: a DCB recorder for any number of threads and processes.

Keeps: an append is one transaction and one fsync, all or nothing; its guards are checked before any of its events is
inserted; what is remembered of the log (`_Known`) is what this connection committed or read while no other one wrote,
and changes only after a commit. A damaged log is read as far as it is whole and never written.
Knows nothing of: event classes. The file itself is `sqlite_file.py`, the search's SQL `query.py`.
"""

from __future__ import annotations

import heapq
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgpack
from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBRecorder,
    DCBSequencedEvent,
)
from eventsourcing.persistence import ProgrammingError

from ..domain.errors import LedgerDamaged, LedgerError
from . import query as sql
from . import sqlite_file, sqlite_inspection
from .batch import compose
from .chain import Tip, Verification, genesis
from .dcb import Listeners, Response, Subscription, guard_failed, items_of, must_check
from .recorder import BATCH_EVENTS, NO_END, RawEvent, Statistics, cut, scoped
from .registry import EventType, Registry
from .sqlite_errors import SQLITE_ERRORS, cause_of, explain

_INSERT_TYPE = "INSERT INTO types VALUES (?, ?, ?, ?)"
_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"
_INSERT_TAG = "INSERT INTO tags VALUES (?, ?)"
_PUT_CURSOR = "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
_GET_CURSOR = "SELECT position FROM cursors WHERE name = ?"
_LAST = "SELECT position, chain FROM events ORDER BY position DESC LIMIT 1"

_Search: TypeAlias = tuple[str, tuple[str | int, ...]]
"""A statement, and the tags and type numbers that it searches for."""


class _Known(NamedTuple):
    """Where the log ends, as long as SQLite's data_version, which other connections' commits change, is `version`."""

    version: int
    tip: Tip


class SQLiteRecorder(DCBRecorder):
    """A log in the SQLite file at `path`, made there if `create` and there is none."""

    def __init__(
        self,
        path: Path,
        catalogue: Mapping[str, EventType] | None = None,
        *,
        synchronous: str = "FULL",
        read_only: bool = False,
        create: bool = True,
    ) -> None:
        assert synchronous in {"FULL", "NORMAL"}, f"synchronous={synchronous!r}: FULL or NORMAL"
        self.path = path
        self.damage: str | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._listeners = Listeners()
        self._registry = Registry(catalogue or {})
        self._known: _Known | None = None
        self._cursors: dict[str, int] = {}
        self._cursors_lock = threading.Lock()
        self._whole = NO_END
        self._writer: sqlite3.Connection | None = None
        if create and not read_only and not path.exists():
            sqlite_file.create(path, secrets.token_hex(16))
        sqlite_file.refuse_stub(path)
        self._readers = sqlite_file.Readers(path)
        try:
            self.id = sqlite_inspection.check_end(self._readers, path, self._registry)
            if not read_only:
                self._writer = sqlite_file.connect(path, synchronous=synchronous)
        except LedgerDamaged as damage:
            self._readers.close()
            sqlite_file.refuse_foreign(path)
            self._readers = sqlite_file.Readers(path, salvage=True)
            self.id, self._whole, self.damage = sqlite_inspection.salvage(self._readers, path, damage)
        except BaseException:
            self._readers.close()
            raise

    # --- appending ---------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append all or nothing; return the last position."""
        if not events:
            raise ProgrammingError("append: no events; give at least one")
        with self._transaction("append to") as (writer, known):
            if must_check(condition, known.tip.position):
                assert condition is not None
                self._check(condition, writer, known.tip.position)
            batch = compose(events, known.tip, self._registry)
            for number, kind in batch.registrations:
                writer.execute(_INSERT_TYPE, (number, kind.name, kind.version, kind.fields_text()))
            writer.executemany(_INSERT_EVENT, batch.rows)
            writer.executemany(_INSERT_TAG, batch.index)
            cursors = self._put_cursors(writer)
            writer.execute("COMMIT")
            self._registry.adopt(batch.registrations)
            self._forget_cursors(cursors)
            self._known = _Known(known.version, batch.tip)
        self._listeners.notify()
        return batch.tip.position

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[tuple[sqlite3.Connection, _Known]]:
        """Hold the write lock of thread and file; the body commits, and then says what is known.

        What was known is forgotten first: whatever stops the body, even Ctrl-C behind its COMMIT, nothing stale stays.
        """
        self._check_process()
        if self.damage is not None:
            raise LedgerDamaged(f"{doing} {self.path}: {self.damage}", self._whole + 1)
        with self._lock:
            writer = self._writer
            if writer is None:
                raise LedgerError(f"{doing} {self.path}: it was opened for reading only, or is closed")
            try:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                sqlite_file.begin(writer)
                known = self._catch_up(writer)
                self._known = None
                yield writer, known
            except BaseException as error:
                if writer.in_transaction:
                    with suppress(sqlite3.Error):  # tried again before the next one begins
                        writer.execute("ROLLBACK")
                if isinstance(error, SQLITE_ERRORS):
                    raise explain(error, doing, self.path) from cause_of(error, self.path)
                raise

    def _catch_up(self, writer: sqlite3.Connection) -> _Known:
        """Read the end of the log and its types again, if another connection has committed."""
        (version,) = writer.execute("PRAGMA data_version").fetchone()
        if self._known is not None and self._known.version == version:
            return self._known
        self._registry.adopt(sqlite_inspection.registrations(writer))
        last = writer.execute(_LAST).fetchone()
        return _Known(version, Tip(*last) if last else Tip(0, genesis(self.id)))

    def _check(self, condition: DCBAppendCondition, writer: sqlite3.Connection, head: int) -> None:
        for item in items_of(condition.fail_if_events_match):
            numbers = self._registry.numbers_of(item.types) if item.types else None
            for statement, wanted in _searches("e.position", item.tags, numbers):
                row = writer.execute(statement, (condition.after or 0, head, 1, *wanted)).fetchone()
                if row is not None:
                    raise guard_failed(condition, item, row[0])

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last committed position, other processes' too; in a damaged log the last one that is whole."""
        self._check_process()
        if self.damage is not None:
            return self._whole
        known = self._known_head()
        if known is not None:
            return known
        with self._readers.lend() as reader:
            last = reader.execute(_LAST).fetchone()
        return int(last[0]) if last else 0

    def _known_head(self) -> int | None:
        """Where the log ends, if that is known and no other connection has committed since: it takes no page."""
        if self._lock.locked():
            return None  # a reader need not wait until an append is on the disk
        with self._lock, suppress(sqlite3.Error):  # a reader will say what is wrong
            if self._known is not None and self._writer is not None:
                (version,) = self._writer.execute("PRAGMA data_version").fetchone()
                if version == self._known.version:
                    return self._known.tip.position
        return None

    def read(self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None) -> Response:
        """Read as the library does: events that match any item of the query."""
        head = self.head
        found = [
            chain.from_iterable(self._pages(sql.FULL, item.tags, item.types, after or 0, head, limit))
            for item in items_of(query)
        ]
        events = (
            DCBSequencedEvent(DCBEvent(self.describe(number).name, data, msgpack.unpackb(tags)), position)
            for position, number, data, tags in islice(_without_repeats(heapq.merge(*found)), limit)
        )
        if limit is None:
            return Response(events, head or None)
        first = list(events)
        return Response(iter(first), first[-1].position if first else None)

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> Subscription[SQLiteRecorder]:
        """Read what is there and then what comes, from any process."""
        return Subscription(self, self._listeners, query, after)

    def read_raw(
        self, *, after: int, until: int, tags: Sequence[str], types: Sequence[str], limit: int | None
    ) -> Iterator[Sequence[RawEvent]]:
        """Yield batches of the events that have all tags and one of the types, in order of position."""
        yield from self._pages(sql.RAW, tags, types, after, min(until, self.head), limit)

    def positions(self, tag: str, *, after: int, until: int, limit: int, last: bool = False) -> list[int]:
        """List where a tag is, in order, from the index alone."""
        until = min(until, self.head)
        if self.damage is not None:
            found = [row[0] for page in self._pages_of_whole(sql.RAW, (tag,), (), after, until, None) for row in page]
            return cut(found, limit, last=last)
        with self._readers.lend() as reader:
            rows = reader.execute(sql.LAST_POSITIONS if last else sql.POSITIONS, (tag, after, until, limit)).fetchall()
        found = [position for (position,) in rows]
        return found[::-1] if last else found

    def find_tags(self, prefix: str, ending: str) -> list[str]:
        """List the tags that are the prefix, a scope, a slash and the ending."""
        self._check_process()
        if self.damage is not None:
            rows = self._pages_of_whole(sql.FULL, (), (), 0, self._whole, None)
            return scoped((tag for page in rows for row in page for tag in msgpack.unpackb(row[3])), prefix, ending)
        with self._readers.lend() as reader:
            found = reader.execute(sql.FIND_TAGS, (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1), ending))
            return [tag for (tag,) in found]

    def describe(self, number: int) -> EventType:
        """Say which event type a number stands for."""
        if number not in self._registry.kinds:
            with self._readers.lend() as reader:
                self._registry.adopt(sqlite_inspection.registrations(reader))
        kind = self._registry.kinds.get(number)
        if kind is None:
            raise LedgerDamaged(f"read {self.path}: there are events of type {number}, which is not registered")
        return kind

    def _pages(
        self, columns: str, tags: Sequence[str], types: Sequence[str], after: int, until: int, limit: int | None
    ) -> Iterator[list[Any]]:
        """Yield the rows that match, in order of position and many at once."""
        if self.damage is not None:
            yield from self._pages_of_whole(columns, tags, types, after, until, limit)
            return
        searches = _searches(columns, tags, self._numbers_of(types))
        found = [self._pages_of(search, after, until, limit) for search in searches]
        if len(found) == 1:
            yield from found[0]
            return
        rows = islice(heapq.merge(*map(chain.from_iterable, found)), limit)
        while page := list(islice(rows, BATCH_EVENTS)):
            yield page

    def _pages_of(self, search: _Search, after: int, until: int, limit: int | None) -> Iterator[list[Any]]:
        """Yield what one search finds; no connection is held while the caller works."""
        statement, wanted = search
        left = NO_END if limit is None else limit
        while (most := min(BATCH_EVENTS, left, until - after)) > 0:
            self._check_process()
            with self._readers.lend() as reader:
                page = reader.execute(statement, (after, until, most, *wanted)).fetchall()
            if page:
                yield page
            if len(page) < most:
                return
            left -= most
            after = page[-1][0]

    def _pages_of_whole(
        self, columns: str, tags: Sequence[str], types: Sequence[str], after: int, until: int, limit: int | None
    ) -> Iterator[list[Any]]:
        """Search a damaged log without its indexes, and no further than it is whole."""
        numbers = self._numbers_of(types)
        width = columns.count(",") + 1
        rows = (
            row[:width]
            for page in self._pages_of((sql.all_events(sql.FULL), ()), after, min(until, self._whole), None)
            for row in page
            if (numbers is None or row[1] in numbers) and set(tags) <= set(msgpack.unpackb(row[3]))
        )
        yield list(islice(rows, limit))

    def _numbers_of(self, types: Sequence[str]) -> list[int] | None:
        """List the numbers of these types, those that another process has just registered too; None for any type."""
        if not types:
            return None
        with self._readers.lend() as reader:
            self._registry.adopt(sqlite_inspection.registrations(reader))
        return self._registry.numbers_of(types)

    # --- cursors -----------------------------------------------------------------------------------------------------

    def cursor(self, name: str) -> int:
        """How far a subscriber is; 0 where it is unknown."""
        self._check_process()
        with self._cursors_lock:
            if name in self._cursors:
                return self._cursors[name]
        with self._readers.lend() as reader:
            row = reader.execute(_GET_CURSOR, (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_cursor(self, name: str, position: int) -> None:
        """Remember how far a subscriber is, durable with the next append."""
        with self._cursors_lock:
            self._cursors[name] = position

    def flush_cursors(self) -> None:
        """Make the cursors durable now."""
        if not self._cursors:
            return
        with self._transaction("write cursors to") as (writer, known):
            cursors = self._put_cursors(writer)
            writer.execute("COMMIT")
            self._forget_cursors(cursors)
            self._known = known

    def _put_cursors(self, writer: sqlite3.Connection) -> dict[str, int]:
        with self._cursors_lock:
            cursors = dict(self._cursors)
        if cursors:
            writer.executemany(_PUT_CURSOR, cursors.items())
        return cursors

    def _forget_cursors(self, written: dict[str, int]) -> None:
        with self._cursors_lock:
            for name, position in written.items():
                if self._cursors.get(name) == position:
                    del self._cursors[name]

    # --- the rest ----------------------------------------------------------------------------------------------------

    def listening(self) -> AbstractContextManager[threading.Event]:
        """Give an event that is set after each append of this process."""
        return self._listeners.listening()

    def verify(self) -> Verification:
        """Walk the whole chain and compare the tag index."""
        self._check_process()
        return sqlite_inspection.verify(self._readers, self.path, self.id)

    def stat(self) -> Statistics:
        """Count what is there."""
        self._check_process()
        return sqlite_inspection.stat(self._readers, self.path, self.id)

    def backup(self, destination: Path) -> None:
        """Copy the log while it is used, to a file that is not there yet."""
        self._check_process()
        sqlite_inspection.backup(self._readers, self.path, destination)

    def close(self) -> None:
        """Close all connections; closing twice is no error. A forked child leaves its parent's alone."""
        if os.getpid() != self._process:
            return
        self._readers.close()
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerError(
                f"use {self.path}: process {self._process} opened it, and SQLite's connections do not survive a fork; "
                "open it again in this process"
            )


def _searches(columns: str, tags: Sequence[str], numbers: Sequence[int] | None) -> list[_Search]:
    """List the searches that find the events with all tags and a type of these numbers; none where none can."""
    if numbers is not None and not numbers:
        return []
    unique = tuple(dict.fromkeys(tags))
    if unique:
        return [(sql.by_tags(columns, len(unique), len(numbers or ())), (*unique, *(numbers or ())))]
    if numbers is None:
        return [(sql.all_events(columns), ())]
    return [(sql.by_type(columns), (number,)) for number in numbers]


def _without_repeats(rows: Iterator[Any]) -> Iterator[Any]:
    """Leave out the rows that several items of a query found."""
    last = 0
    for row in rows:
        if row[0] != last:
            last = row[0]
            yield row
