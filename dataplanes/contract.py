"""What a dataplane is: the seam between desired state and a kernel, real or simulated.

A dataplane belongs to one ledger (its *instance*, 8 hex digits) on one host and sees only what bears that mark.
Keeps: `observe` after `apply` and `settle` gives the desired objects; applying twice changes nothing the second time.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NewType, Protocol

from msgspec import Struct

from ..domain.errors import DataplaneFault
from ..domain.facts import Capabilities, HostLink, HostPorts, NamespaceIdentity, TakenBlock
from ..domain.objects import KernelObject, Key
from ..domain.values import SandboxId, SandboxKind

Instance = NewType("Instance", str)

RETRIES = 3
"""How often an operation is tried again that failed with EBUSY, EAGAIN, ENOBUFS, or EEXIST of a dying link."""


class Place(Struct, frozen=True, gc=False):
    """Where a sandbox's namespace is: its path, and for one that is not ours its identity when it was recorded.

    `files` are the paths of its files on the host. `settings` are the names of those that are called for: only of the
    host itself, whose place need not be given.
    """

    kind: SandboxKind
    path: str
    identity: NamespaceIdentity | None = None
    files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def namespace(self) -> NamespaceIdentity | str:
        """What tells its namespace from others: the identity, or the path of one that is ours."""
        return self.identity or self.path


HERE = Place(SandboxKind.MANAGED, "")
"""The host's own namespace."""


class Verb(enum.StrEnum):
    """What a step does."""

    MAKE = "make"
    REPLACE = "replace"
    REMOVE = "remove"


class Step(Struct, frozen=True, gc=False):
    """One object to make, remove, or put in place of `was`.

    `place`: of a macvlan or ipvlan interface to remove, the namespace that it is in, where its sandbox is another one
    by now, or its endpoint is elsewhere. Such an interface is all that stays behind: a veth pair is removed by its end
    in the host. In a plan it may stand beside a step that makes the same object where it is to be.
    """

    verb: Verb
    object: KernelObject
    was: KernelObject | None = None
    place: Place | None = None

    @property
    def key(self) -> Key:
        return self.object.key


class Plan(Struct, frozen=True):
    """Steps in an order that works, and where the sandboxes that they name are."""

    steps: tuple[Step, ...]
    places: Mapping[SandboxId, Place]


class Status(enum.StrEnum):
    """How a step ended."""

    MADE = "made"
    REMOVED = "removed"
    ALREADY = "already so"
    DYING = "dying"
    """Taken away, and not yet gone from the kernel: `settle` waits for it."""
    FAULT = "fault"


class Outcome(Struct, frozen=True):
    """How one step ended; `fault` says why it did not."""

    step: Step
    status: Status
    fault: DataplaneFault | None = None


class Observation(Struct, frozen=True):
    """The objects that are there and bear our mark, by key; `dying` are ours, no longer wanted, and on their way out.

    `lost` are sandboxes whose recorded namespace is gone or has been replaced by another at the same path. `edited` are
    files that somebody has made their own: neither there nor missing.
    """

    objects: Mapping[Key, KernelObject]
    dying: frozenset[Key] = frozenset()
    lost: frozenset[SandboxId] = frozenset()
    edited: frozenset[Key] = frozenset()


class Claim(Struct, frozen=True, gc=False):
    """A name or port that a decision is about to take from the host: `device` NAME, or a port of the host."""

    device: str = ""
    protocol: int = 0
    host_address: bytes = b""
    host_port: int = 0


class Counters(Struct, frozen=True, gc=False):
    """What an interface has counted since it was made, by the kernel's own names."""

    rx_packets: int
    rx_bytes: int
    rx_errors: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_errors: int
    tx_dropped: int


class Noticed(Struct, frozen=True, gc=False):
    """A change that the kernel told of, in words; `device`: the host's interface that it is about, if it is."""

    what: str
    device: str = ""


class Watch(Protocol):
    """What a kernel tells of its own accord about changes by others. For one thread, which may be any."""

    def wait(self, timeout_seconds: float) -> tuple[Noticed, ...]:
        """Wait until something of ours was changed by others, and tell what; nothing when the time is over."""

    def close(self) -> None:
        """Stop listening."""


class Dataplane(Protocol):
    """Make desired objects real. Called by one thread at a time; every method may block on the kernel."""

    @property
    def name(self) -> str:
        """`linux` or `simulated`, as the command line says it."""

    @property
    def is_volatile(self) -> bool:
        """Whether what it made is gone when it is closed, so that each start begins with the log's first event."""

    @property
    def firewall(self) -> str:
        """The firewall backend that it programs; empty where its rules are the same whatever they are made with."""

    def capabilities(self, firewall: str = "") -> Capabilities:
        """Probe what this dataplane can make, and what is missing and why; with another firewall, if one is named."""

    def use_firewall(self, backend: str) -> None:
        """Program this firewall backend from here on; what another one has programmed stays until `retire`."""

    def retire(self, backend: str) -> bool:
        """Take away what a firewall backend that is not in use has programmed; whether there was anything.

        Raises `DataplaneFault` where it cannot be taken away.
        """

    def probe(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Name who already holds each of the claims that this instance does not hold itself."""

    def links(self, names: Sequence[str]) -> Mapping[str, HostLink]:
        """Tell which of these interfaces are in the host's namespace, and what they are, whoever made them."""

    def taken_blocks(self) -> Sequence[TakenBlock]:
        """List the addresses that the host uses already, but for ours: what its routes lead to, its name servers."""

    def host_ports(self) -> HostPorts:
        """Tell which ports the host reserves or chooses from, and whether it reaches what is published at ::1, now."""

    def boot_id(self) -> str:
        """Name the boot that the host runs in: /proc/sys/kernel/random/boot_id."""

    def identify(self, path: str) -> NamespaceIdentity | None:
        """Identify the network namespace at `path`; None when there is none."""

    def observe(self, places: Mapping[SandboxId, Place]) -> Observation:
        """Read back everything of ours in the host namespace and in the namespaces of these sandboxes."""

    def statistics(self, place: Place) -> Mapping[str, Counters] | None:
        """Read the counters of the interfaces in a sandbox's namespace, by name; None where nothing is counted.

        Raises `DataplaneFault` where the namespace is gone or is another one than was recorded.
        """

    def watch(self) -> Watch:
        """Begin to listen to what the kernel tells about changes by others."""

    def hold(self, claims: Sequence[Claim]) -> Mapping[Claim, str]:
        """Hold ports that this instance publishes, against other processes, as long as this process lives.

        Name who already holds those that could not be had. `apply` holds and lets go of ports by itself.
        """

    def make_ready(self) -> None:
        """Begin to get ready, while the caller writes its log, for a plan that makes a namespace; nothing shows yet."""

    def apply(self, plan: Plan) -> Sequence[Outcome]:
        """Carry out the steps, one outcome each, in their order; never raise for what the kernel refuses.

        A step that depends on one that failed is a fault that names it; independent ones still run.
        """

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is dying; False when the time is over."""

    def close(self) -> None:
        """Finish what is under way and let go of everything, leaving the kernel as it is."""
