"""Hypothesis strategies: batches of commands over a universe so small that they meet.

Three networks, six endpoints, four sandboxes; names, ids, blocks, MAC addresses, ports and interfaces from a few each.
Most commands can be carried out, some are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from hypothesis import strategies as st

from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import (
    AddAlias,
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
    LoseSandbox,
    PoolRequest,
    RemoveAlias,
)
from netledger.domain.errors import Refusal
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.values import (
    AllocationPolicy,
    NetworkId,
    PortRequest,
    SandboxKind,
    parse_address,
    parse_mac,
    parse_subnet,
)
from tests.desk import Desk, identifier

NETWORKS = [f"n{number}" for number in range(3)]
ENDPOINTS = [f"e{number}" for number in range(6)]
SANDBOXES = [f"c{number}" for number in range(4)]
BRIDGE = "com.docker.network.bridge.name"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
MTU = "com.docker.network.driver.mtu"
NAMESPACES = {f"/run/netns/{name}": NamespaceIdentity("boot", number) for number, name in enumerate(SANDBOXES)}
"""The namespaces of attached sandboxes, which a simulated dataplane has to know of: see `simulated`."""


policies = st.sampled_from(AllocationPolicy)
usually = st.sampled_from([True] * 9 + [False])
"""False now and then."""


@st.composite
def pools(draw: st.DrawFn, number: int) -> tuple[PoolRequest, ...]:
    """One block of IPv4, of IPv6 or of each: predefined, or named, some of them tiny, seldom another network's."""
    third = number if draw(usually) else draw(st.integers(0, 2))
    four = st.sampled_from([None, None, f"10.{third}.0.0/24", f"10.{third}.0.0/29", f"10.{third}.0.0/31"])
    six = st.sampled_from([None, f"fd0{third}::/64", f"fd0{third}::/126"])
    requests = []
    for family in draw(st.sampled_from([(4,), (4,), (4, 6), (4, 6), (6,)])):
        text = draw(four if family == 4 else six)
        requests.append(PoolRequest(family, parse_subnet(text) if text else None, None, draw(policies)))
    return tuple(requests)


options = st.fixed_dictionaries(
    {},
    optional={
        BRIDGE: st.just("shared"),
        ICC: st.booleans(),
        MASQUERADE: st.booleans(),
        MTU: st.sampled_from([0, 1400]),
    },
)
ports = st.lists(
    st.builds(
        PortRequest,
        protocol=st.sampled_from([6, 17]),
        port=st.sampled_from([80, 443]),
        host_port=st.sampled_from([0, 0, 8080, 8081]),
        host_address=st.sampled_from([b"", b"", b"", b"", parse_address("192.0.2.1"), parse_address("2001:db8::1")]),
    ),
    max_size=2,
).map(tuple)
macs = st.sampled_from([b"", b"", b"", parse_mac("02:42:0a:00:00:07")])
aliases = st.sampled_from(["www", "db"])

kinds = st.sampled_from([SandboxKind.MANAGED, SandboxKind.MANAGED, SandboxKind.ATTACHED, SandboxKind.DELEGATED])

KINDS = [
    *["create endpoint"] * 3,
    *["join"] * 6,
    *["leave"] * 3,
    *["create network", "create sandbox", "add alias", "remove alias"],
    *["delete endpoint", "delete sandbox", "delete network", "lose sandbox"],
]


def simulated(kernel: SimulatedKernel) -> SimulatedDataplane:
    """Make a dataplane on which every command that is drawn here can be carried out."""
    dataplane = SimulatedDataplane(kernel)
    dataplane.namespaces.update(NAMESPACES)
    return dataplane


def _sandbox(name: str, kind: SandboxKind) -> CreateSandbox:
    if kind is not SandboxKind.ATTACHED:
        return CreateSandbox(identifier(name), name, kind)
    path = f"/run/netns/{name}"
    return CreateSandbox(identifier(name), name, kind, path, NAMESPACES[path])


