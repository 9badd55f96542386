"""Ctrl-C at any moment: the process stays where it was, its Controller goes on, and the next start finds no drift."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from netledger import Controller
from netledger.interfaces.cli import run
from netledger.ledger.state import StateDirectory

from .kill_loop import storm
from .kill_loop.child import Child
from .kill_loop.doomed import Doom, Opening, live
from .kill_loop.host import lasting_differences
from .kill_loop.log import Log

INTERRUPTIONS = 200
ANSWER_SECONDS = 30
INTERRUPTED, NOT_FOUND = 130, 4
COMMANDS, COMMAND_SECONDS = 30, 0.06


@pytest.mark.parametrize("then", ["closed", "killed"])
def test_two_hundred_interruptions(host: Path, tmp_path: Path, then: str) -> None:
    """One in three comes right behind another: it meets the engine while it undoes what the first one stopped."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    state = tmp_path / "state"
    child = Child(partial(storm.live, state=state, host=host, seed=str(seed)))
    try:
        assert child.receive(ANSWER_SECONDS) == "ready"
        for _ in range(INTERRUPTIONS):
            child.signal(signal.SIGINT)
            time.sleep(chance.choices((0.0002, chance.uniform(0, 0.01), chance.uniform(0, 0.03), 0.1), (3, 3, 3, 1))[0])
        child.signal(signal.SIGUSR1)
        report = child.receive(ANSWER_SECONDS)
        assert isinstance(report, storm.Report), f"seed {seed}, {state}: {report}"
        assert report.interruptions > INTERRUPTIONS / 5, report
        assert report.operations > 0, report
        assert report.own_namespace_after == report.own_namespace_before
        assert report.namespaces_of_threads <= {report.own_namespace_before, host.stat().st_ino}
        assert report.drift == ()
        if then == "closed":
            child.tell("close")
            assert child.end(ANSWER_SECONDS) == 0
    finally:
        child.end()
    recovery = _start_again(state, host)
    assert (recovery is None) or then == "killed"


def test_an_interrupted_advance_is_repeated_whole(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C just before what was committed is applied: the sandbox's namespace stayed for ever."""
    from netledger.dataplanes.linux import LinuxDataplane

    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as controller:
        sandbox = controller.create_sandbox("box")
        path = Path(sandbox.key)
        with monkeypatch.context() as patch:
            patch.setattr(LinuxDataplane, "apply", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                sandbox.delete()
        assert path.exists()
        controller.create_sandbox("another")
        assert not path.exists()


def test_interrupted_twice_a_controller_goes_on(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C comes while the engine takes back what the first one stopped."""
    from netledger.ledger.ledger import Ledger
    from netledger.projections.journal import Journal

    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as controller:
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "append", _interrupt)
            patch.setattr(Journal, "undo", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                controller.create_sandbox("box")
        assert controller.sandboxes() == []
        sandbox = controller.create_sandbox("box")
        path = Path(sandbox.key)
        assert path.exists()
        sandbox.delete()
        assert not path.exists()


def test_the_command_line_is_interrupted_while_it_waits(host: Path, tmp_path: Path) -> None:
    """One line, status 130, and nothing has changed."""
    state = StateDirectory.open(tmp_path / "state")
    with state.lock(0, "test"):
        process = subprocess.Popen(
            [sys.executable, "-m", "netledger", "network", "create", "net", "--state", state.path, "--namespace", host],
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_until_open(process.pid, state.lock_file)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=ANSWER_SECONDS)
    assert process.returncode == INTERRUPTED, said
    assert said.startswith("interrupted: "), said
    assert said.count("\n") == 1, said
    assert not state.ledger.exists()


def test_the_command_line_is_interrupted_at_random_moments(host: Path, tmp_path: Path) -> None:
    """Each command ends whole or with 130, with one line if it had begun to change anything, and the next one works."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    state = tmp_path / "state"
    ended: Counter[int] = Counter()
    lines = 0
    for number in range(COMMANDS):
        words = chance.choice((("network", "create", f"net{number}"), ("network", "rm", f"net{number - 1}", "--force")))
        child = Child(partial(_command_line, words=(*words, "--state", str(state), "--namespace", str(host))))
        assert child.receive(ANSWER_SECONDS) == "ready"
        time.sleep(chance.uniform(0, COMMAND_SECONDS))
        child.signal(signal.SIGINT)
        told = child.receive(ANSWER_SECONDS)
        assert child.end(ANSWER_SECONDS) == 0, f"seed {seed}: {told}"
        assert isinstance(told, tuple), f"seed {seed}: {told}"
        status, said = told
        ended[status] += 1
        lines += said.count("interrupted: ")
        assert status in {0, NOT_FOUND, INTERRUPTED}, f"seed {seed}: {words} {told}"
        assert "Traceback" not in said, f"seed {seed}: {words} {told}"
        assert "interrupted: " not in said or status == INTERRUPTED, f"seed {seed}: {words} {told}"
    assert lines > 0, ended
    _start_again(state, host)


def _command_line(talk: Connection, words: Sequence[str]) -> None:
    """Run a command in a process that has loaded everything already, so that what is interrupted is its work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            talk.send("ready")
            status = run(words)
    except KeyboardInterrupt:  # before or behind the command's own part
        status = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    talk.send((status, said.getvalue()))


def _wait_until_open(process: int, path: Path) -> None:
    """Wait until a process has a file open."""
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        with suppress(OSError):
            if any(entry.resolve() == path for entry in Path(f"/proc/{process}/fd").iterdir()):
                return
        time.sleep(0.01)
    raise AssertionError(f"process {process} does not open {path}")


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def _start_again(state: Path, host: Path) -> str | None:
    """Start, compare everything, and return what the start said that it made good."""
    child = Child(partial(live, state=state, host=host, doom=Doom(), chance=random.Random(0)))
    try:
        opening = child.receive(ANSWER_SECONDS)
        assert isinstance(opening, Opening), opening
        assert opening.faults == opening.drift == ()
        log = Log(state / "ledger.db")
        log.read()
        assert log.problems == []
        assert lasting_differences(log, host) == []
        return opening.recovery
    finally:
        child.end()
