"""Compensation: what is taken back when the dataplane could not do what a batch decided.

Keeps: what failed and what depends on it is taken back, the last first; what does not depend on it stands.
Knows nothing of: how it is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..dataplanes.contract import Verb
from ..dataplanes.subscriber import Fault
from ..domain.commands import (
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
)
from ..domain.events import EndpointJoined, Entity, Event, GatewayElected, NetworkCreated, Recorded, SandboxCreated
from ..domain.objects import Namespace
from .results import Result


def blame(results: Sequence[Result], faults: Sequence[Fault]) -> dict[int, Fault]:
    """Find the commands of a batch whose work failed or depends on what failed, and the fault that each suffers."""
    blamed: dict[int, Fault] = {}
    for fault in faults:
        if fault.outcome.step.verb is Verb.REMOVE:
            continue
        for index, result in enumerate(results):
            if not result.is_repetition and any(_called_for(record.event, fault) for record in result.events):
                blamed.setdefault(index, fault)
    broken: dict[Entity, Fault] = {}
    for index, result in enumerate(results):
        for needed in _needs(result.command):
            if needed in broken and result.events and not result.is_repetition:
                blamed.setdefault(index, broken[needed])
        if index in blamed:
            for made in _makes(result.command):
                broken[made] = blamed[index]
    return blamed


def compensate(command: Command) -> Command | None:
    """Take back what a command did; None for one that only takes away."""
    match command:
        case CreateNetwork(network=network):
            return DeleteNetwork(network, force=True)
        case CreateEndpoint(endpoint=endpoint):
            return DeleteEndpoint(endpoint, force=True)
        case CreateSandbox(sandbox=sandbox):
            return DeleteSandbox(sandbox, force=True)
        case JoinEndpoint(endpoint=endpoint):
            return LeaveEndpoint(endpoint)
        case _:
            return None


def cause(fault: Fault, events: Sequence[Recorded[Event]]) -> str:
    """Write the reason that compensating events carry."""
    position = events[0].position if events else 0
    return f"compensates position {position}: {fault.outcome.fault}"


def _called_for(event: Event, fault: Fault) -> bool:
    """Whether this event is the one that called for the object that failed."""
    kind, identity = fault.owner
    match event:
        case NetworkCreated():
            return kind == "host" or (kind == "network" and event.network == identity)
        case SandboxCreated():
            return kind == "sandbox" and event.sandbox == identity and isinstance(fault.outcome.step.object, Namespace)
        case EndpointJoined():
            return kind == "endpoint" and event.endpoint == identity
        case GatewayElected():
            return (
                kind == "sandbox" and event.sandbox == identity and not isinstance(fault.outcome.step.object, Namespace)
            )
        case _:
            return False


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
        case _:
            return
