"""The simulated dataplane: the contract on a kernel in memory, with faults where a test asks for them.

Keeps: `observe` is computed from the simulated kernel's own state, not from what was asked of it.
Knows nothing of: the log, real kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...domain.errors import DataplaneFault
from ...domain.facts import EVERYTHING, Capabilities, NamespaceIdentity
from ...domain.objects import HOST_NAMESPACE, Key, Namespace
from ...domain.values import SandboxId, SandboxKind
from ..contract import Claim, Observation, Outcome, Place, Plan, Status, Step, Verb
from .kernel import KernelError, SimulatedKernel

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

    def boot_id(self) -> str:
        """Name the boot that the simulated host runs in."""
        return self.boot

    def identify(self, path: str) -> NamespaceIdentity | None:
        """Identify a namespace that a test put at `path`."""
        return self.namespaces.get(path)

    def observe(self, places: Mapping[SandboxId, Place]) -> Observation:
        """List what the simulated kernel holds in the host's namespace and in those that can still be entered."""
        lost = {sandbox for sandbox, place in places.items() if self._is_lost(place)}
        objects = {
            key: there for key, there in self.kernel.objects.items() if getattr(there, "sandbox", "") not in lost
        }
        return Observation(objects, lost=frozenset(lost))

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        """Carry out the steps one by one."""
        failed: dict[SandboxId, Key] = {
            sandbox: Key(f"namespace/{sandbox[:12]}") for sandbox, place in plan.places.items() if self._is_lost(place)
        }
        return [self._carry_out(step, failed) for step in plan.steps]

    def settle(self, timeout_seconds: float) -> bool:  # noqa: ARG002  # the contract's parameter; nothing dies slowly here
        """Answer at once: what is removed here is gone."""
        return True

    def close(self) -> None:
        """Leave the simulated kernel as it is."""

    def _is_lost(self, place: Place) -> bool:
        return place.kind is SandboxKind.ATTACHED and self.namespaces.get(place.path) != place.identity

    def _carry_out(self, step: Step, failed: dict[SandboxId, Key]) -> Outcome:
        sandbox = SandboxId(getattr(step.object, "sandbox", HOST_NAMESPACE))
        if step.verb is not Verb.REMOVE and sandbox in failed:
            return _fault(step, 19, f"{failed[sandbox]} is not there")
        number = self._faults(step)
        if number:
            if isinstance(step.object, Namespace):
                failed[step.object.sandbox] = step.key
            return _fault(step, number, "the fault plan says so")
        try:
            return Outcome(step, self._do(step))
        except KernelError as error:
            return _fault(step, error.number, str(error))

    def _do(self, step: Step) -> Status:
        there = self.kernel.objects.get(step.key)
        if step.verb is Verb.REMOVE:
            if there is None:
                return Status.ALREADY
            self.kernel.remove(step.key)
            return Status.REMOVED
        if there == step.object:
            return Status.ALREADY
        if there is not None:
            self.kernel.remove(step.key)
        self.kernel.make(step.object)
        return Status.MADE


def _fault(step: Step, number: int, message: str) -> Outcome:
    return Outcome(step, Status.FAULT, DataplaneFault(step.key, message, number=number))
