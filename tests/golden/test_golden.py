"""Logs that were written once are read for ever, and give the same views: see `make.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.events import EVENT_TYPES
from netledger.ledger.ledger import Ledger
from netledger.replay import plan, rebuild
from netledger.testing.checkers import check_log
from tests.golden.make import digests, objects

FOLDER = Path(__file__).parent
LOGS = sorted(FOLDER.glob("log*.db"))


@pytest.fixture(params=LOGS, ids=lambda path: path.stem)
def golden(request, tmp_path):
    """Give a copy of a golden log, and what is to become of it."""
    copy = tmp_path / "state" / "ledger.db"
    copy.parent.mkdir()
    shutil.copy(request.param, copy)
    return copy, json.loads(request.param.with_suffix(".json").read_text())


def test_the_events_are_all_there_and_unaltered(golden):
    """Every event decodes to the type that it was, and the hash chain ends where it ended."""
    path, kept = golden
    with Ledger.open(path, read_only=True) as ledger:
        verified = ledger.verify()
        assert verified.problem is None
        assert verified.head_hash == kept["head_hash"]
        assert [type(record.event).__name__ for record in ledger.read()] == kept["events"]


def test_the_views_are_the_same_at_every_position(golden):
    """Folding under today's code gives the digests of that time, and what the host calls for is the same."""
    path, kept = golden
    with Ledger.open(path, read_only=True) as ledger:
        log = list(ledger.read())
    for position, (found, wanted) in enumerate(zip(digests(log), kept["digests"], strict=True), 1):
        assert found == wanted, f"position {position}, {kept['events'][position - 1]}"
    assert objects(log) == kept["objects"]
    check_log(log)


def test_a_host_is_rebuilt_from_it_and_goes_on(golden):
    """Today's engine opens the log, rebuilds a blank host from it, and appends to it."""
    path, kept = golden
    kernel = SimulatedKernel()
    kernel.add_card("eth0")
    with Controller.open(path.parent, dataplane=SimulatedDataplane(kernel), recover=False) as controller:
        rebuild(controller)
        assert plan(controller).agrees
        assert sorted(str(made) for made in kernel.objects.values()) == kept["objects"]
        controller.create_network("after")
        assert controller.ledger.verify().problem is None


def test_every_event_type_is_in_a_golden_log():
    """A new type of event needs a new golden log: `python tests/golden/make.py N`."""
    seen = {name for path in LOGS for name in json.loads(path.with_suffix(".json").read_text())["events"]}
    assert seen == set(EVENT_TYPES)
