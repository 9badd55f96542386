"""A process that attaches and detaches while it is interrupted over and over.

Keeps: an interruption is raised wherever it comes, inside the engine only.
"""

from __future__ import annotations

import random
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from netledger import Controller
from netledger.domain.errors import Refusal
from netledger.replay import drift


@dataclass(frozen=True)
class Report:
    """What the process was like when the storm was over."""

    operations: int
    interruptions: int
    own_namespace_before: int
    own_namespace_after: int
    namespaces_of_threads: frozenset[int]
    drift: tuple[str, ...]


class Storm:
    """Raises KeyboardInterrupt at each SIGINT while it is let in; SIGUSR1 ends it."""

    def __init__(self) -> None:
        self.interruptions = 0
        self.is_over = False
        self._is_let_in = False
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGUSR1, self._end)

    def weather(self, controller: Controller, chance: random.Random) -> bool:
        """Attach and detach once; whether that was not interrupted."""
        try:
            try:
                self._is_let_in = True
                attach_and_detach(controller, chance)
            finally:
                self._is_let_in = False
        except KeyboardInterrupt:
            self._is_let_in = False
            self.interruptions += 1
            return False
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_let_in:
            raise KeyboardInterrupt

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.is_over = True


def live(talk: Connection, state: Path, host: Path, seed: str) -> None:
    """Open, work until the storm is over, and tell what is left."""
    chance = random.Random(seed)
    before = _namespace("self")
    controller = Controller.open(state, dataplane="linux", namespace=str(host))
    controller.create_network("net", subnets=["10.1.0.0/24", "fd00:1::/64"])
    storm = Storm()
    talk.send("ready")
    operations = 0
    while not storm.is_over:
        operations += storm.weather(controller, chance)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    attach_and_detach(controller, chance)
    threads = frozenset(_namespace(f"self/task/{thread.name}") for thread in Path("/proc/self/task").iterdir())
    found = drift(controller).lines
    talk.send(Report(operations, storm.interruptions, before, _namespace("thread-self"), threads, found))
    talk.recv()
    controller.close()


def attach_and_detach(controller: Controller, chance: random.Random) -> None:
    """Attach a sandbox with a published port; detach that one or another one."""
    name = secrets.token_hex(8)
    sandbox = controller.create_sandbox(name)
    endpoint = controller.network("net").create_endpoint(name, ports=["80"])
    endpoint.join(sandbox)
    if chance.random() < 0.5:
        endpoint.leave()
        endpoint.delete()
        sandbox.delete()
    else:
        with suppress(Refusal):  # one that an interruption has left half done may be in no sandbox
            chance.choice(controller.endpoints()).delete(force=True)
            chance.choice(controller.sandboxes()).delete(force=True)


def _namespace(process: str) -> int:
    return Path(f"/proc/{process}/ns/net").stat().st_ino
