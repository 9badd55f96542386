"""Kernel settings under /proc/sys: read, and written only when they differ.

Keeps: a setting is never turned back, since others may have come to rely on it. Must not know: why it is wanted.
The files under /proc/sys/net are those of the namespace that the opening thread is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...domain.objects import Sysctl
from ..contract import Status
from .rooms import Lost
from .run import HOST, Run

_TURNED = str.maketrans("./", "/.")


def read_sysctl(name: str) -> str:
    """Read a setting by its name: the dots are slashes in its path, and an interface name's slashes are dots."""
    return _path(name).read_text(encoding="ascii").strip()


def write_sysctl(name: str, value: str) -> bool:
    """Write a setting unless it is so; whether it was not."""
    if read_sysctl(name) == value:
        return False
    _path(name).write_text(f"{value}\n", encoding="ascii")
    return True


def make_sysctls(run: Run, numbers: Iterable[int]) -> None:
    """Write the settings that are not yet so."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, Sysctl)
        try:
            if wanted.sandbox == HOST:
                run.kernel.asked_sysctls.add(wanted.name)
                written = write_sysctl(wanted.name, wanted.value)
            else:
                with run.kernel.home.visit(run.room(wanted.sandbox).descriptor):
                    written = write_sysctl(wanted.name, wanted.value)
        except Lost as lost:
            run.fail(number, str(lost))
        except OSError as error:
            run.fail_with(number, error)
        else:
            run.end(number, Status.MADE if written else Status.ALREADY)


def forget_sysctls(run: Run, numbers: Iterable[int]) -> None:
    """Leave the settings as they are."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, Sysctl)
        run.kernel.asked_sysctls.discard(wanted.name)
        run.end(number, Status.REMOVED)


def _path(name: str) -> Path:
    return Path("/proc/sys") / name.translate(_TURNED)
