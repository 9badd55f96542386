"""An IPAM driver of one's own, as a distribution that netledger finds by its entry point.

The site keeps one file of who has which address, `$SITE_IPAM` (else `site-ipam.json`), which others read and edit, too.

    pip install ./examples/site_ipam
    netledger network create web --ipam-driver site --subnet 10.9.0.0/24

netledger asks before it decides, records the answers, and never asks again to replay its log. What the log releases is
given back here, again and again until it was taken.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

Block = ipaddress.IPv4Network | ipaddress.IPv6Network
CHOSEN_FROM = {False: ("10.200.0.0/16", 24), True: ("fd00:200::/48", 64)}


class No(Exception):
    """What this driver says no with."""


class Pool(TypedDict):
    """A block in the file."""

    space: str
    block: str
    part: str
    held: list[str]


class SiteIpam:
    """The site's file behind libnetwork's seam. Each call holds the file's lock, and is in it when it returns."""

    name = "site"
    refusals = (No,)

    def __init__(self) -> None:
        self.path = Path(os.environ.get("SITE_IPAM", "site-ipam.json"))

    def get_capabilities(self) -> dict[str, bool]:
        """Want nothing: the file outlives every process."""
        return {}

    def get_default_address_spaces(self) -> tuple[str, str]:
        """Name the address spaces as the site does."""
        return "site-local", "site-global"

    def request_pool(
        self,
        address_space: str,
        pool: str,
        sub_pool: str,
        options: Mapping[str, str],
        v6: bool,  # noqa: FBT001  # as libnetwork calls it
    ) -> tuple[str, str, dict[str, str]]:
        """Take a block that overlaps no other of its space; if none is named, the lowest of the site's own."""
        del options
        with self._books() as pools:
            taken = [ipaddress.ip_network(its["block"]) for its in pools.values() if its["space"] == address_space]
            try:
                block = ipaddress.ip_network(pool or ("::/0" if v6 else "0.0.0.0/0"))
                if not int(block.network_address):  # which asks for a size, like 0.0.0.0/24
                    block = _lowest(taken, block.prefixlen, v6=v6)
                part = ipaddress.ip_network(sub_pool) if sub_pool else block
            except ValueError as error:
                raise No(str(error)) from error
            if any(_overlap(block, other) for other in taken):
                raise No(f"{block} is taken")
            identity = f"{address_space}/{block}"
            pools[identity] = Pool(space=address_space, block=str(block), part=str(part), held=[])
            return identity, str(block), {}

    def release_pool(self, pool_id: str) -> None:
        """Give a block back, with whatever was held of it."""
        with self._books() as pools:
            if pools.pop(pool_id, None) is None:
                raise No(f"there is no pool {pool_id}")

    def request_address(self, pool_id: str, preferred: str, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Take the address that is preferred, or the lowest free one of the part that addresses come from."""
        del options
        with self._books() as pools:
            pool = _find(pools, pool_id)
            block, part = ipaddress.ip_network(pool["block"]), ipaddress.ip_network(pool["part"])
            free = (each for each in part if _is_usable(each, block) and str(each) not in pool["held"])
            address = ipaddress.ip_address(preferred) if preferred else next(free, None)
            if address is None:
                raise No(f"{part} is full")
            if not _is_usable(address, block) or str(address) in pool["held"]:
                raise No(f"{address} is not to be had")
            pool["held"].append(str(address))
            return f"{address}/{block.prefixlen}", {}

    def release_address(self, pool_id: str, address: str) -> None:
        """Give an address back."""
        with self._books() as pools:
            pool = _find(pools, pool_id)
            if address not in pool["held"]:
                raise No(f"{address} is not held")
            pool["held"].remove(address)

    @contextmanager
    def _books(self) -> Iterator[dict[str, Pool]]:
        """Read the file and, if nothing was refused, replace it."""
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            pools: dict[str, Pool] = json.loads(self.path.read_text()) if self.path.exists() else {}
            yield pools
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(pools, indent=1))
            new.replace(self.path)


def _find(pools: dict[str, Pool], pool_id: str) -> Pool:
    if pool_id not in pools:
        raise No(f"there is no pool {pool_id}")
    return pools[pool_id]


def _lowest(taken: list[Block], size: int, *, v6: bool) -> Block:
    base, usual = CHOSEN_FROM[v6]
    blocks = ipaddress.ip_network(base).subnets(new_prefix=size or usual)
    found = next((block for block in blocks if not any(_overlap(block, other) for other in taken)), None)
    if found is None:
        raise No(f"{base} is used up")
    return found


def _overlap(one: Block, other: Block) -> bool:
    return one.version == other.version and one.overlaps(other)


def _is_usable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, block: Block) -> bool:
    """Tell whether an address may be anybody's: neither the network's nor the broadcast address."""
    if address not in block or block.num_addresses <= 2:  # both of a /31, the one of a /32
        return address in block
    return address != block[0] and not (block.version == 4 and address == block[-1])
