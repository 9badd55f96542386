"""What a doomed process does: random operations, and what each must come to.

Keeps: `Model` holds what the operations that were acknowledged add up to, knowing neither log nor kernel.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netledger.domain import commands
from netledger.domain.values import (
    EndpointId,
    NetworkId,
    SandboxId,
    SandboxKind,
    parse_address,
    parse_port,
    parse_subnet,
)

from .host import HOST_ADDRESS

if TYPE_CHECKING:
    from netledger import Controller
    from netledger.domain.commands import Command

NETWORKS, CONTAINERS, ATTACHED, NAMES = 3, 4, 2, 4
"""How many names there are of each kind; so many things there are at most."""
CREATIONS = 150
"""So many endpoints one network is used for: its addresses are given out in turn, up to those asked for by hand."""


@dataclass(frozen=True)
class Operation:
    """One operation on the thing with the id `subject`; what a verb has no use for is empty."""

    verb: str
    subject: str
    name: str = ""
    other: str = ""
    """An endpoint's network; the sandbox that an endpoint joins; the path of an attached sandbox."""
    kind: str = ""
    is_forced: bool = False
    subnets: tuple[str, ...] = ()
    options: tuple[tuple[str, bool | int], ...] = ()
    ports: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    priority: int = 0

    def command(self) -> Command:
        """Make the engine's command of it, for a batch."""
        return _COMMANDS[self.verb](self)

    def perform(self, controller: Controller) -> None:
        """Carry it out by the objects that a user holds."""
        _PERFORMANCES[self.verb](controller, self)


@dataclass
class Endpoint:
    """An endpoint as the model knows it."""

    network: str
    name: str
    ports: tuple[str, ...]
    addresses: tuple[str, ...]
    aliases: set[str]
    sandbox: str = ""


@dataclass
class Network:
    """A network as the model knows it."""

    name: str
    subnets: tuple[str, ...]
    is_internal: bool
    creations: int = 0


@dataclass
class Model:
    """What was acknowledged."""

    networks: dict[str, Network] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    sandboxes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name and kind."""

    def accepts(self, operation: Operation) -> bool:
        """Whether an operation must be carried out; otherwise it must be refused."""
        return _ACCEPTANCES[operation.verb](self, operation)

    def touches_kernel(self, operation: Operation) -> bool:
        """Whether an operation that is accepted changes anything in a kernel."""
        endpoint = self.endpoints.get(operation.subject)
        match operation.verb:
            case "create endpoint" | "add alias" | "remove alias":
                return False
            case "create sandbox":
                return operation.kind == "managed"
            case "delete sandbox":
                return self.sandboxes[operation.subject][1] == "managed" or bool(self.in_sandbox(operation.subject))
            case "delete endpoint":
                return endpoint is not None and bool(endpoint.sandbox)
            case _:
                return True

    def take_in(self, operation: Operation) -> None:
        """Do what an accepted operation does."""
        subject = operation.subject
        match operation.verb:
            case "create network":
                self.networks[subject] = Network(operation.name, operation.subnets, operation.kind == "internal")
            case "delete network":
                del self.networks[subject]
                self.endpoints = {key: known for key, known in self.endpoints.items() if known.network != subject}
            case "create endpoint":
                self.networks[operation.other].creations += 1
                self.endpoints[subject] = Endpoint(
                    operation.other, operation.name, operation.ports, operation.addresses, set(operation.aliases)
                )
            case "delete endpoint":
                del self.endpoints[subject]
            case "create sandbox":
                self.sandboxes[subject] = (operation.name, operation.kind)
            case "delete sandbox":
                for endpoint in self.in_sandbox(subject):
                    endpoint.sandbox = ""
                del self.sandboxes[subject]
            case "join":
                self.endpoints[subject].sandbox = operation.other
            case "leave":
                self.endpoints[subject].sandbox = ""
            case "add alias":
                self.endpoints[subject].aliases.add(operation.name)
            case "remove alias":
                self.endpoints[subject].aliases.remove(operation.name)

    def in_sandbox(self, sandbox: str) -> list[Endpoint]:
        """List the endpoints in a sandbox."""
        return [endpoint for endpoint in self.endpoints.values() if endpoint.sandbox == sandbox]

    def in_network(self, network: str) -> list[Endpoint]:
        """List the endpoints of a network."""
        return [endpoint for endpoint in self.endpoints.values() if endpoint.network == network]

    def shape(self) -> dict[str, object]:
        """Say what there must be, in a form that a log's fold can be compared with."""
        return {
            "networks": {key: (known.name, known.is_internal) for key, known in self.networks.items()},
            "endpoints": {key: (known.network, known.name) for key, known in self.endpoints.items()},
            "ports": {key: len(known.ports) for key, known in self.endpoints.items() if known.ports},
            "aliases": {(key, alias) for key, known in self.endpoints.items() for alias in known.aliases},
            "sandboxes": dict(self.sandboxes),
            "joins": {key: known.sandbox for key, known in self.endpoints.items() if known.sandbox},
        }


