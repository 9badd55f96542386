from __future__ import annotations

import copy
import pickle

import pytest

from netledger.domain import errors
from netledger.domain.errors import Conflict, DataplaneFault, LedgerDamaged, NetledgerError, Refusal


def every(kind):
    """List a class and all below it."""
    return [kind, *(below for child in kind.__subclasses__() for below in every(child))]


def test_the_drawn_tree_is_the_real_one():
    """The module's docstring names every error under the one that it is a kind of."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        if not line.startswith("    ") or not line.strip():
            continue
        depth = (line.index("+--") - 4) // 4 + 1 if "+--" in line else 0
        name = line.split("+--")[-1].split()[0]
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else "Exception"
    real = {
        kind.__name__: kind.__bases__[0].__name__
        for kind in every(NetledgerError)
        if kind.__module__ == errors.__name__
    }
    assert drawn == real


def test_every_refusal_has_a_kind_of_its_own():
    """The kinds by which interfaces choose a status are distinct."""
    kinds = [kind.kind for kind in Refusal.__subclasses__()]
    assert len(kinds) == len(set(kinds)) == 8


@pytest.mark.parametrize(
    "error",
    [
        Conflict("create x", "it is there", "choose another", position=7),
        DataplaneFault("bridge/b", "No such device", number=19, retryable=True, position=7),
        LedgerDamaged("torn", 9),
    ],
)
def test_errors_survive_pickling_and_copying(error):
    """An error that another process raised is the same here, in its message and all its attributes."""
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_a_message_says_what_why_where_and_what_next():
    """Asked, because, position and remedy stand in this order; what is missing leaves no trace."""
    assert str(Conflict("a", "b", "c", position=7)) == "a: b (position 7); c"
    assert str(Conflict("a", "b")) == "a: b"
    assert str(DataplaneFault("k", "m", position=7)) == "k: m (asked for at position 7)"
    assert str(DataplaneFault("k", "m")) == "k: m"
