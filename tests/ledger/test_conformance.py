"""The library's own recorder cases, for both recorders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.dcb.api import DCBEvent, DCBRecorder
from eventsourcing.dcb.tests import DCBRecorderTestCase
from eventsourcing.persistence import ProgrammingError

from netledger.ledger.memory import MemoryRecorder
from netledger.ledger.sqlite import SQLiteRecorder


@pytest.fixture(params=["sqlite", "memory"])
def recorder(request: pytest.FixtureRequest, path: Path) -> Iterator[DCBRecorder]:
    """Open a new recorder of either kind."""
    recorder = SQLiteRecorder(path) if request.param == "sqlite" else MemoryRecorder()
    yield recorder
    recorder.close()


def test_append_and_read(recorder: DCBRecorder) -> None:
    """Both recorders append and read as the library's do."""
    DCBRecorderTestCase()._test_append_read(recorder)


def test_append_and_subscribe(recorder: DCBRecorder) -> None:
    """Both recorders' subscriptions block and wake as the library's do."""
    DCBRecorderTestCase()._test_append_subscribe(recorder)


def test_cases_hold_behind_other_events(recorder: DCBRecorder) -> None:
    """The subscription case holds on a log that is not empty."""
    recorder.append([DCBEvent("earlier", b"", ["tag"]) for _ in range(3)])
    DCBRecorderTestCase()._test_append_subscribe(recorder, initial_position=3)


def test_nothing_to_append_is_a_programming_error(recorder: DCBRecorder) -> None:
    """An append of nothing is refused, as the library does."""
    with pytest.raises(ProgrammingError):
        recorder.append([])


def test_a_stopped_subscription_ends_and_listens_no_more(recorder: DCBRecorder) -> None:
    """Stopping ends the iteration, also with events left, and leaves no listener behind."""
    recorder.append([DCBEvent("type", b"", []) for _ in range(3)])
    with recorder.subscribe() as subscription:
        assert next(subscription).position == 1
        subscription.stop()
        assert list(subscription) == []
    assert not recorder._listeners._signals  # type: ignore[attr-defined]
