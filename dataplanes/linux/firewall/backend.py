"""What a firewall backend is: the seam between the firewall's objects and the rules of one kernel.

Keeps: what was changed and left alone is observed equal to what was asked for; rules that do not bear this instance's
mark are never read as ours, changed or reordered. Must not know: plans, steps, namespaces.

A backend is made, used and closed by the worker's thread, and works in the namespace that it was first used in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from ....domain.objects import ForwardPolicy, KernelObject, LoopbackAccess, Masquerade, OpenPort, PortForward

FirewallObject: TypeAlias = Masquerade | ForwardPolicy | LoopbackAccess | PortForward | OpenPort


class Edit(Struct, frozen=True, gc=False):
    """One object of the firewall to put in the place of another: `before` or `after` is None where there is none."""

    before: FirewallObject | None
    after: FirewallObject | None


class Ending(Struct, frozen=True, gc=False):
    """How one edit ended: done, found done `already`, or a `fault` with its errno (0 when there is none)."""

    already: bool = False
    fault: str = ""
    number: int = 0


class Found(Struct, frozen=True):
    """What is in the kernel: whether the chains and tables are as ours are, and the objects that stand in them.

    What is in one that is not whole counts all the same: making it again keeps it. `reaches_loopback6`: whether
    connections of the host to ::1 are translated as those to its other addresses are.
    """

    is_whole: bool
    objects: list[FirewallObject]
    reaches_loopback6: bool = False


class FirewallBackend(Protocol):
    """The firewall of one instance. Every method may raise OSError; one without errno is a library that is missing."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""

    @property
    def needs(self) -> str:
        """Say what of the kernel it takes, for one that lacks it."""

    @property
    def described(self) -> str:
        """Name what of ours is in the kernel: "table X", "chains X-*"."""

    def check(self, thing: FirewallObject) -> None:
        """Raise ValueError, LookupError or struct.error for an object whose values cannot be said here."""

    def try_out(self) -> None:
        """Load the chains; for a throw-away namespace: raises what keeps them from being loaded."""

    def observe(self) -> Found:
        """Read back what is ours."""

    def load(self, objects: Sequence[FirewallObject], *, reaches_loopback6: bool = False) -> None:
        """Put our tables and chains in place with exactly these objects, whatever is in place now."""

    def change(self, edits: Sequence[Edit]) -> list[Ending]:
        """Carry out the edits in one transaction, what goes before what comes; an ending for each, in their order.

        What is already as asked does not stop the rest.
        """

    def reach_loopback6(self, *, is_wanted: bool) -> bool:
        """Let connections of the host to ::1 be translated, or no more; whether it was otherwise."""

    def remove(self) -> bool:
        """Take away everything of ours; whether there was anything."""

    def close(self) -> None:
        """Let go of sockets, handles and processes."""


def is_firewall_object(thing: KernelObject) -> bool:
    """Whether an object lives in the firewall."""
    return isinstance(thing, FirewallObject)
