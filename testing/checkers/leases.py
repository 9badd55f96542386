"""Address management's promises: parts of pools, rests, names that addresses are kept for, what is claimed."""

from __future__ import annotations

import ipaddress

from ...domain import events as ev
from .checker import Checker, require
from .holdings import Block, _block

SECOND = 1_000_000_000
Address = tuple[str, bytes]
"""A pool's id and a packed address."""


class Choices(Checker):
    """Which addresses are chosen."""

    name = "choices"
    invariant = (
        "An address that nobody asked for is in its pool's range; its rest is cut short only if no other was left."
    )

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[str, ev.PoolAllocated] = {}
        self._held: dict[str, set[bytes]] = {}
        self._kept: dict[str, dict[bytes, int]] = {}
        self._released: dict[Address, int] = {}

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        if event.sub_pool is not None:
            require(_inside(_block(event.sub_pool), _block(event.subnet)), "its range is outside it")
        self._pools[event.pool] = event
        self._held[event.pool], self._kept[event.pool] = set(), {}

    def pool_released(self, event: ev.PoolReleased) -> None:
        require(self._pools.pop(event.pool, None), "the pool is not there")
        self._released = {key: at for key, at in self._released.items() if key[0] != event.pool}

    def address_reservation_made(self, event: ev.AddressReservationMade) -> None:
        require(event.pool in self._pools, "its pool is not there")
        self._kept[event.pool][event.address] = event.until

    def address_reservation_ended(self, event: ev.AddressReservationEnded) -> None:
        kept = self._kept.get(event.pool, {})
        require(event.address in kept, "it is kept for nobody")
        del kept[event.address]

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        pool = self._pools.get(event.pool)
        require(pool, "its pool is not there")
        assert pool is not None, "required above"
        rest = self._rest(event.pool, event.address, event.at)
        if event.decided_by == "netledger":
            require(_number(event.address) in _range(pool), f"it is not in {pool.sub_pool or pool.subnet}")
            if rest > 0:
                left = self._free(pool, event.at)
                require(not left, f"it was at rest, and {left} others were free")
        if event.purpose in {"endpoint", "unclaimed"} and not event.lease and event.decided_by != "driver":
            require(event.rest_cut == max(rest, 0), f"its rest was cut by {max(rest, 0)} ns")
        self._held[event.pool].add(event.address)
        self._released.pop((event.pool, event.address), None)

    def address_released(self, event: ev.AddressReleased) -> None:
        require(event.address in self._held.get(event.pool, ()), "it is held by nobody")
        self._held[event.pool].discard(event.address)
        self._released[event.pool, event.address] = event.at

    def _rest(self, pool: str, address: bytes, now: int) -> int:
        seconds = self._pools[pool].rest_seconds
        released = self._released.get((pool, address))
        return released + seconds * SECOND - now if seconds and released is not None else 0

    def _free(self, pool: ev.PoolAllocated, now: int) -> int:
        numbers = _range(pool)
        kept = {address for address, until in self._kept[pool.pool].items() if not until or until > now}
        resting: set[bytes] = set()
        for other, address in self._released:
            # In the order of the log, from which the clocks of several writers may differ by moments: none rises before
            # one that was released before it.
            if other == pool.pool and (resting or self._rest(other, address, now) > 0):
                resting.add(address)
        taken = self._held[pool.pool] | kept | resting
        return numbers.stop - numbers.start - sum(_number(address) in numbers for address in taken)


