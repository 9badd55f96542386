"""Measure deciding, appending and folding a realistic mix: containers that come and go.

    python benchmarks/mix.py                          about a minute
    python benchmarks/mix.py --events 30000 --rounds 5

`Traffic` makes the mix (benchmarks/who.py asks about a million events of it): what the rules decide for thousands of
containers on 20 networks, six events to attach (sandbox, address, endpoint, alias, interface, way out; two more with a
port, which one in 20 has), four to detach, and a tenth of all that in a block of six addresses. It is folded into the
views that rules decide on. Then operations are decided and appended in groups of 64 with fsync, through
`Controller.execute` without a dataplane: of one event, a request for an address or its return, and of six, a sandbox
and an endpoint with an alias that joins it. The floor is the same events, appended alone. All take turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from netledger import Controller
from netledger.domain.commands import (
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
    PoolRequest,
    ReleaseAddress,
    RequestAddress,
    RequestPool,
)
from netledger.domain.decision import Context
from netledger.domain.events import ClockStepped, Event, HostRegistered, Origin, Recorded
from netledger.domain.facts import EVERYTHING
from netledger.domain.rules import decide
from netledger.domain.values import (
    NANOSECONDS,
    EndpointId,
    HostId,
    NetworkId,
    PortRequest,
    Position,
    SandboxId,
    Subnet,
    parse_subnet,
)
from netledger.engine.results import Result
from netledger.ledger.ledger import Ledger
from netledger.projections.views import Views

HOST, INSTANCE = HostId("0123456789abcdef"), "0a1b2c3d"
NETWORKS, PRESENT = 20, 4_000
BUSY_PERCENT, BUSY_PRESENT = 10, 3
BEGIN = 1_775_000_000 * NANOSECONDS
MONTH = 30 * 86_400 * NANOSECONDS
STEPS = 12
"""So often in that month the clock is set back by two minutes."""

GROUP = 64
FOLD_BUDGET, ONE_EVENT_BUDGET, SIX_EVENT_BUDGET = 400_000, 15_000, 4_000
"""A second: events, and operations (DESIGN.md, 11)."""


class Traffic:
    """Decides commands one after the other, at times that spread over a month."""

    def __init__(self, events: int, seed: int) -> None:
        self.views = Views()
        self.random = random.Random(seed)
        self.wanted = events
        self.present: dict[bool, list[tuple[EndpointId, SandboxId]]] = {False: [], True: []}
        self.made = 0
        self.back = 0

    def events(self) -> Iterator[list[Event]]:
        """Yield the events of one command after the other."""
        yield self._fold([HostRegistered(*self._origin(0), "bench", "boot")])
        for number in range(NETWORKS):
            yield self._do(self._network(number, parse_subnet(f"10.{number}.0.0/23")))
        yield self._do(self._network(NETWORKS, parse_subnet("10.200.0.0/29")))
        number = 0
        while self.views.position < self.wanted:
            is_busy = self.random.randrange(100) < BUSY_PERCENT
            number += 1
            for command in self._detach(is_busy) if self._is_full(is_busy) else self._attach(number, is_busy):
                yield self._do(command)
            if self.views.position > self.wanted * (self.back + 1) / (STEPS + 1):
                self.back += 1
                yield self._fold([ClockStepped(*self._origin(0), back=120 * NANOSECONDS)])

    def _is_full(self, is_busy: bool) -> bool:  # noqa: FBT001  # which of two sets
        most = BUSY_PRESENT if is_busy else PRESENT
        return len(self.present[is_busy]) >= self.random.randint(most - most // 4, most)

    def _attach(self, number: int, is_busy: bool) -> list[Command]:  # noqa: FBT001
        endpoint, sandbox = EndpointId(self._id()), SandboxId(self._id())
        network = f"net{NETWORKS if is_busy else number % NETWORKS}"
        service = f"service{number % 5_000}"
        ports = () if number % 20 else (PortRequest(6, 80, 20_000 + number // 20 % 4_000),)
        self.present[is_busy].append((endpoint, sandbox))
        return [
            CreateSandbox(sandbox, f"container{number}"),
            CreateEndpoint(endpoint, _id_of(network), f"{service}.{number}", (), b"", ports, (service,)),
            JoinEndpoint(endpoint, sandbox),
        ]

    def _detach(self, is_busy: bool) -> list[Command]:  # noqa: FBT001
        held = self.present[is_busy]
        endpoint, sandbox = held.pop(self.random.randrange(len(held)))
        return [LeaveEndpoint(endpoint), DeleteEndpoint(endpoint), DeleteSandbox(sandbox)]

    def _network(self, number: int, block: Subnet) -> CreateNetwork:
        return CreateNetwork(_id_of(f"net{number}"), f"net{number}", "bridge", (PoolRequest(4, block),))

    def _do(self, command: Command) -> list[Event]:
        self.made += 1
        return self._fold(
            decide(self.views, command, Context(self._origin(self.made), INSTANCE, EVERYTHING, {})).events
        )

    def _fold(self, events: Sequence[Event]) -> list[Event]:
        for event in events:
            self.views.fold(Position(self.views.position + 1), event)
        return list(events)

    def _origin(self, number: int) -> Origin:
        at = BEGIN + MONTH * self.views.position // self.wanted - 120 * NANOSECONDS * self.back
        return Origin(at, "runtime", f"{number:016x}/0#0123456789abcdef", "", HOST)

    def _id(self) -> str:
        return f"{self.random.getrandbits(256):064x}"


def _id_of(network: str) -> NetworkId:
    return NetworkId(network.encode().hex().ljust(64, "0"))


# --- measuring


class Cost(NamedTuple):
    """Seconds by the clock, and of this process's processors."""

    clock: float
    processors: float

    @classmethod
    def now(cls) -> Cost:
        """Read both."""
        return cls(time.perf_counter(), time.process_time())

    def rate(self, count: int) -> Rate:
        """Say how many a second that is, by either."""
        return Rate(count / self.clock, count / self.processors)

    def since(self, before: Cost) -> Cost:
        """Subtract."""
        return Cost(self.clock - before.clock, self.processors - before.processors)

    def plus(self, other: Cost) -> Cost:
        """Add."""
        return Cost(self.clock + other.clock, self.processors + other.processors)


