"""What came of a command.

Knows nothing of: how it was decided or applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from ..dataplanes.plan import describe
from ..dataplanes.subscriber import Advance, Fault
from ..domain.commands import Command
from ..domain.errors import NetledgerError
from ..domain.events import Event, Recorded
from ..domain.values import Position


class Result(Struct):
    """What came of one command: its events, or the error that stopped it.

    `is_repetition`: it had been carried out before under the same request id, and these are the events of that time.
    `faults`: what the dataplane could not remove although the log says it is gone. The first `ways` of the events are
    not the command's own: they ended what stood in its way and was proven to be nobody's. They stand even where the
    command was refused after all.
    """

    command: Command
    events: tuple[Recorded[Event], ...] = ()
    error: NetledgerError | None = None
    is_repetition: bool = False
    faults: tuple[Fault, ...] = ()
    ways: int = 0

    @property
    def own(self) -> tuple[Recorded[Event], ...]:
        """The events that the command itself amounts to."""
        return self.events[self.ways :]

    def check(self) -> None:
        """Raise the error that stopped it, if any."""
        if self.error is not None:
            raise self.error


class Recovery(Struct, frozen=True):
    """What a start made good: events up to `until` of which those after `since` may not have been in the kernel."""

    since: Position
    until: Position
    steps: tuple[str, ...]
    faults: tuple[str, ...]
    has_rebooted: bool = False
    warnings: tuple[str, ...] = ()
    """What is not as the log has it and could not be made good: of IPAM plugins."""
    move: str = ""
    """From which firewall to which the host was moved (`nftables to none`)."""
    kept_rules: str = ""
    """Why the old firewall's rules are still there; empty when they are gone."""

    def __str__(self) -> str:
        told = "".join(f"; {warning}" for warning in self.warnings)
        faults = f"; {len(self.faults)} more could not be done, see `netledger drift`" if self.faults else ""
        operations = f"{len(self.steps) - len(self.faults)} kernel operation(s)"
        if self.move:
            later = "a later start or `netledger repair` takes them away"
            kept = f"; the old rules stay, {later}: {self.kept_rules}" if self.kept_rules else ""
            verb = "is being moved" if self.kept_rules else "was moved"
            return f"the firewall {verb} from {self.move}: {operations}{faults}{kept}{told}"
        if not self.steps:
            return f"nothing to recover{told}"
        why = f"of the events {self.since + 1} to {self.until}" if self.since < self.until else "that had failed before"
        return f"recovered: {operations} {'after a reboot' if self.has_rebooted else why}{faults}{told}"


def recovery_of(
    since: Position, advance: Advance, until: Position, *, has_rebooted: bool, move: str = "", kept_rules: str = ""
) -> Recovery:
    """Say what an advance at start made good."""
    return Recovery(
        since,
        until,
        describe(advance.changes),
        tuple(str(fault.outcome.fault) for fault in advance.faults),
        has_rebooted,
        move=move,
        kept_rules=kept_rules,
    )


def with_warnings(recovery: Recovery | None, warnings: Sequence[str], position: Position) -> Recovery | None:
    """Add what is to be told besides, where there is anything."""
    if not warnings:
        return recovery
    return structs.replace(recovery or Recovery(position, position, (), ()), warnings=tuple(warnings))
