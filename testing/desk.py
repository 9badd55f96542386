"""A desk at which rules decide, without a log: commands in, events folded into views.

Beside it, short ways to write commands: things are named, and their identifiers are hashes of their names.
Keeps: what a rule refuses leaves no trace. Knows nothing of: logs, kernels, clocks.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..domain.commands import (
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    JoinEndpoint,
    PoolRequest,
)
from ..domain.decision import Context, Decision
from ..domain.errors import Refusal
from ..domain.events import Event, Origin, Recorded
from ..domain.facts import EVERYTHING, NOTHING_SPECIAL, Capabilities, HostLink, HostPorts, IpamAnswers, TakenBlock
from ..domain.ipam.pools import NULL_IPAM
from ..domain.rules import decide
from ..domain.values import (
    EndpointId,
    HostId,
    NetworkId,
    Position,
    SandboxId,
    parse_address,
    parse_port,
    parse_subnet,
)
from ..projections.views import Views

RefusalT = TypeVar("RefusalT", bound=Refusal)

HOST = HostId("host1")
INSTANCE = "0a1b2c3d"
ORIGIN = Origin(1_000, "tester", "request/0#0", "", HOST)
SECOND = 1_000_000_000


@functools.cache
def identifier(text: str) -> Any:  # noqa: ANN401 - identifiers of every kind are 64 hex digits
    """Make 64 hex digits of a name."""
    return hashlib.sha256(text.encode()).hexdigest()


def pool(subnet: str, gateway: str | None = None, **others: Any) -> PoolRequest:  # noqa: ANN401 - the request's own fields
    """Ask for a block."""
    block = parse_subnet(subnet)
    return PoolRequest(block.family, block, parse_address(gateway) if gateway else None, **others)


def create_network(name: str, *pools: str | PoolRequest, **others: Any) -> CreateNetwork:  # noqa: ANN401 - the command's own fields
    """Ask for a network; without pools, with a predefined IPv4 one, unless nobody is to give it addresses."""
    asked = tuple(pool(each) if isinstance(each, str) else each for each in pools)
    if not asked and others.get("ipam_driver") != NULL_IPAM:
        asked = (PoolRequest(4),)
    others.setdefault("network", identifier(name))
    return CreateNetwork(name=name, pools=asked, **others)


def create_endpoint(network: str, name: str, *ports: str, **others: Any) -> CreateEndpoint:  # noqa: ANN401 - the command's own fields
    """Ask for an endpoint, in a network that is given by name."""
    others["addresses"] = tuple(parse_address(text) for text in others.get("addresses", ()))
    others.setdefault("endpoint", identifier(f"{network}/{name}"))
    return CreateEndpoint(
        network=NetworkId(identifier(network)), name=name, ports=tuple(parse_port(text) for text in ports), **others
    )


def create_sandbox(container: str, **others: Any) -> CreateSandbox:  # noqa: ANN401 - the command's own fields
    """Ask for a sandbox."""
    others.setdefault("sandbox", identifier(container))
    return CreateSandbox(container=container, **others)


def join(endpoint: str, container: str, **others: Any) -> JoinEndpoint:  # noqa: ANN401 - the command's own fields
    """Ask to put an endpoint, NETWORK/NAME, into a container's sandbox."""
    return JoinEndpoint(EndpointId(identifier(endpoint)), SandboxId(identifier(container)), **others)


class Desk:
    """Views that only grow by what rules decide here."""

    def __init__(self) -> None:
        self.views = Views()
        self.log: list[Recorded[Event]] = []
        self.now = ORIGIN.at
        """What time it is, in UTC nanoseconds."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * SECOND)

    def decide(
        self,
        command: Command,
        *,
        capabilities: Capabilities = EVERYTHING,
        obstacles: Mapping[str, str] | None = None,
        links: Mapping[str, HostLink] | None = None,
        taken_blocks: Sequence[TakenBlock] = (),
        ipam: IpamAnswers | None = None,
        host_ports: HostPorts = NOTHING_SPECIAL,
    ) -> Decision:
        """Decide a command and fold nothing."""
        origin = ORIGIN._replace(at=self.now)
        context = Context(origin, INSTANCE, capabilities, obstacles or {}, links, tuple(taken_blocks), ipam, host_ports)
        return decide(self.views, command, context)

    def do(self, *commands: Command, **facts: Any) -> list[Event]:  # noqa: ANN401 - those of `decide`
        """Decide commands one after the other, and fold their events."""
        events: list[Event] = []
        for command in commands:
            for event in self.decide(command, **facts).events:
                self.fold(event)
                events.append(event)
        return events

    def fold(self, event: Event) -> None:
        """Fold an event that no command asked for."""
        position = Position(self.views.position + 1)
        self.views.fold(position, event)
        self.log.append(Recorded(position, event))

    def refusal(self, kind: type[RefusalT], command: Command, **facts: Any) -> RefusalT:  # noqa: ANN401 - those of `decide`
        """Decide a command that is to be refused, in this way and leaving no trace."""
        before = self.views.digest()
        refusal: Refusal | None = None
        try:
            self.decide(command, **facts)
        except Refusal as raised:
            refusal = raised
        assert type(refusal) is kind, f"{command}: wanted {kind.__name__}, got {refusal!r}"
        assert self.views.digest() == before, "deciding leaves the views as they were"
        return refusal

    def position_of(self, kind: type[Event], **fields: object) -> int:
        """Find the last event of a kind with these fields."""
        return max(
            record.position
            for record in self.log
            if isinstance(record.event, kind)
            and all(getattr(record.event, name) == value for name, value in fields.items())
        )
