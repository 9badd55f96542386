"""What a network takes of address spaces when it is created, and gives back when it is deleted.

Keeps: a network holds each of its pools, its gateway and its auxiliary addresses from its creation to its deletion. A
pool or address that somebody had requested before is theirs again afterwards.
Knows nothing of: network drivers, endpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct, structs

from ..commands import CreateNetwork
from ..decision import Context, Guard
from ..errors import Invalid
from ..events import (
    DEFAULT_IPAM,
    UNCLAIMED,
    AddressAllocated,
    AddressReleased,
    ConfigurationChanged,
    Event,
    NetworkCreated,
    NetworkPool,
    OptionValue,
    Origin,
    PoolAllocated,
    PoolClaimed,
    PoolDisclaimed,
    PoolReleased,
    Recorded,
    space_tag,
)
from ..values import AllocationPolicy, NetworkId, check_name
from ..view import View
from .addresses import Taken, ended, lease_of, rest_left
from .options import parse_ipam_options, policy_of
from .pools import NULL_IPAM, Block, Chosen, choose_pools


class TakenPools(Struct, frozen=True):
    """The pools of a new network, the events that take them, and the guards under which they may be taken."""

    pools: tuple[NetworkPool, ...]
    events: tuple[Event, ...]
    guards: tuple[Guard, ...]


def check_ipam(command: CreateNetwork, asked: str) -> dict[str, OptionValue]:
    """Check by whom a network's addresses are given, and return that one's options."""
    check_name("IPAM driver", command.ipam_driver)
    if command.ipam_driver == NULL_IPAM and command.pools:
        raise Invalid(asked, "the null IPAM driver gives no addresses", "ask for no pools, or leave the driver out")
    if command.ipam_driver in {DEFAULT_IPAM, NULL_IPAM}:
        return parse_ipam_options(command.ipam_options, asked)
    return dict(command.ipam_options)


def take(
    view: View, command: CreateNetwork, context: Context, asked: str, gateway_families: Collection[int] = (4, 6)
) -> TakenPools:
    """Decide on a new network's pools, gateways and auxiliary addresses.

    In families that are not in `gateway_families` a gateway is only taken where one is asked for (GetSkipGwAlloc).
    """
    if not command.pools:
        return TakenPools((), (), ())
    chosen = choose_pools(view, command.pools, context, asked, command.ipam_driver, gateway_families)
    events: list[Event] = []
    for choice in chosen:
        events += _take_pool(choice.block, command, context.origin)
        events += _take_addresses(view, choice, command.network, context.origin)
    return TakenPools(
        tuple(choice.pool for choice in chosen), tuple(events), guards_of([choice.block for choice in chosen], context)
    )


def guards_of(blocks: Sequence[Block], context: Context) -> tuple[Guard, ...]:
    """Guard what a choice of blocks has read: the pools of their spaces, and the host's settings."""
    guards = [Guard((space_tag(block.scope, block.request.space),), (PoolAllocated,)) for block in blocks]
    guards += [Guard((f"pool:{block.pool}",)) for block in blocks if block.claimed is not None]
    if any(block.is_predefined for block in blocks):
        guards.append(Guard((f"host:{context.origin.host}",), (ConfigurationChanged,)))
    return tuple(dict.fromkeys(guards))


def allocated(
    block: Block,
    network: NetworkId,
    origin: Origin,
    policy: AllocationPolicy,
    *,
    lease: str = "",
    ipam_driver: str = DEFAULT_IPAM,
) -> PoolAllocated:
    """Write that a block was taken."""
    request = block.request
    return PoolAllocated(
        *origin,
        pool=block.pool,
        scope=block.scope,
        space=request.space,
        subnet=block.subnet,
        network=network,
        predefined=block.is_predefined,
        policy=policy,
        sub_pool=request.sub_pool,
        rest_seconds=request.rest_seconds,
        grace_seconds=request.grace_seconds,
        avoided=block.avoided,
        lease=lease,
        ipam_driver=ipam_driver,
        driver_pool=block.answer.driver_pool if block.answer is not None else "",
    )


