"""Torn writes: what SQLite wrote is found again, and every torn file lacks exactly what it is said to lack."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from netledger.testing.crashes import writes

ROWS = 400


@pytest.fixture
def log(tmp_path):
    """Give a database whose write-ahead log a test lets grow, and which nobody else has open."""

    class Log:
        def __init__(self) -> None:
            self.connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA wal_autocheckpoint = 0")
            self.connection.execute("CREATE TABLE t (number INTEGER, words TEXT)")

        def commit(self, number: int) -> None:
            self.connection.execute("BEGIN")
            self.connection.executemany("INSERT INTO t VALUES (?, ?)", [(number, "x" * 100)] * ROWS)
            self.connection.execute("COMMIT")

        def files(self) -> tuple[bytes, bytes]:
            return (tmp_path / "a.db").read_bytes(), (tmp_path / "a.db-wal").read_bytes()

        def count(self, name: str, main: bytes, wal: bytes) -> int:
            path = tmp_path / name
            path.write_bytes(main)
            path.with_name(f"{name}-wal").write_bytes(wal)
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                return connection.execute("SELECT count(*) FROM t").fetchone()[0]

    made = Log()
    yield made
    made.connection.close()


def end_of(log) -> int:
    """Find where the last whole commit of a log ends."""
    return writes.end_of(log.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])


@pytest.mark.parametrize("is_anew", [False, True], ids=["behind", "from the beginning"])
def test_a_torn_commit_is_none(log, is_anew):
    """Wherever a commit is cut, and whichever of its frames is missing, the one before is what there is."""
    log.commit(1)
    main, before = log.files()
    valid = len(before)
    if is_anew:
        assert end_of(log) == valid, "all of it is in the main file now"
        main, _ = log.files()
    log.commit(2)
    same, after = log.files()
    assert same == main
    start, frames = writes.new_frames(before, after, valid)
    assert start == (0 if is_anew else valid)
    assert len(frames) > 5
    assert [frame.commits for frame in frames] == [False] * (len(frames) - 1) + [True]
    torn = list(writes.commits(before, after, valid))
    assert len(torn) == 5 * len(frames) - 1 + 2 * is_anew
    assert len({each.where for each in torn}) == len(torn)
    assert after not in [each.content for each in torn]
    for number, each in enumerate(torn):
        assert log.count(f"torn{number}", main, each.content) == ROWS, each.where
    assert log.count("whole", main, after) == 2 * ROWS


def test_a_torn_checkpoint_loses_nothing(log):
    """Whichever pages have come into the main file, whole or not, the write-ahead log has them all."""
    log.commit(1)
    before, wal = log.files()
    end_of(log)
    after, _ = log.files()
    torn = list(writes.checkpoints(before, after))
    assert len(torn) > 20
    assert torn[-2].content != torn[-1].content == after
    for number, each in enumerate(torn):
        assert log.count(f"torn{number}", each.content, wal) == ROWS, each.where


def test_what_is_left_of_a_torn_commit_is_seen(log):
    """Frames of the log's own behind its valid end are remnants; those of an earlier beginning are none."""
    log.commit(1)
    _, before = log.files()
    assert not writes.has_remnants(b"", 0)
    assert not writes.has_remnants(before, len(before))
    assert writes.has_remnants(before[:-1], len(before) - writes.PAGE_BYTES - writes.FRAME_HEADER_BYTES)
    end_of(log)
    log.connection.execute("INSERT INTO t VALUES (0, '')")
    _, after = log.files()
    _, frames = writes.new_frames(before, after, len(before))
    assert len(after) > frames[-1].end, "the earlier beginning was longer"
    assert not writes.has_remnants(after, frames[-1].end)
