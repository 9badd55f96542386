"""The SQLite file of a ledger: make it, recognise it, connect to it.

Keeps: a ledger file appears under its name only when it is complete, so an empty or half-made one is damage, and two
processes that make it at once end with one. A file is known as ours by SQLite's application id before it is opened.
Knows nothing of: events.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ..domain.errors import LedgerDamaged, LedgerError, LedgerForeign, LedgerFull, LedgerNewer
from .sqlite_errors import BUSY_SECONDS, explaining

APPLICATION_ID = 0x6E6C6467
"""`nldg` in the file's header."""

SCHEMA_VERSION = 1
"""The file's user_version. A reader refuses a newer one."""

SCHEMA = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE types (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    fields TEXT NOT NULL, -- a JSON array of names
    UNIQUE (name, version, fields)
) STRICT;
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    type_id INTEGER NOT NULL,
    tags BLOB NOT NULL, -- a MessagePack array of strings
    data BLOB NOT NULL, -- a MessagePack array of the fields' values
    chain BLOB NOT NULL -- SHA-256
) STRICT;
CREATE INDEX events_type ON events (type_id, position);
CREATE TABLE tags (
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
STATEMENTS = tuple(statement.strip() for statement in SCHEMA.split(";") if statement.strip())

MAGIC = b"SQLite format 3\x00"
HEADER_BYTES = 100
BUSY_POLL_SECONDS = 0.0005
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 16_384
CHECKPOINT_PAGES = 8_000
"""So long (32 MiB) the write-ahead log may become before its pages are put into the file."""

CACHED_STATEMENTS = 512


def create(path: Path, ledger_id: str) -> None:
    """Make an empty ledger under this name, unless there is one already.

    It is made under another name and linked when it is complete and on the disk. The write-ahead log comes last: where
    the disk has no room for its pages twice, closing leaves them there and says nothing.
    """
    orphan = write_ahead_log(path)
    if orphan.exists() and orphan.stat().st_size:
        raise LedgerDamaged(
            f"create {path}: its write-ahead log {orphan.name} is there and holds events, but the ledger itself is "
            "missing; bring it back, or move the write-ahead log away"
        )
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        make_private(unfinished, path)
        with explaining("create", path), closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("BEGIN")
            for statement in STATEMENTS:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('id', ?)", (ledger_id,))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        publish(unfinished, path)
    except FileExistsError:
        pass
    finally:
        for leftover in path.parent.glob(f"{unfinished.name}*"):
            leftover.unlink(missing_ok=True)


def make_private(unfinished: Path, path: Path) -> None:
    """Make an empty file for its owner alone; SQLite makes those beside it alike. `path` is what it is to become."""
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _not_made(path, error, "see whether its directory is there and belongs to you") from error


def publish(complete: Path, path: Path) -> None:
    """Give a complete file its name, durably; FileExistsError where the name is taken."""
    try:
        with complete.open("rb") as file:
            _refuse_incomplete(file.read(HEADER_BYTES), complete.stat().st_size, path)
            os.fsync(file.fileno())
        os.link(complete, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        raise
    except OSError as error:
        raise _not_made(path, error, "use a file system that has hard links") from error


def _refuse_incomplete(header: bytes, size: int, path: Path) -> None:
    """Refuse a file that says it has more pages than it has: the rest was to come and did not."""
    page_size, page_count = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    if len(header) < HEADER_BYTES or size < page_size * page_count:
        raise LedgerFull(f"create {path}: the disk did not take all of it; make room in {path.parent} and try again")


def _not_made(path: Path, error: OSError, remedy: str) -> LedgerError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LedgerFull(f"create {path}: {error.strerror}; make room in {path.parent} and try again")
    return LedgerError(f"create {path}: {error.strerror}; {remedy}")


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is not a ledger at all, told by its header.

    Only for a file that SQLite refused: closing it gives up this process's locks on it (POSIX), which somebody who has
    it open would miss.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise LedgerError(f"open {path}: {error.strerror}") from error
    if header[:16] != MAGIC[: len(header)]:
        raise LedgerForeign(f"open {path}: it is not a ledger, nor any other SQLite file; name another file")
    if len(header) == HEADER_BYTES:
        check_application(int.from_bytes(header[68:72], "big"), path)


def begin(connection: sqlite3.Connection) -> None:
    """Begin a writing transaction; wait for another process's to end, at most BUSY_SECONDS.

    SQLite's own waiting sleeps for up to 100 ms between two looks, so that of two busy writers one hardly gets in.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(BUSY_POLL_SECONDS)
        else:
            return


def refuse_stub(path: Path) -> None:
    """Refuse a file that ends within its header: SQLite takes it for an empty database."""
    size = path.stat().st_size if path.exists() else HEADER_BYTES
    if size < HEADER_BYTES:
        refuse_foreign(path)
        raise LedgerDamaged(f"open {path}: it ends after {size} bytes, nothing is left; restore a backup, or remove it")


def check_application(application: int, path: Path) -> None:
    """Refuse another program's SQLite file."""
    if application != APPLICATION_ID:
        raise LedgerForeign(
            f"open {path}: it is another program's SQLite file (application id {application:#x}, "
            f"a ledger's is {APPLICATION_ID:#x}); name another file"
        )


def write_ahead_log(path: Path) -> Path:
    """Name the file that holds the newest commits."""
    return path.with_name(path.name + "-wal")


def connect(
    path: Path, *, synchronous: str = "FULL", writable: bool = True, salvage: bool = False
) -> sqlite3.Connection:
    """Connect to a ledger file. `salvage` reads what SQLite would refuse as a whole because a part of it is torn."""
    how = "mode=rw" if writable else "mode=ro"
    if (salvage or not (writable or _takes_shared_memory(path))) and not write_ahead_log(path).exists():
        how += "&immutable=1"
    with explaining("open", path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{how}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            for setting in (
                f"synchronous = {synchronous}",
                f"cache_size = -{WRITER_CACHE_KIB if writable else READER_CACHE_KIB}",
                f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
                "temp_store = MEMORY",
                f"query_only = {int(not writable)}",
                # A writer waits in `begin`.
                *(("busy_timeout = 0",) if writable else ()),
                # Makes SQLite open a file that is shorter than its header says.
                *(("writable_schema = ON",) if salvage else ()),
            ):
                connection.execute(f"PRAGMA {setting}")
        except BaseException:
            connection.close()
            raise
    return connection


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse another program's file, a newer schema, and one with anything missing or altered."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    check_application(application, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise LedgerNewer(
            f"open {path}: its schema has version {version}, this netledger knows {SCHEMA_VERSION}; "
            "use the netledger that wrote it, or a newer one"
        )
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    missing = [statement.split(" (")[0].removeprefix("CREATE ") for statement in STATEMENTS if statement not in found]
    if version != SCHEMA_VERSION or missing:
        what = ", ".join(missing).lower() or f"schema version {SCHEMA_VERSION}"
        raise LedgerDamaged(f"open {path}: {what} is missing or altered; restore a backup")


def check_length(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is shorter than it says, unless its write-ahead log holds the rest.

    SQLite itself does not mind a last page that is cut off.
    """
    log = write_ahead_log(path)
    if log.exists() and log.stat().st_size:
        return
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (page_count,) = connection.execute("PRAGMA page_count").fetchone()
    if path.stat().st_size < page_size * page_count:
        raise LedgerDamaged(f"open {path}: it is cut off")


def _takes_shared_memory(path: Path) -> bool:
    """Whether we can make the shared memory beside the file that reading along with writers needs.

    Where we cannot, and no write-ahead log says that somebody writes now, it is read as it lies there.
    """
    return not path.exists() or all(os.access(place, os.W_OK, effective_ids=True) for place in (path, path.parent))


class Readers:
    """Connections for reading: each is lent to one thread at a time and comes back. Closing closes all."""

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self._path = path
        self._salvage = salvage
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def lend(self, doing: str = "read") -> Iterator[sqlite3.Connection]:
        """Give a connection; raise the ledger's errors for SQLite's."""
        if self._closed:
            raise LedgerError(f"{doing} {self._path}: it is closed; open it again")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect(self._path, writable=False, salvage=self._salvage)
        try:
            with explaining(doing, self._path):
                yield connection
        finally:
            self._take_back(connection)

    def close(self) -> None:
        """Close the idle ones now and the lent ones when they come back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)
