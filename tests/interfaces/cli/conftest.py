"""What the command line's tests share: a way to run one command line in this process, on a state of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netledger.interfaces.cli import run


class Answer(NamedTuple):
    """How a command line ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed on stdout, as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """What the one error on stderr says, as JSON."""
        return json.loads(self.err)["error"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a state directory that is not there yet, and make it and the simulator the defaults."""
    monkeypatch.setenv("NETLEDGER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("NETLEDGER_DATAPLANE", "simulated")
    return tmp_path / "state"


@pytest.fixture
def cli(state: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run command lines: `cli("network", "ls")`, or `cli("network ls")` where no word has blanks."""

    def call(*words: str) -> Answer:
        capsys.readouterr()
        status = run(words[0].split() if len(words) == 1 else words)
        return Answer(status, *capsys.readouterr())

    return call


@pytest.fixture
def made(cli: Callable[..., Answer]) -> Callable[..., Answer]:
    """Run command lines that must succeed."""

    def call(*words: str) -> Answer:
        answer = cli(*words)
        assert (answer.status, answer.err) == (0, ""), answer
        return answer

    return call
