"""The seeded whole-system run: commands on several hosts while things go wrong; at quiet points everything must hold.

Keeps: the same settings give the same run, the same logs byte for byte, and a run of fewer steps is the beginning of
one of more. Knows nothing of: terminals, command lines.

A step is an operation on one host: a few commands of the random author, or commands together with a fault. At
quiet points nothing goes wrong for a while, what is owed is made good, what somebody altered is repaired; then
every checker holds, the kernel is what the log calls for, and packets go where the networks say.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ...dataplanes.simulated import FaultPlan, Faults, SimulatedKernel
from ...dataplanes.simulated.clock import BEGINNING, SECOND
from ...dataplanes.simulated.fabric import Fabric, Question
from ...dataplanes.simulated.faults import Died, Kind
from ...dataplanes.subscriber import RETRY_MOST_SECONDS
from ...domain.commands import Command, CreateNetwork
from ...domain.errors import DataplaneFault, Refusal
from ...domain.values import Position, format_address
from ...engine.results import Result
from ...engine.surroundings import standing_in
from ...replay import drift, repair
from ...replay.simulation import build
from ..author import Author, Seeded
from ..checkers import CHECKERS, Checker, Violation, check_everything
from ..coverage import Coverage
from .disturbances import disturb
from .host import ACTOR, SimulatedHost
from .questions import expectations
from .summary import Summary
from .world import OUTSIDE, World

QUIET_EVERY = ((200, 10), (1000, 25), (5000, 100), (sys.maxsize, 500))
"""Up to which step there is a quiet point after how many: what is checked there grows with the logs."""

QUESTIONS = 24
"""So many are asked of each host at a quiet point, chosen from all whose answer is known."""

BLUNDERS_PERCENT = 5
FILLING_PERCENT = 60
BATCH_SIZES = (1, 1, 1, 2, 3)
PAUSES_SECONDS = (0.0, 0.01, 0.3, 1.5)
LAST_STEP_TO_DIE_AT = 8
FORGOTTEN_EVENTS = 8

MakeKernel = Callable[[str], SimulatedKernel]


class Settings(Struct, frozen=True):
    """What decides a run."""

    seed: int
    steps: int
    hosts: int = 2
    plan: FaultPlan = FaultPlan({})


class Failure(Struct, frozen=True):
    """What did not hold: at which step, on which host, at which position of its log, which checker says what."""

    step: int
    host: str
    position: int
    checker: str
    words: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.host}, position {self.position}: {self.checker}: {self.words}"


class Outcome(Struct, frozen=True):
    """How a run ended; the digest covers the logs' hash chains and what is in the kernels."""

    summary: Summary
    digest: str
    failure: Failure | None = None


class Violated(Exception):
    """Say that something does not hold."""

    def __init__(self, host: SimulatedHost, found: Violation) -> None:
        self.host = host
        self.found = found
        super().__init__(str(found))


