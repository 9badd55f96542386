"""Reconciling: the host against the log, by observing.

Keeps: what is found and what is mended are events; a host that agrees with the log gives none.
Knows nothing of: how a difference is found or applied.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..dataplanes.contract import Observation, Plan, Verb
from ..dataplanes.plan import describe, digest
from ..domain.errors import Conflict, Forbidden, LedgerDamaged, Unavailable
from ..domain.events import DriftDetected, DriftRepaired, Event, HostRebuilt, Origin
from ..domain.values import Position, SandboxId
from .controller import Controller
from .firewalls import choose_at_start, finish, follow, is_to_move
from .machine import Machine, describe_faults
from .opening import lost_sandboxes
from .requests import Author, author
from .surroundings import here

Recording = Callable[[Origin, Plan], Event]


class Comparison(Struct, frozen=True):
    """How a host differs from its log: the plan that would mend it, a line a step, and its digest.

    `dying`: objects that are on their way out. `lost`: sandboxes whose namespace, which is not ours, is gone.
    `retiring`: firewalls that the host was moved from, whose rules are still to be taken away.
    """

    lines: tuple[str, ...]
    digest: str
    dying: tuple[str, ...]
    lost: tuple[str, ...]
    retiring: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.lines and not self.lost and not self.retiring


class Reconciliation(Struct, frozen=True):
    """What was mended: the comparison that it began with, and what could not be mended."""

    comparison: Comparison
    faults: tuple[str, ...]


def compare(controller: Controller) -> Comparison:
    """Observe the host and compare it with the log; changes neither."""
    with controller.working() as machine:
        machine.catch_up()
        return _compare(machine)[0]


def repair(
    controller: Controller, *, actor: str | None = None, reason: str = "", expected: str | None = None
) -> Reconciliation:
    """Mend the difference between host and log, and record what was found and what was mended.

    `expected` is the digest of the plan that was shown; another one by now is a conflict, and nothing is done.
    """
    return _reconcile(
        controller,
        author(actor, reason, None),
        expected,
        found=lambda origin, plan: DriftDetected(*origin, differences=describe(plan.steps)),
        mended=lambda origin, plan: DriftRepaired(*origin, repairs=describe(plan.steps)),
    )


def rebuild(
    controller: Controller, *, actor: str | None = None, reason: str = "", expected: str | None = None
) -> Reconciliation:
    """Make the host what the log says, from whatever is there, and record that it was done."""
    return _reconcile(controller, author(actor, reason, None), expected, found=None, mended=_rebuilt)


def _reconcile(
    controller: Controller,
    who: Author,
    expected: str | None,
    *,
    found: Recording | None,
    mended: Recording,
) -> Reconciliation:
    with controller.working() as machine:
        if controller.is_read_only:
            raise Forbidden("change the host", "this controller was opened read-only", "open it without read_only")
        if machine.ledger.damage is not None:
            raise LedgerDamaged(machine.ledger.damage)
        machine.catch_up()
        if expected is not None:  # before anything is chosen
            _check_expected(_compare(machine)[0], expected)
        choose_at_start(machine, who, None)
        comparison, plan = _compare(machine)
        if comparison.agrees:
            return Reconciliation(comparison, ())
        expected_position = machine.views.position
        if found is not None and plan.steps:
            machine.record([found(machine.origin(who, here().now()), plan)])
            expected_position = Position(expected_position + 1)
        losses = lost_sandboxes(machine, "found by observing")
        if losses:
            for result in machine.execute(losses, who):
                result.check()
        if machine.views.position != expected_position:  # what is lost has ended, or another writer came in between
            plan = _compare(machine)[1]
        follow(machine)
        faults = describe_faults(machine.carry_out(plan, who, mended).faults)
        kept = finish(machine, who)
        if kept:
            faults += (f"the rules of the firewall {' and '.join(comparison.retiring)} stay: {kept}",)
        return Reconciliation(comparison, faults)


def _check_expected(comparison: Comparison, expected: str) -> None:
    """Refuse to carry out another plan than the one that was shown."""
    if comparison.digest != expected:
        raise Conflict(f"apply plan {expected}", f"it would be plan {comparison.digest} now", "look at it again")


def _compare(machine: Machine) -> tuple[Comparison, Plan]:
    """Compare with the firewall that the log says; one to which the host is still to be moved is not in use after."""
    if machine.subscriber is None or machine.dataplane is None:
        raise no_kernel("compare the host with the log")
    before = machine.dataplane.firewall
    follow(machine)
    try:
        plan, observation = machine.subscriber.compare()
    finally:
        if before and machine.dataplane.firewall != before and is_to_move(machine):
            machine.subscriber.use_firewall(before)
    known = {sandbox for sandbox in observation.lost if _is_known(machine, sandbox)}
    feasible = _feasible(plan, observation)
    is_volatile = machine.dataplane.is_volatile
    comparison = Comparison(
        describe(feasible.steps),
        digest(plan),
        tuple(sorted(observation.dying)),
        tuple(sorted(known)),
        () if is_volatile else machine.views.retiring(machine.host),
    )
    return comparison, feasible


def no_kernel(asked: str) -> Unavailable:
    """Say that there is no kernel to look at."""
    return Unavailable(asked, "the dataplane is `none`: there is no kernel to look at", "take the dataplane linux")


def _is_known(machine: Machine, sandbox: SandboxId) -> bool:
    """Whether it is on record which namespace a sandbox had: only then is its loss a fact."""
    record = machine.views.sandbox(sandbox)
    return record is not None and record.event.identity is not None


def _feasible(plan: Plan, observation: Observation) -> Plan:
    """Leave out what belongs into a namespace that is lost: its sandbox is to end instead."""
    steps = tuple(
        step
        for step in plan.steps
        if step.place is not None or getattr(step.object, "sandbox", None) not in observation.lost
    )
    return Plan(steps, plan.places)


def _rebuilt(origin: Origin, plan: Plan) -> HostRebuilt:
    counts = {verb: sum(step.verb is verb for step in plan.steps) for verb in Verb}
    return HostRebuilt(*origin, made=counts[Verb.MAKE], replaced=counts[Verb.REPLACE], removed=counts[Verb.REMOVE])
