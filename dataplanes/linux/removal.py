"""What a plan takes away: quickly, by parking links in the trash group and unbinding namespaces; the rest comes later.

Keeps: a parked link carries no traffic and bears the trash group's mark, which outlives this process; what dies with
its owner gets no message. Must not know: how things are made.

Deleting a link waits 20 to 40 ms for RCU, deleting a group of 1,000 one second: `reap` does it when nobody waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.objects import (
    Address,
    Announcement,
    Bridge,
    InterfaceSysctl,
    Ipvlan,
    KernelObject,
    Macvlan,
    Namespace,
    Route,
    StandIn,
    VethPair,
    VlanLink,
)
from ...domain.values import SandboxId
from ..contract import Status
from .interiors import strip
from .namespaces import drop
from .netlink import Message
from .rooms import Lost
from .rtnetlink import decode_link, get_link, group, set_link
from .run import GONE, HOST, Run


def strip_devices(run: Run, numbers: Sequence[int]) -> None:
    """Take away addresses and routes; those on a device that goes too need nothing."""
    leaving, closing = _going(run)
    staying: dict[SandboxId, list[int]] = {}
    for number in numbers:
        thing = run.steps[number].object
        assert isinstance(thing, Address | Route)
        if thing.sandbox in closing or (thing.sandbox, thing.device) in leaving:
            run.end(number, Status.REMOVED)
        else:
            staying.setdefault(thing.sandbox, []).append(number)
    for sandbox, mine in staying.items():
        try:
            strip(run, run.kernel.links if sandbox == HOST else run.room(sandbox).conversation, mine)
        except Lost:
            for number in mine:
                run.end(number, Status.ALREADY)
        except OSError as error:
            for number in mine:
                run.fail_with(number, error)


def forget_traceless(run: Run, numbers: Sequence[int]) -> None:
    """Leave settings as they are, until their interface goes, and announcements unsaid."""
    for number in numbers:
        assert isinstance(run.steps[number].object, InterfaceSysctl | Announcement)
        run.end(number, Status.REMOVED)


def park(run: Run, numbers: Sequence[int]) -> bool:
    """Set host ends down and move them to the trash group; whether there is anything to reap.

    One whose namespace goes too is only moved: it dies with it, and setting a port down costs the more the more
    addresses the bridge has learned.
    """
    if not numbers:
        return False
    marks = run.kernel.marks
    _, closing = _going(run)
    answers = run.kernel.links.exchange([get_link(_pair(run, number).host_name) for number in numbers])
    messages: list[Message] = []
    meant: list[int] = []
    for position, number in enumerate(numbers):
        bodies = answers.bodies.get(position)
        link = decode_link(bodies[0]) if bodies else None
        if link is None or not marks.owns(link):  # ours is gone, whoever has the name now
            run.end(number, Status.ALREADY)
        else:
            state = None if _pair(run, number).sandbox in closing else False
            messages.append(set_link(index=link.index, up=state, attributes=group(marks.trash)))
            meant.append(number)
    failures = run.kernel.links.attempt(messages) if messages else {}
    for position, number in enumerate(meant):
        failure = failures.get(position)
        if failure is None:
            run.end(number, Status.DYING)
        elif failure.number in GONE:
            run.end(number, Status.ALREADY)
        else:
            run.fail_for(number, failure)
    return bool(meant)


def drop_namespaces(run: Run, numbers: Sequence[int]) -> None:
    """Unbind namespaces from their paths; the kernel destroys those that nobody else holds."""
    for number in numbers:
        namespace = run.steps[number].object
        assert isinstance(namespace, Namespace)
        run.leave_room(namespace.sandbox)  # an open socket would keep it
        try:
            found = drop(namespace.path)
        except (OSError, ValueError) as error:
            run.fail_with(number, error)
        else:
            run.end(number, Status.REMOVED if found else Status.ALREADY)


_TAKING_ALONG: tuple[type[KernelObject], ...] = (VethPair, Macvlan, Ipvlan, Bridge, StandIn, VlanLink, Namespace)


def _going(run: Run) -> tuple[set[tuple[SandboxId, str]], set[SandboxId]]:
    """List the devices and the namespaces that this plan takes away from where sandboxes are."""
    devices: set[tuple[SandboxId, str]] = set()
    sandboxes: set[SandboxId] = set()
    for number in (number for kind in _TAKING_ALONG for number in run.of(kind, removing=True)):
        if run.steps[number].place is not None:
            continue
        match run.steps[number].object:
            case VethPair() | Macvlan() | Ipvlan() as interface:
                devices.add((interface.sandbox, interface.name))
            case Bridge(adopted=False) | StandIn() | VlanLink() as link:
                devices.add((HOST, link.name))
            case Namespace() as namespace:
                sandboxes.add(namespace.sandbox)
            case _:
                pass
    return devices, sandboxes


def _pair(run: Run, number: int) -> VethPair:
    pair = run.steps[number].object
    assert isinstance(pair, VethPair)
    return pair
