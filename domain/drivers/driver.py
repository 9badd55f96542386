"""What the domain asks of a network driver: the seam that every driver stands behind.

Keeps: a driver is pure. What it answers follows from what it is given, however often and in whatever order it is asked.
Knows nothing of: any driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound
from ..objects import KernelObject
from ..values import NetworkId, SandboxKind


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

    def features(self, options: Mapping[str, OptionValue], /) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for a network with these options."""

    def device(self, network: NetworkId, options: Mapping[str, OptionValue], /) -> str:
        """Name the network's interface in the host's namespace; empty where it has none."""

    def host_binding(self, options: Mapping[str, OptionValue], /) -> bytes:
        """Which IPv4 address of the host ports are published at when none is asked for."""

    def lower_network(self, network: NetworkCreated, /) -> list[KernelObject]:
        """List what the network itself needs in the host's namespace."""

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound],
        /,
    ) -> list[KernelObject]:
        """List what a joined endpoint needs; `ports` are those that are published."""
