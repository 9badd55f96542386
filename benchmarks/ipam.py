"""Measure how long it takes to find, take and give back an address, and how much memory addresses take.

    python benchmarks/ipam.py             some two minutes
    python benchmarks/ipam.py --quick     without the /8

First the set of a pool's ordinals alone. Each request starts at a random ordinal, which no processor cache likes; a
pool that gives the next after the last does better. The floor is what only remembers: a plain `set` of integers, `add`
and `remove`, which finds nothing. The peer is moby's allocator in Go for the same requests on a /16 that is empty, half
full and 99 % full: 661, 8,252 and 1,031 ns (measured once, beside this set's sketch; its /12 could not be filled at
random).

Then the same sets within an engine: addresses requested and released through `Controller.execute` in groups of 64 on a
log with fsync, without a dataplane. Then each policy, as endpoints of a /16 that are created and deleted in such
groups. Then the view that decides, when 60,000 addresses are at rest.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from netledger import Controller
from netledger.domain.commands import (
    Command,
    CreateEndpoint,
    CreateNetwork,
    DeleteEndpoint,
    PoolRequest,
    ReleaseAddress,
    RequestAddress,
    RequestPool,
)
from netledger.domain.events import AddressAllocated, AddressReleased, Origin, PoolAllocated
from netledger.domain.ipam.ordinals import OrdinalSet
from netledger.domain.ipam.pools import choosable
from netledger.domain.values import (
    NANOSECONDS,
    AllocationPolicy,
    EndpointId,
    HostId,
    NetworkId,
    PoolId,
    Position,
    Subnet,
    parse_subnet,
)
from netledger.engine.results import Result
from netledger.projections.views import Views

REQUESTS = 20_000
MILLION = 1_000_000
WIDE_WINDOW = 1 << 20
"""So much of a /64 is crowded; nobody fills one."""

POOLS = [("/24", 8), ("/16", 16), ("/12", 20), ("/8", 24), ("IPv6 /64", 64)]
SHARES = (0.0, 0.5, 0.99)

GROUP, GROUPS = 64, 60
RESTING, REST_SECONDS = 60_000, 60
POLICIES = {
    "next": PoolRequest(4, parse_subnet("10.1.0.0/16")),
    "lowest": PoolRequest(4, parse_subnet("10.2.0.0/16"), policy=AllocationPolicy.LOWEST),
    "sticky, grace": PoolRequest(
        4, parse_subnet("10.3.0.0/16"), policy=AllocationPolicy.STICKY, grace_seconds=REST_SECONDS
    ),
    "next, rest": PoolRequest(4, parse_subnet("10.4.0.0/16"), rest_seconds=REST_SECONDS),
}
DECODER = msgspec.msgpack.Decoder(AddressAllocated)
ORIGIN = Origin(1, "runtime", "request/0#0", "", HostId("0123456789abcdef"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure ordinal sets.")
    parser.add_argument("--quick", action="store_true", help="leave out the /8")
    quick = parser.parse_args().quick
    pools = [(name, bits) for name, bits in POOLS if not (quick and bits == 24)]

    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"find + take + give back, ns, {REQUESTS:,} requests; one left and full are not counted in worst/best")
    heading = "".join(f"{share:>15}" for share in ("empty", "50 %", "99 %", "one left"))
    print(f"{'p50 (p99)':<12}{heading}{'full: search':>15}{'floor':>8}{'worst/best':>12}")
    for name, bits in pools:
        measure_pool(name, bits)
    with tempfile.TemporaryDirectory(prefix="netledger-ipam-", dir=Path.home()) as folder:
        with Engine(Path(folder) / "pools") as engine:
            print(f"\nrequest + release through an engine, groups of {GROUP}, us each, of processors; by the clock")
            heading = "".join(f"{share:>15}" for share in ("empty", "50 %", "99 %"))
            print(f"{'p50 (p99)':<16}{heading}  {heading}")
            for name, bits in pools:
                engine.measure_pool(name, bits)
        with Engine(Path(folder) / "policies") as engine:
            print("\nendpoint created + deleted, the same")
            for name, request in POLICIES.items():
                engine.measure_policy(name, request)
    print(f"\nfind + take + give back in the view that decides, us, with events folded; {RESTING:,} at rest or none")
    measure_rest("none", 0)
    measure_rest(f"{RESTING:,}", REST_SECONDS)

    print("\nmemory, MB")
    measure_memory("a million in a row, /12", 20, lambda: range(MILLION))
    measure_memory("a million strewn over a /8", 24, lambda: strewn(24, MILLION))
    measure_memory("a million in a row, IPv6 /64", 64, lambda: range(MILLION))
    measure_memory("10,000 strewn over an IPv6 /64", 64, lambda: strewn(64, 10_000))
    measure_memory("a million strewn over an IPv6 /64", 64, lambda: strewn(64, MILLION))
    measure_views_memory("a million and their holders, views", lambda event: event)
    measure_views_memory("the same, read from a log", as_read)


def measure_pool(name: str, bits: int) -> None:
    """Print a pool's row: it is filled at random, further and further."""
    held = OrdinalSet(bits)
    low, high = crowd(bits)
    chance = random.Random(bits)
    starts = [chance.randint(low, high) for _ in range(REQUESTS)]
    figures: list[tuple[float, float]] = []
    share = 0.0
    for more in SHARES:
        fill(held, low, high, (more - share) / (1 - share), chance)
        share = more
        figures.append(summary(requests_ns(held, starts, low, high)))
    fill(held, low, high, 1.0, chance)
    held.give(chance.randint(low, high))
    figures.append(summary(requests_ns(held, starts, low, high)))
    fill(held, low, high, 1.0, chance)
    figures.append(summary(searches_ns(held, starts, low, high)))
    floor, _ = summary(floor_ns(starts))
    columns = "".join(f"{f'{half:,.0f} ({most:,.0f})':>15}" for half, most in figures)
    p50s = [half for half, _ in figures[:3]]
    print(f"{name:<12}{columns}{floor:>8,.0f}{max(p50s) / min(p50s):>12.2f}", flush=True)


