"""The loop: a process works and dies, the next one starts, and everything is compared.

Keeps: every child that is forked is waited for; what a round finds wrong is told with what repeats it.
"""

from __future__ import annotations

import ipaddress
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from .child import Child, Silence
from .doomed import Acknowledgement, Closed, Doom, Opening, live
from .host import add_address, lasting_differences
from .log import Log
from .points import BEHIND, UNCOMMITTED, Point
from .program import ATTACHED, Model, Operation, after, copy_of

SEED_VARIABLE = "NETLEDGER_KILL_SEED"
START_SECONDS = 30.0
ROUND_SECONDS = 5.0
"""After so long a process that did not come by its point is killed where it is."""
HISTORY_SHOWN = 6
PROBLEM_SHOWN = 600
PROTOCOLS = {6: "tcp", 17: "udp"}


class Loop:
    """Rounds on one host and one state directory."""

    def __init__(self, host: Path, folder: Path, seed: str) -> None:
        self.kills: Counter[str] = Counter()
        self.settled_after = 0.0
        """How long, at most, a host took to be as the log says, from the first look on."""
        self._host = host
        self._state = folder / "state"
        self._log = Log(self._state / "ledger.db")
        self._seed = seed
        self._chance = random.Random(seed)
        self._model = Model()
        self._given: dict[str, Any] = {}
        """What each endpoint was given, as its caller was told."""
        self._step: list[Operation] = []
        """What was under way when the last process died."""
        self._died_at: Point | None = None
        self._was_closed = False
        self._was_started = False
        """Whether a process has died since that had begun to start, and may have made good some of it."""
        self._history: list[str] = []

    def __enter__(self) -> Self:
        add_address(self._host)
        for name in self._own_namespaces():
            subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._own_namespaces():
            subprocess.run(["ip", "netns", "delete", name], check=True, timeout=30)
        for path in (Path("/run/netledger") / self._log.instance).glob("*") if self._log.id else ():
            subprocess.run(["umount", "--lazy", path], check=False, capture_output=True, timeout=30)

    def die_at(self, point: Point) -> bool:
        """Have a process work until it reaches a point; whether it did."""
        return self._round(Doom(point))

    def die_while_starting_at(self, point: Point) -> bool:
        """Have a process die at a point that counts from its fork on; whether it did before it was open."""
        return self._round(Doom(point, is_early=True))

    def die_while_working(self, seconds: float) -> None:
        """Kill a process so long after it began to work."""
        self._round(Doom(), seconds)

    def die_while_starting(self, seconds: float) -> None:
        """Kill a process so long after its fork."""
        self._history.append(f"killed {seconds:.4f} s after its fork")
        child = self._start(Doom())
        time.sleep(seconds)
        self._expect_killed(child)
        self.kills["at a random moment, starting"] += 1
        self._was_started = True

    def close(self) -> None:
        """Have a process work and close, and another one, which has nothing to make good."""
        self._round(Doom(closes=True))
        self._round(Doom(closes=True))

    def look(self) -> None:
        """Start once more, for all that is checked at a start."""
        self._round(Doom(), 0.0)

    # --- a round

    def _round(self, doom: Doom, seconds: float = ROUND_SECONDS) -> bool:
        """Start a process and let it work until it dies, closes, or has had its time; whether it died as it should."""
        self._history.append(f"{doom}, or is killed after {seconds:.4f} s")
        child = self._start(doom)
        try:
            opening = child.receive(START_SECONDS)
            if opening is Silence.ENDED and doom.is_early and doom.point is not None:
                self._expect_killed(child)
                self.kills[f"{doom.point.name}, starting"] += 1
                self._was_started = True
                return True
            if not isinstance(opening, Opening):
                self._fail([f"it did not start: {opening}"])
            self._check(opening, look=not doom.is_early)
            child.tell(self._model)
            end = self._follow(child, seconds)
        finally:
            status = child.end()
        self._was_closed = end is _End.CLOSED
        self._died_at = doom.point if end is _End.DIED else None
        if doom.closes:
            self._expect(status == 0 and self._was_closed, f"it did not close: {end}, status {status}")
            return True
        self._expect_killed(child)
        if doom.point is None:
            self.kills["at a random moment, working"] += 1
        else:
            self.kills[doom.point.name if end is _End.DIED else "elsewhere"] += 1
        return end is _End.DIED and not doom.is_early

    def _start(self, doom: Doom) -> Child:
        chance = random.Random(self._chance.random())
        return Child(partial(live, state=self._state, host=self._host, doom=doom, chance=chance))

    def _follow(self, child: Child, seconds: float) -> _End:
        """Take note of what a working process tells, and kill it when its time is over."""
        end = time.monotonic() + seconds
        is_killed = False
        while True:
            match child.receive(end - time.monotonic()):
                case list() as step:
                    self._step = step
                case Acknowledgement() as acknowledgement:
                    self._acknowledge(acknowledgement)
                case Closed():
                    child.end(START_SECONDS)
                    return _End.CLOSED
                case Silence.LATE:
                    child.end()  # what it told until now is still to be read
                    is_killed = True
                case Silence.ENDED:
                    return _End.KILLED if is_killed else _End.DIED
                case mistake:
                    self._fail([f"while working: {mistake}"])

    def _acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Compare what came of a step with what had to, and take it in."""
        later, accepted = after(self._model, self._step)
        if acknowledgement.accepted != accepted:
            self._fail([f"to {self._step} it said {acknowledgement}, expected {accepted}"])
        for operation, given in zip(self._step, acknowledgement.told, strict=True):
            if operation.verb == "create endpoint" and len(self._step) == 1 and accepted[0]:
                self._given[operation.subject] = given
        self._model, self._step = later, []

    # --- what is checked at a start

    def _check(self, opening: Opening, *, look: bool) -> None:
        """Compare what a start said with the log, the log with what was acknowledged, and the kernel with the log."""
        self._log.read()
        problems = list(self._log.problems)
        problems += [f"could not be made good: {fault}" for fault in opening.faults]
        problems += [f"drift: {line}" for line in opening.drift]
        problems += self._compare_with_acknowledged(opening)
        for endpoint, given in self._given.items():
            if endpoint in self._log.endpoints and _holdings(self._log, endpoint) != given:
                problems.append(f"endpoint {endpoint} was told {given} and has {_holdings(self._log, endpoint)}")
        if look:
            begin = time.monotonic()
            problems += lasting_differences(self._log, self._host)
            self.settled_after = max(self.settled_after, time.monotonic() - begin)
        if problems:
            self._fail(problems)

    def _compare_with_acknowledged(self, opening: Opening) -> list[str]:
        """Find out whether what was under way is in the log, and whether the start had to say so."""
        problems: list[str] = []
        shape = _shape(self._log)
        later, accepted = after(self._model, self._step)
        is_committed = shape == later.shape()
        if not is_committed and shape != self._model.shape():
            problems.append(f"acknowledged: {self._model.shape()}, under way: {self._step}, in the log: {shape}")
        is_told = opening.recovery is not None
        where = (self._died_at.call, self._died_at.side) if self._died_at else None
        if any(accepted) and where in BEHIND:
            if not is_committed:
                problems.append(f"not in the log although committed: {self._step}")
            if not is_told and _touches_kernel(self._model, self._step) and not self._was_started:
                problems.append(f"nothing was said about {self._step}")
        if any(accepted) and where in UNCOMMITTED and is_committed and later.shape() != self._model.shape():
            problems.append(f"in the log although not committed: {self._step}")
        if self._was_closed and is_told:
            problems.append(f"after closing there was something to make good: {opening.recovery}")
        if is_committed:
            self._model = later
        self._step, self._died_at, self._was_started = [], None, False
        return problems

    # --- helpers

    def _own_namespaces(self) -> list[str]:
        return [f"{self._host.name}-own{number}" for number in range(ATTACHED)]

    def _expect_killed(self, child: Child) -> None:
        status = child.end()
        if status != -signal.SIGKILL:
            self._fail([f"it ended with status {status} instead of being killed: {child.receive(0)}"])

    def _expect(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self._fail([otherwise])

    def _fail(self, problems: Sequence[str]) -> NoReturn:
        lines = [
            f"kill loop, seed {self._seed}, round {len(self._history)}; its last rounds:",
            *(f"    {line}" for line in self._history[-HISTORY_SHOWN:]),
            f"log: {self._log.path}, read up to position {self._log.position}",
            f"again: {SEED_VARIABLE}={self._seed.partition('/')[0]}",
            *(problem[:PROBLEM_SHOWN] for problem in problems),
        ]
        raise AssertionError("\n".join(lines))


class _End(Enum):
    """How a round came to its end."""

    DIED = "at its point"
    KILLED = "when its time was over"
    CLOSED = "closed"


def _touches_kernel(model: Model, step: Sequence[Operation]) -> bool:
    """Whether what a step's accepted operations do is seen in a kernel."""
    later = copy_of(model)
    for operation in step:
        if later.accepts(operation):
            if later.touches_kernel(operation):
                return True
            later.take_in(operation)
    return False


