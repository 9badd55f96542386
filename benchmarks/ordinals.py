"""Measure how long an ordinal set takes to find, take and give back an ordinal, and how much memory it takes.

    python benchmarks/ordinals.py             about 40 seconds
    python benchmarks/ordinals.py --quick     without the /8

Each request starts at a random ordinal, which no processor cache likes; a pool that gives the next after the last does
better. The floor is what only remembers: a plain `set` of integers, `add` and `remove`, which finds nothing. The peer
is moby's allocator in Go for the same requests on a /16 that is empty, half full and 99 % full: 661, 8,252 and
1,031 ns (measured once, beside this set's sketch; its /12 could not be filled at random).
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable

from netledger.domain.ipam.ordinals import OrdinalSet

REQUESTS = 20_000
MILLION = 1_000_000
WIDE_WINDOW = 1 << 20
"""So much of a /64 is crowded; nobody fills one."""

POOLS = [("/24", 8), ("/16", 16), ("/12", 20), ("/8", 24), ("IPv6 /64", 64)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure ordinal sets.")
    parser.add_argument("--quick", action="store_true", help="leave out the /8")
    quick = parser.parse_args().quick
    pools = [(name, bits) for name, bits in POOLS if not (quick and bits == 24)]

    print(f"find + take + give back, ns, {REQUESTS:,} requests; one left and full are not counted in worst/best")
    heading = "".join(f"{share:>15}" for share in ("empty", "50 %", "99 %", "one left"))
    print(f"{'p50 (p99)':<12}{heading}{'full: search':>15}{'floor':>8}{'worst/best':>12}")
    for name, bits in pools:
        measure_pool(name, bits)

    print("\nmemory, MB")
    measure_memory("a million in a row, /12", 20, lambda: range(MILLION))
    measure_memory("a million strewn over a /8", 24, lambda: strewn(24, MILLION))
    measure_memory("a million in a row, IPv6 /64", 64, lambda: range(MILLION))
    measure_memory("10,000 strewn over an IPv6 /64", 64, lambda: strewn(64, 10_000))
    measure_memory("a million strewn over an IPv6 /64", 64, lambda: strewn(64, MILLION))


def measure_pool(name: str, bits: int) -> None:
    """Print a pool's row: it is filled at random, further and further."""
    held = OrdinalSet(bits)
    low = 0 if bits < 32 else held.capacity // 2
    high = low + min(held.capacity, WIDE_WINDOW if bits >= 32 else held.capacity) - 1
    chance = random.Random(bits)
    starts = [chance.randint(low, high) for _ in range(REQUESTS)]
    figures: list[tuple[float, float]] = []
    share = 0.0
    for more in (0.0, 0.5, 0.99):
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
