"""Subscriptions lose no wake-up, whatever the moment, and end when they are stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from eventsourcing.dcb.api import DCBEvent, DCBRecorder

from netledger.ledger.memory import MemoryRecorder
from netledger.ledger.sqlite import SQLiteRecorder


@pytest.fixture(params=["sqlite", "memory"])
def recorder(request: pytest.FixtureRequest, path: Path) -> Iterator[DCBRecorder]:
    """Open a new recorder of either kind."""
    recorder = SQLiteRecorder(path) if request.param == "sqlite" else MemoryRecorder()
    yield recorder
    recorder.close()


def test_a_subscription_loses_no_wake_up(recorder: DCBRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event comes without the help of polling, whatever moment it is appended at."""
    monkeypatch.setattr("netledger.ledger.dcb.POLL_SECONDS", 3600)
    count = 300

    def append() -> None:
        for number in range(count):
            recorder.append([DCBEvent("type", b"", [])])
            time.sleep(number % 3 / 5000)

    thread = threading.Thread(target=append)
    with recorder.subscribe() as subscription:
        thread.start()
        assert [event.position for event in islice(subscription, count)] == list(range(1, count + 1))
    thread.join()


def test_an_append_between_a_read_and_the_wait_wakes(recorder: DCBRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment at which the library's subscriptions lose a wake-up: nothing was found, and then it is appended."""
    monkeypatch.setattr("netledger.ledger.dcb.POLL_SECONDS", 3600)
    read = recorder.read

    def read_and_be_late(*arguments: object, **options: object) -> object:
        found = list(read(*arguments, **options))
        if not found:
            recorder.append([DCBEvent("type", b"", [])])
        return found

    monkeypatch.setattr(recorder, "read", read_and_be_late)
    with recorder.subscribe() as subscription:
        assert [next(subscription).position for _ in range(3)] == [1, 2, 3]


def test_a_subscription_sees_what_another_recorder_appends(path: Path) -> None:
    """Another process's events come too, though nothing signals them."""
    with (
        closing(SQLiteRecorder(path)) as ours,
        closing(SQLiteRecorder(path)) as other,
        ours.subscribe() as subscription,
    ):
        timer = threading.Timer(0.05, lambda: other.append([DCBEvent("type", b"", [])]))
        timer.start()
        assert next(subscription).position == 1
        timer.join()


def test_a_stopped_subscription_ends_and_listens_no_more(recorder: DCBRecorder) -> None:
    """Stopping ends the iteration, also with events left, and leaves no listener behind."""
    recorder.append([DCBEvent("type", b"", []) for _ in range(3)])
    with recorder.subscribe() as subscription:
        assert next(subscription).position == 1
        subscription.stop()
        assert list(subscription) == []
    assert not recorder._listeners._signals  # type: ignore[attr-defined]
