"""Calling a plugin: one HTTP POST with JSON each way, over a unix socket, TCP or TLS.

Keeps: a call ends within `Limits.total_seconds` and reads at most `Limits.answer_bytes`, whatever the plugin does. A
call is repeated only while the plugin has not had it, or where asking twice is the same as asking once. No proxy is
ever used. Knows nothing of: what the calls mean.
"""

from __future__ import annotations

import io
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from ...domain.errors import Unavailable
from .discovery import Address
from .resolving import connect
from .tls import secured

CONTENT_TYPE = "application/vnd.docker.plugins.v1.1+json"
TEXT_LIMIT = 500
"""Characters of what a plugin says that are told."""
OK = 200
NOT_FOUND = 404

AnswerT = TypeVar("AnswerT")


class Limits(Struct, frozen=True):
    """How long a plugin is waited for, how much it may say, and how often a call is tried that it has not had."""

    connect_seconds: float = 2.0
    read_seconds: float = 10.0
    total_seconds: float = 15.0
    answer_bytes: int = 1 << 20
    attempts: int = 3
    pause_seconds: float = 0.1
    """Before the second attempt; twice as long before each further one."""
    together_seconds: float = 30.0
    """What all calls have together that no command asks for: to tell plugins again what they had given, and to give
    back; those of a start, and those beside a batch of commands."""


PATIENCE = Limits()


class PluginFault(Unavailable):
    """Say that a plugin did not answer, or that its answer cannot be used; what was asked may have been done.

    `was_sent` is false where the plugin has certainly not had the call. `given` is what a wrong answer gave, where it
    said so: a pool's id or an address.
    """

    was_sent = True
    given = ""


class PluginRefused(Unavailable):
    """Say that a plugin answered with an error. `is_unknown`: it does not know the call at all."""

    is_unknown = False


class _Error(Struct, frozen=True):
    """What a refusal looks like: network drivers call it `Err`, IPAM drivers `Error`."""

    Err: str = ""
    Error: str = ""


class Transport:
    """Calls to one plugin; none goes on after `until`, by the clock `time.monotonic`."""

    def __init__(
        self, name: str, address: Address, limits: Limits = PATIENCE, until: Callable[[], float] = lambda: math.inf
    ) -> None:
        self.name = name
        self._until = until
        self.address = address
        self.limits = limits

    def call(self, method: str, question: Struct | None, answer: type[AnswerT], *, is_safe: bool = False) -> AnswerT:
        """Ask `method` ("IpamDriver.RequestPool"); return the answer. `is_safe`: to ask it twice changes nothing.

        Raises `PluginFault` and `PluginRefused`.
        """
        asked = f"ask plugin {self.name!r} at {self.address} for {method}"
        body = msgspec.json.encode(question) if question is not None else b""
        now = time.monotonic()
        deadline = min(now + self.limits.total_seconds, self._until())
        if now >= deadline:
            raise _fault(asked, "the time that plugins have together is over", was_sent=False)
        pause = self.limits.pause_seconds
        attempt = 1
        while True:
            try:
                return _understood(asked, *self._post(asked, method, body, deadline), answer)
            except PluginFault as fault:
                may_repeat = is_safe or not fault.was_sent
                if not may_repeat or attempt == self.limits.attempts or time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
                pause *= 2
                attempt += 1

    def incarnation(self) -> tuple[int, int] | None:
        """Tell one process that listens on a unix socket from the next: each makes the socket's file anew."""
        if not self.address.path:
            return None
        try:
            there = Path(self.address.path).stat()
        except (OSError, ValueError):
            return None
        return there.st_ino, there.st_ctime_ns

    def _post(self, asked: str, method: str, body: bytes, deadline: float) -> tuple[int, bytes]:
        import http.client  # takes longer to load than most commands take

        was_sent = False
        try:
            stream = _Stream(self._connect(deadline), deadline, self.limits.read_seconds)
            try:
                connection = http.client.HTTPConnection("plugin")
                connection.sock = stream  # all of a socket that it uses
                was_sent = True
                headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE, "Connection": "close"}
                connection.request("POST", f"/{method}", body, headers)
                response = connection.getresponse()
                text = response.read(self.limits.answer_bytes + 1)
                if response.length and len(text) <= self.limits.answer_bytes:
                    raise http.client.IncompleteRead(text, response.length)  # which read(n) does not notice
            finally:
                stream.end()
        except TimeoutError:
            raise _fault(asked, "it did not answer in time", was_sent=was_sent) from None
        except http.client.IncompleteRead:
            raise _fault(asked, "its answer broke off", was_sent=was_sent) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a name that is no host's
            raise _fault(asked, f"no answer: {str(error) or type(error).__name__}", was_sent=was_sent) from None
        if len(text) > self.limits.answer_bytes:
            raise _fault(asked, f"its answer is longer than {self.limits.answer_bytes} bytes", was_sent=True)
        return response.status, text

    def _connect(self, deadline: float) -> socket.socket:
        seconds = max(0.001, min(self.limits.connect_seconds, deadline - time.monotonic()))
        if not self.address.path:
            return self._connect_to_host(time.monotonic() + seconds)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connected.settimeout(seconds)
            connected.connect(self.address.path)
        except BaseException:
            connected.close()
            raise
        return connected

    def _connect_to_host(self, deadline: float) -> socket.socket:
        connected = connect(self.address.host, self.address.port, deadline - time.monotonic())
        if self.address.tls is None:
            return connected
        try:
            connected.settimeout(max(0.001, deadline - time.monotonic()))
            return secured(connected, self.address.host, self.address.tls)
        except BaseException:
            connected.close()
            raise


