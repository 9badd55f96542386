"""The errors that netledger raises, and nothing else: a leaf module.

    NetledgerError
    +-- Refusal                what was asked cannot be had; nothing changed
    |   +-- Invalid            the request itself is wrong
    |   +-- NotFound           it names something that is not there
    |   +-- Conflict           it contradicts something that is there
    |   +-- InUse              what it would take away is still used
    |   +-- Exhausted          there is none left
    |   +-- Forbidden          not allowed here, or not for this caller
    |   +-- Unavailable        not now: another writer, another owner, a machine that lacks something
    |   +-- Unimplemented      netledger does not do that
    +-- DataplaneFault         the kernel (or the simulator) did not do what a durable event asked for
    +-- LedgerError            the log itself
        +-- LedgerDamaged      it does not verify, or is torn
        +-- LedgerConflict     a guard failed: another writer was first
        +-- LedgerFull         the disk is full; nothing was appended
        +-- LedgerNewer        written by a newer netledger
        +-- LedgerForeign      the file or directory is not ours
        +-- LedgerBusy         another process holds it for longer than we wait

A message says what was asked, what blocks it (with its position in the log), and what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class NetledgerError(Exception):
    """Catch everything that netledger raises on purpose."""


class Refusal(NetledgerError):
    """Say that a command is not carried out, before any event.

    `asked` is what the caller wanted, `because` is what blocks it, `remedy` what to do next; `position` is the log
    position of the event that blocks it, where there is one.
    """

    kind: ClassVar[str] = "refused"

    def __init__(self, asked: str, because: str, remedy: str = "", *, position: int | None = None) -> None:
        self.asked = asked
        self.because = because
        self.remedy = remedy
        self.position = position
        super().__init__(asked, because, remedy)  # what pickling passes on; the rest is restored as it is

    def __str__(self) -> str:
        where = f" (position {self.position})" if self.position else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.asked}: {self.because}{where}{remedy}"


class Invalid(Refusal):
    """Say that the request itself is wrong: syntax, range, an unknown option."""

    kind = "invalid"


class NotFound(Refusal):
    """Say that a name or id is not there."""

    kind = "not found"


class Conflict(Refusal):
    """Say that the request contradicts what is there: a name, address, port or device already held."""

    kind = "conflict"


class InUse(Refusal):
    """Say that what the request would take away is still used."""

    kind = "in use"


class Exhausted(Refusal):
    """Say that a pool, range or limit has nothing left."""

    kind = "exhausted"


class Forbidden(Refusal):
    """Say that it is not allowed: permissions, or a thing of somebody else."""

    kind = "forbidden"


class Unavailable(Refusal):
    """Say that it cannot be done now or on this machine."""

    kind = "unavailable"


class Unimplemented(Refusal):
    """Say that netledger does not do that."""

    kind = "not implemented"


class DataplaneFault(NetledgerError):
    """Say that the kernel did not do what a durable event asked for.

    `key` is the object's key, `number` the errno (0 where there is none), `position` the event that asked.
    """

    def __init__(self, key: str, message: str, *, number: int = 0, retryable: bool = False, position: int = 0) -> None:
        self.key = key
        self.message = message
        self.number = number
        self.retryable = retryable
        self.position = position
        super().__init__(key, message)

    def __str__(self) -> str:
        where = f" (asked for at position {self.position})" if self.position else ""
        return f"{self.key}: {self.message}{where}"


class LedgerError(NetledgerError):
    """Say that the log itself is in the way."""


class LedgerDamaged(LedgerError):
    """Say that the log does not verify; `position` is the first that does not fit (0 where unknown)."""

    def __init__(self, message: str, position: int = 0) -> None:
        self.message = message
        self.position = position
        super().__init__(message, position)

    def __str__(self) -> str:
        return self.message


class LedgerConflict(LedgerError):
    """Say that a guard failed: an event that it forbids was appended by another writer. Nothing was appended."""


class LedgerFull(LedgerError):
    """Say that there is no room: nothing was appended and the log is as it was."""


class LedgerNewer(LedgerError):
    """Say that the log was written by a newer netledger."""


class LedgerForeign(LedgerError):
    """Say that the file or directory is not a netledger one."""


class LedgerBusy(LedgerError):
    """Say that another process holds the ledger or the host for longer than we wait."""
