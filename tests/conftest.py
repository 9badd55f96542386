"""Where tests run: kernel tests in private namespaces, everything else where pytest was started.

`pytest` runs all tests but those marked `kernel`, and says how many it left out. `pytest --kernel`, or naming only
tests below tests/kernel, runs pytest anew inside private network, mount and process namespaces with an empty /run of
their own, as root or as an ordinary user, and there runs the tests marked `kernel` and no others. So no kernel test
can ever reach the machine's own network.

A test that lacks the kernel or the root it needs is skipped, saying what is missing. With CI set it fails.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNEL_TESTS = ROOT / "tests" / "kernel"

# Set inside the private namespaces: the inode of the network namespace outside.
OUTSIDE = "NETLEDGER_TESTS_OUTSIDE"

# A shell stays as the process namespace's first process: unlike pytest it reaps every orphan, so that a daemon that
# a test has killed does not linger as a zombie. /run is the namespaces' own, so /run/netns and /run/netledger are.
INIT = 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && "$@"; exit $?'

# Every right that the tests need, in one go. What it prints is the reason why they cannot run.
PROBE = "ip link add name probe type veth peer name probe1 && ip netns add probe && nft add table inet probe"

PRIVATE = ["--net", "--mount"]
PROCESSES = ["--pid", "--fork", "--kill-child", "--mount-proc"]
USER = ["--user", "--map-root-user"]

_missing_kernel = pytest.StashKey[str]()
_left_out = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --kernel."""
    parser.addoption("--kernel", action="store_true", help="run the kernel tests, and only them, in private namespaces")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start pytest anew in private namespaces when kernel tests were asked for and it is not there yet."""
    config.option.kernel = config.option.kernel or _only_kernel_tests_named(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what goes on in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else every process that a test starts ignores it
    if not config.option.kernel or config.option.collectonly or config.option.help:
        return
    if OUTSIDE in os.environ:
        _assert_private()
        return
    enter, reason = _way_in()
    if not enter:
        config.stash[_missing_kernel] = reason
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pytest_again = [sys.executable, "-m", "pytest", "--kernel", *config.invocation_params.args]
    os.chdir(config.invocation_params.dir)
    os.execvpe(enter[0], [*enter, *pytest_again], {**os.environ, **_inside()})


def pytest_configure() -> None:
    """Give a service account without a home of its own the one that scripts/prepare.sh gives it."""
    if not os.access(os.environ.get("HOME", ""), os.W_OK):
        os.environ["HOME"] = str(ROOT / ".cache" / "home")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies below tests/kernel, and leave out what does not run in this process's namespaces."""
    for item in items:
        if item.path.is_relative_to(KERNEL_TESTS):
            item.add_marker(pytest.mark.kernel)
    wanted = [item for item in items if bool(item.get_closest_marker("kernel")) == config.option.kernel]
    left_out = [item for item in items if item not in set(wanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = wanted
    config.stash[_left_out] = 0 if config.option.kernel else len(left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that lacks what it needs; fail it in CI."""
    reason = None
    if item.get_closest_marker("kernel"):
        reason = item.config.stash.get(_missing_kernel, None)
    if reason is None and item.get_closest_marker("root") and not _is_real_root():
        reason = "needs the machine's own root"
    if reason is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that kernel tests were left out, and how to run them."""
    if count := config.stash.get(_left_out, 0):
        terminalreporter.write_line(f"{count} kernel tests left out: run them with pytest --kernel")


def _only_kernel_tests_named(config: pytest.Config) -> bool:
    paths = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    return all(path.resolve().is_relative_to(KERNEL_TESTS) for path in paths)


def _way_in() -> tuple[list[str], str]:
    """Find a command that runs its arguments in private namespaces, or say why there is none."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    absent = [tool for tool in ("unshare", "ip", "nft") if not shutil.which(tool, path=search)]
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        absent.append("libnftables.so.1")
    if absent:
        return [], f"no {', '.join(absent)} on this machine"
    # Root that may make namespaces needs no user namespace, and tests what runs in production. A container's root
    # may not; a process namespace needs a /proc that the container did not cover.
    users = [[], USER] if os.geteuid() == 0 else [USER]
    reason = ""
    for user in users:
        for processes in (PROCESSES, []):
            enter = ["unshare", *user, *PRIVATE, *processes, "--", "sh", "-c", INIT, "sh"]
            probe = subprocess.run(
                [*enter, "sh", "-c", PROBE],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, **_inside()},
                timeout=60,
            )
            if probe.returncode == 0:
                return enter, ""
            reason = probe.stderr.strip()
    return [], f"no private namespaces on this machine: {reason}"


def _inside() -> dict[str, str]:
    """Return what the environment holds inside the private namespaces besides what it holds outside.

    An ordinary user is called root inside, whose temporary directory may be there already and not be his.
    """
    temporary = Path(tempfile.gettempdir()) / f"netledger-tests-{os.getuid()}"
    temporary.mkdir(mode=0o700, exist_ok=True)
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return {
        "PYTEST_DEBUG_TEMPROOT": str(temporary),
        OUTSIDE: str(Path("/proc/self/ns/net").stat().st_ino),
        "PATH": search,
    }


def _assert_private() -> None:
    """Stop everything unless this is a network namespace of our own: the variable alone proves nothing."""
    # Links that are down do not count: some kernels put their fallback tunnels into every new namespace.
    command = ["ip", "-j", "link", "show", "up"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    up = [link["ifname"] for link in json.loads(listed) if link]
    if os.environ[OUTSIDE] == str(Path("/proc/self/ns/net").stat().st_ino) or up != ["lo"]:
        message = f"{OUTSIDE} is set, but this network namespace is not private: these links are up: {', '.join(up)}"
        raise pytest.UsageError(message)


def _is_real_root() -> bool:
    """Tell the machine's root from the root of a user namespace, who is mapped to somebody else."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
