"""Programs for recorders: conditional appends and reads, drawn by Hypothesis and run on any DCB recorder.

Keeps: the same step on two recorders that hold the same log has the same outcome. Knows nothing of: any recorder.
"""

from __future__ import annotations

from typing import TypeAlias

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem, DCBRecorder
from eventsourcing.persistence import IntegrityError
from hypothesis import strategies as st

Append: TypeAlias = tuple[list[DCBEvent], tuple[DCBQuery, int | None] | None]
"""Events, and under which query since how many events ago; None: since the beginning."""
Read: TypeAlias = tuple[DCBQuery, int | None, int | None]
"""A query, after which position, and how many at most."""
Program: TypeAlias = list[Append | Read]

_names = st.sampled_from(["Made", "Gone", "Seen"])
_tags = st.lists(st.sampled_from(["a", "b", "c:\n", ""]), max_size=3)
_back = st.none() | st.integers(0, 6)

events = st.builds(DCBEvent, _names, st.binary(max_size=3), _tags)
items = st.builds(DCBQueryItem, st.lists(_names, max_size=2), _tags.map(lambda found: list(dict.fromkeys(found))))
queries = st.builds(DCBQuery, st.lists(items, max_size=3))
program_steps: st.SearchStrategy[Program] = st.lists(
    st.tuples(st.lists(events, min_size=1, max_size=4), st.none() | st.tuples(queries, _back))
    | st.tuples(queries, _back, st.none() | st.integers(0, 4)),
    max_size=12,
)
histories = st.tuples(
    st.lists(events, max_size=12), items, st.integers(0, 4), st.integers(0, 12), st.none() | st.integers(0, 5)
)
"""Events, what to read of them, after and until which position, and how many at most."""


def run_step(recorder: DCBRecorder, head: int, step: Append | Read) -> object:
    """Run a step; the last position of an append, None where its condition failed, or all that a read tells."""
    if len(step) == 2:
        new, conditional = step
        condition = None
        if conditional is not None:
            query, ago = conditional
            condition = DCBAppendCondition(query, None if ago is None else max(0, head - ago))
        try:
            return recorder.append(new, condition)
        except IntegrityError:
            return None
    query, after, limit = step
    response = recorder.read(query, after=after, limit=limit)
    found = [(got.position, got.event.type, got.event.data, got.event.tags) for got in response]
    return found, response.head
