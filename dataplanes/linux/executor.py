"""Carry out a plan: the steps compiled into batches by namespace.

Keeps: the order removals - host - namespaces - pairs - interiors - published ports; one message batch a namespace, one
firewall transaction for what goes and one for what comes; every step ends. Must not know: who asked, threads.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence

from ...domain.objects import (
    Address,
    Announcement,
    Bridge,
    File,
    Firewall,
    ForwardPolicy,
    InterfaceSysctl,
    Ipvlan,
    KernelObject,
    LoopbackAccess,
    Macvlan,
    Masquerade,
    Namespace,
    OpenPort,
    PortForward,
    Route,
    StandIn,
    Sysctl,
    VethPair,
    VlanLink,
)
from ...domain.values import SandboxId
from ..contract import Status, Verb
from .files import make_files, remove_files
from .firewall_steps import change_elements, make_firewall, remove_firewall, remove_with_firewall
from .holding import hold_ports, release_ports
from .hostside import make_bridges, remove_bridges
from .interiors import furnish
from .kernel import Kernel
from .namespaces import Stranded, drop
from .pairs import make_pairs
from .parented import make_parented, remove_parented
from .parents import make_parents, remove_parents
from .removal import drop_namespaces, forget_traceless, park, strip_devices
from .rooms import Lost, make_room
from .run import HOST, Run
from .settings import write_settings
from .sysctls import forget_sysctls, make_sysctls

_POLICIES = (ForwardPolicy, Masquerade, LoopbackAccess)
_PARENTED = (Macvlan, Ipvlan)
_INTERFACES = (VethPair, *_PARENTED)
_TRACELESS = (InterfaceSysctl, Announcement)

SANDBOXES_AT_ONCE = 128
"""Each is two open descriptors while it is furnished."""


def execute(kernel: Kernel, run: Run) -> bool:
    """Carry out every step of a run; whether something is left to reap."""
    run.begin(kernel)
    try:
        is_dying = _remove(run)
        _make_host(run)
        _make_endpoints(run)
        make_files(run, run.of(File, removing=False))
        ports = _of(run, PortForward, OpenPort, removing=False)
        with _faults(run, ports):
            hold_ports(run, run.of(PortForward, removing=False))
            change_elements(run, run.unblocked(ports))
    finally:
        run.leave_rooms()
    return is_dying


@contextlib.contextmanager
def _faults(run: Run, numbers: Sequence[int]) -> Iterator[None]:
    """Make what the block raises the fault of its steps that have not ended; a stranded thread does no more."""
    try:
        yield
    except Stranded:
        raise
    except Exception as error:  # noqa: BLE001 - whatever these steps bring, the others go on
        for number in numbers:
            run.fail_with(number, error)


def _of(run: Run, *kinds: type[KernelObject], removing: bool) -> list[int]:
    return [number for kind in kinds for number in run.of(kind, removing=removing)]


def _remove(run: Run) -> bool:
    """Take away what is to go, in the reverse of the order of making; whether something is dying."""
    if all(step.verb is not Verb.REMOVE for step in run.steps):
        return False
    firewall = run.of(Firewall, removing=True)
    elements = _of(run, OpenPort, PortForward, LoopbackAccess, ForwardPolicy, Masquerade, removing=True)
    with _faults(run, elements):
        if firewall:
            remove_with_firewall(run, elements)
        change_elements(run, [number for number in elements if not run.has_ended(number)])
    release_ports(run, run.of(PortForward, removing=True))
    inside, pairs = _of(run, Address, Route, removing=True), run.of(VethPair, removing=True)
    namespaces, bridges = run.of(Namespace, removing=True), run.of(Bridge, removing=True)
    is_dying = False
    forget_traceless(run, _of(run, *_TRACELESS, removing=True))
    with _faults(run, inside):
        strip_devices(run, inside)
    with _faults(run, pairs):
        is_dying = park(run, pairs)
    parented, parents = _of(run, *_PARENTED, removing=True), _of(run, VlanLink, StandIn, removing=True)
    with _faults(run, parented):
        remove_parented(run, parented)
    run.leave_left_rooms()
    drop_namespaces(run, namespaces)
    with _faults(run, parents):
        remove_parents(run, parents)
    with _faults(run, bridges):
        remove_bridges(run, bridges)
    with _faults(run, firewall):
        remove_firewall(run, firewall)
    forget_sysctls(run, run.of(Sysctl, removing=True))
    remove_files(run, run.of(File, removing=True))
    return is_dying


def _make_host(run: Run) -> None:
    """Make what networks need in the host's namespace: their rules are there before their first endpoint."""
    if not _of(run, Sysctl, Firewall, Bridge, StandIn, VlanLink, *_POLICIES, removing=False):
        return
    make_sysctls(run, run.of(Sysctl, removing=False))
    bridges = run.of(Bridge, removing=False)
    with _faults(run, bridges):
        make_bridges(run, bridges)
    parents = _of(run, StandIn, VlanLink, removing=False)
    with _faults(run, parents):
        make_parents(run, parents)
    make_firewall(run, run.of(Firewall, removing=False))  # without the rules of a bridge that turned out not to be ours
    rules = run.unblocked(_of(run, *_POLICIES, removing=False))
    with _faults(run, rules):
        change_elements(run, rules)


