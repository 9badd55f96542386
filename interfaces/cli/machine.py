"""Facts about this machine that `doctor` tells: kernel, user, limits, settings, tools, the lock's holder.

Keeps: everything is only read; a fact that cannot be had is None. Must not know: which facts are good or bad.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

SETTINGS = Path("/proc/sys")
TOOL_SECONDS = 5.0

CAPABILITY_BITS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""linux/capability.h."""


def kernel() -> str:
    """Name the kernel: `Linux 6.1.0-18-amd64 x86_64`."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def user() -> str:
    """Name the user that this process runs as."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"{name} (uid {os.geteuid()})"


def missing_privileges() -> tuple[str, ...]:
    """List the privileges for configuring networks that this process does not have."""
    held = 0
    for line in (read("/proc/self/status") or "").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    return tuple(name for name, bit in CAPABILITY_BITS.items() if not held >> bit & 1)


def open_files() -> tuple[int, int]:
    """Tell the soft and the hard limit of open files (RLIMIT_NOFILE)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def setting(name: str) -> str | None:
    """Read a kernel setting by its name in dots, in this process's namespaces."""
    return read(SETTINGS / name.replace(".", "/"))


def nft_version() -> str | None:
    """Ask the nft tool for its version, which comes with libnftables; nothing of ours needs the tool."""
    tool = shutil.which("nft", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=TOOL_SECONDS, check=True)  # noqa: S603  # nft itself
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def loaded_library(name: str) -> str | None:
    """Find the file of a shared library that this process has loaded."""
    paths = (line.split(maxsplit=5)[-1] for line in (read("/proc/self/maps") or "").splitlines() if "/" in line)
    return next((path for path in paths if Path(path).name.startswith(name)), None)


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock file; None where it cannot be looked into. Its text outlives its holder."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back with the file, at once
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def read(path: str | Path) -> str | None:
    """Read a small file; None where that cannot be done."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
