"""Testing an allocation rule of one's own with netledger's kit.

The rule: addresses are given from the top of a block downwards, so that the low ones stay free for hand-made entries.
`Downwards` keeps it. `Careless` saves itself the search, and the kit finds the fewest calls that show the damage.

    python examples/allocation_rule.py            # looks for broken rules in both, and prints what it finds
    pytest examples/allocation_rule.py            # the whole contract, as it stands in a test suite of one's own
"""

from __future__ import annotations

import ipaddress
import textwrap
from collections.abc import Mapping

from hypothesis import settings

from netledger.testing.contracts.ipam import UNTIL_BROKEN, CheckedIpam, IpamContract, find_broken_rule

Block = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Answer = tuple[str, dict[str, str]]

ALWAYS_THE_SAME = settings(UNTIL_BROKEN, derandomize=True, database=None, max_examples=60)


class No(Exception):
    """What these allocators refuse with."""


class Downwards:
    """Gives the highest free address. Speaks libnetwork's four calls: pools and addresses are text."""

    def __init__(self) -> None:
        self.pools: dict[str, tuple[Block, set[Address]]] = {}

    def request_pool(
        self,
        address_space: str,
        pool: str,
        sub_pool: str,
        options: Mapping[str, str],
        v6: bool,  # noqa: FBT001  # as libnetwork calls it
    ) -> tuple[str, str, dict[str, str]]:
        """Take a block that overlaps no other one."""
        del address_space, options, v6  # one space; the family is seen from the block
        if not pool or sub_pool:
            raise No("name a whole block")
        try:
            block = ipaddress.ip_network(pool)
        except ValueError as error:
            raise No(str(error)) from error
        if any(block.version == other.version and block.overlaps(other) for other, _ in self.pools.values()):
            raise No(f"{block} overlaps another block")
        self.pools[pool] = (block, set())
        return pool, str(block), {}

    def release_pool(self, pool_id: str) -> None:
        """Give a block back."""
        self.held(pool_id)
        del self.pools[pool_id]

    def request_address(self, pool_id: str, preferred: str, options: Mapping[str, str]) -> Answer:
        """Take one address: this one, or the highest that is free."""
        del options
        block, held = self.held(pool_id)
        address = ipaddress.ip_address(preferred) if preferred else self.choose(block, held)
        if address is None or not is_usable(address, block) or (preferred and address in held):
            raise No(f"{preferred or 'an address'} is not to be had in {block}")
        held.add(address)
        return f"{address}/{block.prefixlen}", {}

    def release_address(self, pool_id: str, address: str) -> None:
        """Give an address back."""
        self.held(pool_id)[1].discard(ipaddress.ip_address(address))

    def held(self, pool_id: str) -> tuple[Block, set[Address]]:
        """Find a block and what is held in it."""
        if pool_id not in self.pools:
            raise No(f"there is no pool {pool_id}")
        return self.pools[pool_id]

    def choose(self, block: Block, held: set[Address]) -> Address | None:
        """Choose the highest free address; None when all are held."""
        downwards = (block[-1 - number] for number in range(block.num_addresses))
        return next((each for each in downwards if is_usable(each, block) and each not in held), None)


class Careless(Downwards):
    """Looks for an address among answers, which have a prefix length, and so never finds one held. Wrong."""

    def choose(self, block: Block, held: set[Address]) -> Address | None:
        """Choose the highest address."""
        downwards = (block[-1 - number] for number in range(block.num_addresses))
        return next(
            (each for each in downwards if is_usable(each, block) and f"{each}/{block.prefixlen}" not in held), None
        )


def is_usable(address: Address, block: Block) -> bool:
    """Tell whether an address of a block may be anybody's: neither the network's nor the broadcast address."""
    return address in block and address != block[0] and not (block.version == 4 and address == block[-1])


class TestDownwards(IpamContract):
    """The contract, rule by rule, and as programs that look for a rule that breaks."""

    refusals = (No,)
    chooses_pools = False
    has_sub_pools = False
    settings = ALWAYS_THE_SAME

    def make_driver(self) -> Downwards:
        """Make the one that is tested."""
        return Downwards()

    def test_the_rule_itself(self) -> None:
        """What no contract can know: the highest address is the first one given."""
        ipam = Downwards()
        ipam.request_pool("LocalDefault", "10.0.0.0/29", "", {}, v6=False)
        given = [ipam.request_address("10.0.0.0/29", "", {})[0] for _ in range(3)]
        assert given == ["10.0.0.6/29", "10.0.0.5/29", "10.0.0.4/29"]


def main() -> None:
    """Look for broken rules in both allocators."""
    for kind in (Downwards, Careless):
        print(f"{kind.__name__}:")
        try:
            find_broken_rule(
                lambda kind=kind: CheckedIpam(kind(), (No,), chooses_pools=False, has_sub_pools=False),
                how=ALWAYS_THE_SAME,
            )
        except AssertionError as broken:
            print(textwrap.indent(str(broken), "  "))
        else:
            print("  no program breaks a rule")


if __name__ == "__main__":
    main()
