"""Resolving: the addresses of a host that a plugin listens on, within a time limit.

Keeps: whoever asks is answered in time, whatever the resolver of this machine does: a name is looked up by a thread of
its own, which ends when the resolver answers. What is no name takes none.
Knows nothing of: what is said on connections.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from concurrent.futures import Future
from typing import Any, TypeAlias

Found: TypeAlias = list[tuple[Any, ...]]
"""As `socket.getaddrinfo` has it: family, kind, protocol, canonical name, socket address."""

_looking: dict[tuple[str, int], tuple[Future[Found], float]] = {}
"""What a thread is looking up now, and since when.

A resolver that hangs holds one thread for each name, not one for each call.
"""
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
    answer, begun = _looking.get((host, port)) or (Future(), time.monotonic())
    if (host, port) not in _looking:
        _looking[host, port] = answer, begun
        try:
            threading.Thread(target=_ask, args=(host, port, answer), name=f"look up {host}", daemon=True).start()
        except RuntimeError as error:  # no thread can be had
            _looking.pop((host, port), None)
            raise OSError(errno.EAGAIN, str(error)) from None
    return answer.result(max(0.0, begun + seconds - time.monotonic()))  # one that hangs has had its time


def _ask(host: str, port: int, answer: Future[Found]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a name that is no host's
        _looking.pop((host, port), None)
        answer.set_exception(error)
    else:
        _looking.pop((host, port), None)
        answer.set_result(found)
