"""Address pools: which block, which gateway, which address.

Keeps: no two pools of one address space overlap; no address is chosen that is held or reserved.
Knows nothing of: interfaces, clocks, how the held addresses are stored (see `ordinals`).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..commands import PoolRequest
from ..errors import Conflict, Exhausted, Invalid
from ..events import LOCAL_DEFAULT, NetworkPool
from ..values import HostId, PoolId, Subnet, family_of, format_address, parse_subnet
from ..view import View, name_of
from .predefined import predefined_blocks

UNUSABLE: tuple[tuple[Subnet, str], ...] = tuple(
    (parse_subnet(text), why)
    for text, why in (
        ("0.0.0.0/8", "addresses of this network"),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/4", "multicast addresses"),
        ("240.0.0.0/4", "reserved addresses"),
        ("::1/128", "the loopback address"),
        ("ff00::/8", "multicast addresses"),
        ("fe80::/10", "link-local addresses"),
        ("::ffff:0:0/96", "IPv4-mapped addresses"),
    )
)


class Chosen(Struct, frozen=True, gc=False):
    """A pool that was decided on: what was asked for, the pool with its gateway, and who chose which."""

    request: PoolRequest
    pool: NetworkPool

    @property
    def gateway_decided_by(self) -> str:
        """Who decided on the gateway's address."""
        return "caller" if self.request.gateway else "netledger"


def pool_id(scope: str, space: str, subnet: Subnet) -> PoolId:
    """Name a pool: libnetwork's `SPACE/SUBNET`, below the scope whose space it is."""
    return PoolId(f"{scope}/{space}/{subnet}")


def choose_pools(view: View, requests: Sequence[PoolRequest], host: HostId, asked: str) -> tuple[Chosen, ...]:
    """Decide on a block and a gateway for each request, in the host's own address space."""
    taken = [(pool.event.subnet, pool.event.network, pool.position) for pool in view.pools_of(host, LOCAL_DEFAULT)]
    chosen: list[Chosen] = []
    for request in requests:
        if request.subnet is None:
            mine = [choice.pool.subnet for choice in chosen]
            subnet = _first_free_block(request.family, host, [*mine, *(block for block, _, _ in taken)], asked)
        else:
            subnet = request.subnet
            _check_block(subnet, request.family, asked)
            for block, network, position in taken:
                if block.overlaps(subnet):
                    raise Conflict(
                        asked,
                        f"{subnet} overlaps {block} of {name_of(view, ('network', network))}",
                        "choose another block, or leave it out and a free one is chosen",
                        position=position,
                    )
            if any(block.pool.subnet.overlaps(subnet) for block in chosen):
                raise Conflict(asked, f"{subnet} overlaps another of its own subnets")
        gateway = _gateway(subnet, request.gateway, asked)
        chosen.append(Chosen(request, NetworkPool(pool_id(host, LOCAL_DEFAULT, subnet), subnet, gateway)))
    return tuple(chosen)


def choose_address(
    view: View, pools: Sequence[NetworkPool], wanted: bytes | None, family: int, asked: str
) -> tuple[NetworkPool, bytes]:
    """Decide on an address of a family: the one asked for, else a free one of the first pool that has any."""
    mine = [pool for pool in pools if pool.subnet.family == family]
    if wanted is not None:
        return _given(view, mine, wanted, asked)
    for pool in mine:
        low, high = usable(pool.subnet)
        ordinal = view.free_ordinal(pool.pool, low, high)
        if ordinal is not None:
            return pool, pool.subnet.at(ordinal)
    raise Exhausted(
        asked,
        f"no free IPv{family} address in {', '.join(str(pool.subnet) for pool in mine)}",
        "delete endpoints of the network, or create a network with a larger subnet",
    )


def usable(subnet: Subnet) -> tuple[int, int]:
    """Return the numbers of the first and the last address that may be held.

    IPv4: not the network's own and the broadcast address, but both of a /31 (RFC 3021) and the one of a /32. IPv6: not
    the subnet-router anycast address (RFC 4291, 2.6.1), but both of a /127 (RFC 6164) and the one of a /128.
    """
    bits = subnet.host_bits
    last = (1 << bits) - 1
    if bits <= 1:
        return 0, last
    return 1, last - 1 if subnet.family == 4 else last


def _given(view: View, pools: Sequence[NetworkPool], wanted: bytes, asked: str) -> tuple[NetworkPool, bytes]:
    text = format_address(wanted)
    pool = next((pool for pool in pools if wanted in pool.subnet), None)
    if pool is None:
        subnets = ", ".join(str(pool.subnet) for pool in pools) or f"none of IPv{family_of(wanted)}"
        raise Invalid(asked, f"address {text} is in none of this network's subnets", f"they are: {subnets}")
    low, high = usable(pool.subnet)
    if not low <= pool.subnet.ordinal(wanted) <= high:
        raise Invalid(asked, f"address {text} is reserved in {pool.subnet}", "take one between its first and its last")
    holder = view.holder(pool.pool, wanted)
    if holder is not None:
        raise Conflict(
            asked,
            f"address {text} is held by {name_of(view, holder.event.owner)}",
            "choose another, or leave it out and a free one is chosen",
            position=holder.position,
        )
    return pool, wanted


def _first_free_block(family: int, host: HostId, taken: Sequence[Subnet], asked: str) -> Subnet:
    relevant = [block for block in taken if block.family == family]
    for block in predefined_blocks(family, host):
        if not any(block.overlaps(other) for other in relevant):
            return block
    raise Exhausted(
        asked,
        f"all predefined IPv{family} address pools have been fully subnetted ({len(relevant)} blocks are taken)",
        "name a subnet, or delete a network",
    )


def _check_block(subnet: Subnet, family: int, asked: str) -> None:
    if subnet.family != family:
        raise Invalid(asked, f"{subnet} is not an IPv{family} subnet")
    if subnet.prefix == 0:
        raise Invalid(asked, f"{subnet} is every address there is", "choose a smaller block")
    if subnet.host_bits < 1:
        raise Invalid(asked, f"{subnet} has no room for a gateway and an endpoint", "choose a larger block")
    for block, why in UNUSABLE:
        if block.overlaps(subnet):
            raise Invalid(asked, f"{subnet} holds {why} ({block})", "choose another block")


def _gateway(subnet: Subnet, wanted: bytes | None, asked: str) -> bytes:
    low, high = usable(subnet)
    if wanted is None:
        return subnet.at(low)
    if wanted not in subnet:
        raise Invalid(asked, f"gateway {format_address(wanted)} is outside its subnet {subnet}", "choose one inside it")
    if not low <= subnet.ordinal(wanted) <= high:
        raise Invalid(asked, f"gateway {format_address(wanted)} is reserved in {subnet}")
    return wanted
