"""The table of docs/coverage.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netledger.domain import commands, events
from netledger.domain.rules import RULES

ROOT = Path(__file__).parent.parent
OPERATIONS = 46
INTERNAL = {
    *("RegisterHost", "RecordBoot", "LoseSandbox", "AddAlias", "RemoveAlias"),
    *("ReserveAddress", "EndReservation", "Expire", "ChooseFirewall", "RetireFirewall"),
}
"""Commands that stand for no operation of libnetwork's core objects: aliases and the firewall are options there, leases
unknown."""

ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "docs/coverage.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| (NetworkController|Network|Endpoint|Sandbox|endpointCnt|Ipam)\.", line)
]


def test_the_table_is_whole():
    """Every operation has a row, once."""
    names = [row[0] for row in ROWS]
    assert len(names) == len(set(names))
    assert len(names) >= OPERATIONS - 2


def test_every_command_is_in_the_table():
    """Each command that users have is some operation's."""
    named = {row[1] for row in ROWS} - {"-"}
    assert named == {kind.__name__ for kind in RULES} - INTERNAL


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_tells_the_truth(row):
    """A command, its events and its test are there; without them there is a reason."""
    _, command, names, proof = row
    if command == "-":
        assert len(proof) > 1
        return
    assert hasattr(commands, command)
    assert all(name.strip() in events.EVENT_TYPES for name in names.split(","))
    assert (ROOT / proof).is_file()
