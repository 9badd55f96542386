"""Moments: what people call a point of the log, a time or `@POSITION`, and the position that is meant.

A time means the state after the last event, in log order, whose time is not after it. Where the clock was set back a
time occurred more than once; then the last occurrence is meant, and `repeated` says where the earlier ones are.
Keeps: the answer is found in a logarithm of the log's length. It relies on the log's times going back, where no
ClockStepped event says so, by less than `LAG_NANOSECONDS`: a writer that had to wait appends behind quicker ones.
Knows nothing of: clocks; whoever asks says what the time is now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from msgspec import Struct

from ..domain.errors import Invalid
from ..domain.events import ClockStepped
from ..domain.values import NOWHERE, Position
from ..ledger.ledger import Ledger

NANOSECONDS = 1_000_000_000

LAG_NANOSECONDS = 10 * NANOSECONDS
"""So far behind an earlier event's time a later one may be: a clock step that is not recorded (1 s), and the time
that a writer waits for the log (5 s)."""

SCAN_EVENTS = 256
"""So many events are looked at at once where the times are not in order."""

REMEDY = "write it like 2026-05-03T14:02Z, 2026-05-03T16:02:30+02:00, 2026-05-03, '2 hours ago', or @POSITION"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Compiled when they are used: a question that has none of them does not wait for it.
_POSITION = r"@([0-9]{1,18})"
_DATE = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_TIME = (
    _DATE + r"[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_AGO = r"([0-9]{1,9}) ?(s|seconds?|min|minutes?|h|hours?|d|days?|weeks?) ago"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Moment(Struct, frozen=True):
    """A point of the log: the state after `position`; 0 is before the first event.

    `at` is the time that was asked for, in UTC nanoseconds; None where a position was. `repeated` are the positions
    where an earlier run of the clock was at that time.
    """

    position: Position
    at: int | None = None
    repeated: tuple[Position, ...] = ()


def find_moment(ledger: Ledger, text: str, now: int, head: Position | None = None) -> Moment:
    """Read a moment: `@POSITION`, or what `parse_time` reads.

    `now` is the time in UTC nanoseconds; `head` where the log is to end. Raises Invalid.
    """
    last = ledger.head if head is None else head
    position = re.fullmatch(_POSITION, text)
    if position is None:
        return moment_at(ledger, parse_time(text, now), last)
    number = int(position.group(1))
    if number > last:
        raise Invalid(f"position {number}", f"the log ends at {last}", "give one up to that")
    return Moment(Position(number))


def parse_time(text: str, now: int) -> int:
    """Read a time as UTC nanoseconds: RFC 3339, seconds left out or not; a date, its beginning in UTC; `2 hours ago`.

    Raises Invalid for what is none, and for one without an offset, which is another time in each time zone.
    """
    if text == "now":
        return now
    ago = re.fullmatch(_AGO, text)
    if ago is not None:
        return now - int(ago.group(1)) * _SECONDS[ago.group(2)[0]] * NANOSECONDS
    asked = f"time {text!r}"
    date = re.fullmatch(_DATE, text)
    if date is not None:
        return _nanoseconds(asked, (*map(int, date.groups()), 0, 0, 0), UTC)
    found = re.fullmatch(_TIME, text)
    if found is None:
        raise Invalid(asked, "it is none", REMEDY)
    *fields, second, fraction, offset = found.groups()
    if offset is None:
        raise Invalid(
            asked, "it does not say in which time zone", f"write {text}Z for UTC, or an offset like {text}+02:00"
        )
    moment = (*map(int, fields), int(second or 0))
    return _nanoseconds(asked, moment, _zone(asked, offset)) + int((fraction or "0").ljust(9, "0"))


def moment_at(ledger: Ledger, at: int, head: Position) -> Moment:
    """Find the moment of a time, in UTC nanoseconds, in the log up to `head`."""
    steps = _clock_steps(ledger, head)
    edges = [NOWHERE, *(Position(place - 1) for place, _ in steps), head]
    begins = [None, *(step.at for _, step in steps)]
    position = NOWHERE
    for begin, (start, end) in reversed(list(zip(begins, pairwise(edges), strict=True))):
        if begin is not None and begin > at + LAG_NANOSECONDS:
            continue  # nothing behind this step is so early
        found = _last_before(ledger, at, start, end)
        if found > start:
            position = found
            break
    repeated = []
    for number, (place, step) in enumerate(steps):
        if step.at <= at < step.at + step.back and place <= position:
            start, end = edges[number], edges[number + 1]
            earlier = _last_before(ledger, at, start, end)
            if earlier > start:
                repeated.append(earlier)
    return Moment(position, at, tuple(repeated))


def _clock_steps(ledger: Ledger, head: Position) -> list[tuple[Position, ClockStepped]]:
    records = ledger.read(types=(ClockStepped,), until=head)
    return [(record.position, record.event) for record in records if isinstance(record.event, ClockStepped)]


def _last_before(ledger: Ledger, at: int, start: Position, end: Position) -> Position:
    """Find the last event in (start, end] whose time is not after `at`; `start` if there is none.

    Behind an event that is later than `at` by more than the lag there is no such event.
    """
    low, high = start, Position(end + 1)
    while high - low > 1:
        middle = Position((low + high) // 2)
        if _time(ledger, middle) > at + LAG_NANOSECONDS:
            high = middle
        else:
            low = middle
    for position, found in _backwards(ledger, start, Position(high - 1)):
        if found <= at:
            return position
    return start


def _time(ledger: Ledger, position: Position) -> int:
    return next(ledger.times(after=Position(position - 1), until=position))[1]


def _backwards(ledger: Ledger, start: Position, end: Position) -> Iterator[tuple[Position, int]]:
    """Yield positions and times from `end` down to behind `start`."""
    size = 4
    while end > start:
        begin = Position(max(start, end - size))
        yield from reversed(list(ledger.times(after=begin, until=end)))
        end = begin
        size = min(4 * size, SCAN_EVENTS)


def _nanoseconds(asked: str, fields: tuple[int, ...], zone: timezone) -> int:
    try:
        passed = datetime(*fields, tzinfo=zone) - _EPOCH  # type: ignore[misc,arg-type]  # six numbers
    except (ValueError, OverflowError) as error:
        raise Invalid(asked, str(error), REMEDY) from None
    return (passed.days * 86400 + passed.seconds) * NANOSECONDS


def _zone(asked: str, offset: str) -> timezone:
    if offset in "Zz":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 23 or minutes > 59:
        raise Invalid(asked, f"{offset} is no offset from UTC", REMEDY)
    away = timedelta(hours=hours, minutes=minutes)
    return timezone(-away if offset[0] == "-" else away)
