"""Typed events to and from the log: MessagePack arrays, by the name and version of their type.

Keeps: what was written once can be read for ever. An event of an older version is decoded without its class, and
lifted from version to version by upcasters; one of a newer version or an unknown type is refused by name.
Knows nothing of: positions, files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgpack
import msgspec
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem

from ..domain.decision import Guard
from ..domain.errors import LedgerError, LedgerNewer
from ..domain.events import EVENT_TYPES, Event, tags_of
from .registry import EventType

Decode: TypeAlias = Callable[[bytes], Event]

Upcaster: TypeAlias = Callable[[list[object]], list[object]]
"""Turns the fields of an event of one version into those of the next."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""By the name and version that they start from."""


class Codec:
    """Encodes and decodes the events of `kinds`."""

    def __init__(
        self,
        kinds: Mapping[str, type[Event]] = EVENT_TYPES,
        upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
    ) -> None:
        self._kinds = kinds
        self._upcasters = upcasters
        self._encode = msgspec.msgpack.Encoder().encode
        self.catalogue = {
            name: EventType(name, kind.VERSION, kind.__struct_fields__) for name, kind in self._kinds.items()
        }

    def encode(self, event: Event) -> DCBEvent:
        """Make the event that a recorder keeps."""
        name = type(event).__name__
        assert self._kinds.get(name) is type(event), f"{name} is not one of the codec's event types"
        return DCBEvent(name, self._encode(event), list(tags_of(event)))

    def condition(self, guards: Sequence[Guard], after: int) -> DCBAppendCondition | None:
        """Make the condition that a recorder checks; None for no guards, where the library's would match everything."""
        if not guards:
            return None
        items = [DCBQueryItem([kind.__name__ for kind in guard.types], list(guard.tags)) for guard in guards]
        return DCBAppendCondition(DCBQuery(items), after)

    def decoder(self, kind: EventType) -> Decode:
        """Give the function that decodes the data of events of this type and version."""
        known = self._kinds.get(kind.name)
        if known is None or kind.version > known.VERSION:
            raise LedgerNewer(
                f"decode {kind.name} version {kind.version}: this netledger knows "
                f"{f'version {known.VERSION} of it' if known else 'no such event'}; "
                "use the netledger that wrote it, or a newer one (its generic audit reader needs neither)"
            )
        decode: Decode = msgspec.msgpack.Decoder(known).decode
        return decode if kind.version == known.VERSION else self._lifting(kind, known)

    def _lifting(self, kind: EventType, known: type[Event]) -> Decode:
        try:
            steps = [self._upcasters[kind.name, version] for version in range(kind.version, known.VERSION)]
        except KeyError as missing:
            name, version = missing.args[0]
            raise LedgerError(f"decode {kind.name} version {kind.version}: no upcaster from {name} {version}") from None

        def decode(data: bytes) -> Event:
            fields: list[object] = msgpack.unpackb(data)
            for step in steps:
                fields = step(fields)
            return msgspec.convert(fields, known)

        return decode
