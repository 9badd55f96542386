"""The subscriber: committed events in, kernel effects out; the only caller of `apply`.

Keeps: nothing is applied that is not committed; what was committed up to `applied` is in the kernel or is a fault.
Live operation, recovery, rebuild and repair differ only in where they start and whether they observe first.
Knows nothing of: commands, rules, who asked.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct, structs

from ..domain.errors import DataplaneFault
from ..domain.events import Entity, Event
from ..domain.objects import (
    HOST_NAMESPACE,
    TRACELESS,
    Firewall,
    Ipvlan,
    KernelObject,
    Key,
    Macvlan,
    Sysctl,
    is_of_firewall,
)
from ..domain.values import HostId, Position, SandboxId
from ..projections.desired import Objects, Pending, entities, lower, lower_everything
from ..projections.views import Views
from .contract import HERE, Dataplane, Observation, Outcome, Place, Plan, Status, Step, Verb
from .places import Whereabouts, as_place, look_for
from .plan import Stray, difference

RETRY_FIRST_SECONDS = 1.0
RETRY_MOST_SECONDS = 60.0


class Fault(Struct, frozen=True):
    """A step that failed, and the entity whose object it is."""

    owner: Entity
    outcome: Outcome


class Advance(Struct, frozen=True):
    """What one advance did: its plan, an outcome for each step, and the faults among them.

    `mended` are the steps that had been faults before. `restored`: what of the firewall somebody had taken away, and
    was to be made again: with what is new, which cannot be added to one that is not whole, or beside what is to go.
    """

    plan: Plan
    outcomes: tuple[Outcome, ...]
    faults: tuple[Fault, ...]
    mended: tuple[Step, ...]
    restored: tuple[Step, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that found something to do."""
        return tuple(outcome.step for outcome in self.outcomes if outcome.status is not Status.ALREADY)


class _Owed(Struct):
    """An object that could not be made or removed, where that was, and when it is tried again."""

    owner: Entity
    object: KernelObject
    place: Place | None
    next_at: float
    pause_seconds: float


_Debt: TypeAlias = tuple[Key, Place | None]
"""What is owed: the object, and where it is a stray."""


