"""Which number stands for which event type."""

from __future__ import annotations

import pytest

from netledger.ledger.registry import EventType, Registration, Registry


def test_an_interrupted_adoption_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C within `adopt` leaves nothing that the next one would skip (found by interrupting appends)."""
    kind = EventType("Made", 1, ("at",))
    registry = Registry({"Made": kind})

    def interrupt(name: str) -> EventType:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, "current", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.adopt([Registration(1, kind)])
    registry.adopt([Registration(1, kind)])
    assert registry.written == {"Made": 1}
    assert registry.numbers_of(["Made", "Made", "Gone"]) == [1]


def test_events_are_written_under_the_number_of_today_s_type() -> None:
    """Older versions and shapes of a type keep their numbers, and are found by the name."""
    today = EventType("Made", 2, ("at", "name"))
    registry = Registry({"Made": today})
    registry.adopt([Registration(1, EventType("Made", 1, ("at",))), Registration(2, today)])
    registry.adopt([Registration(3, EventType("Made", 3, ("at",)))])
    assert registry.written == {"Made": 2}
    assert registry.numbers_of(["Made"]) == [1, 2, 3]
    assert len({registry.frames[number] for number in (1, 2, 3)}) == 3
