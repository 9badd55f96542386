"""The addresses of an endpoint: taken when it is created, given back when it is deleted, with its MAC address.

Keeps: an endpoint has an address of each family that its network has; whoever loses one to it is proven gone.
Knows nothing of: sandboxes, ports, interfaces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct, structs

from ..commands import CreateEndpoint
from ..decision import Context, Guard
from ..errors import Invalid, Unavailable
from ..events import (
    DEFAULT_IPAM,
    AddressReservationMade,
    EndpointAddress,
    EndpointCreated,
    Event,
    NetworkCreated,
    Origin,
)
from ..values import (
    NANOSECONDS,
    AllocationPolicy,
    EndpointId,
    MacPolicy,
    family_of,
    format_address,
    mac_for,
    mac_from_ipv4,
)
from ..view import View
from .addresses import Taken, choose_address, ended
from .networks import release
from .options import MAC
from .pools import NULL_IPAM

MAC_ATTEMPTS = 16
OURS = frozenset((DEFAULT_IPAM, NULL_IPAM))
OTHERS_CHOICE = "driver"
"""Who decided where another IPAM driver than ours did."""


class Addresses(Struct, frozen=True, gc=False):
    """What was decided on, and the endpoints that lose their addresses to it, with the evidence that they are gone."""

    taken: tuple[Taken, ...]
    superseded: Mapping[EndpointId, str]

    @property
    def held(self) -> tuple[EndpointAddress, ...]:
        """The addresses as the endpoint has them."""
        return tuple(EndpointAddress(each.pool, each.address, each.subnet.prefix) for each in self.taken)

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Nothing has happened to the addresses, nor to those who lose them."""
        return (
            *(Guard((f"address:{each.pool}/{format_address(each.address)}",)) for each in self.taken),
            *(Guard((f"endpoint:{endpoint}",)) for endpoint in self.superseded),
        )

    def events(self, origin: Origin, endpoint: EndpointId) -> Iterator[Event]:
        """List the events that give them to the endpoint."""
        for each in self.taken:
            yield from each.events(origin, ("endpoint", endpoint), "endpoint")


def choose_addresses(
    view: View,
    command: CreateEndpoint,
    network: NetworkCreated,
    superseded: Mapping[EndpointId, str],
    context: Context,
    asked: str,
    families: Collection[int],
) -> Addresses:
    """Decide on an address of each of these families; `superseded` lose theirs, by what proves them gone."""
    wanted = _wanted(command, network, context, asked, families)
    losers = {("endpoint", endpoint) for endpoint in superseded} if superseded else ()
    pools = [pool.pool for pool in network.pools]
    taken = [
        choose_address(
            view,
            pools,
            wanted.get(family),
            family,
            asked,
            now=context.origin.at,
            name=command.name,
            superseded=losers,
            may_claim=True,
        )
        for family in sorted(families)
    ]
    if network.ipam_driver not in OURS:
        given = set(command.addresses)
        taken = [each if each.address in given else _others(each) for each in taken]
    return Addresses(tuple(taken), superseded)


def give_back(view: View, endpoint: EndpointCreated, origin: Origin, *, keep: bool, why: str) -> list[Event]:
    """Return an endpoint's addresses; with `keep`, a sticky pool keeps its own for the endpoint's name."""
    events: list[Event] = []
    for held in endpoint.addresses:
        holder = view.holder(held.pool, held.address)
        assert holder is not None, "an endpoint holds its addresses"
        events += release(holder.event, origin, why)
        if keep and not holder.event.lease:
            events += _keep(view, endpoint, held, origin)
    return events


def free_mac(view: View, endpoint: EndpointId, network: NetworkCreated, addresses: Addresses) -> bytes | None:
    """Make a MAC address that nobody has in the network: of the IPv4 address where the network says so, or the id."""
    for mac in _macs(endpoint, network, addresses):
        holder = view.mac_holder(network.network, mac)
        if holder is None or holder in addresses.superseded:
            return mac
    return None


def _macs(endpoint: EndpointId, network: NetworkCreated, addresses: Addresses) -> Iterator[bytes]:
    if network.ipam_options.get(MAC) == MacPolicy.IPV4:
        yield from (mac_from_ipv4(each.address) for each in addresses.taken if each.subnet.family == 4)
    for attempt in range(MAC_ATTEMPTS):
        yield mac_for(endpoint, attempt)


def _wanted(
    command: CreateEndpoint, network: NetworkCreated, context: Context, asked: str, families: Collection[int]
) -> dict[int, bytes]:
    """Name the address that is asked for of each family, by the caller or by another IPAM driver than ours."""
    addresses = command.addresses
    if network.ipam_driver not in OURS and network.pools:
        if context.ipam is None:
            raise Unavailable(
                asked, f"IPAM driver {network.ipam_driver!r} has not answered", "see whether it is running"
            )
        addresses = context.ipam.addresses
    wanted: dict[int, bytes] = {}
    for address in addresses:
        family = family_of(address)
        if family in wanted:
            raise Invalid(asked, f"two IPv{family} addresses", "an endpoint has one of each family")
        if family not in families:
            whose = "the endpoint" if family in network.families else f"network {network.name}"
            raise Invalid(asked, f"{whose} has no IPv{family}", "leave that address out")
        wanted[family] = address
    return wanted


def superseded_by(view: View, command: CreateEndpoint, network: NetworkCreated) -> dict[EndpointId, str]:
    """Find the endpoints that have an address which is claimed, and whose namespace is proven gone; and the proof."""
    gone = view.gone()
    found: dict[EndpointId, str] = {}
    for address in command.addresses if gone else ():
        for pool in network.pools:
            holder = view.holder(pool.pool, address)
            if holder is not None and holder.event.owner[0] == "endpoint":
                endpoint = EndpointId(holder.event.owner[1])
                if endpoint in gone:
                    found[endpoint] = f"superseded: {gone[endpoint].event.cause}"
    return found


def _others(taken: Taken) -> Taken:
    return structs.replace(taken, decided_by=OTHERS_CHOICE)


def _keep(view: View, endpoint: EndpointCreated, held: EndpointAddress, origin: Origin) -> Iterator[Event]:
    """Keep an address for the name that had it, unless another of the pool is kept for it for good."""
    pool = view.pool(held.pool)
    assert pool is not None, "an endpoint's pool is there"
    if pool.event.policy is not AllocationPolicy.STICKY or not pool.event.grace_seconds:
        return
    before = view.reservation_for(held.pool, endpoint.name)
    other = view.reservation(held.pool, held.address)
    if (before is not None and not before.event.until) or other is not None:
        return
    if before is not None:
        yield ended(before.event, origin, "another is kept for the name")
    yield AddressReservationMade(
        *origin,
        pool=held.pool,
        address=held.address,
        network=endpoint.network,
        name=endpoint.name,
        until=origin.at + pool.event.grace_seconds * NANOSECONDS,
    )
