"""Occupancy: how full a pool is, and with what; why an address is whose it is, or nobody's.

Keeps: size = reserved + in use + kept + resting + free, for every pool at every position.
Knows nothing of: clocks (what time it is comes in), the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from ..domain.events import UNCLAIMED, AddressAllocated, PoolAllocated, Recorded
from ..domain.ipam.addresses import is_over, rest_left
from ..domain.ipam.pools import choosable, is_usable, usable
from ..domain.values import PoolId, format_address
from ..domain.view import View, name_of


class Holder(Struct, frozen=True):
    """Who holds an address, for what, since which position of the log; `owner` as people call it."""

    address: str
    owner: str
    owner_kind: str
    owner_id: str
    purpose: str
    decided_by: str
    position: int
    at: int


class Kept(Struct, frozen=True):
    """For which name an address is kept; `until` in UTC nanoseconds, 0 until it is ended."""

    address: str
    name: str
    until: int
    position: int


class Resting(Struct, frozen=True):
    """Which address rests, for how many nanoseconds more, since which position."""

    address: str
    rest_left: int
    position: int


class Occupancy(Struct, frozen=True):
    """How full a pool is. All but `holders`, `kept_for` and `at_rest` are numbers of addresses or what was asked for.

    `free` counts the whole pool, `choosable` what of it may be chosen: the sub-pool's part. `in_use` is by purpose.
    """

    pool: str
    space: str
    subnet: str
    sub_pool: str
    user: str
    policy: str
    rest_seconds: int
    grace_seconds: int
    predefined: bool
    avoided: tuple[str, ...]
    ipam_driver: str
    position: int
    size: int
    reserved: int
    in_use: Mapping[str, int]
    kept: int
    resting: int
    free: int
    choosable: int
    holders: tuple[Holder, ...]
    kept_for: tuple[Kept, ...]
    at_rest: tuple[Resting, ...]


class Explanation(Struct, frozen=True):
    """Why an address is as it is in one pool, in words; `state` in one, `position` of the event behind it."""

    address: str
    pool: str
    subnet: str
    state: str
    words: str
    position: int


def occupancy(view: View, pool: PoolId, now: int) -> Occupancy:
    """Count a pool."""
    record = view.pool(pool)
    assert record is not None, "a pool that is counted is there"
    event = record.event
    holders = [_holder(view, holder) for holder in view.holders_in(pool)]
    held = {holder.event.address for holder in view.holders_in(pool)}
    kept = [made for made in view.reservations_in(pool) if made.event.address not in held]
    set_aside = held | {made.event.address for made in kept}
    resting = {
        address: released
        for address, released in view.resting(pool).items()
        if address not in set_aside and rest_left(view, event, address, now)
    }
    low, high = usable(event.subnet)
    size = 1 << event.subnet.host_bits
    taken = set_aside | resting.keys()
    first, last = choosable(event.subnet, event.sub_pool)
    inside = sum(first <= event.subnet.ordinal(address) <= last for address in taken)
    return Occupancy(
        pool=pool,
        space=event.space,
        subnet=str(event.subnet),
        sub_pool=str(event.sub_pool or ""),
        user=user_of(view, record),
        policy=event.policy,
        rest_seconds=event.rest_seconds,
        grace_seconds=event.grace_seconds,
        predefined=event.predefined,
        avoided=event.avoided,
        ipam_driver=event.ipam_driver,
        position=record.position,
        size=size,
        reserved=size - (high - low + 1),
        in_use=dict(sorted(Counter(holder.purpose for holder in holders).items())),
        kept=len(kept),
        resting=len(resting),
        free=high - low + 1 - len(taken),
        choosable=last - first + 1 - inside,
        holders=tuple(holders),
        kept_for=tuple(
            Kept(format_address(made.event.address), made.event.name, made.event.until, made.position)
            for made in view.reservations_in(pool)
        ),
        at_rest=tuple(
            Resting(format_address(address), rest_left(view, event, address, now), released.position)
            for address, released in resting.items()
        ),
    )


def user_of(view: View, pool: Recorded[PoolAllocated]) -> str:
    """Say whose a pool is."""
    user = view.pool_user(pool.event.pool)
    return name_of(view, ("network", user)) if user is not None else name_of(view, (UNCLAIMED, pool.event.lease))


def explain_address(view: View, pools: Iterable[PoolId], address: bytes, now: int) -> list[Explanation]:
    """Say for each of the pools that have this address, why it is whose it is, or nobody's."""
    found = []
    for pool in pools:
        record = view.pool(pool)
        assert record is not None, "a pool that is asked about is there"
        if address in record.event.subnet:
            state, words, position = _explain(view, record, address, now)
            found.append(Explanation(format_address(address), pool, str(record.event.subnet), state, words, position))
    return found


