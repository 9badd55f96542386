"""The world of a run: its clock, its chance, its names, the network that its hosts are on.

Keeps: nothing in it comes from the machine that it runs on, so the same seed gives the same logs, byte for byte.
Knows nothing of: commands, checkers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from ...dataplanes.simulated import SimulatedClock
from ...dataplanes.simulated.fabric import Fabric
from ...engine.surroundings import RUN_DIRECTORY, Surroundings

OUTSIDE = "outside"
"""A machine on the underlay that is no host of ours."""


class World(Surroundings):
    """What every host of a run shares. `meanwhile` is what happens once the next operation has looked at the log."""

    def __init__(self, seed: int) -> None:
        self.clock = SimulatedClock()
        self.retry_clock = self.clock.seconds
        self.fabric = Fabric()
        self.outside = self.fabric.add_outside(OUTSIDE)
        self.meanwhile: list[Callable[[], object]] = []
        self._chance = random.Random(f"tokens/{seed}")  # noqa: S311  # no secret: the same seed gives the same ids

    def now(self) -> int:
        """Tell the simulated time. An operation asks when it has caught up with the log and begins to decide."""
        due, self.meanwhile = self.meanwhile, []
        for happen in due:
            happen()
        return self.clock.now()

    def token(self, size_bytes: int) -> str:
        """Make an id."""
        return self._chance.randbytes(size_bytes).hex()

    def host_name(self) -> str:
        """Name the machine."""
        return "simulated"

    def run_directory(self) -> Path:
        """Name a directory; the simulated kernel makes no file."""
        return RUN_DIRECTORY
