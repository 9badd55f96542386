"""The simulated dataplane: the contract on a kernel in memory, with faults where a test asks for them.

Keeps: `observe` is computed from the simulated kernel's own state, not from what was asked of it.
Knows nothing of: the log, real kernels.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...domain.errors import DataplaneFault
from ...domain.facts import (
    CHOSEN_PORTS,
    EVERYTHING,
    FILTERED_LOOPBACK6,
    RESERVED_PORTS,
    Capabilities,
    HostLink,
    HostPorts,
    NamespaceIdentity,
    TakenBlock,
    port_range,
    reserved_ranges,
)
from ...domain.objects import (
    HOST_NAMESPACE,
    Bridge,
    File,
    Ground,
    Ipvlan,
    KernelObject,
    Key,
    Macvlan,
    Namespace,
    VethPair,
    offers,
    stands_on,
)
from ...domain.values import IPV6_BYTES, SandboxId, SandboxKind, Subnet
from ..contract import Claim, Noticed, Observation, Outcome, Place, Plan, Status, Step, Verb
from .clock import SimulatedClock
from .faults import LUCK, Half, Misfortune, StepFaults, askew
from .kernel import SimulatedKernel
from .lifting import lift
from .limits import KernelError
from .model import Device, Ethernet, Loopback, NetworkNamespace
from .routing import others_routes

CARD = "eth0"
"""The network card that a new simulated host has."""

ALWAYS_RULED = Capabilities({"firewall": "a simulated network always has its rules"})
WATCH_PAUSE_SECONDS = 0.005
BY_PLAN = "the fault plan says so"


@dataclass
class _Run:
    """One apply. `broken`: what cannot be stood on any more, and the failed object that it was to come from.

    `cut`: the errno with which the rest of the batch fails; 0 as long as it was not cut.
    """

    places: Mapping[SandboxId, Place]
    broken: dict[Ground, Key] = field(default_factory=dict)
    cut: int = 0


class SimulatedDataplane:
    """Make desired objects in a simulated kernel; without one, in a new and empty one that goes with it.

    `faults` decides what becomes of each step: `Faults` does so by a plan. A slow step lets time pass on `clock`.
    """

    name = "simulated"

    def __init__(
        self,
        kernel: SimulatedKernel | None = None,
        *,
        faults: StepFaults | None = None,
        clock: SimulatedClock | None = None,
    ) -> None:
        self.kernel = kernel or SimulatedKernel()
        self.is_volatile = kernel is None
        if kernel is None:
            self.kernel.add_card(CARD)
        self.firewall = ""
        """Which backend was chosen, if one was: the simulated kernel's rules are the same with every one."""
        self.namespaces: dict[str, NamespaceIdentity] = {}
        """Namespaces that others made, by path."""
        self.obstacles: dict[Claim, str] = {}
        """Ports that others hold."""
        self.name_servers: list[bytes] = []
        """Those in the host's resolv.conf."""
        self.boot = "simulated"
        self.epoch = self.kernel.epoch
        """The kernel's, as long as nobody else has changed it."""
        self._faults = faults or (lambda _: LUCK)
        self._clock = clock or SimulatedClock()

    def capabilities(self, firewall: str = "") -> Capabilities:
        """Say that everything can be made, if with rules."""
        return ALWAYS_RULED if firewall == "none" else EVERYTHING

    def use_firewall(self, backend: str) -> None:
        """Take note of which backend is chosen."""
        self.firewall = backend

    def retire(self, backend: str) -> bool:  # noqa: ARG002  # the contract's parameter
        """Leave the rules as they are: they are the chosen backend's."""
        return False

    def probe(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Name who holds what, as the test set it up."""
        found = {claim: self.obstacles[claim] for claim in claims if claim in self.obstacles}
        devices = self.kernel.foreign_devices
        return found | {claim: devices[claim.device] for claim in claims if claim.device in devices}

    def links(self, names: Sequence[str]) -> Mapping[str, HostLink]:
        """Tell which of these interfaces are in the simulated host's namespace."""
        there = self.kernel.own.devices
        return {name: HostLink(_kind(there[name]), there[name].mark is not None) for name in names if name in there}

    def taken_blocks(self) -> Sequence[TakenBlock]:
        """List what others' devices and routes lead to, and the name servers that the test set up."""
        own = self.kernel.own
        taken = [
            TakenBlock(route.destination, f"route dev {route.device}")
            for route in others_routes(own)
            if route.destination.prefix
        ]
        return [*taken, *(TakenBlock(Subnet(server, len(server) * 8), "name server") for server in self.name_servers)]

    def host_ports(self) -> HostPorts:
        """Read the simulated host's settings about ports, as a test set them.

        Unless it sets `net.ipv4.ip_local_port_range` the host does not say which ones it takes itself, so that they
        are chosen from 49153 to 65535: a kernel's own 32768 to 60999 would choose others than recorded runs have.
        """
        own = self.kernel.own
        reserved = reserved_ranges(own.sysctls.get(RESERVED_PORTS, ""))
        unreached6 = FILTERED_LOOPBACK6 if own.filters_bridged(IPV6_BYTES) else ""
        return HostPorts(reserved, unreached6, port_range(own.sysctls.get(CHOSEN_PORTS, "")))

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
        edited = {
            File(sandbox, path, "").key
            for sandbox, place in places.items()
            for path in place.files
            if path in self.kernel.edited
        }
        return Observation(self._objects_at(places), lost=lost, edited=frozenset(edited))

    def _objects_at(self, places: Mapping[SandboxId, Place]) -> dict[Key, KernelObject]:
        """Read what there is, of a sandbox whose namespace is another one by now what is at its place alone."""
        objects = dict(self.kernel.objects)
        for sandbox, place in places.items():
            there = self.kernel.namespaces.get(sandbox)
            if not place.path or there is None or there.which == place.namespace:
                continue
            objects = {key: made for key, made in objects.items() if not _is_inside(made, sandbox)}
            left = [each for each in self.kernel.left if (each.sandbox, each.which) == (sandbox, place.namespace)]
            objects |= {made.key: made for each in left for made in lift({HOST_NAMESPACE: each})}
        return objects

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        """Carry out the steps one by one."""
        self._forget_what_is_gone()
        run = _Run(plan.places)
        before, known = self.kernel.epoch, self.epoch
        outcomes = [self._carry_out(step, run) for step in plan.steps]
        if known == before:
            self.epoch = self.kernel.epoch
        return outcomes

    def statistics(self, place: Place) -> None:
        """Answer that nothing is counted here."""

    def watch(self) -> SimulatedWatch:
        """Listen to what others change in the simulated kernel."""
        return SimulatedWatch(self)

    def hold(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Name who holds those of the ports that others hold."""
        return {claim: self.obstacles[claim] for claim in claims if claim in self.obstacles}

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
            if self._is_gone(there):
                self.kernel.drop_namespace(sandbox)
        self.kernel.drop_left([there for there in self.kernel.left if self._is_gone(there)])

    def _is_gone(self, there: NetworkNamespace) -> bool:
        """Whether a namespace of others is not at its path any more."""
        return there.identity is not None and self.namespaces.get(there.path) != there.identity

    def _is_lost(self, place: Place) -> bool:
        return place.kind is SandboxKind.ATTACHED and self.namespaces.get(place.path) != place.identity

    def _carry_out(self, step: Step, run: _Run) -> Outcome:
        """Do one step, or what the fault plan makes of it."""
        is_made = step.verb is not Verb.REMOVE
        blocker = next((run.broken[ground] for ground in _ground_of(step.object) if ground in run.broken), None)
        try:
            if is_made and blocker is not None:
                raise KernelError(0, f"not tried, because {blocker} failed")
            if run.cut:
                raise KernelError(run.cut, "not tried, because the batch was cut")
            fate = self._fate(step)
            if fate.half is Half.CUT:
                run.cut = fate.number
            if fate.number and fate.half in (None, Half.CUT):
                raise KernelError(fate.number, BY_PLAN)
            if is_made:
                self._enter(step.object, run.places)
            status = self._do_askew(step) if fate.half in (Half.ASKEW, Half.ASKEW_UNHEARD) else self._do(step)
            if fate.number:
                raise KernelError(fate.number, f"{BY_PLAN}, although it is done")
            return Outcome(step, status)
        except KernelError as error:
            if is_made:
                run.broken.update(dict.fromkeys(_offers(step.object), step.key))
            return Outcome(step, Status.FAULT, DataplaneFault(step.key, str(error), number=error.number))

    def _fate(self, step: Step) -> Misfortune:
        """Ask what becomes of a step, and let it take its time."""
        found = self._faults(step)
        fate = Misfortune(found) if isinstance(found, int) else found
        self._clock.sleep(fate.delay_seconds)
        return fate

    def _do_askew(self, step: Step) -> Status:
        """Make something else under the same name; where that cannot be, do nothing; and do not say so."""
        other = askew(step.object) if step.verb is not Verb.REMOVE else None
        if other is None:
            return Status.REMOVED if step.verb is Verb.REMOVE else Status.MADE
        return self._do(Step(step.verb, other, step.was))

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
        if isinstance(step.object, File) and step.object.path in self.kernel.edited:
            return Status.ALREADY
        if step.place is not None:
            assert isinstance(step.object, Macvlan | Ipvlan), "nothing else is left behind"
            return Status.REMOVED if self.kernel.remove_left(step.object, step.place.namespace) else Status.ALREADY
        there = self.kernel.find(step.object)
        if there is None and step.was is not None:
            there = self.kernel.find(step.was)  # in another sandbox
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
            self.kernel.replace(step.object, there)
        return Status.MADE


class SimulatedWatch:
    """What a simulated kernel tells of its own accord about changes by others."""

    def __init__(self, dataplane: SimulatedDataplane) -> None:
        self._dataplane = dataplane
        dataplane.epoch = dataplane.kernel.epoch

    def wait(self, timeout_seconds: float) -> tuple[Noticed, ...]:
        """Wait until somebody else has changed the kernel; nothing when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while self._dataplane.epoch == self._dataplane.kernel.epoch:
            rest = deadline - time.monotonic()
            if rest <= 0:
                return ()
            time.sleep(min(rest, WATCH_PAUSE_SECONDS))
        self._dataplane.epoch = self._dataplane.kernel.epoch
        return (Noticed("the simulated kernel was changed"),)

    def close(self) -> None:
        """Stop listening."""


def _kind(device: Device) -> str:
    """Name an interface's kind as the kernel does (IFLA_INFO_KIND); a card has none."""
    return "" if type(device) in {Device, Ethernet, Loopback} else type(device).__name__.lower().removesuffix("device")


def _is_inside(made: KernelObject, sandbox: SandboxId) -> bool:
    """Whether something is only to be found inside a sandbox's namespace: a pair has an end in the host."""
    return not isinstance(made, VethPair) and getattr(made, "sandbox", HOST_NAMESPACE) == sandbox


def _offers(made: KernelObject) -> tuple[Ground, ...]:
    return ((HOST_NAMESPACE, made.name),) if isinstance(made, Bridge) else offers(made)


def _ground_of(made: KernelObject) -> tuple[Ground, ...]:
    return (*stands_on(made), (HOST_NAMESPACE, made.bridge)) if isinstance(made, VethPair) else stands_on(made)
