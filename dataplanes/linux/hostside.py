"""What a plan makes in the host's namespace besides endpoints: the firewall, its elements, bridges.

Keeps: a link or table without our mark is never changed. Must not know: sandboxes, veth pairs.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from typing import cast

from ...domain.objects import Bridge, ForwardPolicy
from ...domain.values import format_mac
from ..contract import Status, Step, Verb
from .elements import FirewallElement, contradicting, elements_of, has_words, is_element
from .netlink import Message
from .nfnetlink import Change
from .nftables import LIBRARY, REMEDY
from .observer import DEFAULT_MTU, bridge_of, firewall_of
from .rtnetlink import alias, create_link, group, hardware_address, set_link, size
from .run import GONE, Run


def make_firewall(run: Run, numbers: Sequence[int]) -> None:
    """Load the skeleton with every element of the plan in one transaction, unless it is there and intact.

    What is in an altered one and is not the plan's business stays: a plan may name a few networks of many. Elements
    that nft has no words for come in a transaction after it.
    """
    if not numbers:
        return
    of_plan = [number for number, step in enumerate(run.steps) if is_element(step.object)]
    wanted = _changes_of(run, run.unblocked(n for n in of_plan if run.steps[n].verb is not Verb.REMOVE))
    elements = [number for number in wanted if has_words(_element(run, number))]
    named = {run.steps[number].key for number in of_plan}
    try:
        nftables = run.kernel.nftables
        is_whole, there = firewall_of(run.kernel)
        if is_whole:
            for number in numbers:
                run.end(number, Status.ALREADY)
            return
        kept = [thing for thing in there if thing.key not in named]
        said = [thing for thing in kept if has_words(thing)]
        run.kernel.skeleton.load(nftables, [*said, *(_element(run, number) for number in elements)])
        unsaid = [Change(element) for thing in kept if not has_words(thing) for element in elements_of(thing)]
        for failure in run.kernel.netfilter.change(unsaid).failures.values():
            raise OSError(failure.number, f"an element that was there is lost: {failure}")
    except OSError as error:
        for number in (*numbers, *elements):
            if error.errno is None:
                run.fail(number, f"{LIBRARY} cannot be loaded ({error}); {REMEDY}")
            else:
                run.fail_with(number, error)
    else:
        for number in (*numbers, *elements):
            run.end(number, Status.MADE)


def remove_firewall(run: Run, numbers: Iterable[int]) -> None:
    """Delete our table."""
    for number in numbers:
        try:
            run.kernel.nftables.run(f"delete table inet {run.kernel.marks.table}")
        except FileNotFoundError:
            run.end(number, Status.ALREADY)
        except OSError as error:
            run.fail_with(number, error)
        else:
            run.end(number, Status.REMOVED)


def change_elements(run: Run, numbers: Sequence[int]) -> None:
    """Add and delete the elements of these steps in one transaction."""
    if not numbers:
        return
    asked = _changes_of(run, numbers)
    try:
        verdict = run.kernel.netfilter.change([change for changes in asked.values() for change in changes])
    except OSError as error:
        for number in asked:
            run.fail_with(number, error)
        return
    stale: list[Change] = []
    for number, changes in asked.items():
        step = run.steps[number]
        failure = next((verdict.failures[change] for change in changes if change in verdict.failures), None)
        already = sum(change in verdict.already for change in changes)
        if failure is not None:
            missing = failure.number == errno.ENOENT and step.verb is not Verb.REMOVE
            lost = f"the firewall table {run.kernel.marks.table} is not whole (flushed?); `repair` makes it again"
            run.fail(number, lost if missing else str(failure), failure.number)
        elif already == len(changes):
            run.end(number, Status.ALREADY)
        else:
            run.end(number, Status.REMOVED if step.verb is Verb.REMOVE else Status.MADE)
        if already and step.verb is Verb.MAKE and isinstance(step.object, ForwardPolicy):
            stale += [Change(element, is_deletion=True) for element in contradicting(step.object)]
    if stale:
        run.kernel.netfilter.change(stale)


def make_bridges(run: Run, numbers: Iterable[int]) -> None:
    """Make the bridges, or bring those of ours to what is wanted."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, Bridge)
        if run.refuse_template(number, wanted.name):
            continue
        failure = run.kernel.links.exchange([_creation(run, wanted)]).failures.get(0)
        if failure is None:
            # With the default MTU at first: only one that is set later stays when ports come and go.
            quiet, sized = run.kernel.quiet(wanted.mtu), size(wanted.mtu) if wanted.mtu else b""
            mark = alias(run.kernel.marks.network(wanted.network))
            dressing = set_link(name=wanted.name, up=True, attributes=mark + quiet + sized)
            failure = run.kernel.links.attempt([dressing]).get(0)
        elif failure.number == errno.EEXIST:
            _put_right(run, number, wanted)
            continue
        if failure is None:
            run.end(number, Status.MADE)
        else:
            run.fail_for(number, failure)


