"""One append as rows: positions, type numbers, tag index and hash chain of a batch of events.

Keeps: positions follow the log's last one without a gap; nothing of the log's state changes before it is committed.
Knows nothing of: guards, SQL, how rows are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from .chain import Row, Tip, link, pack
from .registry import Registration, Registry

if TYPE_CHECKING:
    from eventsourcing.dcb.api import DCBEvent


class Batch(Struct, frozen=True):
    """What an append adds: event types written for the first time, rows, index entries, and where the log ends then."""

    registrations: list[Registration]
    rows: list[Row]
    index: list[tuple[str, int]]
    tip: Tip


def compose(events: Sequence[DCBEvent], tip: Tip, registry: Registry) -> Batch:
    """Make the rows that put these events behind `tip`."""
    position, chain = tip
    fresh = _unregistered(events, registry)
    numbers = registry.written | {kind.name: number for number, kind in fresh}
    frames = registry.frames | {number: kind.frame() for number, kind in fresh}
    rows: list[Row] = []
    index: list[tuple[str, int]] = []
    for event in events:
        position += 1
        number = numbers[event.type]
        tags = pack(event.tags)
        chain = link(chain, position, frames[number], tags, event.data)
        rows.append((position, number, tags, event.data, chain))
        index.extend([(tag, position) for tag in dict.fromkeys(event.tags)])
    index.sort()
    return Batch(fresh, rows, index, Tip(position, chain))


def _unregistered(events: Sequence[DCBEvent], registry: Registry) -> list[Registration]:
    names = dict.fromkeys(event.type for event in events if event.type not in registry.written)
    first = max(registry.kinds, default=0) + 1
    return [Registration(number, registry.current(name)) for number, name in enumerate(names, first)]
