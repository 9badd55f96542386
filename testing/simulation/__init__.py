"""The seeded whole-system run: hosts, commands, faults, checkers; `netledger simulate` from Python."""

from .running import Failure, Outcome, Settings, SystemRun, fewest_steps, run
from .summary import Summary

__all__ = ["Failure", "Outcome", "Settings", "Summary", "SystemRun", "fewest_steps", "run"]
