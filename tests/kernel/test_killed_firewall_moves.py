"""Killed at any moment of a move to another firewall, a host has one firewall's rules after the next start, and all.

As in `test_kill_loop.py`, with one operation. Which firewall it is to be says the log, as an outsider reads it
(kill_loop/log.py). A failure tells its seed; NETLEDGER_KILL_SEED repeats it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .kill_loop import moves
from .kill_loop.child import Child
from .kill_loop.host import add_address
from .kill_loop.log import Log
from .kill_loop.loop import SEED_VARIABLE, START_SECONDS
from .kill_loop.points import AT_A_MOVE, SIDES, UNCOMMITTED, Point

SEED = os.environ.get(SEED_VARIABLE) or str(random.SystemRandom().randrange(10**6))
OTHER = {"nftables": "iptables", "iptables": "nftables"}
RANDOM_KILLS = 4
MOVING_SECONDS = 0.4
"""What a random moment is drawn from: a move."""


class MovingHost:
    """A host with a published port, which is moved to and fro."""

    def __init__(self, host: Path, state: Path) -> None:
        add_address(host)
        self.host, self.state = host, state
        self.log = Log(state / "ledger.db")
        child = Child(partial(moves.publish, state=state, host=host))
        self.sandbox = child.receive(START_SECONDS)
        assert child.end(START_SECONDS) == 0, self.sandbox
        self.firewall = self.check()

    def check(self) -> str:
        """Start once more; say which firewall the host has, which must be whole and alone."""
        child = Child(partial(moves.start, state=self.state, host=self.host))
        told = child.receive(START_SECONDS)
        assert child.end(START_SECONDS) == 0, told
        self.log.read()
        assert self.log.problems == []
        assert told == (self.log.firewall, (), ())
        assert self.log.retiring == []
        assert moves.rules(self.host, self.log.instance) == {self.log.firewall}
        assert moves.is_reached(self.host, self.sandbox)
        return self.log.firewall

    def die(self, point: Point | None = None, seconds: float = START_SECONDS) -> bool:
        """Move until a point is reached or the time is over; whether the process was killed before its end."""
        work = partial(moves.move, state=self.state, host=self.host, backend=OTHER[self.firewall], point=point)
        child = Child(work)
        assert child.receive(START_SECONDS) == "open"
        child.tell("begin")
        if point is None:
            time.sleep(seconds)
        return child.end(seconds if point else 0.0) == -signal.SIGKILL

    def close(self) -> None:
        """Let go of the sandbox's namespace."""
        subprocess.run(["umount", "--lazy", str(self.sandbox)], check=False, capture_output=True, timeout=30)


@pytest.fixture
def moving(host: Path, tmp_path: Path) -> Iterator[MovingHost]:
    """Give a host that is moved."""
    made = MovingHost(host, tmp_path / "state")
    yield made
    made.close()


def test_killed_at_each_point_of_a_move(moving: MovingHost) -> None:
    """Before the event is in the log nothing has happened; from then on the next start ends the move."""
    for call in AT_A_MOVE:
        for side in SIDES:
            before = moving.firewall
            assert moving.die(Point(call, side)), f"{side} {call} is not reached"
            moving.firewall = moving.check()
            expected = before if (call, side) in UNCOMMITTED else OTHER[before]
            assert moving.firewall == expected, f"{side} {call}"


def test_killed_at_random_moments_of_a_move(moving: MovingHost) -> None:
    """Wherever it is, the next start has one whole firewall; a move that nobody kills ends by itself."""
    chance = random.Random(SEED)
    for number in range(RANDOM_KILLS):
        seconds = chance.uniform(0, MOVING_SECONDS)
        moving.die(seconds=seconds)
        moving.firewall = moving.check()
        assert moving.firewall in OTHER, f"kill {number}, after {seconds:.4f} s, {SEED_VARIABLE}={SEED}"
    before = moving.firewall
    moving.die(Point("release the lock", "after"))
    assert moving.check() == OTHER[before]
