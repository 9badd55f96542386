"""One program of commands on a real and on a simulated host: the same answers, logs, objects and packets."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from netledger.domain.commands import Command
from netledger.testing.strategies import histories

from .prober import Prober
from .twins import Twins

QUESTIONS = 160
"""How many questions are asked after each batch, if there are as many."""

quick = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # a failing program would take minutes to shrink
)
long = settings(quick, max_examples=400, derandomize=False, phases=tuple(Phase))


def play(prober: Prober, batches: list[list[Command]], *, filters_bridged: bool, seed: int) -> int:
    """Play a program on both; return how many questions were asked."""
    choice = random.Random(seed)
    twins = Twins(prober, filters_bridged=filters_bridged)
    asked = 0
    try:
        for batch in batches:
            head = twins.real.ledger.head
            twins.do(*batch)
            if twins.real.ledger.head != head:
                questions = twins.questions()
                asked += twins.compare_packets(choice.sample(questions, min(QUESTIONS, len(questions))))
    finally:
        twins.close()
    return asked


programs = given(batches=histories(6), filters_bridged=st.booleans(), seed=st.integers(0, 1000))


def test_the_simulator_is_like_the_kernel(prober):
    """Whatever is asked for, both end in the same state, and packets fare the same on both."""
    asked = 0

    @quick
    @programs
    def program(batches, filters_bridged, seed):
        nonlocal asked
        asked += play(prober, batches, filters_bridged=filters_bridged, seed=seed)

    program()
    assert asked > 1000


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_simulator_is_like_the_kernel_for_long(prober):
    """The same with other programs each time; a failing one is printed."""

    @long
    @programs
    def program(batches, filters_bridged, seed):
        play(prober, batches, filters_bridged=filters_bridged, seed=seed)

    program()
