"""The subscriber: committed events in, kernel effects out; the only caller of `apply`.

Keeps: nothing is applied that is not committed; what was committed up to `applied` is in the kernel or is a fault.
Live operation, recovery, rebuild and repair differ only in where they start and whether they observe first.
Knows nothing of: commands, rules, who asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from msgspec import Struct

from ..domain.events import Entity, Event
from ..domain.objects import HOST_NAMESPACE, KernelObject, Key
from ..domain.values import EndpointId, HostId, Position, SandboxId
from ..projections.desired import Objects, Pending, entities, lower, lower_everything
from ..projections.views import Views
from .contract import Dataplane, Observation, Outcome, Place, Plan, Status, Verb
from .plan import difference

RETRY_FIRST_SECONDS = 1.0
RETRY_MOST_SECONDS = 60.0


class Fault(Struct, frozen=True):
    """A step that failed, and the entity whose object it is."""

    owner: Entity
    outcome: Outcome


class Advance(Struct, frozen=True):
    """What one advance did: its plan, an outcome for each step, and the faults among them."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    faults: tuple[Fault, ...]


class _Owed(Struct):
    """An object that could not be removed, and when that is tried again."""

    owner: Entity
    object: KernelObject
    next_at: float
    pause_seconds: float


class Subscriber:
    """Drive one dataplane of one host along the log."""

    def __init__(self, views: Views, host: HostId, dataplane: Dataplane, applied: Position) -> None:
        self.applied = applied
        self._views = views
        self._host = host
        self._dataplane = dataplane
        self._pending = Pending(views, host)
        self._places: dict[SandboxId, Place] = {}
        self._owed: dict[Key, _Owed] = {}
        self._was_interrupted = False

    def note(self, event: Event) -> None:
        """Take notice of an event that is about to be folded into the views."""
        self._pending.note(event)
        for kind, identity in event.touched():
            self._remember_place(kind, identity)

    def begin(self) -> None:
        """Mark where a speculative fold begins."""
        self._pending.begin()

    def undo(self) -> None:
        """Forget what was noted since `begin`."""
        self._pending.undo()

    def recovering(self, *, yes: bool) -> None:
        """Say whether what is noted may have been applied in part by a process that died."""
        self._pending.every_state = yes

    def advance(self) -> Advance:
        """Apply everything noted since the last advance; without observing, unless the last one was interrupted."""
        if self._was_interrupted:
            plan, _ = self.compare()
            return self.carry_out(plan)
        before, between = self._pending.take()
        there: dict[Key, KernelObject] = {key: owned for key, (_, owned) in between.items()}
        owners: dict[Key, Entity] = {key: owner for key, (owner, _) in between.items()}
        wanted: dict[Key, KernelObject] = {}
        for entity in before:
            after = lower(self._views, entity)
            wanted.update(after)
            owners.update(dict.fromkeys((*before[entity], *after), entity))
        for key in wanted:
            there.pop(key, None)
        for objects in before.values():
            there.update(objects)
        self._add_owed(there, wanted, owners)
        return self._apply(self._plan(wanted, there), owners)

    def observe(self) -> Observation:
        """Read back what is in the kernel."""
        return self._dataplane.observe(self._all_places())

    def compare(self) -> tuple[Plan, Observation]:
        """Plan what makes the kernel into what the log calls for."""
        observation = self.observe()
        return self._plan(lower_everything(self._views, self._host), observation.objects), observation

    def carry_out(self, plan: Plan) -> Advance:
        """Apply a plan made by `compare`; what was noted until now is covered by it."""
        self._pending.take()
        self._owed.clear()
        owners: dict[Key, Entity] = {}
        for entity in entities(self._views, self._host):
            owners.update(dict.fromkeys(lower(self._views, entity), entity))
        return self._apply(plan, owners)

    def _plan(self, wanted: Objects, there: Objects) -> Plan:
        places: dict[SandboxId, Place] = {}
        for made in (*wanted.values(), *there.values()):
            sandbox = getattr(made, "sandbox", HOST_NAMESPACE)
            if sandbox and sandbox not in places:
                place = place_of(self._views, sandbox) or self._places.get(sandbox)
                if place is not None:
                    places[sandbox] = place
        return difference(wanted, there, places)

    def _apply(self, plan: Plan, owners: Mapping[Key, Entity]) -> Advance:
        outcomes: tuple[Outcome, ...] = ()
        if plan.steps:
            self._was_interrupted = True
            outcomes = tuple(self._dataplane.apply(plan))
            self._was_interrupted = False
        assert len(outcomes) == len(plan.steps), "a dataplane answers for every step"
        faults = []
        for outcome in outcomes:
            owner = owners.get(outcome.step.key, ("host", self._host))
            if outcome.status is Status.FAULT:
                faults.append(Fault(owner, outcome))
                if outcome.step.verb is Verb.REMOVE:
                    self._owe(owner, outcome)
            else:
                self._owed.pop(outcome.step.key, None)
        self.applied = self._views.position
        if not self._owed:
            self._places = {}
        return Advance(plan, outcomes, tuple(faults))

    def _owe(self, owner: Entity, outcome: Outcome) -> None:
        known = self._owed.get(outcome.step.key)
        pause = min(known.pause_seconds * 2, RETRY_MOST_SECONDS) if known else RETRY_FIRST_SECONDS
        self._owed[outcome.step.key] = _Owed(owner, outcome.step.object, time.monotonic() + pause, pause)

    def _add_owed(self, there: dict[Key, KernelObject], wanted: Objects, owners: dict[Key, Entity]) -> None:
        now = time.monotonic()
        for key, owed in self._owed.items():
            if owed.next_at <= now and key not in wanted and key not in there:
                there[key] = owed.object
                owners[key] = owed.owner

    def _remember_place(self, kind: str, identity: str) -> None:
        """Keep where a sandbox is, also when the events to come end it."""
        if kind == "sandbox":
            self._keep(SandboxId(identity))
        elif kind == "endpoint":
            joined = self._views.joined(EndpointId(identity))
            if joined is not None:
                self._keep(joined.event.sandbox)

    def _keep(self, sandbox: SandboxId) -> None:
        place = place_of(self._views, sandbox)
        if place is not None:
            self._places[sandbox] = place

    def _all_places(self) -> dict[SandboxId, Place]:
        places = {}
        for sandbox, record in self._views.sandboxes.sandboxes.items():
            if record.event.host == self._host:
                places[sandbox] = Place(record.event.kind, record.event.path, record.event.identity)
        return places


def place_of(views: Views, sandbox: SandboxId) -> Place | None:
    """Say where a sandbox's namespace is; None for one that is not there."""
    record = views.sandbox(sandbox)
    return Place(record.event.kind, record.event.path, record.event.identity) if record else None
