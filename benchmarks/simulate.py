"""Measure the simulator: steps of whole runs, endpoints built, questions answered, memory.

    python benchmarks/simulate.py             100 hosts with 100 endpoints each, one to two minutes
    python benchmarks/simulate.py --quick     10 hosts

A run's steps stand beside the same commands decided on a desk, by rules alone (no log, no kernel, no check); building a
host's kernel beside lowering its log into a dict of objects, which is where building begins. Each speed is given by the
clock, and for a second of a processor: what else runs on the machine slows the first more than the second.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from netledger.dataplanes.simulated import FaultPlan
from netledger.dataplanes.simulated.fabric import CARD, Fabric, Question
from netledger.dataplanes.simulated.packets import ICMP, TCP, Spot
from netledger.domain.errors import Refusal
from netledger.domain.events import StaticRoute
from netledger.domain.values import parse_subnet
from netledger.projections.desired import lower_everything
from netledger.projections.views import Views
from netledger.replay.reachability import Reachability
from netledger.replay.simulation import Simulation, build
from netledger.testing.author import Author, Seeded
from netledger.testing.coverage import Coverage
from netledger.testing.desk import HOST, Desk, create_endpoint, create_network, create_sandbox, join
from netledger.testing.machine import CnmMachine
from netledger.testing.simulation import Settings, run

PER_HOST = 100
FIRST_PORT = 10_000
QUESTIONS = 3_000
RUN_STEPS = 400
LISTED = 1_000_000
"""So many questions of a matrix are listed one by one."""
RATES = f"{'a second':>12}{'processor':>12}"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure the simulator.")
    parser.add_argument("--quick", action="store_true", help="10 hosts in the place of 100")
    hosts = 10 if parser.parse_args().quick else 100
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    measure_runs()
    measure_machine()
    views = measure_deciding(hosts)
    fabric = measure_building(views)
    measure_questions(fabric, views)
    measure_matrix(views[0])
    measure_whole_matrix(views)


def measure_runs() -> None:
    """Print the steps a second of `netledger simulate`."""
    print(f"{'whole runs, 2 hosts':<44}{RATES}{'MB':>8}")
    show(f"commands decided on a desk ({RUN_STEPS * 4:,})", RUN_STEPS * 4, decide_on_a_desk)
    for faults in ("none", "some", "many"):
        plan = Settings(1, RUN_STEPS, 2, FaultPlan.named(faults))
        with tempfile.TemporaryDirectory() as directory:
            work = functools.partial(run_whole, plan, directory)
            show(f"steps, faults {faults} ({RUN_STEPS})", RUN_STEPS, work)


def run_whole(plan: Settings, directory: str) -> None:
    """Run, and see that everything holds."""
    failure = run(plan, Path(directory) / "run").failure
    assert failure is None, failure


def decide_on_a_desk() -> None:
    """Decide as many commands by rules alone."""
    desk = Desk()
    author = Author(Seeded(1), views=lambda: desk.views)
    for _ in range(RUN_STEPS * 4):
        try:
            desk.do(author.command())
        except Refusal:
            continue


def measure_machine() -> None:
    """Print the steps a second of the state machine, every checker after each."""
    steps = 0

    class Counting(CnmMachine):
        coverage = Coverage()

        def check_invariants(self, *given: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            return super().check_invariants(*given, **named)

    how = settings(
        max_examples=30,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    watch = Stopwatch()
    run_state_machine_as_test(Counting, settings=how)
    print(f"{f'steps of CnmMachine ({steps})':<44}{rates(steps, watch)}\n", flush=True)


def measure_deciding(hosts: int) -> list[Views]:
    """Print how quickly endpoints are decided: a network each host, a published port and a sandbox each endpoint."""
    desks = [Desk() for _ in range(hosts)]
    count = hosts * PER_HOST
    print(f"{f'{count:,} endpoints on {hosts} hosts':<44}{RATES}{'MB':>8}")

    def decide() -> None:
        for desk in desks:
            desk.do(create_network("n", "10.0.0.0/16"))
            for number in range(PER_HOST):
                port = f"{FIRST_PORT + number}:80"
                desk.do(create_endpoint("n", f"e{number}", port), create_sandbox(f"c{number}"))
                desk.do(join(f"n/e{number}", f"c{number}"))
            desk.log.clear()

    show("decided and folded into views", count, decide)
    return [desk.views for desk in desks]


def measure_building(views: list[Views]) -> Fabric:
    """Print how quickly kernels are built from views."""
    fabric = Fabric()
    count = len(views) * PER_HOST

    def make() -> None:
        for number, one in enumerate(views):
            fabric.adopt(build(one, HOST, f"host{number}"))

    show("lowered into objects, and those forgotten", count, lambda: [lower_everything(one, HOST) for one in views])
    show("built: kernels on one underlay", count, make)
    print()
    return fabric


def measure_questions(fabric: Fabric, views: list[Views]) -> None:
    """Print how quickly questions are answered: each for the first time, and when the neighbours are known."""
    print(f"{f'reach, {QUESTIONS:,} questions':<44}{RATES}{'again':>12}{'processor':>12}")
    chance = random.Random(1)
    for name, questions in (
        ("a container of the same network, echo", neighbours(views, chance)),
        ("from a container, a port of any host", published(fabric, chance, inside=True)),
        ("from a host, a port of any host", published(fabric, chance, inside=False)),
    ):
        asked = [next(questions) for _ in range(QUESTIONS)]
        speeds = []
        for _ in range(2):
            watch = Stopwatch()
            found = Counter(fabric.matrix(asked).values())
            speeds.append(rates(len(asked), watch))
            assert list(found) == ["reached"], found
        print(f"{name:<44}{''.join(speeds)}", flush=True)
    print(f"resident memory of the process: {resident_mb():,.0f} MB\n")


def neighbours(views: list[Views], chance: random.Random) -> Iterator[Question]:
    """Ask from one container for another of its network."""
    while True:
        number = chance.randrange(len(views))
        source, other = chance.sample(list(views[number].endpoints.joined.values()), 2)
        endpoint = views[number].endpoint(other.event.endpoint)
        assert endpoint is not None
        yield Spot(f"host{number}", source.event.sandbox), endpoint.event.addresses[0].address, ICMP, 0


def published(fabric: Fabric, chance: random.Random, *, inside: bool) -> Iterator[Question]:
    """Ask for a published port of any host."""
    names = list(fabric.hosts)
    while True:
        source, destination = chance.choice(names), chance.choice(names)
        sandboxes = [sandbox for sandbox in fabric.hosts[source].namespaces if sandbox]
        spot = Spot(source, chance.choice(sandboxes)) if inside else Spot(source)
        address = next(iter(fabric.hosts[destination].own.devices[CARD].addresses))[0]
        yield spot, address, TCP, FIRST_PORT + chance.randrange(PER_HOST)


def measure_matrix(views: Views) -> None:
    """Print how quickly everybody of one host is asked for everything."""
    simulation = Simulation(views, HOST)
    watch = Stopwatch()
    found = simulation.matrix()
    title = f"matrix of a host, {PER_HOST} endpoints ({len(found):,})"
    print(f"{title:<44}{rates(len(found), watch)}   in {watch}")


def measure_whole_matrix(views: list[Views]) -> None:
    """Print how long everybody of all hosts is asked for everything, once for what is alike; and of a varied state."""
    states = {f"host{number}": (one, HOST) for number, one in enumerate(views)}
    varied_alone = {"host": (varied(), HOST)}
    for title, given in (("of all hosts, what is alike once", states), ("of a host with no two alike", varied_alone)):
        building, held = Stopwatch(), resident_mb()
        whole = Reachability(given)
        print(f"matrix {title}: {len(whole):,} questions; built in {building}")
        asking = Stopwatch()
        print(f"    answered by {whole.packets():,} packets in {asking}; {resident_mb() - held:,.0f} MB", flush=True)
        listing = Stopwatch()
        found = Counter(str(verdict) for _, verdict in itertools.islice(whole, LISTED))
        print(f"    listed one by one, {found.total() / listing.processor:,.0f} a second: {dict(found)}")
    print(f"resident memory of the process: {resident_mb():,.0f} MB")


class Stopwatch:
    """Time since it was made, by the clock and of this process on a processor."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def clock(self) -> float:
        """Seconds by the clock."""
        return time.perf_counter() - self._began[0]

    @property
    def processor(self) -> float:
        """Seconds of a processor: what it would take on a machine that does nothing else."""
        return time.process_time() - self._began[1]

    def __str__(self) -> str:
        return f"{self.clock:.1f} s, {self.processor:.1f} s of a processor"


def varied() -> Views:
    """Fill a host with containers that no rule finds alike: each has a route of its own."""
    desk = Desk()
    desk.do(create_network("n", "10.0.0.0/16"))
    for number in range(PER_HOST):
        route = StaticRoute(parse_subnet(f"10.99.{number}.0/24"))
        desk.do(create_endpoint("n", f"e{number}", f"{FIRST_PORT + number}:80"), create_sandbox(f"c{number}"))
        desk.do(join(f"n/e{number}", f"c{number}", routes=(route,)))
    return desk.views


def show(name: str, count: int, work: Callable[[], object]) -> None:
    """Do something once; print how much of it is done in a second, and how much memory it has left behind."""
    held = resident_mb()
    watch = Stopwatch()
    work()
    print(f"{name:<44}{rates(count, watch)}{resident_mb() - held:>8,.0f}", flush=True)


def rates(count: int, watch: Stopwatch) -> str:
    """Write how much of it is done in a second, by the clock and of a processor."""
    return f"{count / watch.clock:>12,.0f}{count / watch.processor:>12,.0f}"


def resident_mb() -> float:
    """How much of this process is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


if __name__ == "__main__":
    main()