class Rate(NamedTuple):
    """How many a second, by the clock and by processor time: what the machine would do with nothing else to do."""

    clock: float
    processors: float


def fold_rate(records: Sequence[Recorded[Event]]) -> Rate:
    """Fold a log into new views; return events a second."""
    views = Views()
    gc.collect()
    before = Cost.now()
    for record in records:
        views.fold(record.position, record.event)
    return Cost.now().since(before).rate(len(records))


class Groups:
    """Operations in groups on a log with fsync, each group timed."""

    def __init__(self, folder: Path) -> None:
        self._controller = Controller.open(folder / "state", dataplane="none")
        self._floor = Ledger.open(folder / "floor.db")
        self._chance = random.Random(7)
        self._network, self._lease = NetworkId(self._id()), self._id()
        block = PoolRequest(4, parse_subnet("10.1.0.0/16"))
        self._controller.do(RequestPool(PoolRequest(4, parse_subnet("10.2.0.0/16")), self._lease))
        self._controller.do(CreateNetwork(self._network, "n", "bridge", (block,)))
        self._pool = next(each.pool for each in self._controller.ipam.pools() if each.subnet == "10.2.0.0/16")
        self._number = 0

    def close(self) -> None:
        """Close both logs."""
        self._controller.close()
        self._floor.close()

    def one_event(self) -> tuple[Rate, Rate]:
        """Request addresses and give them back; return operations a second, ours and the floor's."""
        asked = [RequestAddress(self._pool, self._id()) for _ in range(GROUP)]
        cost, results = self._timed(asked)
        events = [record.event for result in results for record in result.events]
        given = [ReleaseAddress(self._pool, getattr(event, "address", b"")) for event in events]
        more, results = self._timed(given)
        events += [record.event for result in results for record in result.events]
        assert len(events) == 2 * GROUP, "an operation is one event"
        floor = self._append(events[:GROUP]).plus(self._append(events[GROUP:]))
        return cost.plus(more).rate(2 * GROUP), floor.rate(2 * GROUP)

    def six_events(self) -> tuple[Rate, Rate]:
        """Attach containers (and detach them, which is not timed); the same two figures."""
        commands: list[Command] = []
        ends: list[Command] = []
        for _ in range(GROUP):
            self._number += 1
            endpoint, sandbox = EndpointId(self._id()), SandboxId(self._id())
            name = f"service.{self._number}"
            commands += [
                CreateSandbox(sandbox, f"container{self._number}"),
                CreateEndpoint(endpoint, self._network, name, aliases=("service",)),
                JoinEndpoint(endpoint, sandbox),
            ]
            ends += [LeaveEndpoint(endpoint), DeleteEndpoint(endpoint), DeleteSandbox(sandbox)]
        cost, results = self._timed(commands)
        events = [record.event for result in results for record in result.events]
        assert len(events) == 6 * GROUP, "an operation is six events"
        self._timed(ends)
        return cost.rate(GROUP), self._append(events).rate(GROUP)

    def _timed(self, commands: Sequence[Command]) -> tuple[Cost, list[Result]]:
        before = Cost.now()
        results = self._controller.execute(commands, actor="runtime")
        cost = Cost.now().since(before)
        for result in results:
            result.check()
        return cost, results

    def _append(self, events: Sequence[Event]) -> Cost:
        before = Cost.now()
        self._floor.append(events, (), self._floor.head)
        return Cost.now().since(before)

    def _id(self) -> str:
        return f"{self._chance.getrandbits(256):064x}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="how many are folded")
    parser.add_argument("--rounds", type=int, default=12, help="of folding, and ten times as many of groups")
    options = parser.parse_args()
    made = [event for batch in Traffic(options.events, 4).events() for event in batch]
    records = [Recorded(Position(number), event) for number, event in enumerate(made, 1)]
    folds: list[Rate] = []
    ones: list[tuple[Rate, Rate]] = []
    sixes: list[tuple[Rate, Rate]] = []
    with tempfile.TemporaryDirectory(prefix="netledger-mix-", dir=Path.home()) as folder:
        groups = Groups(Path(folder))
        for _ in range(options.rounds):
            folds.append(fold_rate(records))
            for _ in range(10):
                ones.append(groups.one_event())
                sixes.append(groups.six_events())
        groups.close()
    print(f"load {os.getloadavg()[0]:.1f}; a second, median and quartiles; at least")
    tell(f"fold {len(records):,} events", folds, FOLD_BUDGET)
    tell("decide + append, 1 event", [ours for ours, _ in ones], ONE_EVENT_BUDGET)
    tell("  its events appended alone", [floor for _, floor in ones], 0)
    tell("decide + append, 6 events", [ours for ours, _ in sixes], SIX_EVENT_BUDGET)
    tell("  its events appended alone", [floor for _, floor in sixes], 0)


def tell(title: str, rates: Sequence[Rate], least: int) -> None:
    """Print a line: by the clock, by processor time, and whether that keeps a budget."""
    columns, verdict = "", ""
    for figures in ([rate.clock for rate in rates], [rate.processors for rate in rates]):
        low, middle, high = statistics.quantiles(figures, n=4)
        columns += f"{middle:>11,.0f}{f'{low:,.0f} - {high:,.0f}':>21}"
        verdict += f"  {'kept' if middle >= least else 'noise' if high - low > middle / 4 else 'UNDER'}"
    budget = f"{least:>9,}{verdict}" if least else ""
    print(f"{title:<28}{columns}{budget}", flush=True)


if __name__ == "__main__":
    main()