def held_for_others(view: View, network: NetworkCreated) -> Recorded[AddressAllocated] | None:
    """Find an address of a network's own pools that somebody has requested and nobody claimed."""
    for pool in network.pools:
        if not _is_claimed(view, pool):
            for holder in view.holders_in(pool.pool):
                if holder.event.owner[0] == UNCLAIMED:
                    return holder
    return None


def give_back(view: View, network: NetworkCreated, origin: Origin, before: Sequence[Event]) -> list[Event]:
    """Return a network's addresses and pools; `before` are the events that its endpoints' are returned by."""
    events: list[Event] = []
    returned = {(event.pool, event.address) for event in before if isinstance(event, AddressReleased)}
    requested = [event for event in before if isinstance(event, AddressAllocated)]
    for pool in network.pools:
        taken = view.pool(pool.pool)
        assert taken is not None, "a network's pool is there"
        is_claimed = _is_claimed(view, pool)
        events += [ended(made.event, origin, "network deleted") for made in view.reservations_in(pool.pool)]
        for holder in view.holders_in(pool.pool):
            is_theirs = is_claimed and holder.event.owner[0] == UNCLAIMED
            if not is_theirs and (pool.pool, holder.event.address) not in returned:
                events += release(holder.event, origin)
        if not is_claimed:
            for theirs in requested:
                events += release(theirs, origin) if theirs.pool == pool.pool else []
        scope, space = taken.event.scope, taken.event.space
        if is_claimed:
            lease = taken.event.lease
            events.append(PoolDisclaimed(*origin, pool.pool, scope, space, network.network, lease))
        else:
            events.append(PoolReleased(*origin, pool.pool, scope, space, pool.subnet, network.network))
    return events


def release(held: AddressAllocated, origin: Origin, why: str = "") -> list[Event]:
    """Give an address back: to its pool, or to whoever had requested it before it was claimed."""
    events: list[Event] = [
        AddressReleased(*origin, pool=held.pool, address=held.address, owner=held.owner, why=why),
    ]
    if held.lease and held.owner[0] != UNCLAIMED:
        events.append(
            AddressAllocated(
                *origin,
                pool=held.pool,
                address=held.address,
                owner=(UNCLAIMED, held.lease),
                purpose=UNCLAIMED,
                decided_by="caller",
                lease=held.lease,
            )
        )
    return events


def _is_claimed(view: View, pool: NetworkPool) -> bool:
    taken = view.pool(pool.pool)
    assert taken is not None, "a network's pool is there"
    return bool(taken.event.lease)


def _take_pool(block: Block, command: CreateNetwork, origin: Origin) -> list[Event]:
    request = block.request
    if block.claimed is not None:
        lease = block.claimed.event.lease
        return [PoolClaimed(*origin, block.pool, block.scope, request.space, command.network, lease)]
    policy = policy_of(command.ipam_options, request.policy)
    return [allocated(block, command.network, origin, policy, ipam_driver=command.ipam_driver)]


def _take_addresses(view: View, choice: Chosen, network: NetworkId, origin: Origin) -> list[Event]:
    """Take the gateway's address and the auxiliary ones."""
    owner = ("network", network)
    events: list[Event] = []
    block, pool = choice.block, choice.pool
    wanted = [(pool.gateway, "gateway", "", choice.gateway_decided_by)] if pool.gateway else []
    wanted += [(address, "auxiliary", name, "caller") for name, address in sorted(block.request.auxiliary.items())]
    for address, purpose, name, decided_by in wanted:
        taken = Taken(pool.pool, pool.subnet, address, decided_by)
        if block.claimed is not None:
            holder = view.holder(pool.pool, address)
            rest = rest_left(view, block.claimed.event, address, origin.at)
            taken = structs.replace(taken, lease=lease_of(holder.event) if holder is not None else "", rest_cut=rest)
        events += taken.events(origin, owner, purpose, name)
    return events