def run(
    settings: Settings,
    directory: Path,
    *,
    make_kernel: MakeKernel = SimulatedKernel,
    after_step: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Run from the beginning to the last step or the first failure; the ledgers are left in the directory."""
    world = World(settings.seed)
    with standing_in(world):
        return SystemRun(settings, directory, world, make_kernel).run(after_step)


def fewest_steps(
    settings: Settings, failed_at: int, directory: Path, *, make_kernel: MakeKernel = SimulatedKernel
) -> tuple[Settings, Outcome, Path]:
    """Look for a shorter run that fails, by halving; give its settings, how it ended, and where its ledgers are.

    A run of fewer steps ends with a quiet point of its own, where what is wrong may show earlier.
    """
    tried: dict[int, tuple[Outcome, Path]] = {}

    def fails(steps: int) -> bool:
        place = directory / f"steps-{steps}"
        tried[steps] = (run(_with_steps(settings, steps), place, make_kernel=make_kernel), place)
        return tried[steps][0].failure is not None

    low, high = 0, failed_at
    if high > 1 and not fails(high - 1):  # as for whoever runs again what was shortened before
        low = high - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    if high not in tried:
        fails(high)
    return _with_steps(settings, high), *tried[high]


class SystemRun:
    """One run, of hosts on one underlay."""

    def __init__(self, settings: Settings, directory: Path, world: World, make_kernel: MakeKernel) -> None:
        self.settings = settings
        self.world = world
        self.coverage = Coverage()
        self.summary = Summary()
        self.choice = Seeded(settings.seed)
        self._watched: dict[str, _Watched] = {}
        self.hosts: list[SimulatedHost] = []
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(1, settings.hosts + 1):
            name = f"host{number}"
            kernel = world.fabric.adopt(make_kernel(name))
            faults = Faults(settings.plan, f"{settings.seed}/{name}")
            self.hosts.append(SimulatedHost(name, directory, world, kernel, faults))
            self._watched[name] = _Watched()

    def run(self, after_step: Callable[[int], None]) -> Outcome:
        """Take every step."""
        failure = None
        host = self.hosts[0]
        try:
            for step in range(1, self.settings.steps + 1):
                host = self.choice.pick(self.hosts)
                self.summary.steps = step
                self._step(host, step)
                if _is_quiet(step) or step == self.settings.steps:
                    for host in self.hosts:
                        self._be_quiet(host)
                    self.summary.quiet_points += 1
                after_step(step)
            self._compare_with_anew()
        except Violated as violated:
            found = violated.found
            failure = Failure(self.summary.steps, violated.host.name, found.position, found.checker, found.words)
        except Exception as error:  # noqa: BLE001  # whatever the engine raises that it should not is what is looked for
            words = "".join(traceback.format_exception_only(error)).strip()
            position = self._head(host)
            failure = Failure(self.summary.steps, host.name, position, "error", f"{words} {_place_of(error)}")
        self._sum_up()
        digest = self._digest()
        for each in self.hosts:
            with suppress(Exception):  # what failed may not be able to end in order; its ledger is whole all the same
                each.close()
        return Outcome(self.summary, digest, failure)

    # --- a step

    def _step(self, host: SimulatedHost, step: int) -> None:
        self.world.clock.sleep(self.choice.pick(PAUSES_SECONDS))
        if host.faults.strikes(Kind.REBOOT):
            self._restart(host, host.reboot, is_blank=True)
        if host.faults.strikes(Kind.ALTER):
            self._alter(host)
        commands = self._write(host)
        self._plan_what_happens_meanwhile(host)
        results: list[Result] = []
        try:
            results = host.controller.execute(commands, request=f"step{step}")
            self._judge(host, commands, results)
            if self._dies_now(host):
                raise Died
        except Died:
            if host.faults.choose(3) == 0:
                host.faults.die_before_step(1 + host.faults.choose(LAST_STEP_TO_DIE_AT))  # in the recovery, too
            self._restart(host, host.come_back)
        except ExceptionGroup as group:  # what failed could not all be taken back, either
            self._allow_faults(host, group)
        finally:
            self.world.meanwhile = []
            host.faults.die_before_step(None)
        if host.faults.strikes(Kind.TWICE):
            self._repeat(host, commands, results, step)
        self._check_log(host)

    def _write(self, host: SimulatedHost) -> list[Command]:
        """Write the commands of a step; where a host has become empty, often some that fill it again."""
        with host.controller.reading() as views:
            author = Author(self.choice, host.universe, lambda: views)
            lacks = {
                "create network": 2 - len(views.networks.networks),
                "create sandbox": 3 - len(views.sandboxes.sandboxes),
                "create endpoint": 4 - len(views.endpoints.endpoints),
                "join": 3 - len(views.endpoints.joined),
            }
            missing = [kind for kind, count in lacks.items() if count > 0]
            if missing and self.choice.chance(FILLING_PERCENT):
                return [author.command(missing[0])]
            if not self.choice.chance(100 - BLUNDERS_PERCENT):
                return [author.command("blunder")]
            return [author.command() for _ in range(self.choice.pick(BATCH_SIZES))]

    def _plan_what_happens_meanwhile(self, host: SimulatedHost) -> None:
        if host.faults.strikes(Kind.LATE):
            self.world.meanwhile.append(lambda: self._write_beside(host))
        if host.faults.strikes(Kind.DIE):
            when = host.faults.choose(LAST_STEP_TO_DIE_AT + 2)
            self._watched[host.name].dies_at_the_end = when == LAST_STEP_TO_DIE_AT + 1
            if when == 0:
                self.world.meanwhile.append(_die)
            elif when <= LAST_STEP_TO_DIE_AT:
                host.faults.die_before_step(when)

    def _dies_now(self, host: SimulatedHost) -> bool:
        watched = self._watched[host.name]
        dies, watched.dies_at_the_end = watched.dies_at_the_end, False
        return dies

    def _write_beside(self, host: SimulatedHost) -> None:
        """Let the other process of a host append something, after its first has looked at the log.

        That process cannot see what the host lacks, so it would record what no kernel carries out; its user knows.
        """
        with host.writer.reading() as views:
            command = Author(self.choice, host.universe, lambda: views).command()
        if not _has_parent(host, command):
            return
        self.coverage.asked(command)
        error = host.writer.execute([command])[0].error
        if isinstance(error, Refusal):
            self.coverage.refused(error)

    def _alter(self, host: SimulatedHost) -> None:
        """Let somebody alter the kernel; whoever looks for drift then finds it."""
        agreed = self._agrees(host)
        before = dict(host.kernel.objects)
        what = disturb(host, host.faults.choose)
        if not what:
            return
        self._watched[host.name].is_troubled = True
        host.faults.injected[f"alter: {what}"] += 1
        if agreed and before != host.kernel.objects and self._agrees(host):
            raise Violated(host, Violation("drift", self._head(host), f"nobody notices: {what}"))

    def _agrees(self, host: SimulatedHost) -> bool:
        return drift(host.controller).agrees

    def _repeat(self, host: SimulatedHost, commands: list[Command], results: list[Result], step: int) -> None:
        """Let the last request, or the last events, come once more: neither may change anything."""
        if results and host.faults.choose(2):
            host.faults.injected["twice: a request"] += 1
            try:
                again = host.controller.execute(commands, request=f"step{step}")
            except ExceptionGroup as group:  # what failed the first time is carried out now, and fails again
                self._allow_faults(host, group)
                return
            for first, second in zip(results, again, strict=True):
                if first.error is None and first.events and not second.is_repetition:
                    words = f"{type(first.command).__name__} was carried out again for the same request"
                    raise Violated(host, Violation("requests", self._head(host), words))
            return
        host.faults.injected["twice: events"] += 1
        self._restart(host, lambda: host.forget(1 + host.faults.choose(FORGOTTEN_EVENTS)))

    def _restart(self, host: SimulatedHost, restart: Callable[[], object], *, is_blank: bool = False) -> None:
        """Let the process end and start; unless something else went wrong, the kernel is then what the log calls for.

        `is_blank`: the kernel has lost everything, also what was wrong with it.
        """
        watched = self._watched[host.name]
        was_in_order = is_blank or not (watched.is_troubled or self._was_struck(host))
        before = _struck(host.faults.injected)
        restart()
        if not was_in_order or before != _struck(host.faults.injected):
            watched.is_troubled = True
        elif not self._agrees(host):
            words = "; ".join(drift(host.controller).lines)
            raise Violated(host, Violation("recovery", self._head(host), f"a start has not made good: {words}"))

    # --- judging

    def _judge(self, host: SimulatedHost, commands: list[Command], results: list[Result]) -> None:
        for command, result in zip(commands, results, strict=True):
            self.coverage.asked(command)
            match result.error:
                case None:
                    pass
                case Refusal():
                    self.coverage.refused(result.error)
                case DataplaneFault():
                    self.summary.taken_back += 1
                    self._allow_faults(host, result.error)
                case _:
                    raise result.error

    def _allow_faults(self, host: SimulatedHost, error: Exception) -> None:
        """Let a fault pass where there was a reason for one."""
        if isinstance(error, ExceptionGroup):
            for inner in error.exceptions:
                self._allow_faults(host, inner)
        elif not isinstance(error, DataplaneFault | Refusal):
            raise error
        elif not self._watched[host.name].is_troubled and not self._was_struck(host):
            raise Violated(host, Violation("faults", self._head(host), f"a fault without a cause: {error}"))

    def _was_struck(self, host: SimulatedHost) -> bool:
        """Whether a step has failed, or was done by half, since the last quiet point."""
        watched = self._watched[host.name]
        return _struck(host.faults.injected) != watched.struck

    def _check_log(self, host: SimulatedHost) -> None:
        """Let the checkers read on in the log; each stops at its first violation."""
        watched = self._watched[host.name]
        for record in host.controller.history(after=watched.read):
            watched.read = record.position
            for checker in watched.checkers:
                checker.read(record)
        for checker in watched.checkers:
            checker.end(watched.read)
            if checker.violation is not None:
                raise Violated(host, checker.violation)

    # --- quiet points

    def _be_quiet(self, host: SimulatedHost) -> None:
        """Let nothing go wrong, make good what did, and check everything."""
        host.faults.is_off = True
        watched = self._watched[host.name]
        host.drop_foreigners()
        self.world.clock.sleep(RETRY_MOST_SECONDS)
        host.controller.execute([])
        if watched.is_troubled or self._was_struck(host):
            self._mend(host)
        with host.controller.reading() as views:
            owed = list(views.faults.owed)
        if owed:
            raise Violated(host, Violation("owed", self._head(host), f"still owed when nothing fails: {owed[0][1]}"))
        for found in check_everything(host.controller):
            position = found.position or self._head(host)  # what is about the whole log is so as of its end
            raise Violated(host, Violation(found.checker, position, found.words))
        self._ask(host)
        watched.is_troubled = False
        watched.struck = _struck(host.faults.injected)
        host.faults.is_off = False

    def _mend(self, host: SimulatedHost) -> None:
        done = repair(host.controller, actor=ACTOR, reason="a quiet point")
        if not done.comparison.agrees:
            self.summary.repairs += 1
            self.summary.repaired_steps += len(done.comparison.lines)
        if done.faults:
            words = f"cannot be repaired although nothing fails: {done.faults[0]}"
            raise Violated(host, Violation("repair", self._head(host), words))

    def _ask(self, host: SimulatedHost) -> None:
        """Ask who reaches whom, where the answer follows from the networks."""
        with host.controller.reading() as views:
            known = list(expectations(views, host.name, self.world.outside, self.world.fabric))
        while len(known) > QUESTIONS:
            known.pop(host.faults.choose(len(known)))
        for question, right, because in known:
            asked = self.world.fabric.reach(*question)
            self.summary.verdicts[asked.verdict] += 1
            if asked.verdict not in right:
                words = f"{_words(question)} ({because}): {asked}"
                raise Violated(host, Violation("reach", self._head(host), words))

    def _compare_with_anew(self) -> None:
        """Build every host anew from its log; each question has the same answer there."""
        fabric = Fabric()
        fabric.add_outside(OUTSIDE)
        for host in self.hosts:
            with host.controller.reading() as views:
                fabric.adopt(build(views, host.controller.host, host.name))
        for host, question in self._all_questions():
            lived, anew = self.world.fabric.reach(*question).verdict, fabric.reach(*question).verdict
            if lived != anew:
                words = f"{_words(question)}: {lived} in the kernel that lived through it all, {anew} in a new one"
                raise Violated(host, Violation("rebuilt", self._head(host), words))

    def _all_questions(self) -> Iterator[tuple[SimulatedHost, Question]]:
        for host in self.hosts:
            with host.controller.reading() as views:
                known = [one.question for one in expectations(views, host.name, self.world.outside, self.world.fabric)]
            yield from ((host, question) for question in known)

    # --- the end

    def _sum_up(self) -> None:
        summary = self.summary
        summary.take_coverage(self.coverage)
        for host in self.hosts:
            summary.faults.update(host.faults.injected)
            summary.slow_seconds += host.faults.delay_seconds
            summary.recoveries += host.recoveries
            summary.recovered_steps += host.recovered_steps
            summary.events += self._head(host)
        summary.simulated_seconds = (self.world.clock.now() - BEGINNING) / SECOND

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for host in self.hosts:
            digest.update(host.controller.ledger.verify().head_hash.encode())
            digest.update("\n".join(f"{key} {made}" for key, made in sorted(host.kernel.objects.items())).encode())
        return digest.hexdigest()

    def _head(self, host: SimulatedHost) -> Position:
        with suppress(Exception):  # asked for a report about what may be broken
            return host.controller.ledger.head
        return Position(0)


class _Watched(Struct):
    """What a run remembers of a host between its steps."""

    read: int = 0
    is_troubled: bool = False
    """Whether its kernel may differ from its log for a reason that is no step's failure."""
    struck: int = 0
    dies_at_the_end: bool = False
    checkers: list[Checker] = []

    def __post_init__(self) -> None:
        self.checkers = [checker() for checker in CHECKERS]


def _has_parent(host: SimulatedHost, command: Command) -> bool:
    """Whether a host has the interface that a network is to stand on; one of a VLAN is made."""
    parent = str(command.options.get("parent", "")) if isinstance(command, CreateNetwork) else ""
    return not parent or parent.partition(".")[0] in host.kernel.own.devices


def _is_quiet(step: int) -> bool:
    return step % next(every for until, every in QUIET_EVERY if step <= until) == 0


def _struck(injected: Counter[str]) -> int:
    return injected[Kind.FAIL] + injected[Kind.HALF]


def _die() -> None:
    raise Died


def _with_steps(settings: Settings, steps: int) -> Settings:
    return Settings(settings.seed, steps, settings.hosts, settings.plan)


def _words(question: Question) -> str:
    source, destination, protocol, port = question
    return f"{source} -> {format_address(destination)} protocol {protocol} port {port}"


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {frames[-1].filename.rpartition('netledger/')[2]}:{frames[-1].lineno}" if frames else ""
