"""What a run has exercised.

Knows nothing of: how a run goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from ..coverage import Coverage


class Summary(Struct):
    """Counts of a run, by kind."""

    steps: int = 0
    quiet_points: int = 0
    events: int = 0
    simulated_seconds: float = 0.0
    slow_seconds: float = 0.0
    """How long the slow steps among them took."""
    commands: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    taken_back: int = 0
    """Commands whose kernel objects could not be had."""
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: int = 0
    recovered_steps: int = 0
    repairs: int = 0
    repaired_steps: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    sites_reached: int = 0
    sites: int = 0

    def take_coverage(self, coverage: Coverage) -> None:
        """Take over what was asked and refused."""
        self.commands, self.refusals = Counter(coverage.commands), Counter(coverage.refusals)
        self.sites_reached, self.sites = len(coverage.reached), len(coverage.sites)

    def lines(self) -> list[str]:
        """Write it down."""
        return [
            f"steps             {self.steps:8,}, with {self.quiet_points} quiet points",
            f"events            {self.events:8,}, in {self.simulated_seconds:,.0f} simulated seconds",
            *_table("command", self.commands),
            *_table("refused", self.refusals),
            f"refusal sites     {self.sites_reached:8,} of {self.sites} reached",
            f"taken back        {self.taken_back:8,}",
            *_table("fault", self.faults),
            *([f"slow steps took   {self.slow_seconds:8,.2f} simulated seconds"] if self.slow_seconds else []),
            f"recoveries        {self.recoveries:8,}, of {self.recovered_steps:,} kernel operations",
            f"repairs           {self.repairs:8,}, of {self.repaired_steps:,} kernel operations",
            *_table("reach", self.verdicts),
        ]


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    return [f"{title:<17} {count:8,} {name}" for name, count in sorted(counts.items()) if count]