def _make_endpoints(run: Run) -> None:
    """Make the bridges' own addresses, then namespaces, pairs and what is in them, so many sandboxes at a time."""
    of_bridges: list[int] = []
    by_sandbox: dict[SandboxId, list[int]] = {}
    for number in _of(run, Namespace, *_INTERFACES, *_TRACELESS, Address, Route, removing=False):
        sandbox = _sandbox_of(run, number)
        if sandbox == HOST and not isinstance(run.steps[number].object, _INTERFACES):
            of_bridges.append(number)
        else:
            by_sandbox.setdefault(sandbox, []).append(number)
    if of_bridges:
        with _faults(run, of_bridges):
            furnish(run, run.kernel.links, run.unblocked(of_bridges))
    pending = iter(by_sandbox.items())
    while group := dict(itertools.islice(pending, SANDBOXES_AT_ONCE)):
        _make_sandboxes(run, group)
        run.leave_rooms()


def _make_sandboxes(run: Run, group: dict[SandboxId, list[int]]) -> None:
    everything = list(itertools.chain.from_iterable(group.values()))
    namespaces = _make_namespaces(run, [n for n in everything if isinstance(run.steps[n].object, Namespace)])
    pairs = [n for n in everything if isinstance(run.steps[n].object, VethPair)]
    ready: set[int] = set()
    with _faults(run, pairs):
        ready.update(make_pairs(run, pairs) if pairs else ())
    parented = [n for n in everything if isinstance(run.steps[n].object, _PARENTED)]
    with _faults(run, parented):
        make_parented(run, parented)
    for sandbox, numbers in group.items():
        if sandbox == HOST:
            continue  # delegated interfaces are as they should be
        todo = [n for n in run.unblocked(numbers) if n in ready or not isinstance(run.steps[n].object, VethPair)]
        namespace = namespaces.get(sandbox)
        if not todo and namespace is None:
            continue
        with _faults(run, todo):
            try:
                _furnish(run, sandbox, todo, namespace)
            except Lost as lost:
                for number in todo:
                    run.fail(number, str(lost))


def _furnish(run: Run, sandbox: SandboxId, todo: Sequence[int], namespace: int | None) -> None:
    """Make what is in one sandbox: settings before addresses, and announcements to be made after them."""
    room = run.room(sandbox)
    kinds = {number: type(run.steps[number].object) for number in todo}
    settings = [number for number in todo if kinds[number] is InterfaceSysctl]
    if settings:
        write_settings(run, room, settings)
    rest = [number for number in todo if kinds[number] not in _TRACELESS]
    has_one_link = sum(kind is VethPair for kind in kinds.values()) == 1
    is_alone = has_one_link and len(run.of(Macvlan, removing=False)) + len(run.of(Ipvlan, removing=False)) == 0
    furnish(run, room.conversation, rest, namespace, room.next_index if is_alone else 0)
    _note_announcements(run, sandbox, [number for number in todo if kinds[number] is Announcement])


def _note_announcements(run: Run, sandbox: SandboxId, numbers: Sequence[int]) -> None:
    """Have announced, when nobody waits any more, what is on interfaces that are new."""
    if not numbers:
        return
    old = {
        thing.name
        for number in _of(run, *_INTERFACES, removing=False)
        if isinstance(thing := run.steps[number].object, _INTERFACES)
        and thing.sandbox == sandbox
        and run.status_of(number) is Status.ALREADY
    }
    for number in run.unblocked(numbers):
        wanted = run.steps[number].object
        assert isinstance(wanted, Announcement)
        if wanted.device in old:
            run.end(number, Status.ALREADY)
        else:
            run.announcements.append((run.plan.places[sandbox], wanted))
            run.end(number, Status.MADE)


def _make_namespaces(run: Run, numbers: Sequence[int]) -> dict[SandboxId, int]:
    """Make namespaces; return the steps, by sandbox, whose loopback is still to be set up."""
    made: dict[SandboxId, int] = {}
    for number in numbers:
        step = run.steps[number]
        wanted, before = step.object, step.was
        assert isinstance(wanted, Namespace)
        try:
            if isinstance(before, Namespace) and before.path != wanted.path:
                drop(before.path)
            room = make_room(run.kernel, wanted.path)
        except (OSError, ValueError) as error:
            run.fail_with(number, error)
            continue
        run.keep(wanted.sandbox, room)
        made[wanted.sandbox] = number
        if not room.is_new:
            run.end(number, Status.ALREADY)
    return made


def _sandbox_of(run: Run, number: int) -> SandboxId:
    thing = run.steps[number].object
    assert isinstance(thing, Namespace | VethPair | Macvlan | Ipvlan | InterfaceSysctl | Address | Route | Announcement)
    return thing.sandbox
