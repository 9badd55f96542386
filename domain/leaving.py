"""Leaving: what is to be told when an endpoint leaves its sandbox, and when it ends.

Keeps: an endpoint that ends has given back all that it held. Knows nothing of: who asked, and whether it may.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from .events import (
    EndpointAbandoned,
    EndpointDeleted,
    EndpointLeft,
    Event,
    Origin,
    PortClosed,
    PortReleased,
)
from .gateways import Stay, elect
from .ipam.endpoints import give_back
from .values import EndpointId
from .view import View


def leave_events(
    view: View,
    endpoint: EndpointId,
    origin: Origin,
    *,
    cause: str,
    leaving: Container[EndpointId] = (),
    also: Sequence[Event] = (),
    joining: Sequence[Stay] = (),
    no_way_out: str = "",
) -> list[Event]:
    """Take an endpoint out of its sandbox; `leaving` are others that leave with it and cannot be its successors.

    `also` is what happens because of it, before another way out is chosen; `joining` may be chosen, too. `no_way_out`
    is why the sandbox has none although it was to get one.
    """
    joined = view.joined(endpoint)
    assert joined is not None, "only a joined endpoint leaves"
    left = EndpointLeft(
        *origin,
        endpoint=endpoint,
        network=joined.event.network,
        sandbox=joined.event.sandbox,
        device=joined.event.device,
        cause=cause,
        no_way_out=no_way_out,
    )
    elected = elect(view, joined.event.sandbox, origin, joining=joining, leaving=endpoint, excluded=leaving)
    return [left, *also, *elected]


def abandon(
    view: View,
    endpoint: EndpointId,
    origin: Origin,
    *,
    cause: str,
    leaving: Container[EndpointId] = (),
    also: Sequence[Event] = (),
    joining: Sequence[Stay] = (),
    no_way_out: str = "",
) -> list[Event]:
    """Take an endpoint out of its sandbox by force, if it is in one; `leaving` and the rest as for `leave_events`."""
    joined = view.joined(endpoint)
    if joined is None:
        return []
    gone = EndpointAbandoned(
        *origin,
        endpoint=endpoint,
        network=joined.event.network,
        sandbox=joined.event.sandbox,
        device=joined.event.device,
        cause=cause,
        evidence="forced by the caller",
        no_way_out=no_way_out,
    )
    elected = elect(view, joined.event.sandbox, origin, joining=joining, leaving=endpoint, excluded=leaving)
    return [gone, *also, *elected]


def forget(
    view: View, endpoint: EndpointId, origin: Origin, *, forced: bool, keep: bool = False, why: str = ""
) -> list[Event]:
    """Give back all that an endpoint holds and end it; `keep`: a sticky pool keeps its address for its name."""
    record = view.endpoint(endpoint)
    assert record is not None, "only an endpoint that is there is deleted"
    events: list[Event] = [
        PortReleased(
            *origin,
            endpoint=endpoint,
            protocol=port.event.protocol,
            host_address=port.event.host_address,
            host_port=port.event.host_port,
        )
        for port in view.ports_of(endpoint)
    ]
    events += [
        PortClosed(*origin, endpoint, opened.event.protocol, opened.event.address, opened.event.port)
        for opened in view.opened_of(endpoint)
    ]
    events += give_back(view, record.event, origin, keep=keep, why=why)
    events.append(
        EndpointDeleted(
            *origin,
            endpoint=endpoint,
            network=record.event.network,
            name=record.event.name,
            mac=record.event.mac,
            forced=forced,
        )
    )
    return events
