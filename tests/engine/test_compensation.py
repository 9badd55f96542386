from __future__ import annotations

from unittest import mock

import pytest

from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane
from netledger.domain.commands import DeleteNetwork
from netledger.domain.errors import DataplaneFault, InUse, LedgerFull
from netledger.domain.events import DataplaneFaulted
from netledger.domain.objects import Bridge
from netledger.projections.desired import lower_everything
from netledger.testing.checkers import check_log
from tests.desk import create_endpoint, create_network, identifier


def test_what_another_writer_built_on_it_is_not_taken_away(start, state, kernel):
    """A network that failed and in which another writer has an endpoint by now stays, and the caller is told both."""
    other = start(state, "none")

    def faults(step):
        if not isinstance(step.object, Bridge) or step.verb is not Verb.MAKE:
            return 0
        if not other.endpoints():
            other.do(create_endpoint("n1", "e"))
        return 16

    controller = start(state, SimulatedDataplane(kernel, faults=faults))
    with pytest.raises(ExceptionGroup) as caught:
        controller.execute([create_network("n1")])
    assert [type(error) for error in caught.value.exceptions] == [DataplaneFault, InUse]
    assert [endpoint.name for endpoint in controller.endpoints()] == ["e"]
    controller.close()
    again = start(state, SimulatedDataplane(kernel))
    check_log(again.history())
    with again.reading() as views:
        assert kernel.objects == lower_everything(views, again.host)


@pytest.mark.parametrize("starts_anew", [True, False])
def test_a_fault_that_cannot_be_recorded_is_met_again(start, state, kernel, starts_anew):
    """Where the disk is full at that moment nothing counts as applied: it is met and recorded afterwards."""
    is_busy = [False]

    def faults(step):
        return 16 if is_busy[0] and isinstance(step.object, Bridge) and step.verb is Verb.REMOVE else 0

    first = start(state, SimulatedDataplane(kernel, faults=faults))
    first.do(create_network("n1"))
    is_busy[0] = True
    append = first.ledger.append

    def full(events, guards, after):
        if isinstance(events[0], DataplaneFaulted):
            raise LedgerFull("the disk is full")
        return append(events, guards, after)

    with mock.patch.object(first.ledger, "append", full), pytest.raises(LedgerFull):
        first.execute([DeleteNetwork(identifier("n1"))])
    if starts_anew:
        first.close()
        second = start(state, SimulatedDataplane(kernel, faults=faults))
    else:
        second = first
        second.execute([DeleteNetwork(identifier("n1"))])
    faulted = [record.event for record in second.history() if isinstance(record.event, DataplaneFaulted)]
    assert [event.verb for event in faulted] == ["remove"]
    second.close()
    third = start(state, SimulatedDataplane(kernel))
    assert kernel.objects == {}
    with third.reading() as views:
        assert not views.faults.owed
