"""`netledger log`: show, tail, verify, stat, backup, restore.

Keeps: nothing here changes a log that is there, or takes a lock. Must not know: what any event is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ...domain.errors import Invalid, LedgerDamaged
from .exits import DONE
from .options import HERE, Log
from .printing import document, fields, line, note
from .session import ledger_path, reading_log

if TYPE_CHECKING:
    from ...domain.events import Event, Recorded

POSITION_DIGITS = 6

app = App(name="log", help="The log: every change that was ever made, and the proof that it is unaltered.")


@app.command
def show(
    *,
    after: Annotated[int, Parameter(help="Begin behind this position.")] = 0,
    tag: Annotated[
        tuple[str, ...], Parameter(help="Only events with this tag, like network:ID or ip:10.0.0.7; all, if repeated.")
    ] = (),
    limit: Annotated[int | None, Parameter(help="At most so many events.")] = None,
    type: Annotated[tuple[str, ...], Parameter(help="Only events of this type; any, if repeated.")] = (),  # noqa: A002  # the option's name
    log: Log = HERE,
) -> int:
    """Print the events, one a line: position, time, actor, what happened, and # why."""
    from ...domain.values import Position

    types = [_event_type(name) for name in type]
    if limit is not None and limit < 0:
        raise Invalid(f"--limit {limit}", "less than nothing", "give a number from 0")
    with reading_log(log) as ledger:
        _print(ledger.read(after=Position(max(after, 0)), tags=tag, types=types, limit=limit), log)
    return DONE.status


@app.command
def tail(
    *,
    number: Annotated[int, Parameter(name=("--number", "-n"), help="How many events. Else 10.")] = 10,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), help="Go on with new ones until Ctrl-C.")] = False,
    log: Log = HERE,
) -> int:
    """Print the last events."""
    from ...domain.values import Position

    with reading_log(log) as ledger:
        after = Position(max(ledger.head - max(number, 0), 0))
        if follow:
            with closing(ledger.follow(after)) as records:  # type: ignore[type-var]  # it is a generator
                _print(records, log)
        else:
            _print(ledger.read(after=after), log)
    return DONE.status


@app.command
def verify(*, log: Log = HERE) -> int:
    """Walk the whole hash chain; fails naming the first position that does not fit."""
    with reading_log(log) as ledger:
        found = ledger.verify()
        if log.json:
            document(
                {
                    "id": ledger.id,
                    "whole_events": found.events,
                    "head_hash": found.head_hash,
                    "bad_position": found.bad_position,
                    "problem": found.problem,
                }
            )
        elif found.problem is None:
            print(f"{found.events} events are whole; head hash {found.head_hash}")
        elif found.events:
            print(f"{found.events} events are whole; the hash of the last of them is {found.head_hash}")
        else:
            print("no event is whole")
        if found.problem is not None:
            where = f"position {found.bad_position} is the first that does not fit: " if found.bad_position else ""
            raise LedgerDamaged(
                f"verify {ledger_path(log)}: {where}{found.problem}; restore a backup",
                found.bad_position or 0,
            )
    return DONE.status


@app.command
def stat(*, log: Log = HERE) -> int:
    """Count what is in the log."""
    import msgspec

    from .records import time_text

    with reading_log(log) as ledger:
        found = ledger.stat()
        if log.json:
            document(msgspec.to_builtins(found))
        else:
            fields(
                {
                    "file": str(ledger_path(log)),
                    "id": found.id,
                    "schema version": found.schema_version,
                    "head": found.head,
                    "head hash": found.head_hash,
                    "first event": time_text(found.first_at) if found.first_at is not None else None,
                    "last event": time_text(found.last_at) if found.last_at is not None else None,
                    "bytes": found.bytes,
                    "events": found.events,
                }
            )
    return DONE.status


@app.command
def backup(path: Path, /, *, log: Log = HERE) -> int:
    """Copy the log, while it is used, to a file PATH that is not there yet; `log restore` opens it."""
    with reading_log(log) as ledger:
        ledger.backup(path)
        head = ledger.head
        if log.json:
            document({"path": str(path.absolute()), "head": head})
        else:
            print(path)
    return DONE.status


@app.command
def restore(file: Path, /, *, log: Log = HERE) -> int:
    """Make a backup FILE the log of the state directory, which has none yet; its whole chain is verified first.

    No kernel is touched: `netledger plan` shows what a rebuild from it would do, and `netledger rebuild` does it.
    """
    from ...ledger.restoring import restore as copy

    found = copy(file, log.directory)
    if log.json:
        document({"path": str(ledger_path(log)), "head": found.events, "head_hash": found.head_hash})
    else:
        print(f"{ledger_path(log)}: {found.events} events are whole; head hash {found.head_hash}")
        note("the kernel is as it was; see `netledger plan`, then `netledger rebuild`")
    return DONE.status


def _print(records: Iterable[Recorded[Event]], log: Log) -> None:
    from .records import as_json, one_line

    for record in records:
        if log.json:
            line(as_json(record))
        else:
            print(one_line(record, POSITION_DIGITS), flush=True)


def _event_type(name: str) -> type[Event]:
    from ...domain.events import EVENT_TYPES

    found = EVENT_TYPES.get(name)
    if found is None:
        raise Invalid(f"event type {name!r}", "unknown", f"known: {', '.join(sorted(EVENT_TYPES))}")
    return found
