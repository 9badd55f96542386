"""Ctrl-C at any moment: the process stays where it was, its Controller goes on, and the next start finds no drift."""

from __future__ import annotations

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from .kill_loop import storm
from .kill_loop.child import Child
from .kill_loop.host import differences
from .kill_loop.log import Log

INTERRUPTIONS = 200
ANSWER_SECONDS = 30


@pytest.mark.parametrize("number", range(2))
def test_two_hundred_interruptions(host: Path, tmp_path: Path, number: int) -> None:
    """Half of them come in pairs: the second one meets the engine while it undoes what the first one stopped."""
    seed = str(random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)
    state = tmp_path / "state"
    child = Child(partial(storm.live, state=state, host=host, seed=seed))
    try:
        assert child.receive(ANSWER_SECONDS) == "ready"
        for _ in range(INTERRUPTIONS):
            child.signal(signal.SIGINT)
            time.sleep(chance.choice((0.0002, chance.uniform(0.001, 0.012))))
        child.signal(signal.SIGUSR1)
        report = child.receive(ANSWER_SECONDS)
        assert isinstance(report, storm.Report), f"seed {seed}, {state}: {report}"
        print(report)
        assert report.interruptions > INTERRUPTIONS / 4
        assert report.own_namespace_after == report.own_namespace_before
        assert report.namespaces_of_threads <= {report.own_namespace_before, host.stat().st_ino}
        assert report.drift == ()
        if number:
            child.tell("close")
        else:
            child.end()
        assert child.end(ANSWER_SECONDS) == (0 if number else -signal.SIGKILL)
    finally:
        child.end()
    _start_again(state, host, seed)


def _start_again(state: Path, host: Path, seed: str) -> None:
    ...
