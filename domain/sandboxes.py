"""Sandboxes: a container's network namespace, which endpoints join.

Keeps: a container has one sandbox on its host, and so has a namespace that is not ours; a sandbox with endpoints is not
deleted unless forced.
Knows nothing of: kernels, clocks, how the state is kept.
"""

from __future__ import annotations

from .commands import CreateSandbox, DeleteSandbox, LoseSandbox, RenameSandbox, SetSandboxKey
from .decision import Context, Decision, Guard
from .errors import Conflict, InUse, Invalid, NotFound
from .events import (
    EndpointJoined,
    Event,
    Recorded,
    SandboxCreated,
    SandboxDeleted,
    SandboxKeySet,
    SandboxLost,
    SandboxRenamed,
    container_tag,
    namespace_tag,
)
from .facts import NamespaceIdentity
from .features import check_feature
from .gateway_bridge import is_of_bridge
from .gateways import stays
from .leaving import abandon, forget, leave_events
from .resolution import check_resolution
from .values import (
    TEXT_LIMIT,
    HostId,
    SandboxId,
    SandboxKind,
    check_domain_name,
    check_id,
    check_labels,
    check_name,
    check_text,
)
from .view import View, name_of


def create_sandbox(view: View, command: CreateSandbox, context: Context) -> Decision:
    """Decide on a sandbox for a container."""
    asked = f"create sandbox for container {command.container!r}"
    check_id("sandbox", command.sandbox)
    check_name("container", command.container)
    _check_path(command, asked)
    hostname = check_domain_name("hostname", command.hostname)
    domainname = check_domain_name("domainname", command.domainname)
    labels = check_labels(command.labels)
    resolution = command.resolution and check_resolution(asked, command.resolution)
    host = context.origin.host
    holder = view.sandbox_of(host, command.container)
    if holder is not None:
        record = view.sandbox(holder)
        assert record is not None, "a container's id leads to a sandbox"
        raise Conflict(
            asked, f"it has sandbox {holder[:12]}", "use that one, or delete it first", position=record.position
        )
    existing = view.sandbox(command.sandbox)
    if existing is not None:
        raise Conflict(
            asked,
            f"id {command.sandbox[:12]} is the sandbox of container {existing.event.container}",
            position=existing.position,
        )
    if command.kind is SandboxKind.MANAGED:
        check_feature(context, "namespace", asked)
    elif command.kind is SandboxKind.ATTACHED and command.identity is None:
        raise Invalid(
            asked, f"there is no network namespace at {command.path!r}", "give the path of one, like /run/netns/NAME"
        )
    if command.identity is not None:
        _check_namespace_is_free(view, command.identity, host, asked)
    event = SandboxCreated(
        *context.origin,
        sandbox=command.sandbox,
        container=command.container,
        kind=command.kind,
        path=command.path,
        identity=command.identity,
        hostname=hostname,
        domainname=domainname,
        labels=labels,
        resolution=resolution,
    )
    guards = [
        Guard((f"sandbox:{command.sandbox}",)),
        Guard((container_tag(host, command.container),), (SandboxCreated, SandboxRenamed)),
    ]
    if command.identity is not None:
        guards.append(Guard((namespace_tag(host, command.identity),), (SandboxCreated, SandboxKeySet)))
    return Decision((event,), tuple(guards))


def delete_sandbox(view: View, command: DeleteSandbox, context: Context) -> Decision:
    """Decide to delete a sandbox; by force, its endpoints are taken out of it and stay."""
    sandbox = find_sandbox(view, command.sandbox, f"delete sandbox {command.sandbox[:12]}")
    endpoints = view.joined_to(command.sandbox)
    own = {stay.endpoint.endpoint for stay in stays(view, command.sandbox) if is_of_bridge(stay)}
    others = [endpoint for endpoint in endpoints if endpoint not in own]
    if others and not command.force:
        first = others[0]
        joined = view.joined(first)
        assert joined is not None, "an endpoint in a sandbox has joined it"
        raise InUse(
            f"delete sandbox of container {sandbox.event.container}",
            f"{len(others)} endpoint(s) are in it, the first is {name_of(view, ('endpoint', first))}",
            "let them leave first, or force it",
            position=joined.position,
        )
    events: list[Event] = []
    for endpoint in endpoints:
        events += abandon(view, endpoint, context.origin, cause="sandbox deleted", leaving=endpoints)
        events += forget(view, endpoint, context.origin, forced=True) if endpoint in own else []
    events.append(
        SandboxDeleted(
            *context.origin,
            sandbox=command.sandbox,
            container=sandbox.event.container,
            forced=bool(endpoints),
        )
    )
    return Decision(tuple(events), _still_as_seen(command.sandbox, endpoints))