def why_full(counted: Occupancy) -> str:
    """Say what fills a pool, or how much of it is left."""
    parts = [f"{number} {purpose}" for purpose, number in counted.in_use.items()]
    parts += [f"{counted.kept} kept for names"] * bool(counted.kept) + [f"{counted.resting} resting"] * bool(
        counted.resting
    )
    held = ", ".join([f"{counted.reserved} reserved", *parts])
    where = f" of {counted.sub_pool}" if counted.sub_pool else ""
    left = f"{counted.choosable} can be chosen{where}"
    return f"{counted.size} addresses: {held}, {counted.free} free; {left}"


def _explain(view: View, pool: Recorded[PoolAllocated], address: bytes, now: int) -> tuple[str, str, int]:
    event = pool.event
    subnet = event.subnet
    if not is_usable(subnet, address):
        is_first = address == subnet.address
        what = "the subnet-router anycast address" if subnet.family == 6 else "the network's own address"
        return "reserved", f"{what if is_first else 'the broadcast address'} of {subnet}: nobody gets it", pool.position
    holder = view.holder(event.pool, address)
    made = view.reservation(event.pool, address)
    if holder is not None:
        kept = f"; it is kept for {made.event.name}" if made is not None else ""
        return holder.event.purpose, f"{_why_held(view, event, holder)}{kept}", holder.position
    if made is not None:
        over = "; its time is over, and it is given away when no other is left" if is_over(made.event, now) else ""
        return "kept", f"kept for endpoint {made.event.name}{over}", made.position
    left = rest_left(view, event, address, now)
    if left:
        released = view.resting(event.pool)[address]
        who = name_of(view, released.event.owner)
        until = "unless no other is left, or it is asked for"
        return "resting", f"released by {who}, rests for {left / 1e9:.0f} s more {until}", released.position
    low, high = choosable(subnet, event.sub_pool)
    if not low <= subnet.ordinal(address) <= high:
        return "free", f"outside the range {event.sub_pool}: given only to who asks for it", pool.position
    next_one = view.free_ordinal(event.pool, low, high, now)
    is_next = next_one is not None and subnet.at(next_one) == address
    words = "the next to be chosen" if is_next else f"free; the next to be chosen is {_next(pool.event, next_one)}"
    return "free", f"{words} (policy {event.policy})", pool.position


def _next(pool: PoolAllocated, ordinal: int | None) -> str:
    return format_address(pool.subnet.at(ordinal)) if ordinal is not None else "none"


def _why_held(view: View, pool: PoolAllocated, holder: Recorded[AddressAllocated]) -> str:
    event = holder.event
    how = {
        "netledger": f"chosen by netledger, policy {pool.policy}",
        "caller": "asked for by name",
        "driver": f"chosen by IPAM driver {pool.ipam_driver}",
        "reservation": "kept for that name",
    }.get(event.decided_by, event.decided_by)
    name = f" {event.name}" if event.name else ""
    cut = f"; its rest was cut short by {event.rest_cut / 1e9:.0f} s" if event.rest_cut else ""
    lease = f"; requested before under lease {event.lease[:12]}" if event.lease else ""
    return f"{event.purpose}{name} of {name_of(view, event.owner)}: {how}, by {event.actor}{cut}{lease}"


def _holder(view: View, holder: Recorded[AddressAllocated]) -> Holder:
    event = holder.event
    return Holder(
        address=format_address(event.address),
        owner=name_of(view, event.owner),
        owner_kind=event.owner[0],
        owner_id=event.owner[1],
        purpose=event.purpose,
        decided_by=event.decided_by,
        position=holder.position,
        at=event.at,
    )
