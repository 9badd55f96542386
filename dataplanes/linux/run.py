"""The carrying out of one plan: which steps have ended and how, and what is blocked by what failed.

Keeps: every step gets exactly one outcome; a step that depends on one that failed is a fault that names it.
Must not know: messages.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from ...domain.errors import DataplaneFault
from ...domain.objects import (
    Address,
    Announcement,
    Bridge,
    Ground,
    InterfaceSysctl,
    Ipvlan,
    KernelObject,
    Key,
    Macvlan,
    Namespace,
    OpenPort,
    PortForward,
    Route,
    StandIn,
    VethPair,
    VlanLink,
    stands_on,
)
from ...domain.values import SandboxId
from ..contract import Outcome, Place, Plan, Status, Step, Verb
from .kernel import Kernel
from .netlink import TRANSIENT, Failure
from .rooms import Lost, Room, open_room

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO})
"""What the kernel says about a thing that is not there."""

PERMISSION = (
    "not permitted: this needs CAP_NET_ADMIN and CAP_SYS_ADMIN; "
    "run as root, or under `unshare -Urnm` with --state and a directory of your own"
)


class Run:
    """One plan on its way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._kernel: Kernel | None = None
        self.steps = plan.steps
        self._outcomes: dict[int, Outcome] = {}
        self._by_kind: dict[tuple[type[KernelObject], bool], list[int]] = {}
        for number, step in enumerate(self.steps):
            self._by_kind.setdefault((type(step.object), step.verb is Verb.REMOVE), []).append(number)
        self._broken_sandboxes: dict[SandboxId, Key] = {}
        self._broken_devices: dict[tuple[SandboxId, str], Key] = {}
        self._broken_addresses: dict[bytes, Key] = {}
        self._rooms: dict[SandboxId, Room] = {}
        self._left_rooms: dict[Place, Room] = {}
        """Open namespaces that something is removed from, and that are nobody's place any more."""
        self.settings: dict[tuple[SandboxId, str], list[str]] = {}
        """Names of the kernel settings that were made of an interface, as its alias is to have them."""
        self.announcements: list[tuple[Place, Announcement]] = []
        """What is to be announced when the plan has been carried out, and where."""

    @property
    def kernel(self) -> Kernel:
        """What it is carried out on."""
        assert self._kernel is not None, "the run has not begun"
        return self._kernel

    def begin(self, kernel: Kernel) -> None:
        """Say what it is carried out on."""
        self._kernel = kernel

    def of(self, kind: type[KernelObject], *, removing: bool) -> list[int]:
        """List the steps about a kind of object, by their number."""
        return self._by_kind.get((kind, removing), [])

    def has_ended(self, number: int) -> bool:
        """Whether a step has its outcome."""
        return number in self._outcomes

    def status_of(self, number: int) -> Status | None:
        """How a step ended; None before it has."""
        outcome = self._outcomes.get(number)
        return outcome.status if outcome is not None else None

    def end(self, number: int, status: Status) -> None:
        """Give a step its outcome; the first one counts."""
        self._outcomes.setdefault(number, Outcome(self.steps[number], status))

    def fail(self, number: int, message: str, errno_number: int = 0) -> None:
        """End a step with a fault, and block what depends on it; nothing when it has ended."""
        if number in self._outcomes:
            return
        step = self.steps[number]
        if errno_number in {errno.EPERM, errno.EACCES}:
            message = f"{message}: {PERMISSION}"
        fault = DataplaneFault(step.key, message, number=errno_number, retryable=errno_number in TRANSIENT)
        self._outcomes[number] = Outcome(step, Status.FAULT, fault)
        if step.verb is not Verb.REMOVE:
            self._block(step)

    def fail_for(self, number: int, failure: Failure) -> None:
        """End a step with what the kernel answered."""
        self.fail(number, str(failure), failure.number)

    def fail_with(self, number: int, error: Exception) -> None:
        """End a step with what was raised: mostly by a system call."""
        if not isinstance(error, OSError):
            self.fail(number, f"{type(error).__name__}: {error}")
            return
        number_of_error = error.errno or 0
        said = error.strerror or os.strerror(number_of_error)
        self.fail(number, f"{error.filename}: {said}" if error.filename else said, number_of_error)

    def fail_what_is_left(self, error: Exception) -> None:
        """End every step that has not ended."""
        for number in range(len(self.steps)):
            if isinstance(error, OSError):
                self.fail_with(number, error)
            else:
                self.fail(number, f"not known how it ended: {type(error).__name__}: {error}")

    def refuse_template(self, number: int, *names: str) -> bool:
        """End a step that would make a link whose name the kernel takes for a template; whether it does."""
        name = next((name for name in names if "%" in name), None)
        if name is not None:
            self.fail(number, f"{name!r} cannot be a link's name: the kernel takes % for a place to fill", errno.EINVAL)
        return name is not None

    def blocker(self, thing: KernelObject) -> Key | None:
        """Return the key of the failed thing that an object depends on, if any."""
        match thing:
            case Namespace():
                return None
            case VethPair():
                return self._broken_sandboxes.get(thing.sandbox) or self._broken_devices.get((HOST, thing.bridge))
            case Macvlan() | Ipvlan() | VlanLink() | Address() | Route() | InterfaceSysctl() | Announcement():
                return next(filter(None, map(self._broken, stands_on(thing))), None)
            case PortForward() | OpenPort():
                return self._broken_addresses.get(thing.address)
            case _:
                bridge = getattr(thing, "bridge", None)
                return self._broken_devices.get((HOST, bridge)) if bridge else None

    def unblocked(self, numbers: Iterable[int]) -> list[int]:
        """Keep the steps that may go ahead; fail those that depend on one that failed."""
        if not (self._broken_sandboxes or self._broken_devices or self._broken_addresses):
            return [number for number in numbers if number not in self._outcomes]
        free: list[int] = []
        for number in numbers:
            if number in self._outcomes:
                continue
            blocker = self.blocker(self.steps[number].object)
            if blocker is None:
                free.append(number)
            else:
                self.fail(number, f"not tried, because {blocker} failed")
        return free

    def room(self, sandbox: SandboxId) -> Room:
        """Open a sandbox's namespace, once; `Lost` or OSError when that cannot be."""
        room = self._rooms.get(sandbox)
        if room is None:
            place = self.plan.places.get(sandbox)
            if place is None:
                raise Lost(f"the plan does not say where sandbox {sandbox} is")
            room = self._rooms[sandbox] = open_room(self.kernel, place)
        return room

    def left_room(self, place: Place) -> Room:
        """Open a namespace that something was left in, once; `Lost` or OSError when that cannot be."""
        room = self._left_rooms.get(place)
        if room is None:
            room = self._left_rooms[place] = open_room(self.kernel, place)
        return room

    def keep(self, sandbox: SandboxId, room: Room) -> None:
        """Take a room that was just made."""
        self._rooms[sandbox] = room

    def leave_room(self, sandbox: SandboxId) -> None:
        """Let go of one open namespace."""
        room = self._rooms.pop(sandbox, None)
        if room is not None:
            room.close()

    def leave_left_rooms(self) -> None:
        """Let go of the namespaces that something was left in."""
        for room in self._left_rooms.values():
            room.close()
        self._left_rooms.clear()

    def leave_rooms(self) -> None:
        """Let go of every open namespace."""
        self.leave_left_rooms()
        for room in self._rooms.values():
            room.close()
        self._rooms.clear()

    def outcomes(self) -> list[Outcome]:
        """List the outcomes, in the order of the steps."""
        assert len(self._outcomes) == len(self.steps), "a step without an outcome"
        return [self._outcomes[number] for number in range(len(self.steps))]

    def _broken(self, ground: Ground) -> Key | None:
        sandbox, device = SandboxId(ground[0]), ground[1]
        return self._broken_devices.get((sandbox, device)) if device else self._broken_sandboxes.get(sandbox)

    def _block(self, step: Step) -> None:
        thing = step.object
        match thing:
            case Namespace():
                self._broken_sandboxes.setdefault(thing.sandbox, step.key)
            case VethPair() | Macvlan() | Ipvlan():
                self._broken_devices.setdefault((thing.sandbox, thing.name), step.key)
            case Bridge() | StandIn() | VlanLink():
                self._broken_devices.setdefault((HOST, thing.name), step.key)
            case Address():
                self._broken_devices.setdefault((thing.sandbox, thing.device), step.key)
                if thing.sandbox != HOST:
                    self._broken_addresses.setdefault(thing.address, step.key)
            case _:
                pass


HOST = SandboxId("")
