"""Nothing is without an owner, what is removed leaves nothing, and whoever can get out of its sandbox does."""

from __future__ import annotations

from ...domain import events as ev
from ...domain.events import Event, Recorded
from ...domain.facts import NamespaceIdentity
from .checker import Checker, require


class Positions(Checker):
    """Positions of the log."""

    name = "positions"
    invariant = "Positions count from 1 without a gap."

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def note(self, record: Recorded[Event]) -> None:
        require(record.position == self._last + 1, f"it follows position {self._last}")
        self._last = record.position


class Hosts(Checker):
    """Hosts and their boots."""

    name = "hosts"
    invariant = "A host is registered once, before anything happens on it, and each boot names the one before."

    def __init__(self) -> None:
        super().__init__()
        self._boots: dict[str, str] = {}

    def note(self, record: Recorded[Event]) -> None:
        if not isinstance(record.event, ev.HostRegistered):
            require(record.event.host in self._boots, f"host {record.event.host[:12]} is not registered")

    def host_registered(self, event: ev.HostRegistered) -> None:
        require(event.host not in self._boots, "it is registered already")
        self._boots[event.host] = event.boot

    def host_booted(self, event: ev.HostBooted) -> None:
        require(event.before == self._boots[event.host], f"the boot before was {self._boots[event.host]}")
        require(event.boot != event.before, "it is the same boot")
        self._boots[event.host] = event.boot


class Owners(Checker):
    """References."""

    name = "owners"
    invariant = "What an event names is there: the network of an endpoint, its addresses, the sandbox that it joins."

    def __init__(self) -> None:
        super().__init__()
        self._networks: dict[str, ev.NetworkCreated] = {}
        self._endpoints: dict[str, ev.EndpointCreated] = {}
        self._sandboxes: dict[str, NamespaceIdentity | None] = {}
        self._joined: dict[str, ev.EndpointJoined] = {}
        self._addresses: dict[tuple[str, bytes], tuple[str, str]] = {}

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        self._addresses[event.pool, event.address] = event.owner

    def address_released(self, event: ev.AddressReleased) -> None:
        self._addresses.pop((event.pool, event.address), None)

    def network_created(self, event: ev.NetworkCreated) -> None:
        require(event.network not in self._networks, "it is there already")
        for pool in event.pools:
            holder = self._addresses.get((pool.pool, pool.gateway))
            require(not pool.gateway or holder == ("network", event.network), "it does not hold its gateway")
        self._networks[event.network] = event

    def network_deleted(self, event: ev.NetworkDeleted) -> None:
        created = self._networks.pop(event.network, None)
        require(created, "it is not there")
        assert created is not None, "required above"
        require((created.name, created.device) == (event.name, event.device), "it has another name or bridge")

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        require(event.endpoint not in self._endpoints, "it is there already")
        network = self._networks.get(event.network)
        require(network, "its network is not there")
        assert network is not None, "required above"
        families = {pool.subnet.family for pool in network.pools} - ({6} if _is_without_ipv6(event) else set())
        require(sorted(_family(held.address) for held in event.addresses) == sorted(families), "it lacks a family")
        for held in event.addresses:
            holder = self._addresses.get((held.pool, held.address))
            require(holder == ("endpoint", event.endpoint), "it does not hold its address")
        self._endpoints[event.endpoint] = event

    def endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        require(self._endpoints.pop(event.endpoint, None), "it is not there")

    def sandbox_created(self, event: ev.SandboxCreated) -> None:
        require(event.sandbox not in self._sandboxes, "it is there already")
        is_taken = event.identity is not None and event.identity in self._sandboxes.values()
        require(not is_taken, "another sandbox is in that namespace")
        self._sandboxes[event.sandbox] = event.identity

    def sandbox_deleted(self, event: ev.SandboxDeleted | ev.SandboxLost) -> None:
        require(event.sandbox in self._sandboxes, "it is not there")
        del self._sandboxes[event.sandbox]

    sandbox_lost = sandbox_deleted

    def sandbox_key_set(self, event: ev.SandboxKeySet) -> None:
        require(event.sandbox in self._sandboxes, "it is not there")
        require(self._sandboxes[event.sandbox] is None, "its namespace is known")
        require(event.identity not in self._sandboxes.values(), "another sandbox is in that namespace")
        inside = {joined.endpoint for joined in self._joined.values() if joined.sandbox == event.sandbox}
        require(set(event.endpoints) == inside, "other endpoints are in it")
        self._sandboxes[event.sandbox] = event.identity

    def endpoint_joined(self, event: ev.EndpointJoined) -> None:
        endpoint = self._endpoints.get(event.endpoint)
        require(endpoint, "the endpoint is not there")
        assert endpoint is not None, "required above"
        require(endpoint.network == event.network, "it is of another network")
        require(event.sandbox in self._sandboxes, "the sandbox is not there")
        require(event.endpoint not in self._joined, "it is in a sandbox already")
        self._joined[event.endpoint] = event

    def endpoint_left(self, event: ev.EndpointLeft | ev.EndpointAbandoned) -> None:
        joined = self._joined.pop(event.endpoint, None)
        require(joined, "it is in no sandbox")
        assert joined is not None, "required above"
        require((joined.sandbox, joined.device) == (event.sandbox, event.device), "it was in another sandbox")

    endpoint_abandoned = endpoint_left

    def alias_added(self, event: ev.AliasAdded) -> None:
        require(event.endpoint in self._endpoints, "the endpoint is not there")

    def port_bound(self, event: ev.PortBound) -> None:
        require(("endpoint", event.endpoint) in self._addresses.values(), "the endpoint is not there")

    def port_opened(self, event: ev.PortOpened) -> None:
        held = {address for (_, address), owner in self._addresses.items() if owner == ("endpoint", event.endpoint)}
        require(event.address in held, "the address is not the endpoint's")


