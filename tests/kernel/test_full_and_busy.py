"""A full disk refuses every change and nothing else; a second process on one state directory waits its turn."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from netledger import Controller
from netledger.domain.errors import LedgerBusy, LedgerFull
from netledger.replay import drift

from .kill_loop.child import Child
from .kill_loop.host import add_address, differences, lasting_differences
from .kill_loop.log import Log
from .kill_loop.program import Author, Model, after

STEPS = 40
ANSWER_SECONDS = 30
HOLDING_SECONDS = 0.3


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True, timeout=30)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True, timeout=30)


def test_a_full_disk_refuses_every_change(host: Path, small: Path) -> None:
    """Refused, a change leaves log, views and kernel alone; the same change works once there is room again."""
    add_address(host)
    log = Log(small / "state" / "ledger.db")
    author, model = Author(random.Random(0), str(host)), Model()
    with Controller.open(small / "state", dataplane="linux", namespace=str(host)) as controller:
        for _ in range(STEPS):
            step = [operation for operation in author.step(model) if operation.kind != "attached"]
            later, accepted = after(model, step)
            if not any(accepted):
                continue
            log.read()
            position = log.position
            with full(small), pytest.raises(LedgerFull):
                controller.execute([operation.command() for operation in step])
            log.read()
            assert log.position == position
            assert _listed(controller) == (set(model.networks), set(model.endpoints), set(model.sandboxes))
            assert differences(log, host) == []
            results = controller.execute([operation.command() for operation in step])
            assert [result.error is None for result in results] == accepted, [result.error for result in results]
            model = later
            log.read()
            assert log.problems == []
            assert lasting_differences(log, host) == []
        assert drift(controller).lines == ()


def test_a_start_on_a_full_disk(host: Path, small: Path) -> None:
    """What a process that was killed has left undone is made good without a byte of room; only changes are refused."""
    state = small / "state"
    child = Child(partial(_leave_behind, state=state, host=host))
    assert child.receive(ANSWER_SECONDS) == "committed"
    child.end()
    with full(small), Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        assert controller.recovery is not None
        assert drift(controller).lines == ()
        with pytest.raises(LedgerFull):
            controller.create_sandbox("two")
    with Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        controller.create_sandbox("two")
        assert drift(controller).lines == ()
    with full(small), pytest.raises(LedgerFull):  # closed cleanly, the log's shared memory file is gone
        Controller.open(state, dataplane="linux", namespace=str(host))


def test_a_second_process_waits_and_then_names_the_first(host: Path, tmp_path: Path) -> None:
    """It waits as long as it was told to, and no longer than the first one lives."""
    state = tmp_path / "state"
    child = Child(partial(_hold, state=state, host=host))
    try:
        assert child.receive(ANSWER_SECONDS) == "open"
        begin = time.monotonic()
        with pytest.raises(LedgerBusy, match=f"process {child.process} "):
            Controller.open(state, dataplane="linux", namespace=str(host), wait_seconds=HOLDING_SECONDS)
        assert time.monotonic() - begin >= HOLDING_SECONDS
        child.tell("close soon")
        with Controller.open(state, dataplane="linux", namespace=str(host), wait_seconds=ANSWER_SECONDS) as controller:
            assert controller.recovery is None
            assert [network.name for network in controller.networks()] == ["held"]
        assert child.end(ANSWER_SECONDS) == 0
    finally:
        child.end()


def test_the_lock_of_a_killed_process_is_free_at_once(host: Path, tmp_path: Path) -> None:
    """What the lock file still says is nobody's lock."""
    state = tmp_path / "state"
    child = Child(partial(_hold, state=state, host=host))
    assert child.receive(ANSWER_SECONDS) == "open"
    child.end()
    with Controller.open(state, dataplane="linux", namespace=str(host), wait_seconds=0) as controller:
        assert [network.name for network in controller.networks()] == ["held"]


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Take every byte of a disk, for the length of a block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


def _hold(talk: Connection, state: Path, host: Path) -> None:
    with Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        controller.create_network("held")
        talk.send("open")
        talk.recv()
        time.sleep(HOLDING_SECONDS)


def _leave_behind(talk: Connection, state: Path, host: Path) -> None:
    """Commit a sandbox, and stop before it is made."""
    from netledger.dataplanes.linux import LinuxDataplane

    def stop(*arguments: object) -> None:
        talk.send("committed")
        time.sleep(ANSWER_SECONDS)

    controller = Controller.open(state, dataplane="linux", namespace=str(host))
    LinuxDataplane.apply = stop  # type: ignore[method-assign, assignment]  # in this process alone
    controller.create_sandbox("one")


def _listed(controller: Controller) -> tuple[set[str], set[str], set[str]]:
    """List what readers are told that there is."""
    return (
        {network.id for network in controller.networks()},
        {endpoint.id for endpoint in controller.endpoints()},
        {sandbox.id for sandbox in controller.sandboxes()},
    )
