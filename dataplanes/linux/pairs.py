"""Veth pairs: created in one message batch with the far end in its namespace, then dressed with marks and set up.

Keeps: a link that bears no mark of ours is never touched: nothing is said to a link by its name before its exclusive
creation was acknowledged. Must not know: addresses, routes, firewall.

The host end is up before the container end: a bridge port that gets its carrier last forwards at once, while carrier
events of many ports that come late are rate-limited by the kernel (20 s for 1,000).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterable, Sequence

from ...domain.objects import VethPair
from ..contract import RETRIES, Status, Verb
from .kernel import Kernel, look_up
from .marks import Delegation
from .netlink import PAUSE_SECONDS, Failure, Message
from .observer import DEFAULT_MTU, find_container_end, pair_of
from .rooms import Lost, Room
from .rtnetlink import (
    Link,
    alias,
    create_veth,
    decode_link,
    decode_links,
    delete_group,
    delete_link,
    delete_link_named,
    get_link_at,
    hardware_address,
    list_links,
    master,
    port_settings,
    set_link,
    size,
)
from .run import HOST, Run


def make_pairs(run: Run, numbers: Iterable[int]) -> list[int]:
    """Make the pairs of these steps; return those whose container end is now to be furnished and set up."""
    masters = _bridges(run, numbers)
    creations: dict[int, Message] = {}
    adjusted: list[int] = []
    for number in run.unblocked(numbers):
        pair = _pair(run, number)
        if run.refuse_template(number, pair.host_name, pair.name):
            continue
        if pair.bridge not in masters:
            run.fail(number, f"there is no bridge named {pair.bridge}", errno.ENODEV)
            continue
        try:
            room = None if pair.sandbox == HOST else run.room(pair.sandbox)
        except Lost as lost:
            run.fail(number, str(lost))
            continue
        except OSError as error:
            run.fail_with(number, error)
            continue
        if run.steps[number].verb is Verb.REPLACE and _adjust(run, number, masters[pair.bridge], room):
            adjusted.append(number)
            continue
        creations[number] = create_veth(
            pair.host_name,
            pair.name,
            pair.mac,
            pair.mtu,
            masters[pair.bridge],
            run.kernel.marks.live,
            None if room is None else room.descriptor,
        )
    created = _create(run, creations)
    return _dress(run, created) + [number for number in adjusted if not run.has_ended(number)]


def reap(kernel: Kernel) -> bool:
    """Delete what was parked in the trash group; whether there was anything. Waits for RCU: 20 to 40 ms."""
    failure = kernel.links.exchange([delete_group(kernel.marks.trash)]).failures.get(0)
    if failure is not None and failure.number != errno.ENODEV:
        raise OSError(failure.number, str(failure))
    return failure is None


def _pair(run: Run, number: int) -> VethPair:
    pair = run.steps[number].object
    assert isinstance(pair, VethPair)
    return pair


def _bridges(run: Run, numbers: Iterable[int]) -> dict[str, int]:
    """Look up the bridges' indices: anew for each plan, since a remembered one may belong to another link by now."""
    indices: dict[str, int] = {}
    for name in {_pair(run, number).bridge for number in numbers}:
        with contextlib.suppress(OSError):
            indices[name] = socket.if_nametoindex(name)  # an ioctl: a tenth of an exchange
    return indices


def _create(run: Run, creations: dict[int, Message]) -> list[int]:
    numbers = list(creations)
    failures = run.kernel.links.attempt([creations[number] for number in numbers]) if numbers else {}
    created: list[int] = []
    for position, number in enumerate(numbers):
        failure = failures.get(position)
        if failure is None or _try_again(run, number, creations[number], failure):
            created.append(number)
    return created


def _try_again(run: Run, number: int, creation: Message, failure: Failure | None) -> bool:
    """Find out what is in the way of a creation, clear it if it is ours; whether the pair was created after all."""
    pair = _pair(run, number)
    for attempt in range(RETRIES + 1):
        if failure is None:
            return True
        if failure.number == errno.EXFULL:
            cleared = reap(run.kernel)
            if not cleared:
                run.fail(number, f"bridge {pair.bridge} is full: it takes 1,023 ports", errno.EXFULL)
        elif failure.number == errno.EEXIST:
            cleared = _clear(run, number)
        else:
            cleared = False
            run.fail_for(number, failure)
        if not cleared:
            return False
        if attempt:
            time.sleep(PAUSE_SECONDS * (1 << attempt))
        failure = run.kernel.links.exchange([creation]).failures.get(0)
    if failure is not None:
        run.fail_for(number, failure)
    return failure is None


