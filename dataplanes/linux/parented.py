"""Macvlan and ipvlan interfaces: made in their sandbox's namespace on a parent in the host's, marked, set up, deleted.

Keeps: a link that bears no mark of ours is never touched; the parent is never changed, but for its MAC address while it
has a macvlan of mode passthru, which shares it (the kernel puts it back). Must not know: addresses, routes, bridges.

They have no end in the host's namespace, so they are deleted at once, and not parked: nobody would find them again in a
namespace that a process holds beyond its sandbox.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ...domain.objects import Ipvlan, Macvlan
from ...domain.values import EndpointId
from ..contract import Place, Status, Verb
from .kernel import look_up
from .kinds import create_ipvlan, create_macvlan
from .lifting import lift_parented
from .marks import Delegation, Marks
from .netlink import Conversation, Message, own_removals
from .rooms import Lost, Room
from .rtnetlink import Link, alias, delete_link, delete_link_named, hardware_address, set_link
from .run import GONE, HOST, Run

Parented: TypeAlias = Macvlan | Ipvlan

TRIES = 3
"""A name can be taken again by one of ours that is deleted meanwhile."""
ADDRESS_TRIES = 50
ADDRESS_PAUSE_SECONDS = 0.02
"""The parent knows a MAC address as long as the interface is there of a namespace that was unmounted and is dying."""


def make_parented(run: Run, numbers: Iterable[int]) -> None:
    """Make the interfaces of these steps, up; every step ends."""
    for number in run.unblocked(numbers):
        wanted = _wanted(run, number)
        if run.refuse_template(number, wanted.name):
            continue
        try:
            _make(run, number, wanted)
        except Lost as lost:
            run.fail(number, str(lost))
        except OSError as error:
            run.fail_with(number, error)


def remove_parented(run: Run, numbers: Sequence[int]) -> None:
    """Delete the interfaces of these steps, where they are; what has their name and is not theirs stays."""
    for number in numbers:
        gone, place = _wanted(run, number), run.steps[number].place
        try:
            found = _delete(run, gone, place)
        except Lost:
            run.end(number, Status.ALREADY)
        except OSError as error:
            run.fail_with(number, error)
        else:
            run.end(number, Status.REMOVED if found else Status.ALREADY)


def _make(run: Run, number: int, wanted: Parented) -> None:
    kernel, before = run.kernel, run.steps[number].was
    room = None if wanted.sandbox == HOST else run.room(wanted.sandbox)
    parent = kernel.link(wanted.parent)
    if parent is None:
        run.fail(number, f"there is no interface named {wanted.parent} in the host to stand on", errno.ENODEV)
        return
    if run.steps[number].verb is Verb.REPLACE and isinstance(before, Macvlan | Ipvlan):
        with contextlib.suppress(Lost):  # gone with its namespace
            _delete(run, before)
    creation = _creation(wanted, parent.index, kernel.marks.live, None if room is None else room.descriptor)
    conversation = kernel.links if room is None else room.conversation
    for _ in range(TRIES):
        failure = kernel.links.attempt([creation]).get(0)
        if failure is None:
            _dress(run, number, wanted, parent, conversation)
            return
        if failure.number != errno.EEXIST or not _clear(run, number, wanted, parent, room):
            run.fail_for(number, failure)
            return
    run.fail(number, f"something named {wanted.name} comes and goes", errno.EAGAIN)


def _creation(wanted: Parented, parent: int, link_group: int, namespace: int | None) -> Message:
    if isinstance(wanted, Macvlan):
        return create_macvlan(wanted.name, wanted.mac, wanted.mode, parent, link_group, namespace)
    return create_ipvlan(wanted.name, wanted.mode, wanted.flag, parent, link_group, namespace)


def _dress(run: Run, number: int, wanted: Parented, parent: Link, conversation: Conversation) -> None:
    """Mark an interface and set it up; one that cannot be is deleted again."""
    attributes = alias(_mark(run.kernel.marks, wanted)) + run.kernel.quiet(parent.mtu)
    if isinstance(wanted, Macvlan) and wanted.mode == "passthru":  # born with the parent's
        attributes += hardware_address(wanted.mac)
    messages = [set_link(name=wanted.name, attributes=attributes)]
    if wanted.up:
        messages.append(set_link(name=wanted.name, up=True))
    failures = conversation.attempt(messages)
    for _ in range(ADDRESS_TRIES):
        if not any(failure.number == errno.EADDRINUSE for failure in failures.values()):
            break
        time.sleep(ADDRESS_PAUSE_SECONDS)
        failures = conversation.attempt(messages)
    for failure in failures.values():
        run.fail_for(number, failure)
    if failures:
        conversation.exchange([delete_link_named(wanted.name)])
    else:
        run.end(number, Status.MADE)


def _clear(run: Run, number: int, wanted: Parented, parent: Link, room: Room | None) -> bool:
    """Clear the way where the name is taken; False when the step has ended instead."""
    marks = run.kernel.marks
    conversation = run.kernel.links if room is None else room.conversation
    there = look_up(conversation, wanted.name)
    if there is None:
        return True  # came and went
    where = "" if room is None else f" in the namespace at {run.plan.places[wanted.sandbox].path}"
    if not marks.owns(there):
        run.fail(number, marks.describe_foreign(there, where), errno.EEXIST)
        return False
    mark = marks.read_endpoint(there.alias)
    if mark is not None and mark.endpoint != wanted.endpoint:
        run.fail(number, f"{wanted.name}{where} is the interface of endpoint {mark.endpoint}", errno.EEXIST)
        return False
    if lift_parented(marks, there, {parent.index: parent.name}, wanted.sandbox) == wanted:
        run.end(number, Status.ALREADY)
        return False
    own_removals.note((there.alias, there.index))
    conversation.exchange([delete_link(there.index)])
    return True


def _delete(run: Run, gone: Parented, place: Place | None = None) -> bool:
    """Delete an interface if it is in its sandbox, or at `place`, and its endpoint's; whether it was."""
    marks = run.kernel.marks
    if gone.sandbox == HOST:
        conversation = run.kernel.links
    else:
        conversation = (run.room(gone.sandbox) if place is None else run.left_room(place)).conversation
    there = look_up(conversation, gone.name)
    if there is None or not marks.owns(there):
        return False
    mark = marks.read_endpoint(there.alias)  # none where its making was interrupted
    if (mark.endpoint if mark is not None else EndpointId("")) not in {gone.endpoint, EndpointId("")}:
        return False
    own_removals.note((there.alias, there.index))
    failure = conversation.attempt([delete_link(there.index)]).get(0)
    if failure is not None and failure.number not in GONE:
        own_removals.forget((there.alias, there.index))
        raise OSError(failure.number, str(failure))
    return True


def _mark(marks: Marks, wanted: Parented) -> str:
    if wanted.up:
        return marks.endpoint(wanted.endpoint)
    mac = wanted.mac if isinstance(wanted, Macvlan) else b""
    return marks.endpoint(wanted.endpoint, Delegation(wanted.name, mac))


def _wanted(run: Run, number: int) -> Parented:
    thing = run.steps[number].object
    assert isinstance(thing, Macvlan | Ipvlan)
    return thing
