"""Hosts: registered once, and known to run in one boot at a time.

Knows nothing of: how a boot is recognised.
"""

from __future__ import annotations

from .commands import RecordBoot, RegisterHost
from .decision import Context, Decision, Guard
from .errors import Conflict
from .events import HostBooted, HostRegistered
from .view import View


def register_host(view: View, command: RegisterHost, context: Context) -> Decision:
    """Decide to keep a host's networks in this log."""
    existing = view.host(command.host)
    if existing is not None:
        raise Conflict(f"register host {command.name}", "it is registered", position=existing.position)
    origin = context.origin._replace(host=command.host)
    event = HostRegistered(*origin, name=command.name, boot=command.boot)
    return Decision((event,), (Guard((f"host:{command.host}",), (HostRegistered,)),))


def record_boot(view: View, command: RecordBoot, context: Context) -> Decision:
    """Decide to record another boot; nothing when it is the one that is known."""
    host = context.origin.host
    before = view.boot(host)
    if before == command.boot:
        return Decision(())
    event = HostBooted(*context.origin, boot=command.boot, before=before)
    return Decision((event,), (Guard((f"host:{host}",), (HostBooted,)),))
