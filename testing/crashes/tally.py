"""What an exploration tells: the death that it found, or how many it tried.

Knows nothing of: how deaths are tried.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct


class CrashFound(AssertionError):
    """A death that is not made good: which program, where it died, what is wrong then."""


class Tally(Struct):
    """What was tried: moments of death by kind, torn files opened, and different worlds that were gone on from."""

    points: Counter[str]
    programs: int = 0
    opened: int = 0
    worlds: int = 0
    deepest: int = 0
    """The most deaths in a row."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.points + other.points,
            self.programs + other.programs,
            self.opened + other.opened,
            self.worlds + other.worlds,
            max(self.deepest, other.deepest),
        )

    def __str__(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.points.items()))
        return (
            f"{self.programs} programs, {self.points.total():,} points ({kinds}), {self.opened:,} torn files opened, "
            f"{self.worlds:,} different worlds gone on from, up to {self.deepest} deaths in a row"
        )
