"""Answers of `who` as text, JSON and CSV.

Keeps: no text from a log reaches a terminal, or a spreadsheet, as a command. Must not know: how an answer is found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from .printing import ID_SHOWN, clean, document, note
from .records import time_text

if TYPE_CHECKING:
    from ...replay.moments import Moment
    from ...replay.who import Answer, Deed, Interval, Presence, Window

_COLUMNS = ("WHAT", "HELD BY", "EVENT", "POSITION", "TIME", "ACTOR", "REQUEST", "")
_VERBS = {
    "AddressAllocated": "allocated",
    "AddressReleased": "released",
    "PortBound": "bound",
    "PortReleased": "released",
    "EndpointJoined": "joined",
    "EndpointLeft": "left",
    "EndpointAbandoned": "abandoned",
    "EndpointCreated": "created",
    "EndpointDeleted": "deleted",
    "NetworkCreated": "created",
    "NetworkDeleted": "deleted",
    "ConfigurationNetworkCreated": "created",
    "ConfigurationNetworkDeleted": "deleted",
    "SandboxCreated": "created",
    "SandboxDeleted": "deleted",
    "SandboxLost": "lost",
    "AliasAdded": "added",
    "AliasRemoved": "removed",
}
_SPREADSHEET_COMMANDS = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula."""

_DEED = ("position", "time", "actor", "request", "reason")
_INTERVAL = (
    *("kind", "subject", "place", "holder_kind", "holder", "name", "network", "network_name", "host"),
    *("purpose", "decided_by"),
)
_PRESENCE = ("sandbox", "container", "endpoint", "endpoint_name", "interface")
CSV_COLUMNS = (
    *_INTERVAL,
    *(f"{when}_{what}" for when in ("began", "ended") for what in _DEED),
    *_PRESENCE,
    *(f"{when}_{what}" for when in ("joined", "left") for what in _DEED),
    "left_cause",
)


def print_text(answer: Answer) -> None:
    """Print a table with a row for each event; who held nothing is told with the nearest who did."""
    _note_repetitions(answer.window)
    when = _when(answer)
    if answer.intervals:
        if when:
            print(clean(f"{answer.subject} {when}"))
        _print_rows(answer.intervals)
        return
    print(clean(f"nobody held {answer.subject} {when}".rstrip()))
    if answer.before is not None:
        print("the last before that:")
        _print_rows([answer.before])
    if answer.following is not None:
        print("the first after that:")
        _print_rows([answer.following])
    if answer.before is answer.following is None:
        print("nobody ever did")


def print_json(answer: Answer) -> None:
    """Print one document."""
    window = answer.window
    document(
        {
            "subject": answer.subject,
            "window": {"first": _moment(window.first), "last": _moment(window.last)},
            "head": answer.head,
            "intervals": [_interval(interval) for interval in answer.intervals],
            "before": _interval(answer.before) if answer.before is not None else None,
            "following": _interval(answer.following) if answer.following is not None else None,
        }
    )


def print_csv(answer: Answer) -> None:
    """Print headings, and a row for each presence in a sandbox, or one for an interval without any.

    Control characters are written out, and what a spreadsheet would take for a formula gets an apostrophe in front.
    """
    import csv

    _note_repetitions(answer.window)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for interval in answer.intervals:
        begun = [*(getattr(interval, name) for name in _INTERVAL), *_deed(interval.began), *_deed(interval.ended)]
        for presence in interval.presences or (None,):
            writer.writerow(map(_csv_cell, [*begun, *_presence_cells(presence)]))


