"""What the replay's tests share: a controller on a kernel that can be altered behind its back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from tests.desk import create_endpoint, create_network, create_sandbox, join


@pytest.fixture
def kernel() -> SimulatedKernel:
    """Give a kernel."""
    return SimulatedKernel()


@pytest.fixture
def dataplane(kernel: SimulatedKernel) -> SimulatedDataplane:
    """Give a dataplane on it."""
    return SimulatedDataplane(kernel)


@pytest.fixture
def controller(dataplane: SimulatedDataplane) -> Iterator[Controller]:
    """Give a controller with a network, an endpoint and a sandbox that it is in."""
    with Controller.open(dataplane=dataplane) as controller:
        for result in controller.execute(
            [
                create_network("n1", "10.1.0.0/24"),
                create_endpoint("n1", "e", "8080:80"),
                create_sandbox("c"),
                join("n1/e", "c"),
            ]
        ):
            result.check()
        yield controller
