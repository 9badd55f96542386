"""What a checker is: it reads a log event by event and says where an invariant does not hold.

Keeps: a checker stops at its first violation, since what follows may only follow from it.
Shares no code with the views, and asks nobody but the events.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Hashable
from typing import Any, ClassVar

from msgspec import Struct

from ...domain.events import Event, Recorded


class Violation(Struct, frozen=True):
    """Where an invariant does not hold; position 0 is about the log as a whole."""

    checker: str
    position: int
    words: str

    def __str__(self) -> str:
        return f"{self.checker}: position {self.position}: {self.words}"


class Wrong(Exception):  # said by a checker about a log, not an error of the program
    """Say what does not hold."""


class Checker:
    """Checks one invariant. A subclass has a method for each event type that it reads: `address_allocated(event)`."""

    name: ClassVar[str]
    invariant: ClassVar[str]
    """What holds, in a sentence."""

    def __init__(self) -> None:
        self.violation: Violation | None = None

    def read(self, record: Recorded[Event]) -> None:
        """Check one event and take it in."""
        if self.violation is None:
            look = getattr(self, _method_name(type(record.event)), None)
            try:
                self.note(record)
                if look is not None:
                    look(record.event)
            except Wrong as wrong:
                self.violation = Violation(self.name, record.position, f"{type(record.event).__name__}: {wrong}")

    def end(self, position: int) -> None:
        """Check what need not hold between the events of one decision."""
        if self.violation is None:
            try:
                self.finish()
            except Wrong as wrong:
                self.violation = Violation(self.name, position, str(wrong))

    def note(self, record: Recorded[Event]) -> None:
        """Look at every event."""

    def finish(self) -> None:
        """Look at what there is after the last event."""


class Held:
    """Things that one owner at a time has."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._owners: dict[Hashable, Any] = {}

    def take(self, key: Hashable, owner: Any) -> None:  # noqa: ANN401  # whatever owns such a thing
        """Give a thing to an owner; it must be free."""
        require(key not in self._owners, f"{self._what} {key} is held by {self._owners.get(key)}")
        self._owners[key] = owner

    def give(self, key: Hashable, owner: Any) -> None:  # noqa: ANN401
        """Take a thing back from the owner that has it."""
        require(key in self._owners, f"{self._what} {key} is held by nobody")
        require(self._owners[key] == owner, f"{self._what} {key} is held by {self._owners[key]}, not by {owner}")
        del self._owners[key]

    def of(self, owner: Any) -> list[Hashable]:  # noqa: ANN401
        """List what an owner has."""
        return [key for key, there in self._owners.items() if there == owner]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._owners

    def __getitem__(self, key: Hashable) -> Any:  # noqa: ANN401
        return self._owners.get(key)

    def keys(self) -> list[Any]:
        """List what is held."""
        return list(self._owners)


def require(holds: object, words: str) -> None:
    """Say that something is wrong unless it holds."""
    if not holds:
        raise Wrong(words)


@functools.cache
def _method_name(kind: type[Event]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
