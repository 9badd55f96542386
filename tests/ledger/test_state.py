"""The state directory and its lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from netledger.domain.errors import LedgerBusy, LedgerError, LedgerForeign
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger
from netledger.ledger.state import StateDirectory

HOLDER = """
import sys
from pathlib import Path
from netledger.ledger.state import StateDirectory

state = StateDirectory.open(Path(sys.argv[1]))
lock = state.lock(0, "serve\\nthe socket")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """It is made with its parents, 0700, and opened again when it holds a ledger and whatever belongs to it."""
    state = StateDirectory.open(tmp_path / "var" / "netledger")
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    assert (state.ledger.name, state.lock_file.name, state.namespaces.name) == ("ledger.db", "lock", "namespaces")
    state.lock(0, "test").release()
    StateDirectory.open(state.path)
    Ledger.open(state.ledger).close()
    (state.path / "resolv.conf").touch()
    StateDirectory.open(state.path, create=False)


def test_a_crash_before_the_ledger_was_complete_is_no_obstacle(tmp_path: Path) -> None:
    """A lock and an unfinished ledger are ours."""
    (tmp_path / "lock").touch()
    (tmp_path / "ledger.db.12-abc.new").touch()
    StateDirectory.open(tmp_path)


def test_somebody_else_s_directory_is_refused_with_what_is_there(tmp_path: Path) -> None:
    """A directory with other things and no ledger is not taken over."""
    for name in ("photos", "letters"):
        (tmp_path / name).touch()
    with pytest.raises(LedgerForeign, match=r"letters, photos.*empty or a new directory"):
        StateDirectory.open(tmp_path)


def test_what_is_missing_or_no_directory_is_named(tmp_path: Path) -> None:
    """Nothing is made where nothing should be."""
    with pytest.raises(LedgerError, match="there is none"):
        StateDirectory.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    file = tmp_path / "file"
    file.touch()
    for create in (True, False):
        with pytest.raises(LedgerForeign, match="not a directory"):
            StateDirectory.open(file, create=create)


def test_the_lock_says_who_holds_it(tmp_path: Path, python: Callable) -> None:
    """Who waits in vain learns process, command, time and purpose; a lock ends with its process."""
    state = StateDirectory.open(tmp_path)
    process = python(HOLDER, tmp_path)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LedgerBusy) as caught:
        state.lock(0.05, "attach")
    told = str(caught.value)
    assert f"process {process.pid} (" in told
    assert "python" in told
    assert "owns this host's dataplane since 20" in told
    assert "(serve the socket)" in told
    assert told.count("attach") == 0
    process.kill()
    process.wait()
    with state.lock(5, "attach"):
        assert state.lock_file.read_text().splitlines()[0] == str(os.getpid())


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.parent / "elsewhere")])
def test_a_lock_that_is_no_regular_file_is_not_followed(tmp_path: Path, make: Callable) -> None:
    """A link, a directory or a pipe under its name is somebody else's."""
    state = StateDirectory.open(tmp_path)
    make(state.lock_file)
    with pytest.raises(LedgerForeign, match="not a regular file"):
        state.lock(0, "test")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """It says what to do; a link to a directory of our own is followed."""
    tmp_path.chmod(0o777)
    for create in (True, False):
        with pytest.raises(LedgerForeign, match=r"others can write it; `chmod 700"):
            StateDirectory.open(tmp_path, create=create)
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    StateDirectory.open(tmp_path / "link")


def test_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    """Ledger, write-ahead log, shared memory, lock and backup are 0600, whatever the umask."""
    before = os.umask(0)
    try:
        state = StateDirectory.open(tmp_path)
        with state.lock(0, "test"), Ledger.open(state.ledger) as ledger:
            ledger.append([AliasAdded(1, "tester", "r/0#00", "", "h1", "e1", "n1", "a")], (), 0)
            ledger.backup(tmp_path / "copy.db")
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "lock", "copy.db"} <= set(modes)


def test_the_lock_is_waited_for(tmp_path: Path, python: Callable) -> None:
    """A lock that is released in time is got."""
    state = StateDirectory.open(tmp_path)
    process = python(HOLDER, tmp_path)
    assert process.stdout.readline() == "held\n"
    process.stdin.write("end\n")
    process.stdin.flush()
    state.lock(30, "attach").release()


def test_the_lock_is_held_once_within_a_process_too(tmp_path: Path) -> None:
    """A second one in the same process waits like any other; releasing twice is no error."""
    state = StateDirectory.open(tmp_path)
    lock = state.lock(0, "first")
    with pytest.raises(LedgerBusy, match=f"process {os.getpid()}"):
        state.lock(0, "second")
    lock.release()
    lock.release()
    with state.lock(0, "second"):
        pass


def test_a_forked_child_does_not_release_its_parent_s_lock(tmp_path: Path) -> None:
    """The child's end leaves the lock; the parent's release frees it though the child still has the file."""
    state = StateDirectory.open(tmp_path)
    lock = state.lock(0, "parent")
    waiting, release = os.pipe()
    child = os.fork()
    if not child:
        os.close(release)
        os.read(waiting, 1)
        lock.release()
        os._exit(0)
    lock.release()
    with state.lock(0, "again"):
        os.close(release)
        os.waitpid(child, 0)
        with pytest.raises(LedgerBusy):
            state.lock(0, "third")
    os.close(waiting)
