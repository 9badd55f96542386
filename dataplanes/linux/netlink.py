"""Netlink framing: attributes, messages, and a conversation that knows how each of its messages ended.

Keeps: every message of an exchange carries a sequence number of its own, and the answer to it is found by that number.
Must not know: what the messages mean (`rtnetlink`, `nfnetlink`), namespaces, plans.

Sources: linux/netlink.h; RFC 3549 for the framing.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from msgspec import Struct

from ..contract import RETRIES

T = TypeVar("T")

REQUEST, ACK, ROOT_AND_MATCH = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
NESTED = 0x8000
TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

NLMSG_ERROR, NLMSG_DONE = 2, 3
DUMP_INTERRUPTED = 0x10
CAPPED, HAS_ATTRIBUTES = 0x100, 0x200
ERROR_MESSAGE_ATTRIBUTE = 1

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_NETNS_COOKIE = 32, 33, 71

BUFFER_BYTES = 8 << 20
RECEIVE_BYTES = 1 << 18
MESSAGES_AT_ONCE = 256
"""Errors are queued for us while the kernel works through one `sendmsg`: so many fit in an unprivileged buffer."""
DUMP_TRIES = 8

PAUSE_SECONDS = 0.004
"""Before the first retry; twice as long before each further one."""
TRANSIENT = frozenset({errno.EBUSY, errno.EAGAIN, errno.ENOBUFS})
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What says something about this process or machine as it is now, and nothing about what was asked for."""