class Leftovers(Checker):
    """What must be gone before its owner."""

    name = "leftovers"
    invariant = "A removed thing leaves nothing: no endpoints, pools, addresses, ports or interfaces."

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[tuple[str, str], list[tuple[str, object]]] = {}

    def _add(self, owner: tuple[str, str], thing: tuple[str, object]) -> None:
        self._of.setdefault(owner, []).append(thing)

    def _drop(self, owner: tuple[str, str], thing: tuple[str, object]) -> None:
        things = self._of.get(owner, [])
        if thing in things:
            things.remove(thing)

    def _check(self, kind: str, identity: str) -> None:
        left = self._of.pop((kind, identity), [])
        require(not left, f"it still has {', '.join(sorted({what for what, _ in left}))}")

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        self._add(("network", event.network), ("a pool", event.pool))

    def pool_released(self, event: ev.PoolReleased) -> None:
        for (kind, identity), _ in list(self._of.items()):
            if kind == "network":
                self._drop((kind, identity), ("a pool", event.pool))

    def pool_claimed(self, event: ev.PoolClaimed) -> None:
        self._add(("network", event.network), ("a pool", event.pool))

    def pool_disclaimed(self, event: ev.PoolDisclaimed) -> None:
        self._drop(("network", event.network), ("a pool", event.pool))

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        self._add(event.owner, ("an address", (event.pool, event.address)))

    def address_released(self, event: ev.AddressReleased) -> None:
        self._drop(event.owner, ("an address", (event.pool, event.address)))

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        self._add(("network", event.network), ("an endpoint", event.endpoint))

    def endpoint_joined(self, event: ev.EndpointJoined) -> None:
        self._add(("sandbox", event.sandbox), ("an endpoint", event.endpoint))
        self._add(("endpoint", event.endpoint), ("an interface", event.device))

    def endpoint_left(self, event: ev.EndpointLeft | ev.EndpointAbandoned) -> None:
        self._drop(("sandbox", event.sandbox), ("an endpoint", event.endpoint))
        self._drop(("endpoint", event.endpoint), ("an interface", event.device))

    endpoint_abandoned = endpoint_left

    def port_bound(self, event: ev.PortBound) -> None:
        self._add(("endpoint", event.endpoint), ("a port", (event.protocol, event.host_address, event.host_port)))

    def port_released(self, event: ev.PortReleased) -> None:
        self._drop(("endpoint", event.endpoint), ("a port", (event.protocol, event.host_address, event.host_port)))

    def port_opened(self, event: ev.PortOpened) -> None:
        self._add(("endpoint", event.endpoint), ("an open port", (event.protocol, event.address, event.port)))

    def port_closed(self, event: ev.PortClosed) -> None:
        self._drop(("endpoint", event.endpoint), ("an open port", (event.protocol, event.address, event.port)))

    def network_deleted(self, event: ev.NetworkDeleted) -> None:
        self._check("network", event.network)

    def endpoint_deleted(self, event: ev.EndpointDeleted) -> None:
        self._check("endpoint", event.endpoint)
        self._drop(("network", event.network), ("an endpoint", event.endpoint))

    def sandbox_deleted(self, event: ev.SandboxDeleted | ev.SandboxLost) -> None:
        self._check("sandbox", event.sandbox)

    sandbox_lost = sandbox_deleted


