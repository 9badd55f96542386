"""Plans: what makes one set of objects into another, in an order that works.

Keeps: the same difference gives the same plan, printed the same way; a plan between equal sets is empty.
Knows nothing of: how a step is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..domain.objects import (
    MAKING_ORDER,
    TRACELESS,
    Address,
    Ground,
    Ipvlan,
    KernelObject,
    Key,
    Macvlan,
    Route,
    offers,
    stands_on,
)
from ..domain.values import SandboxId
from .contract import Place, Plan, Step, Verb

Parented: TypeAlias = Macvlan | Ipvlan
Stray: TypeAlias = tuple[Parented, Place]
"""An interface that may be in a namespace where it is not wanted, and that namespace."""


def difference(
    desired: Mapping[Key, KernelObject],
    observed: Mapping[Key, KernelObject],
    places: Mapping[SandboxId, Place],
    strays: Iterable[Stray] = (),
) -> Plan:
    """Plan what makes `observed` into `desired`: removals first, the last made first; then what is made anew.

    What stands on something that is removed or replaced goes with it, so it is made again. So do the routes of an
    interface with its last address, for all that the kernel sees: the new one comes when the old one is gone. What
    leaves no trace is done when something that it stands on is made, and never undone.

    `observed` is what is at `places`. `strays` are elsewhere, and removed there, whatever is desired.
    """
    observed = {key: there for key, there in observed.items() if not isinstance(there, TRACELESS)}
    steps = [Step(Verb.REMOVE, there) for key, there in observed.items() if key not in desired]
    steps += [Step(Verb.REMOVE, stray, place=place) for stray, place in strays]
    made: set[Ground] = set()
    gone = {ground for key, there in observed.items() if desired.get(key) != there for ground in offers(there)}
    bared = {
        (there.sandbox, there.device)
        for key, there in observed.items()
        if isinstance(there, Address) and key not in desired
    }
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
        elif isinstance(wanted, Route) and (wanted.sandbox, wanted.device) in bared:
            steps.append(Step(Verb.MAKE, wanted))
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


def _order(step: Step) -> tuple[int, int, str, str]:
    rank, path = MAKING_ORDER[type(step.object)], step.place.path if step.place is not None else ""
    return (0, -rank, step.key, path) if step.verb is Verb.REMOVE else (1, rank, step.key, path)


def _line(step: Step) -> str:
    if step.verb is Verb.MAKE:
        return f"+ {step.object}"
    if step.verb is Verb.REMOVE:
        where = step.place.path or "the host" if step.place is not None else ""
        return f"- {step.object}, left at {where}" if where else f"- {step.object}"
    return f"~ {step.object} (was: {step.was})"
