"""Network namespaces: made, named by a mount, entered for as long as it takes to open a socket, dropped.

Keeps: the thread that enters one is back home before anything else happens, checked by the namespace's inode, or
`Stranded` says that this thread must do no more. Must not know: links, plans, which thread it is called in (only
`worker`'s may).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .netlink import Conversation

CLONE_NEWNET = 0x40000000
MS_BIND, MNT_DETACH, UMOUNT_NOFOLLOW = 4096, 2, 8
NS_GET_NSTYPE = 0xB703
OWN = "/proc/thread-self/ns/net"
"""Of the calling thread; `/proc/self/ns/net` is the process's first thread's."""

IN_THE_WAY = "a file that is no namespace is in the way"

_library = ctypes.CDLL(None, use_errno=True)
_library.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_library.unshare.argtypes = (ctypes.c_int,)
_library.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)
_library.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


class Stranded(Exception):
    """Say that this thread could not return to its namespace; it must end."""


class NoNamespace(OSError):
    """Say that what is at a path is no network namespace."""


class Home:
    """The namespace that the worker's thread stands in, and returns to."""

    def __init__(self, path: str | None = None) -> None:
        """Hold the namespace at `path` (None: the calling thread's own)."""
        self.descriptor = open_namespace(OWN if path is None else path)
        self._inode = os.fstat(self.descriptor).st_ino

    def arrive(self) -> None:
        """Bring a new thread here, if it was not born here."""
        if Path(OWN).stat().st_ino != self._inode:
            _setns(self.descriptor)

    def enter(self) -> None:
        """Bring the calling thread back here, from wherever it is."""
        try:
            _setns(self.descriptor)
            here = os.stat(OWN).st_ino  # noqa: PTH116 - thrice as quick as Path's, on every visit
        except OSError as error:
            raise Stranded(f"cannot return to the host's namespace: {error}") from error
        if here != self._inode:
            raise Stranded("setns succeeded and the thread is in another namespace")

    def is_here(self) -> bool:
        """Whether the calling thread is in it."""
        return os.stat(OWN).st_ino == self._inode  # noqa: PTH116 - thrice as quick as Path's

    @contextlib.contextmanager
    def visit(self, descriptor: int) -> Iterator[None]:
        """Stand in another namespace for the length of a block."""
        _setns(descriptor)
        try:
            yield
        finally:
            self.enter()

    @contextlib.contextmanager
    def fresh(self) -> Iterator[None]:
        """Stand in a new namespace for the length of a block; it dies with its last holder."""
        if _library.unshare(CLONE_NEWNET):
            raise _error("unshare")
        try:
            yield
        finally:
            self.enter()

    def converse(self, descriptor: int) -> Conversation:
        """Open a netlink socket in another namespace."""
        with self.visit(descriptor):
            return Conversation()

    def close(self) -> None:
        """Let go of the namespace."""
        os.close(self.descriptor)


def open_namespace(path: str) -> int:
    """Open the network namespace at a path; `NoNamespace`, ENOENT or ENOTDIR when there is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # it may be a FIFO or a tty
    try:
        kind = fcntl.ioctl(descriptor, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        os.close(descriptor)
        raise NoNamespace(errno.EINVAL, "not a network namespace", path)
    return descriptor


def bind(descriptor: int, path: str) -> None:
    """Bind an open namespace to a path, where an ordinary file must be."""
    if _library.mount(b"/proc/thread-self/fd/%d" % descriptor, path.encode(), None, MS_BIND, None):
        raise _error("mount", path)


def reserve(path: str) -> bool:
    """Make the file that a namespace is to be bound to, and its folders; whether it was not there before."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o444))
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, flags, 0o444))
    except FileExistsError:
        return False
    return True


def drop(path: str) -> bool:
    """Unbind the namespace at a path and remove the file; whether there was anything. What is not ours stays.

    A namespace that is no symbolic link is a mount: nothing else gives it a name.
    """
    try:
        if os.path.islink(path):  # noqa: PTH114 - thrice as quick as Path's, as below
            raise FileExistsError(errno.EEXIST, IN_THE_WAY, path)
        os.close(open_namespace(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except NoNamespace:
        pass
    else:
        if _library.umount2(path.encode(), MNT_DETACH | UMOUNT_NOFOLLOW):
            raise _error("umount2", path)
    check_vacant(path)
    os.unlink(path)  # noqa: PTH108
    return True


def check_vacant(path: str) -> None:
    """Check that a path is an empty file, as `reserve` makes it; FileExistsError when it is anything else."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        raise FileExistsError(errno.EEXIST, IN_THE_WAY, path)


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _setns(descriptor: int) -> None:
    if _library.setns(descriptor, CLONE_NEWNET):
        raise _error("setns")


def _error(call: str, path: str | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}", path)
