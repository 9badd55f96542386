"""What no log can tell comes from the surroundings, and others can stand in for them."""

from __future__ import annotations

import time

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedClock, SimulatedDataplane, SimulatedKernel
from netledger.engine.surroundings import Surroundings, here, standing_in


class Fixed(Surroundings):
    """A machine on which everything is always the same."""

    def __init__(self):
        self.clock = SimulatedClock()
        self.retry_clock = self.clock.seconds

    def now(self):
        """Tell the simulated time."""
        return self.clock.now()

    def token(self, size_bytes):
        """Make the same id each time."""
        return "7" * 2 * size_bytes

    def host_name(self):
        """Name the machine."""
        return "everywhere"


def test_the_machine_itself_is_the_default():
    """Its time passes, its ids are new, it has a name."""
    before = time.time_ns()
    assert before <= here().now() <= time.time_ns()
    assert here().token(8) != here().token(8)
    assert len(here().token(8)) == 16
    assert here().host_name()
    assert here().retry_clock is None


def test_others_stand_in_until_the_block_ends():
    """Also when it ends with an exception."""
    mine = here()
    try:
        with standing_in(Fixed()) as _:
            assert here() is not mine
            raise KeyError
    except KeyError:
        pass
    assert here() is mine


def test_a_log_has_nothing_that_the_surroundings_did_not_give():
    """Times, request ids, entity ids and the host's name."""
    others = Fixed()
    with standing_in(others), Controller.open(dataplane=SimulatedDataplane(SimulatedKernel()), actor="a") as controller:
        network = controller.create_network("n")
        events = [record.event for record in controller.history()]
    assert network.id == "7" * 64
    assert {event.at for event in events} == {others.clock.now()}
    assert {event.request.partition("/")[0] for event in events} == {"7" * 16}
    assert events[0].name == "everywhere"
