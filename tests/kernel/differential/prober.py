"""Real packets: many questions at once, from any namespace to any address, answered within a fraction of a second.

Sockets are made in their namespaces by one thread that goes from one to the next, and driven from outside: a socket
stays in the namespace that it was made in. Keeps: between two rounds nothing is open, so no namespace is kept alive.
Knows nothing of: netledger.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IPV6_DONTFRAG, PMTUDISC_DO = 10, 23, 62, 2
CLONE_NEWNET = 0x40000000
IP_PKTINFO, IP_RECVERR, IPV6_RECVERR, IPV6_RECVPKTINFO = 8, 11, 25, 49
TCP, UDP, ICMP, ICMPV6 = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6
PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}
LISTENED = 80
"""Everybody listens here, by TCP and UDP, and nowhere else."""

SILENCE_SECONDS = 0.12
"""After so long without any news, whoever has not answered will not."""

REACHED, REFUSED, NO_ROUTE, SILENCE, TOO_BIG = "reached", "refused", "no route", "silence", "too big"
VERDICTS = {
    errno.ECONNREFUSED: REFUSED,
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.EMSGSIZE: TOO_BIG,
    errno.EADDRNOTAVAIL: NO_ROUTE,  # IPv6 without any address to speak from
}
NO_DELAYS = {
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv4/route/flush": "1",  # what was found out about the sizes that a way takes
    "net/ipv6/route/mtu_expires": "0",
}
"""Errors come as often as there is one to tell, and nothing is remembered."""

SOURCES = Path("/proc/sys/net/ipv4/ip_local_port_range")
AWAY = "20000 30000"
"""From where the sockets of a round take their own ports: away from those that a host chooses to publish."""


@dataclass(frozen=True)
class Question:
    """Does a process at `source`, a place by name, reach `address`? `port` 0 with an echo."""

    source: str
    address: str
    protocol: int
    port: int = 0
    size: int = 84
    """Of the IP packet that asks, in bytes; UDP only. It is not to be fragmented."""

    @property
    def is_six(self) -> bool:
        """Whether it is asked in IPv6."""
        return ":" in self.address

    @property
    def kind(self) -> str:
        """Protocol and family, in words."""
        return f"{PROTOCOLS[self.protocol]} over IPv{6 if self.is_six else 4}"

    def __str__(self) -> str:
        what = f"{PROTOCOLS[self.protocol]}{f'/{self.port}' if self.port else ''}"
        return f"{self.source} -> {self.address} {what} of {self.size} bytes"


@dataclass(frozen=True)
class Answer:
    """What the one who asked found out, and where the packet arrived (a place) from which address."""

    verdict: str
    at: str = ""
    seen_from: str = ""

    def __str__(self) -> str:
        return (
            f"{self.verdict}{f' at {self.at}' if self.at else ''}{f' from {self.seen_from}' if self.seen_from else ''}"
        )


class Prober:
    """Asks questions among places: `places` are paths of network namespaces by name."""

    def __init__(self) -> None:
        self._visitor = ThreadPoolExecutor(1, thread_name_prefix="visitor")
        self._asked = 0

    def ask(self, places: Mapping[str, Path], questions: Sequence[Question]) -> dict[Question, Answer]:
        """Ask all questions at once."""
        numbered = dict(enumerate(questions, self._asked))
        self._asked += len(questions)
        with contextlib.closing(_Round(numbered)) as asked:
            for place, path in places.items():
                self.visit([path], lambda place=place: asked.make(place))
            answers = asked.run()
        for place, path in places.items():
            self.visit([path], lambda place=place: SOURCES.write_text(asked.sources[place], encoding="ascii"))
        return answers

    def visit(self, paths: Iterable[Path], work: Callable[[], object]) -> None:
        """Do something in each of these namespaces."""
        for path in paths:
            self._visitor.submit(_enter, path, work).result()

    def close(self) -> None:
        """End the thread."""
        self._visitor.shutdown()


def _enter(path: Path, work: Callable[[], object]) -> None:
    """Do something in a namespace and come back: a thread that stands in one keeps it alive."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(path, os.O_RDONLY)
        try:
            _stand_in(there)
        finally:
            os.close(there)
        try:
            work()
        finally:
            _stand_in(home)
    finally:
        os.close(home)


