from __future__ import annotations

from netledger.domain.commands import RecordBoot, RegisterHost
from netledger.domain.errors import Conflict
from netledger.domain.events import HostBooted, HostRegistered
from tests.desk import HOST


def test_a_host_is_registered_once(desk):
    """A second time is refused with the position of the first."""
    events = desk.do(RegisterHost(HOST, "machine", "boot1"))
    assert [type(event) for event in events] == [HostRegistered]
    assert desk.views.boot(HOST) == "boot1"
    refusal = desk.refusal(Conflict, RegisterHost(HOST, "machine", "boot2"))
    assert str(refusal) == "register host machine: it is registered (position 1)"


def test_a_boot_is_recorded_when_it_is_another(desk):
    """The event says which boot came before; the same boot again gives none."""
    desk.do(RegisterHost(HOST, "machine", "boot1"))
    assert desk.do(RecordBoot("boot1")) == []
    events = desk.do(RecordBoot("boot2"))
    assert [(type(event), event.boot, event.before) for event in events] == [(HostBooted, "boot2", "boot1")]
    assert desk.do(RecordBoot("boot2")) == []
