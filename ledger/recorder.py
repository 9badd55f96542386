"""What a log offers: the seam between the typed ledger and whatever keeps its rows.

Beyond the library's `DCBRecorder` (append, read, subscribe), which every recorder also is, it is what a replay, a
subscriber and an auditor need. Keep it small: PostgreSQL comes later.
Knows nothing of: event classes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgpack
from msgspec import Struct

from .chain import Verification
from .registry import EventType

if TYPE_CHECKING:
    from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent

RawEvent: TypeAlias = tuple[int, int, bytes]
"""An event as a replay wants it: position, number of its type, data."""

BATCH_EVENTS = 1_000
"""So many raw events are fetched at once."""

NO_END = 2**63 - 1
"""After every position (and SQLite's largest integer)."""


class Statistics(Struct, frozen=True):
    """How much a log holds. `events` by the name of their type; times are UTC nanoseconds, None in an empty log."""

    id: str
    schema_version: int
    head: int
    head_hash: str
    events: dict[str, int]
    bytes: int
    first_at: int | None
    last_at: int | None


def time_of(data: bytes) -> int | None:
    """Read the time of an event from its data: its first field; None where that is none."""
    try:
        fields = msgpack.unpackb(data)
    except ValueError:
        return None
    return fields[0] if isinstance(fields, list) and fields and isinstance(fields[0], int) else None


def scoped(tags: Iterable[str], prefix: str, ending: str) -> list[str]:
    """List, in order and once each, the tags that are the prefix, a scope without a slash, a slash and the ending."""
    assert prefix.endswith((":", "/")), f"prefix {prefix!r} ends where a scope begins"
    end = f"/{ending}"
    return sorted(
        {
            tag
            for tag in tags
            if tag.startswith(prefix)
            and tag.endswith(end)
            and "/" not in tag[len(prefix) : -len(end)]
            and len(tag) >= len(prefix) + len(end)
        }
    )


def cut(positions: list[int], limit: int, *, last: bool) -> list[int]:
    """Leave the first so many, or the last."""
    return positions[max(len(positions) - limit, 0) :] if last else positions[:limit]


class Recorder(Protocol):
    """A log of DCB events, with what a ledger needs beside them.

    `damage` says what is whole of a log that is damaged: it can be read that far, and not be written.
    """

    @property
    def id(self) -> str:
        """32 random hex digits, made with the log."""

    @property
    def damage(self) -> str | None:
        """None where the log is whole."""

    @property
    def head(self) -> int:
        """The last committed position, other processes' too."""

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append all or nothing; return the last position."""

    def read_raw(
        self, *, after: int, until: int, tags: Sequence[str], types: Sequence[str], limit: int | None
    ) -> Iterator[Sequence[RawEvent]]:
        """Yield batches of the events that have all tags and one of the types, in order of position."""

    def positions(self, tag: str, *, after: int, until: int, limit: int, last: bool = False) -> list[int]:
        """List where a tag is, in order: the first so many positions, or the `last` so many; no event is read."""

    def find_tags(self, prefix: str, ending: str) -> list[str]:
        """List, in order, the tags that are `prefix`, a SCOPE without a slash, `/` and `ending`.

        `find_tags("mac:", "02:42:0a:00:00:07")` says in which networks that MAC address ever was. What it costs grows
        with the scopes that begin with the prefix, not with the log.
        """

    def describe(self, number: int) -> EventType:
        """Say which event type a number stands for."""

    def cursor(self, name: str) -> int:
        """How far a subscriber is; 0 where it is unknown."""

    def set_cursor(self, name: str, position: int) -> None:
        """Remember how far a subscriber is, durable with the next append."""

    def flush_cursors(self) -> None:
        """Make the cursors durable now."""

    def listening(self) -> AbstractContextManager[threading.Event]:
        """Give an event that is set after each append of this process."""

    def verify(self) -> Verification:
        """Walk the whole chain and compare the tag index."""

    def stat(self) -> Statistics:
        """Count what is there."""

    def backup(self, destination: Path) -> None:
        """Copy the log while it is used."""

    def close(self) -> None:
        """Give everything back; closing twice is no error."""