_WEIGHTS = {
    "grow": (4, 8, 6, 10, 2, 1, 1, 1, 1),
    "shrink": (4, 3, 3, 4, 4, 1, 4, 4, 12),
    "mix": (3, 8, 5, 10, 6, 2, 4, 4, 2),
}
"""How often each verb is chosen, in the order of `Author._operation`."""


class Author:
    """Make up operations; `mood` is what there is most of: grow, shrink or mix; where it is empty, it changes."""

    def __init__(self, chance: random.Random, folder: str, mood: str = "") -> None:
        self._chance = chance
        self._folder = folder
        self._moods = (mood,) if mood else tuple(_WEIGHTS)
        self._mood = chance.choice(self._moods)

    def step(self, model: Model) -> list[Operation]:
        """Make up one operation, or a batch of them."""
        if self._chance.random() < 0.1:
            self._mood = self._chance.choice(self._moods)
        if self._chance.random() > 0.2:
            return [self._operation(model)]
        imagined, batch = copy_of(model), []
        for _ in range(self._chance.randint(2, 6)):
            operation = self._operation(imagined)
            if imagined.accepts(operation):
                imagined.take_in(operation)
            batch.append(operation)
        return batch

    def _operation(self, model: Model) -> Operation:
        """Choose a verb among those that have something to act on; one in eight may well be refused."""
        makers = {
            "create network": self._create_network,
            "create endpoint": self._create_endpoint,
            "create sandbox": self._create_sandbox,
            "join": self._join,
            "leave": self._leave,
            "add alias": self._alias,
            "delete endpoint": self._delete,
            "delete sandbox": self._delete,
            "delete network": self._delete,
        }
        weights = _WEIGHTS[self._mood]
        is_careless = self._chance.random() < 0.125
        while True:
            verb = self._chance.choices(tuple(makers), weights)[0]
            operation = makers[verb](model, verb)
            if operation is not None and (is_careless or model.accepts(operation)):
                return operation
            weights = tuple(weight + 1 for weight in weights)

    def _id(self) -> str:
        return self._chance.randbytes(32).hex()

    def _create_network(self, model: Model, verb: str) -> Operation:
        number = self._chance.randrange(NETWORKS)
        kind = self._chance.choice(("", "", "", "internal"))
        subnets: tuple[str, ...] = ()
        if number:  # the first one has predefined blocks
            subnets = (f"10.{number}.0.0/24", f"fd00:{number}::/64")[: self._chance.randint(1, 2)]
        label = "com.docker.network"
        chosen: tuple[tuple[str, bool | int], ...] = (
            (f"{label}.bridge.enable_icc", False),
            (f"{label}.driver.mtu", 1400),
            (f"{label}.bridge.enable_ip_masquerade", False),
        )
        options = tuple(option for option in chosen if self._chance.random() < 0.25)
        return Operation(verb, self._id(), f"net{number}", kind=kind, subnets=subnets, options=options)

    def _create_endpoint(self, model: Model, verb: str) -> Operation | None:
        chance = self._chance
        usable = [key for key, known in model.networks.items() if known.creations < CREATIONS]
        if not usable:
            return None
        network = chance.choice(usable)
        known = model.networks[network]
        ports: list[str] = []
        if not known.is_internal and chance.random() < 0.6:
            ports.append(f"{8000 + chance.randrange(6)}:80/{chance.choice(('tcp', 'udp'))}")
            if chance.random() < 0.3:
                ports.append(f"{HOST_ADDRESS}:{9000 + chance.randrange(4)}:90/tcp")
            if chance.random() < 0.3:
                ports.append("70")
        addresses: tuple[str, ...] = ()
        if known.subnets and chance.random() < 0.2:
            addresses = (known.subnets[0].replace(".0/24", f".{200 + chance.randrange(8)}"),)
        aliases = ("web",) if chance.random() < 0.3 else ()
        name = f"end{chance.randrange(NAMES)}"
        return Operation(verb, self._id(), name, network, ports=tuple(ports), addresses=addresses, aliases=aliases)

    def _create_sandbox(self, model: Model, verb: str) -> Operation:
        number = self._chance.randrange(CONTAINERS + ATTACHED + 1)
        if number < CONTAINERS:
            return Operation(verb, self._id(), f"box{number}", kind="managed")
        number -= CONTAINERS
        if number < ATTACHED:
            return Operation(verb, self._id(), f"own{number}", f"{self._folder}-own{number}", kind="attached")
        return Operation(verb, self._id(), "pod", kind="delegated")

    def _join(self, model: Model, verb: str) -> Operation | None:
        if not model.endpoints or not model.sandboxes:
            return None
        endpoint = self._chance.choice(
            [*(key for key, known in model.endpoints.items() if not known.sandbox), *model.endpoints]
        )
        return Operation(
            verb, endpoint, other=self._chance.choice(list(model.sandboxes)), priority=self._chance.randrange(3)
        )

    def _leave(self, model: Model, verb: str) -> Operation | None:
        return Operation(verb, self._chance.choice(list(model.endpoints))) if model.endpoints else None

    def _alias(self, model: Model, verb: str) -> Operation | None:
        if not model.endpoints:
            return None
        verb = self._chance.choice(("add alias", "remove alias"))
        return Operation(verb, self._chance.choice(list(model.endpoints)), self._chance.choice(("web", "db")))

    def _delete(self, model: Model, verb: str) -> Operation | None:
        things: dict[str, object] = getattr(model, f"{verb.removeprefix('delete ')}s".replace("xs", "xes"))
        if not things:
            return None
        return Operation(verb, self._chance.choice(list(things)), is_forced=self._chance.random() < 0.5)


