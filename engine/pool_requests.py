"""What a caller writes about a network's addresses, turned into one request for each pool.

Keeps: a gateway, a range or an auxiliary address goes to the subnet that it is in; what fits nowhere is refused.
Knows nothing of: what is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from ..domain.commands import PoolRequest
from ..domain.errors import Forbidden, Invalid
from ..domain.events import LOCAL_DEFAULT
from ..domain.ipam.pools import NULL_IPAM
from ..domain.values import AllocationPolicy, Subnet, family_of, parse_address, parse_subnet
from .addresses import read_block, read_policy

DEFAULT_DRIVER = "bridge"


class Wanted(Struct, frozen=True):
    """A network's addresses as its creator writes them; see `Controller.create_network`."""

    subnets: Sequence[str] = ()
    gateways: Sequence[str] = ()
    ip_ranges: Sequence[str] = ()
    auxiliary: Mapping[str, str] = {}
    ipv4: bool = True
    ipv6: bool = False
    address_space: str = LOCAL_DEFAULT
    ipam_driver: str = "default"
    allocation: str = AllocationPolicy.NEXT
    rest_seconds: int = 0
    grace_seconds: int = 0


def pool_requests(wanted: Wanted) -> tuple[PoolRequest, ...]:
    """Write one request for each pool."""
    policy = read_policy(wanted.allocation)
    if wanted.ipam_driver == NULL_IPAM and not wanted.subnets and not wanted.gateways:
        return ()
    requests = [
        PoolRequest(
            family,
            block,
            policy=policy,
            space=wanted.address_space,
            size=size,
            rest_seconds=wanted.rest_seconds,
            grace_seconds=wanted.grace_seconds,
        )
        for family, block, size in _blocks(wanted)
    ]
    requests = _with_gateways(requests, [parse_address(text) for text in wanted.gateways])
    for text in wanted.ip_ranges:
        sub_pool = parse_subnet(text)
        index = _where(requests, sub_pool.address)
        if index is None or requests[index].sub_pool is not None:
            raise Invalid(f"address range {text}", "there is no subnet for it", "give one range inside each subnet")
        requests[index] = structs.replace(requests[index], sub_pool=sub_pool)
    for name, text in wanted.auxiliary.items():
        address = parse_address(text)
        index = _where(requests, address)
        if index is None:
            raise Invalid(f"auxiliary address {name}={text}", "it is in none of the subnets", "name the subnet, too")
        auxiliary = {**requests[index].auxiliary, name: address}
        requests[index] = structs.replace(requests[index], auxiliary=auxiliary)
    return tuple(requests)


def check_holds_settings_only(name: str, driver: str, config_from: str, *, internal: bool) -> None:
    """Refuse, in libnetwork's words, what a configuration network cannot have."""
    asked = f"create configuration network {name!r}"
    if config_from:
        raise Forbidden(asked, "a configuration network cannot depend on another configuration network")
    if internal:
        raise Forbidden(
            asked,
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported.",
            "say so of the network that is made with it",
        )
    if driver != DEFAULT_DRIVER:
        raise Invalid(asked, f"it has no driver, and {driver!r} is asked for", "give it to the network made with it")


def _blocks(wanted: Wanted) -> list[tuple[int, Subnet | None, int]]:
    """List family, block and size of each pool: those that were written, and a predefined one where none was."""
    written = [(family_of(parse_subnet(text).address), *read_block(text)) for text in wanted.subnets]
    enabled = {4: wanted.ipv4, 6: wanted.ipv6 or any(family == 6 for family, _, _ in written)}
    blocks: list[tuple[int, Subnet | None, int]] = []
    for family in (4, 6):
        mine = [each for each in written if each[0] == family]
        if mine and not enabled[family]:
            raise Invalid(
                f"subnet {mine[0][1] or mine[0][2]}",
                f"IPv{family} is turned off",
                "turn it on, or leave the subnet out",
            )
        blocks += mine or ([(family, None, 0)] if enabled[family] else [])
    return blocks


def _with_gateways(requests: Sequence[PoolRequest], gateways: list[bytes]) -> list[PoolRequest]:
    """Give each request the gateway that is in its subnet, or else one of its family, which the rule will refuse."""
    found = []
    for request in requests:
        inside = [address for address in gateways if request.subnet is None or address in request.subnet]
        same = [address for address in inside or gateways if family_of(address) == request.family]
        if same:
            gateways.remove(same[0])
        found.append(structs.replace(request, gateway=same[0]) if same else request)
    if gateways:
        raise Invalid(f"{len(gateways)} gateway(s)", "there is no subnet for them", "give one gateway for each subnet")
    return found


def _where(requests: Sequence[PoolRequest], address: bytes) -> int | None:
    """Find the request whose subnet has an address."""
    for index, request in enumerate(requests):
        if request.subnet is not None and address in request.subnet:
            return index
    return None
