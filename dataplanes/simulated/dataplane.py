"""The simulated dataplane: the contract on a kernel in memory, with faults where a test asks for them.

Keeps: `observe` is computed from the simulated kernel's own state, not from what was asked of it.
Knows nothing of: the log, real kernels.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence

from ...domain.errors import DataplaneFault
from ...domain.facts import EVERYTHING, Capabilities, NamespaceIdentity, TakenBlock
from ...domain.objects import (
    HOST_NAMESPACE,
    Bridge,
    Ground,
    KernelObject,
    Key,
    Namespace,
    VethPair,
    offers,
    stands_on,
)
from ...domain.values import SandboxId, SandboxKind, Subnet
from ..contract import Claim, Observation, Outcome, Place, Plan, Status, Step, Verb
from .kernel import KernelError, SimulatedKernel
from .routing import others_routes

FaultPlan = Callable[[Step], int]
"""Answers, for each step, the errno with which it fails; 0 when it does not."""


class SimulatedDataplane:
    """Make desired objects in a simulated kernel; without one, in a new and empty one that goes with it."""

    name = "simulated"

    def __init__(self, kernel: SimulatedKernel | None = None, *, faults: FaultPlan | None = None) -> None:
        self.kernel = kernel or SimulatedKernel()
        self.is_volatile = kernel is None
        self.namespaces: dict[str, NamespaceIdentity] = {}
        """Namespaces that others made, by path."""
        self.obstacles: dict[Claim, str] = {}
        """Ports that others hold."""
        self.name_servers: list[bytes] = []
        """Those in the host's resolv.conf."""
        self.boot = "simulated"
        self._faults = faults or (lambda _: 0)

    def capabilities(self) -> Capabilities:
        """Say that everything can be made."""
        return EVERYTHING

    def probe(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Name who holds what, as the test set it up."""
        found = {claim: self.obstacles[claim] for claim in claims if claim in self.obstacles}
        devices = self.kernel.foreign_devices
        return found | {claim: devices[claim.device] for claim in claims if claim.device in devices}

    def taken_blocks(self) -> Sequence[TakenBlock]:
        """List what others' devices and routes lead to, and the name servers that the test set up."""
        own = self.kernel.own
        taken = [
            TakenBlock(route.destination, f"route dev {route.device}")
            for route in others_routes(own)
            if route.destination.prefix
        ]
        return [*taken, *(TakenBlock(Subnet(server, len(server) * 8), "name server") for server in self.name_servers)]

    def boot_id(self) -> str:
        """Name the boot that the simulated host runs in."""
        return self.boot

    def identify(self, path: str) -> NamespaceIdentity | None:
        """Identify a namespace that a test put at `path`."""
        return self.namespaces.get(path)

    def observe(self, places: Mapping[SandboxId, Place]) -> Observation:
        """Read what the simulated kernel holds in the host's namespace and in the sandboxes'."""
        self._forget_what_is_gone()
        lost = frozenset(sandbox for sandbox, place in places.items() if self._is_lost(place))
        return Observation(dict(self.kernel.objects), lost=lost)

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        """Carry out the steps one by one."""
        self._forget_what_is_gone()
        broken: dict[Ground, Key] = {}
        return [self._carry_out(step, plan.places, broken) for step in plan.steps]

    def make_ready(self) -> None:
        """Do nothing: here nothing takes time."""

    def settle(self, timeout_seconds: float) -> bool:  # noqa: ARG002  # the contract's parameter; nothing dies slowly here
        """Answer at once: what is removed here is gone."""
        return True

    def close(self) -> None:
        """Leave the simulated kernel as it is."""

    def _forget_what_is_gone(self) -> None:
        """Let go what was in the namespaces of others that are not at their paths any more."""
        for sandbox, there in list(self.kernel.namespaces.items()):
            if there.identity is not None and self.namespaces.get(there.path) != there.identity:
                self.kernel.drop_namespace(sandbox)

    def _is_lost(self, place: Place) -> bool:
        return place.kind is SandboxKind.ATTACHED and self.namespaces.get(place.path) != place.identity

    def _carry_out(self, step: Step, places: Mapping[SandboxId, Place], broken: dict[Ground, Key]) -> Outcome:
        """Do one step; `broken` is what cannot be stood on any more, and the failed object that it was to come from."""
        is_made = step.verb is not Verb.REMOVE
        blocker = next((broken[ground] for ground in _ground_of(step.object) if ground in broken), None)
        try:
            if is_made and blocker is not None:
                raise KernelError(0, f"not tried, because {blocker} failed")
            if number := self._faults(step):
                raise KernelError(number, "the fault plan says so")
            if is_made:
                self._enter(step.object, places)
            return Outcome(step, self._do(step))
        except KernelError as error:
            if is_made:
                broken.update(dict.fromkeys(_offers(step.object), step.key))
            return Outcome(step, Status.FAULT, DataplaneFault(step.key, str(error), number=error.number))

    def _enter(self, wanted: KernelObject, places: Mapping[SandboxId, Place]) -> None:
        """Enter the namespace that an object belongs into; refuse what belongs into one that is not there."""
        sandbox = SandboxId(getattr(wanted, "sandbox", HOST_NAMESPACE))
        if isinstance(wanted, Namespace) or sandbox == HOST_NAMESPACE:
            return
        place = places.get(sandbox)
        if place is not None and place.identity is not None and not self._is_lost(place):
            self.kernel.enter(sandbox, place.path, place.identity)
        if place is None or sandbox not in self.kernel.namespaces:
            raise KernelError(errno.ENOENT, f"the namespace of sandbox {sandbox[:12]} is not there")

    def _do(self, step: Step) -> Status:
        there = self.kernel.find(step.object)
        if step.verb is Verb.REMOVE:
            if there is None:
                return Status.ALREADY
            self.kernel.remove(there)
            return Status.REMOVED
        if there == step.object:
            return Status.ALREADY
        if there is None:
            self.kernel.make(step.object)
        else:
            self.kernel.replace(step.object)
        return Status.MADE


def _offers(made: KernelObject) -> tuple[Ground, ...]:
    return ((HOST_NAMESPACE, made.name),) if isinstance(made, Bridge) else offers(made)


def _ground_of(made: KernelObject) -> tuple[Ground, ...]:
    return (*stands_on(made), (HOST_NAMESPACE, made.bridge)) if isinstance(made, VethPair) else stands_on(made)
