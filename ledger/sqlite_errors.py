"""SQLite's errors in the ledger's words: what happened to the log, and what to do next.

Knows nothing of: what was being done; the caller says it.
"""

from __future__ import annotations

import errno
import os
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
        whole = "" if doing in {"open", "verify"} else "run `netledger verify`, which says what is whole, then "
        return LedgerDamaged(f"{asked}: the file is damaged ({error}); {whole}restore a backup")
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
        lacking = lacking_permission(path)
        if lacking:
            return LedgerError(f"{asked}: you may not {lacking}; become its owner, or have the permission given to you")
        return LedgerError(
            f"{asked}: {error}; see whether {path} and its directory belong to you and whether the disk is full"
        )
    return LedgerError(f"{asked}: {error}")


def lacking_permission(path: Path) -> str:
    """Say what we would need to be allowed to use a ledger's file; empty where it is nothing that we lack."""
    if not os.access(path.parent, os.X_OK, effective_ids=True):
        return f"enter {path.parent}"
    if not path.exists():
        return ""
    for mode, place, verb in ((os.R_OK, path, "read"), (os.W_OK, path, "write"), (os.W_OK, path.parent, "write")):
        if not os.access(place, mode, effective_ids=True):
            return f"{verb} {place}"
    return ""


def cause_of(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> Exception:
    """Say what an error comes from: a lacking permission, by which callers tell it from others, or itself."""
    closed = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _CLOSED_TO_US
    return PermissionError(errno.EACCES, str(error), str(path)) if closed and lacking_permission(path) else error


def _is_no_text(error: Exception) -> bool:
    return isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error)


@contextmanager
def explaining(doing: str, path: Path) -> Iterator[None]:
    """Raise the ledger's errors instead of SQLite's."""
    try:
        yield
    except SQLITE_ERRORS as error:
        raise explain(error, doing, path) from cause_of(error, path)
