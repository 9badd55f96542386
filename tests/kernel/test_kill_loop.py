"""Killed at any moment, a host loses nothing, holds nothing twice, and needs no more than the next start.

It is killed at every named point (kill_loop/points.py) and at random moments. What is checked at each start is in
kill_loop/loop.py; the checkers, kill_loop/log.py and kill_loop/host.py, share no code with the engine. A failure tells
its seed; NETLEDGER_KILL_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .kill_loop.loop import SEED_VARIABLE, Loop
from .kill_loop.points import AT_THE_START, CALLS, MANY, ONLY_AT_A_MOVE, SIDES, Point

SEED = os.environ.get(SEED_VARIABLE) or str(random.SystemRandom().randrange(10**6))
WORKING = [call for call in CALLS if call not in AT_THE_START | ONLY_AT_A_MOVE]
DEATHS_A_POINT = 2
ATTEMPTS = 4
"""So many processes may miss a point before that is an error: one that is killed elsewhere is a kill as well."""

HOSTS, DEATHS_A_HOST = 3, 25
SOAKED_HOSTS, DEATHS_A_SOAKED_HOST = 20, 100
WORKING_SECONDS, STARTING_SECONDS = 0.15, 0.08
"""What a random moment is drawn from: some dozens of operations; a start."""


@pytest.fixture
def loop(host: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Loop]:
    """Give a host and a state directory to work and die on."""
    with Loop(host, tmp_path, f"{SEED}/{request.node.name}") as loop:
        yield loop
    told = {"seed": SEED, "kills": json.dumps(loop.kills), "settled_seconds": round(loop.settled_after, 3)}
    request.node.user_properties.extend(told.items())


def test_there_are_at_least_200_kills() -> None:
    """Each of the tests below fails unless it came to its number."""
    assert DEATHS_A_POINT * len(SIDES) * len(WORKING) + HOSTS * DEATHS_A_HOST >= 200


@pytest.mark.parametrize("call", WORKING)
def test_killed_at_a_named_point(loop: Loop, call: str) -> None:
    """One in four of the starts that recover is killed as well."""
    chance = random.Random(f"{SEED}/{call}")
    for side in SIDES:
        for _ in range(DEATHS_A_POINT):
            points = (Point(call, side, chance.randint(1, MANY.get(call, 2))) for _ in range(ATTEMPTS))
            assert any(loop.die_at(point) for point in points), f"{side} {call} is not reached"
            if chance.random() < 0.25:
                loop.die_while_starting_at(Point("netlink batch", chance.choice(SIDES), chance.randint(1, 12)))
    loop.close()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("call", sorted(AT_THE_START))
def test_killed_at_the_first_start(loop: Loop, call: str, side: str) -> None:
    """An empty state directory is made by whoever comes next."""
    assert loop.die_while_starting_at(Point(call, side))
    loop.close()


@pytest.mark.parametrize("number", range(HOSTS))
def test_killed_at_random_moments(loop: Loop, number: int) -> None:
    """While it works, and while it starts."""
    _die_at_random(loop, random.Random(f"{SEED}/{number}"), DEATHS_A_HOST)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(SOAKED_HOSTS))
def test_killed_thousands_of_times(loop: Loop, number: int) -> None:
    """The same, and at named points that are reached late."""
    _die_at_random(loop, random.Random(f"{SEED}/soak/{number}"), DEATHS_A_SOAKED_HOST)


def _die_at_random(loop: Loop, chance: random.Random, deaths: int) -> None:
    """Die so often: while working, while starting, or at any point of either; sometimes close in between."""
    while loop.kills.total() < deaths:
        call, side = chance.choice(WORKING), chance.choice(SIDES)
        match chance.randrange(8):
            case 0:
                loop.die_while_starting(chance.uniform(0, STARTING_SECONDS))
            case 1:
                loop.die_while_starting_at(Point(call, side, chance.randint(1, MANY.get(call, 2))))
            case 2 if deaths > DEATHS_A_HOST:
                loop.die_at(Point(call, side, chance.randint(1, MANY.get(call, 6))))
            case 3 if chance.random() < 0.5:
                loop.close()
            case _:
                loop.die_while_working(chance.uniform(0, WORKING_SECONDS))
    loop.close()