def remove_bridges(run: Run, numbers: Iterable[int]) -> None:
    """Delete the bridges that are ours; where another's has the name, ours is gone already."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, Bridge)
        link = run.kernel.link(wanted.name)
        if link is None or not run.kernel.marks.owns(link):
            run.end(number, Status.ALREADY)
        else:
            try:
                _ask(run, "del", index=link.index)
            except OSError as error:
                if error.errno in GONE:
                    run.end(number, Status.ALREADY)
                else:
                    run.fail_with(number, error)
            else:
                run.end(number, Status.REMOVED)


def _creation(run: Run, wanted: Bridge) -> Message:
    return create_link(wanted.name, "bridge", hardware_address(wanted.mac) + group(run.kernel.marks.live))


def _put_right(run: Run, number: int, wanted: Bridge) -> None:
    marks = run.kernel.marks
    link = run.kernel.link(wanted.name)
    if link is None:
        run.fail(number, f"something named {wanted.name} came and went", errno.EAGAIN)
    elif not marks.owns(link) or link.kind != "bridge":
        run.fail(number, marks.describe_foreign(link), errno.EEXIST)
    elif bridge_of(marks, link) == wanted:
        run.end(number, Status.ALREADY)
    else:
        change: dict[str, object] = {
            "address": format_mac(wanted.mac),
            "group": marks.live,
            "ifalias": marks.network(wanted.network),
            "mtu": wanted.mtu or DEFAULT_MTU,
            "state": "up",
        }
        quiet = run.kernel.quiet(wanted.mtu)
        if quiet:  # before it is up; one whose making was interrupted lacks it
            for failure in run.kernel.links.attempt([set_link(index=link.index, attributes=quiet)]).values():
                run.fail_for(number, failure)
        try:
            _ask(run, "set", index=link.index, **change)
        except OSError as error:
            run.fail_with(number, error)
        else:
            run.end(number, Status.MADE)


def _ask(run: Run, verb: str, **arguments: object) -> None:
    """Put something right, or delete it, through pyroute2: rare, and worth its 160 ms of loading."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        run.kernel.library.link(verb, **arguments)
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[1]) if len(error.args) > 1 else "") from error


def _element(run: Run, number: int) -> FirewallElement:
    return cast("FirewallElement", run.steps[number].object)


def _changes_of(run: Run, numbers: Iterable[int]) -> dict[int, list[Change]]:
    """Lower steps to changes; one whose values fit into no element is a fault."""
    found: dict[int, list[Change]] = {}
    for number in numbers:
        try:
            found[number] = _changes(run.steps[number])
        except (struct.error, LookupError, ValueError) as error:
            run.fail_with(number, error)
    return found


def _changes(step: Step) -> list[Change]:
    own = set(elements_of(cast("FirewallElement", step.object)))
    if step.verb is Verb.REMOVE:
        return [Change(element, is_deletion=True) for element in own]
    before = set(elements_of(cast("FirewallElement", step.was))) if step.was is not None else set()
    return [Change(element, is_deletion=True) for element in before - own] + [
        Change(element) for element in own - before
    ]
