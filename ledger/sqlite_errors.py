"""SQLite's errors in the ledger's words: what happened to the log, and what to do next.

Knows nothing of: what was being done; the caller says it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..domain.errors import LedgerBusy, LedgerDamaged, LedgerError, LedgerFull

BUSY_SECONDS = 5.0
"""How long an append waits for another process's transaction."""

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_CLOSED_TO_US = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises: it cannot even quote a damaged text in its message."""


def explain(error: sqlite3.Error | UnicodeDecodeError, doing: str, path: Path) -> LedgerError:
    """Make the ledger's error out of SQLite's."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    kind = code & 0xFF
    asked = f"{doing} {path}"
    if kind in _CORRUPT or code in _UNREADABLE or _is_no_text(error):
        return LedgerDamaged(
            f"{asked}: the file is damaged ({error}); run `netledger verify`, which says what is whole, "
            "then restore a backup or export what is whole"
        )
    if kind in _BUSY:
        return LedgerBusy(
            f"{asked}: another process holds it for longer than {BUSY_SECONDS:g} s; "
            f"find it with `fuser {path}`, or try again"
        )
    if kind in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return LedgerFull(
            f"{asked}: the disk does not take it ({error}); nothing was appended; "
            f"make room in {path.parent} and try again"
        )
    if kind in _CLOSED_TO_US:
        return LedgerError(
            f"{asked}: {error}; see whether {path} and its directory belong to you and whether the disk is full"
        )
    return LedgerError(f"{asked}: {error}")


def _is_no_text(error: Exception) -> bool:
    return isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error)


@contextmanager
def explaining(doing: str, path: Path) -> Iterator[None]:
    """Raise the ledger's errors instead of SQLite's."""
    try:
        yield
    except SQLITE_ERRORS as error:
        raise explain(error, doing, path) from error