class Subscriber:
    """Drive one dataplane of one host along the log."""

    def __init__(
        self,
        views: Views,
        host: HostId,
        dataplane: Dataplane,
        applied: Position,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.applied = applied
        self._views = views
        self._host = host
        self._dataplane = dataplane
        self._clock = clock or (lambda: time.monotonic())  # noqa: PLW0108  # whatever `time` is when it is asked
        self._pending = Pending(views, host)
        self._whereabouts = Whereabouts(views)
        self._owed: dict[_Debt, _Owed] = {}
        self._omits_firewall: bool | None = None
        """Whether no object of the firewall is to be asked of the dataplane; known when it is first asked for any."""

    def note(self, event: Event) -> None:
        """Take notice of an event that is about to be folded into the views."""
        self._whereabouts.note(event, self._pending.note(event))

    def begin(self) -> None:
        """Mark where a speculative fold begins."""
        self._pending.begin()
        self._whereabouts.begin()

    def undo(self) -> None:
        """Forget what was noted since `begin`."""
        self._pending.undo()
        self._whereabouts.undo()

    @property
    def owes(self) -> bool:
        """Whether there are faults that are still to be tried again."""
        return bool(self._owed)

    def start_over(self, views: Views, *, in_part: bool) -> None:
        """Forget what was noted and go on with other views, of position `applied`.

        `in_part`: what is noted from here on may have been applied in part, by a process that died or in an advance
        that was interrupted.
        """
        self._views = views
        self._pending = Pending(views, self._host)
        self._pending.every_state = in_part
        self._whereabouts.start_over(views)

    def use_firewall(self, backend: str) -> None:
        """Have the dataplane program another firewall backend from here on."""
        self._dataplane.use_firewall(backend)
        self._omits_firewall = None

    @property
    def is_behind(self) -> bool:
        """Whether anything was noted that is not applied yet."""
        return any(self._pending.look())

    def make_firewall(self) -> Advance:
        """Program the firewall as the log calls for it, and touch nothing else: what is behind stays behind."""
        advance = self._apply(self._plan_firewall(self.observe().objects), self._owners())
        if not self.is_behind:
            self.applied = self._views.position
        return advance

    def advance(self) -> Advance:
        """Apply everything noted since the last advance, without observing.

        One that is interrupted has forgotten nothing: the next one repeats it, as a start after a crash would.
        """
        before, between = self._pending.look()
        self._pending.every_state = True
        after = {entity: lower(self._views, entity) for entity in before}
        there, were = _merge(between, before)
        wanted, owners = _merge(after)
        owners = were | owners
        for entity in between:  # which of its states the kernel is in is not known, so all of it is made
            for key in after[entity]:
                there.pop(key, None)
        self._refile_owed()
        strays = self._whereabouts.strays(there, wanted)
        self._whereabouts.leave_behind(there, strays)
        self._add_owed(there, wanted, owners, strays)
        advance = self._apply(self._plan(wanted, there, strays), owners)
        if any(map(_is_lost, advance.faults)):
            advance = self._restore_firewall(advance)
        elif any(map(_was_gone, advance.outcomes)):
            advance = self._restore_beside(advance)
        self._forget_pending()
        return advance

    def observe(self) -> Observation:
        """Read back what is in the kernel."""
        wanted = lower(self._views, ("host", self._host)).values()
        settings = tuple(made.name for made in wanted if isinstance(made, Sysctl) and made.sandbox == HOST_NAMESPACE)
        here = structs.replace(HERE, settings=settings)
        return self._dataplane.observe({HOST_NAMESPACE: here, **self._all_places()})

    def compare(self) -> tuple[Plan, Observation]:
        """Plan what makes the kernel into what the log calls for."""
        observation = self.observe()
        everything = lower_everything(self._views, self._host)
        wanted = {key: made for key, made in everything.items() if key not in observation.edited}
        self._refile_owed()
        strays = self._whereabouts.strays(observation.objects, everything)
        strays.update((_stray_of(owed), None) for (_, place), owed in self._owed.items() if place is not None)
        return self._plan(wanted, observation.objects, look_for(self._dataplane, strays)), observation

    def carry_out(self, plan: Plan) -> Advance:
        """Apply a plan made by `compare`; what was noted until now is covered by it."""
        self._pending.every_state = True
        planned = {_debt(step) for step in plan.steps}
        self._owed = {debt: owed for debt, owed in self._owed.items() if debt in planned}
        advance = self._apply(plan, self._owners())
        self._forget_pending()
        return advance

    def _restore_firewall(self, advance: Advance) -> Advance:
        """Program the whole firewall anew where an advance found that it is not there, or not whole."""
        try:
            objects = self._dataplane.observe({}).objects
        except DataplaneFault:
            return advance  # it cannot even be looked at
        if Firewall().key in objects:
            return advance  # something else ails it
        plan = self._plan_firewall(objects)
        again = self._apply(plan, self._owners())
        ended = {outcome.step.key: outcome for outcome in again.outcomes}
        lost = {fault.outcome.step.key for fault in advance.faults if _is_lost(fault)}
        asked = {step.key for step in advance.plan.steps}
        for key in lost - ended.keys():
            self._owed.pop((key, None), None)
        return Advance(
            advance.plan,
            tuple(
                ended.get(each.step.key, Outcome(each.step, Status.ALREADY)) if each.step.key in lost else each
                for each in advance.outcomes
            ),
            (*(fault for fault in advance.faults if fault.outcome.step.key not in lost), *again.faults),
            (*advance.mended, *again.mended),
            tuple(step for step in plan.steps if step.key not in asked),
        )

    def _restore_beside(self, advance: Advance) -> Advance:
        """Do the same where an advance itself was done; that the rest cannot be had is no fault of what it removed."""
        owed = dict(self._owed)
        restored = self._restore_firewall(advance)
        if restored.faults == advance.faults:
            return restored
        self._owed = owed
        return advance

    def _plan_firewall(self, there: Objects) -> Plan:
        """Plan what makes the rules that are there into those that the log calls for, and nothing else."""
        wanted = lower_everything(self._views, self._host)
        return self._plan(
            {key: made for key, made in wanted.items() if is_of_firewall(made)},
            {key: made for key, made in there.items() if is_of_firewall(made)},
        )

    def _owners(self) -> dict[Key, Entity]:
        """Say of each object that is called for whose it is."""
        owners: dict[Key, Entity] = {}
        for entity in entities(self._views, self._host):
            owners.update(dict.fromkeys(lower(self._views, entity), entity))
        return owners

    def _forget_pending(self) -> None:
        """Take what was noted for applied: only when all of it is, what had to be restored included."""
        self.applied = self._views.position
        self._pending.take()
        self._pending.every_state = False
        self._whereabouts.forget_interfaces()

    def _plan(self, wanted: Objects, there: Objects, strays: Iterable[Stray] = ()) -> Plan:
        if self._omits_firewall is None and any(map(is_of_firewall, wanted.values())):
            self._omits_firewall = self._dataplane.capabilities().omits_firewall
        if self._omits_firewall:
            wanted = {key: made for key, made in wanted.items() if not is_of_firewall(made)}
        places: dict[SandboxId, Place] = {}
        for made in (*wanted.values(), *there.values()):
            sandbox = getattr(made, "sandbox", HOST_NAMESPACE)
            if sandbox and sandbox not in places:
                place = self._whereabouts.place_now(sandbox)
                if place is not None:
                    places[sandbox] = place
        return difference(wanted, there, places, strays)

    def _apply(self, plan: Plan, owners: Mapping[Key, Entity]) -> Advance:
        outcomes: tuple[Outcome, ...] = ()
        if plan.steps:
            outcomes = tuple(self._dataplane.apply(plan))
        assert len(outcomes) == len(plan.steps), "a dataplane answers for every step"
        faults, mended = [], []
        for outcome in outcomes:
            if outcome.status is Status.FAULT and isinstance(outcome.step.object, TRACELESS):
                continue  # an announcement that was not heard is late, and nothing to be undone for
            if outcome.status is Status.FAULT:
                owner = owners.get(outcome.step.key, ("host", self._host))
                faults.append(Fault(owner, outcome))
                self._owe(owner, outcome, plan.places)
            elif self._owed and self._owed.pop(_debt(outcome.step), None) is not None:
                mended.append(outcome.step)
        if not self._owed:
            self._whereabouts.forget_places()
        return Advance(plan, outcomes, tuple(faults), tuple(mended))

    def _owe(self, owner: Entity, outcome: Outcome, places: Mapping[SandboxId, Place]) -> None:
        debt, made = _debt(outcome.step), outcome.step.object
        known = self._owed.get(debt)
        pause = min(known.pause_seconds * 2, RETRY_MOST_SECONDS) if known else RETRY_FIRST_SECONDS
        place = outcome.step.place
        if place is None and isinstance(made, Macvlan | Ipvlan):
            place = HERE if made.sandbox == HOST_NAMESPACE else places.get(made.sandbox)
        self._owed[debt] = _Owed(owner, made, place, self._clock() + pause, pause)

    def _add_owed(
        self,
        there: dict[Key, KernelObject],
        wanted: dict[Key, KernelObject],
        owners: dict[Key, Entity],
        strays: dict[Stray, None],
    ) -> None:
        """Plan once more what failed and is due: to be made if it is still called for, else to be removed."""
        now = self._clock()
        for (key, place), owed in self._owed.items():
            is_in_the_way = place is not None and key in wanted
            if owed.next_at > now and not is_in_the_way:
                continue
            owners.setdefault(key, owed.owner)
            if place is not None:
                strays[_stray_of(owed)] = None
                continue
            still = wanted.get(key) or lower(self._views, owed.owner).get(key)
            if still is None:
                there.setdefault(key, owed.object)
            else:
                wanted[key] = still
                there.pop(key, None)

    def _refile_owed(self) -> None:
        """File as a stray the owed interface that has become one, and as itself the one that is a stray no more."""
        for debt, owed in list(self._owed.items()):
            made, place = owed.object, owed.place
            if place is None or not isinstance(made, Macvlan | Ipvlan):
                continue
            wanted = lower(self._views, owed.owner).get(made.key)
            is_stray = not self._whereabouts.is_at(
                made, place, wanted if isinstance(wanted, Macvlan | Ipvlan) else made
            )
            self._owed[made.key, place if is_stray else None] = self._owed.pop(debt)

    def _all_places(self) -> dict[SandboxId, Place]:
        places = {}
        for sandbox, record in self._views.sandboxes.sandboxes.items():
            if record.event.host == self._host:
                places[sandbox] = as_place(record.event)
        return places


def _debt(step: Step) -> _Debt:
    return step.key, step.place


def _stray_of(owed: _Owed) -> Stray:
    assert isinstance(owed.object, Macvlan | Ipvlan), "nothing else is a stray"
    assert owed.place is not None, "it is known where a stray is"
    return owed.object, owed.place


def _is_lost(fault: Fault) -> bool:
    """Whether a fault says that the firewall is not there, or not the part of it that something was to be put into."""
    outcome = fault.outcome
    is_made = outcome.step.verb is not Verb.REMOVE and is_of_firewall(outcome.step.object)
    return is_made and outcome.fault is not None and outcome.fault.number == errno.ENOENT


def _was_gone(outcome: Outcome) -> bool:
    """Whether what was to be removed from the firewall was not there: a sign that more is not, if no fault."""
    is_removed = outcome.step.verb is Verb.REMOVE and outcome.status is Status.ALREADY
    return is_removed and is_of_firewall(outcome.step.object)


def _merge(*states: Mapping[Entity, Objects]) -> tuple[dict[Key, KernelObject], dict[Key, Entity]]:
    """Put what entities call for together, the later over the earlier, and say whose each object is."""
    merged: dict[Key, KernelObject] = {}
    owners: dict[Key, Entity] = {}
    for state in states:
        for entity, objects in state.items():
            merged.update(objects)
            owners.update(dict.fromkeys(objects, entity))
    return merged, owners
