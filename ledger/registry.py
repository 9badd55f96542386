"""Which number stands for which event type in one log, and what that type's fields are called.

Keeps: an event type that has been written under a number never changes. A type whose version or fields changed gets
another number, so whoever reads an old event has the field names that it was written with.
Knows nothing of: what an event means, SQL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgpack


class EventType(NamedTuple):
    """An event type as the log describes it: its name, its version, and its fields in the order they are written."""

    name: str
    version: int = 0
    fields: tuple[str, ...] = ()

    def frame(self) -> bytes:
        """Pack the description as the hash chain covers it."""
        packed: bytes = msgpack.packb([self.name, self.version, self.fields])
        return packed

    def fields_text(self) -> str:
        """Write the fields' names as a JSON array."""
        return json.dumps(self.fields, separators=(",", ":"))


class Registration(NamedTuple):
    """An event type under its number."""

    number: int
    kind: EventType


class Registry:
    """The event types of one log, and those that this code writes (`catalogue`).

    A name that the catalogue lacks is written as version 0 without field names: the library's own events, in tests.
    """

    def __init__(self, catalogue: Mapping[str, EventType]) -> None:
        self._catalogue = catalogue
        self.kinds: dict[int, EventType] = {}
        self.frames: dict[int, bytes] = {}
        self.written: dict[str, int] = {}
        """Under which number events of a name are written today."""
        self._numbers: dict[str, dict[int, None]] = {}

    def adopt(self, registrations: Iterable[Registration]) -> None:
        """Take in what is committed. A number counts as taken in when all else is: Ctrl-C may come between."""
        for number, kind in registrations:
            if number in self.kinds:
                continue
            self.frames[number] = kind.frame()
            self._numbers.setdefault(kind.name, {})[number] = None
            if kind == self.current(kind.name):
                self.written[kind.name] = number
            self.kinds[number] = kind

    def current(self, name: str) -> EventType:
        """Describe the event type that this code writes under this name."""
        return self._catalogue.get(name) or EventType(name)

    def numbers_of(self, names: Iterable[str]) -> list[int]:
        """List the numbers, of whatever version, that stand for these names."""
        return [number for name in dict.fromkeys(names) for number in tuple(self._numbers.get(name, ()))]
