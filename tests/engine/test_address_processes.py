"""Processes and threads that take and give addresses of one log at once, and are killed.

Nothing is held twice and nothing is lost: what was answered is in the log, what is in the log was answered, but for the
one batch in which a process died. What the log says is read by `ledger/audit.py`, without our event classes, and
counted anew. A failure tells its seed; NETLEDGER_STORM_SEED repeats it, as far as the operating system's scheduler
lets it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netledger import Controller
from netledger.domain.commands import DeleteNetwork, ReleaseAddress
from netledger.domain.values import format_address
from netledger.ledger.audit import first_broken, read_generic
from netledger.testing.checkers import LIVE, check_log

from .address_storm import MOVES, NETWORKS, Told, Writer, lay_ground, work

SEED = os.environ.get("NETLEDGER_STORM_SEED") or str(random.SystemRandom().randrange(10**6))
ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60
DEADLINE_SECONDS = 1800
KINDS = {kind.__name__ for kind in MOVES}

Start = Callable[..., Controller]


class Size(NamedTuple):
    """How long a storm goes on: until so many writers were killed and so many addresses were taken."""

    writers: int
    deaths: int
    allocations: int
    alive_seconds: float
    """A writer is killed after at most so long."""


SHORT, LONG = Size(3, 2, 400, 0.4), Size(5, 60, 8_000, 1.0)


class Process:
    """A writer in a process of its own, whose answers come in a file."""

    def __init__(self, state: Path, name: str, folder: Path) -> None:
        self.name = name
        self._answers, self._errors = folder / f"{name}.answers", folder / f"{name}.errors"
        with self._answers.open("wb") as out, self._errors.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.engine.address_storm", str(state), name, f"{SEED}/{name}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )

    def told(self) -> list[Told]:
        """Read its answers so far; a line that a kill cut off is none."""
        *lines, _ = self._answers.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines]

    def count(self) -> int:
        """Count its answers so far, while it works."""
        assert self.process.poll() is None, f"{self.name} ended by itself: {self.errors()}"
        return len(self.told())

    def kill(self) -> None:
        """Let it end in the middle of whatever it does."""
        assert self.process.poll() is None, f"{self.name} ended by itself: {self.errors()}"
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self) -> None:
        """Let it finish its batch and close."""
        self.process.communicate(timeout=START_SECONDS)
        assert (self.process.returncode, self.errors()) == (0, "")

    def errors(self) -> str:
        """Read what it complained of."""
        return self._errors.read_text()


@pytest.fixture
def launch(state: Path, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Start writers; whatever still runs at the end is killed."""
    running: list[Process] = []

    def start(name: str) -> Process:
        running.append(Process(state, name, tmp_path))
        return running[-1]

    yield start
    for process in running:
        process.process.kill()
        process.process.communicate()


@pytest.mark.parametrize("size", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)], ids=["short", "long"])
def test_processes_that_are_killed_lose_nothing(
    size: Size, state: Path, start: Start, launch: Callable[[str], Process], record_property: Callable[..., None]
) -> None:
    """Writers of one log, killed in the middle of it and replaced; the others go on."""
    chance = random.Random(SEED)
    lay_ground(start(state))
    living = [launch(f"w{number}.0") for number in range(size.writers)]
    dead: list[Process] = []
    began = time.monotonic()
    while len(dead) < size.deaths:
        victim = living.pop(chance.randrange(len(living)))
        _wait(lambda victim=victim: victim.count() > 1, f"{victim.name} does nothing: {victim.errors()}")
        time.sleep(chance.uniform(0, size.alive_seconds))
        before = {process.name: process.count() for process in living}
        victim.kill()
        dead.append(victim)
        living.append(launch(f"{victim.name.partition('.')[0]}.{len(dead)}"))
        _wait(
            lambda before=before: all(one.count() > before.get(one.name, -1) for one in living),
            f"not everybody goes on after {victim.name} was killed",
        )
    _wait(lambda: _allocations(dead + living) >= size.allocations, "too few addresses were taken")
    for process in living:
        process.end()
    seconds = time.monotonic() - began
    answers = {process.name: process.told() for process in dead + living}
    figures = _check(start(state), state, answers, {process.name for process in dead})
    told = {"seed": SEED, "seconds": round(seconds, 1), "killed": len(dead), **figures}
    record_property("storm", json.dumps(told))
    sys.stdout.write(json.dumps(told))


