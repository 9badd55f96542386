"""Address pools: which block, from which address space, with which gateway and auxiliary addresses.

Keeps: no two pools of one address space overlap, whatever part of them their addresses are chosen from; a block that
nobody named overlaps nothing that the host uses already.
Knows nothing of: interfaces, clocks, how the held addresses are stored (see `ordinals`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct, structs

from ..commands import PoolRequest
from ..decision import Context
from ..errors import Conflict, Exhausted, Invalid, Unavailable
from ..events import DEFAULT_IPAM, GLOBAL_DEFAULT, GLOBAL_SCOPE, UNCLAIMED, NetworkPool, PoolAllocated, Recorded
from ..facts import PoolAnswer, TakenBlock
from ..values import (
    IPV4_BYTES,
    HostId,
    PoolId,
    Subnet,
    check_address,
    check_name,
    check_seconds,
    check_subnet,
    format_address,
    parse_subnet,
)
from ..view import View, name_of
from .predefined import first_free_block, predefined_pools

NULL_IPAM = "null"
"""libnetwork's IPAM driver that gives no addresses."""

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
LINK_LOCAL = parse_subnet("fe80::/64")
"""The one link-local block that may be asked for: what every IPv6 interface has anyway (moby, bridge driver)."""

AUXILIARY_LIMIT = 1024
HOLDERS_NAMED = 8
"""So many of those that hold all blocks are named in a refusal."""

SHORTEST_ROUTE = {4: 8, 6: 16}
"""A route to a shorter prefix leads everywhere (a VPN's 0.0.0.0/1, 2000::/3), and is no network to keep away from."""


class Block(Struct, frozen=True, gc=False):
    """A block that was decided on; `claimed` is the pool that it is already, which nobody has claimed."""

    request: PoolRequest
    scope: str
    subnet: Subnet
    avoided: tuple[str, ...] = ()
    answer: PoolAnswer | None = None
    claimed: Recorded[PoolAllocated] | None = None

    @property
    def pool(self) -> PoolId:
        """The pool's id."""
        return pool_id(self.scope, self.request.space, self.subnet)

    @property
    def sub_pool(self) -> Subnet | None:
        """The part of it that addresses are chosen from."""
        return self.claimed.event.sub_pool if self.claimed is not None else self.request.sub_pool

    @property
    def is_predefined(self) -> bool:
        """Whether netledger chose it."""
        return self.request.subnet is None and self.answer is None


class Chosen(Struct, frozen=True, gc=False):
    """A pool that was decided on for a network: the block, and the gateway in it."""

    block: Block
    pool: NetworkPool

    @property
    def gateway_decided_by(self) -> str:
        """Who decided on the gateway's address."""
        if self.block.request.gateway:
            return "caller"
        return "driver" if self.block.answer is not None and self.block.answer.gateway else "netledger"


def scope_of(space: str, host: HostId) -> str:
    """Name the scope of an address space: every one but `GlobalDefault` is its host's own."""
    return GLOBAL_SCOPE if space == GLOBAL_DEFAULT else host


def pool_id(scope: str, space: str, subnet: Subnet) -> PoolId:
    """Name a pool: libnetwork's `SPACE/SUBNET`, below the scope whose space it is."""
    return PoolId(f"{scope}/{space}/{subnet}")


def choose_blocks(
    view: View, requests: Sequence[PoolRequest], context: Context, asked: str, ipam_driver: str = DEFAULT_IPAM
) -> tuple[Block, ...]:
    """Decide on a block for each request."""
    for request in requests:
        check_request(request, asked)
    answers: Sequence[PoolAnswer | None] = [None] * len(requests)
    if ipam_driver != DEFAULT_IPAM:
        if context.ipam is None or len(context.ipam.pools) != len(requests):
            raise Unavailable(asked, f"IPAM driver {ipam_driver!r} has not answered", "see whether it is running")
        answers = context.ipam.pools
    chosen: list[Block] = []
    for asked_for, answer in zip(requests, answers, strict=True):
        space = answer.space if answer is not None else ""
        request = structs.replace(asked_for, space=space) if space else asked_for
        scope = scope_of(request.space, context.origin.host)
        mine = [block.subnet for block in chosen if (block.scope, block.request.space) == (scope, request.space)]
        taken = list(view.pools_of(scope, request.space))
        if answer is None and request.subnet is None:
            chosen.append(_choose(view, request, scope, mine, taken, context, asked))
            continue
        subnet = answer.subnet if answer is not None else request.subnet
        assert subnet is not None, "a block that is not chosen is given"
        _check_block(subnet, request.family, asked)
        claimed = None
        for pool in taken:
            if pool.event.subnet.overlaps(subnet):
                claimed = _claimable(view, pool, subnet, request, asked)
        if any(other.overlaps(subnet) for other in mine):
            raise Conflict(asked, f"{subnet} overlaps another of its own subnets")
        chosen.append(Block(request, scope, subnet, answer=answer, claimed=claimed))
    return tuple(chosen)


