"""What a plan does inside one namespace: loopback and container ends up, addresses, routes.

Keeps: each step knows its own end; two exchanges at most when nothing is in the way. Must not know: bridges, firewall.
The same serves the host's namespace, for the addresses of bridges.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from ...domain.objects import Address, Route, VethPair
from ...domain.values import IPV4_BYTES, format_address, link_local_for
from ..contract import Status, Verb
from .kinds import IPVLAN
from .netlink import Conversation, Failure, Message
from .observer import LINK_LOCAL
from .rtnetlink import (
    LOOPBACK_INDEX,
    MARK,
    add_address,
    add_route,
    alias,
    decode_addresses,
    decode_link,
    decode_routes,
    delete_address,
    delete_route,
    get_link,
    list_addresses,
    list_routes,
    set_link,
)
from .run import GONE, HOST, Run

LINK_LOCAL_PREFIX = 64


class Device(Struct, frozen=True, gc=False):
    """What has to be known of a link to give it addresses and routes; ipvlan interfaces share their parent's `mac`."""

    index: int
    mac: bytes
    shares_mac: bool = False


def furnish(
    run: Run, conversation: Conversation, numbers: Sequence[int], namespace: int | None = None, only_link: int = 0
) -> None:
    """Carry out the steps that make things in one namespace; one that makes it itself sets its loopback up first.

    `only_link` is the index of the one container end, where that is known: then all of it is one exchange.
    """
    pairs = [number for number in numbers if isinstance(run.steps[number].object, VethPair)]
    batch = _Batch(run, conversation)
    if only_link:
        devices = _set_up_at(batch, pairs[0], only_link)
    else:
        devices = _set_up(run, conversation, numbers, pairs, namespace)
    addresses = [number for number in numbers if isinstance(run.steps[number].object, Address)]
    routes = [number for number in numbers if isinstance(run.steps[number].object, Route)]
    for number in run.unblocked(addresses):
        _add_address(batch, number, devices)
    for number in run.unblocked(routes):
        _add_route(batch, number, devices)
    if batch.send(is_guess=bool(only_link)):
        furnish(run, conversation, numbers, namespace)
        return
    for number in run.unblocked(numbers):
        run.end(number, Status.MADE)


def strip(run: Run, conversation: Conversation, numbers: Sequence[int]) -> None:
    """Take our addresses and routes off the devices of one namespace that stay."""
    names = sorted({_device(run, number) for number in numbers})
    answers = conversation.exchange([get_link(name) for name in names])
    indices = {name: decode_link(answers.bodies[i][0]).index for i, name in enumerate(names) if i in answers.bodies}
    ours = {
        (entry.index, entry.address, entry.prefix)
        for entry in decode_addresses(conversation.dump(list_addresses()))
        if entry.protocol == MARK
    }
    messages: list[Message] = []
    meant: list[int] = []
    for number in reversed(numbers):  # routes before the addresses that they go by
        thing = run.steps[number].object
        index = indices.get(_device(run, number))
        if index is None or (isinstance(thing, Address) and (index, thing.address, thing.prefix) not in ours):
            run.end(number, Status.ALREADY)
            continue
        if isinstance(thing, Address):
            messages.append(delete_address(index, thing.address, thing.prefix))
        else:
            assert isinstance(thing, Route)
            messages.append(delete_route(thing.destination, thing.gateway, index))
        meant.append(number)
    failures = conversation.attempt(messages) if messages else {}
    for position, number in enumerate(meant):
        failure = failures.get(position)
        if failure is None:
            run.end(number, Status.REMOVED)
        elif failure.number in GONE:
            run.end(number, Status.ALREADY)
        else:
            run.fail_for(number, failure)


class _Batch:
    """Messages of one namespace, each with what to do when it fails."""

    def __init__(self, run: Run, conversation: Conversation) -> None:
        self.run = run
        self.conversation = conversation
        self._messages: list[Message] = []
        self._handlers: list[Callable[[Failure], None]] = []

    def add(self, message: Message, failed: Callable[[Failure], None]) -> None:
        self._messages.append(message)
        self._handlers.append(failed)

    def send(self, *, is_guess: bool = False) -> bool:
        """Send them and have failures handled; but a guess whose first message failed was wrong, and True says so."""
        failures = self.conversation.attempt(self._messages) if self._messages else {}
        if is_guess and 0 in failures:
            return True
        for position, failure in sorted(failures.items()):
            self._handlers[position](failure)
        return False


def _device(run: Run, number: int) -> str:
    thing = run.steps[number].object
    assert isinstance(thing, Address | Route)
    return thing.device


def _set_up(
    run: Run, conversation: Conversation, numbers: Sequence[int], pairs: Sequence[int], namespace: int | None
) -> dict[str, Device]:
    """Set up loopback and container ends, and look up in the same batch the devices that the other steps name."""
    messages: list[Message] = []
    meant: list[int | str] = []
    if namespace is not None:
        messages.append(set_link(index=LOOPBACK_INDEX, up=True))
        meant.append(namespace)
    for number in pairs:
        pair = run.steps[number].object
        assert isinstance(pair, VethPair)
        mark = alias(_mark(run, pair))
        # Two messages: within one the kernel sets it up, with an address of its own, before it reads the settings.
        messages.append(set_link(name=pair.name, attributes=mark + run.kernel.quiet(pair.mtu)))
        messages.append(set_link(name=pair.name, up=True))
        meant += [number, number]
    for name in dict.fromkeys(_named(run, numbers)):
        messages.append(get_link(name))
        meant.append(name)
    if not messages:
        return {}
    answers = conversation.exchange(messages)
    devices: dict[str, Device] = {}
    for position, what in enumerate(meant):
        failure = answers.failures.get(position)
        if isinstance(what, int) and failure is not None:
            run.fail_for(what, failure)
        elif isinstance(what, str) and position in answers.bodies:
            link = decode_link(answers.bodies[position][0])
            devices[what] = Device(link.index, link.mac, link.kind == IPVLAN)
    return devices


