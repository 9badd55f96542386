"""What no log may ever say: a checker that reads events alone and shares no code with the views.

One method an event type. Each asserts what must hold before the event, and keeps as little as it needs for that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from netledger.domain import events as ev
from netledger.domain.events import Event, Recorded


def check_log(records: Iterable[Recorded[Event]]) -> Invariants:
    """Read a log from its first event; an AssertionError names the position of the first that is wrong."""
    checker = Invariants()
    for record in records:
        checker.read(record)
    checker.check_end()
    return checker


class Invariants:
    """What is held by whom, as the log says it."""

    def __init__(self) -> None:
        self.position = 0
        self.boots: dict[str, str] = {}
        self.names: dict[Any, str] = {}
        self.devices: dict[Any, str] = {}
        self.macs: dict[Any, str] = {}
        self.pools: dict[str, ev.PoolAllocated] = {}
        self.addresses: dict[Any, tuple[str, str]] = {}
        self.networks: dict[str, ev.NetworkCreated] = {}
        self.endpoints: dict[str, ev.EndpointCreated] = {}
        self.sandboxes: dict[str, ev.SandboxCreated] = {}
        self.joined: dict[str, ev.EndpointJoined] = {}
        self.gateways: dict[tuple[str, int], str] = {}
        self.published: set[tuple[str, int]] = set()
        self.ports: list[ev.PortBound] = []
        self.aliases: set[tuple[str, str]] = set()

    def read(self, record: Recorded[Event]) -> None:
        """Check one event and take it in."""
        assert record.position == self.position + 1, f"position {record.position} follows {self.position}"
        self.position = record.position
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(record.event).__name__).lower()
        check = getattr(self, f"_{name}", None)
        if check is not None:
            try:
                check(record.event)
            except (AssertionError, KeyError) as wrong:
                raise AssertionError(f"position {record.position}, {record.event}: {wrong!r}") from wrong

    def check_end(self) -> None:
        """Check what need not hold between the events of one decision."""
        for (sandbox, family), endpoint in self.gateways.items():
            ports = [port for port in self.ports if port.endpoint == endpoint and _family(port.host_address) == family]
            assert bool(ports) == ((endpoint, family) in self.published), (
                f"gateway of {sandbox}: its ports are published"
            )
        for endpoint, family in self.published:
            assert self.gateways[self.joined[endpoint].sandbox, family] == endpoint, "who publishes is the way out"
        for sandbox in self.sandboxes:
            for family in (4, 6):
                exits = [
                    join.endpoint
                    for join in self.joined.values()
                    if join.sandbox == sandbox and self._is_way_out(join.network, family)
                ]
                assert (self.gateways.get((sandbox, family)) in exits) == bool(exits), "whoever can get out, does"

    def _is_way_out(self, network: str, family: int) -> bool:
        created = self.networks[network]
        return not created.internal and family in {pool.subnet.family for pool in created.pools}

    def _take(self, table: dict[Any, str], key: object, owner: str) -> None:
        assert key not in table, f"{key} is held by {table.get(key)}"
        table[key] = owner

    def _host_registered(self, event: ev.HostRegistered) -> None:
        assert event.host not in self.boots, "a host is registered once"
        self.boots[event.host] = event.boot

    def _host_booted(self, event: ev.HostBooted) -> None:
        assert event.before == self.boots[event.host] != event.boot
        self.boots[event.host] = event.boot

    def _pool_allocated(self, event: ev.PoolAllocated) -> None:
        block = _block(event.subnet)
        for other in self.pools.values():
            if (other.scope, other.space) == (event.scope, event.space) and _block(
                other.subnet
            ).version == block.version:
                assert not _block(other.subnet).overlaps(block), f"overlaps {_block(other.subnet)}"
        self.pools[event.pool] = event

    def _pool_released(self, event: ev.PoolReleased) -> None:
        assert not [key for key in self.addresses if key[0] == event.pool], "an address of it is held"
        del self.pools[event.pool]

    def _address_allocated(self, event: ev.AddressAllocated) -> None:
        assert ipaddress.ip_address(event.address) in _block(self.pools[event.pool].subnet)
        self._take(self.addresses, (event.pool, event.address), event.owner)

    def _address_released(self, event: ev.AddressReleased) -> None:
        assert self.addresses.pop((event.pool, event.address)) == event.owner

    def _network_created(self, event: ev.NetworkCreated) -> None:
        assert event.network not in self.networks
        for pool in event.pools:
            assert self.addresses[pool.pool, pool.gateway] == ("network", event.network)
        self._take(self.names, ("network", event.scope, event.name), event.network)
        self._take(self.devices, (event.host, event.device), event.network)
        self.networks[event.network] = event

    def _network_deleted(self, event: ev.NetworkDeleted) -> None:
        created = self.networks.pop(event.network)
        assert not [e for e in self.endpoints.values() if e.network == event.network], "it has endpoints"
        assert not [p for p in self.pools.values() if p.network == event.network], "it has pools"
        assert (created.name, created.device) == (event.name, event.device)
        del self.names["network", event.scope, event.name]
        del self.devices[event.host, event.device]

    def _endpoint_created(self, event: ev.EndpointCreated) -> None:
        assert event.endpoint not in self.endpoints
        assert event.network in self.networks, "its network is not there"
        families = [pool.subnet.family for pool in self.networks[event.network].pools]
        assert sorted(_family(held.address) for held in event.addresses) == sorted(families)
        for held in event.addresses:
            assert self.addresses[held.pool, held.address] == ("endpoint", event.endpoint)
        self._take(self.names, ("endpoint", event.network, event.name), event.endpoint)
        self._take(self.macs, (event.network, event.mac), event.endpoint)
        self.endpoints[event.endpoint] = event
        mine = [e for e in self.endpoints.values() if e.network == event.network]
        assert len(mine) <= 1023, "a bridge has 1,023 ports"

    def _endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        del self.endpoints[event.endpoint]
        assert event.endpoint not in self.joined, "it is in a sandbox"
        assert not [port for port in self.ports if port.endpoint == event.endpoint], "it holds ports"
        assert ("endpoint", event.endpoint) not in self.addresses.values(), "it holds addresses"
        del self.names["endpoint", event.network, event.name]
        del self.macs[event.network, event.mac]
        self.aliases = {alias for alias in self.aliases if alias[0] != event.endpoint}

    def _endpoint_joined(self, event: ev.EndpointJoined) -> None:
        assert event.endpoint not in self.joined, "it is in a sandbox already"
        assert self.endpoints[event.endpoint].network == event.network
        assert event.sandbox in self.sandboxes, "the sandbox is not there"
        others = {join.interface for join in self.joined.values() if join.sandbox == event.sandbox}
        assert event.interface not in others, "the interface is taken"
        self._take(self.devices, (event.host, event.device), event.endpoint)
        self.joined[event.endpoint] = event

    def _endpoint_left(self, event: ev.EndpointLeft | ev.EndpointAbandoned) -> None:
        joined = self.joined.pop(event.endpoint)
        assert (joined.sandbox, joined.device) == (event.sandbox, event.device)
        del self.devices[event.host, event.device]
        self.gateways = {key: holder for key, holder in self.gateways.items() if holder != event.endpoint}
        self.published = {key for key in self.published if key[0] != event.endpoint}

    _endpoint_abandoned = _endpoint_left

    def _alias_added(self, event: ev.AliasAdded) -> None:
        assert event.endpoint in self.endpoints, "the endpoint is not there"
        assert (event.endpoint, event.alias) not in self.aliases
        self.aliases.add((event.endpoint, event.alias))

    def _alias_removed(self, event: ev.AliasRemoved) -> None:
        self.aliases.remove((event.endpoint, event.alias))

    def _port_bound(self, event: ev.PortBound) -> None:
        assert event.endpoint in self.endpoints
        for port in self.ports:
            same = (port.host, port.protocol, port.host_port) == (event.host, event.protocol, event.host_port)
            if same and len(port.host_address) == len(event.host_address):
                apart = any(port.host_address) and any(event.host_address)
                assert apart, f"held by {port.endpoint}"
                assert port.host_address != event.host_address, f"held by {port.endpoint}"
        self.ports.append(event)

    def _port_released(self, event: ev.PortReleased) -> None:
        identity = (event.endpoint, event.protocol, event.host_address, event.host_port)
        mine = [p for p in self.ports if (p.endpoint, p.protocol, p.host_address, p.host_port) == identity]
        assert len(mine) == 1
        self.ports.remove(mine[0])

    def _ports_programmed(self, event: ev.PortsProgrammed) -> None:
        assert self.gateways[event.sandbox, event.family] == event.endpoint
        assert (event.endpoint, event.family) not in self.published
        self.published.add((event.endpoint, event.family))

    def _ports_revoked(self, event: ev.PortsRevoked) -> None:
        self.published.remove((event.endpoint, event.family))

    def _sandbox_created(self, event: ev.SandboxCreated) -> None:
        assert event.sandbox not in self.sandboxes
        self._take(self.names, ("container", event.host, event.container), event.sandbox)
        if event.identity is not None:
            assert event.identity not in [other.identity for other in self.sandboxes.values()], "the namespace is taken"
        self.sandboxes[event.sandbox] = event

    def _sandbox_deleted(self, event: ev.SandboxDeleted | ev.SandboxLost) -> None:
        assert not [join for join in self.joined.values() if join.sandbox == event.sandbox], "endpoints are in it"
        del self.sandboxes[event.sandbox]
        del self.names["container", event.host, event.container]

    _sandbox_lost = _sandbox_deleted

    def _gateway_elected(self, event: ev.GatewayElected) -> None:
        joined = self.joined[event.endpoint]
        assert joined.sandbox == event.sandbox, "the gateway is in the sandbox"
        assert self._is_way_out(joined.network, event.family)
        self.gateways[event.sandbox, event.family] = event.endpoint


def _family(address: bytes) -> int:
    return 4 if len(address) == 4 else 6


def _block(subnet: Any) -> Any:
    return ipaddress.ip_network((subnet.address, subnet.prefix))
