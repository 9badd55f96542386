"""The Linux kernel as a dataplane.

Keeps: all work is done by the worker's thread, one job at a time; nothing waits for what can be done later.
Must not know: how a plan is carried out (`executor`), or read back (`observer`).
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

from ...domain.errors import DataplaneFault
from ...domain.facts import NOBODY, Capabilities, HostLink, HostPorts, NamespaceIdentity, TakenBlock
from ...domain.objects import Namespace
from ...domain.values import SandboxId
from ..contract import Claim, Counters, Instance, Observation, Outcome, Place, Plan, Watch
from . import probe
from .announcing import Announcer
from .executor import execute
from .firewall import BACKENDS, NFTABLES
from .kernel import Kernel
from .marks import Marks
from .namespaces import Stranded, boot_id
from .netlink import is_passing
from .observer import observe
from .pairs import reap
from .rooms import prepare_room
from .routes import taken_blocks
from .run import PERMISSION, Run
from .statistics import statistics
from .watcher import Watcher
from .worker import Worker

T = TypeVar("T")

REAP_AFTER_SECONDS = 0.05
"""Of quiet: the kernel destroys abandoned namespaces by itself meanwhile, and an attach that follows need not wait."""
PREPARE_AFTER_SECONDS = 0.003
"""Of quiet: the caller has its answer by then, also on a machine with one free core."""
SETTLE_PAUSE_SECONDS = 0.005


class LinuxDataplane:
    """One instance's part of a host's kernel; see `contract.Dataplane`.

    `namespace` is the path of the network namespace to work in; None is the caller's own. `firewall` is the backend
    that programs what networks and published ports need: `nftables`, `iptables` or `none`.
    """

    name: ClassVar[str] = "linux"
    is_volatile: ClassVar[bool] = False

    def __init__(self, instance: Instance, namespace: str | None = None, *, firewall: str = NFTABLES) -> None:
        assert firewall in BACKENDS, f"firewall {firewall!r} is none of {BACKENDS}"
        self.firewall = firewall
        self._instance = instance
        self._namespace = namespace
        self._marks = Marks(instance)
        self._worker = Worker(namespace)
        self._announcer = Announcer(self._worker)
        self._kernel: Kernel | None = None
        self._must_reap = False
        self._has_reaped = False
        """Whether what a process before this one has left in the trash group is gone too."""
        self._capabilities: Capabilities | None = None

    def capabilities(self, firewall: str = "") -> Capabilities:
        """Probe, once unless something passing is in the way, what can be made here, and what is missing and why.

        Of another firewall than the one in use it is asked each time.
        """
        if firewall and firewall != self.firewall:
            with contextlib.closing(LinuxDataplane(self._instance, self._namespace, firewall=firewall)) as other:
                return other.capabilities()
        if self._capabilities is None:
            try:
                self._capabilities = self._work(probe.capabilities)
            except OSError as error:
                if is_passing(error):
                    return probe.nothing(error)
                self._capabilities = probe.nothing(error)
        return self._capabilities

    def probe(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Name who already holds each of the claims that this instance does not hold itself."""
        if self._kernel is not None and all(claim.host_port for claim in claims) and self._worker.home.is_here():
            return probe.holders(self._kernel, claims)  # any thread that stands there can try a port
        return self._ask(lambda kernel: probe.holders(kernel, claims)) if claims else {}

    def identify(self, path: str) -> NamespaceIdentity | None:
        """Identify the network namespace at `path`; None when there is none."""
        return self._ask(lambda kernel: probe.identify(kernel, path))

    def links(self, names: Sequence[str]) -> Mapping[str, HostLink]:
        """Tell which of these interfaces are in the host's namespace, and what they are, whoever made them."""
        return self._ask(lambda kernel: probe.links(kernel, names)) if names else {}

    def taken_blocks(self) -> Sequence[TakenBlock]:
        """List the addresses that the host uses already, but for ours: what its routes lead to, its name servers."""
        return self._ask(taken_blocks)

    def host_ports(self) -> HostPorts:
        """Tell which ports the host reserves, and whether it reaches what is published at ::1, as it is set now."""
        return self._ask(lambda _: probe.host_ports())

    def boot_id(self) -> str:
        """Name the boot that the host runs in."""
        return boot_id()

    def observe(self, places: Mapping[SandboxId, Place]) -> Observation:
        """Read back everything of ours in the host namespace and in the namespaces of these sandboxes."""
        return self._ask(lambda kernel: observe(kernel, places))

    def statistics(self, place: Place) -> Mapping[str, Counters]:
        """Read the counters of the interfaces in a sandbox's namespace, by name."""
        return self._ask(lambda kernel: statistics(kernel, place))

    def watch(self) -> Watch:
        """Begin to listen to what the kernel tells about changes by others."""
        return self._ask(lambda kernel: Watcher(kernel.marks))

    def hold(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Hold published ports against other processes; name who already holds those that could not be had."""
        return self._ask(lambda kernel: _hold(kernel, claims)) if claims else {}

    def make_ready(self) -> None:
        """Have a namespace made that bears no name, and return at once."""
        kernel = self._kernel
        if kernel is not None and kernel.spare is None:
            self._worker.soon("prepare", lambda: prepare_room(kernel))

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        """Carry out the steps, one outcome each, in their order; never raise for what the kernel refuses."""
        run = Run(plan)

        def work(kernel: Kernel) -> None:
            if execute(kernel, run) or not self._has_reaped:
                self._must_reap = True
                self._worker.later("reap", REAP_AFTER_SECONDS, lambda: self._reap(kernel), postpones=False)
            for place, announcement in run.announcements:
                self._announcer.add(kernel, place, announcement)
            self._announcer.make_way(kernel)
            if run.of(Namespace, removing=False):
                self._worker.later("prepare", PREPARE_AFTER_SECONDS, lambda: prepare_room(kernel))

        if plan.steps:
            try:
                self._work(work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the steps that have ended keep their outcomes
                run.fail_what_is_left(error)
        return run.outcomes()

    def use_firewall(self, backend: str) -> None:
        """Program this firewall backend from here on, by itself: what another one has programmed stays."""
        assert backend in BACKENDS, f"firewall {backend!r} is none of {BACKENDS}"
        if backend != self.firewall:
            if self._kernel is not None:
                self._ask(lambda kernel: kernel.use_firewall(backend))
            self.firewall = backend
            self._capabilities = None

    def retire(self, backend: str) -> bool:
        """Take away what another firewall backend has programmed for this instance; whether there was anything."""

        def work(kernel: Kernel) -> bool:
            made = kernel.backend(backend)
            try:
                return made.remove()
            finally:
                made.close()

        return self._ask(work)

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is dying; False when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while self._ask(self._reap):  # deletes them, also where a process still holds their namespace
            if time.monotonic() > deadline:
                return False
            time.sleep(SETTLE_PAUSE_SECONDS)
        return True

    def close(self) -> None:
        """Finish what is under way and let go of everything, leaving the kernel as it is."""
        kernel, self._kernel = self._kernel, None
        try:
            if kernel is not None:
                self._worker.run(lambda: self._finish(kernel))
        finally:
            self._worker.close()

    def _ask(self, job: Callable[[Kernel], T]) -> T:
        try:
            return self._work(job)
        except (Stranded, OSError) as error:
            number = (error.errno or 0) if isinstance(error, OSError) else 0
            needs = f"; {PERMISSION}" if number in {errno.EPERM, errno.EACCES} else ""
            raise DataplaneFault("dataplane/linux", f"{error}{needs}", number=number, retryable=not needs) from error

    def _work(self, job: Callable[[Kernel], T]) -> T:
        def work() -> T:
            if self._kernel is None:
                self._kernel = Kernel(self._marks, self._worker.home, self.firewall)
            return job(self._kernel)

        return self._worker.run(work)

    def _reap(self, kernel: Kernel) -> bool:
        """Delete what is on its way out; whether there was anything."""
        found = reap(kernel)
        self._must_reap, self._has_reaped = False, True
        return found

    def _finish(self, kernel: Kernel) -> None:
        """Announce what was not yet, reap what would be left lying, and close every socket."""
        try:
            self._announcer.finish(kernel)
            if self._must_reap:
                with contextlib.suppress(OSError):  # tried again after the first change of the next process
                    self._reap(kernel)
        finally:
            kernel.close()


def _hold(kernel: Kernel, claims: Sequence[Claim]) -> Mapping[Claim, str]:
    taken: dict[Claim, str] = {}
    for claim in claims:
        error = kernel.ports.hold(claim)
        if error is not None:
            is_taken = error.errno == errno.EADDRINUSE
            taken[claim] = probe.describe_holder(claim) if is_taken else f"{NOBODY}{error.strerror or error}"
    return taken
