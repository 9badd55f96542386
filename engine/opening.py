"""Opening: the state directory, the log, the views, the dataplane, and what a crash or reboot left undone.

Keeps: one process at a time drives a host's dataplane. Knows nothing of: commands from outside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ..dataplanes.contract import Dataplane, Instance
from ..dataplanes.subscriber import Subscriber
from ..domain.commands import Command, Expire, LoseSandbox, RecordBoot, RegisterHost
from ..domain.errors import DataplaneFault, Forbidden, Invalid, NotFound
from ..domain.events import HostBooted, HostRegistered
from ..domain.values import NOWHERE, HostId, Position, SandboxId, SandboxKind
from ..ledger.ledger import Ledger
from ..ledger.state import HostLock, StateDirectory
from ..projections.views import Views
from .deciding import Decider
from .machine import Machine
from .making_way import evidence
from .remote import RemoteDrivers
from .requests import Author
from .results import Recovery, Result, recovery_of, with_warnings
from .returning import meet_drivers

DATAPLANES = ("linux", "simulated", "none")
RUN_DIRECTORY = Path("/run")
HOST_ID_DIGITS = 16


class Opened(Struct):
    """What an open controller holds, and has to let go of in reverse order."""

    machine: Machine
    state: StateDirectory | None
    lock: HostLock | None
    recovery: Recovery | None = None


def open_everything(  # noqa: PLR0913  # those of Controller.open
    path: Path | None,
    dataplane: str | Dataplane,
    namespace: str | None,
    author: Author,
    *,
    synchronous: str,
    read_only: bool,
    wait_seconds: float,
    recover: bool,
    plugin_directories: Sequence[Path],
) -> Opened:
    """Open a host's state and, if `recover`, make good what the last process left undone."""
    if isinstance(dataplane, str):
        _check_dataplane(dataplane)
    if read_only and path is not None and not (path / "ledger.db").exists():
        raise NotFound(f"open {path}", "there is no ledger in it", "create a network first, or give --state")
    state = StateDirectory.open(path, create=not read_only) if path is not None else None
    lock = None
    if state is not None and dataplane != "none" and not read_only:
        lock = state.lock(wait_seconds, f"dataplane {dataplane if isinstance(dataplane, str) else dataplane.name}")
    made: Dataplane | None = None
    try:
        ledger = Ledger.open(state.ledger if state is not None else None, synchronous=synchronous, read_only=read_only)
        try:
            instance = Instance(ledger.id[:8])
            made = make_dataplane(dataplane, instance, namespace)
            if made is not None and not made.is_volatile and not read_only:
                _check_permission(made, path)
            machine = _assemble(ledger, made, instance, _namespace_directory(state, instance), plugin_directories)
            opened = Opened(machine, state, lock)
            if recover and not read_only and ledger.damage is None:
                warnings = meet_drivers(machine, author)
                opened.recovery = with_warnings(_make_good(machine, author), warnings, machine.views.position)
        except BaseException:
            if made is not None:
                made.close()
            ledger.close()
            raise
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    return opened


def make_dataplane(wanted: str | Dataplane, instance: Instance, namespace: str | None) -> Dataplane | None:
    """Make the dataplane that a name stands for."""
    if not isinstance(wanted, str):
        return wanted
    if wanted == "none":
        return None
    if wanted == "simulated":
        from ..dataplanes.simulated import SimulatedDataplane  # loaded only where it is asked for

        return SimulatedDataplane()
    if wanted == "linux":
        from ..dataplanes.linux import LinuxDataplane  # needs Linux, and costs time to load

        return LinuxDataplane(instance, namespace)
    raise AssertionError(f"dataplane {wanted} was checked")


def _check_permission(dataplane: Dataplane, path: Path | None) -> None:
    """Refuse, before anything is decided, to change a host that this process may not configure at all."""
    reason = dataplane.capabilities().lacks("namespace")
    if reason is not None:
        raise Forbidden(
            f"change {path or 'a host'} with the {dataplane.name} dataplane",
            f"no network namespace can be made here: {reason}",
            "see `netledger doctor`; to append events only, take the dataplane none",
        )


def _check_dataplane(wanted: str) -> None:
    if wanted not in DATAPLANES:
        raise Invalid(f"dataplane {wanted!r}", "unknown", f"known: {', '.join(DATAPLANES)}")


