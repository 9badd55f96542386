"""The undo journal: what a fold changed since `begin`, so that a speculative fold can be taken back.

Keeps: after `undo` every table and ordinal set is as it was at `begin`, and a table of `Recorded` or of positions is in
the same order. Nothing is recorded at any other time.
Knows nothing of: events, or what the tables mean.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from ..domain.events import Event, Recorded
from ..domain.ipam.ordinals import OrdinalSet
from ..domain.values import Position

K = TypeVar("K")
V = TypeVar("V")

Handlers: TypeAlias = Mapping[type[Event], Callable[[Position, Any], None]]  # Any: each handler takes its own event


class Projection(Protocol):
    """One view: what it does with which event, and everything that it holds."""

    handlers: Handlers

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""


def with_those_that_hold(
    tables: dict[str, Mapping[Any, object]], newer: Mapping[str, Mapping[Any, object]]
) -> dict[str, Mapping[Any, object]]:
    """Add tables that older versions did not have, those that hold anything: so an older log's digests stay."""
    return tables | {name: table for name, table in newer.items() if table}


_ABSENT: Final = object()
_TAKEN: Final = object()
_GIVEN: Final = object()


class Journal:
    """Change tables through `put` and `drop`, ordinal sets through `take` and `give`."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[Any, Any, object]] | None = None  # Any: tables of every key and value type

    @property
    def is_recording(self) -> bool:
        """Whether a speculative fold is under way."""
        return self._entries is not None

    def begin(self) -> None:
        """Record from here on."""
        assert self._entries is None, "a speculative fold is under way already"
        self._entries = []

    def commit(self) -> None:
        """Keep what was changed."""
        self._entries = None

    def undo(self) -> None:
        """Take back what was changed since `begin`, the last change first."""
        assert self._entries is not None, "there is no speculative fold to take back"
        returned: dict[int, tuple[dict[Any, Any], set[Any]]] = {}  # Any: tables of every key and value type
        for table, key, before in reversed(self._entries):
            if before is _ABSENT:
                del table[key]
            elif before is _TAKEN:
                table.give(key)
            elif before is _GIVEN:
                table.take(key)
            else:
                if key not in table:
                    returned.setdefault(id(table), (table, set()))[1].add(key)
                table[key] = before
        for table, keys in returned.values():
            _put_in_log_order(table, [key for key in keys if key in table])
        self._entries = None

    def put(self, table: dict[K, V], key: K, value: V) -> None:
        """Set a key of a table."""
        if self._entries is not None:
            self._entries.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def drop(self, table: dict[K, V], key: K) -> V:
        """Take a key out of a table that has it."""
        value = table.pop(key)
        if self._entries is not None:
            self._entries.append((table, key, value))
        return value

    def discard(self, table: dict[K, V], key: K) -> None:
        """Take a key out of a table if it has it."""
        if key in table:
            self.drop(table, key)

    def take(self, ordinals: OrdinalSet, ordinal: int) -> None:
        """Take a free ordinal."""
        taken = ordinals.take(ordinal)
        assert taken, "an ordinal is held once"
        if self._entries is not None:
            self._entries.append((ordinals, ordinal, _TAKEN))

    def give(self, ordinals: OrdinalSet, ordinal: int) -> None:
        """Give a held ordinal back."""
        given = ordinals.give(ordinal)
        assert given, "only a held ordinal is given back"
        if self._entries is not None:
            self._entries.append((ordinals, ordinal, _GIVEN))


def _put_in_log_order(table: dict[Any, Any], returned: Sequence[Any]) -> None:
    """Put keys that were dropped and came back, and so stand last, where they were: what is listed the oldest first.

    Only what is newer than they are moves behind them. A table of millions is not sorted for one that came last.
    """
    if not returned or not all(isinstance(table[key], Recorded | int) for key in returned):
        return

    def place(key: Any) -> int:  # noqa: ANN401 - of any table
        value = table[key]
        return value.position if isinstance(value, Recorded) else int(value)

    oldest = min(map(place, returned))
    others = itertools.islice(reversed(table), len(returned), None)
    newer = list(itertools.takewhile(lambda key: place(key) > oldest, others))
    newer.reverse()
    for key in returned:
        bisect.insort(newer, key, key=place)
    for key in newer:
        table[key] = table.pop(key)
