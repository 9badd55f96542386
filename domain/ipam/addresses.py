"""Addresses of a pool: the one that is asked for, the one that is kept for a name, or a free one.

Keeps: no address is chosen that is held, reserved, kept for another name, or at rest. Its rest is cut short only where
its caller names it or the name that had it comes back, or where the pool has no other left; the event says so.
Knows nothing of: interfaces, clocks (what time it is comes in with the command), how the held addresses are stored.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from msgspec import Struct

from ..errors import Conflict, Exhausted, Invalid
from ..events import (
    UNCLAIMED,
    AddressAllocated,
    AddressReleased,
    AddressReservationEnded,
    AddressReservationMade,
    Entity,
    Event,
    Origin,
    PoolAllocated,
    Recorded,
)
from ..values import NANOSECONDS, PoolId, Subnet, family_of, format_address
from ..view import View, name_of
from .pools import choosable, is_usable

TAKEN_BACK = "the name it was kept for took it"
TIME_OVER = "its time is over"


class Taken(Struct, frozen=True, gc=False):
    """An address that was decided on, and what ends so that it can be had.

    `lease`: under which it was requested, by somebody who has not claimed it. `reservation`: what keeps it, and ends
    with this.
    """

    pool: PoolId
    subnet: Subnet
    address: bytes
    decided_by: str
    rest_cut: int = 0
    lease: str = ""
    reservation: Recorded[AddressReservationMade] | None = None
    why_ended: str = ""

    def events(self, origin: Origin, owner: Entity, purpose: str, name: str = "") -> Iterator[Event]:
        """List the events that give it to its owner."""
        if self.reservation is not None:
            yield ended(self.reservation.event, origin, self.why_ended)
        if self.lease:
            theirs = (UNCLAIMED, self.lease)
            yield AddressReleased(*origin, pool=self.pool, address=self.address, owner=theirs, why="claimed")
        yield AddressAllocated(
            *origin,
            pool=self.pool,
            address=self.address,
            owner=owner,
            purpose=purpose,
            decided_by=self.decided_by,
            name=name,
            lease=self.lease,
            rest_cut=self.rest_cut,
        )


def choose_address(  # noqa: PLR0913  # who asks, for what, and what else is known of it
    view: View,
    pools: Sequence[PoolId],
    wanted: bytes | None,
    family: int,
    asked: str,
    *,
    now: int,
    name: str = "",
    superseded: Container[Entity] = (),
    may_claim: bool = False,
) -> Taken:
    """Decide on an address of a family: the one asked for, else one kept for the name, else a free one.

    `superseded` are holders that lose it by this very decision. `may_claim`: one that was requested and that nobody has
    claimed may be taken over.
    """
    mine = [_pool(view, pool) for pool in pools]
    mine = [pool for pool in mine if pool.subnet.family == family]
    if wanted is not None:
        return _given(view, mine, wanted, asked, now=now, name=name, superseded=superseded, may_claim=may_claim)
    chosen = (
        (_kept_for(view, mine, name, now, superseded) if name else None)
        or _free(view, mine, now)
        or _kept_too_long(view, mine, now)
        or _at_rest(view, mine, now)
    )
    if chosen is None:
        where = ", ".join(str(pool.sub_pool or pool.subnet) for pool in mine)
        raise Exhausted(
            asked,
            f"no free IPv{family} address in {where}",
            "see `netledger ipam inspect`; delete endpoints of the network, or create one with a larger subnet",
        )
    return chosen


def ended(made: AddressReservationMade, origin: Origin, why: str) -> AddressReservationEnded:
    """End a reservation."""
    return AddressReservationEnded(
        *origin, pool=made.pool, address=made.address, network=made.network, name=made.name, why=why
    )


def lease_of(held: AddressAllocated) -> str:
    """Name the lease under which an address was requested, by who holds it or before they claimed it."""
    return held.owner[1] if held.owner[0] == UNCLAIMED else held.lease


def is_over(made: AddressReservationMade, now: int) -> bool:
    """Whether a reservation binds nobody any more, although no event has ended it yet."""
    return 0 < made.until <= now


def rest_left(view: View, pool: PoolAllocated, address: bytes, now: int) -> int:
    """Return for how many nanoseconds more an address is to rest."""
    released = view.resting(pool.pool).get(address)
    return max(0, released.event.at + pool.rest_seconds * NANOSECONDS - now) if released is not None else 0


def _pool(view: View, pool: PoolId) -> PoolAllocated:
    record = view.pool(pool)
    assert record is not None, "a network's pool is there"
    return record.event


def _given(
    view: View,
    pools: Sequence[PoolAllocated],
    wanted: bytes,
    asked: str,
    *,
    now: int,
    name: str,
    superseded: Container[Entity],
    may_claim: bool,
) -> Taken:
    text = format_address(wanted)
    pool = next((pool for pool in pools if wanted in pool.subnet), None)
    if pool is None:
        subnets = ", ".join(str(pool.subnet) for pool in pools) or f"none of IPv{family_of(wanted)}"
        raise Invalid(asked, f"address {text} is in none of this network's subnets", f"they are: {subnets}")
    if not is_usable(pool.subnet, wanted):
        raise Invalid(asked, f"address {text} is reserved in {pool.subnet}", "take one between its first and its last")
    holder = view.holder(pool.pool, wanted)
    is_claimed = holder is not None and may_claim and holder.event.owner[0] == UNCLAIMED
    if holder is not None and not is_claimed and holder.event.owner not in superseded:
        raise Conflict(
            asked,
            f"address {text} is held by {name_of(view, holder.event.owner)}",
            "choose another, or leave it out and a free one is chosen",
            position=holder.position,
        )
    rest = rest_left(view, pool, wanted, now)
    if holder is not None and not is_claimed:
        rest = pool.rest_seconds * NANOSECONDS  # it has none: its holder loses it in this moment
    made = view.reservation(pool.pool, wanted)
    if made is not None and made.event.name != name and not is_over(made.event, now):
        raise Conflict(
            asked,
            f"address {text} is kept for endpoint {made.event.name}",
            "choose another, or end that reservation with `netledger ipam unreserve`",
            position=made.position,
        )
    return Taken(
        pool.pool,
        pool.subnet,
        wanted,
        "caller",
        rest,
        lease_of(holder.event) if holder is not None else "",
        made if made is not None and made.event.until else None,
        TAKEN_BACK if made is not None and made.event.name == name else TIME_OVER,
    )


def _kept_for(
    view: View, pools: Sequence[PoolAllocated], name: str, now: int, superseded: Container[Entity]
) -> Taken | None:
    """Give a name the address that is kept for it, also if its holder loses it by this very decision.

    Not one that a lease holds, which older logs may have kept.
    """
    for pool in pools:
        made = view.reservation_for(pool.pool, name)
        if made is not None and not is_over(made.event, now):
            address = made.event.address
            holder = view.holder(pool.pool, address)
            if holder is not None and (holder.event.owner not in superseded or lease_of(holder.event)):
                continue
            rest = rest_left(view, pool, address, now) if holder is None else pool.rest_seconds * NANOSECONDS
            ending = made if made.event.until else None
            return Taken(pool.pool, pool.subnet, address, "reservation", rest, "", ending, TAKEN_BACK)
    return None


def _free(view: View, pools: Sequence[PoolAllocated], now: int) -> Taken | None:
    for pool in pools:
        low, high = choosable(pool.subnet, pool.sub_pool)
        ordinal = view.free_ordinal(pool.pool, low, high, now)
        if ordinal is not None:
            return Taken(pool.pool, pool.subnet, pool.subnet.at(ordinal), "netledger")
    return None


def _kept_too_long(view: View, pools: Sequence[PoolAllocated], now: int) -> Taken | None:
    """Take an address whose reservation is over, where no other is left."""
    for pool in pools:
        for made in view.reservations_in(pool.pool):
            address = made.event.address
            if is_over(made.event, now) and _is_choosable(pool, address) and view.holder(pool.pool, address) is None:
                rest = rest_left(view, pool, address, now)
                return Taken(pool.pool, pool.subnet, address, "netledger", rest, "", made, TIME_OVER)
    return None


def _at_rest(view: View, pools: Sequence[PoolAllocated], now: int) -> Taken | None:
    """Cut the rest of the address short that has rested longest, where no other is left."""
    for pool in pools:
        for address in view.resting(pool.pool):
            if _is_choosable(pool, address) and view.reservation(pool.pool, address) is None:
                rest = rest_left(view, pool, address, now)
                return Taken(pool.pool, pool.subnet, address, "netledger", rest)
    return None


def _is_choosable(pool: PoolAllocated, address: bytes) -> bool:
    low, high = choosable(pool.subnet, pool.sub_pool)
    return low <= pool.subnet.ordinal(address) <= high
