"""The state directory: everything of one host, and the lock of whoever drives its dataplane.

Keeps: a directory with somebody else's things in it is not taken over; one process at a time holds the lock, and says
in the lock file who it is. The lock is the kernel's (flock): it ends with its process, whatever the file says.
Knows nothing of: what is in the ledger. Reading needs no lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ..domain.errors import LedgerBusy, LedgerError, LedgerForeign

LEDGER_NAME = "ledger.db"
LOCK_NAME = "lock"
NAMESPACES_NAME = "namespaces"
POLL_SECONDS = 0.02
SHOWN_ENTRIES = 5


class StateDirectory:
    """A host's state directory, which nobody else may write. `open` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = path / LEDGER_NAME
        self.lock_file = path / LOCK_NAME
        self.namespaces = path / NAMESPACES_NAME

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> StateDirectory:
        """Take a directory that is ours, is empty, or is made now (0700) if `create`."""
        asked = f"open the state directory {path}"
        try:
            if create:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_shared(path, asked, to_write=create)
            found = sorted(entry.name for entry in path.iterdir())
        except FileNotFoundError:
            raise LedgerError(f"{asked}: there is none; name the right one, or let it be made") from None
        except NotADirectoryError:
            raise LedgerForeign(f"{asked}: it is not a directory; name another") from None
        except FileExistsError:
            raise LedgerForeign(f"{asked}: it is not a directory; name another") from None
        except OSError as error:
            raise LedgerError(f"{asked}: {error.strerror}") from error
        foreign = [name for name in found if not _may_come_before_the_ledger(name)]
        if foreign and LEDGER_NAME not in found:
            shown = ", ".join(foreign[:SHOWN_ENTRIES]) + (", ..." if len(foreign) > SHOWN_ENTRIES else "")
            raise LedgerForeign(
                f"{asked}: it has no {LEDGER_NAME}, but it is not empty ({shown}); name an empty or a new directory"
            )
        return cls(path)

    def lock(self, wait_seconds: float, purpose: str) -> HostLock:
        """Wait for the lock, at most so long, and hold it for this purpose; LedgerBusy says who holds it instead."""
        return HostLock(self.lock_file, wait_seconds, purpose)


class HostLock:
    """The lock on a host's dataplane, held from its making until `release` or the end of the process."""

    def __init__(self, path: Path, wait_seconds: float, purpose: str) -> None:
        self._process = os.getpid()
        self._file: int | None = _locked(path, wait_seconds, purpose)

    def release(self) -> None:
        """Let others have it; releasing twice is no error. A forked child leaves its parent's lock alone."""
        file, self._file = self._file, None
        if file is None:
            return
        if os.getpid() == self._process:
            os.ftruncate(file, 0)
            fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def holder(path: Path) -> str:
    """Say who wrote itself into a lock file last."""
    try:
        process, since, command, purpose = path.read_text(errors="replace").splitlines()
    except (OSError, ValueError):
        return "another process owns this host's dataplane"
    return f"process {process} ({command}) owns this host's dataplane since {since} ({purpose})"


def _locked(path: Path, wait_seconds: float, purpose: str) -> int:
    asked = f"lock {path}"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:  # a symbolic link, a directory, a socket
            raise LedgerForeign(f"{asked}: it is not a regular file; remove it") from error
        raise LedgerError(f"{asked}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise LedgerForeign(f"{asked}: it is not a regular file; remove it")
    end = time.monotonic() + wait_seconds
    try:
        while not _try_lock(file):
            if time.monotonic() >= end:
                raise LedgerBusy(f"{asked}: {holder(path)}; wait for it, or stop it")
            time.sleep(POLL_SECONDS)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lines = (str(os.getpid()), since, _command_line(), purpose)
        with suppress(OSError):  # a full disk: the lock holds all the same, and others are told no name
            os.ftruncate(file, 0)
            os.pwrite(file, "".join(f"{' '.join(line.splitlines())}\n" for line in lines).encode(), 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command_line() -> str:
    """How this process was started, as /proc says it."""
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return b" ".join(words).decode(errors="replace").strip() or "unknown"


def _refuse_shared(path: Path, asked: str, *, to_write: bool) -> None:
    """Refuse a directory in which others could put files under our names; whoever only reads may read another's."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise LedgerForeign(f"{asked}: others can write it; `chmod 700 {path}`, or name another")
    if to_write and found.st_uid not in {0, os.geteuid()}:
        raise LedgerForeign(f"{asked}: it belongs to user {found.st_uid}; name one of your own")


def _may_come_before_the_ledger(name: str) -> bool:
    """Whether a crash before the ledger was complete can have left this."""
    return name in {LOCK_NAME, NAMESPACES_NAME} or name.startswith(LEDGER_NAME + ".")
