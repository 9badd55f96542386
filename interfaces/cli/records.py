"""Events as people and programs read them: packed addresses as text, times in UTC, ids short for people.

Keeps: JSON leaves nothing of an event out. Must not know: what any event is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from ...domain.events import EndpointAddress, Event, NetworkPool, Recorded, tags_of
from ...domain.values import IPV4_BYTES, IPV6_BYTES, MAC_BYTES, PROTOCOL_NAMES, Subnet, format_address, format_mac
from .printing import ID_SHOWN, clean

ORIGIN = ("at", "actor", "request", "reason", "host")
"""The fields that every event starts with."""

NANOSECONDS = 1_000_000_000

_WHOLE_ID = re.compile(r"[0-9a-f]{64}")


def time_text(at: int) -> str:
    """Write a time in UTC nanoseconds as ISO 8601, to the millisecond."""
    try:
        seconds, rest = divmod(at, NANOSECONDS)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    except (OverflowError, OSError, ValueError):
        return f"{at} ns"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(record: Recorded[Event]) -> dict[str, object]:
    """Turn an event and its position into what JSON knows, with everything that is in it."""
    event = record.event
    return {
        "position": record.position,
        "type": type(event).__name__,
        "version": event.VERSION,
        "time": time_text(event.at),
        **{name: getattr(event, name) for name in ORIGIN},
        "fields": {name: _builtin(value) for name, value in _own_fields(event)},
        "tags": list(tags_of(event)),
    }


def one_line(record: Recorded[Event], position_digits: int = 6) -> str:
    """Write an event for people: position, time, actor, type, what it says, and the reason."""
    event = record.event
    said = " ".join(filter(None, (_pair(event, name, value) for name, value in _own_fields(event))))
    reason = f"  # {event.reason}" if event.reason else ""
    head = f"{record.position:>{position_digits}}  {time_text(event.at)}  {event.actor:<8}  {type(event).__name__:<17}"
    return clean(f"{head}  {said}{reason}".rstrip())


def _own_fields(event: Event) -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(event):
        if field.name not in ORIGIN:
            yield field.name, getattr(event, field.name)


def _builtin(value: object) -> object:
    if isinstance(value, bytes):
        return _packed(value)
    if isinstance(value, Subnet):
        return str(value)
    if isinstance(value, msgspec.Struct):
        return {field.name: _builtin(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
    if isinstance(value, dict):
        return {str(key): _builtin(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_builtin(inner) for inner in value]
    return value


def _pair(event: Event, name: str, value: object) -> str:
    """Write `name=value`; nothing for an empty value, the name alone for a true one."""
    if value is True:
        return name
    if value in (False, None, "", b"", (), {}):
        return ""
    if name == "protocol" and isinstance(value, int):
        return f"{name}={PROTOCOL_NAMES.get(value, value)}"
    if name == "scope":
        return f"{name}={'local' if value == event.host else value}"
    return f"{name}={_short(value)}"


def _short(value: object) -> str:  # noqa: PLR0911  # a line for each kind of value
    match value:
        case bytes():
            return _packed(value)
        case str():
            return value[:ID_SHOWN] if _WHOLE_ID.fullmatch(value) else _quoted(value)
        case NetworkPool():
            return f"{value.subnet}" + (f" via {format_address(value.gateway)}" if value.gateway else "")
        case EndpointAddress():
            return f"{format_address(value.address)}/{value.prefix}"
        case Subnet():
            return str(value)
        case msgspec.Struct():
            named = ((field.name, getattr(value, field.name)) for field in msgspec.structs.fields(value))
            return "{" + ", ".join(f"{name}={_short(inner)}" for name, inner in named) + "}"
        case dict():
            return "{" + ", ".join(f"{key}={_short(inner)}" for key, inner in value.items()) + "}"
        case (str() as kind, str() as identity) if kind in {"host", "network", "sandbox", "endpoint"}:
            return f"{kind}/{_short(identity)}"
        case tuple() | list():
            return "[" + ", ".join(_short(inner) for inner in value) + "]"
        case _:
            return str(value)


def _quoted(text: str) -> str:
    """Quote a text that has blanks in it; of a pool's id, its block says enough."""
    scope, slash, block = text.partition("/LocalDefault/")
    if slash and " " not in scope:
        return block
    return f"'{text}'" if not text or any(char.isspace() for char in text) else text


def _packed(value: bytes) -> str:
    if len(value) in {IPV4_BYTES, IPV6_BYTES}:
        return format_address(value)
    return format_mac(value) if len(value) == MAC_BYTES else value.hex()
