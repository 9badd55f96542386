"""Connection tracking entries that a published UDP port leaves behind, or finds in its way: found and deleted.

A UDP flow never ends by itself: while its sender goes on, its entry lives, and with it the translation that was decided
with its first packet. Keeps: only entries about the host's port are deleted, and none that is as the port has it now.
Must not know: rules, plans.

Sources: linux/netfilter/nfnetlink_conntrack.h; that libnetwork filters by the endpoint's port is moby#53384.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from ....domain.objects import PortForward
from ....domain.values import IPV4_BYTES, PROTOCOLS
from ..netlink import ACK, NESTED, Conversation, Message, attribute, attributes_of, nested

CT_SUBSYSTEM = 1 << 8
CT_GET, CT_DELETE = CT_SUBSYSTEM | 1, CT_SUBSYSTEM | 2
TUPLE_ORIGINAL, TUPLE_REPLY, IDENTITY, FILTER = 1, 2, 12, 25
TUPLE_ADDRESSES, TUPLE_PROTOCOL = 1, 2
ADDRESSES = {4: (1, 2), 16: (3, 4)}
PROTOCOL_NUMBER, SOURCE_PORT, DESTINATION_PORT = 1, 2, 3
FILTER_ORIGINAL = 1
BY_PROTOCOL, BY_DESTINATION_PORT = 1 << 3, 1 << 5
LOOPBACK4 = 127

_FAMILY = struct.Struct("!BBH")
_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
UDP = PROTOCOLS["udp"]

IsOfHost = Callable[[bytes], bool]
"""Says whether an address is one of the host's own."""


class Entry(Struct, frozen=True, gc=False):
    """One tracked connection: where it was sent to, and who answers; `key` names it to the kernel."""

    destination: bytes
    port: int
    answering: bytes
    answering_port: int
    key: bytes


def is_stale(entry: Entry, forward: PortForward, is_of_host: IsOfHost, *, has_come: bool) -> bool:
    """Whether an entry is against what a published port is now: it has come, and leads there, or has gone."""
    if entry.port != forward.host_port:
        return False
    leads_there = (entry.answering, entry.answering_port) == (forward.address, forward.port)
    if not has_come:
        return leads_there
    if any(forward.host_address):
        return entry.destination == forward.host_address and not leads_there
    return not leads_there and is_of_host(entry.destination)


def forget_stale(conversation: Conversation, forwards: Iterable[tuple[PortForward, bool]], is_of_host: IsOfHost) -> int:
    """Delete what is stale about UDP ports that have come (True) or gone (False); return how many entries."""
    doomed: dict[bytes, int] = {}
    for forward, has_come in forwards:
        if forward.protocol != UDP:
            continue
        width = len(forward.address)
        for entry in entries(conversation, width, forward.host_port):
            if is_stale(entry, forward, is_of_host, has_come=has_come):
                doomed[entry.key] = width
    messages = [Message(CT_DELETE, ACK, _header(width) + key) for key, width in doomed.items()]
    for failure in conversation.exchange(messages).failures.values():
        if failure.number != errno.ENOENT:  # ended meanwhile
            raise OSError(failure.number, f"deleting a connection tracking entry: {failure}")
    return len(messages)


def entries(conversation: Conversation, width: int, port: int) -> Iterator[Entry]:
    """List the UDP entries of a family that were sent to a port; a kernel before 5.8 lists all, so it is checked."""
    wanted = _number(PROTOCOL_NUMBER, UDP, 1) + _number(DESTINATION_PORT, port, 2)
    body = _header(width) + nested(TUPLE_ORIGINAL, nested(TUPLE_PROTOCOL, wanted))
    flags = (BY_PROTOCOL | BY_DESTINATION_PORT).to_bytes(4, sys.byteorder)
    body += nested(FILTER, attribute(FILTER_ORIGINAL, flags))
    for answer in conversation.dump(Message(CT_GET, 0, body)):
        entry = _decode(answer, width)
        if entry is not None and entry.port == port:
            yield entry


def _decode(body: bytes, width: int) -> Entry | None:
    found = attributes_of(body, _FAMILY.size)
    original = attributes_of(found[TUPLE_ORIGINAL])
    reply = attributes_of(found[TUPLE_REPLY])
    protocol = attributes_of(original[TUPLE_PROTOCOL])
    if protocol[PROTOCOL_NUMBER][0] != UDP:
        return None
    key = attribute(TUPLE_ORIGINAL | NESTED, bytes(found[TUPLE_ORIGINAL])) + attribute(IDENTITY, bytes(found[IDENTITY]))
    source, destination = ADDRESSES[width]
    return Entry(
        destination=bytes(attributes_of(original[TUPLE_ADDRESSES])[destination]),
        port=int.from_bytes(protocol[DESTINATION_PORT], "big"),
        answering=bytes(attributes_of(reply[TUPLE_ADDRESSES])[source]),
        answering_port=int.from_bytes(attributes_of(reply[TUPLE_PROTOCOL])[SOURCE_PORT], "big"),
        key=key,
    )


def is_loopback(address: bytes) -> bool:
    """Whether an address is one that every host has."""
    return address[0] == LOOPBACK4 if len(address) == IPV4_BYTES else address == bytes(15) + b"\1"


def _header(width: int) -> bytes:
    return _FAMILY.pack(_FAMILIES[width], 0, 0)


def _number(kind: int, value: int, size: int) -> bytes:
    return attribute(kind, value.to_bytes(size, "big"))
