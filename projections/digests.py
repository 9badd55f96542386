"""Views as bytes, for their digests.

Keeps: the same state gives the same bytes, however it came about; and an event that was written before it had all of
today's fields gives those of its time, as long as the new ones have their defaults.
Knows nothing of: what any view holds.
"""

from __future__ import annotations

import functools

import msgspec

from ..domain.events import Event, Recorded


def canonical(value: object) -> bytes:
    """Encode a value of a view in MessagePack, the keys of mappings in order."""
    if isinstance(value, Recorded):
        event = msgspec.Raw(_encode(_written(value.event)))
        return msgspec.msgpack.encode({"position": value.position, "event": event})
    if isinstance(value, dict):
        value = sorted((msgspec.msgpack.encode(key), canonical(inner)) for key, inner in value.items())
    return _encode(value)


def _encode(value: object) -> bytes:
    return msgspec.msgpack.encode(value, order="deterministic")


def _written(event: Event) -> list[object]:
    """List an event's fields up to the last that is no default."""
    fields = [getattr(event, name) for name in event.__struct_fields__]
    for default in reversed(_defaults(type(event))):
        if fields[-1] != default:
            break
        fields.pop()
    return fields


@functools.cache
def _defaults(kind: type[Event]) -> tuple[object, ...]:
    """List the defaults of the last fields, those that have any."""
    fields = msgspec.structs.fields(kind)
    return tuple(
        field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        for field in fields
        if not field.required
    )
