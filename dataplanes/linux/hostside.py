"""What a plan makes in the host's namespace besides endpoints and the firewall: bridges.

Keeps: a link without our mark is never changed; an adopted bridge is only looked at.
Must not know: sandboxes, veth pairs.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from ...domain.objects import Bridge
from ...domain.values import format_mac
from ..contract import Status
from .netlink import Message
from .observer import DEFAULT_MTU, bridge_of
from .rtnetlink import alias, create_link, group, hardware_address, set_link, size
from .run import GONE, Run


def make_bridges(run: Run, numbers: Iterable[int]) -> None:
    """Make the bridges, or bring those of ours to what is wanted."""
    for number in numbers:
        wanted = run.steps[number].object
        assert isinstance(wanted, Bridge)
        if wanted.adopted:
            _adopt(run, number, wanted)
            continue
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
        if wanted.adopted:
            is_known = wanted.name in run.kernel.adopted
            run.kernel.adopted.discard(wanted.name)
            run.end(number, Status.REMOVED if is_known else Status.ALREADY)
            continue
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


def _adopt(run: Run, number: int, wanted: Bridge) -> None:
    """Take notice of a bridge that somebody else made."""
    kernel = run.kernel
    link = kernel.link(wanted.name)
    if link is None:
        run.fail(number, f"there is no bridge named {wanted.name} to adopt; make it again, as it was", errno.ENODEV)
    elif link.kind != "bridge" or kernel.marks.owns(link):
        what = "one of netledger's own" if kernel.marks.owns(link) else f"a {link.kind or 'physical'} link"
        run.fail(number, f"{wanted.name} is {what}, and cannot be adopted as somebody's bridge", errno.EEXIST)
    else:
        run.end(number, Status.ALREADY if wanted.name in kernel.adopted else Status.MADE)
        kernel.adopted.add(wanted.name)


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
