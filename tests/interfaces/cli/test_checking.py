"""`netledger check`: every invariant of a log on disk, and a log that breaks one."""

from __future__ import annotations

import pytest
from msgspec import structs

from netledger.domain.events import AddressAllocated
from netledger.ledger.ledger import Ledger
from netledger.testing.checkers import CHECKERS


@pytest.fixture
def web(made):
    """Have a network with two containers."""
    made("network create n --subnet 10.1.0.0/24")
    for name in ("web", "db"):
        made("endpoint", "create", "n", name)


@pytest.mark.usefixtures("web")
def test_a_right_log_holds(made):
    """A line for each invariant, and the chain."""
    lines = made("check").out.splitlines()
    assert len(lines) == len(CHECKERS) + 1
    assert all(line.startswith("holds ") for line in lines)
    assert made("check --json").json["holds"] is True


@pytest.mark.usefixtures("web")
def test_an_address_that_was_given_twice_is_named(cli, state):
    """A log that gives an address to somebody else, too, as a wrong engine would, is not let pass."""
    with Ledger.open(state / "ledger.db") as ledger:
        last = next(reversed(list(ledger.read(types=[AddressAllocated])))).event
        ledger.append([structs.replace(last, owner=("endpoint", "f" * 64))], [], ledger.head)
    answer = cli("check")
    assert answer.status == 31
    [line] = [line for line in answer.out.splitlines() if line.startswith("VIOLATED  addresses")]
    assert "at position" in line
    assert "is held by" in line
