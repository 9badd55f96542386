"""Files of sandboxes: written in place, since a container may have them mounted; left alone once somebody edited them.

Keeps: a file is ours as long as its content is what we wrote last, or were about to write when we were killed; beside
it, `FILE.hash` says which. What is no regular file is not written through. Must not know: what the text means.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ...domain.objects import File
from ...domain.values import SandboxId
from ..contract import Status
from .run import Run

MODE = 0o644
LARGEST_BYTES = 1 << 20
HASH_SUFFIX = ".hash"
NOT_A_FILE = frozenset({errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})
"""A link, a directory, a pipe or a socket in its place."""


def make_files(run: Run, numbers: Iterable[int]) -> None:
    """Write the files that are not yet so, but for those that somebody edited."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, File)
        try:
            run.end(number, _write(Path(wanted.path), wanted.text.encode()))
        except OSError as error:
            run.fail_with(number, error)


def remove_files(run: Run, numbers: Iterable[int]) -> None:
    """Remove files and what is beside them, and the directory if it is empty then; an edited one stays."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, File)
        try:
            run.end(number, _remove(Path(wanted.path)))
        except OSError as error:
            run.fail_with(number, error)


def read_file(sandbox: SandboxId, path: str) -> tuple[File | None, bool]:
    """Read back a file that is ours, and whether there is one that somebody edited."""
    try:
        content = _read(Path(path))
    except OSError:  # no regular file of ours: writing it says what is wrong
        return None, False
    if content is None:
        return None, False
    if not _is_ours(Path(path), content):
        return None, True
    return File(sandbox, path, content.decode(errors="replace")), False


def _write(path: Path, content: bytes) -> Status:
    before = _read(path)
    if before == content:
        return Status.ALREADY
    if before is not None and not _is_ours(path, before):
        return Status.ALREADY
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    last = "" if before is None else _digest(before)
    _put(_beside(path), f"{last} {_digest(content)} {len(content)}\n".encode())
    _put(path, content)
    _put(_beside(path), f"{_digest(content)}\n".encode())
    return Status.MADE


def _remove(path: Path) -> Status:
    try:
        content = _read(path)
    except OSError as error:
        if error.errno not in NOT_A_FILE:
            raise
        return Status.ALREADY  # somebody else's
    if content is not None and not _is_ours(path, content):
        _beside(path).unlink(missing_ok=True)
        return Status.REMOVED
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's files are in it, or it is gone
        path.parent.rmdir()
    return Status.ALREADY if content is None else Status.REMOVED


def _is_ours(path: Path, content: bytes) -> bool:
    """Whether a file's content is what we wrote last, or what a process that was killed was about to write."""
    try:
        told = (_read(_beside(path)) or b"").decode(errors="replace").split()
    except OSError:
        return False
    if len(told) == 3:
        last, coming, size = told
        begun = content[: int(size)] if size.isdigit() else content
        return not content or _digest(content) in {last, coming} or _digest(begun) == coming
    return bool(told) and _digest(content) == told[0]


def _read(path: Path) -> bytes | None:
    """Read a regular file; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        _check_regular(descriptor, path)
        return os.read(descriptor, LARGEST_BYTES)
    finally:
        os.close(descriptor)


def _put(path: Path, content: bytes) -> None:
    """Write a file in place: its inode stays, which a container may have mounted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, MODE)
    try:
        _check_regular(descriptor, path)
        written = os.pwrite(descriptor, content, 0)
        if written != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def _check_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _beside(path: Path) -> Path:
    return path.with_name(path.name + HASH_SUFFIX)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
