"""The pytest plugin: a controller, a simulated dataplane, a network namespace, and ledgers from scripts, as fixtures.

A test that used one of these ledgers and failed leaves it in pytest's cache directory, and its report says which
commands show and replay it. pytest loads this module in every run where netledger is installed, needed or not.
Keeps: nothing beyond pytest is imported until a fixture is used. Knows nothing of: what any test is about.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from ..dataplanes.simulated import SimulatedDataplane
    from ..engine.controller import Controller

pytest.register_assert_rewrite("netledger.testing.contracts")

START_SECONDS = 10
"""A namespace that is not there by then will not be."""
NAME_LENGTH = 100

LedgerFrom: TypeAlias = "Callable[[str | Path], Controller]"

_states = pytest.StashKey[list[Path]]()
"""The state directories that a test used."""


@dataclass(frozen=True)
class PrivateNamespace:
    """A network namespace of one test, with nothing in it but its loopback, which is up.

    `path` serves where a path of a namespace does, as in `Controller.open(namespace=...)`, if this process is root. An
    ordinary user's is in a user namespace of its own, which only a new process can enter, as `run` does.
    """

    pid: int
    is_users: bool

    @property
    def path(self) -> Path:
        """The namespace as a file."""
        return Path(f"/proc/{self.pid}/ns/net")

    def run(self, *command: str) -> str:
        """Run a command in it, and return what it printed."""
        user = ["--user", "--preserve-credentials"] if self.is_users else []
        enter = ["nsenter", f"--target={self.pid}", *user, "--net", "--"]
        done = subprocess.run([*enter, *command], check=False, capture_output=True, text=True)  # noqa: S603 - the test's own command
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
        return done.stdout


# --- fixtures


@pytest.fixture
def simulated_dataplane() -> SimulatedDataplane:
    """Give a simulated dataplane on an empty kernel, which outlasts the controllers that are opened on it."""
    from ..dataplanes.simulated import SimulatedDataplane, SimulatedKernel

    return SimulatedDataplane(SimulatedKernel())


@pytest.fixture
def controller(
    request: pytest.FixtureRequest, tmp_path: Path, simulated_dataplane: SimulatedDataplane
) -> Iterator[Controller]:
    """Give a controller with an empty ledger, on the simulated dataplane."""
    with _opened(request, tmp_path / "netledger", simulated_dataplane) as controller:
        yield controller


@pytest.fixture
def ledger_from(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerFrom]:
    """Give a function that runs a script, given as text or as a file, and returns the controller of its ledger.

    A script whose expectations are not met fails the test. Each call makes a ledger and a simulated host of its own.
    """
    with contextlib.ExitStack() as stack:
        numbers = iter(range(1, 1_000_000))

        def run(script: str | Path) -> Controller:
            from .scripts import INLINE, ScriptError, Stage, parse
            from .scripts import run as play

            text = script.read_text(encoding="utf-8") if isinstance(script, Path) else textwrap.dedent(script)
            try:
                program = parse(text, str(script) if isinstance(script, Path) else INLINE)
            except ScriptError as error:
                raise pytest.fail.Exception(str(error), pytrace=False) from None
            state = tmp_path / f"netledger-{next(numbers)}"
            stage = stack.enter_context(Stage(state))
            request.node.stash.setdefault(_states, []).append(state)
            differences = play(program, stage)
            if differences:
                pytest.fail("\n".join(map(str, differences)), pytrace=False)
            return stage.controller

        yield run


@pytest.fixture
def network_namespace() -> Iterator[PrivateNamespace]:
    """Give a network namespace made for this test; skip where none can be made, saying why."""
    with _private_namespace() as namespace:
        yield namespace


# --- what a failed test leaves


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the ledgers of a test that failed, and say how to replay them."""
    report = yield
    states = item.stash.get(_states, [])
    if report.failed and states:
        kept = [_keep(item, number, state) for number, state in enumerate(states, 1)]
        report.sections.append(("netledger", "\n".join(kept)))
        states.clear()
    return report


def _keep(item: pytest.Item, number: int, state: Path) -> str:
    """Copy a ledger, which may still be open, to where the next run leaves it alone; say where it is."""
    from ..domain.errors import NetledgerError
    from ..ledger.ledger import Ledger

    try:
        with Ledger.open(state / "ledger.db", read_only=True) as ledger:
            head, place = ledger.head, state
            if hasattr(item.config, "cache") and item.config.cache is not None:
                name = re.sub(r"[^\w.]+", "-", item.nodeid)[-NAME_LENGTH:].strip("-")
                place = item.config.cache.mkdir("netledger") / f"{name}-{number}"
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(mode=0o700)
                ledger.backup(place / "ledger.db")
    except NetledgerError as error:
        return f"the ledger in {state} could not be kept: {error}"
    where = shlex.quote(str(place))
    return (
        f"the ledger of this test, {head} events, is kept in {place}\n"
        f"what happened:   netledger log show --state {where}\n"
        f"replayed:        netledger plan --state {where} --dataplane simulated"
    )


# --- within


@contextlib.contextmanager
def _opened(request: pytest.FixtureRequest, state: Path, dataplane: SimulatedDataplane) -> Iterator[Controller]:
    """Open a ledger that is kept if the test fails."""
    from ..engine.controller import Controller

    with Controller.open(state, dataplane=dataplane, synchronous="NORMAL", actor="pytest") as controller:
        request.node.stash.setdefault(_states, []).append(state)
        yield controller


@contextlib.contextmanager
def _private_namespace() -> Iterator[PrivateNamespace]:
    """Hold a namespace by a process in it: as root, else in a user namespace of its own."""
    reasons = []
    for user in ([], ["--user", "--map-root-user"]):
        script = "ip link set lo up && echo ready && exec sleep infinity"
        try:
            holder = subprocess.Popen(  # noqa: S603 - a fixed command
                ["unshare", *user, "--net", "--", "sh", "-c", script],  # noqa: S607 - found by PATH
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        with holder:
            try:
                assert holder.stdout is not None
                if holder.stdout.readline() == "ready\n":
                    yield PrivateNamespace(holder.pid, is_users=bool(user))
                    return
                _, words = holder.communicate(timeout=START_SECONDS)
                reasons.append(words.strip())
            finally:
                holder.kill()
    pytest.skip(f"no network namespace can be made here: {'; '.join(reasons)}")
