"""Making way: what stands in a refused command's way and may be proven to be nobody's, so that it can be ended first.

Keeps: nothing is ended without proof: a time that is over, or a namespace that the dataplane says is gone.
Knows nothing of: how it is decided or appended.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..dataplanes.contract import Dataplane
from ..domain.commands import Command, CreateEndpoint, Expire, JoinEndpoint, LoseSandbox, RequestAddress
from ..domain.errors import Conflict, Exhausted, NetledgerError
from ..domain.events import Recorded, SandboxCreated
from ..domain.values import EndpointId, SandboxId, SandboxKind
from ..projections.views import Views


def ways(views: Views, dataplane: Dataplane | None, command: Command, refusal: NetledgerError) -> Iterator[Command]:
    """List what to end before a refused command is decided again."""
    if isinstance(refusal, Exhausted) and isinstance(command, CreateEndpoint | JoinEndpoint | RequestAddress):
        yield Expire()
    if isinstance(refusal, Conflict) and isinstance(command, CreateEndpoint) and dataplane is not None:
        for sandbox in _sandboxes_in_the_way(views, command):
            lost = evidence(dataplane, sandbox)
            if lost:
                yield LoseSandbox(SandboxId(sandbox.event.sandbox), f"{lost}: found when its address was claimed")


def evidence(dataplane: Dataplane, sandbox: Recorded[SandboxCreated]) -> str:
    """Say what has become of a sandbox's namespace that is not ours; empty while it is the one that it was."""
    event = sandbox.event
    if event.kind is SandboxKind.MANAGED or event.identity is None:
        return ""
    found = dataplane.identify(event.path)
    if found == event.identity:
        return ""
    return f"namespace {event.path} {'is gone' if found is None else 'has been replaced by another'}"


def _sandboxes_in_the_way(views: Views, command: CreateEndpoint) -> Iterator[Recorded[SandboxCreated]]:
    """Find in which sandboxes the endpoints are that hold what a caller asks for."""
    network = views.network(command.network)
    pools = network.event.pools if network is not None else ()
    for address in command.addresses:
        for pool in pools:
            holder = views.holder(pool.pool, address)
            joined = views.joined(EndpointId(holder.event.owner[1])) if holder is not None else None
            sandbox = views.sandbox(joined.event.sandbox) if joined is not None else None
            if sandbox is not None:
                yield sandbox
