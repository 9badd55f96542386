"""Resolving: the addresses of a host that a plugin listens on, within a time limit.

Keeps: whoever asks is answered in time, whatever the resolver of this machine does: a name is looked up by a thread of
its own, which ends when the resolver answers. What is no name takes none.
Knows nothing of: what is said on connections.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from typing import Any, TypeAlias

Found: TypeAlias = list[tuple[Any, ...]]
"""As `socket.getaddrinfo` has it: family, kind, protocol, canonical name, socket address."""

_looking: set[tuple[str, int]] = set()
"""What a thread is looking up now: a resolver that hangs holds one thread for each name, not one for each call."""
os.register_at_fork(after_in_child=_looking.clear)  # which has no such threads


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """Connect to the first address of a host that listens; all of it, the name's lookup too, within `seconds`.

    Raises `TimeoutError` and other `OSError`s.
    """
    deadline = time.monotonic() + seconds
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in resolve(host, port, seconds):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connected = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            connected.settimeout(left)
            connected.connect(address)
        except OSError as error:
            problem = error
            connected.close()
        except BaseException:
            connected.close()
            raise
        else:
            return connected
    raise problem


def resolve(host: str, port: int, seconds: float) -> Found:
    """Find the addresses of a host; raises `TimeoutError` where that takes too long, and `OSError`."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return _look_up(host, port, seconds)


def _look_up(host: str, port: int, seconds: float) -> Found:
    answers: queue.SimpleQueue[Found | Exception] = queue.SimpleQueue()
    if (host, port) in _looking:
        raise TimeoutError
    _looking.add((host, port))
    threading.Thread(target=_ask, args=(host, port, answers), name=f"look up {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ask(host: str, port: int, answers: queue.SimpleQueue[Found | Exception]) -> None:
    try:
        answer: Found | Exception = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a name that is no host's
        answer = error
    _looking.discard((host, port))
    answers.put(answer)
