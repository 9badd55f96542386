"""Surroundings: what the engine asks of the machine that it runs on and no log can tell - time, chance, names.

Keeps: whoever puts others in their place, `with standing_in(...)`, decides everything of a run that its commands do
not: the same commands give the same log, byte for byte. Knows nothing of: what any of it is used for.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

RUN_DIRECTORY = Path("/run")


class Surroundings:
    """The machine's own clock, chance and names. Subclass it to run the engine in others."""

    retry_clock: Callable[[], float] | None = None
    """Seconds by which what failed is tried again; None: the machine's monotonic clock."""

    def now(self) -> int:
        """Tell the time: UTC, in nanoseconds."""
        return time.time_ns()

    def token(self, size_bytes: int) -> str:
        """Make an id that nobody else has, in hex digits."""
        return secrets.token_hex(size_bytes)

    def host_name(self) -> str:
        """Name the machine."""
        return socket.gethostname()

    def run_directory(self) -> Path | None:
        """Name the directory of what lasts until the machine stops; None where this process may not write to it."""
        return RUN_DIRECTORY if os.access(RUN_DIRECTORY, os.W_OK) else None


_current: ContextVar[Surroundings] = ContextVar("surroundings", default=Surroundings())  # noqa: B039  # has no state


def here() -> Surroundings:
    """Give the surroundings of this thread."""
    return _current.get()


@contextmanager
def standing_in(others: Surroundings) -> Iterator[None]:
    """Let everything that this thread does in the block happen in other surroundings."""
    token = _current.set(others)
    try:
        yield
    finally:
        _current.reset(token)