def crowd(bits: int) -> tuple[int, int]:
    """Name the first and the last ordinal of the part that is crowded."""
    if bits < 32:
        return 0, (1 << bits) - 1
    return 1 << bits - 1, (1 << bits - 1) + WIDE_WINDOW - 1


def fill(held: OrdinalSet, low: int, high: int, share: float, chance: random.Random) -> None:
    """Take each ordinal that is still free with this probability."""
    for ordinal in range(low, high + 1):
        if not held.holds(ordinal) and chance.random() < share:
            held.take(ordinal)


def requests_ns(held: OrdinalSet, starts: list[int], low: int, high: int) -> list[int]:
    """Time requests that leave the set as it was."""
    clock = time.perf_counter_ns
    spent = []
    for start in starts:
        before = clock()
        found = held.next_free(start, low, high)
        assert found is not None
        held.take(found)
        held.give(found)
        spent.append(clock() - before)
    return spent


def searches_ns(held: OrdinalSet, starts: list[int], low: int, high: int) -> list[int]:
    """Time searches of a full range."""
    clock = time.perf_counter_ns
    spent = []
    for start in starts:
        before = clock()
        found = held.next_free(start, low, high)
        spent.append(clock() - before)
        assert found is None
    return spent


def floor_ns(starts: list[int]) -> list[int]:
    """Time a set of integers that is told which to remember and to forget."""
    clock = time.perf_counter_ns
    remembered: set[int] = set()
    spent = []
    for start in starts:
        before = clock()
        remembered.add(start)
        remembered.remove(start)
        spent.append(clock() - before)
    return spent


