"""Desired state: the kernel objects that the views call for, entity by entity.

Keeps: an object belongs to one entity; what an entity calls for changes only by events that touched it.
Knows nothing of: what is in any kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from ..domain.drivers import driver_of, lower_host, traits_of
from ..domain.events import Entity, Event, PortBound, PortOpened
from ..domain.interiors import furnish
from ..domain.objects import KernelObject, Key, Namespace, OpenPort, PortForward, Route
from ..domain.values import (
    NOWHERE,
    EndpointId,
    HostId,
    NetworkId,
    Position,
    SandboxId,
    SandboxKind,
    Subnet,
    family_of,
)
from .resolution import lower_files
from .views import Views

Objects: TypeAlias = Mapping[Key, KernelObject]

DEFAULT_ROUTES = {4: Subnet(bytes(4), 0), 6: Subnet(bytes(16), 0)}


def lower(views: Views, entity: Entity) -> Objects:
    """List what an entity calls for now; nothing when it is not there."""
    kind, identity = entity
    return {made.key: made for made in _LOWERINGS[kind](views, identity)}


def lower_everything(views: Views, host: HostId) -> Objects:
    """List what a whole host calls for."""
    objects: dict[Key, KernelObject] = {}
    for entity in entities(views, host):
        objects.update(lower(views, entity))
    return objects


def entities(views: Views, host: HostId) -> Iterator[Entity]:
    """List every entity of a host that may own kernel objects."""
    yield ("host", host)
    for network in views.networks.networks.values():
        if network.event.host == host:
            yield ("network", network.event.network)
    for sandbox in views.sandboxes.sandboxes.values():
        if sandbox.event.host == host:
            yield ("sandbox", sandbox.event.sandbox)
    for joined in views.endpoints.joined.values():
        if joined.event.host == host:
            yield ("endpoint", joined.event.endpoint)


def decided_at(views: Views, host: HostId) -> dict[Key, Position]:
    """Tell for each object that a host calls for, which event called for it: its position in the log."""
    positions: dict[Key, Position] = {}
    for entity in entities(views, host):
        called_for = _POSITIONS[entity[0]](views, entity[1])
        for key, made in lower(views, entity).items():
            positions[key] = _own_position(views, entity, made) or called_for
    return positions


def _own_position(views: Views, entity: Entity, made: KernelObject) -> Position | None:
    """Find the event of an object that has one of its own: a published port, a gateway's route."""
    if isinstance(made, PortForward):
        held = views.ports_of(EndpointId(entity[1]))
        return next((port.position for port in held if _is_same_port(port.event, made)), None)
    if isinstance(made, OpenPort):
        opened = views.opened_of(EndpointId(entity[1]))
        own = ((port.event.protocol, port.event.address, port.event.port) for port in opened)
        place = (made.protocol, made.address, made.port)
        return next((port.position for port, mine in zip(opened, own, strict=True) if mine == place), None)
    if isinstance(made, Route) and entity[0] == "sandbox":
        elected = views.sandboxes.gateways.get((made.sandbox, made.destination.family))
        return elected.position if elected is not None else None
    return None


def _is_same_port(bound: PortBound, made: PortForward) -> bool:
    return (bound.protocol, bound.host_address, bound.host_port) == (made.protocol, made.host_address, made.host_port)


class Pending:
    """What the entities touched since the last `take` called for before: the other half of a plan.

    With `every_state` it also remembers what they called for in between, which may be in the kernel after a crash or an
    interruption.
    """

    def __init__(self, views: Views, host: HostId) -> None:
        self._views = views
        self._host = host
        self._before: dict[Entity, Objects] = {}
        self._between: dict[Entity, dict[Key, KernelObject]] = {}
        self._saved: tuple[dict[Entity, Objects], dict[Entity, dict[Key, KernelObject]]] = ({}, {})
        self.every_state = False

    def note(self, event: Event) -> list[KernelObject]:
        """Remember what the entities that `event` touches call for, and list it; to be called before it is folded."""
        noted: list[KernelObject] = []
        if event.host != self._host:
            return noted
        for entity in event.touched():
            if entity not in self._before:
                called_for = self._before[entity] = lower(self._views, entity)
            elif self.every_state:
                called_for = lower(self._views, entity)
                self._between.setdefault(entity, {}).update(called_for)
            else:
                continue
            noted += called_for.values()
        return noted

    def begin(self) -> None:
        """Mark where a speculative fold begins."""
        self._saved = (dict(self._before), {entity: dict(objects) for entity, objects in self._between.items()})

    def undo(self) -> None:
        """Forget what was noted since `begin`."""
        self._before, self._between = self._saved

    def look(self) -> tuple[dict[Entity, Objects], dict[Entity, dict[Key, KernelObject]]]:
        """Tell what was called for before, and in between by the entities that changed twice."""
        return self._before, self._between

    def take(self) -> tuple[dict[Entity, Objects], dict[Entity, dict[Key, KernelObject]]]:
        """Tell the same, and begin anew."""
        taken = self.look()
        self._before, self._between = {}, {}
        return taken


