"""What a plan does to the firewall: its chains and tables, and what stands in them.

Keeps: whatever backend it is, a step ends the same way; making a firewall that is whole changes nothing.
Must not know: rules, elements, sockets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from ...domain.objects import LoopbackAccess, PortForward
from ..contract import Status, Step, Verb
from .firewall.backend import Edit, FirewallObject, is_firewall_object
from .firewall.conntrack import UDP, forget_stale, is_loopback
from .localnet import answers_reach_loopback6, is_for_ipv6, route_loopback
from .rtnetlink import decode_addresses, list_addresses
from .run import Run


def make_firewall(run: Run, numbers: Sequence[int]) -> None:
    """Load the chains with every object of the plan at once, unless they are there and whole.

    What is in altered ones and is not the plan's business stays: a plan may name a few networks of many.
    """
    if not numbers:
        return
    of_plan = [number for number, step in enumerate(run.steps) if is_firewall_object(step.object)]
    making = run.unblocked(number for number in of_plan if run.steps[number].verb is not Verb.REMOVE)
    ours = _sayable(run, making)
    named = {run.steps[number].key for number in of_plan}
    try:
        found = run.kernel.firewall.observe()
        if found.is_whole:
            for number in numbers:
                run.end(number, Status.ALREADY)
            return
        kept = [thing for thing in found.objects if thing.key not in named]
        loaded = [*kept, *(_object(run, number) for number in ours)]
        reaches_loopback6 = any(map(is_for_ipv6, loaded)) and answers_reach_loopback6()
        run.kernel.firewall.load(loaded, reaches_loopback6=reaches_loopback6)
    except OSError as error:
        _fail(run, (*numbers, *ours), error)
    else:
        _forget_stale(run, [number for number in ours if not run.has_ended(number)])
        for number in (*numbers, *ours):
            _end(run, number, Status.MADE)


def remove_firewall(run: Run, numbers: Iterable[int]) -> None:
    """Take away our tables and chains."""
    for number in numbers:
        try:
            was_there = run.kernel.firewall.remove()
        except OSError as error:
            _fail(run, (number,), error)
        else:
            run.end(number, Status.REMOVED if was_there else Status.ALREADY)


def remove_with_firewall(run: Run, numbers: Sequence[int]) -> None:
    """End these steps, whose rules go with the whole firewall."""
    _forget_stale(run, numbers)
    for number in numbers:
        _end(run, number, Status.REMOVED)


def change_elements(run: Run, numbers: Sequence[int]) -> None:
    """Carry out these steps in one transaction."""
    asked = _sayable(run, numbers)
    if not asked:
        return
    try:
        endings = run.kernel.firewall.change([_edit(run.steps[number]) for number in asked])
    except OSError as error:
        _fail(run, asked, error)
        return
    for number, ending in zip(asked, endings, strict=True):
        if ending.fault:
            run.fail(number, ending.fault, ending.number)
    done = [number for number, ending in zip(asked, endings, strict=True) if not ending.fault]
    _forget_stale(run, done)
    made_way = _reach_loopback6(run, done)
    for number, ending in zip(asked, endings, strict=True):
        if not ending.fault:
            is_removed = run.steps[number].verb is Verb.REMOVE
            is_news = not ending.already or (number in made_way and not is_removed)
            _end(run, number, (Status.REMOVED if is_removed else Status.MADE) if is_news else Status.ALREADY)


def _forget_stale(run: Run, numbers: Iterable[int]) -> None:
    """Delete what connection tracking knows against UDP ports that have come or gone.

    Also where there was nothing else to do: a process that died may have left it undone.
    """
    changed: dict[int, list[tuple[PortForward, bool]]] = {}
    for number in numbers:
        edit = _edit(run.steps[number])
        ports = [(thing, thing is edit.after) for thing in (edit.before, edit.after) if isinstance(thing, PortForward)]
        if any(port.protocol == UDP for port, _ in ports):
            changed[number] = ports
    if not changed:
        return
    try:
        addresses = {entry.address for entry in decode_addresses(run.kernel.links.dump(list_addresses()))}
        forwards = [port for ports in changed.values() for port in ports]
        forget_stale(run.kernel.conntrack, forwards, lambda address: address in addresses or is_loopback(address))
    except OSError as error:
        for number in changed:
            said = error.strerror or str(error)
            run.fail(number, f"stale connections could not be forgotten: {said}", error.errno or 0)


def _reach_loopback6(run: Run, numbers: Iterable[int]) -> list[int]:
    """Let the host's connections to ::1 be translated while somebody is to be reached there, and can be.

    Return the steps that are about it if that was otherwise before.
    """
    about = [number for number in numbers if is_for_ipv6(run.steps[number].object)]
    if not about:
        return []
    firewall = run.kernel.firewall
    try:
        is_used = any(run.steps[number].verb is not Verb.REMOVE for number in about)
        is_used = is_used or any(map(is_for_ipv6, firewall.observe().objects))
        return about if firewall.reach_loopback6(is_wanted=is_used and answers_reach_loopback6()) else []
    except OSError as error:
        _fail(run, about, error)
        return []


def _end(run: Run, number: int, status: Status) -> None:
    """End a step whose rules are as they should be, with what else belongs to its object."""
    step = run.steps[number]
    if isinstance(step.object, LoopbackAccess):
        is_wanted = step.verb is not Verb.REMOVE
        try:
            if route_loopback(run.kernel.links, step.object, is_wanted=is_wanted):
                status = Status.MADE if is_wanted else Status.REMOVED
        except OSError as error:
            run.fail_with(number, error)
    run.end(number, status)


def _edit(step: Step) -> Edit:
    thing = step.object
    assert isinstance(thing, FirewallObject), "a step about the firewall"
    if step.verb is Verb.REMOVE:
        return Edit(thing, None)
    assert step.was is None or isinstance(step.was, FirewallObject), "a thing of the firewall was another before"
    return Edit(step.was, thing)


def _sayable(run: Run, numbers: Iterable[int]) -> list[int]:
    """Keep the steps whose values the backend can say; the others are faults."""
    found: list[int] = []
    for number in numbers:
        edit = _edit(run.steps[number])
        try:
            for thing in (edit.before, edit.after):
                if thing is not None:
                    run.kernel.firewall.check(thing)
        except (struct.error, LookupError, ValueError) as error:
            run.fail_with(number, error)
        else:
            found.append(number)
    return found


def _object(run: Run, number: int) -> FirewallObject:
    thing = run.steps[number].object
    assert isinstance(thing, FirewallObject), "a step about the firewall"
    return thing


def _fail(run: Run, numbers: Iterable[int], error: OSError) -> None:
    """End steps with what was raised; without a number it is a library or program that is missing."""
    for number in numbers:
        if error.errno is None:
            run.fail(number, str(error))
        else:
            run.fail_with(number, error)
