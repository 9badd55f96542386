"""Exit statuses: the one table that says with which status the command line answers what.

Keeps: an error has one status, a status one meaning; `docs/cli.md` shows this table and a test compares them.
Must not know: commands, how anything is printed.
"""

from __future__ import annotations

from typing import NamedTuple

from ...domain import errors


class UsageError(Exception):
    """Say that the command line itself is wrong."""


class Exit(NamedTuple):
    """An exit status, what it is called in JSON errors, and what it means."""

    status: int
    kind: str
    meaning: str


DONE = Exit(0, "done", "done; for `plan` and `drift`: kernel and log agree")
BUG = Exit(1, "bug", "unexpected: a bug in netledger, with a traceback")
USAGE = Exit(2, "usage", "the command line itself is wrong")
INVALID = Exit(3, "invalid", "refused: the request is wrong (syntax, range, an unknown option)")
NOT_FOUND = Exit(4, "not found", "refused: it names something that is not there")
CONFLICT = Exit(5, "conflict", "refused: it contradicts something that is there")
IN_USE = Exit(6, "in use", "refused: what it would take away is still used")
EXHAUSTED = Exit(7, "exhausted", "refused: there is none left")
FORBIDDEN = Exit(8, "forbidden", "refused: not allowed here, or not for this user")
UNAVAILABLE = Exit(
    9, "unavailable", "refused: not now, or not on this machine; for `doctor`: something needed is missing"
)
UNIMPLEMENTED = Exit(10, "not implemented", "refused: netledger does not do that")
FAULT = Exit(20, "dataplane fault", "the kernel did not do what the log says; creations were taken back")
LEDGER = Exit(30, "ledger error", "the log cannot be used as asked")
DAMAGED = Exit(31, "ledger damaged", "the log does not verify or is torn; what was printed is what is whole")
FULL = Exit(32, "ledger full", "the disk is full; nothing was appended")
NEWER = Exit(33, "ledger newer", "the log was written by a newer netledger")
FOREIGN = Exit(34, "ledger foreign", "the state directory or file is not netledger's")
BUSY = Exit(35, "ledger busy", "another process owns the host or the log for longer than we wait")
DIFFERENT = Exit(40, "different", "`plan` and `drift`: kernel and log differ; `reach`: it does not reach")
VIOLATED = Exit(41, "violated", "`simulate`: something did not hold; what reproduces it was printed")
INTERRUPTED = Exit(130, "interrupted", "interrupted by Ctrl-C")
CUT_OFF = Exit(141, "cut off", "whoever read the output went away")

EXITS = (
    DONE,
    BUG,
    USAGE,
    INVALID,
    NOT_FOUND,
    CONFLICT,
    IN_USE,
    EXHAUSTED,
    FORBIDDEN,
    UNAVAILABLE,
    UNIMPLEMENTED,
    FAULT,
    LEDGER,
    DAMAGED,
    FULL,
    NEWER,
    FOREIGN,
    BUSY,
    DIFFERENT,
    VIOLATED,
    INTERRUPTED,
    CUT_OFF,
)

_BY_ERROR: tuple[tuple[type[BaseException], Exit], ...] = (  # the first that fits
    (errors.Invalid, INVALID),
    (errors.NotFound, NOT_FOUND),
    (errors.Conflict, CONFLICT),
    (errors.InUse, IN_USE),
    (errors.Exhausted, EXHAUSTED),
    (errors.Forbidden, FORBIDDEN),
    (errors.Unavailable, UNAVAILABLE),
    (errors.Unimplemented, UNIMPLEMENTED),
    (errors.DataplaneFault, FAULT),
    (errors.LedgerDamaged, DAMAGED),
    (errors.LedgerFull, FULL),
    (errors.LedgerNewer, NEWER),
    (errors.LedgerForeign, FOREIGN),
    (errors.LedgerBusy, BUSY),
    (errors.LedgerError, LEDGER),
    (UsageError, USAGE),
    (PermissionError, FORBIDDEN),
    (KeyboardInterrupt, INTERRUPTED),
    (BrokenPipeError, CUT_OFF),
)


def exit_of(error: BaseException) -> Exit:
    """Find the exit for an error; that of several is the first one's."""
    if isinstance(error, BaseExceptionGroup):
        return exit_of(error.exceptions[0])
    if lacks_permission(error):
        return FORBIDDEN
    return next((found for kind, found in _BY_ERROR if isinstance(error, kind)), BUG)


def lacks_permission(error: BaseException) -> bool:
    """Whether the operating system did not let this user at a file or the kernel; a refusal says so itself."""
    if isinstance(error, errors.Refusal):
        return False
    return isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError)
