"""Looking things up: by id, by name, by the beginning of an id, in that order (as Docker does).

Knows nothing of: rules, facades.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..domain.errors import Invalid, NotFound
from ..domain.values import EndpointId, HostId, NetworkId, SandboxId
from ..projections.views import Views

MATCHES_SHOWN = 5


def find_network(views: Views, host: HostId, text: str) -> NetworkId:
    """Find a network, or a configuration-only one, by its id, name or id prefix."""
    networks = {**views.networks.networks, **views.networks.configuration_networks}
    named = views.network_named(host, text) or views.configuration_network_named(host, text)
    return NetworkId(_find("network", text, networks, [named] if named else []))


def find_endpoint(views: Views, host: HostId, text: str) -> EndpointId:
    """Find an endpoint by its id, NETWORK/NAME, a name that only one network has, or an id prefix."""
    network_text, slash, name = text.rpartition("/")
    endpoints = views.endpoints.endpoints
    if slash:
        network = find_network(views, host, network_text)
        found = views.endpoint_named(network, name)
        if found is None:
            raise NotFound(f"endpoint {text!r}", f"network {network_text} has no endpoint {name}")
        return found
    named = [endpoint for (_, known), endpoint in views.names.endpoints.items() if known == text]
    return EndpointId(_find("endpoint", text, endpoints, named, "write NETWORK/NAME, or more of the id"))


def find_sandbox(views: Views, host: HostId, text: str) -> SandboxId:
    """Find a sandbox by its id, its container's id, or an id prefix."""
    held = views.sandbox_of(host, text)
    return SandboxId(_find("sandbox", text, views.sandboxes.sandboxes, [held] if held else []))


def _find(
    kind: str, text: str, known: Collection[str], named: Iterable[str], remedy: str = "give more of the id"
) -> str:
    if text in known:
        return text
    matches = list(named) or [identity for identity in known if text and identity.startswith(text)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise NotFound(f"{kind} {text!r}", "there is none of that name, id or id prefix", f"see `netledger {kind} ls`")
    shown = ", ".join(identity[:12] for identity in matches[:MATCHES_SHOWN])
    more = f" and {len(matches) - MATCHES_SHOWN} more" if len(matches) > MATCHES_SHOWN else ""
    raise Invalid(f"{kind} {text!r}", f"it is ambiguous: {len(matches)} match ({shown}{more})", remedy)
