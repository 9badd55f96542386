"""The log as an outsider reads it: the file's own description of its events, a hash chain and a fold.

Keeps: shares no code with the engine: `sqlite3`, `msgpack`, `hashlib`, and the format as it is written down.
What is held twice at any position, what refers to nothing, and what went missing since the last look is a problem.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack

Fields = dict[str, Any]

_EVENTS = """
SELECT position, name, version, fields, tags, data, chain FROM events JOIN types ON types.id = type_id
WHERE position > ? ORDER BY position
"""


class Log:
    """What the log says, folded as far as it was read; `problems` are what no log of ours may say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = ""
        self.position = 0
        self.problems: list[str] = []
        self.pools: dict[str, Fields] = {}
        self.held_addresses: dict[tuple[str, bytes], tuple[str, str]] = {}
        self.networks: dict[str, Fields] = {}
        self.endpoints: dict[str, Fields] = {}
        self.aliases: set[tuple[str, str]] = set()
        self.sandboxes: dict[str, Fields] = {}
        self.joins: dict[str, Fields] = {}
        self.devices: set[str] = set()
        self.ports: dict[tuple[int, bytes, int], Fields] = {}
        self.published: set[tuple[str, int]] = set()
        self.gateways: dict[tuple[str, int], str] = {}
        self.firewall = ""
        self.retiring: list[str] = []
        """The firewalls before it whose rules may still be there."""
        self._chain = b""
        self._folds: dict[str, Callable[[Fields], None]] = {
            "PoolAllocated": self._pool_allocated,
            "PoolReleased": lambda event: self._take(self.pools, event["pool"]),
            "AddressAllocated": self._address_allocated,
            "AddressReleased": self._address_released,
            "NetworkCreated": self._network_created,
            "NetworkDeleted": self._network_deleted,
            "EndpointCreated": self._endpoint_created,
            "EndpointDeleted": self._endpoint_deleted,
            "AliasAdded": lambda event: self.aliases.add((event["endpoint"], event["alias"])),
            "AliasRemoved": lambda event: self.aliases.remove((event["endpoint"], event["alias"])),
            "SandboxCreated": self._sandbox_created,
            "SandboxDeleted": self._sandbox_deleted,
            "EndpointJoined": self._joined,
            "EndpointLeft": self._left,
            "EndpointAbandoned": self._left,
            "PortBound": self._port_bound,
            "PortReleased": self._port_released,
            "PortsProgrammed": lambda event: self.published.add((event["endpoint"], event["family"])),
            "PortsRevoked": lambda event: self.published.remove((event["endpoint"], event["family"])),
            "GatewayElected": self._gateway_elected,
            "HostRegistered": lambda event: None,
            "FirewallChosen": self._firewall_chosen,
            "FirewallRetired": lambda event: self.retiring.remove(event["backend"]),
        }

    @property
    def instance(self) -> str:
        """What marks in the kernel all that is this log's."""
        return self.id[:8]

    def read(self) -> None:
        """Fold what has come since the last time, following the chain from there."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            (identity,) = connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
            if not self.id:
                self.id = identity
                self._chain = hashlib.sha256(b"netledger 1 " + identity.encode()).digest()
            elif identity != self.id:
                self.problems.append(f"the ledger's id was {self.id} and is {identity}")
            if self.position:
                last = connection.execute("SELECT chain FROM events WHERE position = ?", (self.position,)).fetchone()
                if last != (self._chain,):
                    self.problems.append(
                        f"position {self.position} was in the log and is {'altered' if last else 'lost'}"
                    )
            rows = connection.execute(_EVENTS, (self.position,)).fetchall()
        for position, name, version, names, tags, data, chain in rows:
            fields = json.loads(names)
            kind = msgpack.packb([name, version, fields])
            self._chain = hashlib.sha256(self._chain + msgpack.packb([position, kind, tags, data])).digest()
            if position != self.position + 1 or chain != self._chain:
                self.problems.append(f"position {position} does not fit behind {self.position}")
                self._chain = chain
            self.position = position
            self._fold(position, name, dict(zip(fields, msgpack.unpackb(data), strict=True)))

    def _fold(self, position: int, name: str, event: Fields) -> None:
        before = len(self.problems)
        try:
            self._folds[name](event)
        except KeyError as missing:
            self.problems.append(f"nothing is known of {missing} (a fault, or what it speaks of is not there)")
        self.problems[before:] = [
            f"position {position}: {problem}; {name} {event}" for problem in self.problems[before:]
        ]

    def _firewall_chosen(self, event: Fields) -> None:
        backend = event["backend"]
        if self.firewall not in {"", backend}:
            self.retiring.append(self.firewall)
        if backend in self.retiring:
            self.retiring.remove(backend)
        self.firewall = backend

    def _put(self, holders: dict[Any, Any], key: Any, holder: Any) -> None:
        if key in holders:
            self.problems.append(f"{key} is held twice")
        holders[key] = holder

    def _take(self, holders: dict[Any, Any], key: Any) -> Any:
        return holders.pop(key)

    # --- addresses

    def _pool_allocated(self, event: Fields) -> None:
        subnet = network_of(event["subnet"])
        for other in self.pools.values():
            known = network_of(other["subnet"])
            if known.version == subnet.version and known.overlaps(subnet):
                self.problems.append(f"{subnet} overlaps {known}")
        self._put(self.pools, event["pool"], event)

    def _address_allocated(self, event: Fields) -> None:
        if ipaddress.ip_address(event["address"]) not in network_of(self.pools[event["pool"]]["subnet"]):
            self.problems.append("the address is not in its pool")
        self._put(self.held_addresses, (event["pool"], event["address"]), tuple(event["owner"]))

    def _address_released(self, event: Fields) -> None:
        owner = self._take(self.held_addresses, (event["pool"], event["address"]))
        if owner != tuple(event["owner"]):
            self.problems.append(f"it was held by {owner}")

    # --- networks

    def _network_created(self, event: Fields) -> None:
        if any(known["name"] == event["name"] for known in self.networks.values()):
            self.problems.append("its name is held twice")
        self._take_device(event["device"])
        self._put(self.networks, event["network"], event)

    def _network_deleted(self, event: Fields) -> None:
        network = self._take(self.networks, event["network"])
        self.devices.remove(network["device"])
        left = [known for known in self.endpoints.values() if known["network"] == event["network"]]
        left += [pool for pool in self.pools.values() if pool["network"] == event["network"]]
        if left:
            self.problems.append(f"it leaves behind {left}")

    # --- endpoints

    def _endpoint_created(self, event: Fields) -> None:
        for known in self.endpoints.values():
            if known["network"] == event["network"] and (
                known["name"] == event["name"] or known["mac"] == event["mac"]
            ):
                self.problems.append("its name or MAC address is held twice")
        for pool, address, _ in event["addresses"]:
            if self.held_addresses[pool, address] != ("endpoint", event["endpoint"]):
                self.problems.append("its address is another's")
        assert self.networks[event["network"]]
        self._put(self.endpoints, event["endpoint"], event)

    def _endpoint_deleted(self, event: Fields) -> None:
        endpoint = event["endpoint"]
        self._take(self.endpoints, endpoint)
        self.aliases = {alias for alias in self.aliases if alias[0] != endpoint}
        left: list[Any] = [key for key, port in self.ports.items() if port["endpoint"] == endpoint]
        left += [key for key, owner in self.held_addresses.items() if owner == ("endpoint", endpoint)]
        if left or endpoint in self.joins:
            self.problems.append(f"it leaves behind {left or 'its join'}")

    def _joined(self, event: Fields) -> None:
        assert self.endpoints[event["endpoint"]]
        assert self.sandboxes[event["sandbox"]]
        for known in self.joins.values():
            if (known["sandbox"], known["interface"]) == (event["sandbox"], event["interface"]):
                self.problems.append("its interface is held twice")
        self._take_device(event["device"])
        self._put(self.joins, event["endpoint"], event)

    def _left(self, event: Fields) -> None:
        endpoint = event["endpoint"]
        join = self._take(self.joins, endpoint)
        self.devices.remove(join["device"])
        self.published -= {(endpoint, 4), (endpoint, 6)}
        self.gateways = {key: gateway for key, gateway in self.gateways.items() if gateway != endpoint}

    def _take_device(self, device: str) -> None:
        if device in self.devices:
            self.problems.append("its device is held twice")
        self.devices.add(device)

    # --- sandboxes

    def _sandbox_created(self, event: Fields) -> None:
        if any(event["container"] == known["container"] for known in self.sandboxes.values()):
            self.problems.append("its container is held twice")
        self._put(self.sandboxes, event["sandbox"], event)

    def _sandbox_deleted(self, event: Fields) -> None:
        self._take(self.sandboxes, event["sandbox"])
        if any(join["sandbox"] == event["sandbox"] for join in self.joins.values()):
            self.problems.append("it leaves joins behind")

    def _gateway_elected(self, event: Fields) -> None:
        if self.joins[event["endpoint"]]["sandbox"] != event["sandbox"]:
            self.problems.append("the gateway is not in the sandbox")
        self.gateways[event["sandbox"], event["family"]] = event["endpoint"]

    # --- ports

    def _port_bound(self, event: Fields) -> None:
        wanted = event["host_address"]
        for protocol, address, port in self.ports:
            if (protocol, port, len(address)) == (event["protocol"], event["host_port"], len(wanted)) and (
                address == wanted or not any(address) or not any(wanted)
            ):
                self.problems.append("the port is held twice")
        assert self.endpoints[event["endpoint"]]
        self._put(self.ports, (event["protocol"], wanted, event["host_port"]), event)

    def _port_released(self, event: Fields) -> None:
        port = self._take(self.ports, (event["protocol"], event["host_address"], event["host_port"]))
        if port["endpoint"] != event["endpoint"]:
            self.problems.append(f"it was held by {port['endpoint']}")


def network_of(subnet: list[Any]) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a subnet as events hold it: packed address, prefix length."""
    address, prefix = subnet
    return ipaddress.ip_network((address, prefix))