def copy_of(model: Model) -> Model:
    """Copy a model as deep as it changes."""
    return Model(
        {key: Network(**vars(known)) for key, known in model.networks.items()},
        {key: Endpoint(**vars(known) | {"aliases": set(known.aliases)}) for key, known in model.endpoints.items()},
        dict(model.sandboxes),
    )


def after(model: Model, step: Sequence[Operation]) -> tuple[Model, list[bool]]:
    """Say what a step makes of a model, and which of its operations are accepted."""
    later, accepted = copy_of(model), []
    for operation in step:
        accepted.append(later.accepts(operation))
        if accepted[-1]:
            later.take_in(operation)
    return later, accepted


def _can_create_network(model: Model, operation: Operation) -> bool:
    return all(known.name != operation.name for known in model.networks.values())


def _can_create_endpoint(model: Model, operation: Operation) -> bool:
    network = model.networks.get(operation.other)
    if network is None:
        return False
    same = model.in_network(operation.other)
    if any(known.name == operation.name or set(known.addresses) & set(operation.addresses) for known in same):
        return False
    wanted = {_number(port) for port in operation.ports} - {""}
    return not any(wanted & {_number(port) for port in known.ports} for known in model.endpoints.values())


def _number(port: str) -> str:
    """Reduce a port to what two endpoints may not both have: host port and protocol; nothing for a chosen one."""
    outer, _, inner = port.rpartition(":")
    return f"{outer.rpartition(':')[2]}/{inner.partition('/')[2]}" if outer else ""