def _set_up_at(batch: _Batch, number: int, index: int) -> dict[str, Device]:
    """Set up a container end by its index.

    The first message would change the name of the link with this index to the container end's: it has that name, or
    the kernel refuses, because another link has it or there is none with this index.
    """
    run = batch.run
    pair = run.steps[number].object
    assert isinstance(pair, VethPair)
    mark = alias(_mark(run, pair))
    for message in (
        set_link(index=index, name=pair.name, attributes=mark + run.kernel.quiet(pair.mtu)),
        set_link(index=index, up=True),
    ):
        batch.add(message, lambda failure: run.fail_for(number, failure))
    return {pair.name: Device(index, pair.mac)}


def _mark(run: Run, pair: VethPair) -> str:
    return run.kernel.marks.endpoint(pair.endpoint, settings=tuple(run.settings.get((pair.sandbox, pair.name), ())))


def _named(run: Run, numbers: Sequence[int]) -> list[str]:
    names: list[str] = []
    for number in numbers:
        step = run.steps[number]
        names += [thing.device for thing in (step.object, step.was) if isinstance(thing, Address | Route)]
    return names


def _fail_unless(run: Run, number: int, failure: Failure, harmless: Collection[int]) -> None:
    if failure.number not in harmless:
        run.fail_for(number, failure)


def _add_address(batch: _Batch, number: int, devices: dict[str, Device]) -> None:
    run = batch.run
    wanted = run.steps[number].object
    assert isinstance(wanted, Address)
    link = devices.get(wanted.device)
    if link is None:
        run.fail(number, f"there is no interface named {wanted.device}", errno.ENODEV)
        return
    is_ipv6 = len(wanted.address) != IPV4_BYTES
    if is_ipv6 and wanted.sandbox != HOST and not wanted.address.startswith(LINK_LOCAL):
        # The link-local address that the kernel was told not to make: neighbours are asked from it.
        # One of an ipvlan interface comes from its address: two of a parent may not have the same.
        source = link_local_for(link.mac) if not link.shares_mac else _link_local_from(wanted.address)
        own = add_address(link.index, source, LINK_LOCAL_PREFIX, protocol=0)
        batch.add(own, lambda failure: _fail_unless(run, number, failure, {errno.EEXIST}))
    batch.add(
        add_address(link.index, wanted.address, wanted.prefix),
        lambda failure: _judge_address(batch, number, link, failure),
    )


def _link_local_from(address: bytes) -> bytes:
    """Derive a link-local address from an address: an interface id (RFC 4291, 2.5.1) of its SHA-256, marked local."""
    digest = hashlib.sha256(address).digest()
    return LINK_LOCAL + bytes([digest[0] & 0xFC]) + digest[1:8]


def _judge_address(batch: _Batch, number: int, link: Device, failure: Failure) -> None:
    run = batch.run
    wanted = run.steps[number].object
    assert isinstance(wanted, Address)
    if failure.number != errno.EEXIST:
        run.fail_for(number, failure)
        return
    for entry in decode_addresses(batch.conversation.dump(list_addresses())):
        if (entry.index, entry.address, entry.prefix, entry.protocol) == (
            link.index,
            wanted.address,
            wanted.prefix,
            MARK,
        ):
            run.end(number, Status.ALREADY)
            return
    address = f"{format_address(wanted.address)}/{wanted.prefix}"
    run.fail(number, f"{address} is on {wanted.device} already, and netledger did not add it", errno.EEXIST)


def _add_route(batch: _Batch, number: int, devices: dict[str, Device]) -> None:
    run = batch.run
    step = run.steps[number]
    wanted, before = step.object, step.was
    assert isinstance(wanted, Route)
    link = devices.get(wanted.device)
    if link is None:
        run.fail(number, f"there is no interface named {wanted.device}", errno.ENODEV)
        return
    if step.verb is Verb.REPLACE and isinstance(before, Route) and before.device in devices:
        old = delete_route(before.destination, before.gateway, devices[before.device].index)
        batch.add(old, lambda failure: _fail_unless(run, number, failure, GONE))
    batch.add(
        add_route(wanted.destination, wanted.gateway, link.index),
        lambda failure: _judge_route(batch, number, link, failure),
    )


def _judge_route(batch: _Batch, number: int, link: Device, failure: Failure) -> None:
    run = batch.run
    wanted = run.steps[number].object
    assert isinstance(wanted, Route)
    if failure.number != errno.EEXIST:
        run.fail_for(number, failure)
        return
    for entry in decode_routes(batch.conversation.dump(list_routes(0))):
        if entry.destination != wanted.destination:
            continue
        if entry.protocol != MARK:
            said = f"a route to {entry.destination} via {format_address(entry.gateway) if entry.gateway else 'nothing'}"
            run.fail(number, f"{said}, of protocol {entry.protocol} and not netledger's, is in the way", errno.EEXIST)
        elif (entry.gateway, entry.index) == (wanted.gateway, link.index):
            run.end(number, Status.ALREADY)
        else:
            again = [
                delete_route(entry.destination, entry.gateway, entry.index),
                add_route(wanted.destination, wanted.gateway, link.index),
            ]
            for later in batch.conversation.attempt(again).values():
                run.fail_for(number, later)
        return
    run.fail_for(number, failure)
