"""Record a golden log: every event type as this code writes it, and what the views make of it at each position.

Run it, and name the version, when an event gets a new version: `python tests/golden/make.py 2`. A golden log that was
released is never made again. `2-addresses` records what address management alone knows, `3-drivers` what other IPAM
drivers than ours do, `4-configurations` what configuration networks do, `5-firewalls` what a host's firewall does.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from netledger import Controller
from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import (
    AddAlias,
    ChooseFirewall,
    Configure,
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    EndReservation,
    LeaveEndpoint,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RemoveAlias,
    RenameSandbox,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    SetSandboxKey,
)
from netledger.domain.endpoint_options import INTERFACE, SYSCTLS
from netledger.domain.events import Event, Recorded, StaticRoute
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import Bridge, VethPair
from netledger.domain.values import (
    AllocationPolicy,
    PoolId,
    PredefinedPool,
    SandboxKind,
    parse_address,
    parse_subnet,
)
from netledger.projections.desired import lower_everything
from netledger.projections.views import Views
from netledger.replay import rebuild, repair
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join, pool
from tests.engine.remote.conftest import PluginProcess

GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4"
SNAT = "com.docker.network.host_ipv4"
SYSCTL = "net.ipv4.conf.IFNAME.log_martians=1"
FOLDER = Path(__file__).parent
MINUTE_NANOSECONDS = 60_000_000_000


def record(state: Path) -> None:
    """Let everything happen once."""
    kernel = SimulatedKernel()
    kernel.add_card("eth0")
    namespaces = {
        f"/run/netns/{name}": NamespaceIdentity("boot1", cookie) for name, cookie in (("blue", 7), ("red", 8))
    }
    with start(state, kernel, "boot1", namespaces) as controller:
        batches = (
            [
                create_network("a", "10.1.0.0/24", "fd01::/64", labels={"team": "blue"}),
                create_network("b", pool("10.2.0.0/24", "10.2.0.9")),
                create_network("c", options={"com.docker.network.bridge.name": "golden"}),
            ],
            [
                create_endpoint("a", "web", "8080:80", "53/udp", "192.0.2.1:9090:90", aliases=("www",)),
                create_endpoint("b", "web", "8081:80", addresses=["10.2.0.7"]),
                create_endpoint("b", "db"),
                create_sandbox("one", hostname="one", labels={"a": "b"}),
                create_sandbox("two", kind=SandboxKind.ATTACHED, path="/run/netns/blue"),
                create_sandbox("three", kind=SandboxKind.DELEGATED),
            ],
            [join("b/web", "one"), join("a/web", "one", priority=1), join("b/db", "two")],
            [AddAlias(identifier("b/web"), "api"), RemoveAlias(identifier("a/web"), "www")],
            [LeaveEndpoint(identifier("a/web")), join("a/web", "three")],
            [DeleteEndpoint(identifier("b/web"), force=True), DeleteSandbox(identifier("three"), force=True)],
            [
                create_network("routed", "10.3.0.0/24", options={GATEWAY_MODE: "routed", SNAT: "192.0.2.9"}),
                create_network("vlan", "10.4.0.0/24", driver="macvlan", options={"parent": "eth0.10"}),
                create_network("inner", "10.5.0.0/24", driver="ipvlan", options={"ipvlan_mode": "l3"}),
                create_network("host", driver="host"),
                create_endpoint("routed", "web", "80", "443", options={SYSCTLS: SYSCTL, INTERFACE: "web0"}),
                create_endpoint("vlan", "web", link_local=(parse_address("169.254.7.7"),)),
                create_endpoint("inner", "web"),
                create_endpoint("host", "web"),
                create_sandbox("four", kind=SandboxKind.DELEGATED),
                create_sandbox("five", kind=SandboxKind.HOST),
                create_sandbox("six"),
            ],
            [
                join(
                    "routed/web", "four", routes=(StaticRoute(parse_subnet("10.9.0.0/16"), parse_address("10.3.0.9")),)
                ),
                join("vlan/web", "six"),
                join("host/web", "five"),
                SetSandboxKey(identifier("four"), "/run/netns/red"),
                RenameSandbox(identifier("six"), "seven"),
            ],
            [LeaveEndpoint(identifier("vlan/web")), DeleteEndpoint(identifier("routed/web"), force=True)],
        )
        for number, commands in enumerate(batches):
            for result in controller.execute(commands, actor="golden", reason="to be kept", request=f"batch{number}"):
                result.check()
        kernel.remove(next(there for there in kernel.objects.values() if isinstance(there, VethPair)))
        repair(controller)
        kernel.clear()
        rebuild(controller)
        past = time.time_ns() - MINUTE_NANOSECONDS
        with mock.patch("time.time_ns", return_value=past):
            controller.create_network("d", request="d")
        dataplane = controller._machine.dataplane
        dataplane._faults = lambda step: 16 * (step.verb is Verb.REMOVE and isinstance(step.object, Bridge))
        controller.do(DeleteNetwork(identifier("c"), force=True))
    with start(state, SimulatedKernel(), "boot2", {}) as controller:
        assert controller.recovery is not None


def record_addresses(state: Path) -> None:
    """Let everything happen once that only address management knows."""
    with start(state, SimulatedKernel(), "boot1", {}) as controller:
        block = parse_subnet("10.3.0.0/29")
        pool_id = PoolId(f"{controller.host}/LocalDefault/{block}")
        sticky = AllocationPolicy.STICKY
        batches = (
            [Configure((PredefinedPool(parse_subnet("10.64.0.0/10"), 24),), 60), create_network("a")],
            [
                RequestPool(pool(str(block)), identifier("lease")),
                RequestAddress(pool_id, identifier("one")),
                RequestAddress(pool_id, identifier("two")),
            ],
            [create_network("b", pool(str(block), "10.3.0.1")), create_endpoint("b", "e", addresses=["10.3.0.2"])],
            [
                create_network(
                    "c",
                    pool(
                        "10.4.0.0/24",
                        policy=sticky,
                        grace_seconds=3600,
                        rest_seconds=3600,
                        sub_pool=parse_subnet("10.4.0.128/25"),
                        auxiliary={"printer": parse_address("10.4.0.7")},
                    ),
                    ipam_options={"netledger.ipam.mac": "ipv4"},
                ),
                create_network("d", ipam_driver="null"),
                create_network("e", pool("10.4.0.0/24", space="red")),
            ],
            [create_endpoint("c", "e"), create_endpoint("c", "f"), create_endpoint("d", "e")],
            [DeleteEndpoint(identifier("c/e")), ReserveAddress(identifier("c"), "g", parse_address("10.4.0.9"))],
            [create_endpoint("c", "e"), create_endpoint("c", "g"), EndReservation(identifier("c"), b"\n\4\0\t")],
            [DeleteNetwork(identifier("b"), force=True), DeleteEndpoint(identifier("c/f"))],
            [ReleaseAddress(pool_id, parse_address("10.3.0.1")), ReleaseAddress(pool_id, parse_address("10.3.0.2"))],
            [ReleasePool(pool_id)],
        )
        for number, commands in enumerate(batches):
            for result in controller.execute(commands, actor="golden", reason="to be kept", request=f"batch{number}"):
                result.check()


def record_drivers(state: Path) -> None:
    """Let everything happen once that an IPAM driver in another process has to do with."""
    plugin = PluginProcess(state.parent, "lab")
    try:
        with start(state, SimulatedKernel(), "boot1", {}, plugin_directories=[state.parent]) as controller:
            network = controller.create_network(
                "a",
                subnets=["10.5.0.0/24", "fd00:5::/64"],
                ip_ranges=["10.5.0.128/25"],
                auxiliary={"printer": "10.5.0.5"},
                ipam_driver="lab",
                ipam_options={"foo": "bar"},
                request="a",
            )
            network.create_endpoint("web", request="web")
            network.create_endpoint("db", addresses=["10.5.0.77"], request="db")
            network.endpoints()[0].delete()
            plugin.misbehave("ReleaseAddress", "status", [500, "busy"])
            network.endpoints()[0].delete()
    finally:
        plugin.kill()


def record_configurations(state: Path) -> None:
    """Let networks be made with the settings of configuration networks, and all of them be deleted again."""
    with start(state, SimulatedKernel(), "boot1", {}) as controller:
        block = pool(
            "10.6.0.0/24",
            "10.6.0.9",
            policy=AllocationPolicy.STICKY,
            sub_pool=parse_subnet("10.6.0.128/25"),
            auxiliary={"printer": parse_address("10.6.0.7")},
            rest_seconds=5,
            grace_seconds=3600,
        )
        settings = CreateConfigurationNetwork(
            identifier("settings"),
            "settings",
            (block, PoolRequest(6, size=64)),
            {"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.enable_icc": False},
            {"team": "blue"},
            ipam_options={"netledger.ipam.mac": "ipv4"},
        )
        batches = (
            [settings, CreateConfigurationNetwork(identifier("bare"), "bare", (), ipam_driver="null")],
            [
                CreateNetwork(identifier("a"), "a", internal=True, config_from="settings"),
                CreateNetwork(identifier("b"), "b", "macvlan", config_from="bare"),
            ],
            [create_endpoint("a", "e"), create_endpoint("b", "e")],
            [DeleteNetwork(identifier("b"), force=True), DeleteNetwork(identifier("bare"))],
        )
        for number, commands in enumerate(batches):
            for result in controller.execute(commands, actor="golden", reason="to be kept", request=f"batch{number}"):
                result.check()


def record_firewalls(state: Path) -> None:
    """Let a host be moved from one firewall to another, and one be left whose rules cannot be taken away."""
    with start(state, SimulatedKernel(), "boot1", {}) as controller:
        batches = (
            [ChooseFirewall("auto", lacking={"nftables": "no such library"}), create_network("a", "10.1.0.0/24")],
            [ChooseFirewall("nftables")],
            [ChooseFirewall("iptables", force=True, lacking={"nftables": "no such library"})],
        )
        for number, commands in enumerate(batches):
            for result in controller.execute(commands, actor="golden", reason="to be kept", request=f"batch{number}"):
                result.check()


RECORDINGS = {
    "addresses": record_addresses,
    "drivers": record_drivers,
    "configurations": record_configurations,
    "firewalls": record_firewalls,
}
"""By the end of a version's name; `record` for any other."""