def _print_rows(intervals: Sequence[Interval]) -> None:
    rows = [_COLUMNS, *(row for interval in intervals for row in _rows(interval))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _rows(interval: Interval) -> Iterator[tuple[str, ...]]:
    """Write what was held and by whom, and what happened to it in log order."""
    deeds: list[tuple[Deed, str]] = [(interval.began, _said_of_beginning(interval))]
    for presence in interval.presences:
        other = f"{presence.endpoint_name or presence.endpoint[:ID_SHOWN]} as " if interval.kind == "container" else ""
        inside = f"{presence.container or '?'} ({presence.sandbox[:ID_SHOWN]})"
        deeds.append((presence.joined, f"{other}{presence.interface} in {inside}"))
        if presence.left is not None:
            deeds.append((presence.left, f"{other}{presence.interface} of {inside}{_because(presence)}"))
    if interval.ended is not None:
        deeds.append((interval.ended, ""))
    first = (f"{interval.kind} {interval.subject}", _holder(interval))
    for deed, what in sorted(deeds, key=lambda one: one[0].position):
        why = f"{what}  # {deed.reason}" if deed.reason else what
        verb = _VERBS.get(deed.event, deed.event)
        cells = (*first, verb, f"@{deed.position}", time_text(deed.at), deed.actor, deed.request, why.strip())
        yield tuple(map(clean, cells))
        first = ("", "")
    if interval.ended is None:
        yield ("", "", "held still", *[""] * 5)


def _holder(interval: Interval) -> str:
    named = interval.name or "?"
    if interval.holder_kind == "endpoint" and interval.network_name:
        named = f"{interval.network_name}/{named}"
    return f"{interval.holder_kind} {named} ({interval.holder[:ID_SHOWN]})"


def _said_of_beginning(interval: Interval) -> str:
    if interval.kind == "port":
        return f"for {interval.purpose}" if interval.purpose else ""
    if interval.kind == "address":
        asked = "asked for" if interval.decided_by == "caller" else f"chosen by {interval.decided_by}"
        return f"{interval.purpose}, {asked}"
    return ""


def _because(presence: Presence) -> str:
    return f": {presence.cause}" if presence.cause else ""


def _when(answer: Answer) -> str:
    """Write what was asked about; nothing where it is the whole log."""
    first, last = answer.window.first, answer.window.last
    if first == last:
        return f"after {_place(first)}"
    if first.position == 0 and first.at is None and last.position == answer.head and last.at is None:
        return ""
    return f"from {_place(first)} to {_place(last)}"


def _place(moment: Moment) -> str:
    return f"@{moment.position}" + (f" ({time_text(moment.at)})" if moment.at is not None else "")


def _note_repetitions(window: Window) -> None:
    """Say where a time that was asked for was before: only the last time is answered for."""
    for moment in dict.fromkeys((window.first, window.last)):
        if moment.repeated and moment.at is not None:
            places = ", ".join(f"@{position}" for position in moment.repeated)
            note(
                f"the clock was set back: {time_text(moment.at)} was at {places} too; "
                f"this is about @{moment.position}, where it was last"
            )


def _moment(moment: Moment) -> dict[str, object]:
    return {
        "position": moment.position,
        "at": moment.at,
        "time": time_text(moment.at) if moment.at is not None else None,
        "repeated": list(moment.repeated),
    }


def _interval(interval: Interval) -> dict[str, object]:
    """Turn an interval into what JSON knows, each time in text too."""

    def timed(value: object) -> object:
        if isinstance(value, list):
            return [timed(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        inside = {key: timed(inner) for key, inner in value.items()}
        at = inside.get("at")
        return {"time": time_text(at), **inside} if isinstance(at, int) else inside

    found = timed(msgspec.to_builtins(interval))
    assert isinstance(found, dict), "a struct becomes an object"
    return found


def _deed(deed: Deed | None) -> list[object]:
    if deed is None:
        return [""] * len(_DEED)
    return [deed.position, time_text(deed.at), deed.actor, deed.request, deed.reason]


def _presence_cells(presence: Presence | None) -> list[object]:
    if presence is None:
        return [""] * (len(_PRESENCE) + 2 * len(_DEED) + 1)
    named = [getattr(presence, name) for name in _PRESENCE]
    return [*named, *_deed(presence.joined), *_deed(presence.left), presence.cause]


def _csv_cell(value: object) -> str:
    text = clean(str(value))
    return f"'{text}" if text.startswith(_SPREADSHEET_COMMANDS) else text
