"""Leases: addresses that are requested before anybody uses them, or kept for a name, and the end of what nobody uses.

Keeps: only who holds an address or a pool gives it back, and once. What is given up by force was proven to be nobody's:
the evidence is in the event.
Knows nothing of: kernels; what time it is comes in with the command.
"""

from __future__ import annotations

from collections.abc import Mapping

from .commands import (
    Configure,
    EndReservation,
    Expire,
    ReleaseAddress,
    ReleasePool,
    RequestAddress,
    RequestPool,
    ReserveAddress,
)
from .decision import Context, Decision, Guard
from .errors import Conflict, Forbidden, InUse, Invalid, NotFound
from .events import (
    UNCLAIMED,
    AddressReservationMade,
    ConfigurationChanged,
    EndpointLeft,
    Event,
    NetworkDeleted,
    PoolAllocated,
    PoolReleased,
    Recorded,
)
from .ipam.addresses import TIME_OVER, choose_address, ended, is_over
from .ipam.networks import allocated, guards_of, release
from .ipam.pools import choose_blocks, is_usable
from .ipam.predefined import checked_pools
from .leaving import forget
from .networks import find_network
from .values import (
    NANOSECONDS,
    EndpointId,
    HostId,
    NetworkId,
    PoolId,
    check_address,
    check_id,
    check_name,
    check_seconds,
    family_of,
    format_address,
)
from .view import View, name_of

NO_NETWORK = NetworkId("")
REPLACED = "another is kept for the name"

RETENTION_SECONDS = 24 * 3600
"""How long a lease is retained whose owner is proven gone, on a host that says nothing else."""


def configure(view: View, command: Configure, context: Context) -> Decision:
    """Decide on a host's settings; nothing when they are so already."""
    asked = "configure address management"
    pools = checked_pools(command.default_pools, asked)
    check_seconds(asked, "a retention", command.retention_seconds)
    origin = context.origin
    before = view.configuration(origin.host)
    if before is not None and (before.event.default_pools, before.event.retention_seconds) == (
        pools,
        command.retention_seconds,
    ):
        return Decision(())
    event = ConfigurationChanged(*origin, default_pools=pools, retention_seconds=command.retention_seconds)
    return Decision((event,), (Guard((f"host:{origin.host}",), (ConfigurationChanged,)),))


def request_pool(view: View, command: RequestPool, context: Context) -> Decision:
    """Decide on a pool that no network uses yet."""
    request = command.pool
    asked = f"request an address pool of IPv{request.family}"
    check_id("lease", command.lease)
    if request.gateway is not None or request.auxiliary:
        raise Invalid(asked, "a pool is requested without addresses", "request them from it afterwards")
    blocks = choose_blocks(view, (request,), context, asked)
    block = blocks[0]
    if block.claimed is not None:
        raise Conflict(
            asked,
            f"{block.subnet} is requested already, by {name_of(view, (UNCLAIMED, block.claimed.event.lease))}",
            "release it first, or choose another block",
            position=block.claimed.position,
        )
    event = allocated(block, NO_NETWORK, context.origin, request.policy, lease=command.lease)
    return Decision((event,), guards_of(blocks, context))


def release_pool(view: View, command: ReleasePool, context: Context) -> Decision:
    """Decide to give a requested pool back."""
    asked = f"release pool {command.pool}"
    pool = _find_pool(view, command.pool, asked)
    user = view.pool_user(command.pool)
    if user is not None:
        raise InUse(
            asked, f"{name_of(view, ('network', user))} uses it", "delete that network first", position=pool.position
        )
    _check_owner(command.lease, pool.event.lease, pool.position, asked)
    holder = next(iter(view.holders_in(command.pool)), None)
    if holder is not None:
        raise InUse(
            asked,
            f"{format_address(holder.event.address)} of it is held by {name_of(view, holder.event.owner)}",
            "release its addresses first",
            position=holder.position,
        )
    event = PoolReleased(
        *context.origin,
        pool=command.pool,
        scope=pool.event.scope,
        space=pool.event.space,
        subnet=pool.event.subnet,
        network=NO_NETWORK,
    )
    return Decision((event,), (Guard((f"pool:{command.pool}",)),))


def request_address(view: View, command: RequestAddress, context: Context) -> Decision:
    """Decide on an address for nobody yet."""
    asked = f"request an address of pool {command.pool}"
    check_id("lease", command.lease)
    if command.address:
        check_address(asked, command.address)
    pool = _find_pool(view, command.pool, asked)
    family = family_of(command.address) if command.address else pool.event.subnet.family
    wanted = command.address or None
    taken = choose_address(view, (command.pool,), wanted, family, asked, now=context.origin.at)
    events = taken.events(context.origin, (UNCLAIMED, command.lease), UNCLAIMED)
    guards = (
        Guard((f"pool:{command.pool}",), (PoolAllocated, PoolReleased)),
        Guard((f"address:{command.pool}/{format_address(taken.address)}",)),
    )
    return Decision(tuple(events), guards)


def release_address(view: View, command: ReleaseAddress, context: Context) -> Decision:
    """Decide to give an address back that nobody has claimed."""
    check_address("release an address", command.address)
    asked = f"release address {format_address(command.address)} of pool {command.pool}"
    _find_pool(view, command.pool, asked)
    holder = view.holder(command.pool, command.address)
    if holder is None:
        raise NotFound(asked, "nobody holds it", "see `netledger ipam inspect`")
    kind, lease = holder.event.owner
    if kind != UNCLAIMED:
        raise Forbidden(
            asked,
            f"it is held by {name_of(view, holder.event.owner)}, not by who requested it",
            "delete that, and it is released",
        )
    _check_owner(command.lease, lease, holder.position, asked)
    guard = Guard((f"address:{command.pool}/{format_address(command.address)}",))
    return Decision(tuple(release(holder.event, context.origin)), (guard,))


