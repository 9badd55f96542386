"""What a host is to be reached at, by its log: the addresses of endpoints that have joined, and published ports.

Knows nothing of: packets, whether anything is reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..dataplanes.simulated.packets import ICMP
from ..domain.values import PROTOCOL_NAMES, NetworkId, SandboxId, family_of
from ..projections.views import Views


class Offer(NamedTuple):
    """An endpoint's own address (an echo), or a port of the host that stands for one of the endpoint's."""

    name: str
    """NETWORK/ENDPOINT."""
    network: NetworkId
    sandbox: SandboxId
    """Where it is answered."""
    inner: bytes
    """The endpoint's address."""
    protocol: int = ICMP
    host_address: bytes = b""
    """Of a port: where it is published; zeros are all of the host's addresses."""
    host_port: int = 0
    port: int = 0

    @property
    def family(self) -> int:
        """The family of the address that is asked for."""
        return family_of(self.host_address or self.inner)

    @property
    def what(self) -> str:
        """What is asked for, as `icmp` or `tcp/8080`."""
        return f"{PROTOCOL_NAMES[self.protocol]}/{self.host_port}" if self.host_address else "icmp"


def offers(views: Views) -> Iterator[Offer]:
    """List everything: the endpoints in the order in which they joined, each with its ports after its addresses."""
    for joined in views.endpoints.joined.values():
        network = views.network(joined.event.network)
        endpoint = views.endpoint(joined.event.endpoint)
        assert network is not None, "an endpoint's network is there"
        assert endpoint is not None, "a joined endpoint is there"
        place = (f"{network.event.name}/{endpoint.event.name}", network.event.network, joined.event.sandbox)
        yield from (Offer(*place, held.address) for held in endpoint.event.addresses)
        for record in views.ports_of(endpoint.event.endpoint):
            port = record.event
            yield Offer(*place, port.address, port.protocol, port.host_address, port.host_port, port.port)
