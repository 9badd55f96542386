"""Facts about a host that come in with a command and that no rule can find out for itself.

Knows nothing of: how they were found.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .values import Subnet


class NamespaceIdentity(Struct, frozen=True, array_like=True, gc=False):
    """Which network namespace it is, whatever its path: SO_NETNS_COOKIE (or the inode), within one boot."""

    boot: str
    cookie: int


class Capabilities(Struct, frozen=True):
    """What a dataplane can make. `missing` says for each thing that it cannot, why and what to do about it.

    The names are those of `FEATURES`.
    """

    missing: Mapping[str, str]

    def lacks(self, feature: str) -> str | None:
        """Why a feature is not to be had; None when it is."""
        return self.missing.get(feature)


FEATURES = ("namespace", "bridge", "veth", "nftables", "ipv6", "port isolation", "address marks")
"""What drivers ask for by name before they decide."""

EVERYTHING = Capabilities(missing={})


class TakenBlock(Struct, frozen=True, gc=False):
    """Addresses that the host uses already, and what for: `route dev eth0`, `name server`."""

    block: Subnet
    use: str

    def __str__(self) -> str:
        return f"{self.block} {self.use}"


class PoolAnswer(Struct, frozen=True):
    """The block that another IPAM driver than ours gave for a pool request, its name for it, and the gateway in it."""

    subnet: Subnet
    driver_pool: str
    gateway: bytes = b""


class IpamAnswers(Struct, frozen=True):
    """What another IPAM driver than ours answered, asked before a command is decided.

    `pools`: one for each of the command's pool requests; `addresses`: those that it gave to the command's endpoint.
    """

    pools: tuple[PoolAnswer, ...] = ()
    addresses: tuple[bytes, ...] = ()
