"""What the ledger's tests share: events to append, and processes to append them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent


def alias(number: int, endpoint: str = "e1", network: str = "n1") -> AliasAdded:
    """Make an event that is like no other."""
    return AliasAdded(number, "tester", f"r{number}/0#00", "test", "h1", endpoint, network, f"alias{number}")


@pytest.fixture(name="alias")
def alias_fixture() -> Callable[..., AliasAdded]:
    """Make an event that is like no other."""
    return alias


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a ledger that is not there yet."""
    return tmp_path / "ledger.db"


@pytest.fixture(params=["sqlite", "memory"])
def ledger(request: pytest.FixtureRequest, path: Path) -> Iterator[Ledger]:
    """Open a new ledger of either kind."""
    with Ledger.open(path if request.param == "sqlite" else None) as ledger:
        yield ledger


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run a script in another Python; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
