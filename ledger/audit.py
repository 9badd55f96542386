"""Read a ledger's file without this code: only `sqlite3`, `hashlib` and `msgpack`, and no event class.

It is the log's format written down so that it runs, and what our checkers compare the engine with. The file is
`SELECT`ed from; nothing else of netledger is imported, so the module works copied to another machine:
`python audit.py ledger.db` prints one JSON object a line.
Keeps: an event's fields have the names under which they were written.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack

_EVENTS = """
SELECT e.position, t.name, t.version, t.fields, e.tags, e.data, e.chain
FROM events e LEFT JOIN types t ON t.id = e.type_id ORDER BY e.position
"""


def read_generic(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each event: position, type, version, fields by name, tags. Fields behind the known names are numbered."""
    with closing(_connect(path)) as connection:
        for position, name, version, fields, tags, data, _ in connection.execute(_EVENTS):
            names = json.loads(fields)
            values = msgpack.unpackb(data)
            names += [str(number) for number in range(len(names), len(values))]
            yield {
                "position": position,
                "type": name,
                "version": version,
                "fields": dict(zip(names, values, strict=False)),
                "tags": msgpack.unpackb(tags),
            }


def first_broken(path: Path) -> int | None:
    """Compute the hash chain anew; return the first position that does not fit, None where all do."""
    with closing(_connect(path)) as connection:
        (ledger_id,) = connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
        chain = hashlib.sha256(b"netledger 1 " + ledger_id.encode()).digest()
        expected = 1
        for position, name, version, fields, tags, data, stored in connection.execute(_EVENTS):
            kind = msgpack.packb([name, version, json.loads(fields)])
            chain = hashlib.sha256(chain + msgpack.packb([position, kind, tags, data])).digest()
            if position != expected or chain != stored:
                return expected
            expected += 1
    return None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _main() -> None:
    for event in read_generic(Path(sys.argv[1])):
        line = json.dumps(event, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    _main()
