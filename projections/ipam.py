"""Address pools, who holds which address, which are kept for a name and which rest: a fold.

Keeps: a pool's ordinals are held exactly by the addresses that are allocated, kept for a name, or at rest; the cursor
stands on the last address that netledger chose. An address rests from its release until the pool's time for it is over
and all that were released before it rest no more; the fold notices at the pool's next event.
Knows nothing of: which block or address should be chosen (see `domain.ipam`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ..domain.events import (
    AddressAllocated,
    AddressReleased,
    AddressReservationEnded,
    AddressReservationMade,
    PoolAllocated,
    PoolClaimed,
    PoolDisclaimed,
    PoolReleased,
    Recorded,
)
from ..domain.ipam.ordinals import OrdinalSet
from ..domain.values import NANOSECONDS, AllocationPolicy, PoolId, Position, Subnet
from .journal import Handlers, Journal, with_those_that_hold

_NO_RESERVATIONS: Mapping[bytes, Recorded[AddressReservationMade]] = {}


class Ipam:
    """Pools by id and by address space; holders by address; what is held and where the cursor stands."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.pools: dict[PoolId, Recorded[PoolAllocated]] = {}
        self.by_space: dict[tuple[str, str], dict[PoolId, Position]] = {}
        self.holders: dict[tuple[PoolId, bytes], Recorded[AddressAllocated]] = {}
        self.held: dict[PoolId, OrdinalSet] = {}
        self.cursors: dict[PoolId, int] = {}
        # Only of pools that have any: a fold of those that have none is not to pay for them.
        self.claims: dict[PoolId, Recorded[PoolClaimed]] = {}
        self.reservations: dict[PoolId, dict[bytes, Recorded[AddressReservationMade]]] = {}
        self.reserved_names: dict[tuple[PoolId, str], bytes] = {}
        # Goes at the front and comes at the back: where a dict would walk past all that have gone.
        self.resting: dict[PoolId, OrderedDict[bytes, Recorded[AddressReleased]]] = {}
        self.handlers: Handlers = {
            PoolAllocated: self._pool_allocated,
            PoolReleased: self._pool_released,
            PoolClaimed: self._pool_claimed,
            PoolDisclaimed: self._pool_disclaimed,
            AddressAllocated: self._allocated,
            AddressReleased: self._released,
            AddressReservationMade: self._reserved,
            AddressReservationEnded: self._reservation_ended,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        tables: dict[str, Mapping[Any, object]] = {
            "pools": self.pools,
            "by space": self.by_space,
            "holders": self.holders,
            "held": {pool: tuple(map(_packed, held)) for pool, held in self.held.items()},
            "cursors": {pool: _packed(cursor) for pool, cursor in self.cursors.items()},
        }
        newer: dict[str, Mapping[Any, object]] = {
            "claims": self.claims,
            "reservations": self.reservations,
            "reserved names": self.reserved_names,
            "resting": self.resting,
        }
        return with_those_that_hold(tables, newer)

    def free_ordinal(self, pool: PoolId, low: int, high: int, now: int) -> int | None:
        """Choose an ordinal from `low` to `high` that is free `now`, by the pool's policy: neither kept nor at rest."""
        held = self.held[pool]
        taken = self.pools[pool].event
        start = low
        if taken.policy is not AllocationPolicy.LOWEST and low <= self.cursors[pool] < high:
            start = self.cursors[pool] + 1
        found = held.next_free(start, low, high)
        if not self.resting or pool not in self.resting:
            return found
        rested = (taken.subnet.ordinal(address) for address in self._rested(pool, now))
        free = [ordinal for ordinal in rested if low <= ordinal <= high]
        free += [found] if found is not None else []
        return min(free, key=lambda ordinal: (ordinal < start, ordinal), default=None)

    def holders_in(self, pool: PoolId) -> Iterator[Recorded[AddressAllocated]]:
        """List who holds which address of a pool, ascending."""
        subnet = self.pools[pool].event.subnet
        for ordinal in self.held[pool]:
            holder = self.holders.get((pool, subnet.at(ordinal)))
            if holder is not None:
                yield holder

    def _pool_allocated(self, position: Position, event: PoolAllocated) -> None:
        put = self._journal.put
        space = (event.scope, event.space)
        if space not in self.by_space:
            put(self.by_space, space, {})
        put(self.by_space[space], event.pool, position)
        put(self.pools, event.pool, Recorded(position, event))
        put(self.held, event.pool, OrdinalSet(event.subnet.host_bits))
        put(self.cursors, event.pool, -1)

    def _pool_released(self, _: Position, event: PoolReleased) -> None:
        drop = self._journal.drop
        space = (event.scope, event.space)
        pools = self.by_space[space]
        drop(pools, event.pool)
        if not pools:
            drop(self.by_space, space)
        drop(self.pools, event.pool)
        drop(self.cursors, event.pool)
        if event.pool in self.resting:
            held = self.held[event.pool]
            assert held.held == len(self.resting[event.pool]), "a pool is released after its addresses"
            drop(self.resting, event.pool)
        else:
            assert not self.held[event.pool].held, "a pool is released after its addresses"
        drop(self.held, event.pool)
        assert event.pool not in self.claims, "a pool that a network has claimed goes back to who asked for it"

    def _pool_claimed(self, position: Position, event: PoolClaimed) -> None:
        assert event.pool not in self.claims, "a pool is used by one network"
        self._journal.put(self.claims, event.pool, Recorded(position, event))

    def _pool_disclaimed(self, _: Position, event: PoolDisclaimed) -> None:
        claim = self._journal.drop(self.claims, event.pool)
        assert claim.event.network == event.network, "a pool is disclaimed by who has claimed it"

    def _allocated(self, position: Position, event: AddressAllocated) -> None:
        pool = event.pool
        ordinal = self.pools[pool].event.subnet.ordinal(event.address)
        if self.resting and pool in self.resting:
            self._rise(pool, event.at)
        if not self._is_set_aside(pool, event.address):
            self._journal.take(self.held[pool], ordinal)
        self._journal.put(self.holders, (pool, event.address), Recorded(position, event))
        if event.decided_by == "netledger":
            self._journal.put(self.cursors, pool, ordinal)

    def _released(self, position: Position, event: AddressReleased) -> None:
        pool = event.pool
        holder = self._journal.drop(self.holders, (pool, event.address))
        assert holder.event.owner == event.owner, "an address is released by its holder"
        taken = self.pools[pool].event
        if taken.rest_seconds:
            self._lay_down(position, event)
        elif not self.reservations or event.address not in self.reservations.get(pool, _NO_RESERVATIONS):
            self._journal.give(self.held[pool], taken.subnet.ordinal(event.address))

    def _reserved(self, position: Position, event: AddressReservationMade) -> None:
        pool, address = event.pool, event.address
        if pool not in self.reservations:
            self._journal.put(self.reservations, pool, {})
        reserved = self.reservations[pool]
        assert address not in reserved, "an address is kept for one name"
        assert (pool, event.name) not in self.reserved_names, "a name has one address of a pool kept for it"
        self._journal.put(self.reserved_names, (pool, event.name), address)
        is_free = (pool, address) not in self.holders and not self._is_at_rest(pool, address)
        self._journal.put(reserved, address, Recorded(position, event))
        if is_free:
            self._journal.take(self.held[pool], self._subnet(pool).ordinal(address))

    def _reservation_ended(self, _: Position, event: AddressReservationEnded) -> None:
        pool, address = event.pool, event.address
        reserved = self.reservations[pool]
        ended = self._journal.drop(reserved, address)
        assert ended.event.name == event.name, "a reservation is ended by its name"
        self._journal.drop(self.reserved_names, (pool, event.name))
        if not reserved:
            self._journal.drop(self.reservations, pool)
        if (pool, address) not in self.holders and not self._is_at_rest(pool, address):
            self._journal.give(self.held[pool], self._subnet(pool).ordinal(address))

    # --- what is neither free nor allocated

    def _is_set_aside(self, pool: PoolId, address: bytes) -> bool:
        """Whether an address that is being allocated was kept or at rest, and so is held; its rest ends."""
        if self.resting and self._is_at_rest(pool, address):
            resting = self.resting[pool]
            self._journal.drop(resting, address)
            if not resting:
                self._journal.drop(self.resting, pool)
            return True
        return bool(self.reservations) and address in self.reservations.get(pool, _NO_RESERVATIONS)

    def _is_at_rest(self, pool: PoolId, address: bytes) -> bool:
        resting = self.resting.get(pool)
        return resting is not None and address in resting

    def _lay_down(self, position: Position, event: AddressReleased) -> None:
        """Let an address rest, which stays held."""
        if event.pool in self.resting:
            self._rise(event.pool, event.at)
        if event.pool not in self.resting:
            self._journal.put(self.resting, event.pool, OrderedDict())
        self._journal.put(self.resting[event.pool], event.address, Recorded(position, event))

    def _rise(self, pool: PoolId, now: int) -> None:
        """End the rest of what has rested for long enough, the first that was released first."""
        resting = self.resting[pool]
        reserved = self.reservations.get(pool, _NO_RESERVATIONS)
        for address in list(self._over(pool, now)):
            self._journal.drop(resting, address)
            if address not in reserved:
                self._journal.give(self.held[pool], self._subnet(pool).ordinal(address))
        if not resting:
            self._journal.drop(self.resting, pool)

    def _rested(self, pool: PoolId, now: int) -> list[bytes]:
        """List what has rested for long enough and is kept for nobody."""
        reserved = self.reservations.get(pool, _NO_RESERVATIONS)
        return [address for address in self._over(pool, now) if address not in reserved]

    def _over(self, pool: PoolId, now: int) -> Iterator[bytes]:
        """Go through what has rested for long enough, up to the first that has not."""
        rest = self.pools[pool].event.rest_seconds * NANOSECONDS
        for address, released in self.resting[pool].items():
            if released.event.at + rest > now:
                return
            yield address

    def _subnet(self, pool: PoolId) -> Subnet:
        return self.pools[pool].event.subnet


def _packed(ordinal: int) -> int | bytes:
    """Write an ordinal as MessagePack can: as a number, or as bytes where it has more than 64 bits."""
    return ordinal if ordinal < 1 << 64 else ordinal.to_bytes(16, "big")