class Gateways(Checker):
    """The way out of a sandbox."""

    name = "gateways"
    invariant = (
        "Whatever sandbox can get out does, by one of its endpoints; that one's ports are published, and no others."
    )

    def __init__(self) -> None:
        super().__init__()
        self._networks: dict[str, ev.NetworkCreated] = {}
        self._joined: dict[str, ev.EndpointJoined] = {}
        self._gateways: dict[tuple[str, int], str] = {}
        self._published: set[tuple[str, int]] = set()
        self._ports: dict[tuple[str, int], int] = {}
        self._endpoints: dict[str, ev.EndpointCreated] = {}

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        self._endpoints[event.endpoint] = event

    def network_created(self, event: ev.NetworkCreated) -> None:
        self._networks[event.network] = event

    def endpoint_joined(self, event: ev.EndpointJoined) -> None:
        self._joined[event.endpoint] = event

    def endpoint_left(self, event: ev.EndpointLeft | ev.EndpointAbandoned) -> None:
        self._joined.pop(event.endpoint, None)
        self._gateways = {key: holder for key, holder in self._gateways.items() if holder != event.endpoint}
        self._published = {key for key in self._published if key[0] != event.endpoint}

    endpoint_abandoned = endpoint_left

    def gateway_elected(self, event: ev.GatewayElected) -> None:
        joined = self._joined.get(event.endpoint)
        require(joined is not None and joined.sandbox == event.sandbox, "it is not in the sandbox")
        assert joined is not None, "required above"
        require(self._leads_out(joined, event.family), "its network does not lead out")
        self._gateways[event.sandbox, event.family] = event.endpoint

    def port_bound(self, event: ev.PortBound) -> None:
        key = (event.endpoint, _family(event.host_address))
        self._ports[key] = self._ports.get(key, 0) + 1

    def port_released(self, event: ev.PortReleased) -> None:
        key = (event.endpoint, _family(event.host_address))
        self._ports[key] = self._ports.get(key, 0) - 1

    def ports_programmed(self, event: ev.PortsProgrammed) -> None:
        gateway = self._gateways.get((event.sandbox, event.family))
        require(gateway == event.endpoint, "it is not the way out")
        require((event.endpoint, event.family) not in self._published, "they are published already")
        self._published.add((event.endpoint, event.family))

    def ports_revoked(self, event: ev.PortsRevoked) -> None:
        require((event.endpoint, event.family) in self._published, "they are not published")
        self._published.remove((event.endpoint, event.family))

    def finish(self) -> None:
        ways: dict[tuple[str, int], set[str]] = {}
        for joined in self._joined.values():
            for family in (4, 6):
                if self._leads_out(joined, family):
                    ways.setdefault((joined.sandbox, family), set()).add(joined.endpoint)
        for (sandbox, family), ends in ways.items():
            require(self._gateways.get((sandbox, family)) in ends, f"sandbox {sandbox[:12]} has no IPv{family} way out")
        for (sandbox, family), endpoint in self._gateways.items():
            has_ports = self._ports.get((endpoint, family), 0) > 0
            is_published = (endpoint, family) in self._published
            require(has_ports == is_published, f"the ports of the way out of sandbox {sandbox[:12]} are not published")
        for endpoint, family in self._published:
            sandbox = self._joined[endpoint].sandbox
            is_way_out = self._gateways.get((sandbox, family)) == endpoint
            require(is_way_out, f"endpoint {endpoint[:12]} publishes and is no way out")

    def _leads_out(self, joined: ev.EndpointJoined, family: int) -> bool:
        """By a gateway in the subnet of its address; by itself where the mode is one of ipvlan's layer 3."""
        created = self._networks[joined.network]
        mine = {held.pool for held in self._endpoints[joined.endpoint].addresses if _family(held.address) == family}
        is_routed = created.driver == "ipvlan" and created.options["ipvlan_mode"] != "l2"
        ways = {pool.pool for pool in created.pools if pool.gateway or is_routed}
        return not created.internal and bool(mine & ways)


