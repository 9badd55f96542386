"""Compensation: what is taken back when the dataplane could not do what a batch decided.

Keeps: what failed and what depends on it is taken back, the last first and all at once; what does not depend on it
stands. What only takes away is never taken back: what it needs of the dataplane is tried again.
Knows nothing of: how it is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..dataplanes.contract import Verb
from ..dataplanes.subscriber import Fault
from ..domain.commands import (
    AddAlias,
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    Expire,
    JoinEndpoint,
    LeaveEndpoint,
    LoseSandbox,
    ReleaseAddress,
    ReleasePool,
    RemoveAlias,
    RenameSandbox,
    SetSandboxKey,
)
from ..domain.events import (
    EndpointJoined,
    Entity,
    Event,
    GatewayElected,
    NetworkCreated,
    Recorded,
    SandboxCreated,
    SandboxKeySet,
    SandboxRenamed,
)
from ..domain.objects import File, Namespace
from ..projections.views import Views
from .results import Result


def blame(results: Sequence[Result], faults: Sequence[Fault]) -> dict[int, Fault]:
    """Find the commands of a batch whose work failed or depends on what failed, and the fault that each suffers."""
    blamed: dict[int, Fault] = {}
    made = {index: result for index, result in enumerate(results) if result.own and not result.is_repetition}
    for fault in faults:
        if fault.outcome.step.verb is Verb.REMOVE:
            continue
        for index, result in made.items():
            if _takes_away(result.command):
                continue
            if any(_called_for(record.event, fault) for record in result.own):
                blamed.setdefault(index, fault)
    broken: dict[Entity, Fault] = {}
    for index, result in made.items():
        for needed in _needs(result.command):
            if needed in broken:
                blamed.setdefault(index, broken[needed])
        if index in blamed:
            broken.update(dict.fromkeys(_makes(result.command), blamed[index]))
    return blamed


def compensate(result: Result, views: Views) -> Command | None:
    """Take back what a command did; None where a later one of its batch already has.

    Without force: what another writer has built on it meanwhile is not ours to take away.
    """
    reverse: Command | None = None
    match result.command:
        case CreateNetwork(network=network) if views.network(network):
            reverse = DeleteNetwork(network)
        case CreateEndpoint(endpoint=endpoint) if views.endpoint(endpoint):
            reverse = DeleteEndpoint(endpoint)
        case CreateSandbox(sandbox=sandbox) if views.sandbox(sandbox):
            reverse = DeleteSandbox(sandbox)
        case JoinEndpoint(endpoint=endpoint) if views.joined(endpoint) in result.events:
            reverse = LeaveEndpoint(endpoint)
        case AddAlias(endpoint=endpoint, alias=alias) if alias in views.aliases_of(endpoint):
            reverse = RemoveAlias(endpoint, alias)
        case RemoveAlias(endpoint=endpoint, alias=alias) if views.endpoint(endpoint):
            if alias not in views.aliases_of(endpoint):
                reverse = AddAlias(endpoint, alias)
        case RenameSandbox(sandbox=sandbox, container=container):
            record = views.sandbox(sandbox)
            before = next((e.event.before for e in result.events if isinstance(e.event, SandboxRenamed)), "")
            if record is not None and record.event.container == container:
                reverse = RenameSandbox(sandbox, before)
        case _:
            pass
    return reverse


def cause(fault: Fault, events: Sequence[Recorded[Event]]) -> str:
    """Write the reason that compensating events carry."""
    position = events[0].position if events else 0
    return f"compensates position {position}: {fault.outcome.fault}"


def _called_for(event: Event, fault: Fault) -> bool:
    """Whether this event is the one that called for the object that failed."""
    kind, identity = fault.owner
    is_of_sandbox = isinstance(fault.outcome.step.object, Namespace | File)
    match event:
        case NetworkCreated():
            return kind == "host" or (kind == "network" and event.network == identity)
        case SandboxCreated():
            return kind == "sandbox" and event.sandbox == identity and is_of_sandbox
        case SandboxKeySet():
            return (kind == "sandbox" and event.sandbox == identity) or (
                kind == "endpoint" and identity in event.endpoints
            )
        case EndpointJoined():
            return kind == "endpoint" and event.endpoint == identity
        case GatewayElected():
            return kind == "sandbox" and event.sandbox == identity and not is_of_sandbox
        case _:
            return False


def _takes_away(command: Command) -> bool:
    return isinstance(
        command,
        DeleteNetwork
        | DeleteEndpoint
        | DeleteSandbox
        | LeaveEndpoint
        | LoseSandbox
        | Expire
        | ReleaseAddress
        | ReleasePool,
    )


def _makes(command: Command) -> Iterator[Entity]:
    match command:
        case CreateNetwork(network=network):
            yield ("network", network)
        case CreateEndpoint(endpoint=endpoint):
            yield ("endpoint", endpoint)
        case CreateSandbox(sandbox=sandbox):
            yield ("sandbox", sandbox)
        case _:
            return


def _needs(command: Command) -> Iterator[Entity]:
    match command:
        case CreateEndpoint(network=network):
            yield ("network", network)
        case JoinEndpoint(endpoint=endpoint, sandbox=sandbox):
            yield ("endpoint", endpoint)
            yield ("sandbox", sandbox)
        case AddAlias(endpoint=endpoint) | RemoveAlias(endpoint=endpoint):
            yield ("endpoint", endpoint)
        case SetSandboxKey(sandbox=sandbox) | RenameSandbox(sandbox=sandbox):
            yield ("sandbox", sandbox)
        case _:
            return
