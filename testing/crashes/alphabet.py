"""The alphabet: eight operations that a program of a crash exploration is written in, and the ground that it stands on.

They meet on the same few things, so that most pairs have something to do with each other; each stands for a way in
which log and kernel can come apart. Where an operation comes a second time it makes another thing or is refused.
Knows nothing of: crashes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from msgspec import Struct

from ...dataplanes.contract import Step, Verb
from ...domain.commands import Command, DeleteEndpoint, DeleteSandbox, LeaveEndpoint
from ...domain.objects import Bridge
from ..desk import create_endpoint, create_network, create_sandbox, identifier, join

NETWORK = "n"
GROUND: tuple[Command, ...] = (
    create_network(NETWORK, "10.1.0.0/24", "fd01::/64"),
    create_sandbox("c"),
    create_sandbox("d"),
    create_endpoint(NETWORK, "in", "8080:80"),
    join(f"{NETWORK}/in", "c"),
    create_endpoint(NETWORK, "out", "8081:80/udp"),
)
"""A network of both families; an endpoint in a sandbox, another in none, both with a port; a sandbox without any."""

IN, OUT = identifier(f"{NETWORK}/in"), identifier(f"{NETWORK}/out")


class Operation(Struct, frozen=True):
    """A batch of commands under a name. `fault` is met when it is first tried: it answers a step with an errno or 0."""

    name: str
    write: Callable[[int], Sequence[Command]]
    """Writes the commands, for the place of the operation in its program."""
    why: str
    """What it is in the alphabet for."""
    fault: Callable[[Step], int] | None = None


def _no_bridge(step: Step) -> int:
    return errno.EBUSY if step.verb is Verb.MAKE and isinstance(step.object, Bridge) else 0


ALPHABET: tuple[Operation, ...] = (
    Operation(
        "create network",
        lambda place: [create_network(f"w{place}", f"10.8.{place}.0/24", f"fd08:{place}::/64")],
        "objects of the host alone: a bridge, its addresses, elements of the firewall",
    ),
    Operation(
        "publish",
        lambda place: [create_endpoint(NETWORK, f"p{place}", f"{9000 + place}:80", aliases=("web",))],
        "many events and not one object: only the log can tell whether it happened",
    ),
    Operation(
        "join",
        lambda _: [join(f"{NETWORK}/out", "c", priority=1)],
        "objects in two namespaces that stand on each other, and a default route taken from another endpoint",
    ),
    Operation(
        "leave",
        lambda _: [LeaveEndpoint(IN)],
        "takes away what others stand on; what is already gone must not be missed",
    ),
    Operation(
        "delete endpoint",
        lambda _: [DeleteEndpoint(IN, force=True)],
        "several decisions in one: leave, ports, addresses, endpoint",
    ),
    Operation(
        "delete sandbox",
        lambda _: [DeleteSandbox(identifier("c"), force=True)],
        "a namespace goes and takes along what is in it, which the next start knows of by the log alone",
    ),
    Operation(
        "hand over",
        lambda _: [LeaveEndpoint(IN), join(f"{NETWORK}/out", "c")],
        "two commands in one append: never one without the other, and an interface's name goes from one to the next",
    ),
    Operation(
        "fail",
        lambda place: [
            create_network(f"x{place}", f"10.9.{place}.0/24"),
            create_endpoint(f"x{place}", "e", f"{7000 + place}:80"),
            join(f"x{place}/e", "d"),
        ],
        "the kernel refuses a bridge: all three commands are taken back, one after the other",
        fault=_no_bridge,
    ),
)
"""Every one of them is paired with every one."""
