"""Opening: the state directory, the log, the views, the dataplane, and what a crash or reboot left undone.

Keeps: one process at a time drives a host's dataplane. Knows nothing of: commands from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ..dataplanes.contract import Claim, Dataplane, Instance
from ..dataplanes.subscriber import Subscriber
from ..domain.commands import Command, Expire, LoseSandbox, RecordBoot, RegisterHost
from ..domain.drivers import ask_elsewhere
from ..domain.errors import DataplaneFault, Forbidden, Invalid, NotFound
from ..domain.events import DriftDetected, FirewallRetired, HostBooted, HostRegistered
from ..domain.firewalls import check_firewall
from ..domain.objects import PortForward
from ..domain.ports import in_the_way
from ..domain.values import NOWHERE, HostId, Position, SandboxId, SandboxKind
from ..ledger.ledger import Ledger
from ..ledger.state import HostLock, StateDirectory
from ..projections.desired import lower_everything
from ..projections.views import Views
from .deciding import Decider, Directories
from .firewalls import FirewallRequest, choose_at_start, finish, follow, with_firewall
from .machine import Machine
from .making_way import evidence
from .plugins import has_dataplane, ipam_driver, make_plugged_dataplane, network_driver
from .remote import RemoteDrivers
from .requests import Author
from .results import Recovery, Result, recovery_of, with_warnings
from .returning import meet_drivers
from .surroundings import RUN_DIRECTORY, here

DATAPLANES = ("linux", "simulated", "none")
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
    hold_ports: bool,
    firewall: FirewallRequest | None = None,
) -> Opened:
    """Open a host's state and, if `recover`, make good what the last process left undone."""
    ask_elsewhere(network_driver)
    if isinstance(dataplane, str):
        _check_dataplane(dataplane)
    _check_firewall(firewall, may_move=recover and not read_only)
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
            machine = _assemble(ledger, made, instance, _directories(state, instance), plugin_directories)
            if made is not None and not made.is_volatile and not read_only:
                _check_permission(made, path)
            opened = Opened(machine, state, lock)
            if recover and not read_only and ledger.damage is None:
                recovery = _make_good(machine, author, firewall=firewall)
                warnings = meet_drivers(machine, author)  # later: a plugin may take long to answer, or never do
                opened.recovery = with_warnings(recovery, warnings, machine.views.position)
                if hold_ports and made is not None and not made.is_volatile:
                    _hold_ports(machine, made, author)
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
    plugged = make_plugged_dataplane(wanted, instance, namespace)
    assert plugged is not None, f"dataplane {wanted} was checked"
    return plugged


def _check_firewall(wanted: FirewallRequest | None, *, may_move: bool) -> None:
    """Refuse, before anything is made, a firewall that there is not, and to move a host that is only looked at."""
    if wanted is not None:
        check_firewall(wanted.name)
        if not may_move:
            because = "the host is opened as it is, and nothing is made good"
            raise Invalid(
                f"move the host to the firewall {wanted.name}", because, "open it without that, or leave it out"
            )


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
    if wanted not in DATAPLANES and not has_dataplane(wanted):
        raise Invalid(f"dataplane {wanted!r}", "unknown", f"known: {', '.join(DATAPLANES)}")


def _assemble(
    ledger: Ledger,
    dataplane: Dataplane | None,
    instance: Instance,
    directories: Directories,
    plugin_directories: Sequence[Path],
) -> Machine:
    """Fold the log; what may not have been applied yet is noted on the way."""
    views = Views()
    host = _host_of(ledger)
    cursor = f"applied/{host}/{dataplane.name}" if dataplane is not None and not dataplane.is_volatile else ""
    applied = min(ledger.cursor(cursor) if cursor else NOWHERE, ledger.head)
    subscriber: Subscriber | None = None
    if dataplane is not None:
        subscriber = Subscriber(views, host, dataplane, Position(applied), clock=here().retry_clock)
    remote = RemoteDrivers(host, plugin_directories, elsewhere=ipam_driver)
    decider = Decider(
        views, host, instance, directories, dataplane, subscriber, lambda tag: list(ledger.read(tags=(tag,))), remote
    )
    machine = Machine(ledger, views, host, dataplane, subscriber, cursor, decider)
    machine.start_over(in_part=bool(cursor))
    follow(machine)
    chosen = views.firewall(host)
    machine.firewall_since = chosen.position if chosen is not None else NOWHERE
    return machine


