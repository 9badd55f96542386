"""The host and null drivers: networks without interfaces, one of each on a host, that are never deleted.

Keeps: nothing of theirs is in a kernel. Knows nothing of: addresses, ports.
An endpoint of a host network is in the host's own namespace; one of a null network has nothing but the loopback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound, PortOpened
from ..objects import KernelObject
from ..options import parse_options
from ..values import IPV4_BYTES, NetworkId, SandboxKind
from .driver import NetworkTraits

ENDPOINTS = 1 << 20
"""Nothing but the log limits them."""


class NoOptions(Struct, frozen=True):
    """Neither driver has any."""


class SpecialDriver:
    """A driver that makes nothing; `host` or `null`."""

    needs: tuple[str, ...] = ()
    endpoint_limit = ENDPOINTS
    pools_per_family = 1

    def __init__(self, name: str) -> None:
        self.name = name

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Refuse any."""
        parse_options(NoOptions, given, asked)
        return {}

    def settle(
        self,
        options: dict[str, OptionValue],
        asked: str,  # noqa: ARG002  # nothing contradicts
        *,
        internal: bool,
    ) -> tuple[dict[str, OptionValue], bool]:
        """Take it as it is."""
        return options, internal

    def features(self, options: Mapping[str, OptionValue]) -> tuple[str, ...]:  # noqa: ARG002  # there are none
        """Name nothing."""
        return ()

    def traits(self, options: Mapping[str, OptionValue]) -> NetworkTraits:  # noqa: ARG002  # there are none
        """Say that there is nothing."""
        return NetworkTraits(
            has_addresses=False,
            has_interfaces=False,
            has_macs=False,
            is_single=True,
            is_host=self.name == "host",
            publishes=False,
        )

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:  # noqa: ARG002  # it has none
        """Name none."""
        return ""

    def host_binding(self, options: Mapping[str, OptionValue]) -> bytes:  # noqa: ARG002  # it publishes nothing
        """Name every address."""
        return bytes(IPV4_BYTES)

    def lower_host(self, networks: Sequence[NetworkCreated]) -> Iterable[KernelObject]:  # noqa: ARG002  # it needs nothing
        """List nothing."""
        return ()

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:  # noqa: ARG002  # it needs nothing
        """List nothing."""
        return []

    def lower_endpoint(
        self,
        network: NetworkCreated,  # noqa: ARG002  # it needs nothing
        endpoint: EndpointCreated,  # noqa: ARG002
        joined: EndpointJoined,  # noqa: ARG002
        kind: SandboxKind,  # noqa: ARG002
        ports: Sequence[PortBound | PortOpened],  # noqa: ARG002
    ) -> list[KernelObject]:
        """List nothing."""
        return []
