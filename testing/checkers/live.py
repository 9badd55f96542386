"""What holds of a live engine at every quiet point: its views, its ledger, its kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...domain.events import AddressAllocated, AddressReleased
from ...engine.controller import Controller
from ...projections.occupancy import occupancy
from ...projections.views import Views
from ...replay import drift
from .checker import Violation
from .logs import violations


class LiveCheck(NamedTuple):
    """A check of an open controller: what holds, and a function that says what does not."""

    name: str
    invariant: str
    look: Callable[[Controller], str | None]


def check_everything(controller: Controller) -> tuple[Violation, ...]:
    """Check the log and everything that is made of it."""
    found = [Violation(one.name, 0, words) for one in LIVE if (words := one.look(controller)) is not None]
    return (*violations(controller.history()), *found)


def _chain(controller: Controller) -> str | None:
    problem = controller.ledger.verify().problem
    return None if problem is None else str(problem)


def _fold(controller: Controller) -> str | None:
    scratch = Views()
    with controller.reading() as views:
        for record in controller.history():
            scratch.fold(record.position, record.event)
        return None if scratch.digest() == views.digest() else "the views are not the fold of the log"


def _undo(controller: Controller) -> str | None:
    records = list(controller.history())
    views = Views()
    for record in records[: len(records) // 2]:
        views.fold(record.position, record.event)
    before = views.digest()
    views.begin()
    for record in records[len(records) // 2 :]:
        views.fold(record.position, record.event)
    views.undo()
    return None if views.digest() == before else "what was folded and taken back is still there"


def _counts(controller: Controller) -> str | None:
    """Count each pool as a set of numbers, from the events alone."""
    held: dict[str, set[bytes]] = {}
    for record in controller.history():
        match record.event:
            case AddressAllocated(pool=pool, address=address):
                held.setdefault(pool, set()).add(address)
            case AddressReleased(pool=pool, address=address):
                held[pool].discard(address)
    with controller.reading() as views:
        for counted in (occupancy(views, pool, views.last_at) for pool in views.ipam.pools):
            in_use = sum(counted.in_use.values())
            if in_use != len(held.get(counted.pool, ())):
                return f"pool {counted.subnet}: {in_use} addresses are counted, {len(held[counted.pool])} are held"
            parts = counted.reserved + in_use + counted.kept + counted.resting + counted.free
            if parts != counted.size or counted.free < 0:
                return f"pool {counted.subnet}: {parts} addresses of {counted.size} are accounted for"
    return None


def _kernel(controller: Controller) -> str | None:
    with controller.reading() as views:
        owed = views.faults.owed
    comparison = drift(controller)
    if comparison.agrees or owed:
        return None
    return "the kernel differs from the log: " + "; ".join(comparison.lines)


LIVE: tuple[LiveCheck, ...] = (
    LiveCheck("chain", "The log's hash chain verifies.", _chain),
    LiveCheck("fold", "The views are the fold of the log.", _fold),
    LiveCheck("undo", "What is folded speculatively and taken back leaves nothing.", _undo),
    LiveCheck("counts", "A pool's size is what is reserved, in use, kept, resting and free.", _counts),
    LiveCheck("kernel", "What is observed is what the log calls for, but for what is owed after a fault.", _kernel),
)