def _host_of(ledger: Ledger) -> HostId:
    """Find the host whose log this is; where it has none yet, the same one for all who open it at once."""
    for record in ledger.read(types=(HostRegistered,), limit=1):
        return record.event.host
    return HostId(ledger.id[-HOST_ID_DIGITS:])


def _make_good(machine: Machine, author: Author, *, firewall: FirewallRequest | None = None) -> Recovery | None:
    """Register a new host, choose its firewall, notice a reboot, and apply what the last process left undone."""
    views, dataplane = machine.views, machine.dataplane
    boot = dataplane.boot_id() if dataplane is not None and not dataplane.is_volatile else ""
    is_older = views.host(machine.host) is not None
    if views.host(machine.host) is None:
        registered = machine.execute([RegisterHost(machine.host, here().host_name(), boot)], author)
        if views.host(machine.host) is None:  # else another process has just done it
            _check(registered)
    choose_at_start(machine, author, firewall)
    follow(machine)
    known = views.boot(machine.host)
    if boot and known != boot:
        losses = lost_sandboxes(machine, "the host has booted anew", has_booted=True) if known else []
        _check(machine.commit([RecordBoot(boot), *losses], author))
    _check(machine.commit([Expire()], author))
    if machine.subscriber is None or dataplane is None:
        return None
    since = machine.subscriber.applied
    move = "" if dataplane.is_volatile else _move(machine, since)
    has_rebooted = _has_booted(machine, since)
    is_unknown = is_older and since == NOWHERE  # a restored log, or one that this kernel has seen nothing of
    must_compare = (
        has_rebooted or is_unknown or views.faults.owes(machine.host) or (move and machine.subscriber.is_behind)
    )
    if not dataplane.is_volatile and must_compare:
        plan, _ = machine.subscriber.compare()
        advance = machine.carry_out(plan, author)
        if move:
            advance = with_firewall(advance, machine, author)
    elif move:
        advance = machine.make_firewall(author)
    else:
        advance = machine.apply(author)
    kept_rules = finish(machine, author)
    if not dataplane.is_volatile and since < views.position:
        with suppress(DataplaneFault):  # what a process that died had taken away; tried again after the first change
            dataplane.settle(0)
    if not advance.faults:
        machine.note_mended(advance.changes, author)
    if dataplane.is_volatile or not (advance.changes or move):
        return None
    return recovery_of(since, advance, views.position, has_rebooted=has_rebooted, move=move, kept_rules=kept_rules)


def _move(machine: Machine, since: Position) -> str:
    """Say from which firewalls to which the host is being moved; empty when it is not.

    One that was left by force since the dataplane was last brought to a firewall is none that is retiring.
    """
    chosen, retiring = machine.views.firewall(machine.host), machine.views.retiring(machine.host)
    ends = machine.ledger.read(after=since, tags=(f"host:{machine.host}",), types=(FirewallRetired,))
    forced = [end.event.backend for end in ends if isinstance(end.event, FirewallRetired) and end.event.left]
    retiring = tuple(dict.fromkeys((*retiring, *forced)))
    return f"{' and '.join(retiring)} to {chosen.event.backend}" if chosen is not None and retiring else ""


def _hold_ports(machine: Machine, dataplane: Dataplane, author: Author) -> None:
    """Take the published ports for this process; what others have taken meanwhile is drift, and is theirs."""
    ports = {
        Claim(protocol=made.protocol, host_address=made.host_address, host_port=made.host_port): made.key
        for made in lower_everything(machine.views, machine.host).values()
        if isinstance(made, PortForward)
    }
    taken = dataplane.hold(tuple(ports)) if ports else {}
    if taken:
        lines = tuple(f"! {ports[claim]} {in_the_way(holder)[0]}" for claim, holder in taken.items())
        machine.record([DriftDetected(*machine.origin(author, here().now()), differences=lines)])


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


def _directories(state: StateDirectory | None, instance: Instance) -> Directories:
    """Choose where the namespaces of managed sandboxes are mounted, and where files are written."""
    run = here().run_directory()
    volatile = (run or RUN_DIRECTORY) / "netledger" / instance
    if state is None:
        return Directories(volatile, volatile)
    return Directories(state.namespaces if run is None else volatile, state.path)
