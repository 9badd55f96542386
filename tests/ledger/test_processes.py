"""Several processes on one log: side by side, killed, forked, making it at the same moment."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netledger.domain.errors import LedgerError
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

Alias = Callable[..., AliasAdded]
Python = Callable[..., "subprocess.Popen[str]"]

APPENDS = 10_000
KILLS = 20

APPENDER = """
import sys
from pathlib import Path
from netledger.domain.events import AliasAdded, AliasRemoved
from netledger.ledger.ledger import Ledger

path, name, count, synchronous = sys.argv[1:]
ledger = Ledger.open(Path(path), synchronous=synchronous)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    kind = (AliasAdded, AliasRemoved)[number % 2]
    event = kind(number, name, f"{name}-{number}/0#00", "", "h1", name, "n1", f"{name}-{number}")
    position = ledger.append([event, event], (), ledger.head)
    print(number, position, flush=True)
ledger.close()
"""


def test_two_processes_append_by_turns(path: Path, python: Python) -> None:
    """Ten thousand appends of two processes: every position once, each process's in its order, the chain whole."""
    Ledger.open(path).close()
    half = APPENDS // 2
    processes = [python(APPENDER, path, name, half, "NORMAL") for name in ("left", "right")]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [errors for _, errors in outputs] == ["", ""]
    told = [[int(line.split()[1]) for line in output.splitlines()] for output, _ in outputs]
    assert sorted(told[0] + told[1]) == list(range(2, 2 * APPENDS + 1, 2))
    with Ledger.open(path) as ledger:
        assert ledger.verify().problem is None
        assert ledger.head == 2 * APPENDS
        for name, positions in zip(("left", "right"), told, strict=True):
            found = list(ledger.read(tags=[f"endpoint:{name}"]))
            assert [recorded.position for recorded in found[1::2]] == positions
            assert [recorded.event.at for recorded in found[::2]] == list(range(half))
        switches = sum(1 for position in told[0] if position + 2 not in set(told[0][-1:]) and position + 2 in told[1])
        assert switches > 10, "one process was done before the other began: nothing was tried"


def test_kill_during_appends_loses_nothing_that_was_told(path: Path, python: Python) -> None:
    """After kill -9 at any moment the log verifies, holds whole appends only, and all that was acknowledged."""
    chance = random.Random(5)
    acknowledged: set[int] = set()
    for round_ in range(KILLS):
        process = python(APPENDER, path, f"p{round_}", 1_000_000, "FULL")
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(chance.random() * 0.05)
        process.kill()
        output, errors = process.communicate()
        assert errors == ""
        told = [int(line.split()[1]) for line in output.splitlines() if len(line.split()) == 2]
        acknowledged.update(told[:-1])  # the last line may be cut off
        with Ledger.open(path) as ledger:
            assert ledger.damage is None
            found = ledger.verify()
            assert found.problem is None
            assert found.events == ledger.head >= max(acknowledged, default=0)
            assert ledger.head % 2 == 0
            ledger.append([AliasAdded(0, "", "", "", "h1", "checker", "n1", "x")] * 2, (), ledger.head)
    assert len(acknowledged) > KILLS


def test_processes_that_make_a_ledger_at_once_make_one(path: Path, python: Python) -> None:
    """Concurrent first starts do not collide: all end with the same ledger, and nothing half-made is left."""
    script = """
        import sys
        from pathlib import Path
        from netledger.ledger.ledger import Ledger
        import netledger.ledger.sqlite
        print("ready", flush=True)
        sys.stdin.readline()
        print(Ledger.open(Path(sys.argv[1])).id)
    """
    processes = [python(script, path) for _ in range(6)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ids = {process.communicate(timeout=30) for process in processes}
    assert len(ids) == 1
    assert [entry.name for entry in path.parent.glob("*.new*")] == []


def test_another_process_that_holds_the_log_is_named_busy(path: Path, alias: Alias, monkeypatch) -> None:
    """Waiting for a writer is bounded, says what to do, and leaves the ledger usable."""
    monkeypatch.setattr("netledger.ledger.sqlite_file.BUSY_SECONDS", 0.1)
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        with other._recorder._transaction("hold") as (holding, _):
            with pytest.raises(LedgerError, match=f"another process holds it .* `fuser {path}`"):
                ledger.append([alias(1)], (), 0)
            assert ledger.head == 0
            holding.execute("ROLLBACK")
        assert ledger.append([alias(1)], (), 0) == 1


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_forked_child_is_told_to_open_its_own(path: Path, alias: Alias, where: str) -> None:
    """The child refuses to use its parent's ledger, can open its own, and its end harms nothing."""
    ledger = Ledger.open(path if where == "file" else None)
    ledger.append([alias(1)], (), 0)
    child = os.fork()
    if not child:  # pytest's own clean-up must not run here
        verdict = 1
        try:
            uses = (
                lambda: ledger.append([alias(2)], (), 1),
                lambda: ledger.head,
                lambda: list(ledger.read()),
            )
            told = 0
            for use in uses:
                try:
                    use()
                except LedgerError as error:
                    told += "open" in str(error)
            ledger.close()
            if where == "file":
                with Ledger.open(path) as own:
                    own.append([alias(3)], (), 1)
            verdict = 0 if told == len(uses) else 2
        finally:
            os._exit(verdict)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    head = ledger.head
    assert head == (2 if where == "file" else 1)
    assert ledger.append([alias(4)], (), head) == head + 1
    ledger.close()
    if where == "file":
        with Ledger.open(path) as again:
            assert again.verify().events == 3


def test_two_ledgers_of_one_process_do_not_take_each_other_s_locks(path: Path, alias: Alias, python: Python) -> None:
    """Opening and closing the file a second time leaves the first one's locks: another process cannot end its log."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
        Ledger.open(path).close()
        script = """
            import sys
            from pathlib import Path
            from netledger.ledger.ledger import Ledger
            Ledger.open(Path(sys.argv[1])).close()
        """
        assert python(script, path).communicate(timeout=30) == ("", "")
        assert path.with_name("ledger.db-wal").exists(), "the other process took itself for the last one"
        ledger.append([alias(2)], (), 1)
    with Ledger.open(path) as ledger:
        assert ledger.head == 2


def test_interrupt_behind_the_commit_leaves_nothing_stale(path: Path, alias: Alias, monkeypatch) -> None:
    """Ctrl-C between an append's COMMIT and what is remembered of it: the next append goes on behind it."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)

        def interrupt(registrations: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ledger._recorder._registry, "adopt", interrupt)
            with pytest.raises(KeyboardInterrupt):
                ledger.append([alias(2)], (), 1)
        assert ledger.append([alias(3)], (), ledger.head) == 3
        assert ledger.verify().events == 3


def test_interrupt_at_any_moment_leaves_nothing_stale(path: Path, alias: Alias) -> None:
    """Ctrl-C anywhere in an append, even behind its commit, leaves a ledger that goes on at the log's true end."""
    chance = random.Random(7)
    interrupted = 0
    armed = False

    def interrupt(signum: int, frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # its callbacks would swallow the interrupt
    try:
        with Ledger.open(path, synchronous="NORMAL") as ledger:
            for number in range(300):
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, 0.00001 + chance.random() * 0.0002)
                    ledger.append([alias(number)] * 3, (), ledger.head)
                    armed = False
                except KeyboardInterrupt:
                    interrupted += 1
            assert ledger.append([alias(1)] * 3, (), ledger.head) == ledger.head
            assert ledger.head % 3 == 0
            assert ledger.verify().problem is None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert interrupted
