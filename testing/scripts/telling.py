"""Events, objects and messages as a script's outcome says them: by name, without times and ids.

Keeps: the same script is told in the same words, whatever the log's own id. Knows nothing of: who reads it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ...domain.drivers import driver_of
from ...domain.drivers.attachment import container_end
from ...domain.errors import DataplaneFault, Refusal
from ...domain.events import (
    AddressAllocated,
    AddressReleased,
    AddressReservationEnded,
    AddressReservationMade,
    AliasAdded,
    AliasRemoved,
    ConfigurationChanged,
    ConfigurationNetworkCreated,
    ConfigurationNetworkDeleted,
    DataplaneFaulted,
    DriftDetected,
    DriftRepaired,
    EndpointAbandoned,
    EndpointCreated,
    EndpointDeleted,
    EndpointJoined,
    EndpointLeft,
    Event,
    FirewallChosen,
    FirewallRetired,
    GatewayElected,
    HostBooted,
    HostRebuilt,
    NetworkCreated,
    NetworkDeleted,
    NetworkPool,
    OptionValue,
    Origin,
    PoolAllocated,
    PoolClaimed,
    PoolDisclaimed,
    PoolReleased,
    PortBound,
    PortClosed,
    PortOpened,
    PortReleased,
    PortsProgrammed,
    PortsRevoked,
    ReturnEnded,
    ReturnOwed,
    SandboxCreated,
    SandboxDeleted,
    SandboxKeySet,
    SandboxLost,
    SandboxRenamed,
)
from ...domain.firewalls import why
from ...domain.resolution import Resolution
from ...domain.values import (
    PROTOCOL_NAMES,
    AllocationPolicy,
    SandboxKind,
    format_address,
    format_host,
    format_mac,
    mac_for,
)

ID_SHOWN = 12

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class Names:
    """What everything that ever was is called: ids, their beginnings, interfaces of the host."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._places: dict[str, str] = {}
        """What is written in the place of directories, and of the host in the ids of pools."""

    def learn(self, event: Event) -> None:
        """Take the names out of an event."""
        match event:
            case NetworkCreated():
                self._call(event.network, event.name)
                if event.device.endswith(f"-{event.network[:ID_SHOWN]}"):  # else its name is what somebody called it
                    self._names[event.device] = event.name
            case ConfigurationNetworkCreated():
                self._call(event.network, event.name)
            case PoolAllocated():
                self._places[f"{event.scope}/{event.space}/"] = f"{event.space}/"
            case EndpointCreated():
                self._call(event.endpoint, f"{self.of(event.network)}/{event.name}")
            case SandboxCreated():
                self._call(event.sandbox, event.container)
                if event.kind is SandboxKind.MANAGED:
                    self._places[event.path.removesuffix(event.sandbox)] = "NAMESPACES/"
            case EndpointJoined():
                if event.device:  # a network without interfaces has none
                    self._names[event.device] = self.of(event.endpoint)
                    self._names[container_end(event.device)] = self.of(event.endpoint)
            case SandboxRenamed():
                self._call(event.sandbox, event.container)
            case _:
                pass

    def of(self, identity: str) -> str:
        """Name what has an id."""
        return self._names.get(identity, identity[:ID_SHOWN])

    def told(self, text: str) -> str:
        """Put names in the place of ids."""
        for place, written in self._places.items():
            text = text.replace(place, written)
        return _TOKEN.sub(lambda found: self._names.get(found[0], found[0]), text)

    def suppose(self, identity: str, name: str) -> None:
        """Call by a name what may never come to be, unless it has one."""
        if identity not in self._names:
            self._call(identity, name)

    def _call(self, identity: str, name: str) -> None:
        self._names[identity] = self._names[identity[:ID_SHOWN]] = name


def tell_event(names: Names, event: Event) -> list[str]:
    """Write an event: its type, and the fields that matter; further lines, if any, are indented."""
    kind = type(event)
    if isinstance(event, DriftDetected):
        return [kind.__name__, *tell_lines(names, event.differences)]
    if isinstance(event, DriftRepaired):
        return [kind.__name__, *tell_lines(names, event.repairs)]
    said = _SENTENCES.get(kind, _every_field)(names, event)
    reason = f"  # {event.reason}" if event.reason else ""
    return [names.told(f"{kind.__name__} {said}".rstrip() + reason)]


def tell_lines(names: Names, lines: Iterable[str]) -> list[str]:
    """Write the lines of a plan below what they belong to."""
    return [f"  {names.told(line)}" for line in lines]


def tell_error(names: Names, error: BaseException) -> list[str]:
    """Write what stopped a command: a refusal by its kind, else a fault."""
    if isinstance(error, BaseExceptionGroup):
        return [line for inner in error.exceptions for line in tell_error(names, inner)]
    if isinstance(error, Refusal):
        words = f"refused: {error.kind}: {error}"
    elif isinstance(error, DataplaneFault):
        words = f"fault: {error}"
    else:
        words = f"error: {type(error).__name__}: {error}"
    return [" ".join(names.told(words).split())]


