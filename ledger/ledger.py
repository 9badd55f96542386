"""The ledger: typed events in an append-only log.

Keeps: events come back as they were appended, in order, without a gap; an append is all or nothing and fails if a
guard's promise was broken since the position that it names; what is read is committed.
Knows nothing of: what an event means, how rows are kept. `eventsourcing` is loaded when a ledger is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from ..domain.decision import Guard
from ..domain.errors import LedgerBusy, LedgerDamaged, LedgerFull
from ..domain.events import Event, Recorded
from ..domain.values import NOWHERE, Position
from .chain import Verification
from .recorder import NO_END, RawEvent, Recorder, Statistics, time_of

if TYPE_CHECKING:
    from .codec import Codec, Decode

INSTANCE_DIGITS = 8
"""So many digits of the ledger's id mark in the kernel what is this ledger's."""

POLL_SECONDS = 0.05
"""How often `follow` looks for other processes' events."""


class Ledger:
    """A log of typed events. Any number of threads and processes may have it open; a forked child opens its own."""

    def __init__(self, recorder: Recorder, codec: Codec) -> None:
        self._recorder = recorder
        self._codec = codec
        self._decoders: dict[int, Decode] = {}
        self.id = recorder.id
        self.instance = recorder.id[:INSTANCE_DIGITS]
        self.damage = recorder.damage
        """What is whole of a damaged log, which can be read that far and takes no event; None where all is well."""

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        synchronous: str = "FULL",
        read_only: bool = False,
        create: bool = True,
        codec: Codec | None = None,
    ) -> Ledger:
        """Open the ledger in a file, made if `create` and there is none; in memory if `path` is None.

        `synchronous="NORMAL"` leaves out the fsync of each append: a power cut may lose the last ones, never others.
        Raises LedgerForeign, LedgerNewer, LedgerBusy, LedgerFull, and LedgerDamaged where nothing can be read.
        """
        from .codec import Codec

        codec = codec or Codec()
        if path is None:
            from .memory import MemoryRecorder

            return cls(MemoryRecorder(codec.catalogue), codec)
        from .sqlite import SQLiteRecorder

        recorder = SQLiteRecorder(path, codec.catalogue, synchronous=synchronous, read_only=read_only, create=create)
        return cls(recorder, codec)

    @property
    def head(self) -> Position:
        """The position of the last event, other processes' too."""
        return Position(self._recorder.head)

    def append(self, events: Sequence[Event], guards: Sequence[Guard], after: Position) -> Position:
        """Append all events or none, unless a guard's events were appended after `after`; return the last position.

        Raises LedgerConflict, LedgerFull, LedgerBusy and LedgerDamaged; then nothing was appended.
        """
        assert events, "append: no events"
        encode = self._codec.encode
        condition = self._codec.condition(guards, after)
        return Position(self._recorder.append([encode(event) for event in events], condition))

    def read(
        self,
        *,
        after: Position = NOWHERE,
        until: Position | None = None,
        tags: Sequence[str] = (),
        types: Sequence[type[Event]] = (),
        limit: int | None = None,
    ) -> Iterator[Recorded[Event]]:
        """Yield the events that have all tags and one of the types, up to `until` or where the log ends now."""
        names = [kind.__name__ for kind in types]
        for batch in self._recorder.read_raw(
            after=after, until=NO_END if until is None else until, tags=tags, types=names, limit=limit
        ):
            yield from self._decode(batch)

    def positions(
        self, tag: str, *, after: Position = NOWHERE, until: Position, limit: int, last: bool = False
    ) -> list[Position]:
        """List where a tag is, in order: the first so many positions, or the `last` so many; no event is read."""
        found = self._recorder.positions(tag, after=after, until=until, limit=limit, last=last)
        return [Position(position) for position in found]

    def find_tags(self, prefix: str, ending: str) -> list[str]:
        """List, in order, the tags that are `prefix`, a scope without a slash, `/` and `ending`."""
        return self._recorder.find_tags(prefix, ending)

    def times(self, *, after: Position = NOWHERE, until: Position | None = None) -> Iterator[tuple[Position, int]]:
        """Yield each event's position and its time, UTC nanoseconds; nothing else of it is decoded."""
        end = NO_END if until is None else until
        for batch in self._recorder.read_raw(after=after, until=end, tags=(), types=(), limit=None):
            for position, _, data in batch:
                at = time_of(data)
                if at is None:
                    raise LedgerDamaged(f"read position {position}: it has no time; run `netledger verify`", position)
                yield Position(position), at

    def follow(
        self, after: Position = NOWHERE, stop: threading.Event | None = None, poll_seconds: float = POLL_SECONDS
    ) -> Iterator[Recorded[Event]]:
        """Yield committed events as they come, from this process and others, without a gap, until `stop` is set."""
        with self._recorder.listening() as appended:
            while stop is None or not stop.is_set():
                appended.clear()
                for recorded in self.read(after=after):
                    if stop is not None and stop.is_set():
                        return
                    yield recorded
                    after = recorded.position
                appended.wait(poll_seconds)

    def cursor(self, name: str) -> Position:
        """How far a subscriber is; 0 where it is unknown."""
        return Position(self._recorder.cursor(name))

    def set_cursor(self, name: str, position: Position) -> None:
        """Remember how far a subscriber is: durable with the next append, `flush_cursors` or `close`."""
        self._recorder.set_cursor(name, position)

    def flush_cursors(self) -> None:
        """Make the cursors durable now."""
        self._recorder.flush_cursors()

    def verify(self) -> Verification:
        """Walk the whole hash chain, and compare the tag index with the events."""
        return self._recorder.verify()

    def stat(self) -> Statistics:
        """Count what is there."""
        return self._recorder.stat()

    def backup(self, destination: Path) -> None:
        """Copy the log, while it is used, to a file that is not there yet."""
        self._recorder.backup(destination)

    def close(self) -> None:
        """Write the cursors and give everything back; closing twice is no error."""
        try:
            with suppress(LedgerFull, LedgerBusy):  # a lost cursor only repeats work
                self._recorder.flush_cursors()
        finally:
            self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, batch: Sequence[RawEvent]) -> Iterator[Recorded[Event]]:
        decoders = self._decoders
        for position, number, data in batch:
            decode = decoders.get(number)
            if decode is None:
                decode = decoders[number] = self._codec.decoder(self._recorder.describe(number))
            try:
                event = decode(data)
            except msgspec.MsgspecError as error:
                name = self._recorder.describe(number).name
                raise LedgerDamaged(
                    f"read position {position}: it does not decode as {name} ({error}); run `netledger verify`",
                    position,
                ) from error
            yield Recorded(Position(position), event)
