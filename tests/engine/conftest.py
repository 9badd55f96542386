"""What the engine's tests share: controllers on a simulated kernel, and two writers of one log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Name a state directory that is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def kernel() -> SimulatedKernel:
    """Give a kernel that outlasts the controllers on it."""
    return SimulatedKernel()


@pytest.fixture
def start() -> Iterator[Callable[..., Controller]]:
    """Open controllers that are closed at the end of the test, those that the test left open too."""
    with ExitStack() as stack:

        def open_one(state: Path | None = None, dataplane: Any = "none", **others: Any) -> Controller:
            return stack.enter_context(Controller.open(state, dataplane=dataplane, synchronous="NORMAL", **others))

        yield open_one


@pytest.fixture
def writers(state: Path, start: Callable[..., Controller]) -> tuple[Controller, Controller]:
    """Give two writers of one log."""
    return start(state), start(state)


@pytest.fixture
def dataplane(kernel: SimulatedKernel) -> SimulatedDataplane:
    """Give a dataplane on the kernel that outlasts it."""
    return SimulatedDataplane(kernel)


@pytest.fixture
def controller(dataplane: SimulatedDataplane, start: Callable[..., Controller]) -> Controller:
    """Give a controller with a log in memory, on that dataplane."""
    return start(dataplane=dataplane)
