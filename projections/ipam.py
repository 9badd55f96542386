"""Address pools and who holds which address: a fold.

Keeps: a pool's ordinals are held exactly by the addresses that are allocated and not released; the cursor stands on
the last address that netledger chose. Knows nothing of: which block or address should be chosen (see `domain.ipam`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import AddressAllocated, AddressReleased, PoolAllocated, PoolReleased, Recorded
from ..domain.ipam.ordinals import OrdinalSet
from ..domain.values import AllocationPolicy, PoolId, Position
from .journal import Handlers, Journal


class Ipam:
    """Pools by id and by address space; holders by address; what is held and where the cursor stands."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.pools: dict[PoolId, Recorded[PoolAllocated]] = {}
        self.by_space: dict[tuple[str, str], dict[PoolId, Position]] = {}
        self.holders: dict[tuple[PoolId, bytes], Recorded[AddressAllocated]] = {}
        self.held: dict[PoolId, OrdinalSet] = {}
        self.cursors: dict[PoolId, int] = {}
        self.handlers: Handlers = {
            PoolAllocated: self._pool_allocated,
            PoolReleased: self._pool_released,
            AddressAllocated: self._allocated,
            AddressReleased: self._released,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return {
            "pools": self.pools,
            "by space": self.by_space,
            "holders": self.holders,
            "held": {pool: tuple(held) for pool, held in self.held.items()},
            "cursors": self.cursors,
        }

    def free_ordinal(self, pool: PoolId, low: int, high: int) -> int | None:
        """Choose a free ordinal from `low` to `high` by the pool's policy; None when all are held."""
        held = self.held[pool]
        if self.pools[pool].event.policy is AllocationPolicy.LOWEST:
            return held.first_free(low, high)
        start = self.cursors[pool] + 1
        return held.next_free(start if low <= start <= high else low, low, high)

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
        held = drop(self.held, event.pool)
        assert not held.held, "a pool is released after its addresses"

    def _allocated(self, position: Position, event: AddressAllocated) -> None:
        ordinal = self.pools[event.pool].event.subnet.ordinal(event.address)
        self._journal.take(self.held[event.pool], ordinal)
        self._journal.put(self.holders, (event.pool, event.address), Recorded(position, event))
        if event.decided_by == "netledger":
            self._journal.put(self.cursors, event.pool, ordinal)

    def _released(self, _: Position, event: AddressReleased) -> None:
        holder = self._journal.drop(self.holders, (event.pool, event.address))
        assert holder.event.owner == event.owner, "an address is released by its holder"
        self._journal.give(self.held[event.pool], self.pools[event.pool].event.subnet.ordinal(event.address))
