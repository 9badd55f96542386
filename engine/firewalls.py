"""Which firewall backend a host's dataplane programs, as the log says it; and moving a host from one to another.

Keeps: a move is an event before it is anything else; then the new backend's rules are made and read back, and only
then is taken away what the one before has programmed, and that is an event, too. Wherever it stops in between, the next
start goes on. Knows nothing of: rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from msgspec import Struct, structs

from ..dataplanes.contract import Plan
from ..dataplanes.subscriber import Advance
from ..domain.commands import ChooseFirewall, RetireFirewall
from ..domain.errors import DataplaneFault, Unavailable
from ..domain.firewalls import AUTO, AUTOMATIC, why
from ..domain.objects import Bridge, KernelObject, LoopbackAccess, is_of_firewall
from .requests import Asking, Author, author

if TYPE_CHECKING:
    from .controller import Controller
    from .machine import Machine

CATCHING_UP = 8
"""How often what others append during a move is applied before it goes on; the rest is left to the next advance."""
NOTHING = Advance(Plan((), {}), (), (), ())
NOT_THERE = "the new ones are not all there"


class FirewallRequest(Struct, frozen=True):
    """Which firewall a host is to have: a backend's name or `auto`, why, and under which request id.

    `force`: even if what the backend before it has programmed cannot be taken away.
    """

    name: str
    force: bool = False
    reason: str = ""
    request: str | None = None


class FirewallState(Struct, frozen=True):
    """Which firewall a host has, what was asked for, why it is this one, and which event says so.

    `retiring`: the backends before it whose rules are still to be taken away; `kept`: what was in the way of that,
    where it was tried. `at` is in UTC nanoseconds.
    """

    backend: str
    asked: str
    why: str
    retiring: tuple[str, ...]
    kept: str
    position: int
    at: int
    actor: str
    reason: str


class FirewallManagement:
    """The firewall of a controller's host."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def state(self) -> FirewallState | None:
        """Tell which firewall the host has, and why; None as long as none was chosen."""
        with self._controller.working() as machine:
            machine.catch_up()
            chosen = machine.views.firewall(machine.host)
            if chosen is None:
                return None
            event, retiring = chosen.event, machine.views.retiring(machine.host)
            return FirewallState(
                event.backend,
                event.asked,
                why(event),
                retiring,
                machine.kept_rules if retiring else "",
                chosen.position,
                event.at,
                event.actor,
                event.reason,
            )

    def use(self, name: str, *, force: bool = False, **asking: Unpack[Asking]) -> FirewallState:
        """Move the host to the firewall `nftables`, `iptables`, `none`, or `auto`: its own, else the first that works.

        When it returns, the new one's rules are in place and the old one's are gone, unless the answer has `retiring`:
        then the next start, or a repair, takes them away. Raises `Unavailable` where it cannot be used on this host, or
        what the one before has programmed cannot be taken away there; with `force`, that stays.
        """
        with self._controller.working():
            self._controller.do(ChooseFirewall(name, force), **asking)
            state = self.state()
        assert state is not None, "it was chosen"
        return state


def choose_at_start(machine: Machine, who: Author, wanted: FirewallRequest | None) -> None:
    """Choose what is wanted; without that, on a host that has none yet, the first that works.

    A dataplane that came with another than the first of all keeps it.
    Where none does, nothing is chosen: the networks that need one say so, and the next start asks again.
    """
    if wanted is not None:
        mine = author(who.actor, wanted.reason or who.reason, wanted.request)
        machine.commit([ChooseFirewall(wanted.name, wanted.force)], mine)[0].check()
    elif machine.dataplane is not None and machine.dataplane.firewall and machine.views.firewall(machine.host) is None:
        made_with = machine.dataplane.firewall
        first = AUTO if made_with == AUTOMATIC[0] else made_with
        error = machine.commit([ChooseFirewall(first)], who)[0].error
        if not isinstance(error, Unavailable | None):
            raise error


def follow(machine: Machine) -> None:
    """Have the dataplane program the backend that the log says."""
    chosen = machine.views.firewall(machine.host)
    subscriber, dataplane = machine.subscriber, machine.dataplane
    if chosen is None or subscriber is None or dataplane is None:
        return
    if dataplane.firewall != chosen.event.backend:
        subscriber.use_firewall(chosen.event.backend)


def is_to_move(machine: Machine) -> bool:
    """Whether another firewall was chosen since the dataplane was last brought to one."""
    chosen = machine.views.firewall(machine.host)
    return chosen is not None and chosen.position != machine.firewall_since


def move(machine: Machine, who: Author) -> Advance:
    """Apply what is due with the firewall as it was; then program the chosen one, and end what was there before it."""
    due = _apply_all(machine.apply(who), machine, who)
    follow(machine)
    advance = with_firewall(due, machine, who)
    finish(machine, who)
    return advance


def with_firewall(before: Advance, machine: Machine, who: Author) -> Advance:
    """Program the firewall by itself, so that nothing but its own faults is in its way; what came before is kept."""
    before = _apply_all(before, machine, who)
    return _joined(before, machine.make_firewall(who))


def _apply_all(before: Advance, machine: Machine, who: Author) -> Advance:
    """Apply what others append meanwhile, too: recording what was met folds it."""
    assert machine.subscriber is not None, "something was applied"
    for _ in range(CATCHING_UP):
        if not machine.subscriber.is_behind:
            break
        before = _joined(before, machine.apply(who))
    return before


def _joined(before: Advance, made: Advance) -> Advance:
    """Put two advances together; where both have done something to an object, the later one tells."""
    again = {step.key for step in made.plan.steps}
    return Advance(
        Plan(
            (*(step for step in before.plan.steps if step.key not in again), *made.plan.steps),
            {**before.plan.places, **made.plan.places},
        ),
        (*(outcome for outcome in before.outcomes if outcome.step.key not in again), *made.outcomes),
        (*(fault for fault in before.faults if fault.outcome.step.key not in again), *made.faults),
        (*before.mended, *made.mended),
        (*before.restored, *made.restored),
    )


def finish(machine: Machine, who: Author) -> str:
    """Take away what backends before the chosen one have programmed, if its own rules are found to be in place.

    Says what is in the way; empty when there is nothing left to take away.
    """
    chosen, subscriber, dataplane = machine.views.firewall(machine.host), machine.subscriber, machine.dataplane
    if chosen is None or subscriber is None or dataplane is None:
        return ""
    machine.kept_rules = ""
    retiring = machine.views.retiring(machine.host)
    if retiring and not dataplane.is_volatile:
        mine = structs.replace(who, request=f"{who.request}/move", is_named=False)
        _apply_all(NOTHING, machine, who)
        try:
            plan, _ = subscriber.compare()
            if any(_is_missing(step.object, plan) for step in plan.steps):
                machine.kept_rules = NOT_THERE
            else:
                for backend in retiring:
                    dataplane.retire(backend)
                    machine.commit([RetireFirewall(backend)], mine)[0].check()
        except DataplaneFault as fault:
            machine.kept_rules = str(fault)
    if machine.firewall_since != chosen.position:
        machine.firewall_since = chosen.position
        machine.keep_cursor()
    return machine.kept_rules


def _is_missing(made: KernelObject, plan: Plan) -> bool:
    """Whether a step of a plan is a rule that is not as it should be, for no other reason than the firewall's own."""
    if isinstance(made, LoopbackAccess):  # a setting of a bridge, too
        return not any(isinstance(step.object, Bridge) and step.object.name == made.bridge for step in plan.steps)
    return is_of_firewall(made)
