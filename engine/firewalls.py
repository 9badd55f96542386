"""Which firewall backend a host's dataplane programs: asked for, recorded in the state directory, or found out.

Keeps: a host keeps its backend until another is asked for by name; what the one before has programmed is recorded until
it has been taken away. Knows nothing of: rules.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from ..dataplanes.contract import Dataplane
from ..domain.errors import Invalid, LedgerError, Unavailable

DEFAULT = "nftables"
AUTO = "auto"
FIREWALLS = ("nftables", "iptables", "none")
AUTOMATIC = ("nftables", "iptables")
"""What `auto` chooses from, the first that works; never none, since that protects nothing."""

Missing = Callable[[str], str | None]
"""Says why a backend cannot be used here; None when it can."""


class FirewallChoice(Struct, frozen=True):
    """The backend to use, those before it whose rules are still to be taken away, and why it is this one."""

    backend: str
    retiring: tuple[str, ...] = ()
    why: str = ""


class HostFirewall:
    """A host's choice, in force: recorded when the dataplane is made, and again when the one before it is gone.

    `file` is where it is recorded; without one nothing is known from before, and nothing is kept.
    """

    def __init__(
        self, file: Path | None, asked: str | None, missing: Missing, *, is_older: bool, read_only: bool
    ) -> None:
        self._file = file if not read_only else None
        recorded = read_choice(file, is_older=is_older) if file is not None else None
        self._choice = choose_firewall(recorded, asked, missing)
        if self._file is not None and self._choice != recorded:
            write_choice(self._file, self._choice)

    @property
    def backend(self) -> str:
        """The backend to use."""
        return self._choice.backend

    @property
    def is_moving(self) -> bool:
        """Whether another backend's rules are still there."""
        return bool(self._choice.retiring)

    @property
    def move(self) -> str:
        """From which backends to which the host is being moved; empty when it is not."""
        return f"{' and '.join(self._choice.retiring)} to {self.backend}" if self.is_moving else ""

    def finish(self, dataplane: Dataplane | None) -> None:
        """Take away what the backends before this one have programmed; its own rules are in place by now."""
        if not self.is_moving:
            return
        from ..dataplanes.linux import LinuxDataplane  # loaded already: only a Linux dataplane has a choice

        assert isinstance(dataplane, LinuxDataplane), "only a Linux dataplane has a firewall to choose"
        for backend in self._choice.retiring:
            dataplane.retire(backend)
        self._choice = structs.replace(self._choice, retiring=())
        if self._file is not None:
            write_choice(self._file, self._choice)


def check_asked(asked: str | None, dataplane: str | Dataplane) -> None:
    """Refuse a firewall that there is not, or of a dataplane that has none."""
    if asked not in {None, AUTO, *FIREWALLS}:
        raise Invalid(f"firewall {asked!r}", "unknown", f"known: {', '.join(FIREWALLS)}, {AUTO}")
    if asked is not None and dataplane != "linux":
        raise Invalid(f"firewall {asked!r}", "only the linux dataplane has one", "leave it out")


def choose_firewall(recorded: FirewallChoice | None, asked: str | None, missing: Missing) -> FirewallChoice:
    """Choose: what is asked for by name, else what is recorded, else the default; `auto` wants one that works.

    Refuses to leave a backend whose rules could not be taken away.
    """
    backend, why = _wanted(recorded, asked, missing)
    if recorded is None:
        return FirewallChoice(backend, (), why)
    retiring = tuple(name for name in dict.fromkeys((*recorded.retiring, recorded.backend)) if name != backend)
    for name in retiring:
        reason = missing(name)
        if reason is not None:
            raise Unavailable(
                f"take the firewall {backend} instead of {name}",
                f"what {name} has programmed cannot be taken away here: {reason}",
                f"make {name} work once more, or keep it",
            )
    return FirewallChoice(backend, retiring, why)


def read_choice(path: Path, *, is_older: bool) -> FirewallChoice | None:
    """Read what is recorded; a state directory from before there was a choice (`is_older`) has nftables."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=FirewallChoice)
    except FileNotFoundError:
        return FirewallChoice(DEFAULT, (), "the default") if is_older else None
    except (msgspec.DecodeError, OSError) as error:
        raise LedgerError(f"read the host's firewall in {path}: {error}; remove the file and ask for one") from error
    unknown = {found.backend, *found.retiring} - set(FIREWALLS)
    if unknown:
        raise LedgerError(f"read the host's firewall in {path}: {min(unknown)!r} is unknown to this netledger")
    return found


def write_choice(path: Path, choice: FirewallChoice) -> None:
    """Record a choice, durably, in one step."""
    text = json.dumps({"backend": choice.backend, "retiring": choice.retiring, "why": choice.why})
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise LedgerError(f"record the host's firewall in {path}: {error.strerror}") from error


def _wanted(recorded: FirewallChoice | None, asked: str | None, missing: Missing) -> tuple[str, str]:
    if asked in FIREWALLS:
        return asked, "asked for"
    if asked is None:
        return (recorded.backend, recorded.why) if recorded is not None else (DEFAULT, "the default")
    reasons: list[str] = []
    own = (recorded.backend,) if recorded is not None else ()
    for name in dict.fromkeys((*own, *AUTOMATIC)):
        reason = missing(name)
        if reason is None:
            return name, "; ".join(("the first that works", *reasons))
        reasons.append(f"not {name}: {reason}")
    return (recorded.backend if recorded is not None else DEFAULT), "; ".join(("none works", *reasons))