class Author:
    """Draws commands that make sense now, and seldom others; knows what is there by carrying them out on a desk."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.desk = Desk()

    def command(self, kind: str) -> Command:
        """Draw a command and carry it out."""
        command = self._make(kind)
        with suppress(Refusal):
            self.desk.do(command)
        return command

    def _make(self, kind: str) -> Command:
        views, draw = self.desk.views, self.draw
        networks, endpoints = set(views.networks.networks), set(views.endpoints.endpoints)
        sandboxes, joined = set(views.sandboxes.sandboxes), set(views.endpoints.joined)
        command: Command
        match kind:
            case "create network":
                name = self._pick(NETWORKS, absent_from=networks)
                wanted, internal = draw(pools(NETWORKS.index(name))), draw(st.sampled_from([False, False, False, True]))
                command = CreateNetwork(identifier(name), name, "bridge", wanted, internal, draw(options))
            case "create sandbox":
                name = self._pick(SANDBOXES, absent_from=sandboxes)
                command = _sandbox(name, draw(kinds))
            case "create endpoint":
                command = self._endpoint(self._pick(ENDPOINTS, absent_from=endpoints), self._pick(NETWORKS, networks))
            case "join":
                endpoint, sandbox = self._pick(ENDPOINTS, endpoints - joined), self._pick(SANDBOXES, sandboxes)
                interface = draw(st.sampled_from(["", "", "", "eth0", "eth1"]))
                command = JoinEndpoint(identifier(endpoint), identifier(sandbox), draw(st.integers(0, 2)), interface)
            case "leave":
                command = LeaveEndpoint(identifier(self._pick(ENDPOINTS, joined)))
            case "add alias":
                command = AddAlias(identifier(self._pick(ENDPOINTS, endpoints)), draw(aliases))
            case "remove alias":
                command = RemoveAlias(identifier(self._pick(ENDPOINTS, views.endpoints.aliases)), draw(aliases))
            case "delete endpoint":
                command = DeleteEndpoint(identifier(self._pick(ENDPOINTS, endpoints)), draw(st.booleans()))
            case "delete network":
                command = DeleteNetwork(identifier(self._pick(NETWORKS, networks)), draw(st.booleans()))
            case "delete sandbox":
                command = DeleteSandbox(identifier(self._pick(SANDBOXES, sandboxes)), draw(st.booleans()))
            case _:
                known = views.sandboxes.sandboxes.values()
                others = {each.event.sandbox for each in known if each.event.kind is not SandboxKind.MANAGED}
                command = LoseSandbox(identifier(self._pick(SANDBOXES, others)), "gone")
        return command

    def _endpoint(self, name: str, network: str) -> CreateEndpoint:
        """Draw an endpoint whose addresses and ports its network can usually have."""
        draw, record = self.draw, self.desk.views.network(NetworkId(identifier(network)))
        fitting: list[tuple[bytes, ...]] = [()]
        is_internal = False
        if record is not None:
            is_internal = record.event.internal
            fitting += [(each.subnet.at(ordinal),) for each in record.event.pools for ordinal in (1, 2, 3)]
        wanted = draw(st.sampled_from(fitting if draw(usually) else [(parse_address("10.9.0.1"),)]))
        published = () if is_internal and draw(usually) else draw(ports)
        others = draw(st.lists(aliases, max_size=1).map(tuple))
        return CreateEndpoint(identifier(name), identifier(network), name, wanted, draw(macs), published, others)

    def _pick(self, universe: list[str], likely: Collection[str] = (), absent_from: Collection[str] = ()) -> str:
        """Choose one that is there (or is not), seldom any other."""
        if absent_from or not likely:
            fitting = [name for name in universe if identifier(name) not in absent_from]
        else:
            fitting = [name for name in universe if identifier(name) in likely]
        return self.draw(st.sampled_from(fitting if fitting and self.draw(usually) else universe))


@st.composite
def histories(draw: st.DrawFn, max_batches: int = 12) -> list[list[Command]]:
    """Batches of commands, the first of which lays some ground."""
    author = Author(draw)
    ground = ["create network"] * 2 + ["create sandbox"] * 2 + ["create endpoint"] * 3 + ["join"] * 2
    batches = [[author.command(kind) for kind in ground]]
    for _ in range(draw(st.integers(1, max_batches))):
        size = draw(st.integers(1, 4))
        batches.append([author.command(draw(st.sampled_from(KINDS))) for _ in range(size)])
    return batches


def everything_deleted() -> list[Command]:
    """Ask for the end of everything in the universe."""
    return [
        *(DeleteNetwork(identifier(name), force=True) for name in NETWORKS),
        *(DeleteSandbox(identifier(name), force=True) for name in SANDBOXES),
    ]