def lose_sandbox(view: View, command: LoseSandbox, context: Context) -> Decision:
    """Record that a sandbox's namespace is gone: its endpoints have left, and it is no more."""
    sandbox = find_sandbox(view, command.sandbox, f"lose sandbox {command.sandbox[:12]}")
    if sandbox.event.kind is SandboxKind.MANAGED:
        raise Conflict(
            f"lose sandbox of container {sandbox.event.container}",
            "its namespace is ours and is made again where it is missing",
            "delete it",
            position=sandbox.position,
        )
    endpoints = view.joined_to(command.sandbox)
    own = {stay.endpoint.endpoint for stay in stays(view, command.sandbox) if is_of_bridge(stay)}
    events: list[Event] = []
    for endpoint in endpoints:
        events += leave_events(view, endpoint, context.origin, cause=command.evidence, leaving=endpoints)
        events += forget(view, endpoint, context.origin, forced=False) if endpoint in own else []
    events.append(
        SandboxLost(
            *context.origin,
            sandbox=command.sandbox,
            container=sandbox.event.container,
            evidence=command.evidence,
        )
    )
    return Decision(tuple(events), _still_as_seen(command.sandbox, endpoints))


def set_sandbox_key(view: View, command: SetSandboxKey, context: Context) -> Decision:
    """Decide to take over a delegated sandbox's namespace: from then on we configure the interfaces in it."""
    sandbox = find_sandbox(view, command.sandbox, f"set the key of sandbox {command.sandbox[:12]}")
    asked = f"set the key of the sandbox of container {sandbox.event.container}"
    check_text("path", command.path, TEXT_LIMIT)
    if sandbox.event.kind is not SandboxKind.DELEGATED:
        raise Conflict(
            asked,
            f"its kind is {sandbox.event.kind}, and its namespace is known",
            "hand namespaces over to delegated ones only",
            position=sandbox.position,
        )
    if not command.path.startswith("/"):
        raise Invalid(asked, f"path {command.path!r} is not absolute", "give the whole path, like /proc/PID/ns/net")
    if command.identity is None:
        raise Invalid(
            asked, f"there is no network namespace at {command.path!r}", "give the path of one, like /proc/PID/ns/net"
        )
    _check_namespace_is_free(view, command.identity, context.origin.host, asked)
    event = SandboxKeySet(
        *context.origin,
        sandbox=command.sandbox,
        container=sandbox.event.container,
        path=command.path,
        identity=command.identity,
        endpoints=tuple(view.joined_to(command.sandbox)),
    )
    guards = (
        Guard((f"sandbox:{command.sandbox}",)),
        Guard((namespace_tag(context.origin.host, command.identity),), (SandboxCreated, SandboxKeySet)),
    )
    return Decision((event,), guards)


def rename_sandbox(view: View, command: RenameSandbox, context: Context) -> Decision:
    """Decide to give a sandbox's container another name."""
    sandbox = find_sandbox(view, command.sandbox, f"rename sandbox {command.sandbox[:12]}")
    asked = f"rename the sandbox of container {sandbox.event.container} to {command.container!r}"
    check_name("container", command.container)
    host = context.origin.host
    holder = view.sandbox_of(host, command.container)
    if holder is not None:
        record = view.sandbox(holder)
        assert record is not None, "a container's id leads to a sandbox"
        raise Conflict(asked, f"sandbox {holder[:12]} has that name", "choose another", position=record.position)
    event = SandboxRenamed(
        *context.origin, sandbox=command.sandbox, container=command.container, before=sandbox.event.container
    )
    guards = (
        Guard((f"sandbox:{command.sandbox}",)),
        Guard((container_tag(host, command.container),), (SandboxCreated, SandboxRenamed)),
    )
    return Decision((event,), guards)


def find_sandbox(view: View, sandbox: SandboxId, asked: str) -> Recorded[SandboxCreated]:
    """Find a sandbox or refuse."""
    record = view.sandbox(sandbox)
    if record is None:
        raise NotFound(asked, f"there is no sandbox {sandbox[:12]}", "see `netledger sandbox ls`")
    return record


def _check_path(command: CreateSandbox, asked: str) -> None:
    check_text("path", command.path, TEXT_LIMIT)
    if command.path and command.kind is SandboxKind.HOST:
        raise Invalid(asked, "a path is given and the sandbox is the host's own namespace", "leave the path out")
    if command.path and command.kind is not SandboxKind.DELEGATED and not command.path.startswith("/"):
        raise Invalid(asked, f"path {command.path!r} is not absolute", "give the whole path, like /run/netns/NAME")


def _check_namespace_is_free(view: View, identity: NamespaceIdentity, host: HostId, asked: str) -> None:
    holder = view.sandbox_in(host, identity)
    if holder is not None:
        record = view.sandbox(holder)
        assert record is not None, "a namespace leads to a sandbox"
        raise Conflict(
            asked,
            f"its network namespace is {name_of(view, ('sandbox', holder))}",
            "use that one, or delete it first",
            position=record.position,
        )


def _still_as_seen(sandbox: SandboxId, endpoints: object) -> tuple[Guard, ...]:
    types = () if endpoints else (EndpointJoined, SandboxDeleted, SandboxLost, SandboxKeySet, SandboxRenamed)
    return (Guard((f"sandbox:{sandbox}",), types),)
