"""A forked child and the pipe that it tells by."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, Pipe


@dataclass(frozen=True)
class Mistake:
    """The child met something that must not happen: a traceback."""

    text: str


class Silence(Enum):
    """Why there is no message."""

    ENDED = "the process is dead"
    LATE = "the time is over"


class Child:
    """Runs `work` in a fork of this process, which ends with it; what it raises comes as a `Mistake`."""

    def __init__(self, work: Callable[[Connection], None]) -> None:
        self._talk, its = Pipe()
        self.process = os.fork()
        if self.process == 0:
            _live(work, its, self._talk)
        its.close()
        self._status: int | None = None

    def receive(self, seconds: float) -> object:
        """Wait for the next message, at most so long."""
        try:
            if self._talk.poll(max(0.0, seconds)):
                return self._talk.recv()
        except (EOFError, OSError):
            return Silence.ENDED
        return Silence.LATE

    def tell(self, message: object) -> None:
        """Send something to a child that may be dead."""
        with contextlib.suppress(OSError):
            self._talk.send(message)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process, number)

    def end(self, seconds: float = 0.0) -> int:
        """Wait so long for its end, and then kill it; return its exit status, or a signal's number negated."""
        end = time.monotonic() + seconds
        while self._status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() < end:
                time.sleep(0.001)
            else:
                os.kill(self.process, signal.SIGKILL)
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self._status


def _live(work: Callable[[Connection], None], talk: Connection, other: Connection) -> None:
    status = 1
    try:
        other.close()
        work(talk)
        status = 0
    except BaseException:  # noqa: BLE001  # a child of pytest must never return into it
        with contextlib.suppress(OSError):
            talk.send(Mistake(traceback.format_exc()))
    finally:
        os._exit(status)
