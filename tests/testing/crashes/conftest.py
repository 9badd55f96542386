"""What the crash explorations share: their tallies, printed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netledger.testing.crashes import Tally

_tallies = pytest.StashKey[list[tuple[str, Tally]]]()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, Tally], None]:
    """Give a function that has a tally printed under a name when all tests have run."""
    tallies = request.config.stash.setdefault(_tallies, [])
    return lambda name, tally: tallies.append((name, tally))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many deaths were tried, so that nobody has to believe that it was many."""
    sums: dict[str, Tally] = {}
    for name, tally in config.stash.get(_tallies, []):
        sums[name] = sums[name] + tally if name in sums else tally
    for name, tally in sums.items():
        terminalreporter.write_line(f"crashes, {name}: {tally}")