def start(
    state: Path,
    kernel: SimulatedKernel,
    boot: str,
    namespaces: dict[str, NamespaceIdentity],
    **others: Any,
) -> Controller:
    """Open the log on a host of that boot."""
    dataplane = SimulatedDataplane(kernel)
    dataplane.boot, dataplane.namespaces = boot, namespaces
    with mock.patch("socket.gethostname", return_value="golden"):
        return Controller.open(state, dataplane=dataplane, actor="golden", **others)


def digests(log: list[Recorded[Event]]) -> list[str]:
    """Give the views' digest after each event."""
    views, told = Views(), []
    for recorded in log:
        views.fold(recorded.position, recorded.event)
        told.append(views.digest())
    return told


def objects(log: list[Recorded[Event]]) -> list[str]:
    """Print what the host calls for after the last event."""
    views = Views()
    for recorded in log:
        views.fold(recorded.position, recorded.event)
    return sorted(str(made) for made in lower_everything(views, log[0].event.host).values())


def main(version: str) -> None:
    """Write the log and what becomes of it."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        RECORDINGS.get(version.rpartition("-")[2], record)(state)
        destination = FOLDER / f"log{version}.db"
        destination.unlink(missing_ok=True)
        with Controller.open(state, dataplane="none", read_only=True) as controller:
            controller.ledger.backup(destination)
            log = list(controller.history())
            kept = {
                "head_hash": controller.ledger.verify().head_hash,
                "events": [type(recorded.event).__name__ for recorded in log],
                "digests": digests(log),
                "objects": objects(log),
            }
    (FOLDER / f"log{version}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
