"""What the hash chain shows: every alteration of what is stored, at its position."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.domain.errors import LedgerDamaged
from netledger.domain.events import AliasAdded, AliasRemoved, HostBooted
from netledger.ledger.audit import first_broken, read_generic
from netledger.ledger.chain import pack
from netledger.ledger.ledger import Ledger

EVENTS = 4


@pytest.fixture
def closed(path: Path, alias: Callable[..., AliasAdded]) -> Path:
    """Make a small ledger and close it."""
    with Ledger.open(path) as ledger:
        gone = AliasRemoved(3, "tester", "r3/0#00", "test", "h1", "e1", "n1", "alias1")
        ledger.append([alias(1), HostBooted(2, "a", "b", "", "h1", "boot", "before"), gone, alias(4)], (), 0)
    return path


def alter(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the ledger's back."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def bad_position(path: Path) -> int | None:
    """Verify a ledger, whether it opens as damaged or not; check that it gives up no more than what is whole."""
    with Ledger.open(path) as ledger:
        found = ledger.verify()
        assert (found.bad_position is None) == (found.problem is None)
        if ledger.damage is not None:
            assert f"position {found.bad_position} is the first" in ledger.damage
            assert ledger.head == found.events
            assert [recorded.position for recorded in ledger.read()] == list(range(1, found.events + 1))
            with pytest.raises(LedgerDamaged, match="restore a backup"):
                ledger.append([HostBooted(2, "a", "b", "", "h1", "boot", "before")], (), found.events)
        return found.bad_position


@pytest.mark.parametrize("column", ["data", "tags", "chain"])
@pytest.mark.parametrize("position", range(1, EVENTS + 1))
def test_every_flipped_byte_of_an_event_is_found(closed: Path, column: str, position: int) -> None:
    """Any altered byte of an event's data, tags or hash is found at its position, by us and by the plain reader."""
    with closing(sqlite3.connect(closed)) as connection:
        query = f"SELECT {column} FROM events WHERE position = ?"
        (value,) = connection.execute(query, (position,)).fetchone()
    for index in range(len(value)):
        flipped = bytearray(value)
        flipped[index] ^= 1 << index % 8
        alter(closed, f"UPDATE events SET {column} = ? WHERE position = ?", bytes(flipped), position)
        assert bad_position(closed) == position
        assert first_broken(closed) == position
    alter(closed, f"UPDATE events SET {column} = ? WHERE position = ?", value, position)
    assert bad_position(closed) is None
    assert first_broken(closed) is None


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE events SET type_id = 2 WHERE position = 3", 3),
        ("UPDATE events SET type_id = 99 WHERE position = 2", 2),
        ("UPDATE types SET name = 'NameTaken' WHERE name = 'AliasRemoved'", 3),
        ("UPDATE types SET version = 2 WHERE name = 'AliasRemoved'", 3),
        ("UPDATE types SET fields = replace(fields, 'alias', 'aliaz') WHERE name = 'AliasAdded'", 1),
        ("UPDATE types SET fields = 'no json' WHERE name = 'AliasRemoved'", 3),
        ("UPDATE types SET fields = CAST(x'ff' AS TEXT) WHERE name = 'AliasRemoved'", 3),
        ("DELETE FROM types WHERE name = 'HostBooted'", 2),
        ("DELETE FROM events WHERE position = 1", 1),
        ("DELETE FROM events WHERE position = 3", 3),
        ("UPDATE events SET position = 9 WHERE position = 4", 4),
        ("INSERT INTO events SELECT 0, type_id, tags, data, chain FROM events WHERE position = 1", 1),
        ("INSERT INTO events SELECT 5, type_id, tags, data, chain FROM events WHERE position = 4", 5),
        ("UPDATE meta SET value = '00000000000000000000000000000000'", 1),
        ("DELETE FROM tags WHERE tag = 'endpoint:e1' AND position = 3", 3),
        ("INSERT INTO tags VALUES ('endpoint:e1', 2)", 2),
        ("INSERT INTO tags VALUES ('endpoint:e1', 77)", 77),
        ("UPDATE tags SET tag = 'endpoint:e3' WHERE tag = 'endpoint:e1' AND position = 4", 4),
        ("UPDATE tags SET position = 2 WHERE tag = 'endpoint:e1' AND position = 4", 2),
    ],
)
def test_every_other_alteration_is_found(closed: Path, statement: str, position: int) -> None:
    """Types, order, gaps, the ledger's id and the tag index are covered as well."""
    assert bad_position(closed) is None
    alter(closed, statement)
    assert bad_position(closed) == position


def test_swapped_events_are_found(closed: Path) -> None:
    """Two events that changed places do not fit, though each is unaltered."""
    alter(closed, "UPDATE events SET position = -1 WHERE position = 2")
    alter(closed, "UPDATE events SET position = 2 WHERE position = 3")
    alter(closed, "UPDATE events SET position = 3 WHERE position = -1")
    assert bad_position(closed) == 2


def test_the_chain_of_another_ledger_does_not_fit(closed: Path, tmp_path: Path) -> None:
    """Events moved into a ledger with another id do not follow from its beginning."""
    other = tmp_path / "other.db"
    Ledger.open(other).close()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("ATTACH ? AS closed", (str(closed),))
        for table in ("types", "events", "tags"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM closed.{table}")
        connection.commit()
    with Ledger.open(other) as ledger:
        assert ledger.verify().bad_position == 1


sizes = st.sampled_from([0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536])
"""Around each of the sizes from which MessagePack writes a value in another form."""


@given(
    st.integers(0, 2**63 - 1) | st.sampled_from([2**bits + more for bits in (7, 8, 16, 32) for more in (-1, 0, 1)]),
    st.lists(sizes.map(bytes) | st.binary(max_size=40), min_size=3, max_size=3),
    st.lists(st.text(max_size=40) | sizes.map(lambda size: "t" * size), max_size=20),
)
def test_what_is_hashed_has_one_form(position: int, parts: list[bytes], tags: list[str]) -> None:
    """It is packed as the `msgpack` package does, by which others check the chain: byte for byte."""
    assert pack([position, *parts]) == msgpack.packb([position, *parts])
    assert pack(tags) == msgpack.packb(tags)


def test_the_generic_reader_agrees_with_the_typed_one(closed: Path) -> None:
    """Without any class, `audit` reads the same positions, names, versions, fields and tags."""
    with Ledger.open(closed) as ledger:
        typed = [
            {
                "position": recorded.position,
                "type": type(recorded.event).__name__,
                "version": recorded.event.VERSION,
                "fields": {name: getattr(recorded.event, name) for name in recorded.event.__struct_fields__},
                "tags": [*recorded.event.tags(), f"request:{recorded.event.request.partition('#')[0]}"],
            }
            for recorded in ledger.read()
        ]
    assert list(read_generic(closed)) == typed


def test_the_generic_reader_works_on_its_own(closed: Path, tmp_path: Path, python: Callable) -> None:
    """`audit.py` copied away prints the log as JSON lines, with nothing of netledger imported."""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(Path(__file__).parents[2] / "ledger" / "audit.py", alone / "audit.py")
    script = """
        import runpy, sys
        sys.path = [entry for entry in sys.path if entry]
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
        assert not [name for name in sys.modules if name.startswith(("netledger", "eventsourcing", "msgspec"))]
    """
    output, errors = python(script, alone / "audit.py", closed).communicate(timeout=30)
    assert errors == ""
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["position"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["fields"]["alias"] == "alias1"
