"""The interpreter: plays a script on a stage, and tells where the outcome is not the expected one.

Keeps: every line of a block is carried out, whatever came of the one before; the same script has the same outcome.
Knows nothing of: what any rule decides.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff

from msgspec import Struct

from ...dataplanes.contract import Claim
from ...dataplanes.simulated import KernelError
from ...domain.commands import Command
from ...domain.errors import Invalid, NetledgerError, NotFound
from ...domain.facts import NamespaceIdentity
from ...domain.values import parse_port
from ...engine.controller import Controller
from ...engine.reconcile import Reconciliation
from ...replay import rebuild, repair
from ..desk import identifier
from . import questions
from .grammar import ANYTHING, INLINE, Block, Line, Program
from .reading import commands_of, is_command, parse_identity, parse_interface
from .stage import Stage, matches
from .telling import tell_error, tell_event

TROUBLE = re.compile(r"(refused|fault|error): ")
"""How the outcome of what did not go well begins."""
FIRST_COOKIE = 1000
"""Of a namespace whose identity a script does not give."""


class Difference(Struct, frozen=True):
    """A block whose outcome was not the expected one: what was expected (None: that all goes well) and what came."""

    source: str
    block: Block
    expected: tuple[str, ...] | None
    outcome: tuple[str, ...]

    def __str__(self) -> str:
        first = self.block.lines[0]
        more = f" (and {len(self.block.lines) - 1} more)" if len(self.block.lines) > 1 else ""
        head = f"{self.source}:{first.number}: {first.text}{more}"
        if self.expected is None:
            told = [f"    {line}" for line in self.outcome]
            return "\n".join([head, "  a block without ---- sets something up, and this did not go well:", *told])
        lines = unified_diff(self.expected, self.outcome, "expected", "came", lineterm="")
        told = [head, *(f"    {line}" for line in lines)]
        if self.source != INLINE:
            told.append(
                f"  to accept what came: python -m netledger.testing.scripts --accept {shlex.quote(self.source)}"
            )
        return "\n".join(told)


def run(program: Program, on: Controller | Stage) -> list[Difference]:
    """Play a script on a stage, or on an open controller, and tell where the outcome is not the expected one.

    On a controller that somebody else opened the process cannot end and no fault can be made to come: such lines are
    refused.
    """
    stage = on if isinstance(on, Stage) else Stage(on)
    played = ((block, play(block, stage)) for block in program.blocks)
    return [Difference(program.source, block, block.expected, came) for block, came in played if _differs(block, came)]


def play(block: Block, stage: Stage) -> tuple[str, ...]:
    """Carry out the lines of a block; return the outcome."""
    first, *rest = block.lines
    try:
        if first.verb in ("batch", "crash"):
            return tuple(_guarded(stage, lambda: _together(stage, rest, is_crash=first.verb == "crash")))
        return tuple(line for each in block.lines for line in _one(stage, each))
    except Exception as bug:
        bug.add_note(f"while playing {first.source}:{first.number}: {first.text}")
        raise


def _differs(block: Block, came: tuple[str, ...]) -> bool:
    if block.expected is None:
        return any(TROUBLE.match(line) for line in came)
    return block.expected not in (came, ANYTHING)


def _one(stage: Stage, line: Line) -> list[str]:
    if is_command(line):
        return _guarded(stage, lambda: _execute(stage, _read(stage, [line])))
    return _guarded(stage, lambda: _ACTIONS[line.verb](stage, line))


def _guarded(stage: Stage, action: Callable[[], list[str]]) -> list[str]:
    """Carry something out; what stops it is its outcome, after the events that came of it all the same."""
    try:
        return action()
    except (NetledgerError, KernelError, ExceptionGroup) as error:
        return [*_news(stage), *tell_error(stage.names, error)]


# --- commands


def _read(stage: Stage, lines: Sequence[Line]) -> list[Command]:
    for word in (word for line in lines for word in (*line.places, *line.all("--lease"))):
        stage.names.suppose(identifier(word), word)
    with stage.controller.reading() as views:
        return [command for line in lines for command in commands_of(line, views)]


def _execute(stage: Stage, commands: Sequence[Command]) -> list[str]:
    results = stage.controller.execute(commands)
    told = [line for result in results if result.error is not None for line in tell_error(stage.names, result.error)]
    for result in results:
        for fault in result.faults:
            told += tell_error(stage.names, fault.outcome.fault) if fault.outcome.fault is not None else []
    return [*_news(stage), *(stage.names.told(line) for line in dict.fromkeys(told))]


def _together(stage: Stage, lines: Sequence[Line], *, is_crash: bool) -> list[str]:
    stranger = next((line for line in lines if not is_command(line)), None)
    if stranger is not None:
        raise Invalid(f"{stranger.verb} in a batch", "it is no command of the engine", "give it a block of its own")
    commands = _read(stage, lines)
    if not is_crash:
        return _execute(stage, commands)
    errors = stage.crash(commands)
    told = [line for error in errors for line in tell_error(stage.names, error)]
    return [*_news(stage), *told, *_recovered(stage)]


def _news(stage: Stage) -> list[str]:
    return [line for event in stage.learn() for line in tell_event(stage.names, event)]


def _recovered(stage: Stage) -> list[str]:
    """Tell what opening made good."""
    recovery = stage.controller.recovery
    if recovery is None:
        return []
    faults = [stage.names.told(f"fault: {fault}") for fault in recovery.faults]
    return ["recovered:", *(f"  {stage.names.told(step)}" for step in recovery.steps), *faults]


# --- what befalls the process, the host and its kernel


def _restart(stage: Stage, _: Line) -> list[str]:
    stage.restart()
    return [*_news(stage), *_recovered(stage)]


def _reboot(stage: Stage, _: Line) -> list[str]:
    stage.reboot()
    return [*_news(stage), *_recovered(stage)]


def _repair(stage: Stage, _: Line) -> list[str]:
    return _reconciled(stage, repair(stage.controller))


def _rebuild(stage: Stage, _: Line) -> list[str]:
    return _reconciled(stage, rebuild(stage.controller))


def _reconciled(stage: Stage, done: Reconciliation) -> list[str]:
    if done.comparison.agrees:
        return questions.tell_comparison(stage.names, done.comparison)
    return [*_news(stage), *(stage.names.told(f"fault: {fault}") for fault in done.faults)]


def _fail(stage: Stage, line: Line) -> list[str]:
    pattern, name = line.places
    number, times = getattr(errno, name, None), line.one("--times", "1")
    if not isinstance(number, int):
        raise Invalid(f"errno {name!r}", "there is none of that name", "write it like ENOSPC")
    if not times.isdecimal() or not int(times):
        raise Invalid(f"--times {times}", "not a number from 1")
    stage.fail(pattern, number, int(times))
    return []


def _kernel_remove(stage: Stage, line: Line) -> list[str]:
    """Let somebody remove what has such a key, and with it what cannot be without it; tell everything that is gone."""
    kernel = stage.simulated(line.text).kernel
    (pattern,) = line.places
    before = {key: stage.names.told(key) for key in kernel.objects}
    wanted = [key for key, told in before.items() if matches(told, pattern)]
    if not wanted:
        there = ", ".join(sorted(before.values())) or "nothing"
        raise NotFound(f"object {pattern!r}", "it is not in the kernel", f"there is {there}")
    for key in wanted:
        if key in kernel.objects:
            kernel.remove(kernel.objects[key])
    return sorted(f"  - {told}" for key, told in before.items() if key not in kernel.objects)


def _kernel_clear(stage: Stage, line: Line) -> list[str]:
    stage.simulated(line.text).kernel.clear()
    return []


def _kernel_add(stage: Stage, line: Line) -> list[str]:
    """Let somebody else have an interface: a bridge, or one of no kind that we know."""
    kernel = stage.simulated(line.text).kernel
    addresses = [parse_interface(text) for text in line.all("--address")]
    if addresses and not line.has("--bridge"):
        raise Invalid(line.text, "only a bridge has addresses here", "give --bridge, too")
    if line.has("--bridge"):
        kernel.add_bridge(line.places[0], *addresses)
    else:
        kernel.add_interface(line.places[0], "somebody's interface")
    return []


def _kernel_unplug(stage: Stage, line: Line) -> list[str]:
    kernel = stage.simulated(line.text).kernel
    (name,) = line.places
    if name not in kernel.own.devices:
        raise NotFound(
            f"interface {name!r}", "it is not in the host's namespace", f"there are {', '.join(kernel.own.devices)}"
        )
    kernel.unplug(name)
    return []


def _kernel_listen(stage: Stage, line: Line) -> list[str]:
    dataplane = stage.simulated(line.text)
    port = parse_port(line.places[0])
    for address in (port.host_address,) if port.host_address else (bytes(4), bytes(16)):
        claim = Claim(protocol=port.protocol, host_address=address, host_port=port.host_port or port.port)
        dataplane.obstacles[claim] = "another process"
    return []


def _netns_add(stage: Stage, line: Line) -> list[str]:
    dataplane = stage.simulated(line.text)
    path, *identity = line.places
    free = FIRST_COOKIE + len(dataplane.namespaces)
    dataplane.namespaces[path] = (
        parse_identity(identity[0]) if identity else NamespaceIdentity(dataplane.boot_id(), free)
    )
    return []


def _netns_rm(stage: Stage, line: Line) -> list[str]:
    (path,) = line.places
    if stage.simulated(line.text).namespaces.pop(path, None) is None:
        raise NotFound(f"namespace {path!r}", "there is none at that path")
    return []


def _misplaced(_: Stage, line: Line) -> list[str]:
    raise Invalid(line.verb, "it is not the first line of its block", "put a blank line above it")


_ACTIONS: Mapping[str, Callable[[Stage, Line], list[str]]] = {
    "batch": _misplaced,
    "crash": _misplaced,
    "reach": questions.reach,
    "matrix": questions.matrix,
    "show": questions.show,
    "objects": questions.objects,
    "drift": questions.compare,
    "check": questions.check,
    "repair": _repair,
    "rebuild": _rebuild,
    "restart": _restart,
    "reboot": _reboot,
    "fail": _fail,
    "kernel remove": _kernel_remove,
    "kernel clear": _kernel_clear,
    "kernel add": _kernel_add,
    "kernel unplug": _kernel_unplug,
    "kernel listen": _kernel_listen,
    "netns add": _netns_add,
    "netns rm": _netns_rm,
}
