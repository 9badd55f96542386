"""Elements of nftables sets and maps as raw nfnetlink: added and deleted in one transaction, read back set by set.

A published port is one element; through a process or a library it would cost 1.5 to 500 times as much. Keeps: a
transaction is carried out as a whole or not at all; what is already as asked does not stop the rest.
Must not know: what the sets mean (`elements`), the skeleton (`nftables`), plans.

Sources: linux/netfilter/nfnetlink.h, nf_tables.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..netlink import (
    ACK,
    CREATE,
    EXCLUSIVE,
    HEADER,
    REQUEST,
    Conversation,
    Failure,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attributes_of,
    nested,
)

NETLINK_NETFILTER = 12
NFT_SUBSYSTEM = 10 << 8
GETTABLE = NFT_SUBSYSTEM | 1
NEWSETELEM, GETSETELEM, DELSETELEM = NFT_SUBSYSTEM | 12, NFT_SUBSYSTEM | 13, NFT_SUBSYSTEM | 14
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NFPROTO_INET = 1

LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
LIST_ELEMENT = 1
ELEMENT_KEY, ELEMENT_DATA = 1, 2
DATA_VALUE = 1

ELEMENTS_A_MESSAGE = 500
"""An attribute is 64 KiB at most; the longest of our elements takes 76 bytes."""
ELEMENTS_A_TRANSACTION = 20_000
ROUNDS_LIMIT = 4
"""Of trying a transaction again without what was already so: somebody else may be at the same elements."""
_CONTRADICTIONS = frozenset({errno.EEXIST, errno.EBUSY, errno.ENOENT})
"""What is answered when an element is there already, with the same or other data, or is not there to be deleted."""

_FAMILY = struct.Struct("!BBH")
_BATCH = _FAMILY.pack(0, 0, 10)


class Element(Struct, frozen=True, gc=False, order=True):
    """One element of a set, or of a map when it has data; key and data as the kernel's registers hold them."""

    set: str
    key: bytes
    data: bytes = b""


class Change(Struct, frozen=True, gc=False):
    """One element to add or to delete."""

    element: Element
    is_deletion: bool = False


class Verdict(Struct, frozen=True):
    """How a transaction ended: `already` were so before, `failures` could not be done; all others were carried out."""

    already: frozenset[Change]
    failures: dict[Change, Failure]


class Netfilter:
    """The elements of one table, by way of one long-lived socket: opening and closing one costs 12 ms."""

    def __init__(self, table: str) -> None:
        self._table = attribute_text(LIST_TABLE, table)
        self._conversation = Conversation(NETLINK_NETFILTER)
        self._room = self._conversation.widen()

    def change(self, changes: Sequence[Change]) -> Verdict:
        """Carry out all changes in one transaction, deletions first."""
        wanted = sorted(set(changes), key=_order) if len(changes) > 1 else list(changes)
        verdict = Verdict(frozenset(), {})
        for start in range(0, len(wanted), ELEMENTS_A_TRANSACTION):
            part = self._change(wanted[start : start + ELEMENTS_A_TRANSACTION])
            verdict = Verdict(verdict.already | part.already, verdict.failures | part.failures)
        return verdict

    def elements(self, name: str) -> list[Element]:
        """Read back what is in a set; nothing when there is no such set."""
        body = _FAMILY.pack(NFPROTO_INET, 0, 0) + self._table + attribute_text(LIST_SET, name)
        try:
            bodies = self._conversation.dump(Message(GETSETELEM, 0, body))
        except FileNotFoundError:
            return []
        found: list[Element] = []
        for answer in bodies:
            listed = attributes_of(answer, _FAMILY.size).get(LIST_ELEMENTS)
            found += [_decode(name, entry) for entry in (attribute_list(listed) if listed is not None else ())]
        return found

    def close(self) -> None:
        """Close the socket."""
        self._conversation.close()

    def _change(self, changes: list[Change]) -> Verdict:
        already: set[Change] = set()
        failures: dict[Change, Failure] = {}
        messages = list(_grouped(changes))
        for _ in range(ROUNDS_LIMIT):
            failed, aborted = self._transact(messages) if messages else ({}, None)
            if not failed and aborted is None:
                return Verdict(frozenset(already), failures)
            if aborted is not None and aborted.number not in {errno.EAGAIN, errno.EINTR}:
                failures |= {change: aborted for message in messages for change in message}
                return Verdict(frozenset(already), failures)
            suspects: list[Change] = []
            for index, failure in failed.items():
                if failure.number in _CONTRADICTIONS and not self._is_missing(messages[index][0], failure):
                    suspects += messages[index]
                else:
                    failures |= dict.fromkeys(messages[index], failure)
            kept = [change for index, message in enumerate(messages) if index not in failed for change in message]
            messages = list(_grouped(sorted((*self._judge(suspects, already), *kept), key=_order)))
        failures |= {change: Failure(errno.EAGAIN) for message in messages for change in message}
        return Verdict(frozenset(already), failures)

    def _is_missing(self, change: Change, failure: Failure) -> bool:
        """Whether it is the set itself that is not there."""
        return failure.number == errno.ENOENT and not change.is_deletion

    def _judge(self, changes: list[Change], already: set[Change]) -> list[Change]:
        """Compare with what is there: what is so is done; a key with other data is deleted before it is added."""
        there = {
            (element.set, element.key): element
            for name in {change.element.set for change in changes}
            for element in self.elements(name)
        }
        to_do: list[Change] = []
        deleted = {(change.element.set, change.element.key) for change in changes if change.is_deletion}
        for change in changes:
            found = there.get((change.element.set, change.element.key))
            replaced = (change.element.set, change.element.key) in deleted
            if change.is_deletion:
                so = found is None
            else:
                so = found == change.element and not replaced
                if found is not None and not so and not replaced:
                    to_do.append(Change(found, is_deletion=True))
            if so:
                already.add(change)
            else:
                to_do.append(change)
        return to_do

    def _transact(self, messages: list[list[Change]]) -> tuple[dict[int, Failure], Failure | None]:
        first = self._conversation.sequence(len(messages) + 2)
        batch = pack_transaction(self._table, messages, first)
        if len(batch) > self._room:
            return {}, Failure(errno.EMSGSIZE, f"{len(batch)} bytes, the socket's buffer holds {self._room}")
        by_sequence = self._conversation.transact(batch, first + 1, first + len(messages))
        failed = {number - first - 1: failure for number, failure in by_sequence.items()}
        aborted = failed.pop(-1, None) or failed.pop(len(messages), None)
        return failed, aborted