def _is_same(kept: ev.OptionValue | None, asked: ev.OptionValue) -> bool:
    """Whether an option is what was asked for, perhaps as text."""
    if isinstance(kept, bool):
        return kept == (str(asked) in {"1", "t", "T", "TRUE", "true", "True"})
    return kept == (int(asked) if isinstance(kept, int) else asked)


def _is_without_ipv6(event: ev.EndpointCreated) -> bool:
    return "disable_ipv6=1" in str(event.options.get("com.docker.network.endpoint.sysctls", ""))


def _family(address: bytes) -> int:
    return 4 if len(address) == 4 else 6


class ConfigurationNetworks(Checker):
    """Settings that networks are made with."""

    name = "configuration networks"
    invariant = (
        "A network that depends on a configuration network has its settings; that one is there as long as it, and has "
        "neither pools nor endpoints."
    )

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, ev.ConfigurationNetworkCreated] = {}
        self._networks: dict[str, ev.NetworkCreated] = {}

    def configuration_network_created(self, event: ev.ConfigurationNetworkCreated) -> None:
        require(event.network not in self._settings and event.network not in self._networks, "it is there already")
        self._settings[event.network] = event

    def configuration_network_deleted(self, event: ev.ConfigurationNetworkDeleted) -> None:
        require(self._settings.pop(event.network, None), "it is not there")
        left = [network.name for network in self._networks.values() if network.config_from == event.network]
        require(not left, f"{', '.join(left)} depends on it")

    def network_created(self, event: ev.NetworkCreated) -> None:
        require(event.network not in self._settings, "a configuration network has its id")
        self._networks[event.network] = event
        if not event.config_from:
            return
        settings = self._settings.get(event.config_from)
        require(settings, "its configuration network is not there")
        assert settings is not None, "required above"
        require(event.labels == settings.labels, "it has other labels")
        require(event.ipam_driver == settings.ipam_driver, "another IPAM driver gives its addresses")
        require(event.ipam_options == settings.ipam_options, "it has other IPAM options")
        for wanted, pool in zip(settings.pools, event.pools, strict=False):
            require(wanted.subnet in (None, pool.subnet), f"{wanted.subnet} is asked for")
            require(wanted.gateway in (b"", pool.gateway), "another gateway is asked for")
        for label, value in settings.options.items():
            is_replaced = event.internal and label == "parent"  # an internal network stands on an interface of its own
            require(is_replaced or _is_same(event.options.get(label), value), f"its option {label} is another")

    def network_deleted(self, event: ev.NetworkDeleted) -> None:
        self._networks.pop(event.network, None)

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        require(event.network not in self._settings, "a configuration network takes no pool")

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        require(event.network not in self._settings, "a configuration network has no endpoints")
