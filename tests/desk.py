"""A desk at which rules decide, without a log: commands in, events folded into views."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from netledger.domain.commands import (
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    JoinEndpoint,
    PoolRequest,
)
from netledger.domain.decision import Context, Decision
from netledger.domain.errors import Refusal
from netledger.domain.events import Event, Origin, Recorded
from netledger.domain.facts import EVERYTHING, Capabilities
from netledger.domain.rules import decide
from netledger.domain.values import (
    EndpointId,
    HostId,
    NetworkId,
    Position,
    SandboxId,
    parse_address,
    parse_port,
    parse_subnet,
)
from netledger.projections.views import Views

RefusalT = TypeVar("RefusalT", bound=Refusal)

HOST = HostId("host1")
INSTANCE = "0a1b2c3d"
ORIGIN = Origin(1_000, "tester", "request/0#0", "", HOST)


def identifier(text: str) -> str:
    """Make 64 hex digits of a name."""
    return hashlib.sha256(text.encode()).hexdigest()


def pool(subnet: str, gateway: str | None = None, **others: Any) -> PoolRequest:
    """Ask for a block."""
    block = parse_subnet(subnet)
    return PoolRequest(block.family, block, parse_address(gateway) if gateway else None, **others)


def create_network(name: str, *pools: str | PoolRequest, **others: Any) -> CreateNetwork:
    """Ask for a network; without pools, with a predefined IPv4 one."""
    asked = tuple(pool(each) if isinstance(each, str) else each for each in pools) or (PoolRequest(4),)
    others.setdefault("network", identifier(name))
    return CreateNetwork(name=name, pools=asked, **others)


def create_endpoint(network: str, name: str, *ports: str, **others: Any) -> CreateEndpoint:
    """Ask for an endpoint, in a network that is given by name."""
    others["addresses"] = tuple(parse_address(text) for text in others.get("addresses", ()))
    others.setdefault("endpoint", identifier(f"{network}/{name}"))
    return CreateEndpoint(
        network=NetworkId(identifier(network)), name=name, ports=tuple(parse_port(text) for text in ports), **others
    )


def create_sandbox(container: str, **others: Any) -> CreateSandbox:
    """Ask for a sandbox."""
    others.setdefault("sandbox", identifier(container))
    return CreateSandbox(container=container, **others)


def join(endpoint: str, container: str, **others: Any) -> JoinEndpoint:
    """Ask to put an endpoint, NETWORK/NAME, into a container's sandbox."""
    return JoinEndpoint(EndpointId(identifier(endpoint)), SandboxId(identifier(container)), **others)


class Desk:
    """Views that only grow by what rules decide here."""

    def __init__(self) -> None:
        self.views = Views()
        self.log: list[Recorded[Event]] = []

    def decide(
        self, command: Command, *, capabilities: Capabilities = EVERYTHING, obstacles: Mapping[str, str] | None = None
    ) -> Decision:
        """Decide a command and fold nothing."""
        return decide(self.views, command, Context(ORIGIN, INSTANCE, capabilities, obstacles or {}))

    def do(self, *commands: Command, **facts: Any) -> list[Event]:
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

    def refusal(self, kind: type[RefusalT], command: Command, **facts: Any) -> RefusalT:
        """Decide a command that is to be refused, in this way and leaving no trace."""
        before = self.views.digest()
        with pytest.raises(kind) as caught:
            self.decide(command, **facts)
        assert self.views.digest() == before
        assert type(caught.value) is kind
        return caught.value

    def position_of(self, kind: type[Event], **fields: object) -> int:
        """Find the last event of a kind with these fields."""
        return max(
            record.position
            for record in self.log
            if isinstance(record.event, kind)
            and all(getattr(record.event, name) == value for name, value in fields.items())
        )