def reserve_address(view: View, command: ReserveAddress, context: Context) -> Decision:
    """Decide to keep an address for the endpoint of a name, which may have it already."""
    asked = f"reserve address for endpoint {command.name!r}"
    check_name("endpoint", command.name)
    check_address(asked, command.address)
    network = find_network(view, command.network, asked)
    text = format_address(command.address)
    pool = next((pool for pool in network.event.pools if command.address in pool.subnet), None)
    if pool is None or not is_usable(pool.subnet, command.address):
        raise Invalid(asked, f"{text} is no address of network {network.event.name} that can be had")
    holder = view.holder(pool.pool, command.address)
    if holder is not None and holder.event.owner != ("endpoint", view.endpoint_named(command.network, command.name)):
        raise Conflict(
            asked,
            f"address {text} is held by {name_of(view, holder.event.owner)}",
            "choose another, or let it be released first",
            position=holder.position,
        )
    if holder is not None and holder.event.lease:
        lease = name_of(view, (UNCLAIMED, holder.event.lease))
        raise Conflict(
            asked,
            f"address {text} goes back to {lease} when the endpoint is deleted",
            "choose another, or delete the endpoint and release the address first",
            position=holder.position,
        )
    there = view.reservation(pool.pool, command.address)
    if there is not None and there.event.name != command.name and not is_over(there.event, context.origin.at):
        raise Conflict(
            asked,
            f"address {text} is kept for endpoint {there.event.name}",
            "choose another, or end that reservation first",
            position=there.position,
        )
    mine = view.reservation_for(pool.pool, command.name)
    if mine is not None and not mine.event.until:
        raise Conflict(
            asked,
            f"{format_address(mine.event.address)} is kept for it already",
            "end that reservation first",
            position=mine.position,
        )
    origin = context.origin
    old = {made.event.address: made.event for made in (there, mine) if made is not None}
    made = AddressReservationMade(
        *origin, pool=pool.pool, address=command.address, network=command.network, name=command.name, until=0
    )
    guards = (
        Guard((f"network:{command.network}",), (NetworkDeleted, AddressReservationMade)),
        *(Guard((f"address:{pool.pool}/{format_address(address)}",)) for address in {command.address: None, **old}),
    )
    return Decision((*(ended(before, origin, REPLACED) for before in old.values()), made), guards)


def end_reservation(view: View, command: EndReservation, context: Context) -> Decision:
    """Decide to keep an address for nobody any more; whoever has it keeps it."""
    check_address("end a reservation", command.address)
    text = format_address(command.address)
    asked = f"end the reservation of {text}"
    network = find_network(view, command.network, asked)
    for pool in network.event.pools:
        made = view.reservation(pool.pool, command.address)
        if made is not None:
            event = ended(made.event, context.origin, "ended by the caller")
            return Decision((event,), (Guard((f"address:{pool.pool}/{text}",)),))
    raise NotFound(asked, f"network {network.event.name} keeps it for nobody", "see `netledger ipam inspect`")


def expire(view: View, command: Expire, context: Context) -> Decision:
    """End what is over: reservations by their time, leases by the proof that their owner is gone."""
    origin = context.origin
    if command.retention_seconds is not None:
        check_seconds("expire leases", "a retention", command.retention_seconds)
    events: list[Event] = []
    guards: list[Guard] = []
    for made in view.reservations():
        if is_over(made.event, origin.at) and made.event.host == origin.host:
            events.append(ended(made.event, origin, TIME_OVER))
            guards.append(Guard((f"address:{made.event.pool}/{format_address(made.event.address)}",)))
    for endpoint, left in overdue(view, context, command.retention_seconds).items():
        events += forget(view, endpoint, origin, forced=False, why=f"expired: {left.event.cause}")
        guards.append(Guard((f"endpoint:{endpoint}",)))
    return Decision(tuple(events), tuple(guards))


def overdue(
    view: View, context: Context, retention_seconds: int | None = None
) -> Mapping[EndpointId, Recorded[EndpointLeft]]:
    """Find the endpoints of a host whose owner has been proven gone for longer than leases are retained."""
    host, now = context.origin.host, context.origin.at
    retention = retention_of(view, host) if retention_seconds is None else retention_seconds
    return {
        endpoint: left
        for endpoint, left in view.gone().items()
        if left.event.host == host and left.event.at + retention * NANOSECONDS <= now
    }


def retention_of(view: View, host: HostId) -> int:
    """Tell for how many seconds a host retains leases."""
    settings = view.configuration(host)
    return settings.event.retention_seconds if settings is not None else RETENTION_SECONDS


def _find_pool(view: View, pool: PoolId, asked: str) -> Recorded[PoolAllocated]:
    record = view.pool(pool)
    if record is None:
        raise NotFound(asked, "there is no such pool", "see `netledger ipam ls`")
    return record


def _check_owner(given: str, lease: str, position: int, asked: str) -> None:
    """Refuse to let anybody but its holder give something back, where they say who they are."""
    if given and given != lease:
        raise Forbidden(
            asked, f"it is held by lease {lease[:12]}, not by {given[:12]}", "release what is yours", position=position
        )