class _Stream:
    """A connected socket on which everything together ends at a deadline, not each piece that trickles in."""

    def __init__(self, connected: socket.socket, deadline: float, read_seconds: float) -> None:
        self._socket = connected
        self._deadline = deadline
        self._read_seconds = read_seconds

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Read it, as `http.client` asks a socket to."""
        return io.BufferedReader(_Reading(self))

    def sendall(self, piece: bytes) -> None:
        """Send it, as `http.client` asks a socket to."""
        self._wait()
        self._socket.sendall(piece)

    def close(self) -> None:
        """Leave it open, as a socket that is being read does: `http.client` calls this before it reads an answer."""

    def receive(self, buffer: bytearray | memoryview) -> int:
        """Read what has come."""
        self._wait()
        return self._socket.recv_into(buffer)

    def end(self) -> None:
        """Let the connection go."""
        self._socket.close()

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, self._read_seconds))


class _Reading(io.RawIOBase):
    """The reading end of a stream, which closing does not close."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that readers give
        return self._stream.receive(buffer)


def said(text: bytes | str) -> str:
    """Write what a plugin said on one line, and not more than one wants to read."""
    line = text.decode(errors="replace") if isinstance(text, bytes) else text
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
    return line if len(line) <= TEXT_LIMIT else f"{line[:TEXT_LIMIT]}..."


def _fault(asked: str, because: str, *, was_sent: bool) -> PluginFault:
    fault = PluginFault(asked, because, "see whether the plugin is running, and its own log")
    fault.was_sent = was_sent
    return fault


def _understood(asked: str, status: int, text: bytes, answer: type[AnswerT]) -> AnswerT:
    """Tell an answer from a refusal, and both from what is neither."""
    try:
        error = msgspec.json.decode(text, type=_Error) if text.strip() else _Error()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _Error()
    words = error.Err or error.Error
    if words or status == NOT_FOUND:
        refusal = PluginRefused(asked, f"it refuses: {said(words) or 'it does not know the call'}")
        refusal.is_unknown = status == NOT_FOUND
        raise refusal
    if status != OK:
        raise _fault(asked, f"it answered with HTTP status {status}: {said(text) or 'no reason'}", was_sent=True)
    try:
        return msgspec.json.decode(text if text.strip() else b"{}", type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _fault(asked, f"its answer cannot be read ({problem}): {said(text)}", was_sent=True) from None
