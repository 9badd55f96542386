"""The simulated clock: time that passes only when somebody waits.

Keeps: never goes back. Knows nothing of: the real time.
"""

from __future__ import annotations

BEGINNING = 1_767_225_600_000_000_000
"""2026-01-01, 00:00 UTC, in nanoseconds."""

SECOND = 1_000_000_000


class SimulatedClock:
    """A clock of one or more simulated hosts."""

    def __init__(self, now: int = BEGINNING) -> None:
        self._now = now

    def now(self) -> int:
        """Tell the time: UTC, in nanoseconds."""
        return self._now

    def seconds(self) -> float:
        """Tell the time in seconds, as time.monotonic() does."""
        return self._now / SECOND

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0, "time does not go back"
        self._now += round(seconds * SECOND)
