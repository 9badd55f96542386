"""What is on an endpoint's interface beside its addresses: settings, link-local addresses, routes, announcements.

Keeps: the same for every driver; nothing where a runtime is to configure the interface.
Knows nothing of: which interface it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from .drivers import traits_of
from .drivers.attachment import announcements_of
from .endpoint_options import sysctls_of
from .events import EndpointCreated, EndpointJoined, NetworkCreated
from .objects import Address, Announcement, InterfaceSysctl, KernelObject, Route
from .values import LINK_LOCAL_PREFIXES, SandboxKind, family_of


def furnish(
    network: NetworkCreated, endpoint: EndpointCreated, joined: EndpointJoined, kind: SandboxKind
) -> Iterator[KernelObject]:
    """List what is on a joined endpoint's interface."""
    if kind is SandboxKind.DELEGATED or not traits_of(network).has_interfaces:
        return
    sandbox, interface = joined.sandbox, joined.interface
    for name, value in sysctls_of(endpoint.options, interface):
        yield InterfaceSysctl(sandbox, interface, name, value)
    for address in endpoint.link_local:
        yield Address(sandbox, interface, address, LINK_LOCAL_PREFIXES[family_of(address)])
    for route in joined.routes:
        yield Route(sandbox, interface, route.destination, route.gateway)
    count, interval = announcements_of(network.options, endpoint.options)
    if count and endpoint.addresses and "announcements" in network.abilities:
        yield Announcement(sandbox, interface, count, interval)
