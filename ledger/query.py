"""The SQL that finds events by tags and types.

Keeps: a search by tags walks the index of its first tag, never the events; a search by types alone walks the index of
one type at a time. The tags go in sorted by nobody: name the rarest first.
Knows nothing of: connections, transactions.
"""

from __future__ import annotations

from functools import cache

RAW = "e.position, e.type_id, e.data"
FULL = "e.position, e.type_id, e.data, e.tags"

TAGS_LIMIT = 32
"""So many tags may be asked for at once (SQLite joins at most 64 tables)."""


@cache
def by_tags(columns: str, tags: int, types: int) -> str:
    """Select events that have all of so many tags, and one of so many types where that is not 0.

    Parameters: after, until, limit, then the tags, then the numbers of the types.
    """
    assert 0 < tags <= TAGS_LIMIT, f"a search for {tags} tags: at least one, at most {TAGS_LIMIT}"
    joins = "".join(
        f" CROSS JOIN tags t{n} ON t{n}.tag = ?{4 + n} AND t{n}.position = t0.position" for n in range(1, tags)
    )
    numbers = ", ".join(f"?{4 + tags + n}" for n in range(types))
    wanted = f" AND e.type_id IN ({numbers})" if types else ""
    return (
        f"SELECT {columns} FROM tags t0{joins} CROSS JOIN events e ON e.position = t0.position{wanted}"  # noqa: S608 - no value is spliced in
        " WHERE t0.tag = ?4 AND t0.position > ?1 AND t0.position <= ?2 ORDER BY t0.position LIMIT ?3"
    )


@cache
def by_type(columns: str) -> str:
    """Select events of one type. Parameters: after, until, limit, the number of the type."""
    return (
        f"SELECT {columns} FROM events e INDEXED BY events_type"  # noqa: S608 - no value is spliced in
        " WHERE e.type_id = ?4 AND e.position > ?1 AND e.position <= ?2 ORDER BY e.position LIMIT ?3"
    )


POSITIONS = "SELECT position FROM tags WHERE tag = ?1 AND position > ?2 AND position <= ?3 ORDER BY position LIMIT ?4"
LAST_POSITIONS = POSITIONS.replace("ORDER BY position", "ORDER BY position DESC")
"""Where a tag is, from the index alone, the first or the last so many. Parameters: tag, after, until, limit."""

_SLASH = "instr(substr(found.tag, length(?1) + 1), '/')"

FIND_TAGS = f"""
WITH RECURSIVE found (tag) AS (
    SELECT (SELECT tag FROM tags WHERE tag >= ?1 AND tag < ?2 ORDER BY tag LIMIT 1)
    UNION ALL
    SELECT (
        SELECT tags.tag FROM tags
        WHERE tags.tag < ?2 AND tags.tag >= CASE {_SLASH}
            WHEN 0 THEN found.tag || char(1)
            ELSE substr(found.tag, 1, length(?1) + {_SLASH} - 1) || '0'
        END
        ORDER BY tags.tag LIMIT 1
    )
    FROM found WHERE found.tag IS NOT NULL
),
wanted (tag) AS (
    SELECT substr(found.tag, 1, length(?1) + {_SLASH}) || ?3 FROM found WHERE {_SLASH}
)
SELECT tag FROM wanted WHERE EXISTS (SELECT 1 FROM tags WHERE tags.tag = wanted.tag) ORDER BY tag
"""  # noqa: S608 - no value is spliced in
"""Find the tags PREFIX SCOPE `/` ENDING, whatever the SCOPE (which has no slash): one look at the index for each SCOPE.

Parameters: the prefix, what is behind every tag that begins with it, the ending. `0` comes next behind `/`,
so that a scope's number of tags does not matter.
"""


@cache
def all_events(columns: str) -> str:
    """Select all events. Parameters: after, until, limit."""
    return (
        f"SELECT {columns} FROM events e"  # noqa: S608 - no value is spliced in
        " WHERE e.position > ?1 AND e.position <= ?2 ORDER BY e.position LIMIT ?3"
    )
