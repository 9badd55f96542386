"""The library's DCB vocabulary, as far as both recorders share it: read response, failed guard, subscription.

Keeps: a subscription loses no wake-up. It listens before it reads, clears the signal before each read, and looks again
after a short while anyway, because other processes do not signal.
Knows nothing of: how events are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBQuery,
    DCBQueryItem,
    DCBReadResponse,
    DCBSequencedEvent,
    DCBSubscription,
    TDCBRecorder_co,
)
from eventsourcing.persistence import IntegrityError

from ..domain.errors import LedgerConflict, LedgerDamaged

POLL_SECONDS = 0.05
"""How often a subscription looks for other processes' events."""

SUBSCRIPTION_EVENTS = 500
"""So many events a subscription reads at once."""

EVERYTHING = DCBQueryItem()
"""Matches every event."""


class GuardFailed(LedgerConflict, IntegrityError):
    """Say which guard failed, in the library's words and in ours."""


def items_of(query: DCBQuery | None) -> list[DCBQueryItem]:
    """List the alternatives of a query; one that matches everything where it has none."""
    return (query.items if query else []) or [EVERYTHING]


def must_check(condition: DCBAppendCondition | None, head: int) -> bool:
    """Whether a condition needs to look at the log: not if nothing was appended since."""
    if condition is None or (condition.after or 0) == head:
        return False
    if (condition.after or 0) > head:
        raise LedgerDamaged(
            f"append after position {condition.after}: the log ends at {head}, so it is not the one that was read; "
            "close the ledger, find out what replaced its file, and open it again",
            head,
        )
    return True


def guard_failed(condition: DCBAppendCondition, item: DCBQueryItem, position: int) -> GuardFailed:
    """Say what blocks an append, and where."""
    what = " or ".join(item.types) or "an event"
    which = f" with {', '.join(item.tags)}" if item.tags else ""
    return GuardFailed(
        f"append after position {condition.after or 0}: {what}{which} was appended at position {position}; "
        "read the events since, and decide again"
    )


class Response(DCBReadResponse):
    """Events that were read, and `head`: where the log ended then, or the last event where a limit was given."""

    def __init__(self, events: Iterator[DCBSequencedEvent], head: int | None) -> None:
        self._events = events
        self._head = head

    @property
    def head(self) -> int | None:
        """None where there is no such event."""
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        return next(self._events)


class Listeners:
    """Who wants to know of this process's appends."""

    def __init__(self) -> None:
        self._signals: set[threading.Event] = set()

    def notify(self) -> None:
        """Tell everyone."""
        for signal in tuple(self._signals):
            signal.set()

    @contextmanager
    def listening(self) -> Iterator[threading.Event]:
        """Give an event that is set after each append."""
        signal = threading.Event()
        self.add(signal)
        try:
            yield signal
        finally:
            self.remove(signal)

    def add(self, signal: threading.Event) -> None:
        """Set this event after each append."""
        self._signals.add(signal)

    def remove(self, signal: threading.Event) -> None:
        """Leave this event alone."""
        self._signals.discard(signal)


class Subscription(DCBSubscription[TDCBRecorder_co]):
    """Committed events as they come. `stop`, from any thread, ends it."""

    def __init__(
        self, recorder: TDCBRecorder_co, listeners: Listeners, query: DCBQuery | None, after: int | None
    ) -> None:
        super().__init__(recorder, query, after)
        self._listeners = listeners
        self._signal = threading.Event()
        self._fetched: Iterator[DCBSequencedEvent] = iter(())
        listeners.add(self._signal)

    def stop(self) -> None:
        """End the subscription; wake whoever waits in it."""
        super().stop()
        self._listeners.remove(self._signal)
        self._signal.set()

    def __next__(self) -> DCBSequencedEvent:
        while not self._has_been_stopped:
            for event in self._fetched:
                self._last_position = event.position
                return event
            self._signal.clear()
            if self._has_been_stopped:
                break
            fetched = list(self._recorder.read(self._query, after=self._last_position, limit=SUBSCRIPTION_EVENTS))
            self._fetched = iter(fetched)
            if not fetched:
                self._signal.wait(POLL_SECONDS)
        raise StopIteration
