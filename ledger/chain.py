"""The hash chain: what makes an alteration of the log visible.

Each event's SHA-256 covers the hash before it and the canonical msgpack of [position, type, tags, data], where type is
the packed name, version and field names, and tags the packed list of tags. The first event follows a hash of the
ledger's id, so a chain cannot be passed off as another ledger's.
Keeps: a log is whole up to the first position that does not fit, and no further.
Knows nothing of: where rows come from. It proves nothing against someone who rewrites the whole chain: keep a
checkpoint elsewhere for that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple, TypeAlias

import msgpack
import msgspec
from msgspec import Struct

from ..domain.errors import LedgerDamaged

Row: TypeAlias = tuple[int, int, bytes, bytes, bytes]
"""An event as it is stored: position, number of its type, packed tags, data, hash."""


pack = msgspec.msgpack.Encoder().encode
"""Packs what is hashed, in the one form that MessagePack's shortest is (as the `msgpack` package does, in a third)."""


class Tip(NamedTuple):
    """Where a log ends: the position and the hash of its last event."""

    position: int
    chain: bytes


class Verification(Struct, frozen=True):
    """What a walk along the chain found.

    `events` are whole, the last of them has `head_hash`; `bad_position` is the first that does not fit and `problem`
    says why. Both are None where everything fits; `problem` alone where no position can be named.
    """

    events: int
    head_hash: str
    bad_position: int | None = None
    problem: str | None = None


def genesis(ledger_id: str) -> bytes:
    """Make the hash that the first event follows."""
    return sha256(b"netledger 1 " + ledger_id.encode()).digest()


def link(previous: bytes, position: int, frame: bytes, tags: bytes, data: bytes) -> bytes:
    """Make the hash of an event that follows `previous`; `frame` is its type's, `tags` are packed."""
    return sha256(previous + pack([position, frame, tags, data])).digest()


def walk(start: bytes, rows: Iterable[Row], frames: Mapping[int, bytes]) -> Verification:
    """Follow the chain from the first event on, until something does not fit."""
    whole, chain = 0, start
    problem: str | None = None
    try:
        for position, number, tags, data, stored in rows:
            if position != whole + 1:
                problem = f"it is missing; the next position is {position}"
            elif number not in frames:
                problem = f"its type, number {number}, is not registered"
            elif (computed := link(chain, position, frames[number], tags, data)) != stored:
                problem = "its hash does not follow from its content and the event before it"
            else:
                whole, chain = position, computed
                continue
            break
    except LedgerDamaged as damage:
        problem = f"it cannot be read: {damage.__cause__ or damage}"
    return Verification(whole, chain.hex(), None if problem is None else whole + 1, problem)


def first_wrong_in_index(
    events: int, tags_of: Iterable[tuple[int, bytes]], index: Iterable[tuple[str, int]]
) -> int | None:
    """Compare the tag index with positions and packed tags of whole events; return the first that differs."""
    balance = array("q", bytes(8 * (events + 1)))
    for position, tags in tags_of:
        for tag in set(msgpack.unpackb(tags)):
            balance[position] ^= hash(tag)
    outside: int | None = None
    for tag, position in index:
        if 1 <= position <= events:
            balance[position] ^= hash(tag)
        elif outside is None or position < outside:
            outside = position
    return next((position for position, rest in enumerate(balance) if rest), outside)
