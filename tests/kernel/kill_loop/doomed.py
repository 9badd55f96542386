"""The process that dies: it opens the state directory, says what it found, works, and tells of each step's end."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

# Loaded before the first fork, so that no child has to.
import pyroute2

from netledger import Controller
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.linux.firewall import libnftables
from netledger.domain.errors import Refusal
from netledger.ledger import sqlite
from netledger.replay import drift

from .points import Point, Trap
from .program import Author, Model, Operation, after

PRELOADED = (pyroute2.IPRoute, LinuxDataplane, libnftables._load(), sqlite)
STEPS_BEFORE_CLOSING = 4


@dataclass(frozen=True)
class Opening:
    """What a start said that it made good, what it could not, and what it found to differ behind that."""

    recovery: str | None
    faults: tuple[str, ...]
    drift: tuple[str, ...]


@dataclass(frozen=True)
class Acknowledgement:
    """A step has ended: which of its operations were carried out, and what each was told."""

    accepted: list[bool]
    told: list[object]


class Closed:
    """The process has closed its Controller."""


@dataclass(frozen=True)
class Doom:
    """How a process is to end: at a point, which if `is_early` counts from its start; by closing; or as it comes."""

    point: Point | None = None
    is_early: bool = False
    closes: bool = False

    def __str__(self) -> str:
        if self.closes:
            return "closes"
        return f"dies {self.point or 'at a random moment'}{', or while opening' if self.is_early else ''}"


def live(talk: Connection, state: Path, host: Path, doom: Doom, chance: random.Random) -> None:
    """Open, tell, wait to be told what there is, and work until death."""
    trap = Trap(doom.point)
    trap.set()
    if doom.is_early:
        trap.arm()
    controller = Controller.open(state, dataplane="linux", namespace=str(host))
    made_good = controller.recovery
    found = drift(controller).lines
    talk.send(Opening(str(made_good) if made_good else None, made_good.faults if made_good else (), found))
    model: Model = talk.recv()
    trap.arm()
    author = Author(chance, str(host), trap.mood)
    steps = 0
    while not (doom.closes or trap.is_at_the_end) or steps < STEPS_BEFORE_CLOSING:
        step = author.step(model)
        talk.send(step)
        talk.send(_carry_out(controller, step))
        model, _ = after(model, step)
        steps += 1
        time.sleep(trap.quiet_seconds)
    controller.close()
    talk.send(Closed())


def _carry_out(controller: Controller, step: list[Operation]) -> Acknowledgement:
    """Carry out one operation by the objects that a user holds, or several as a batch."""
    if len(step) == 1:
        try:
            step[0].perform(controller)
        except Refusal as refusal:
            return Acknowledgement([False], [str(refusal)])
        return Acknowledgement([True], [_given(controller, step[0])])
    results = controller.execute([operation.command() for operation in step])
    for result in results:
        if not isinstance(result.error, Refusal | None):
            raise result.error
    return Acknowledgement(
        [result.error is None for result in results], [result.error and str(result.error) for result in results]
    )


def _given(controller: Controller, operation: Operation) -> object:
    """Tell what an endpoint was given: MAC address, addresses, ports."""
    if operation.verb != "create endpoint":
        return None
    info = controller.endpoint(operation.subject).info()
    ports = {f"{outer} {inner}" for inner, outers in info.port_map.items() for outer in outers}
    return info.mac, set(info.addresses), ports