def _clear(run: Run, number: int) -> bool:
    """Clear the way for a pair whose name exists; False when the step has ended instead."""
    kernel, pair = run.kernel, _pair(run, number)
    room = None if pair.sandbox == HOST else run.room(pair.sandbox)
    host = kernel.link(pair.host_name)
    if host is None:
        return _clear_container_end(run, number, room)
    if not kernel.marks.owns(host):
        run.fail(number, kernel.marks.describe_foreign(host), errno.EEXIST)
        return False
    if host.group == kernel.marks.trash:
        reap(kernel)
        return True
    if _observe(run, pair, host, room) == pair:
        run.end(number, Status.ALREADY)
        return False
    kernel.links.exchange([delete_link(host.index)])
    return True


def _clear_container_end(run: Run, number: int, room: Room | None) -> bool:
    """Do the same where the container end's name is taken."""
    kernel, pair = run.kernel, _pair(run, number)
    conversation = kernel.links if room is None else room.conversation
    other = look_up(conversation, pair.name)
    if other is None:
        return True  # came and went
    where = "" if room is None else f" in the namespace at {run.plan.places[pair.sandbox].path}"
    mark = kernel.marks.read_endpoint(other.alias)
    if mark is None:
        run.fail(number, kernel.marks.describe_foreign(other, where), errno.EEXIST)
        return False
    bodies = kernel.links.exchange([get_link_at(other.peer)]).bodies.get(0)
    host = decode_link(bodies[0]) if bodies else None
    if host is not None and host.group == kernel.marks.live and host.peer == other.index:
        run.fail(number, f"{pair.name}{where} is the interface of endpoint {mark.endpoint}", errno.EEXIST)
        return False
    reap(kernel)
    return True


def _observe(run: Run, pair: VethPair, host: Link, room: Room | None) -> VethPair:
    kernel = run.kernel
    conversation = kernel.links if room is None else room.conversation
    container = find_container_end(kernel.marks, host, decode_links(conversation.dump(list_links())))
    bodies = kernel.links.exchange([get_link_at(host.master)]).bodies.get(0) if host.master else None
    names = {host.master: decode_link(bodies[0]).name} if bodies else {}
    return pair_of(kernel.marks, host, names, container, pair.sandbox if container is not None else HOST)


def _adjust(run: Run, number: int, bridge: int, room: Room | None) -> bool:
    """Bring a pair that is there to what is wanted, if that can be done in place: its addresses then stay.

    Otherwise it is deleted, and False says to create it.
    """
    kernel, pair = run.kernel, _pair(run, number)
    host = kernel.link(pair.host_name)
    if host is None:
        return False
    if not kernel.marks.owns(host):
        run.fail(number, kernel.marks.describe_foreign(host), errno.EEXIST)
        return True
    found = _observe(run, pair, host, room)
    if (found.sandbox, found.name) != (pair.sandbox, pair.name) or host.group != kernel.marks.live:
        kernel.links.exchange([delete_link(host.index)])
        return False
    wanted_size = size(pair.mtu or DEFAULT_MTU)
    mark = kernel.marks.endpoint(pair.endpoint, None if pair.up else Delegation(pair.name, pair.mac))
    at_host = [
        set_link(index=host.index, attributes=master(bridge) + wanted_size),
        set_link(index=host.index, up=True, attributes=alias(mark) + port_settings(isolated=pair.isolated)),
    ]
    failures = list(kernel.links.attempt(at_host).values())
    if pair.up:
        conversation = kernel.links if room is None else room.conversation
        at_container = set_link(name=pair.name, attributes=wanted_size + hardware_address(pair.mac))
        failures += conversation.attempt([at_container]).values()
    for failure in failures:
        run.fail_for(number, failure)
    if not pair.up:
        run.end(number, Status.MADE)
    return True


def _dress(run: Run, created: Sequence[int]) -> list[int]:
    """Give the host ends their alias and port settings and set them up; what fails here is deleted again."""
    marks = run.kernel.marks
    messages: list[Message] = []
    meant: list[int] = []
    for number in created:
        pair = _pair(run, number)
        quiet = run.kernel.quiet(pair.mtu)
        mark = marks.endpoint(pair.endpoint, None if pair.up else Delegation(pair.name, pair.mac))
        attributes = alias(mark) + quiet + port_settings(isolated=pair.isolated)
        messages.append(set_link(name=pair.host_name, up=True, attributes=attributes))
        meant.append(number)
        if not pair.up:
            messages.append(set_link(name=pair.name, attributes=alias(marks.endpoint(pair.endpoint)) + quiet))
            meant.append(number)
    failures = run.kernel.links.attempt(messages) if messages else {}
    for position, failure in failures.items():
        number = meant[position]
        if not run.has_ended(number):
            run.fail_for(number, failure)
            run.kernel.links.exchange([delete_link_named(_pair(run, number).host_name)])
    for number in created:
        if not _pair(run, number).up:
            run.end(number, Status.MADE)
    return [number for number in created if not run.has_ended(number)]