class Reservations(Checker):
    """Addresses that are kept for names."""

    name = "reservations"
    invariant = "An address is kept for one name, and a name has one of a pool; while it is kept nobody else gets it."

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Address, ev.AddressReservationMade] = {}
        self._taking: dict[Address, str] = {}
        self._decided: dict[Address, str] = {}

    def address_reservation_made(self, event: ev.AddressReservationMade) -> None:
        key = (event.pool, event.address)
        require(key not in self._kept, "it is kept for a name already")
        mine = [made for made in self._kept.values() if (made.pool, made.name) == (event.pool, event.name)]
        require(not mine, f"the name {event.name} has another address of the pool")
        self._kept[key] = event

    def address_reservation_ended(self, event: ev.AddressReservationEnded) -> None:
        made = self._kept.pop((event.pool, event.address), None)
        require(made, "it is kept for no name")
        assert made is not None, "required above"
        require(made.name == event.name, f"it is kept for {made.name}")
        if event.why == "its time is over":
            require(0 < made.until <= event.at, "its time is not over")
        if event.why == "the name it was kept for took it":
            self._taking[event.pool, event.address] = event.name

    def pool_released(self, event: ev.PoolReleased) -> None:
        require(all(pool != event.pool for pool, _ in self._kept), "addresses of it are kept for names")

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        key = (event.pool, event.address)
        self._decided[key] = event.decided_by
        made = self._kept.get(key)
        require(made is None or event.owner[0] == "endpoint", "it is kept for the endpoint of a name")

    def endpoint_created(self, event: ev.EndpointCreated) -> None:
        for held in event.addresses:
            key = (held.pool, held.address)
            made = self._kept.get(key)
            require(made is None or made.name == event.name, "its address is kept for another name")
            require(self._taking.pop(key, event.name) == event.name, "it took what was kept for another name")
            if self._decided.get(key) == "netledger":
                mine = [
                    kept
                    for kept in self._kept.values()
                    if (kept.pool, kept.name) == (held.pool, event.name) and (not kept.until or kept.until > event.at)
                ]
                require(not mine, "it did not get the address that is kept for its name")


class Claims(Checker):
    """Pools and addresses that are requested before anybody uses them."""

    name = "claims"
    invariant = "What is claimed was requested and is whose it was again afterwards; a claimed pool is not released."

    def __init__(self) -> None:
        super().__init__()
        self._leases: dict[str, str] = {}
        self._users: dict[str, str] = {}
        self._last: dict[Address, tuple[str, str]] = {}
        self._claimed: dict[Address, str] = {}

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        require(bool(event.lease) != bool(event.network), "a pool is a network's or a lease's")
        if event.lease:
            self._leases[event.pool] = event.lease

    def pool_claimed(self, event: ev.PoolClaimed) -> None:
        require(self._leases.get(event.pool) == event.lease, "nobody has requested it under that lease")
        require(event.pool not in self._users, "a network has claimed it already")
        self._users[event.pool] = event.network

    def pool_disclaimed(self, event: ev.PoolDisclaimed) -> None:
        require(self._users.pop(event.pool, None) == event.network, "the network has not claimed it")

    def pool_released(self, event: ev.PoolReleased) -> None:
        require(event.pool not in self._users, "a network has claimed it")
        self._leases.pop(event.pool, None)

    def address_allocated(self, event: ev.AddressAllocated) -> None:
        key = (event.pool, event.address)
        if event.lease:
            theirs = ("unclaimed", event.lease)
            is_back = event.owner == theirs and self._claimed.pop(key, "") == event.lease
            require(is_back or self._last.get(key) == theirs, "it was not requested under that lease")
            if not is_back:
                self._claimed[key] = event.lease
        self._last[key] = event.owner


class Settings(Checker):
    """A host's settings."""

    name = "settings"
    invariant = "A block that nobody named is one of the host's predefined pools."

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[str, list[tuple[Block, int]]] = {}

    def configuration_changed(self, event: ev.ConfigurationChanged) -> None:
        pools = [(_block(pool.base), pool.size) for pool in event.default_pools]
        require(all(block.prefixlen <= size for block, size in pools), "a block is larger than its pool")
        self._pools[event.host] = pools

    def pool_allocated(self, event: ev.PoolAllocated) -> None:
        mine = [block for block, _ in self._pools.get(event.host, []) if block.version == event.subnet.family]
        if event.predefined and event.space != ev.GLOBAL_DEFAULT and mine:
            require(any(_inside(_block(event.subnet), block) for block in mine), "it is in none of the host's pools")


def _inside(part: Block, whole: Block) -> bool:
    if isinstance(part, ipaddress.IPv4Network) and isinstance(whole, ipaddress.IPv4Network):
        return part.subnet_of(whole)
    if isinstance(part, ipaddress.IPv6Network) and isinstance(whole, ipaddress.IPv6Network):
        return part.subnet_of(whole)
    return False


def _range(pool: ev.PoolAllocated) -> range:
    """List the addresses, as numbers, that may be chosen."""
    block = _block(pool.subnet)
    first, last = int(block[0]), int(block[-1])
    if block.num_addresses > 2:
        first, last = first + 1, last - (block.version == 4)
    if pool.sub_pool is not None:
        part = _block(pool.sub_pool)
        first, last = max(first, int(part[0])), min(last, int(part[-1]))
    return range(first, last + 1)


def _number(address: bytes) -> int:
    return int.from_bytes(address, "big")