HEADER = struct.Struct("=IHHII")
REMEMBERED = 4096
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_U32 = struct.Struct("=HHI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class _Recent(dict[T, None]):
    """What this process did, whatever the namespace; the oldest are forgotten."""

    def note(self, what: T) -> None:
        """Remember one."""
        if what not in self:
            self[what] = None
            while len(self) > REMEMBERED:
                self.pop(next(iter(self)), None)

    def forget(self, what: T) -> None:
        """Forget one that has been met, or did not come to be."""
        self.pop(what, None)


own_ports = _Recent[int]()
"""The port ids that this process's conversations have had.

A notification bears the port id of whoever asked for the change. Most of ours have the process's own number.
"""
own_removals = _Recent[tuple[str, int]]()
"""Alias and index of interfaces in sandboxes that this process deleted: what goes along with one bears no port id."""


class Message(NamedTuple):
    """One request without its header: the conversation adds length and sequence number."""

    kind: int
    flags: int
    body: bytes


class Failure(Struct, frozen=True, gc=False):
    """What the kernel answered to a message that failed."""

    number: int
    text: str = ""

    def __str__(self) -> str:
        detail = f" ({self.text})" if self.text else ""
        return f"{os.strerror(self.number)}{detail}"


class Answers(Struct, frozen=True):
    """What came back, by the message's index: a failure, or the bodies of the messages that answered it."""

    failures: dict[int, Failure]
    bodies: dict[int, list[bytes]]


def attribute(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    size = len(payload)
    return _ATTRIBUTE.pack(4 + size, kind) + payload + _PADDING[size & 3]


def attribute_u32(kind: int, value: int) -> bytes:
    """Pack one attribute that is a 32-bit number."""
    return _ATTRIBUTE_U32.pack(8, kind, value)


def attribute_text(kind: int, text: str) -> bytes:
    """Pack one attribute that is a zero-terminated string."""
    return attribute(kind, text.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """Pack attributes inside another one."""
    return attribute(kind | NESTED, b"".join(attributes))


def attributes_of(body: bytes | memoryview, offset: int = 0) -> dict[int, memoryview]:
    """Unpack the attributes of a body from `offset`; of a repeated one the last counts."""
    view = memoryview(body)
    found: dict[int, memoryview] = {}
    end = len(view)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(view, offset)
        if size < 4:
            break
        found[kind & TYPE_MASK] = view[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return found


def attribute_list(body: bytes | memoryview, offset: int = 0) -> Iterator[memoryview]:
    """Unpack the payloads of a list, whose attributes all have the same kind."""
    view = memoryview(body)
    end = len(view)
    while offset + 4 <= end:
        size, _ = _ATTRIBUTE.unpack_from(view, offset)
        if size < 4:
            break
        yield view[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def text_of(payload: memoryview | None) -> str:
    """Read a zero-terminated string."""
    return "" if payload is None else bytes(payload).rstrip(b"\0").decode(errors="replace")


def number_of(payload: memoryview | None, default: int = 0) -> int:
    """Read a number of 1 to 8 bytes in the machine's byte order."""
    return default if payload is None else int.from_bytes(payload, sys.byteorder)


class Conversation:
    """One netlink socket, of the namespace that the calling thread is in when it is made."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.bind((0, 0))
            own_ports.note(self._socket.getsockname()[0])
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        except BaseException:
            self._socket.close()
            raise
        self._sequence = int(time.monotonic()) & 0xFFFFFF

    def widen(self) -> int:
        """Ask for large buffers, as large as this process may have; return how many bytes fit in one `sendmsg`."""
        for forced, plain in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32

    def cookie(self) -> int:
        """Return the namespace's cookie; 0 where the kernel has none (before 5.14)."""
        try:
            return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return 0

    def close(self) -> None:
        """Close the socket, and with it this hold on its namespace."""
        self._socket.close()

    def exchange(self, messages: Sequence[Message]) -> Answers:
        """Send the messages in one `sendmsg` and return the answer to each of them.

        Only the last asks for an acknowledgement: the kernel answers in order, and reports every failure.
        """
        answers = Answers({}, {})
        for start in range(0, len(messages), MESSAGES_AT_ONCE):
            self._exchange(messages[start : start + MESSAGES_AT_ONCE], start, answers)
        return answers

    def attempt(self, messages: Sequence[Message]) -> dict[int, Failure]:
        """Send the messages; send those that failed again, in order, while one of them failed for a passing reason."""
        failures = self.exchange(messages).failures
        for attempt in range(RETRIES):
            if not any(failure.number in TRANSIENT for failure in failures.values()):
                break
            time.sleep(PAUSE_SECONDS * (1 << attempt))
            again = sorted(failures)
            later = self.exchange([messages[index] for index in again]).failures
            failures = {again[index]: failure for index, failure in later.items()}
        return failures

    def dump(self, message: Message) -> list[bytes]:
        """Ask for everything of a kind; ask again when it changed meanwhile."""
        for _ in range(DUMP_TRIES):
            bodies, interrupted = self._dump(message)
            if not interrupted:
                return bodies
        raise OSError(errno.EAGAIN, "the kernel's tables changed during each of several dumps")

    def transact(self, frames: bytes, first: int, last: int) -> dict[int, Failure]:
        """Send a ready-made batch whose messages all ask for an acknowledgement; return failures by sequence number."""
        self._socket.send(frames)
        failures: dict[int, Failure] = {}
        waiting = set(range(first, last + 1))
        while waiting:
            for kind, flags, sequence, body in frames_of(self._socket.recv(RECEIVE_BYTES)):
                if kind == NLMSG_ERROR and first - 1 <= sequence <= last + 1:
                    failure = failure_of(body, flags)
                    if failure is not None:
                        failures[sequence] = failure
                        if sequence not in waiting:  # the batch as a whole: its begin or end message
                            return failures
                    waiting.discard(sequence)
        return failures

    def sequence(self, count: int) -> int:
        """Reserve `count` sequence numbers and return the first."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def _exchange(self, messages: Sequence[Message], start: int, answers: Answers) -> None:
        first = self.sequence(len(messages))
        last = first + len(messages) - 1
        self._socket.send(pack(messages, first))
        while True:
            for kind, flags, sequence, answer in frames_of(self._socket.recv(RECEIVE_BYTES)):
                if not first <= sequence <= last:
                    continue  # left over from an exchange that was abandoned
                if kind == NLMSG_ERROR:
                    failure = failure_of(answer, flags)
                    if failure is not None:
                        answers.failures[start + sequence - first] = failure
                    if sequence == last:
                        return
                else:
                    answers.bodies.setdefault(start + sequence - first, []).append(bytes(answer))

    def _dump(self, message: Message) -> tuple[list[bytes], bool]:
        sequence = self.sequence(1)
        flags = message.flags | REQUEST | ROOT_AND_MATCH
        self._socket.send(HEADER.pack(16 + len(message.body), message.kind, flags, sequence, 0) + message.body)
        bodies: list[bytes] = []
        interrupted = False
        while True:
            for kind, answered, number, body in frames_of(self._socket.recv(RECEIVE_BYTES)):
                if number != sequence:
                    continue
                interrupted = interrupted or bool(answered & DUMP_INTERRUPTED)
                if kind == NLMSG_DONE:
                    return bodies, interrupted
                if kind == NLMSG_ERROR:
                    failure = failure_of(body, answered)
                    if failure is not None:
                        raise OSError(failure.number, str(failure))
                    return bodies, interrupted
                bodies.append(bytes(body))


def is_passing(error: OSError) -> bool:
    """Whether an error may be gone when it is tried again; the dynamic linker gives its number only in words."""
    passing = TRANSIENT | EXHAUSTED
    if error.errno is None:
        return any(os.strerror(number) in str(error) for number in passing)
    return error.errno in passing


def pack(messages: Sequence[Message], first: int) -> bytes:
    """Pack messages for one `sendmsg`, numbered from `first`; the last asks for an acknowledgement."""
    last = first + len(messages) - 1
    parts: list[bytes] = []
    for sequence, (kind, flags, body) in enumerate(messages, first):
        asked = flags | REQUEST | ACK if sequence == last else flags | REQUEST
        parts.append(HEADER.pack(16 + len(body), kind, asked, sequence, 0))
        parts.append(body)
    return b"".join(parts)


def frames_of(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Take apart what one `recv` brought: kind, flags, sequence number and body of each message."""
    view = memoryview(data)
    offset = 0
    while offset + 16 <= len(data):
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if size < 16:
            return
        yield kind, flags, sequence, view[offset + 16 : offset + size]
        offset += (size + 3) & ~3


def failure_of(body: memoryview, flags: int) -> Failure | None:
    """Read an acknowledgement: None when it says that all is well."""
    number = -struct.unpack_from("=i", body)[0]
    if not number:
        return None
    text = ""
    if flags & HAS_ATTRIBUTES:
        offset = 20 if flags & CAPPED else 4 + ((struct.unpack_from("=I", body, 4)[0] + 3) & ~3)
        text = text_of(attributes_of(body, offset).get(ERROR_MESSAGE_ATTRIBUTE))
    return Failure(number, text)