def choose_pools(
    view: View,
    requests: Sequence[PoolRequest],
    context: Context,
    asked: str,
    ipam_driver: str = DEFAULT_IPAM,
    gateway_families: Collection[int] = (4, 6),
) -> tuple[Chosen, ...]:
    """Decide on a block for each request of a network, and on a gateway where one is asked for or needed."""
    blocks = choose_blocks(view, requests, context, asked, ipam_driver)
    chosen = []
    for block in blocks:
        needs_gateway = block.request.gateway is not None or block.subnet.family in gateway_families
        _check_room(block, asked, needs_gateway=needs_gateway)
        gateway = _gateway(view, block, asked) if needs_gateway else b""
        _check_auxiliary(block, gateway, asked)
        chosen.append(Chosen(block, NetworkPool(block.pool, block.subnet, gateway)))
    return tuple(chosen)


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


def choosable(subnet: Subnet, sub_pool: Subnet | None) -> tuple[int, int]:
    """Return the numbers of the first and the last address that may be chosen: of the sub-pool, with both its ends."""
    low, high = usable(subnet)
    if sub_pool is None:
        return low, high
    first = subnet.ordinal(sub_pool.address)
    return max(low, first), min(high, first + (1 << sub_pool.host_bits) - 1)


def is_usable(subnet: Subnet, address: bytes) -> bool:
    """Whether an address of a block may be held."""
    low, high = usable(subnet)
    return low <= subnet.ordinal(address) <= high


# --- blocks


def _choose(
    view: View,
    request: PoolRequest,
    scope: str,
    mine: Sequence[Subnet],
    taken: Sequence[Recorded[PoolAllocated]],
    context: Context,
    asked: str,
) -> Block:
    """Choose the first predefined block that nothing overlaps: no pool, and nothing of the host's own."""
    host = context.origin.host
    settings = view.configuration(host)
    configured = settings.event.default_pools if settings is not None else ()
    pools = predefined_pools(request.family, host, request.space, configured)
    used = [block for block in context.taken_blocks if _is_in_the_way(block, request)]
    blocks = [*mine, *(pool.event.subnet for pool in taken), *(block.block for block in used)]
    found = first_free_block(pools, request.size, blocks)
    if found is not None:
        near = [str(block) for block in used if any(pool.base.overlaps(block.block) for pool in pools)]
        return Block(request, scope, found, avoided=tuple(near))
    if request.size and all(request.size < pool.base.prefix for pool in pools):
        raise Invalid(
            asked,
            f"no predefined IPv{request.family} address pool has room for a /{request.size}",
            f"they are: {', '.join(map(str, pools)) or 'none'}",
        )
    users = [
        f"{pool.event.subnet} {_user(view, pool)}" for pool in taken if pool.event.subnet.family == request.family
    ] + [str(block) for block in used if any(pool.base.overlaps(block.block) for pool in pools)]
    more = f" and {len(users) - HOLDERS_NAMED} more" if len(users) > HOLDERS_NAMED else ""
    raise Exhausted(
        asked,
        f"all predefined IPv{request.family} address pools have been fully subnetted "
        f"({len(users)} blocks are taken: {', '.join(users[:HOLDERS_NAMED])}{more})",
        "name a subnet, delete a network, or configure other pools with `netledger ipam configure`",
    )


def _is_in_the_way(taken: TakenBlock, request: PoolRequest) -> bool:
    """Whether a chosen block has to keep away from what the host uses. Other hosts' spaces are not this one's."""
    block = taken.block
    return (
        request.space != GLOBAL_DEFAULT
        and block.family == request.family
        and block.prefix >= SHORTEST_ROUTE[block.family]
        and any(block.address)
    )


def _claimable(
    view: View, pool: Recorded[PoolAllocated], subnet: Subnet, request: PoolRequest, asked: str
) -> Recorded[PoolAllocated]:
    """Return the pool that a network asks for if it waits for one; refuse where another has it."""
    event = pool.event
    if event.subnet == subnet and view.pool_user(event.pool) is None and request.sub_pool in {None, event.sub_pool}:
        return pool
    raise Conflict(
        asked,
        f"{subnet} overlaps {event.subnet} of {_user(view, pool)}",
        "choose another block, or leave it out and a free one is chosen",
        position=pool.position,
    )


def _user(view: View, pool: Recorded[PoolAllocated]) -> str:
    user = view.pool_user(pool.event.pool)
    return name_of(view, ("network", user)) if user is not None else name_of(view, (UNCLAIMED, pool.event.lease))


