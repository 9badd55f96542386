"""Options that many commands share, and what their texts mean.

Keeps: an option has the same name, meaning and default wherever it stands; what was not given on the command line
comes from the environment. Must not know: what any command does with them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Group, Parameter

from ...domain.errors import Invalid, NotFound

STATE_VARIABLE = "NETLEDGER_STATE"
DATAPLANE_VARIABLE = "NETLEDGER_DATAPLANE"
PLUGINS_VARIABLE = "NETLEDGER_PLUGINS"
NAMED_NAMESPACES = Path("/run/netns")
"""Where `ip netns add NAME` puts NAME."""

COMMON = Group("Common options", sort_key=100)


@Parameter(name="*")
@dataclass(frozen=True)
class Log:
    """Which log, and in which form it is told about."""

    state: Annotated[
        Path | None,
        Parameter(
            group=COMMON,
            help=f"The state directory. Else ${STATE_VARIABLE}; else /var/lib/netledger as root, "
            "and $XDG_STATE_HOME/netledger or ~/.local/state/netledger as another user.",
        ),
    ] = None
    json: Annotated[bool, Parameter(group=COMMON, help="Print JSON, errors too.")] = False

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.state if self.state is not None else default_state()

    @property
    def words(self) -> list[str]:
        """What was said on the command line of which log it is."""
        return ["--state", str(self.state)] if self.state is not None else []


@Parameter(name="*")
@dataclass(frozen=True)
class Host:
    """Which kernel is the host's."""

    dataplane: Annotated[
        str | None,
        Parameter(
            group=COMMON,
            help=f"linux, simulated (in memory, for this command only) or none (events only). "
            f"Else ${DATAPLANE_VARIABLE}, else linux.",
        ),
    ] = None
    namespace: Annotated[
        str | None,
        Parameter(
            group=COMMON,
            help="The network namespace that is the host: a path, or a NAME in /run/netns. Else this process's own.",
        ),
    ] = None

    @property
    def dataplane_name(self) -> str:
        """The dataplane's name."""
        return self.dataplane or os.environ.get(DATAPLANE_VARIABLE) or "linux"

    @property
    def words(self) -> list[str]:
        """What was said on the command line of whose kernel it is."""
        said = (("--dataplane", self.dataplane), ("--namespace", self.namespace))
        return [word for option, value in said if value is not None for word in (option, value)]

    @property
    def namespace_path(self) -> str | None:
        """The path of the host's namespace; None for this process's own."""
        if self.namespace is None:
            return None
        path = Path(self.namespace) if "/" in self.namespace else NAMED_NAMESPACES / self.namespace
        if self.dataplane_name == "linux" and not path.exists():
            raise NotFound(f"namespace {self.namespace!r}", f"there is no {path}", "see `ip netns`, or give a path")
        return str(path)


@Parameter(name="*")
@dataclass(frozen=True)
class Author:
    """Who changes something and why, and how long they wait for another process to end."""

    actor: Annotated[str | None, Parameter(group=COMMON, help="Who asks, for the log. Else this user's name.")] = None
    reason: Annotated[str, Parameter(group=COMMON, help="Why, for the log.")] = ""
    wait: Annotated[
        float, Parameter(group=COMMON, help="Seconds to wait for another process that owns the host. Else 10.")
    ] = 10.0


HERE = Log()
THIS_HOST = Host()
THIS_USER = Author()

Request: TypeAlias = Annotated[
    str | None,
    Parameter(group=COMMON, help="The request's id: the same command given again with it changes nothing."),
]
Labels: TypeAlias = Annotated[tuple[str, ...], Parameter(name="--label", help="A label, KEY=VALUE; repeatable.")]
Quiet: TypeAlias = Annotated[bool, Parameter(name=("--quiet", "-q"), help="Print ids only.")]
Force: TypeAlias = Annotated[bool, Parameter(name=("--force", "-f"), help="Even if it is still used.")]


def default_state() -> Path:
    """Name the state directory where none was given."""
    given = os.environ.get(STATE_VARIABLE)
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/netledger")
    base = Path(os.environ.get("XDG_STATE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "netledger"


def plugin_directories() -> tuple[Path, ...]:
    """Name the directories where plugins are found: those of the environment, separated by `:`, else Docker's."""
    from ...engine.remote import PLUGIN_DIRECTORIES

    given = os.environ.get(PLUGINS_VARIABLE)
    return tuple(Path(each) for each in given.split(os.pathsep) if each) if given else PLUGIN_DIRECTORIES


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` texts; refuse one without a key, and a key that is given twice with different values."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise Invalid(f"{option} {text!r}", "not KEY=VALUE", f"write it like {option} team=payments")
        if found.setdefault(key, value) != value:
            raise Invalid(f"{option} {text!r}", f"{key} was given before, as {found[key]!r}", "give it once")
    return found
