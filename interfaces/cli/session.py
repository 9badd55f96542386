"""Sessions: a log or a controller, opened as a command needs it and closed behind it.

Keeps: reading takes no lock and touches no kernel; looking observes the kernel and changes nothing; what opening
made good after a crash is said; an answer from a damaged log ends as an error, after what is whole was printed.
Must not know: what is done in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...domain.errors import LedgerDamaged, NetledgerError, NotFound
from ...domain.events import EndpointAbandoned, EndpointLeft
from .exits import DONE, FAULT, exit_of
from .options import Author, Host, Log, plugin_directories
from .printing import complain, note

if TYPE_CHECKING:
    from ...domain.commands import Command
    from ...engine.controller import Controller
    from ...engine.firewalls import FirewallRequest
    from ...engine.results import Recovery, Result
    from ...ledger.ledger import Ledger


@contextmanager
def reading(log: Log) -> Iterator[Controller]:
    """Open what the log says, for reading."""
    from ...engine.controller import Controller

    with Controller.open(log.directory, dataplane="none", read_only=True) as controller:
        yield controller
        _check_whole(controller.ledger)


@contextmanager
def reading_log(log: Log) -> Iterator[Ledger]:
    """Open the log itself, for reading; no event is folded, so that whatever is whole can be read."""
    from ...ledger.ledger import Ledger

    path = ledger_path(log)
    with Ledger.open(path, read_only=True, create=False) as ledger:
        yield ledger
        _check_whole(ledger)


@contextmanager
def looking(log: Log, host: Host) -> Iterator[Controller]:
    """Open a log and its kernel to compare them; neither is changed."""
    from ...engine.controller import Controller

    namespace = host.namespace_path
    with Controller.open(
        log.directory,
        dataplane=host.dataplane_name,
        namespace=namespace,
        read_only=True,
    ) as controller:
        yield controller
        _check_whole(controller.ledger)


@contextmanager
def changing(
    log: Log, host: Host, author: Author, *, hold_ports: bool = False, firewall: FirewallRequest | None = None
) -> Iterator[Controller]:
    """Open a host to change it; what the last process left undone is made good first.

    `hold_ports`: for as long as this process lives, which for most commands is not worth the while. `firewall`: which
    one the host is to be moved to before that.
    """
    from ...engine.controller import Controller

    with (
        _telling_of_interruption(),
        Controller.open(
            log.directory,
            dataplane=host.dataplane_name,
            namespace=host.namespace_path,
            firewall=firewall,
            actor=author.actor,
            wait_seconds=author.wait,
            hold_ports=hold_ports,
            plugin_directories=plugin_directories(),
        ) as controller,
    ):
        if controller.recovery is not None:
            tell_recovery(controller.recovery)
        yield controller


@contextmanager
def mending(log: Log, host: Host, author: Author) -> Iterator[Controller]:
    """Open a host whose log is there already to mend it; nothing is made good before that."""
    from ...engine.controller import Controller

    ledger_path(log)
    with (
        _telling_of_interruption(),
        Controller.open(
            log.directory,
            dataplane=host.dataplane_name,
            namespace=host.namespace_path,
            actor=author.actor,
            wait_seconds=author.wait,
            recover=False,
            hold_ports=False,
        ) as controller,
    ):
        yield controller


def ledger_path(log: Log) -> Path:
    """Name the log's file; refuse where there is none."""
    from ...ledger.state import LEDGER_NAME

    path = log.directory / LEDGER_NAME
    if not path.exists():
        raise NotFound(f"open {log.directory}", "there is no ledger in it", "create a network first, or give --state")
    return path


def carry_out(
    controller: Controller, commands: Sequence[Command], log: Log, author: Author, request: str | None
) -> list[Result]:
    """Execute a batch, and say what stopped or hindered each command."""
    results = controller.execute(commands, reason=author.reason, request=request) if commands else []
    told: set[int] = set()
    for result in results:
        if result.error is not None:
            complain(result.error, as_json=log.json)
        for fault in result.faults:
            if id(fault) not in told and fault.outcome.fault is not None:
                told.add(id(fault))
                complain(fault.outcome.fault, as_json=log.json)
        for record in result.events:
            event = record.event
            if isinstance(event, EndpointLeft | EndpointAbandoned) and event.no_way_out:
                note(f"warning: sandbox {event.sandbox[:12]} is left without a way out: {event.no_way_out}")
    return results


def status_of(results: Sequence[Result], earlier: Sequence[NetledgerError] = ()) -> int:
    """Answer for a batch: the first error's status, else a fault's."""
    errors = [*earlier, *(result.error for result in results if result.error is not None)]
    if errors:
        return exit_of(errors[0]).status
    return FAULT.status if any(result.faults for result in results) else DONE.status


def tell_recovery(recovery: Recovery) -> None:
    """Say what opening made good, and what of it failed."""
    note(str(recovery))
    for fault in recovery.faults:
        note(f"warning: {fault}")


@contextmanager
def _telling_of_interruption() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted: what the log has stands, and the next command makes good what the kernel lacks of it")
        raise


def _check_whole(ledger: Ledger) -> None:
    if ledger.damage is not None:
        raise LedgerDamaged(ledger.damage)
