"""Returning: remote drivers have back what the log does not need of them any more.

Keeps: what they could not be given back is owed to them in the log until they were. The log is caught up with right
before each call, so that nothing is given back that another writer has given back, or has been given, by then; what one
was given in the moment of the call is asked for again. What drivers answer otherwise than the log has it is recorded as
drift. Knows nothing of: how they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..domain.errors import Refusal
from ..domain.events import DriftDetected, Event, Origin, ReturnEnded, ReturnOwed
from ..domain.values import Position
from .remote.asking import Debt, is_held
from .requests import Author
from .results import Result
from .surroundings import here

if TYPE_CHECKING:
    from .machine import Machine


def settle(machine: Machine, results: Sequence[Result], author: Author) -> None:
    """Give back what no event of a batch kept, and record what of that is still owed."""
    remote = machine.decider.remote
    if not remote.has_news:
        return
    machine.catch_up()
    kept = [index for index, result in enumerate(results) if result.error is None]
    with remote.together():
        owed = remote.settle(kept, machine.views)
    origin = machine.origin(author, here().now())
    events: list[Event] = [ReturnOwed(*origin, debt.driver, debt.pool, debt.address, debt.why) for debt in owed]
    events += _differences(machine, origin)
    if events:
        machine.record(events)


def return_owed(machine: Machine, author: Author) -> None:
    """Give back what the log says is released; what is not taken is tried again later.

    What somebody holds by now ends without asking the plugin, which would take it from its holder.
    """
    owed = machine.views.driver_pools.owed
    debts = [Debt(driver, pool, address) for host, driver, pool, address in owed if host == machine.host]
    if not debts:
        return
    remote = machine.decider.remote
    origin = machine.origin(author, here().now())
    held: dict[Debt, None] = {}
    ends: dict[Debt, ReturnEnded] = {}
    events: list[Event] = []
    since = {debt: _since(machine, debt) for debt in debts}

    def is_due(debt: Debt) -> bool:
        machine.catch_up()
        if _since(machine, debt) is not None and is_held(machine.views, debt):
            held[debt] = None
        return _since(machine, debt) is not None and debt not in held

    due = [debt for debt in debts if is_due(debt)]
    with remote.together():
        for debt, refused in remote.give_back(due, is_due, machine.views):
            if not debt.why:
                ends[debt] = ReturnEnded(*origin, debt.driver, debt.pool, debt.address, refused or "")
            elif not _is_known(machine, debt):
                events.append(ReturnOwed(*origin, debt.driver, debt.pool, debt.address, debt.why))
    machine.catch_up()
    for debt in ends:
        if is_held(machine.views, debt):
            remote.ask_again(debt, machine.views)
    ends |= {debt: ReturnEnded(*origin, debt.driver, debt.pool, debt.address, "") for debt in held}
    events += [end for debt, end in ends.items() if _since(machine, debt) == since[debt]]
    events += _differences(machine, origin)
    if events:
        machine.record(events)


def meet_drivers(machine: Machine, author: Author) -> list[str]:
    """Meet the remote drivers that the log has pools of, and give back what is owed to any.

    One that keeps no record is told again what it had given. Return a line for each that is not as it should be.
    """
    machine.catch_up()
    with machine.decider.remote.together():
        told = _meet_all(machine, author)
        return_owed(machine, author)
    for host, name, pool, _ in machine.views.driver_pools.owed:
        if host == machine.host:
            told.append(f"IPAM plugin {name} is to get something of its pool {pool} back, and did not take it yet")
    return list(dict.fromkeys(told))


def _meet_all(machine: Machine, author: Author) -> list[str]:
    pools = machine.views.driver_pools.pools.values()
    told = []
    for name in dict.fromkeys(record.event.ipam_driver for record in pools if record.event.host == machine.host):
        try:
            machine.decider.remote.ready(name, machine.views)
        except Refusal as error:
            told.append(str(error))
    differences = _differences(machine, machine.origin(author, here().now()))
    if differences:
        machine.record(differences)
        told += [line for event in differences for line in event.differences]
    return told


def _differences(machine: Machine, origin: Origin) -> list[DriftDetected]:
    lines = machine.decider.remote.take_differences()
    return [DriftDetected(*origin, differences=tuple(lines))] if lines else []


def _since(machine: Machine, debt: Debt) -> Position | None:
    """Tell which event made a debt one; None where it is none any more."""
    owed = machine.views.driver_pools.owed.get((machine.host, debt.driver, debt.pool, debt.address))
    return owed.position if owed is not None else None


def _is_known(machine: Machine, debt: Debt) -> bool:
    """Whether the log has it already that, and why, something could not be given back."""
    owed = machine.views.driver_pools.owed.get((machine.host, debt.driver, debt.pool, debt.address))
    return owed is not None and isinstance(owed.event, ReturnOwed) and owed.event.message == debt.why
