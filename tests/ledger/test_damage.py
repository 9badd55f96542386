"""Files that are torn, altered, newer, or somebody else's: a ledger's error for each, and what is whole is kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from netledger.domain.errors import LedgerDamaged, LedgerError, LedgerForeign, LedgerNewer
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

Alias = Callable[..., AliasAdded]

EVENTS = 400
PAGE = 4096


@pytest.fixture
def whole(path: Path, alias: Alias) -> Path:
    """Make a ledger of some pages and close it."""
    with Ledger.open(path, synchronous="NORMAL") as ledger:
        ledger.append([alias(number, endpoint=f"e{number}") for number in range(1, EVENTS + 1)], (), 0)
    assert path.stat().st_size > 20 * PAGE
    assert not path.with_name("ledger.db-wal").exists()
    return path


def opened(path: Path) -> Ledger | LedgerDamaged:
    """Open a ledger, or give what says that it cannot be."""
    try:
        return Ledger.open(path)
    except LedgerDamaged as damage:
        return damage


def check_what_is_left(path: Path, alias: Alias) -> int:
    """Open a damaged file: a report, or LedgerDamaged; all that is readable is whole. Return how many events."""
    before = path.read_bytes()
    ledger = opened(path)
    if isinstance(ledger, LedgerDamaged):
        assert "restore a backup" in str(ledger)
        assert path.read_bytes() == before
        return 0
    with ledger:
        if ledger.damage is None:  # nothing that is used was hit, or only something that the tail does not show
            found = ledger.verify()
            if found.problem is None:
                assert [recorded.event.at for recorded in ledger.read()] == list(range(1, EVENTS + 1))
            return found.events
        assert "restore a backup" in ledger.damage
        found = ledger.verify()
        assert ledger.head == found.events
        assert [recorded.event.at for recorded in ledger.read()] == list(range(1, found.events + 1))
        for number in (1, found.events, found.events + 1):
            expected = [number] if 1 <= number <= found.events else []
            got = [recorded.position for recorded in ledger.read(tags=[f"endpoint:e{number}"], types=[AliasAdded])]
            assert got == expected
            assert ledger.positions(f"endpoint:e{number}", until=EVENTS, limit=2, last=True) == expected
            found_tags = ledger.find_tags("name:endpoint/", f"alias{number}")
            assert found_tags == [f"name:endpoint/n1/alias{place}" for place in expected]
        assert len(list(ledger.read(limit=3))) == min(3, found.events)
        with pytest.raises(LedgerDamaged):
            ledger.append([alias(1)], (), ledger.head)
        ledger.set_cursor("x", 1)
        with pytest.raises(LedgerDamaged):
            ledger.flush_cursors()
        ledger._recorder._cursors.clear()
    assert path.read_bytes() == before, "a damaged file is left as it was found"
    return found.events


def test_a_file_cut_off_anywhere_is_damaged(whole: Path, tmp_path: Path, alias: Alias) -> None:
    """Cut at every page border and beside it, and in the header: reported, nothing thrown away, never a traceback."""
    content = whole.read_bytes()
    pages = len(content) // PAGE
    sizes = [0, 1, 15, 16, 50, 99, 100, 101, 511, 512, 1024]
    sizes += [page * PAGE + offset for page in range(1, pages) for offset in (-1, 0, 1, PAGE // 2)]
    left = {}
    for size in sizes:
        torn = tmp_path / f"torn{size}.db"
        torn.write_bytes(content[:size])
        ledger = opened(torn)
        assert isinstance(ledger, LedgerDamaged) or ledger.damage is not None
        left[size] = check_what_is_left(torn, alias)
    assert left[0] == left[100] == 0
    assert max(left.values()) > EVENTS // 2, "where most of the file is there, most events are"


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_an_overwritten_page_is_damage(whole: Path, tmp_path: Path, alias: Alias, byte: int) -> None:
    """Whatever page is overwritten, no error but the ledger's comes out, and what it gives verifies."""
    content = whole.read_bytes()
    noticed = 0
    for page in range(len(content) // PAGE):
        torn = tmp_path / f"torn{page}.db"
        torn.write_bytes(content[: page * PAGE] + bytes([byte]) * PAGE + content[(page + 1) * PAGE :])
        try:
            with Ledger.open(torn) as ledger:
                noticed += ledger.damage is not None or ledger.verify().problem is not None
            check_what_is_left(torn, alias)
        except (LedgerDamaged, LedgerForeign):
            noticed += 1
    assert noticed == len(content) // PAGE


def test_flipped_bytes_of_the_file_never_bring_sqlite_s_errors(whole: Path, tmp_path: Path, alias: Alias) -> None:
    """A byte flipped anywhere in the file: a ledger's error, a report, or events that verify."""
    content = whole.read_bytes()
    torn = tmp_path / "torn.db"
    for offset in [*range(100), *range(100, len(content), 211)]:
        flipped = bytearray(content)
        flipped[offset] ^= 0xFF
        torn.write_bytes(flipped)
        try:
            check_what_is_left(torn, alias)
        except LedgerError:
            continue
        finally:
            for leftover in tmp_path.glob("torn.db-*"):
                leftover.unlink()


def test_appends_and_reads_that_hit_damage_say_so(whole: Path, alias: Alias) -> None:
    """Damage behind the cheap check at opening comes out as the ledger's error when it is hit."""
    with closing(sqlite3.connect(whole)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tags'").fetchone()
    with whole.open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(b"\xff" * PAGE)
    with Ledger.open(whole) as ledger:
        with pytest.raises(LedgerDamaged, match="netledger verify"):
            ledger.append([alias(1)], (), EVENTS)
        with pytest.raises(LedgerDamaged, match="netledger verify"):
            list(ledger.read(tags=["endpoint:e1"]))
        assert ledger.head == EVENTS
        found = ledger.verify()
        assert (found.events, found.bad_position) == (EVENTS, None)
        assert "tag index cannot be read" in found.problem


def test_a_position_that_is_taken_is_damage_and_no_conflict(path: Path, alias: Alias) -> None:
    """A UNIQUE failure is not another writer's guard: it says that the file is not what it was."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
        known = ledger._recorder._known
        ledger._recorder._known = known._replace(tip=known.tip._replace(position=0))
        with pytest.raises(LedgerDamaged):
            ledger.append([alias(2)], (), 0)
        assert ledger.append([alias(2)], (), 1) == 2
        assert ledger.verify().problem is None


def test_an_event_that_does_not_decode_is_named(path: Path, alias: Alias) -> None:
    """Data that is no event of its type, though it verifies, is damage at its position."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
        event = ledger._codec.encode(alias(2))
        event.data = b"\x91\x01"
        ledger._recorder.append([event])
        with pytest.raises(LedgerDamaged, match="position 2") as caught:
            list(ledger.read())
        assert caught.value.position == 2


def test_a_newer_schema_is_refused(whole: Path) -> None:
    """A file with a newer user_version is for a newer netledger."""
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(LedgerNewer, match="version 2, this netledger knows 1"):
        Ledger.open(whole)


def test_a_schema_with_something_missing_is_damage(whole: Path) -> None:
    """A table or index that is gone is named; the events are still there."""
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("DROP INDEX events_type")
    with Ledger.open(whole) as ledger:
        assert "index events_type on events is missing" in ledger.damage
        assert f"all {EVENTS} events are whole" in ledger.damage
        assert len(list(ledger.read(types=[AliasAdded]))) == EVENTS


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 5000, b"SQLite format 2\x00" + b"\x00" * 5000])
def test_a_file_that_is_no_database_is_foreign(path: Path, content: bytes) -> None:
    """Other files are not taken for ledgers, nor touched."""
    path.write_bytes(content)
    with pytest.raises(LedgerForeign, match="not a ledger"):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_another_program_s_database_is_foreign(path: Path) -> None:
    """An SQLite file without our mark is somebody else's, and stays as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (position)")
    content = path.read_bytes()
    with pytest.raises(LedgerForeign, match="another program's"):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_a_directory_or_missing_parent_is_an_error_of_ours(tmp_path: Path) -> None:
    """What cannot be opened as a file says so."""
    for place in (tmp_path, tmp_path / "none" / "ledger.db"):
        with pytest.raises(LedgerError, match=r"open|create"):
            Ledger.open(place)


def test_a_write_ahead_log_without_its_ledger_is_damage(path: Path, alias: Alias, tmp_path: Path) -> None:
    """A new ledger is not made beside the events of a lost one, which SQLite would mix into it."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
        shutil.copy(path.with_name("ledger.db-wal"), tmp_path / "kept")
    path.unlink()
    shutil.copy(tmp_path / "kept", path.with_name("ledger.db-wal"))
    with pytest.raises(LedgerDamaged, match="the ledger itself is missing"):
        Ledger.open(path)