def summary(spent: list[int]) -> tuple[float, float]:
    """Return the p50 and the p99, less what reading the clock takes."""
    clock = time.perf_counter_ns
    reading = statistics.median(-(clock() - clock()) for _ in range(REQUESTS))
    return statistics.median(spent) - reading, statistics.quantiles(spent, n=100)[98] - reading


class Engine:
    """A controller on a log with fsync, and what is measured through it."""

    def __init__(self, state: Path) -> None:
        self._controller = Controller.open(state, dataplane="none")
        self._chance = random.Random(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.close()

    def measure_pool(self, name: str, bits: int) -> None:
        """Print a pool's row. It is filled in the view alone: a log of 16 million addresses would take an hour."""
        low, high = crowd(bits)
        family = 4 if bits < 32 else 6
        subnet = Subnet(b"\x0a\0\0\0", 32 - bits) if family == 4 else Subnet(b"\xfd" + bytes(15), 128 - bits)
        self._do([RequestPool(PoolRequest(family, subnet, space=f"space{bits}"), self._id())])
        views = self._controller.views
        pool = next(each for each in views.ipam.pools if views.ipam.pools[each].event.subnet == subnet)
        held = views.ipam.held[pool]
        first, last = max(low, 1), min(high, held.capacity - 2)
        share = 0.0
        clock, processors = [], []
        for more in SHARES:
            fill(held, first, last, (more - share) / (1 - share), self._chance)
            share = more
            # Those that are chosen are the next after this; there are always two groups of free ones.
            views.ipam.cursors[pool] = self._chance.randint(first, last)
            while last - first + 1 - held.held < GROUP:
                held.give(next(iter(held)))
            costs = [self._requests(pool) for _ in range(GROUPS)]
            clock.append([each[0] for each in costs])
            processors.append([each[1] for each in costs])
        print_row(name, processors, clock)

    def measure_policy(self, name: str, request: PoolRequest) -> None:
        """Print a policy's row: in a network of 65,000 addresses."""
        network = NetworkId(self._id())
        self._do([CreateNetwork(network, name.replace(", ", "-"), "bridge", (request,))])
        ipam = self._controller.views.ipam
        [pool] = [each for each in ipam.pools if ipam.pools[each].event.network == network]
        held = ipam.held[pool]
        share = 0.0
        clock, processors = [], []
        for more in SHARES:
            # 1 % of a /16 is 650 addresses; with a rest, all of them are at rest after ten groups.
            fill(held, 2, held.capacity - 2, (more - share) / (1 - share), self._chance)
            share = more
            costs = [self._endpoints(network, number) for number in range(GROUPS)]
            clock.append([each[0] for each in costs])
            processors.append([each[1] for each in costs])
        print_row(name, processors, clock)

    def _requests(self, pool: PoolId) -> tuple[float, float]:
        begin = time.perf_counter(), time.process_time()
        results = self._do([RequestAddress(pool, self._id()) for _ in range(GROUP)])
        self._do([ReleaseAddress(pool, address) for address in map(address_of, results)])
        return since(begin)

    def _endpoints(self, network: NetworkId, number: int) -> tuple[float, float]:
        names = [f"e{(number * GROUP + index) % (3 * GROUP)}" for index in range(GROUP)]
        endpoints = [EndpointId(self._id()) for _ in names]
        begin = time.perf_counter(), time.process_time()
        self._do([CreateEndpoint(each, network, name) for each, name in zip(endpoints, names, strict=True)])
        self._do([DeleteEndpoint(each) for each in endpoints])
        return since(begin)

    def _do(self, commands: Sequence[Command]) -> list[Result]:
        results = self._controller.execute(commands, actor="runtime")
        for result in results:
            result.check()
        return results

    def _id(self) -> str:
        return f"{self._chance.getrandbits(256):064x}"


def address_of(result: Result) -> bytes:
    """Find the address that was requested."""
    return next(record.event.address for record in result.events if isinstance(record.event, AddressAllocated))


def since(begin: tuple[float, float]) -> tuple[float, float]:
    """Return microseconds for each of a group, by the clock and of processors."""
    clock, processors = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return clock / GROUP * 1e6, processors / GROUP * 1e6


def print_row(name: str, *tables: Sequence[Sequence[float]]) -> None:
    """Print medians and 99th percentiles."""
    columns = []
    for table in tables:
        cells = [(statistics.median(each), statistics.quantiles(each, n=100)[98]) for each in table]
        columns.append("".join(f"{f'{half:,.0f} ({most:,.0f})':>15}" for half, most in cells))
    print(f"{name:<16}{'  '.join(columns)}", flush=True)


def measure_rest(name: str, seconds: int) -> None:
    """Print how long requests take that fold their events, each a millisecond after the one before."""
    views = Views()
    subnet = parse_subnet("10.0.0.0/12")
    pool = views_with(views, subnet, seconds)
    low, high = choosable(subnet, None)
    position, now = 1, NANOSECONDS
    spent = []
    for _ in range(RESTING * 3):
        now += NANOSECONDS * REST_SECONDS // RESTING
        origin = ORIGIN._replace(at=now)
        before = time.perf_counter_ns()
        found = views.free_ordinal(pool, low, high, now)
        assert found is not None
        address = subnet.at(found)
        allocated = AddressAllocated(*origin, pool, address, ("unclaimed", "lease"), "unclaimed", "netledger")
        views.fold(Position(position + 1), allocated)
        views.fold(Position(position + 2), AddressReleased(*origin, pool, address, ("unclaimed", "lease")))
        spent.append((time.perf_counter_ns() - before) / 1e3)
        position += 2
    steady = spent[RESTING:]
    print(f"{name:<12}{statistics.median(steady):>8.1f} ({statistics.quantiles(steady, n=100)[98]:.1f})", flush=True)


def views_with(views: Views, subnet: Subnet, rest_seconds: int) -> PoolId:
    """Fold a pool."""
    pool = PoolId(f"{ORIGIN.host}/LocalDefault/{subnet}")
    taken = PoolAllocated(
        *ORIGIN,
        pool=pool,
        scope=ORIGIN.host,
        space="LocalDefault",
        subnet=subnet,
        network=NetworkId(""),
        predefined=False,
        policy=AllocationPolicy.NEXT,
        rest_seconds=rest_seconds,
        lease="lease",
    )
    views.fold(Position(1), taken)
    return pool


def measure_views_memory(name: str, written: Callable[[AddressAllocated], AddressAllocated]) -> None:
    """Print what the views take that know who holds each of a million addresses, events and all."""
    subnet = parse_subnet("10.0.0.0/8")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    views = Views()
    pool = views_with(views, subnet, 0)
    for number in range(MILLION):
        owner = ("endpoint", f"{number:064x}")
        allocated = AddressAllocated(*ORIGIN, pool, subnet.at(number + 1), owner, "endpoint", "netledger")
        views.fold(Position(number + 2), written(allocated))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{name:<36}{(after - before) / 1e6:>8.2f}", flush=True)


def as_read(event: AddressAllocated) -> AddressAllocated:
    """Give an event as a log does that is opened: each text in it is one of its own."""
    return DECODER.decode(msgspec.msgpack.encode(event))


def strewn(bits: int, count: int) -> Iterable[int]:
    """Draw ordinals from all over a pool."""
    chance = random.Random(bits)
    return (chance.randrange(1 << bits) for _ in range(count))


def measure_memory(name: str, bits: int, ordinals: Callable[[], Iterable[int]]) -> None:
    """Print how much memory a set that holds these takes."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    held = OrdinalSet(bits)
    for ordinal in ordinals():
        held.take(ordinal)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{name:<36}{(after - before) / 1e6:>8.2f}   ({held.held:,} held)", flush=True)


if __name__ == "__main__":
    main()
