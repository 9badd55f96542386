"""What an SQLite ledger says of itself: its types and end, whether it is whole, how much it holds; and a copy of it.

Keeps: whatever is wrong with the file comes out as `LedgerDamaged` or in a `Verification`, never as SQLite's error, and
nothing here writes to it.
Knows nothing of: appending.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ..domain.errors import LedgerDamaged, LedgerError
from .chain import Row, Verification, first_wrong_in_index, genesis, link, walk
from .recorder import Statistics, time_of
from .registry import EventType, Registration, Registry
from .sqlite_errors import explaining
from .sqlite_file import Readers, check_length, check_schema, make_private, publish, write_ahead_log

_ROWS = "SELECT position, type_id, tags, data, chain FROM events ORDER BY position"
_TYPES = (  # whatever damage has put there
    "SELECT id, coalesce(CAST(name AS BLOB), x''), coalesce(CAST(version AS INTEGER), 0),"
    " coalesce(CAST(fields AS BLOB), x'') FROM types"
)
_TAGS = "SELECT position, tags FROM events"
_INDEX = "SELECT CAST(tag AS TEXT), coalesce(CAST(position AS INTEGER), 0) FROM tags"
_LAST_ROWS = _ROWS.replace(" chain ", " coalesce(CAST(chain AS BLOB), x'') ") + " DESC LIMIT 2"


def registrations(connection: sqlite3.Connection) -> list[Registration]:
    """Read the event types. Field names that are no JSON array stay as they are: the chain shows the alteration."""
    rows = connection.execute(_TYPES)
    return [
        Registration(number, EventType(name.decode(errors="replace"), version, _fields(fields)))
        for number, name, version, fields in rows
    ]


def check_end(readers: Readers, path: Path, registry: Registry) -> str:
    """Check the schema and that the last event fits the one before it; fill the registry; return the ledger's id."""
    with readers.lend("open") as reader:
        check_schema(reader, path)
        check_length(reader, path)
        ledger_id = _read_id(reader, path)
        registry.adopt(registrations(reader))
        rows: list[Row] = reader.execute(_LAST_ROWS).fetchall()
    if rows:
        position, number, tags, data, stored = rows[0]
        before, previous = (rows[1][0], rows[1][4]) if len(rows) > 1 else (0, genesis(ledger_id))
        frame = registry.frames.get(number)
        if frame is None or position != before + 1 or link(previous, position, frame, tags, data) != stored:
            raise LedgerDamaged(
                f"open {path}: its last event, position {position}, does not follow from the one before"
            )
    return ledger_id


def salvage(readers: Readers, path: Path, damage: LedgerDamaged) -> tuple[str, int, str]:
    """Find out what is whole of a damaged log: its id, the last whole position, and a report for people."""
    try:
        with readers.lend("open") as reader:
            ledger_id = _read_id(reader, path)
        found = verify(readers, path, ledger_id)
    except LedgerError as worse:
        readers.close()
        raise LedgerDamaged(
            f"open {path}: it is damaged, and nothing of it can be read ({_reason(worse, path)}); restore a backup"
        ) from damage
    whole = f"events 1 to {found.events} are whole" if found.events else "no event is whole"
    if found.problem is None:
        broken = f"all {found.events} events are whole"
    elif found.bad_position is None:
        broken = f"{whole}; {found.problem}"
    else:
        broken = f"{whole}; position {found.bad_position} is the first that does not fit: {found.problem}"
    report = (
        f"the log is damaged ({_reason(damage, path)}); {broken}; "
        "what is whole can be read, and no event is taken; restore a backup"
    )
    return ledger_id, found.events, report


def verify(readers: Readers, path: Path, ledger_id: str) -> Verification:
    """Walk the whole chain, compare the tag index with it, and let SQLite check the file."""
    with readers.lend("verify") as reader:
        reader.execute("BEGIN")
        frames = {number: kind.frame() for number, kind in registrations(reader)}
        found = walk(genesis(ledger_id), _each(reader, _ROWS, path), frames)
        if found.problem is not None:
            return found
        try:
            wrong = first_wrong_in_index(found.events, _each(reader, _TAGS, path), _each(reader, _INDEX, path))
            (structure,) = next(_each(reader, "PRAGMA integrity_check(1)", path))
        except LedgerDamaged as damage:
            return Verification(
                found.events, found.head_hash, None, f"the tag index cannot be read: {_reason(damage, path)}"
            )
    problem = None
    if wrong is not None:
        problem = f"the tag index has other tags for position {wrong} than the event"
    elif structure != "ok":
        problem = f"the file's structure is damaged: {structure}"
    return Verification(found.events, found.head_hash, wrong, problem)


def stat(readers: Readers, path: Path, ledger_id: str) -> Statistics:
    """Count what is there."""
    with readers.lend("count") as reader:
        reader.execute("BEGIN")
        names = {number: kind.name for number, kind in registrations(reader)}
        events: dict[str, int] = {}
        for number, count in reader.execute("SELECT type_id, count(*) FROM events GROUP BY type_id"):
            events[names[number]] = events.get(names[number], 0) + count
        first = reader.execute(_ROWS + " LIMIT 1").fetchone()
        last = reader.execute(_ROWS + " DESC LIMIT 1").fetchone()
        (version,) = reader.execute("PRAGMA user_version").fetchone()
    log = write_ahead_log(path)
    return Statistics(
        id=ledger_id,
        schema_version=version,
        head=last[0] if last else 0,
        head_hash=(last[4] if last else genesis(ledger_id)).hex(),
        events=events,
        bytes=path.stat().st_size + (log.stat().st_size if log.exists() else 0),
        first_at=time_of(first[3]) if first else None,
        last_at=time_of(last[3]) if last else None,
    )


def backup(readers: Readers, path: Path, destination: Path) -> None:
    """Copy the log as it is now, while it is used, to a file that is not there yet and appears when it is complete."""
    unfinished = destination.with_name(f"{destination.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        make_private(unfinished, destination)
        with (
            readers.lend("back up") as reader,
            explaining("write the backup", destination),
            closing(sqlite3.connect(unfinished)) as copy,
        ):
            reader.backup(copy)
            with copy:
                copy.execute("DELETE FROM cursors")  # of a kernel that knows nothing of the copy
        publish(unfinished, destination)
    except FileExistsError:
        raise LedgerError(f"back up {path}: {destination} is there already; name another file") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _reason(error: LedgerError, path: Path) -> str:
    """Say what is wrong without what was asked, for a message that says it itself."""
    return str(error.__cause__ or error).removeprefix(f"open {path}: ").removesuffix("; restore a backup")


def _fields(text: bytes) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError:
        return (text.decode(errors="replace"),)


def _read_id(reader: sqlite3.Connection, path: Path) -> str:
    row = reader.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
    if row is None:
        raise LedgerDamaged(f"open {path}: it has lost its id")
    return str(row[0])


def _each(reader: sqlite3.Connection, statement: str, path: Path) -> Iterator[Any]:
    with explaining("verify", path):
        yield from reader.execute(statement)