def _assemble(
    ledger: Ledger,
    dataplane: Dataplane | None,
    instance: Instance,
    directory: Path,
    plugin_directories: Sequence[Path],
) -> Machine:
    """Fold the log; what may not have been applied yet is noted on the way."""
    views = Views()
    host = _host_of(ledger)
    cursor = f"applied/{host}/{dataplane.name}" if dataplane is not None and not dataplane.is_volatile else ""
    applied = min(ledger.cursor(cursor) if cursor else NOWHERE, ledger.head)
    subscriber = Subscriber(views, host, dataplane, Position(applied)) if dataplane is not None else None
    remote = RemoteDrivers(host, plugin_directories)
    decider = Decider(
        views, host, instance, directory, dataplane, subscriber, lambda tag: list(ledger.read(tags=(tag,))), remote
    )
    machine = Machine(ledger, views, host, dataplane, subscriber, cursor, decider)
    machine.start_over(in_part=bool(cursor))
    return machine


def _host_of(ledger: Ledger) -> HostId:
    """Find the host whose log this is; where it has none yet, the same one for all who open it at once."""
    for record in ledger.read(types=(HostRegistered,), limit=1):
        return record.event.host
    return HostId(ledger.id[-HOST_ID_DIGITS:])


def _make_good(machine: Machine, author: Author) -> Recovery | None:
    """Register a new host, notice a reboot, and apply what the last process left undone."""
    views, dataplane = machine.views, machine.dataplane
    boot = dataplane.boot_id() if dataplane is not None and not dataplane.is_volatile else ""
    if views.host(machine.host) is None:
        registered = machine.execute([RegisterHost(machine.host, socket.gethostname(), boot)], author)
        if views.host(machine.host) is None:  # else another process has just done it
            _check(registered)
    known = views.boot(machine.host)
    if boot and known != boot:
        losses = lost_sandboxes(machine, "the host has booted anew", has_booted=True) if known else []
        _check(machine.commit([RecordBoot(boot), *losses], author))
    _check(machine.commit([Expire()], author))
    if machine.subscriber is None or dataplane is None:
        return None
    since = machine.subscriber.applied
    has_rebooted = _has_booted(machine, since)
    if not dataplane.is_volatile and (has_rebooted or views.faults.owes(machine.host)):
        plan, _ = machine.subscriber.compare()
        advance = machine.carry_out(plan, author)
    else:
        advance = machine.advance(author)
    if not dataplane.is_volatile and since < views.position:
        with suppress(DataplaneFault):  # what a process that died had taken away; tried again after the first change
            dataplane.settle(0)
    if not advance.faults:
        machine.note_mended(advance.changes, author)
    if dataplane.is_volatile or not advance.changes:
        return None
    return recovery_of(since, advance, views.position, has_rebooted=has_rebooted)


def _has_booted(machine: Machine, since: Position) -> bool:
    """Whether the host has booted since its kernel was last known to agree with the log."""
    boots = machine.ledger.read(after=since, tags=(f"host:{machine.host}",), types=(HostBooted,), limit=1)
    return next(boots, None) is not None


def lost_sandboxes(machine: Machine, why: str, *, has_booted: bool = False) -> list[Command]:
    """Find the sandboxes whose namespace, which is not ours, is gone or has been replaced.

    Of a delegated one it may not be known which it is; no boot outlives any.
    """
    assert machine.dataplane is not None, "only a dataplane can tell"
    commands: list[Command] = []
    for sandbox, record in machine.views.sandboxes.sandboxes.items():
        event = record.event
        if event.kind is SandboxKind.MANAGED or event.host != machine.host:
            continue
        if event.identity is None:
            if has_booted:
                commands.append(LoseSandbox(SandboxId(sandbox), f"its namespace is gone: {why}"))
            continue
        lost = evidence(machine.dataplane, record)
        if lost:
            commands.append(LoseSandbox(SandboxId(sandbox), f"{lost}: {why}"))
    return commands


def _check(results: Sequence[Result]) -> None:
    for result in results:
        result.check()


def _namespace_directory(state: StateDirectory | None, instance: Instance) -> Path:
    """Choose where the namespaces of managed sandboxes are mounted."""
    if os.access(RUN_DIRECTORY, os.W_OK) or state is None:
        return RUN_DIRECTORY / "netledger" / instance
    return state.path / "namespaces"