def check_request(request: PoolRequest, asked: str) -> None:
    """Refuse a request that no address space can grant."""
    if request.family not in {4, 6}:
        raise Invalid(asked, f"unknown address family {request.family}", "known: 4, 6")
    bits = 32 if request.family == 4 else 128
    check_name("address space", request.space)
    if request.subnet is not None:
        check_subnet(asked, request.subnet)
    if not 0 <= request.size <= bits:
        raise Invalid(asked, f"there is no IPv{request.family} block of /{request.size}", f"give a size up to {bits}")
    if request.size and request.subnet is not None:
        raise Invalid(asked, f"both a block and a size of /{request.size}", "give one of them")
    if request.sub_pool is not None:
        _check_sub_pool(request, request.sub_pool, asked)
    if request.gateway is not None:
        check_address(asked, request.gateway)
        if (len(request.gateway) == IPV4_BYTES) != (request.family == 4):
            raise Invalid(asked, f"gateway {format_address(request.gateway)} is not an IPv{request.family} address")
    if len(request.auxiliary) > AUXILIARY_LIMIT:
        raise Invalid(asked, f"{len(request.auxiliary)} auxiliary addresses", f"give {AUXILIARY_LIMIT} at most")
    for name, address in request.auxiliary.items():
        check_name("auxiliary address", name)
        check_address(asked, address)
    check_seconds(asked, "a rest", request.rest_seconds)
    check_seconds(asked, "a grace period", request.grace_seconds)


def _check_sub_pool(request: PoolRequest, sub_pool: Subnet, asked: str) -> None:
    check_subnet(asked, sub_pool)
    if request.subnet is None:
        raise Invalid(asked, f"address range {sub_pool} without a subnet", "name the subnet that it is part of")
    if sub_pool.address not in request.subnet or sub_pool.prefix < request.subnet.prefix:
        raise Invalid(asked, f"address range {sub_pool} is not part of {request.subnet}", "choose one inside it")


def _check_block(subnet: Subnet, family: int, asked: str) -> None:
    check_subnet(asked, subnet)
    if subnet.family != family:
        raise Invalid(asked, f"{subnet} is not an IPv{family} subnet")
    if subnet.prefix == 0:
        raise Invalid(asked, f"{subnet} is every address there is", "choose a smaller block")
    for block, why in UNUSABLE:
        if block.overlaps(subnet) and subnet != LINK_LOCAL:
            raise Invalid(asked, f"{subnet} holds {why} ({block})", "choose another block")


# --- the network's own addresses


def _gateway(view: View, block: Block, asked: str) -> bytes:
    """Decide on a gateway: the one asked for, the one that the IPAM driver gave, else the first that is free."""
    subnet = block.subnet
    wanted = block.request.gateway or (block.answer.gateway if block.answer is not None else b"")
    if not wanted:
        return _first_free(view, block, asked)
    if wanted not in subnet:
        raise Invalid(asked, f"gateway {format_address(wanted)} is outside its subnet {subnet}", "choose one inside it")
    if not is_usable(subnet, wanted):
        raise Invalid(asked, f"gateway {format_address(wanted)} is reserved in {subnet}")
    return wanted


def _first_free(view: View, block: Block, asked: str) -> bytes:
    low, high = choosable(block.subnet, block.sub_pool)
    auxiliary = set(block.request.auxiliary.values())
    for ordinal in range(low, min(high, low + AUXILIARY_LIMIT) + 1):
        address = block.subnet.at(ordinal)
        is_held = view.holder(block.pool, address) is not None or address in view.resting(block.pool)
        if address not in auxiliary and not is_held:
            return address
    raise Exhausted(
        asked, f"{block.sub_pool or block.subnet} has no free address for a gateway", "name one, or fewer others"
    )


def _check_room(block: Block, asked: str, *, needs_gateway: bool) -> None:
    """Refuse a block of one address which the network itself takes: no endpoint could ever be in it."""
    if block.subnet.host_bits or not (needs_gateway or block.request.auxiliary):
        return
    if block.request.gateway and block.request.gateway not in block.subnet:
        return  # which is refused for that
    whose = "its gateway" if needs_gateway else f"auxiliary address {next(iter(block.request.auxiliary))}"
    remedy = "choose a larger block"
    if needs_gateway and not block.request.gateway:
        remedy += ", or an internal network without a gateway (gateway mode 'isolated'), macvlan or ipvlan"
    raise Invalid(asked, f"{block.subnet} is one address, and {whose} takes it: no endpoint could have one", remedy)


def _check_auxiliary(block: Block, gateway: bytes, asked: str) -> None:
    """Refuse auxiliary addresses that are not to be had; one that somebody requested before becomes the network's."""
    seen = {gateway: "the gateway"}
    for name, address in block.request.auxiliary.items():
        text = format_address(address)
        if address not in block.subnet or not is_usable(block.subnet, address):
            raise Invalid(asked, f"auxiliary address {name}={text} is no address of {block.subnet} that can be had")
        if address in seen:
            raise Conflict(asked, f"auxiliary address {name}={text} is that of {seen[address]}", "choose another")
        seen[address] = name
