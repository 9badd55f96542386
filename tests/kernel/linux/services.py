"""Services that answer with the address that they saw, and probes that ask them: many at a time, with real packets."""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.kernel.linux.conftest import ANSWER_SECONDS, SILENCE_SECONDS, TCP, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBES_AT_ONCE = 24
ICMP, ICMPV6 = 1, 58
_identifiers = itertools.count(1)


class Probe(NamedTuple):
    """One question: from a namespace to an address and port."""

    client: str | Path
    address: str
    port: int
    protocol: int = TCP


class Services:
    """Every socket that answers, served by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def open(self, where: str | Path, address: str, port: int, protocol: int = TCP) -> None:
        """Answer at an address and port of a namespace."""
        made = inside(where, lambda: socket.socket(_family(address), _kind(protocol)))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if protocol == TCP:
            made.listen(64)
        self._sockets.append(made)
        self._selector.register(made, selectors.EVENT_READ)
        self._waker.send(b"\0")

    def close(self) -> None:
        """End the thread and close the sockets."""
        self._waker.close()
        self._thread.join()
        for made in (*self._sockets, self._woken):
            made.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                made = key.fileobj
                assert isinstance(made, socket.socket)
                if made is self._woken:
                    if not made.recv(64):
                        return
                elif made.type == socket.SOCK_DGRAM:
                    _, peer = made.recvfrom(64)
                    made.sendto(peer[0].encode(), peer)
                else:
                    with suppress(OSError):
                        accepted, peer = made.accept()
                        with accepted:
                            accepted.sendall(peer[0].encode())


def ask(probe: Probe, seconds: float = ANSWER_SECONDS) -> str | None:
    """Ask, and return the address that the service saw; None when nothing answers."""
    if probe.protocol == ICMP:
        return ping(probe, seconds)
    with inside(probe.client, lambda: socket.socket(_family(probe.address), _kind(probe.protocol))) as asking:
        asking.settimeout(seconds)
        try:
            asking.connect((probe.address, probe.port))
            if probe.protocol != TCP:
                asking.send(b"question")
            return asking.recv(64).decode()
        except OSError:
            return None


def ping(probe: Probe, seconds: float) -> str | None:
    """Ask for an echo, and return one's own address when it comes."""
    is_ipv4 = ":" not in probe.address
    kind, protocol = (8, ICMP) if is_ipv4 else (128, ICMPV6)
    with inside(probe.client, lambda: socket.socket(_family(probe.address), socket.SOCK_RAW, protocol)) as asking:
        asking.settimeout(seconds)
        asking.connect((probe.address, 0))
        identifier = next(_identifiers)  # a new one each time, since the same would belong to a connection
        rest = identifier.to_bytes(2, "big") + bytes(2)
        checksum = ~(kind * 256 + identifier) & 0xFFFF if is_ipv4 else 0  # the kernel does IPv6's
        asking.send(bytes([kind, 0]) + checksum.to_bytes(2, "big") + rest)
        try:
            while True:
                answer = asking.recv(256)[20 if is_ipv4 else 0 :]
                if answer[0] == (0 if is_ipv4 else 129) and answer[4:6] == rest[:2]:
                    return str(asking.getsockname()[0])
        except OSError:
            return None


def ask_all(probes: Sequence[Probe], expected: Sequence[str | None] | None = None) -> list[str | None]:
    """Ask them all, many at a time; where None is expected, an answer is not waited for as long as elsewhere."""
    patience = [SILENCE_SECONDS if answer is None else ANSWER_SECONDS for answer in expected or [""] * len(probes)]
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        return list(pool.map(ask, probes, patience))


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _kind(protocol: int) -> int:
    return socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
