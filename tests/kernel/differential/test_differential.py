"""One program of commands on a real and on a simulated host: the same answers, logs, objects and packets."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from netledger.dataplanes.simulated import firewall, forwarding
from netledger.domain.commands import Command
from netledger.testing import strategies
from netledger.testing.author import ICC, KINDS, Universe
from netledger.testing.desk import create_endpoint, create_network, create_sandbox, join

from .prober import NO_ROUTE, REACHED, REFUSED, SILENCE, Prober
from .twins import Twins

GROUND = (
    *("create network",) * 2,
    *("create sandbox",) * 3,
    *("create endpoint", "join") * 4,
    *("create network", "create endpoint", "join"),
)
BOTH_FAMILIES = [
    create_network("n1", "10.1.0.0/24", "fd01::/64"),
    create_network("n2", "10.2.0.0/24", "fd02::/64", options={ICC: False}),
    *(create_sandbox(name) for name in ("a", "b", "c")),
    *(create_endpoint(network, name, "8080-8090:80") for network, name in (("n1", "a"), ("n2", "b"), ("n2", "c"))),
    *(join(f"{network}/{name}", name) for network, name in (("n1", "a"), ("n2", "b"), ("n2", "c"))),
]
"""Drawn networks seldom have IPv6: these do, and one of them keeps its endpoints apart."""

QUESTIONS = 160
"""How many questions are asked after each batch, if there are as many."""

quick = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # a failing program would take minutes to shrink
)
long = settings(quick, max_examples=400, derandomize=False, phases=tuple(Phase))


def play(
    prober: Prober,
    batches: list[list[Command]],
    *,
    filters_bridged: bool,
    loses: bool,
    seed: int,
    **options: Any,
) -> Counter[tuple[str, str]]:
    """Play a program on twins with some options; tell how often what was asked and answered.

    `loses`: somebody removes things.
    """
    choice = random.Random(seed)
    twins = Twins(prober, filters_bridged=filters_bridged, **options)
    asked: Counter[tuple[str, str]] = Counter()
    try:
        for batch in batches:
            head = twins.real.ledger.head
            twins.do(*batch)
            if loses:
                twins.lose(choice.randrange(1000))
            if twins.real.ledger.head != head:
                questions = twins.questions()
                asked += twins.compare_packets(choice.sample(questions, min(QUESTIONS, len(questions))))
    finally:
        twins.close()
    return asked


def histories() -> st.SearchStrategy[list[list[Command]]]:
    """Draw batches of commands, the first of which fills a few networks."""
    universe = Universe(networks=3, endpoints=8, sandboxes=4)
    return strategies.histories(5, universe, ground=GROUND, kinds=(*KINDS, "blunder"))


programs = given(batches=histories(), filters_bridged=st.booleans(), loses=st.booleans(), seed=st.integers(0, 1000))


def test_the_simulator_is_like_the_kernel(prober):
    """Whatever is asked for, both end in the same state, and packets fare the same on both, in every way there is."""
    asked: Counter[tuple[str, str]] = Counter()

    @quick
    @programs
    def program(batches, filters_bridged, loses, seed):
        asked.update(play(prober, batches, filters_bridged=filters_bridged, loses=loses, seed=seed))

    program()
    for chance in range(3):
        asked.update(play(prober, [BOTH_FAMILIES], filters_bridged=True, loses=True, seed=chance))
    for family in (4, 6):
        for protocol in ("tcp", "udp", "icmp"):
            for verdict in (REACHED, SILENCE, NO_ROUTE, *([] if protocol == "icmp" else [REFUSED])):
                assert asked[(f"{protocol} over IPv{family}", verdict)] > 5, (protocol, family, verdict, asked)


def test_the_simulator_is_like_the_kernel_with_iptables(prober):
    """The backends differ in one thing only: who is seen where packets to a published port stay on a bridge."""
    asked: Counter[tuple[str, str]] = Counter()

    @settings(quick, max_examples=6)
    @programs
    def program(batches, filters_bridged, loses, seed):
        del filters_bridged
        asked.update(play(prober, batches, filters_bridged=False, loses=loses, seed=seed, firewall="iptables"))

    program()
    asked.update(play(prober, [BOTH_FAMILIES], filters_bridged=False, loses=True, seed=1, firewall="iptables"))
    assert all(asked[(f"tcp over IPv{family}", verdict)] > 5 for family in (4, 6) for verdict in (REACHED, SILENCE))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_simulator_is_like_the_kernel_for_long(prober):
    """The same with other programs each time; a failing one is made as short as can be, and printed."""

    @long
    @programs
    def program(batches, filters_bridged, loses, seed):
        play(prober, batches, filters_bridged=filters_bridged, loses=loses, seed=seed)

    program()


def test_a_wrong_rule_of_the_simulator_is_found(prober):
    """A simulator that forgets who may talk is not like the kernel, and the program finds out."""

    @settings(quick, max_examples=100)
    @programs
    def program(batches, filters_bridged, loses, seed):
        play(prober, batches, filters_bridged=filters_bridged, loses=loses, seed=seed, patience_seconds=0)

    def forget_icc(table, *between, **known):
        return firewall.forward(dataclasses.replace(table, icc=set()), *between, **known)

    with (
        mock.patch.object(forwarding, "forward", forget_icc),
        pytest.raises(AssertionError, match="packets fare differently"),
    ):
        program()