def check_access() -> None:
    """Raise what keeps the calling thread from using nf_tables: permission, descriptors, a kernel without it."""
    conversation = Conversation(NETLINK_NETFILTER)
    try:
        conversation.dump(Message(GETTABLE, 0, _FAMILY.pack(NFPROTO_INET, 0, 0)))
    finally:
        conversation.close()


def pack_transaction(table: bytes, messages: Iterable[Sequence[Change]], first: int) -> bytes:
    """Pack one transaction, numbered from `first`: its begin, its messages, each acknowledged, its end.

    `table` is the table's name as an attribute; the changes of one message are of one set and one direction.
    """
    frames = [HEADER.pack(20, BATCH_BEGIN, REQUEST, first, 0), _BATCH]
    sequence = first
    for sequence, changes in enumerate(messages, first + 1):
        is_deletion = changes[0].is_deletion
        entries = b"".join(_encode(change.element, with_data=not is_deletion) for change in changes)
        name = attribute_text(LIST_SET, changes[0].element.set)
        body = _FAMILY.pack(NFPROTO_INET, 0, 0) + table + name + nested(LIST_ELEMENTS, entries)
        kind, flags = (DELSETELEM, 0) if is_deletion else (NEWSETELEM, CREATE | EXCLUSIVE)
        frames += (HEADER.pack(16 + len(body), kind, flags | REQUEST | ACK, sequence, 0), body)
    frames += (HEADER.pack(20, BATCH_END, REQUEST, sequence + 1, 0), _BATCH)
    return b"".join(frames)


def _order(change: Change) -> tuple[bool, Element]:
    return not change.is_deletion, change.element


def _grouped(changes: Iterable[Change]) -> Iterable[list[Change]]:
    """Group neighbours of one set and one direction into messages."""
    group: list[Change] = []
    for change in changes:
        if group and (
            len(group) == ELEMENTS_A_MESSAGE
            or group[0].element.set != change.element.set
            or group[0].is_deletion != change.is_deletion
        ):
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _encode(element: Element, *, with_data: bool) -> bytes:
    key = nested(ELEMENT_KEY, attribute(DATA_VALUE, element.key))
    if with_data and element.data:
        return nested(LIST_ELEMENT, key, nested(ELEMENT_DATA, attribute(DATA_VALUE, element.data)))
    return nested(LIST_ELEMENT, key)


def _decode(name: str, entry: memoryview) -> Element:
    found = attributes_of(entry)
    key = attributes_of(found[ELEMENT_KEY])[DATA_VALUE]
    data = attributes_of(found[ELEMENT_DATA]).get(DATA_VALUE, b"") if ELEMENT_DATA in found else b""
    return Element(name, bytes(key), bytes(data))
