"""Measure "who had X at T" on a log of a million events: whole processes, against one that only starts.

    python benchmarks/who.py                      makes the log first (some minutes), then three minutes
    python benchmarks/who.py --keep /tmp/who      makes the log there, or takes the one that is there
    python benchmarks/who.py --events 100000 --pairs 10

The log is what rules decide for 4,000 containers on 20 networks that come and go for a month (six events to attach,
four to detach: `mix.py`), and a tenth of all that in a block of six addresses: its addresses have changed hands most
often. `netledger who` and `netledger log show --limit 1`, which only opens the log, take turns; `--version` costs as
much. What counts is the median of the pairs' differences, by the clock and of processors. The log's pages are dropped
from memory before each, unless `--warm`. `inside` is one process that has loaded everything: open the log, answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mix import NETWORKS, Traffic

from netledger.domain.events import (
    AddressAllocated,
    EndpointCreated,
    Event,
    PortBound,
)
from netledger.domain.values import (
    Position,
    format_address,
    format_mac,
)
from netledger.ledger.ledger import Ledger
from netledger.replay.moments import NANOSECONDS, find_moment
from netledger.replay.who import Answer, Window, who_had_address, who_had_mac, who_had_name, who_had_port

BATCH_EVENTS = 20_000
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Of the processes that are measured: they find their bytecode, as those of an installed package do."""

BUSIEST = "10.200.0.2"
BUDGET_MS = 10.0


def make(path: Path, events: int) -> None:
    """Write the log."""
    begin = time.monotonic()
    with Ledger.open(path, synchronous="NORMAL") as ledger:
        batch: list[Event] = []
        for made in Traffic(events, 4).events():
            batch += made
            if len(batch) >= BATCH_EVENTS:
                ledger.append(batch, (), ledger.head)
                batch = []
        if batch:
            ledger.append(batch, (), ledger.head)
        print(f"made {ledger.head:,} events in {time.monotonic() - begin:.0f} s", file=sys.stderr)


class Question(NamedTuple):
    """What to ask, `--at` which moment (empty: ever), and how within a process."""

    title: str
    option: str
    subject: str
    at: str
    ask: Callable[[Ledger, str, Window | None], Answer]

    @property
    def words(self) -> tuple[str, ...]:
        """The command line."""
        option = (self.option, self.subject) if self.option else (self.subject,)
        return ("who", *option, "--at", self.at) if self.at else ("who", *option)


def questions(path: Path) -> list[Question]:
    """Choose what to ask: about the middle of the log, where nothing is special."""
    with Ledger.open(path, read_only=True, create=False) as ledger:
        middle = ledger.head // 2
        records = list(ledger.read(after=Position(middle), until=Position(middle + 400)))
    events = [record.event for record in records]
    address = next(
        format_address(event.address)
        for event in events
        if isinstance(event, AddressAllocated) and event.address[1] < NETWORKS
    )
    created = next(event for event in events if isinstance(event, EndpointCreated))
    mac, name = format_mac(created.mac), created.name
    port = next(f"{event.host_port}/tcp" for event in events if isinstance(event, PortBound))
    at, place = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(events[-1].at // NANOSECONDS)), f"@{middle + 400}"
    return [
        Question("an address at a time", "", address, at, who_had_address),
        Question("the same, at a position", "", address, place, who_had_address),
        Question("a MAC address at a time", "--mac", mac, at, who_had_mac),
        Question("a port at a time", "--port", port, at, who_had_port),
        Question("a name at a time", "--name", name, at, who_had_name),
        Question("an address ever", "", address, "", who_had_address),
        Question("the busiest address at a time", "", BUSIEST, at, who_had_address),
    ]


def drop(path: Path) -> None:
    """Have the kernel forget the file's pages, as far as it will."""
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


class Cost(NamedTuple):
    """What a process took, in milliseconds: by the clock, and of processors."""

    wall: float
    processor: float


def process(state: Path, *words: str, is_cold: bool) -> Cost:
    """Run a command line in a process of its own; `is_cold`: the log's pages are not in memory."""
    if is_cold:
        drop(state / "ledger.db")
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "netledger", *words],
        stdout=subprocess.DEVNULL,
        env={**_ENVIRONMENT, "NETLEDGER_STATE": str(state)},
    )
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"netledger {' '.join(words)} ended with {child.returncode}"
    return Cost(wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def inside_ms(path: Path, question: Question, *, is_cold: bool) -> float:
    """Open the log, answer, close."""
    if is_cold:
        drop(path)
    begin = time.perf_counter()
    with Ledger.open(path, read_only=True, create=False) as ledger:
        moment = find_moment(ledger, question.at, 0) if question.at else None
        answer = question.ask(ledger, question.subject, Window(moment, moment) if moment is not None else None)
    took = (time.perf_counter() - begin) * 1e3
    assert answer.intervals or answer.before, f"{question.title}: somebody had {question.subject}"
    return took


def spread(values: Sequence[float]) -> str:
    """Write a median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:>7.1f} {f'{low:.1f} - {high:.1f}':>15}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="the state directory of the log, kept")
    parser.add_argument("--warm", action="store_true", help="leave the log's pages in memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="netledger-who-") as directory:
        state = options.keep or Path(directory)
        state.mkdir(mode=0o700, exist_ok=True)
        path = state / "ledger.db"
        if not path.exists():
            make(path, options.events)
        _ENVIRONMENT["PYTHONPYCACHEPREFIX"] = f"{directory}/bytecode"
        process(state, "who", "--name", "nobody", is_cold=False)  # writes it
        measure(state, path, options.pairs, is_cold=not options.warm)


def measure(state: Path, path: Path, pairs: int, *, is_cold: bool) -> None:
    """Print a line for each question."""
    load = os.getloadavg()[0]
    print(f"{path.stat().st_size / 1e6:,.0f} MB, load {load:.1f}; milliseconds, median and quartiles of {pairs}")
    start = [process(state, "--version", is_cold=is_cold) for _ in range(pairs)]
    print(f"netledger --version: {spread([cost.wall for cost in start])}, of processors ", end="")
    print(spread([cost.processor for cost in start]))
    print(f"{'':<30}{'inside, warm':>24}{'inside, cold':>24}{'over log show, processors':>27}{'by the clock':>25}")
    for question in questions(path):
        warm = [inside_ms(path, question, is_cold=False) for _ in range(pairs)]
        cold = [inside_ms(path, question, is_cold=True) for _ in range(pairs)]
        processors, clock = [], []
        for _ in range(pairs):
            mine = process(state, *question.words, is_cold=is_cold)
            others = process(state, "log", "show", "--limit", "1", is_cold=is_cold)
            processors.append(mine.processor - others.processor)
            clock.append(mine.wall - others.wall)
        low, middle, high = statistics.quantiles(clock, n=4)
        verdict = "noise" if high - low > BUDGET_MS else "kept" if middle <= BUDGET_MS else "OVER"
        columns = map(spread, (warm, cold, processors, clock))
        print(f"{question.title:<30} {'  '.join(columns)}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
