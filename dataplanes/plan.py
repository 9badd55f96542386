"""Plans: what makes one set of objects into another, in an order that works.

Keeps: the same difference gives the same plan, printed the same way; a plan between equal sets is empty.
Knows nothing of: how a step is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ..domain.objects import MAKING_ORDER, TRACELESS, Ground, KernelObject, Key, offers, stands_on
from ..domain.values import SandboxId
from .contract import Place, Plan, Step, Verb


def difference(
    desired: Mapping[Key, KernelObject], observed: Mapping[Key, KernelObject], places: Mapping[SandboxId, Place]
) -> Plan:
    """Plan what makes `observed` into `desired`: removals first, the last made first; then what is made anew.

    What stands on something that is removed or replaced goes with it, so it is made again. What leaves no trace is done
    when something that it stands on is made, and never undone.
    """
    observed = {key: there for key, there in observed.items() if not isinstance(there, TRACELESS)}
    steps = [Step(Verb.REMOVE, there) for key, there in observed.items() if key not in desired]
    made: set[Ground] = set()
    gone = {ground for key, there in observed.items() if desired.get(key) != there for ground in offers(there)}
    for key, wanted in sorted(desired.items(), key=lambda item: MAKING_ORDER[type(item[1])]):
        there = observed.get(key)
        if isinstance(wanted, TRACELESS):
            steps += [] if made.isdisjoint(stands_on(wanted)) else [Step(Verb.MAKE, wanted)]
            continue
        if there is None:
            steps.append(Step(Verb.MAKE, wanted))
        elif there != wanted:
            steps.append(Step(Verb.REPLACE, wanted, there))
        elif not gone.isdisjoint(stands_on(wanted)):
            steps.append(Step(Verb.MAKE, wanted))
            gone.update(offers(wanted))
        else:
            continue
        made.update(offers(wanted))
    return Plan(tuple(sorted(steps, key=_order)), places)


def describe(steps: Iterable[Step]) -> tuple[str, ...]:
    """Print steps, a line each: `+` made, `-` removed, `~` put in the place of what is there."""
    return tuple(_line(step) for step in steps)


def digest(plan: Plan) -> str:
    """Hash a plan, by which one that was shown can be told from another (SHA-256, 16 hex digits)."""
    lines = (f"{step.key} {_line(step)}" for step in plan.steps)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _order(step: Step) -> tuple[int, int, str]:
    rank = MAKING_ORDER[type(step.object)]
    return (0, -rank, step.key) if step.verb is Verb.REMOVE else (1, rank, step.key)


def _line(step: Step) -> str:
    if step.verb is Verb.MAKE:
        return f"+ {step.object}"
    if step.verb is Verb.REMOVE:
        return f"- {step.object}"
    return f"~ {step.object} (was: {step.was})"