def tell_port(protocol: int, host_address: bytes, host_port: int) -> str:
    """Write a port of the host."""
    return f"{format_host(host_address)}:{host_port}/{PROTOCOL_NAMES[protocol]}"


def _forced(event: NetworkDeleted | EndpointDeleted | SandboxDeleted) -> str:
    return " by force" if event.forced else ""


def tell_pool(pool: NetworkPool) -> str:
    """Write a pool of a network, and its gateway where it has one there."""
    return f"{pool.subnet} via {format_address(pool.gateway)}" if pool.gateway else str(pool.subnet)


def _option(value: OptionValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _network(names: Names, event: NetworkCreated) -> str:
    driver = [event.driver] if event.driver != "bridge" else []
    pools = [", ".join(map(tell_pool, event.pools))] if event.pools else []
    default = driver_of(event.driver).options({}, event.name)
    others = {key: value for key, value in event.options.items() if value != default.get(key)}
    words = [names.of(event.network), *driver, *pools, *(["internal"] if event.internal else [])]
    words += ["adopts its bridge"] if event.is_adopted else []
    words += ["makes its parent"] if event.makes_parent else []
    words += _told_options(others)
    words += [f"from {names.of(event.config_from)}"] if event.config_from else []
    return " ".join(words)


def _block(block: str, gateway: bytes) -> str:
    return f"{block} via {format_address(gateway)}" if gateway else block


def _configuration(names: Names, event: ConfigurationNetworkCreated) -> str:
    pools = [
        _block(str(pool.subnet) if pool.subnet is not None else f"any IPv{pool.family} block", pool.gateway)
        for pool in event.pools
    ]
    return " ".join([names.of(event.network), ", ".join(pools), *_told_options(event.options)])


def _told_options(options: Mapping[str, OptionValue]) -> list[str]:
    return [f"{key}={_option(value)}" for key, value in options.items()]


def _endpoint(names: Names, event: EndpointCreated) -> str:
    addresses = ", ".join(f"{format_address(held.address)}/{held.prefix}" for held in event.addresses)
    words = [names.of(event.endpoint), *([addresses] if addresses else [])]
    words += [f"mac {format_mac(event.mac)}"] if event.mac not in (b"", mac_for(event.endpoint)) else []
    words += [f"link-local {format_address(address)}" for address in event.link_local]
    words += [f"{key}={_option(value)}" for key, value in event.options.items()]
    return " ".join(words)


def _joined(names: Names, event: EndpointJoined) -> str:
    priority = f" with priority {event.priority}" if event.priority else ""
    interface = f" as {event.interface}" if event.interface else ""
    routes = "".join(f", route {route}" for route in event.routes)
    return f"{names.of(event.endpoint)} in {names.of(event.sandbox)}{interface}{priority}{routes}"


def _pool(names: Names, event: PoolAllocated) -> str:
    policy = f", {event.policy} address first" if event.policy is not AllocationPolicy.NEXT else ""
    whose = names.of(event.network) if event.network else f"nobody, asked for as {names.of(event.lease)}"
    return f"{event.subnet} for {whose}{', chosen' if event.predefined else ''}{policy}"


def _claim(names: Names, event: PoolClaimed | PoolDisclaimed) -> str:
    block = event.pool.partition(f"{event.space}/")[2]
    return f"{block} by {names.of(event.network)}, asked for as {names.of(event.lease)}"


def _address(names: Names, event: AddressAllocated) -> str:
    what = f" as {event.purpose}" if event.purpose != "endpoint" else ""
    asked = ", as asked" if event.decided_by == "caller" else ""
    return f"{format_address(event.address)} for {names.of(event.owner[1])}{what}{asked}"


def _port(names: Names, event: PortBound) -> str:
    outer = tell_port(event.protocol, event.host_address, event.host_port)
    chosen = ", chosen" if event.decided_by == "netledger" else ""
    if event.chosen_from:
        chosen += " from {}-{}".format(*event.chosen_from)
    return f"{outer} -> {format_host(event.address)}:{event.port} of {names.of(event.endpoint)}{chosen}"


def _opened(names: Names, event: PortOpened | PortClosed) -> str:
    return f"{tell_port(event.protocol, event.address, event.port)} of {names.of(event.endpoint)}"


def _key(names: Names, event: SandboxKeySet) -> str:
    inside = "".join(f", {names.of(endpoint)} is in it" for endpoint in event.endpoints)
    return f"{names.of(event.sandbox)} at {event.path}{inside}"


def _sandbox(names: Names, event: SandboxCreated) -> str:
    where = f" {event.kind} {event.path}" if event.kind is not SandboxKind.MANAGED else ""
    return f"{names.of(event.sandbox)}{where}".rstrip() + (_files(event.resolution) if event.resolution else "")


def _files(resolution: Resolution) -> str:
    """Write what was asked of a sandbox's files; where they are, and what the host has, is another on each machine."""
    wanted = resolution.wanted
    words = [f"{name}:{format_address(address)}" for name, address in resolution.hosts]
    for title, values in (("dns", wanted.servers), ("search", wanted.search), ("option", wanted.options)):
        words += [f"{title} {value}" for value in values]
    return ", with files" + "".join(f", {word}" for word in words)


def _left(names: Names, event: EndpointLeft) -> str:
    cause = f": {event.cause}" if event.cause else ""
    return f"{names.of(event.endpoint)} from {names.of(event.sandbox)}{cause}{_no_way_out(event)}"


def _abandoned(names: Names, event: EndpointAbandoned) -> str:
    evidence = f" ({event.evidence})" if event.evidence else ""
    return f"{names.of(event.endpoint)} from {names.of(event.sandbox)}: {event.cause}{evidence}{_no_way_out(event)}"


def _no_way_out(event: EndpointLeft | EndpointAbandoned) -> str:
    return f", which leaves it no way out: {event.no_way_out}" if event.no_way_out else ""


def _published(names: Names, event: PortsProgrammed | PortsRevoked) -> str:
    return f"{names.of(event.endpoint)} in IPv{event.family}"


def _fault(_: Names, event: DataplaneFaulted) -> str:
    number = f" ({errno.errorcode.get(event.number, event.number)})" if event.number else ""
    return f"{event.verb} {event.key}: {event.message}{number}"


def _configured(_: Names, event: ConfigurationChanged) -> str:
    pools = ", ".join(map(str, event.default_pools)) or "libnetwork's pools"
    return f"{pools}, leases kept for {event.retention_seconds} s"


def _returned(event: ReturnOwed | ReturnEnded) -> str:
    address = f"{format_address(event.address)} of " if event.address else ""
    return f"{address}{event.driver_pool} to {event.ipam_driver}"


def _every_field(_: Names, event: Event) -> str:
    """Write an event of a kind that has no sentence of its own."""
    fields = msgspec.structs.asdict(event)
    return " ".join(f"{name}={value}" for name, value in fields.items() if name not in Origin._fields)


_SENTENCES: Mapping[type[Event], Callable[[Names, Any], str]] = {
    HostBooted: lambda _, event: f"{event.boot} after {event.before}",
    PoolAllocated: _pool,
    PoolReleased: lambda names, event: f"{event.subnet} of {names.of(event.network) if event.network else 'nobody'}",
    AddressAllocated: _address,
    AddressReleased: lambda names, event: f"{format_address(event.address)} of {names.of(event.owner[1])}",
    AddressReservationMade: lambda _, event: f"{format_address(event.address)} for {event.name}",
    AddressReservationEnded: lambda _, event: f"{format_address(event.address)} for {event.name}: {event.why}",
    PoolClaimed: _claim,
    PoolDisclaimed: _claim,
    ConfigurationChanged: _configured,
    FirewallChosen: lambda _, event: f"{event.backend}, {why(event)}",
    FirewallRetired: lambda _, event: event.backend + (f", left there: {event.left}" if event.left else ""),
    ReturnOwed: lambda _, event: f"{_returned(event)}: {event.message}",
    ReturnEnded: lambda _, event: _returned(event) + (f": {event.refused}" if event.refused else ""),
    NetworkCreated: _network,
    NetworkDeleted: lambda names, event: names.of(event.network) + _forced(event),
    ConfigurationNetworkCreated: _configuration,
    ConfigurationNetworkDeleted: lambda names, event: names.of(event.network),
    EndpointCreated: _endpoint,
    EndpointDeleted: lambda names, event: names.of(event.endpoint) + _forced(event),
    EndpointJoined: _joined,
    EndpointLeft: _left,
    EndpointAbandoned: _abandoned,
    AliasAdded: lambda names, event: f"{event.alias} for {names.of(event.endpoint)}",
    AliasRemoved: lambda names, event: f"{event.alias} of {names.of(event.endpoint)}",
    PortBound: _port,
    PortReleased: lambda names, event: (
        f"{tell_port(event.protocol, event.host_address, event.host_port)} of {names.of(event.endpoint)}"
    ),
    PortOpened: _opened,
    PortClosed: _opened,
    PortsProgrammed: _published,
    PortsRevoked: _published,
    SandboxCreated: _sandbox,
    SandboxKeySet: _key,
    SandboxRenamed: lambda _, event: f"{event.before} to {event.container}",
    SandboxLost: lambda names, event: f"{names.of(event.sandbox)}: {event.evidence}",
    SandboxDeleted: lambda names, event: names.of(event.sandbox) + _forced(event),
    GatewayElected: lambda names, event: (
        f"{names.of(event.endpoint)} for {names.of(event.sandbox)} in IPv{event.family}: {event.why}"
    ),
    DataplaneFaulted: _fault,
    HostRebuilt: lambda _, event: f"{event.made} made, {event.replaced} replaced, {event.removed} removed",
}
