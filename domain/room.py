"""Room: how many endpoints a network takes.

Keeps: a network has no more endpoints than its driver can connect, whoever makes them.
Knows nothing of: addresses, names, who asks.
"""

from __future__ import annotations

from .drivers import driver_of, traits_of
from .errors import Exhausted
from .events import NetworkCreated, Recorded
from .view import View


def check_has_room(view: View, network: Recorded[NetworkCreated], asked: str, *, going: int = 0) -> None:
    """Refuse one endpoint more than a network takes; `going` is how many it loses by this very decision."""
    limit, why = driver_of(network.event.driver).endpoint_limit, "as many as a Linux bridge has ports"
    if traits_of(network.event).takes_one:
        limit, why = 1, "as many as an interface in mode passthru takes"
    if len(view.endpoints_of(network.event.network)) - going >= limit:
        raise Exhausted(
            asked,
            f"network {network.event.name} has {limit} endpoint{'s' if limit > 1 else ''}, {why}",
            "create another network and put it there",
            position=network.position,
        )
