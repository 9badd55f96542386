"""`netledger check`: every invariant of a log, checked from its events alone.

Must not know: what any invariant is.
"""

from __future__ import annotations

from .exits import DAMAGED, DONE
from .options import HERE, Log
from .printing import clean, document
from .session import reading_log


def check(*, log: Log = HERE) -> int:
    """Check every invariant of a log; for each, whether it holds, or the first position where it does not.

    The checkers read the events and share no code with what answers other commands. The hash chain is checked, too.
    Status 31 when anything does not hold.
    """
    from ...testing.checkers import CHECKERS, violations

    with reading_log(log) as ledger:
        found = {one.checker: one for one in violations(ledger.read())}
        problem = ledger.verify().problem
    rows: list[dict[str, str | int | None]] = [
        {
            "name": checker.name,
            "invariant": checker.invariant,
            "position": found[checker.name].position if checker.name in found else None,
            "problem": found[checker.name].words if checker.name in found else None,
        }
        for checker in CHECKERS
    ]
    chain: dict[str, str | int | None] = {
        "name": "chain",
        "invariant": "The hash chain verifies.",
        "position": None,
        "problem": None,
    }
    rows.append(chain if problem is None else {**chain, "problem": str(problem)})
    if log.json:
        document({"holds": not found and problem is None, "invariants": rows})
    else:
        for row in rows:
            print(_line(row))
    return (DAMAGED if found or problem is not None else DONE).status


def _line(row: dict[str, str | int | None]) -> str:
    if row["problem"] is None:
        return clean(f"holds     {row['name']}: {row['invariant']}")
    where = f" at position {row['position']}" if row["position"] else ""
    return clean(f"VIOLATED  {row['name']}{where}: {row['problem']}  ({row['invariant']})")
