"""The exploration finds engines that are broken: each of these is what it is there to prevent."""

from __future__ import annotations

from unittest import mock

import pytest

from netledger.engine import opening
from netledger.engine.deciding import Decider
from netledger.engine.machine import Machine
from netledger.ledger.ledger import Ledger
from netledger.testing.crashes import ALPHABET, CrashFound, Exploration

OPERATIONS = {operation.name: operation for operation in ALPHABET}


def cursor_first():
    """Count events as applied before they are."""

    def announce(machine, batch):
        if machine.cursor:
            machine.ledger.set_cursor(machine.cursor, machine.ledger.head + len(batch.events))

    return mock.patch.object(Machine, "_announce", announce)


def effect_first():
    """Change the kernel before the log."""
    return mock.patch.object(Machine, "_announce", lambda machine, batch: machine.subscriber.advance())


def no_recovery():
    """Leave undone what the last process left undone."""
    make_good = opening._make_good

    def only_register(machine, author, **how):
        return make_good(machine, author, **how) if machine.views.host(machine.host) is None else None

    return mock.patch.object(opening, "_make_good", only_register)


def one_by_one():
    """Append events one at a time."""
    append = Ledger.append

    def each(ledger, events, guards, after):
        return [append(ledger, [event], (), after) for event in events][-1]

    return mock.patch.object(Ledger, "append", each)


def no_memory():
    """Forget which requests were carried out."""
    return mock.patch.object(Decider, "_not_taken_back", return_value=[])


def taken_back_singly():
    """Take the commands of a batch back in one append each."""
    take_back = Machine._take_back

    def each(machine, failed):
        for one in failed:
            take_back(machine, [one])

    return mock.patch.object(Machine, "_take_back", each)


def not_taken_back():
    """Let stand what failed."""
    return mock.patch.object(Machine, "_take_back")


def faults_forgotten():
    """Do not write down what the kernel could not do."""
    return mock.patch.object(Machine, "_record_faults")


def cursor_runs_ahead():
    """Keep a cursor that is one event too far."""

    def keep(machine):
        if machine.cursor and machine.subscriber is not None:
            machine.ledger.set_cursor(machine.cursor, machine.subscriber.applied + 1)

    return mock.patch.object(Machine, "keep_cursor", keep)


MUTATIONS = [
    (cursor_first, "create network", 1, "the kernel differs from the log"),
    (cursor_runs_ahead, "leave", 2, "the kernel differs from the log"),
    (effect_first, "join", 1, "the kernel differs from the log"),
    (no_recovery, "delete sandbox", 1, "the kernel differs from the log"),
    (one_by_one, "publish", 1, "the operation is neither done nor undone"),
    (no_memory, "create network", 1, "asked for again it is refused"),
    (taken_back_singly, "fail", 1, "the operation is neither done nor undone"),
    (not_taken_back, "fail", 1, "something is still owed to the kernel"),
    (faults_forgotten, "fail", 1, "the kernel differs from the log"),
]


@pytest.mark.parametrize(
    ("mutation", "name", "length", "words"), MUTATIONS, ids=[mutation.__name__ for mutation, *_ in MUTATIONS]
)
def test_a_broken_engine_is_found(mutation, name, length, words):
    """Some death of some program is not made good, and the report says which and what is wrong then."""
    exploration = Exploration(is_thorough=True)
    with mutation(), pytest.raises(CrashFound) as found:
        exploration.explore(OPERATIONS[name], length=length)
    assert f"the program {name}" in str(found.value)
    assert words in str(found.value)
