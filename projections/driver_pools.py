"""What other IPAM drivers than ours gave: their pools, and what is to go back to them: a fold.

Keeps: what was released in the log is owed to its driver until the log says that it took it back, or that somebody here
has been given it anew. Knows nothing of: how a driver is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..domain.events import (
    DEFAULT_IPAM,
    AddressAllocated,
    AddressReleased,
    Event,
    PoolAllocated,
    PoolReleased,
    Recorded,
    ReturnEnded,
    ReturnOwed,
)
from ..domain.values import HostId, PoolId, Position
from .journal import Handlers, Journal, with_those_that_hold

Owed: TypeAlias = tuple[HostId, str, str, bytes]
"""The host that has to give back, the driver, its name for the pool, and the address (empty: the pool itself)."""


class DriverPools:
    """Pools of IPAM drivers other than ours, and what is owed to each."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.pools: dict[PoolId, Recorded[PoolAllocated]] = {}
        self.owed: dict[Owed, Recorded[Event]] = {}
        """With the event that says so: a release, or what was in the way of giving it back."""
        self.held: dict[tuple[PoolId, bytes], Position] = {}
        """Addresses of these pools that somebody has, and since when."""
        self.handlers: Handlers = {
            PoolAllocated: self._pool_allocated,
            PoolReleased: self._pool_released,
            AddressAllocated: self._allocated,
            AddressReleased: self._released,
            ReturnOwed: self._owed,
            ReturnEnded: self._ended,
        }

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return with_those_that_hold({}, {"pools": self.pools, "owed": self.owed, "held": self.held})

    def of(self, driver: str) -> list[Recorded[PoolAllocated]]:
        """List the pools of a driver, the oldest first."""
        return [record for record in self.pools.values() if record.event.ipam_driver == driver]

    def find(self, driver: str, driver_pool: str) -> PoolId | None:
        """Find our pool that is a driver's, by its own name for it."""
        return next((record.event.pool for record in self.of(driver) if record.event.driver_pool == driver_pool), None)

    def _pool_allocated(self, position: Position, event: PoolAllocated) -> None:
        if event.ipam_driver != DEFAULT_IPAM:
            self._journal.put(self.pools, event.pool, Recorded(position, event))
            self._settled((event.host, event.ipam_driver, event.driver_pool, b""))

    def _pool_released(self, position: Position, event: PoolReleased) -> None:
        pool = self.pools.get(event.pool)
        if pool is not None:
            self._journal.drop(self.pools, event.pool)
            key = (event.host, pool.event.ipam_driver, pool.event.driver_pool, b"")
            self._journal.put(self.owed, key, Recorded(position, event))

    def _allocated(self, position: Position, event: AddressAllocated) -> None:
        pool = self.pools.get(event.pool)
        if pool is not None:
            self._journal.put(self.held, (event.pool, event.address), position)
            self._settled((event.host, pool.event.ipam_driver, pool.event.driver_pool, event.address))

    def _released(self, position: Position, event: AddressReleased) -> None:
        pool = self.pools.get(event.pool)
        if pool is not None:
            if (event.pool, event.address) in self.held:
                self._journal.drop(self.held, (event.pool, event.address))
            key = (event.host, pool.event.ipam_driver, pool.event.driver_pool, event.address)
            self._journal.put(self.owed, key, Recorded(position, event))

    def _owed(self, position: Position, event: ReturnOwed) -> None:
        pool = self.find(event.ipam_driver, event.driver_pool)
        if pool is not None and (not event.address or (pool, event.address) in self.held):
            return  # another writer was given it before this was written
        key = (event.host, event.ipam_driver, event.driver_pool, event.address)
        self._journal.put(self.owed, key, Recorded(position, event))

    def _ended(self, _: Position, event: ReturnEnded) -> None:
        self._settled((event.host, event.ipam_driver, event.driver_pool, event.address))

    def _settled(self, key: Owed) -> None:
        if key in self.owed:
            self._journal.drop(self.owed, key)