def _stand_in(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass
class _Client:
    """The socket of one question."""

    number: int
    question: Question
    socket: socket.socket
    verdict: str = ""


@dataclass
class _Round:
    """One round of questions: everything that is open, and what is known."""

    questions: Mapping[int, Question]
    """By a number that no other question ever had: it identifies packets."""
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    open: list[socket.socket] = field(default_factory=list)
    clients: dict[int, _Client] = field(default_factory=dict)
    seen: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By question: the place where it arrived, and the address that it came from there."""
    sources: dict[str, str] = field(default_factory=dict)
    """By place: from where it otherwise takes the ports of its own sockets."""

    # --- within a namespace

    def make(self, place: str) -> None:
        """Make the sockets of one place."""
        for name, value in NO_DELAYS.items():
            Path("/proc/sys", name).write_text(value, encoding="ascii")
        self.sources[place] = SOURCES.read_text(encoding="ascii")
        SOURCES.write_text(AWAY, encoding="ascii")
        self.listen(place)
        for number, question in self.questions.items():
            if question.source == place:
                self.prepare(number, question)

    def listen(self, place: str) -> None:
        """Answer at the port that everybody listens at, and take note of echo requests."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind, handler in ((socket.SOCK_STREAM, self._accept), (socket.SOCK_DGRAM, self._serve)):
                made = self._socket(family, kind)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                else:
                    made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                made.bind(("", LISTENED))
                if kind == socket.SOCK_STREAM:
                    made.listen(256)
                self.selector.register(made, selectors.EVENT_READ, (handler, place))
            echoes = self._socket(family, socket.SOCK_RAW, ICMP if family == socket.AF_INET else ICMPV6)
            self.selector.register(echoes, selectors.EVENT_READ, (self._overhear, place))

    def prepare(self, number: int, question: Question) -> None:
        """Make the socket of a question; nothing is sent yet."""
        family = socket.AF_INET6 if question.is_six else socket.AF_INET
        if question.protocol == ICMP:
            made = self._socket(family, socket.SOCK_RAW, ICMPV6 if question.is_six else ICMP)
        else:
            made = self._socket(family, socket.SOCK_STREAM if question.protocol == TCP else socket.SOCK_DGRAM)
        if question.is_six:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        self.clients[number] = _Client(number, question, made)

    # --- outside

    def run(self) -> dict[Question, Answer]:
        """Ask, and listen until all is answered or nothing more comes."""
        for client in self.clients.values():
            self._begin(client)
        last_news = time.monotonic()
        while self._is_open() and time.monotonic() < last_news + SILENCE_SECONDS:
            for key, _ in self.selector.select(SILENCE_SECONDS / 4):
                handler, context = key.data
                if handler(key.fileobj, context):
                    last_news = time.monotonic()
        return {question: self._answer(number) for number, question in self.questions.items()}

    def close(self) -> None:
        """Close every socket; those of TCP without waiting for the other side."""
        self.selector.close()
        for each in self.open:
            if each.type == socket.SOCK_STREAM:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()

    def _is_open(self) -> bool:
        return any(
            not client.verdict or (client.verdict == REACHED and client.number not in self.seen)
            for client in self.clients.values()
        )

    def _answer(self, number: int) -> Answer:
        client = self.clients[number]
        verdict = client.verdict or SILENCE
        if verdict in (REFUSED, NO_ROUTE, TOO_BIG) or (verdict == SILENCE and client.question.protocol == TCP):
            return Answer(verdict)
        return Answer(verdict, *self.seen.get(number, ("", "")))

    def _socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        self.open.append(made)
        return made

    def _begin(self, client: _Client) -> None:
        question, token = client.question, client.number.to_bytes(4)
        number = client.socket.connect_ex((question.address, 0 if question.protocol == ICMP else question.port))
        if number not in (0, errno.EINPROGRESS):
            client.verdict = _verdict(number)
            return
        try:
            if question.protocol == UDP:
                headers = 48 if question.is_six else 28
                client.socket.send(token.ljust(question.size - headers, b"\0"))
            elif question.protocol == ICMP:
                client.socket.send(_echo(token, 128 if question.is_six else 8))
        except OSError as error:
            client.verdict = _verdict(error.errno)
            return
        if question.protocol == TCP:
            self.selector.register(client.socket, selectors.EVENT_WRITE, (self._connected, client))
        else:
            self.selector.register(client.socket, selectors.EVENT_READ, (self._replied, client))

    # --- what happens; each says whether it is news

    def _accept(self, listener: socket.socket, place: str) -> bool:
        with contextlib.suppress(OSError):
            served, _ = listener.accept()
            served.setblocking(False)
            self.open.append(served)
            self.selector.register(served, selectors.EVENT_READ, (self._read, place))
        return True

    def _read(self, served: socket.socket, place: str) -> bool:
        with contextlib.suppress(OSError):
            peer = served.getpeername()[0]
            token = served.recv(64)
            if len(token) == 4:
                self.seen[int.from_bytes(token)] = (place, peer)
        self.selector.unregister(served)
        return True

    def _serve(self, listener: socket.socket, place: str) -> bool:
        """Answer a datagram from the address that it was sent to."""
        with contextlib.suppress(OSError):
            data, ancillary, _, peer = listener.recvmsg(2048, 256)
            token = data[:4]
            self.seen[int.from_bytes(token)] = (place, peer[0])
            listener.sendmsg([token], [_own_address(*each) for each in ancillary], 0, peer)
        return True

    def _overhear(self, echoes: socket.socket, place: str) -> bool:
        with contextlib.suppress(OSError):
            data, peer = echoes.recvfrom(256)
            kind, number = _parse_echo(data, is_six=echoes.family == socket.AF_INET6)
            if kind in (8, 128):
                self.seen[number] = (place, peer[0])
                return True
        return False

    def _connected(self, asking: socket.socket, client: _Client) -> bool:
        self.selector.unregister(asking)
        number = asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        client.verdict = _verdict(number) if number else REACHED
        if not number:
            with contextlib.suppress(OSError):
                asking.send(client.number.to_bytes(4))
        return True

    def _replied(self, asking: socket.socket, client: _Client) -> bool:
        try:
            data = asking.recv(256)
        except BlockingIOError:
            return False
        except OSError as error:
            client.verdict = client.verdict or _verdict(error.errno)
            self.selector.unregister(asking)
            return True
        question = client.question
        if question.protocol == ICMP and _parse_echo(data, is_six=question.is_six) not in (
            (0, client.number),
            (129, client.number),
        ):
            return False
        client.verdict = REACHED
        self.selector.unregister(asking)
        return True


def _verdict(number: int | None) -> str:
    return VERDICTS.get(number or 0) or f"error {errno.errorcode.get(number or 0, number)}"


def _echo(token: bytes, kind: int) -> bytes:
    """Write an echo request; the kernel computes the checksum of ICMPv6, we that of ICMP."""
    identifier = int.from_bytes(token) & 0xFFFF
    body = struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + token
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]


def _parse_echo(data: bytes, *, is_six: bool) -> tuple[int, int]:
    """Read the kind and the token of an ICMP message; a raw IPv4 socket gives the IP header, too."""
    message = data if is_six else data[(data[0] & 15) * 4 :]
    return (message[0], int.from_bytes(message[8:12])) if len(message) == 12 else (-1, -1)


def _own_address(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Turn what a datagram came with into what its answer is to leave by: the same address, any interface."""
    if level == socket.IPPROTO_IP:
        return level, kind, struct.pack("@I4s4s", 0, data[8:12], bytes(4))
    return level, kind, data[:16] + struct.pack("@I", 0)
