"""Properties of every history in which kernel operations fail at random."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netledger import Controller
from netledger.dataplanes import subscriber
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import DataplaneFault
from netledger.domain.objects import TRACELESS, KernelObject, Key
from netledger.projections.desired import lower_everything
from netledger.projections.views import Views
from netledger.replay import drift
from netledger.testing.author import Author, Seeded, Universe
from netledger.testing.checkers import check_log
from netledger.testing.strategies import histories

BUSY = 16


class Clock:
    """A clock for retries that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Tell the time."""
        return self.now


def lasting(objects: Mapping[Key, KernelObject]) -> dict[Key, KernelObject]:
    """Leave out what is done and leaves no trace: where it failed, nobody is helped by doing it later."""
    return {key: each for key, each in objects.items() if not isinstance(each, TRACELESS)}


@settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
@given(histories(max_batches=8), st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 3))
def test_when_the_faults_are_over_everything_is_as_the_log_says(batches, pattern, seldom):
    """Whatever failed and was taken back or owed, once nothing fails any more the kernel agrees with a right log."""
    kernel, clock, count = SimulatedKernel(), Clock(), 0

    def faults(_step) -> int:
        nonlocal count
        count += 1
        return BUSY if count % (seldom + 1) == 0 and pattern[count % len(pattern)] else 0

    dataplane = SimulatedDataplane(kernel, faults=faults)
    dataplane.namespaces.update(Universe().namespaces)
    with mock.patch.object(subscriber, "time", clock), Controller.open(dataplane=dataplane) as controller:
        for batch in batches:
            with suppress(ExceptionGroup):
                for result in controller.execute(batch):
                    is_fault = isinstance(result.error, DataplaneFault)
                    assert not is_fault or result.error.position, "a fault says what asked for it"
            check_log(controller.history())
        pattern[:] = [False]
        clock.now += subscriber.RETRY_MOST_SECONDS
        controller.execute([])
        scratch = Views()
        for record in controller.history():
            scratch.fold(record.position, record.event)
        with controller.reading() as views:
            assert lasting(kernel.objects) == lasting(lower_everything(views, controller.host))
            assert views.digest() == scratch.digest()
            assert not views.faults.owed
            farewell = Author(Seeded(0), views=lambda: views).farewell()
        assert drift(controller).agrees
        controller.execute(farewell)
        assert kernel.objects == {}