@pytest.mark.parametrize(
    ("threads", "allocations"), [(8, 400), pytest.param(32, 8_000, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_threads_of_one_controller_lose_nothing(
    threads: int, allocations: int, state: Path, start: Start, record_property: Callable[..., None]
) -> None:
    """The same from many threads of one process, whose answers are all in the log in their order."""
    controller = start(state)
    lay_ground(controller)
    answers: dict[str, list[Told]] = {f"t{number}": [] for number in range(threads)}
    barrier = threading.Barrier(threads)
    over = threading.Event()

    def run(name: str) -> None:
        writer = Writer(controller, name, f"{SEED}/{name}")
        barrier.wait()
        try:
            work(writer, lambda told: answers[name].append(json.loads(json.dumps(told))), is_over)
        finally:
            over.set()

    def is_over() -> bool:
        return over.is_set() or sum(map(_taken, answers.values())) >= allocations

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as executor:
        for done in [executor.submit(run, name) for name in answers]:
            done.result()
    told = {"seed": SEED, "seconds": round(time.monotonic() - began, 1), **_check(controller, state, answers, set())}
    assert all(answers.values()), "a thread did nothing"
    record_property("storm", json.dumps(told))
    sys.stdout.write(json.dumps(told))


# --- what must hold


def _check(
    controller: Controller, state: Path, answers: Mapping[str, Iterable[Told]], killed: set[str]
) -> dict[str, Any]:
    """Compare the log with what was answered and with what is counted; then give everything back."""
    path = state / "ledger.db"
    log = list(read_generic(path))
    assert first_broken(path) is None, f"seed {SEED}"
    unanswered = _compare_with_answers(log, answers, killed)
    _compare_counts(controller, _holdings(log))
    check_log(controller.history())
    wrong = {one.name: one.look(controller) for one in LIVE if one.name != "kernel"}  # there is none
    assert not any(wrong.values()), f"seed {SEED}: {wrong}"
    refused = sum((Counter(kinds) for told in answers.values() for _, kinds in told), Counter[str]())
    _give_everything_back(controller)
    _compare_counts(controller, _holdings(list(read_generic(path))))
    kinds = Counter(event["type"] for event in log if event["type"] in KINDS)
    return {"events": len(log), **kinds, "refused": refused, "unanswered batches": unanswered}


def _compare_with_answers(log: list[dict[str, Any]], answers: Mapping[str, Iterable[Told]], killed: set[str]) -> int:
    """Whatever was answered is in the log; the rest of a writer's log is one batch, of one that was killed in it.

    What was ended to make way for a command (reservations whose time was over) is no part of its answer.
    """
    recorded: dict[str, dict[int, tuple[str, str, str]]] = defaultdict(dict)
    requests: dict[int, str] = {}
    for event in log:
        fields = event["fields"]
        if event["type"] in KINDS and fields["actor"] in answers and "/way" not in fields["request"]:
            position = event["position"]
            recorded[fields["actor"]][position] = (event["type"], fields["pool"], format_address(fields["address"]))
            requests[position] = fields["request"].partition("/")[0]
    unanswered = 0
    for name, told in answers.items():
        moves = [(position, (kind, pool, address)) for events, _ in told for position, kind, pool, address in events]
        assert len(dict(moves)) == len(moves), f"seed {SEED}: {name} was answered with one event twice"
        assert moves == sorted(moves), f"seed {SEED}: {name} was answered out of order"
        rest = recorded[name].items() - dict(moves).items()
        assert recorded[name].items() >= dict(moves).items(), f"seed {SEED}: an answer to {name} is not in the log"
        if rest:
            assert name in killed, f"seed {SEED}: {name} was not answered with {sorted(rest)}"
            assert len({requests[position] for position, _ in rest}) == 1, f"seed {SEED}: {name}: {sorted(rest)}"
            assert not moves or min(rest)[0] > moves[-1][0], f"seed {SEED}: {name} left out {min(rest)}"
            unanswered += 1
    return unanswered


class Holdings(NamedTuple):
    """What the log says of one pool."""

    family: int
    host_bits: int
    held: dict[bytes, tuple[str, str]]
    kept: dict[bytes, str]


def _holdings(log: list[dict[str, Any]]) -> dict[str, Holdings]:
    """Read who holds what, with nothing but dicts; no address is given to anybody while somebody has it."""
    pools: dict[str, Holdings] = {}
    for event in log:
        fields, where = event["fields"], f"seed {SEED}: position {event['position']}"
        pool = pools.get(fields.get("pool", ""))
        match event["type"]:
            case "PoolAllocated":
                address, prefix = fields["subnet"]
                bits = len(address) * 8
                pools[fields["pool"]] = Holdings(4 if bits == 32 else 6, bits - prefix, {}, {})
            case "PoolReleased":
                gone = pools.pop(fields["pool"])
                assert not gone.held, f"{where}: {gone.held}"
            case "AddressAllocated":
                address = fields["address"]
                assert address not in pool.held, f"{where}: {address.hex()} is held by {pool.held[address]}"
                assert address not in pool.kept, f"{where}: {address.hex()} is kept for {pool.kept[address]}"
                pool.held[address] = tuple(fields["owner"])
            case "AddressReleased":
                assert pool.held.pop(fields["address"], None) == tuple(fields["owner"]), where
            case "AddressReservationMade":
                assert pool.kept.setdefault(fields["address"], fields["name"]) == fields["name"], where
            case "AddressReservationEnded":
                assert pool.kept.pop(fields["address"], None) == fields["name"], where
    return pools


def _compare_counts(controller: Controller, pools: Mapping[str, Holdings]) -> None:
    """Free are 2^n less what is reserved, held, kept, or at rest."""
    counted = {str(each.pool): each for each in controller.ipam.pools()}
    assert counted.keys() == pools.keys()
    for pool, mine in pools.items():
        each = counted[pool]
        reserved = {4: 2, 6: 1}[mine.family]
        kept = mine.kept.keys() - mine.held.keys()
        assert (each.size, each.reserved) == (1 << mine.host_bits, reserved)
        assert {format_address(address) for address in mine.held} == {holder.address for holder in each.holders}
        assert sum(each.in_use.values()) == len(mine.held)
        assert each.kept == len(kept), f"seed {SEED}: {pool}"
        assert each.free == (1 << mine.host_bits) - reserved - len(mine.held) - len(kept) - each.resting


def _give_everything_back(controller: Controller) -> None:
    """Delete everything, that of killed writers too: then nothing is held but the requested pool's own."""
    for name in NETWORKS:
        controller.do(DeleteNetwork(controller.network(name).id, force=True))
    [left] = controller.ipam.pools()
    controller.execute([ReleaseAddress(left.pool, _packed(holder.address)) for holder in left.holders])
    [left] = controller.ipam.pools()
    assert left.free == left.size - left.reserved == 254
    check_log(controller.history())


def _packed(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def _taken(answers: Iterable[Told]) -> int:
    return sum(kind == "AddressAllocated" for events, _ in answers for _, kind, _, _ in events)


def _allocations(processes: Iterable[Process]) -> int:
    return sum(_taken(process.told()) for process in processes)


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is so, at most half an hour."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"seed {SEED}: {otherwise}"
        time.sleep(0.02)