_ACCEPTANCES: dict[str, Callable[[Model, Operation], bool]] = {
    "create network": _can_create_network,
    "delete network": lambda model, operation: (
        operation.subject in model.networks and (operation.is_forced or not model.in_network(operation.subject))
    ),
    "create endpoint": _can_create_endpoint,
    "delete endpoint": lambda model, operation: (
        operation.subject in model.endpoints and (operation.is_forced or not model.endpoints[operation.subject].sandbox)
    ),
    "create sandbox": lambda model, operation: all(name != operation.name for name, _ in model.sandboxes.values()),
    "delete sandbox": lambda model, operation: (
        operation.subject in model.sandboxes and (operation.is_forced or not model.in_sandbox(operation.subject))
    ),
    "join": lambda model, operation: (
        operation.subject in model.endpoints
        and operation.other in model.sandboxes
        and not model.endpoints[operation.subject].sandbox
    ),
    "leave": lambda model, operation: bool(getattr(model.endpoints.get(operation.subject), "sandbox", "")),
    "add alias": lambda model, operation: (
        operation.subject in model.endpoints and operation.name not in model.endpoints[operation.subject].aliases
    ),
    "remove alias": lambda model, operation: (
        operation.subject in model.endpoints and operation.name in model.endpoints[operation.subject].aliases
    ),
}


# --- the same operations as the engine's commands, and by its objects


def _pools(operation: Operation) -> tuple[commands.PoolRequest, ...]:
    if not operation.subnets:
        return (commands.PoolRequest(4),)
    blocks = [parse_subnet(text) for text in operation.subnets]
    return tuple(commands.PoolRequest(block.family, block) for block in blocks)


_COMMANDS: dict[str, Callable[[Operation], Command]] = {
    "create network": lambda it: commands.CreateNetwork(
        NetworkId(it.subject), it.name, pools=_pools(it), internal=it.kind == "internal", options=dict(it.options)
    ),
    "delete network": lambda it: commands.DeleteNetwork(NetworkId(it.subject), it.is_forced),
    "create endpoint": lambda it: commands.CreateEndpoint(
        EndpointId(it.subject),
        NetworkId(it.other),
        it.name,
        addresses=tuple(map(parse_address, it.addresses)),
        ports=tuple(map(parse_port, it.ports)),
        aliases=it.aliases,
    ),
    "delete endpoint": lambda it: commands.DeleteEndpoint(EndpointId(it.subject), it.is_forced),
    "create sandbox": lambda it: commands.CreateSandbox(
        SandboxId(it.subject), it.name, kind=SandboxKind(it.kind), path=it.other
    ),
    "delete sandbox": lambda it: commands.DeleteSandbox(SandboxId(it.subject), it.is_forced),
    "join": lambda it: commands.JoinEndpoint(EndpointId(it.subject), SandboxId(it.other), it.priority),
    "leave": lambda it: commands.LeaveEndpoint(EndpointId(it.subject)),
    "add alias": lambda it: commands.AddAlias(EndpointId(it.subject), it.name),
    "remove alias": lambda it: commands.RemoveAlias(EndpointId(it.subject), it.name),
}


_PERFORMANCES: dict[str, Callable[[Controller, Operation], object]] = {
    "create network": lambda controller, it: controller.create_network(
        it.name, subnets=it.subnets, internal=it.kind == "internal", options=dict(it.options), id=it.subject
    ),
    "delete network": lambda controller, it: controller.network(it.subject).delete(force=it.is_forced),
    "create endpoint": lambda controller, it: controller.network(it.other).create_endpoint(
        it.name, addresses=it.addresses, ports=it.ports, aliases=it.aliases, id=it.subject
    ),
    "delete endpoint": lambda controller, it: controller.endpoint(it.subject).delete(force=it.is_forced),
    "create sandbox": lambda controller, it: controller.create_sandbox(
        it.name, kind=it.kind, path=it.other, id=it.subject
    ),
    "delete sandbox": lambda controller, it: controller.sandbox(it.subject).delete(force=it.is_forced),
    "join": lambda controller, it: controller.endpoint(it.subject).join(
        controller.sandbox(it.other), priority=it.priority
    ),
    "leave": lambda controller, it: controller.endpoint(it.subject).leave(),
    "add alias": lambda controller, it: controller.endpoint(it.subject).add_alias(it.name),
    "remove alias": lambda controller, it: controller.endpoint(it.subject).remove_alias(it.name),
}
