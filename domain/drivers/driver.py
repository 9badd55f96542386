"""What the domain asks of a network driver: the seam that every driver stands behind.

Keeps: a driver is pure. What it answers follows from what it is given, however often and in whatever order it is asked.
Knows nothing of: any driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound, PortOpened
from ..objects import GatewayMode, KernelObject
from ..values import NetworkId, SandboxKind

BOTH_FAMILIES = frozenset({4, 6})


class NetworkTraits(Struct, frozen=True, kw_only=True):
    """What the rules need to know of a network, beyond what it is in a kernel."""

    has_addresses: bool = True
    """Whether it has address pools, and its endpoints addresses."""
    has_interfaces: bool = True
    """Whether its endpoints are interfaces; without them nothing of theirs is in a kernel."""
    has_macs: bool = True
    """Whether an endpoint has a MAC address of its own."""
    is_single: bool = False
    """Whether a host has one such network at most, which is never deleted."""
    is_host: bool = False
    """Whether its endpoints are in the host's own namespace."""
    gateway_families: frozenset[int] = BOTH_FAMILIES
    """The families in which a gateway's address is taken although nobody asks for one."""
    outer_gateway_families: frozenset[int] = frozenset()
    """Those of them in which an internal network has no use for it."""
    leads_out_by_link: bool = False
    """Whether the way out is the interface itself, without a gateway."""
    publishes: bool = True
    """Whether ports of its endpoints can be published."""
    mode4: GatewayMode = GatewayMode.NAT
    mode6: GatewayMode = GatewayMode.NAT
    interface_prefix: str = "eth"
    parent: str = ""
    """The interface of the host that it stands on."""
    has_parent_alone: bool = False
    """Whether no other network may stand on that."""
    takes_one: bool = False
    """Whether there is room for one endpoint only."""
    abilities: tuple[str, ...] = ()
    """What it makes use of where the host has it."""

    def mode(self, family: int) -> GatewayMode:
        """Tell the gateway mode of an address family."""
        return self.mode4 if family == 4 else self.mode6

    def needs_gateway(self, *, internal: bool) -> frozenset[int]:
        """Tell the families in which a network takes a gateway's address although nobody asks for one."""
        return self.gateway_families - self.outer_gateway_families if internal else self.gateway_families


class NetworkDriver(Protocol):
    """One kind of network: its options, and what its networks and endpoints need in a kernel."""

    @property
    def name(self) -> str:
        """What users call it."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for any of its networks: some of `facts.FEATURES`."""

    @property
    def endpoint_limit(self) -> int:
        """So many endpoints a network takes."""

    @property
    def pools_per_family(self) -> int:
        """So many address pools of each family a network takes."""

    def options(self, given: Mapping[str, OptionValue], asked: str, /) -> dict[str, OptionValue]:
        """Check the options and fill in the defaults; raises `Invalid`, with the known ones where one is unknown."""

    def settle(
        self, options: dict[str, OptionValue], asked: str, /, *, internal: bool
    ) -> tuple[dict[str, OptionValue], bool]:
        """Say what checked options and `internal` come to together; raises `Invalid` where they contradict."""

    def features(self, options: Mapping[str, OptionValue], /) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for a network with these options."""

    def traits(self, options: Mapping[str, OptionValue], /) -> NetworkTraits:
        """Tell the rules what a network with these options is like."""

    def device(self, network: NetworkId, options: Mapping[str, OptionValue], /) -> str:
        """Name the network's interface in the host's namespace; empty where it has none of its own."""

    def host_binding(self, options: Mapping[str, OptionValue], /) -> bytes:
        """Which IPv4 address of the host ports are published at when none is asked for."""

    def lower_host(self, networks: Sequence[NetworkCreated], /) -> Iterable[KernelObject]:
        """List what these networks of a host need of it together; never empty."""

    def lower_network(self, network: NetworkCreated, /) -> list[KernelObject]:
        """List what the network itself needs in the host's namespace."""

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound | PortOpened],
        /,
    ) -> list[KernelObject]:
        """List what a joined endpoint needs, but for its options (see `interiors`); `ports` are the published ones."""
