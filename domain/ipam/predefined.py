"""The blocks that a network gets when its creator names none.

IPv4: moby's `default-address-pools` (daemon/libnetwork/ipamutils), in its order, or those that the host is configured
with. IPv6: as configured, else the host's own /48 of fd00::/8 (RFC 4193), 40 bits of the SHA-256 of the host's id, in
/64s. `GlobalDefault`: 10.0.0.0/8 in /24s.
Keeps: the search for a free block takes a step for each block that is taken, not for each that there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ..errors import Invalid
from ..events import GLOBAL_DEFAULT
from ..values import HostId, PredefinedPool, Subnet, check_subnet, family_of, parse_subnet

DEFAULT_POOLS: tuple[PredefinedPool, ...] = tuple(
    PredefinedPool(parse_subnet(base), size)
    for base, size in (
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
    )
)
GLOBAL_POOLS = (PredefinedPool(parse_subnet("10.0.0.0/8"), 24),)

IPV6_BASE_PREFIX = 48
IPV6_SIZE = 64
POOLS_LIMIT = 256
"""Predefined pools that a host is configured with, at most."""


def predefined_pools(
    family: int, host: HostId, space: str, configured: Sequence[PredefinedPool]
) -> tuple[PredefinedPool, ...]:
    """List from where predefined blocks of a family are taken in an address space, in the order of trying."""
    if space == GLOBAL_DEFAULT:
        pools: Sequence[PredefinedPool] = GLOBAL_POOLS
    else:
        pools = configured or DEFAULT_POOLS
    mine = tuple(pool for pool in pools if pool.base.family == family)
    return mine or ((PredefinedPool(host_ula(host), IPV6_SIZE),) if family == 6 else ())


def host_ula(host: HostId) -> Subnet:
    """Make the host's unique local IPv6 prefix, a /48 that is the same at every start."""
    return Subnet(b"\xfd" + hashlib.sha256(host.encode()).digest()[:5] + bytes(10), IPV6_BASE_PREFIX)


def first_free_block(pools: Iterable[PredefinedPool], size: int, taken: Iterable[Subnet]) -> Subnet | None:
    """Find the first block, of `size` or (0) of the pool's own, that overlaps nothing that is taken."""
    spans = [_span(block) for block in taken]
    for pool in pools:
        prefix = size or pool.size
        if prefix < pool.base.prefix:
            continue
        found = _first_gap(pool.base, prefix, spans)
        if found is not None:
            return found
    return None


def checked_pools(pools: Sequence[PredefinedPool], asked: str) -> tuple[PredefinedPool, ...]:
    """Sort configured pools, without those that lie in another; refuse what is none (moby, ipamutils)."""
    if len(pools) > POOLS_LIMIT:
        raise Invalid(asked, f"{len(pools)} address pools", f"give {POOLS_LIMIT} at most")
    for pool in pools:
        check_subnet(asked, pool.base)
        bits = len(pool.base.address) * 8
        if not pool.base.prefix <= pool.size <= bits:
            raise Invalid(
                asked,
                f"blocks of /{pool.size} cannot be had from {pool.base}",
                f"give a size from {pool.base.prefix} to {bits}",
            )
    kept: list[PredefinedPool] = []
    for pool in sorted(pools, key=lambda pool: (family_of(pool.base.address), pool.base, pool.size)):
        if not any(other.base.overlaps(pool.base) for other in kept):
            kept.append(pool)
    return tuple(kept)


def _first_gap(base: Subnet, prefix: int, spans: Sequence[tuple[int, int, int]]) -> Subnet | None:
    """Go from block to block, past whatever is in the way."""
    family, first, end = _span(base)
    step = 1 << (len(base.address) * 8 - prefix)
    near = sorted((low, high) for other, low, high in spans if other == family and low < end and high > first)
    start = first
    for low, high in near:
        if start + step <= low:
            break
        if high > start:
            start = first + -(-(high - first) // step) * step
    return Subnet(start.to_bytes(len(base.address), "big"), prefix) if start + step <= end else None


def _span(block: Subnet) -> tuple[int, int, int]:
    """Return a block's family, its first address as a number, and the one after its last."""
    first = int.from_bytes(block.address, "big")
    return block.family, first, first + (1 << block.host_bits)
