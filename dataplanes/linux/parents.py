"""What a plan makes in the host's namespace for macvlan and ipvlan interfaces to stand on: stand-ins, VLAN interfaces.

Keeps: a link without our mark is never changed, nor is the interface that a VLAN is on. Must not know: sandboxes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TypeAlias

from ...domain.objects import StandIn, VlanLink
from ..contract import Status
from .kinds import DUMMY, VETH, VLAN, create_cable, create_vlan
from .lifting import lift_stand_in, lift_vlan
from .netlink import Failure
from .pairs import reap
from .rtnetlink import (
    Link,
    alias,
    create_link,
    decode_link,
    delete_link,
    delete_link_named,
    get_link_at,
    group,
    set_link,
)
from .run import GONE, Run

Parent: TypeAlias = StandIn | VlanLink

UNKNOWN_KIND = errno.EOPNOTSUPP
TRIES = 3


def make_parents(run: Run, numbers: Iterable[int]) -> None:
    """Make the interfaces of these steps, up; every step ends."""
    for number in run.unblocked(numbers):
        wanted = _wanted(run, number)
        if run.refuse_template(number, wanted.name):
            continue
        try:
            _make(run, number, wanted)
        except OSError as error:
            run.fail_with(number, error)


def remove_parents(run: Run, numbers: Iterable[int]) -> None:
    """Delete those that are ours; a veth's far end goes with it. Where another's has the name, ours is gone already."""
    for number in numbers:
        wanted = _wanted(run, number)
        link = run.kernel.link(wanted.name)
        if link is None or not run.kernel.marks.owns(link):
            run.end(number, Status.ALREADY)
            continue
        failure = run.kernel.links.attempt([delete_link(link.index)]).get(0)
        if failure is None:
            run.end(number, Status.REMOVED)
        elif failure.number in GONE:
            run.end(number, Status.ALREADY)
        else:
            run.fail_for(number, failure)


def _make(run: Run, number: int, wanted: Parent) -> None:
    for _ in range(TRIES):
        failure = _create_vlan(run, number, wanted) if isinstance(wanted, VlanLink) else _create_stand_in(run, wanted)
        if run.has_ended(number):
            return
        if failure is None:
            _dress(run, number, wanted)
            return
        if failure.number != errno.EEXIST:
            run.fail_for(number, failure)
            return
        if not _clear(run, number, wanted):
            return
    run.fail(number, f"something named {wanted.name} comes and goes", errno.EAGAIN)


def _create_stand_in(run: Run, wanted: StandIn) -> Failure | None:
    """Create a dummy, or a veth pair where the kernel has none."""
    kernel = run.kernel
    failure = kernel.links.attempt([create_link(wanted.name, DUMMY, group(kernel.marks.live))]).get(0)
    if failure is not None and failure.number == UNKNOWN_KIND:
        failure = kernel.links.attempt([create_cable(wanted.name, kernel.marks.live)]).get(0)
    return failure


def _create_vlan(run: Run, number: int, wanted: VlanLink) -> Failure | None:
    parent = run.kernel.link(wanted.parent)
    if parent is None:
        run.fail(number, f"there is no interface named {wanted.parent} in the host to stand on", errno.ENODEV)
        return None
    creation = create_vlan(wanted.name, wanted.vlan, parent.index, run.kernel.marks.live)
    return run.kernel.links.attempt([creation]).get(0)


def _dress(run: Run, number: int, wanted: Parent) -> None:
    """Mark an interface and set it up, a veth's far end first; one that cannot be is deleted again."""
    kernel, marks = run.kernel, run.kernel.marks
    link = kernel.link(wanted.name)
    if link is None:
        run.fail(number, f"{wanted.name} was deleted by somebody while it was made", errno.ENODEV)
        return
    quiet = kernel.quiet(link.mtu)
    messages = []
    if link.kind == VETH:
        messages.append(set_link(index=link.peer, attributes=alias(marks.far_end(wanted.name)) + quiet))
        messages.append(set_link(index=link.peer, up=True))
    mark = marks.stand_in(wanted.network) if isinstance(wanted, StandIn) else marks.vlan()
    messages.append(set_link(index=link.index, attributes=alias(mark) + quiet))
    messages.append(set_link(index=link.index, up=True))
    failures = kernel.links.attempt(messages)
    for failure in failures.values():
        run.fail_for(number, failure)
    if failures:
        kernel.links.exchange([delete_link_named(wanted.name)])
    else:
        run.end(number, Status.MADE)


def _clear(run: Run, number: int, wanted: Parent) -> bool:
    """Clear the way where the name is taken; False when the step has ended instead."""
    kernel, marks = run.kernel, run.kernel.marks
    there = kernel.link(wanted.name)
    if there is None:
        if isinstance(wanted, VlanLink):
            run.fail(number, f"{wanted.parent} has another interface for VLAN {wanted.vlan} already", errno.EEXIST)
            return False
        return True  # came and went
    if not marks.owns(there):
        run.fail(number, marks.describe_foreign(there), errno.EEXIST)
        return False
    if there.group == marks.trash:
        reap(kernel)
        return True
    if _lift(run, there) == wanted:
        run.end(number, Status.ALREADY)
        return False
    kernel.links.exchange([delete_link(there.index)])
    return True


def _lift(run: Run, there: Link) -> Parent | None:
    kernel = run.kernel
    bodies = kernel.links.exchange([get_link_at(there.peer)]).bodies.get(0) if there.peer else None
    other = decode_link(bodies[0]) if bodies else None
    if there.kind == VLAN:
        return lift_vlan(kernel.marks, there, {there.peer: other.name if other is not None else ""})
    return lift_stand_in(kernel.marks, there, other)


def _wanted(run: Run, number: int) -> Parent:
    thing = run.steps[number].object
    assert isinstance(thing, StandIn | VlanLink)
    return thing
