"""What a rule is given and what it answers.

A rule is a pure function `rule(view, command, context) -> Decision`, or it raises a `Refusal`.
Knows nothing of: how the log checks a guard.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .events import Event, Origin
from .facts import EVERYTHING, NOTHING_SPECIAL, Capabilities, HostLink, HostPorts, IpamAnswers, TakenBlock

NO_OBSTACLES: Mapping[str, str] = {}


class Guard(Struct, frozen=True, gc=False):
    """A promise that the log keeps: since the view's position no event has all these tags and one of these types.

    No types means any type.
    """

    tags: tuple[str, ...]
    types: tuple[type[Event], ...] = ()


class Decision(Struct, frozen=True):
    """The events that a command amounts to, and the guards under which they may be appended."""

    events: tuple[Event, ...]
    guards: tuple[Guard, ...] = ()


class Context(Struct, frozen=True):
    """What comes in with a command: where it comes from, and facts about the host.

    `instance` marks what is this ledger's (8 hex digits). `obstacles` says what of the host's own holds
    something already: a name by its tag, a port by its `ports.obstacle_key`. `links` has those of the interfaces that a
    command names (see `networks.links_of`) which are in the host's namespace; None where nobody looked. `taken_blocks`
    are the addresses that the host uses already, asked for where a block is to be chosen. `ipam` has what another IPAM
    driver than ours answered. `host_ports` is asked for where a port is to be chosen, or published at ::1.
    """

    origin: Origin
    instance: str
    capabilities: Capabilities = EVERYTHING
    obstacles: Mapping[str, str] = NO_OBSTACLES
    links: Mapping[str, HostLink] | None = None
    taken_blocks: tuple[TakenBlock, ...] = ()
    ipam: IpamAnswers | None = None
    host_ports: HostPorts = NOTHING_SPECIAL