def _shape(log: Log) -> dict[str, object]:
    """Say what the log holds in the model's form."""
    ports: dict[str, set[tuple[int, int]]] = {}
    for port in log.ports.values():
        ports.setdefault(port["endpoint"], set()).add((port["protocol"], port["port"]))
    return {
        "networks": {key: (known["name"], known["internal"]) for key, known in log.networks.items()},
        "endpoints": {key: (known["network"], known["name"]) for key, known in log.endpoints.items()},
        "ports": {key: len(known) for key, known in ports.items()},
        "aliases": log.aliases,
        "sandboxes": {key: (known["container"], known["kind"]) for key, known in log.sandboxes.items()},
        "joins": {key: known["sandbox"] for key, known in log.joins.items()},
    }


def _holdings(log: Log, endpoint: str) -> tuple[str, set[str], set[str]]:
    """Say what the log gave an endpoint, in the words that its caller heard: MAC address, addresses, ports."""
    event = log.endpoints[endpoint]
    addresses = {f"{ipaddress.ip_address(address)}/{prefix}" for _, address, prefix in event["addresses"]}
    ports = {
        f"{_in_brackets(host)}:{host_port} {port['port']}/{PROTOCOLS[protocol]}"
        for (protocol, host, host_port), port in log.ports.items()
        if port["endpoint"] == endpoint
    }
    return event["mac"].hex(":"), addresses, ports


def _in_brackets(address: bytes) -> str:
    text = str(ipaddress.ip_address(address))
    return f"[{text}]" if ":" in text else text