def _lower_host(views: Views, identity: str) -> list[KernelObject]:
    return lower_host(network.event for network in views.networks.networks.values() if network.event.host == identity)


def _lower_network(views: Views, identity: str) -> list[KernelObject]:
    network = views.network(NetworkId(identity))
    return driver_of(network.event.driver).lower_network(network.event) if network else []


def _lower_sandbox(views: Views, identity: str) -> list[KernelObject]:
    sandbox = views.sandbox(SandboxId(identity))
    if sandbox is None:
        return []
    objects: list[KernelObject] = [*lower_files(views, sandbox.event)]
    if sandbox.event.kind in {SandboxKind.DELEGATED, SandboxKind.HOST}:
        return objects
    if sandbox.event.kind is SandboxKind.MANAGED:
        objects.append(Namespace(sandbox.event.sandbox, sandbox.event.path))
    for family, destination in DEFAULT_ROUTES.items():
        gateway = views.gateway(sandbox.event.sandbox, family)
        if gateway is not None:
            objects.append(_default_route(views, gateway, destination))
    return objects


def _default_route(views: Views, endpoint: EndpointId, destination: Subnet) -> Route:
    joined = views.joined(endpoint)
    assert joined is not None, "a gateway is in the sandbox"
    endpoint_record = views.endpoint(endpoint)
    network = views.network(joined.event.network)
    assert endpoint_record is not None, "a joined endpoint is there"
    assert network is not None, "an endpoint's network is there"
    sandbox, interface = joined.event.sandbox, joined.event.interface
    if traits_of(network.event).leads_out_by_link:
        return Route(sandbox, interface, destination, b"")
    mine = {held.pool for held in endpoint_record.event.addresses}
    inside = (pool for pool in network.event.pools if pool.pool in mine)
    gateway = next(pool.gateway for pool in inside if pool.subnet.family == destination.family)
    return Route(sandbox, interface, destination, gateway)


def _lower_endpoint(views: Views, identity: str) -> list[KernelObject]:
    endpoint = views.endpoint(EndpointId(identity))
    joined = views.joined(EndpointId(identity))
    if endpoint is None or joined is None:
        return []
    network = views.network(endpoint.event.network)
    sandbox = views.sandbox(joined.event.sandbox)
    assert network is not None, "an endpoint's network is there"
    assert sandbox is not None, "a joined endpoint's sandbox is there"
    ports: list[PortBound | PortOpened] = [port.event for port in views.opened_of(endpoint.event.endpoint)]
    ports += [
        port.event
        for port in views.ports_of(endpoint.event.endpoint)
        if views.is_published(endpoint.event.endpoint, family_of(port.event.host_address))
    ]
    driver, kind = driver_of(network.event.driver), sandbox.event.kind
    return [
        *driver.lower_endpoint(network.event, endpoint.event, joined.event, kind, ports),
        *furnish(network.event, endpoint.event, joined.event, kind),
    ]


_LOWERINGS: dict[str, Callable[[Views, str], list[KernelObject]]] = {
    "host": _lower_host,
    "network": _lower_network,
    "sandbox": _lower_sandbox,
    "endpoint": _lower_endpoint,
}

_POSITIONS: dict[str, Callable[[Views, str], Position]] = {
    "host": lambda views, host: min(
        (network.position for network in views.networks.networks.values() if network.event.host == host),
        default=NOWHERE,
    ),
    "network": lambda views, identity: views.networks.networks[NetworkId(identity)].position,
    "sandbox": lambda views, identity: views.sandboxes.sandboxes[SandboxId(identity)].position,
    "endpoint": lambda views, identity: views.endpoints.joined[EndpointId(identity)].position,
}
