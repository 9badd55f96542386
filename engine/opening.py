"""Opening: the state directory, the log, the views, the dataplane, and what a crash or reboot left undone.

Keeps: one process at a time drives a host's dataplane. Knows nothing of: commands from outside.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from ..dataplanes.contract import Dataplane, Instance
from ..dataplanes.subscriber import Subscriber
from ..domain.commands import Command, LoseSandbox, RecordBoot, RegisterHost
from ..domain.errors import Invalid, NotFound
from ..domain.events import HostRegistered
from ..domain.values import NOWHERE, HostId, Position, SandboxId, SandboxKind
from ..ledger.ledger import Ledger
from ..ledger.state import HostLock, StateDirectory
from ..projections.views import Views
from .deciding import Decider
from .machine import Machine
from .requests import Author
from .results import Recovery, Result, recovery_of

DATAPLANES = ("linux", "simulated", "none")
RUN_DIRECTORY = Path("/run")
HOST_ID_BYTES = 8


class Opened(Struct):
    """What an open controller holds, and has to let go of in reverse order."""

    machine: Machine
    state: StateDirectory | None
    lock: HostLock | None
    namespace_directory: Path
    recovery: Recovery | None = None


def open_everything(
    path: Path | None,
    dataplane: str | Dataplane,
    namespace: str | None,
    author: Author,
    *,
    synchronous: str,
    read_only: bool,
    wait_seconds: float,
) -> Opened:
    """Open a host's state and make good what the last process left undone."""
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
            machine = _assemble(ledger, made, instance)
            opened = Opened(machine, state, lock, _namespace_directory(state, instance))
            if not read_only and ledger.damage is None:
                opened.recovery = _make_good(machine, author)
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
    raise Invalid(f"dataplane {wanted!r}", "unknown", f"known: {', '.join(DATAPLANES)}")


def _assemble(ledger: Ledger, dataplane: Dataplane | None, instance: Instance) -> Machine:
    """Fold the log; what may not have been applied yet is noted on the way."""
    views = Views()
    host = _host_of(ledger)
    cursor = f"applied/{host}/{dataplane.name}" if dataplane is not None and not dataplane.is_volatile else ""
    applied = min(ledger.cursor(cursor) if cursor else NOWHERE, ledger.head)
    for record in ledger.read(until=applied):
        views.fold(record.position, record.event)
    subscriber = Subscriber(views, host, dataplane, Position(applied)) if dataplane is not None else None
    decider = Decider(views, host, instance, dataplane, subscriber, lambda tag: list(ledger.read(tags=(tag,))))
    machine = Machine(ledger, views, host, dataplane, subscriber, cursor, decider)
    if subscriber is not None:
        subscriber.recovering(yes=True)
    machine.catch_up()
    if subscriber is not None:
        subscriber.recovering(yes=False)
    return machine


def _host_of(ledger: Ledger) -> HostId:
    """Find the host whose log this is; a new one where the log has none yet."""
    for record in ledger.read(types=(HostRegistered,), limit=1):
        return record.event.host
    return HostId(secrets.token_hex(HOST_ID_BYTES))


def _make_good(machine: Machine, author: Author) -> Recovery | None:
    """Register a new host, notice a reboot, and apply what the last process left undone."""
    views, dataplane = machine.views, machine.dataplane
    boot = dataplane.boot_id() if dataplane is not None else ""
    if views.host(machine.host) is None:
        _check(machine.execute([RegisterHost(machine.host, socket.gethostname(), boot)], author))
        return None
    since = machine.subscriber.applied if machine.subscriber is not None else NOWHERE
    known = views.boot(machine.host)
    has_rebooted = bool(boot) and known != boot
    if has_rebooted:
        losses = lost_sandboxes(machine, "the host has booted anew") if known else []
        _check(machine.execute([RecordBoot(boot), *losses], author))
    if machine.subscriber is None or dataplane is None or dataplane.is_volatile:
        machine.recover()
        return None
    owes = any(host == machine.host for host, _ in views.faults.owed)
    if has_rebooted or owes:
        plan, _ = machine.subscriber.compare()
        advance = machine.carry_out(plan)
    else:
        recovered = machine.recover()
        assert recovered is not None, "there is a dataplane"
        advance = recovered
    if advance.faults:
        machine.record_faults(advance.faults, author)
    if not advance.plan.steps:
        return None
    return recovery_of(since, advance, views.position, has_rebooted=has_rebooted)


def lost_sandboxes(machine: Machine, why: str) -> list[Command]:
    """Find the sandboxes whose namespace, which is not ours, is gone or has been replaced."""
    assert machine.dataplane is not None, "only a dataplane can tell"
    commands: list[Command] = []
    for sandbox, record in machine.views.sandboxes.sandboxes.items():
        event = record.event
        if event.kind is SandboxKind.MANAGED or event.host != machine.host or event.identity is None:
            continue
        found = machine.dataplane.identify(event.path)
        if found != event.identity:
            what = "is gone" if found is None else "has been replaced by another"
            commands.append(LoseSandbox(SandboxId(sandbox), f"namespace {event.path} {what}: {why}"))
    return commands


def _check(results: Sequence[Result]) -> None:
    for result in results:
        result.check()


def _namespace_directory(state: StateDirectory | None, instance: Instance) -> Path:
    """Choose where the namespaces of managed sandboxes are mounted."""
    if os.access(RUN_DIRECTORY, os.W_OK) or state is None:
        return RUN_DIRECTORY / "netledger" / instance
    return state.path / "namespaces"
