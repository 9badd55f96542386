"""The blocks that a network gets when its creator names none.

IPv4: moby's `default-address-pools` (daemon/libnetwork/ipamutils), in its order. IPv6: the host's own /48 of fd00::/8
(RFC 4193), 40 bits of the SHA-256 of the host's id, in /64s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..values import HostId, Subnet, parse_subnet

IPV4_POOLS: tuple[tuple[Subnet, int], ...] = tuple(
    (parse_subnet(base), size)
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

IPV6_BASE_PREFIX = 48
IPV6_SIZE = 64


def predefined_blocks(family: int, host: HostId) -> Iterator[Subnet]:
    """List the predefined blocks of an address family, in the order in which they are tried."""
    pools = IPV4_POOLS if family == 4 else ((host_ula(host), IPV6_SIZE),)
    for base, size in pools:
        step = 1 << (len(base.address) * 8 - size)
        for number in range(1 << (size - base.prefix)):
            yield Subnet(base.at(number * step), size)


def host_ula(host: HostId) -> Subnet:
    """Make the host's unique local IPv6 prefix, a /48 that is the same at every start."""
    return Subnet(b"\xfd" + hashlib.sha256(host.encode()).digest()[:5] + bytes(10), IPV6_BASE_PREFIX)
