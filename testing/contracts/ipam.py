"""The contract of an IPAM driver as tests. Subclass `IpamContract` and say how to make a driver.

    class TestMyIpam(IpamContract):
        refusals = (MyRefusal,)

        def make_driver(self):
            return MyIpam()

Examples say each rule by itself; the state machine looks for programs that break one, and shrinks what it finds to the
few calls that matter. Keeps: every test begins with a new driver. Knows nothing of: networks, endpoints.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test

from ...domain.errors import Refusal
from ...domain.ipam.driver import AddressBooks
from .ipam_driver import Address, CheckedIpam, Pool

__all__ = ["UNTIL_BROKEN", "AddressBooks", "CheckedIpam", "IpamContract", "find_broken_rule"]

BLOCKS4 = ("10.0.0.0/30", "10.0.0.0/29", "10.0.0.4/30", "10.0.8.0/28")
BLOCKS6 = ("fd00:0:0:1::/126", "fd00:0:0:1::/125", "fd00:0:0:2::/124")
UNTIL_BROKEN = settings(
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
"""Look for one broken rule, and tell no more than the calls that break it."""
NO_BLOCKS = ("nonsense", "10.0.0.0/33", "10.0.0.256/24", "fd00::/129")
SHORT_FIRST = (2, 3, 4, 6)
SMALL = 64
"""Pools of up to so many addresses are emptied."""


class IpamMachine(RuleBasedStateMachine):
    """Programs of pool and address requests. `make` gives a driver with the witness that checks its answers."""

    pools: Bundle[Pool] = Bundle("pools")
    addresses: Bundle[Address] = Bundle("addresses")

    def __init__(self, make: Callable[[], CheckedIpam], blocks: tuple[str, ...]) -> None:
        super().__init__()
        self.ipam = make()
        self.blocks = blocks

    @rule(
        target=pools,
        block=st.runner().flatmap(lambda machine: st.sampled_from(machine.blocks)),
        space=st.runner().flatmap(lambda machine: st.sampled_from(machine.ipam.spaces)),
    )
    def request_pool(self, block: str, space: str) -> Any:  # noqa: ANN401 - a pool, or none for the bundle
        """Take one of the blocks, some of which overlap."""
        return _some(self.ipam.request_pool(block, space=space, v6=":" in block))

    @rule(target=addresses, pool=pools)
    def request_address(self, pool: Pool) -> Any:  # noqa: ANN401 - an address, or none for the bundle
        """Take any address."""
        return _some(self.ipam.request_address(pool))

    @rule(target=addresses, pool=pools, ordinal=st.integers(0, 17))
    def request_preferred(self, pool: Pool, ordinal: int) -> Any:  # noqa: ANN401 - an address, or none for the bundle
        """Take a certain address: a free one, a held one, a reserved one, or one outside."""
        return _some(self.ipam.request_address(pool, str(pool.block.network_address + ordinal)))

    @rule(target=addresses, pool=pools)
    def request_gateway(self, pool: Pool) -> Any:  # noqa: ANN401 - an address, or none for the bundle
        """Take a gateway, where the driver has not given one with the pool."""
        if pool.has_gateway or not pool.is_living:
            return multiple()
        gateway = self.ipam.request_address(pool, gateway=True)
        pool.has_gateway = gateway is not None
        return _some(gateway)

    @rule(address=addresses)
    def release_address(self, address: Address) -> None:
        """Give an address back, perhaps for the second time."""
        self.ipam.release_address(address)

    @rule(pool=pools, ordinal=st.integers(0, 17))
    def release_any(self, pool: Pool, ordinal: int) -> None:
        """Give back what may never have been given."""
        self.ipam.release_text(pool, str(pool.block.network_address + ordinal))

    @rule(pool=pools)
    def release_pool(self, pool: Pool) -> None:
        """Give a pool back, perhaps for the second time, perhaps with addresses held."""
        self.ipam.release_pool(pool)

    def teardown(self) -> None:
        """Let the driver go."""
        _close(self.ipam.driver)


def find_broken_rule(
    make: Callable[[], CheckedIpam],
    *,
    blocks: tuple[str, ...] = BLOCKS4 + BLOCKS6,
    how: settings = UNTIL_BROKEN,
) -> None:
    """Run the state machine: raises AssertionError with the fewest calls that break a rule, if any do.

    Short programs come first, since not everything that a long one has too much is always found to be.
    """
    for count in (*(count for count in SHORT_FIRST if count < how.stateful_step_count), how.stateful_step_count):
        run_state_machine_as_test(
            lambda: IpamMachine(make, blocks),  # type: ignore[arg-type]  # any callable that makes one will do
            settings=settings(how, stateful_step_count=count),
        )


class IpamContract:
    """What any IPAM driver keeps."""

    refusals: ClassVar[tuple[type[Exception], ...]] = (Refusal,)
    """The exceptions with which the driver refuses."""
    address_spaces: ClassVar[tuple[str, ...]] = ("LocalDefault",)
    blocks: ClassVar[tuple[str, ...]] = BLOCKS4 + BLOCKS6
    """Blocks to ask for, of both families where the driver has both; small ones, and some that overlap."""
    chooses_pools: ClassVar[bool] = True
    """Whether a pool can be had without naming a block."""
    has_sub_pools: ClassVar[bool] = True
    """Whether the addresses can be restricted to a part of the pool; otherwise that is refused."""
    sizes: ClassVar[tuple[int, ...]] = ()
    """Of which sizes (prefix lengths) an IPv4 block can be had without naming one; otherwise that is refused."""
    settings: ClassVar[settings] = UNTIL_BROKEN
    """How hard the state machine looks."""

    def make_driver(self) -> AddressBooks:
        """Make a driver that has given nothing yet. Its `close`, if it has one, is called at the end."""
        raise NotImplementedError("say how to make your driver: override make_driver")

    def make_checked(self) -> CheckedIpam:
        """Make a driver with the witness that checks its answers."""
        return CheckedIpam(
            self.make_driver(),
            self.refusals,
            spaces=self.address_spaces,
            chooses_pools=self.chooses_pools,
            has_sub_pools=self.has_sub_pools,
        )

    @pytest.fixture
    def ipam(self) -> Iterator[CheckedIpam]:
        """Give a new driver, its answers checked."""
        checked = self.make_checked()
        yield checked
        _close(checked.driver)

    def test_a_pool_is_emptied_and_filled_again(self, ipam: CheckedIpam) -> None:
        """Every usable address is given once, then none; each that is released can be had again, by name or not."""
        for block in self.blocks:
            pool = self._pool(ipam, block)
            if pool.block.num_addresses > SMALL:
                continue
            taken = [self._address(ipam, pool) for _ in range(pool.free)]
            assert ipam.request_address(pool) is None, ipam.say(f"{pool} is exhausted: the next request is refused")
            for address in taken:
                ipam.release_address(address)
                again = ipam.request_address(pool, str(address.address))
                assert again is not None, ipam.say(f"{address} was released: it can be had again")
                ipam.release_address(again)
                assert ipam.request_address(pool) is not None, ipam.say(f"{pool} has one free address again")
            self._empty(ipam, pool)

    def test_a_preferred_address_is_given_or_refused(self, ipam: CheckedIpam) -> None:
        """A free one is given; a held one, a reserved one and one outside the pool are refused."""
        for block in self.blocks:
            pool = self._pool(ipam, block)
            first = self._address(ipam, pool)
            refused = [first.address, pool.block[0], pool.block.network_address - 1, pool.block.broadcast_address + 1]
            for address in [*refused, *([pool.block[-1]] if pool.block.version == 4 else [])]:
                assert ipam.request_address(pool, str(address)) is None, ipam.say(f"{address} is not to be had")
            free = [each for each in pool.block if each not in pool.held and not pool.is_reserved(each)]
            for address in free[-1:]:
                assert ipam.request_address(pool, str(address)) is not None, ipam.say(f"{address} is free")
            self._empty(ipam, pool)

    def test_the_gateway_is_an_address_like_any_other(self, ipam: CheckedIpam) -> None:
        """It comes with the pool or is asked for, and from then on it is held."""
        for block in self.blocks:
            pool = self._pool(ipam, block)
            if not pool.has_gateway:
                assert ipam.request_address(pool, gateway=True) is not None, ipam.say(f"{pool} has a gateway to give")
            assert len(pool.held) == 1, ipam.say("a gateway is one address")
            assert ipam.request_address(pool, str(next(iter(pool.held)))) is None, ipam.say("the gateway is held")
            self._empty(ipam, pool)

    def test_pools_of_one_space_do_not_overlap(self, ipam: CheckedIpam) -> None:
        """The same block, one around it and one within it are refused until it is released."""
        for block in self.blocks:
            pool = self._pool(ipam, block)
            around, within = pool.block.supernet(), next(iter(pool.block.subnets()))
            for other in map(str, (pool.block, around, within)):
                refused = ipam.request_pool(other, space=pool.space, v6=":" in other)
                assert refused is None, ipam.say(f"{other} overlaps {pool.block}: refused")
            ipam.release_pool(pool)
            self._empty(ipam, self._pool(ipam, block))

    def test_address_spaces_do_not_know_each_other(self, ipam: CheckedIpam) -> None:
        """The same block can be a pool in each of them, with addresses of its own."""
        pools = [self._pool(ipam, self.blocks[0], space) for space in self.address_spaces]
        for pool in pools:
            self._address(ipam, pool)
        ipam.release_pool(self._empty(ipam, pools[0]))
        for pool in pools[1:]:
            assert pool.free == 0 or ipam.request_address(pool) is not None

    def test_a_released_pool_is_gone(self, ipam: CheckedIpam) -> None:
        """Nothing is to be had from it, and when its block is requested anew everything in it is free."""
        pool = self._pool(ipam, self.blocks[0])
        capacity = pool.free
        address = self._address(ipam, pool)
        self._empty(ipam, pool)
        assert ipam.request_address(pool) is None, ipam.say(f"{pool} was released")
        ipam.release_address(address)
        again = self._pool(ipam, self.blocks[0])
        assert again.free == capacity
        for _ in range(capacity):
            self._address(ipam, again)

    def test_releasing_the_unknown_changes_nothing(self, ipam: CheckedIpam) -> None:
        """It is refused or ignored: what is held stays held."""
        pool = self._pool(ipam, self.blocks[0])
        address = self._address(ipam, pool)
        free = [each for each in pool.block if each not in pool.held]
        for text in map(str, (*free, pool.block.broadcast_address + 1)):
            ipam.release_text(pool, text)
        stranger = Pool("unknown", pool.space, f"{pool.id}/unknown", pool.block, pool.block, is_living=False)
        ipam.release_text(stranger, str(address.address))
        ipam.release_pool(stranger)
        assert ipam.request_address(stranger) is None, ipam.say("an unknown pool gives nothing")
        assert ipam.request_address(pool, str(address.address)) is None, ipam.say(f"{address} is still held")

    def test_a_pool_can_be_had_without_naming_one(self, ipam: CheckedIpam) -> None:
        """Of each family; what is chosen overlaps nothing that was given."""
        for version in sorted({ipaddress.ip_network(block).version for block in self.blocks}):
            chosen = [ipam.request_pool("", v6=version == 6) for _ in range(3)]
            assert all((pool is not None) == self.chooses_pools for pool in chosen), ipam.say("chooses_pools tells")
            for pool in chosen:
                if pool is not None:
                    self._address(ipam, pool)

    def test_a_pool_of_a_size_can_be_had(self, ipam: CheckedIpam) -> None:
        """Two of each size: free blocks that have it, and addresses."""
        for size in self.sizes:
            for _ in range(2):
                pool = ipam.request_pool(f"0.0.0.0/{size}")
                assert pool is not None, ipam.say(f"a block of size /{size} can be had")
                self._address(ipam, pool)

    def test_a_sub_pool_restricts_what_is_chosen(self, ipam: CheckedIpam) -> None:
        """Chosen addresses are in it, with the whole pool's prefix length; a preferred one may be outside."""
        whole = ipaddress.ip_network(self.blocks[-1])
        _, part = whole.subnets()
        pool = ipam.request_pool(str(whole), sub_pool=str(part), v6=whole.version == 6)
        assert (pool is not None) == self.has_sub_pools, ipam.say("has_sub_pools tells whether one is given")
        if pool is None:
            return
        for _ in range(min(pool.free, SMALL)):
            self._address(ipam, pool)
        outside = next(each for each in whole if each not in pool.held and not pool.is_reserved(each))
        assert ipam.request_address(pool, str(outside)) is not None, ipam.say(f"{outside} is free in the whole pool")

    @pytest.mark.parametrize("text", NO_BLOCKS)
    def test_what_is_no_block_is_refused(self, ipam: CheckedIpam, text: str) -> None:
        """Text that is no CIDR block is refused with one of the driver's refusals."""
        with contextlib.suppress(*self.refusals):
            ipam.driver.request_pool(self.address_spaces[0], text, "", {}, ":" in text)
            raise AssertionError(f"{text!r} is no block of addresses: a request for it is refused")

    def test_no_program_breaks_a_rule(self) -> None:
        """Whatever is asked for in whatever order, each answer is one that the rules allow."""
        find_broken_rule(self.make_checked, blocks=self.blocks, how=self.settings)

    # --- within

    def _pool(self, ipam: CheckedIpam, block: str, space: str = "") -> Pool:
        pool = ipam.request_pool(block, space=space, v6=":" in block)
        assert pool is not None, ipam.say(f"{block} is free: it is given")
        return pool

    @staticmethod
    def _address(ipam: CheckedIpam, pool: Pool) -> Address:
        address = ipam.request_address(pool)
        assert address is not None, ipam.say(f"{pool} has free addresses: one is given")
        return address

    @staticmethod
    def _empty(ipam: CheckedIpam, pool: Pool) -> Pool:
        """Release what is held in a pool, and the pool."""
        for held, name in list(pool.held.items()):
            if name != "gateway":
                ipam.release_text(pool, str(held))
        ipam.release_pool(pool)
        return pool


def _some(answer: object) -> object:
    return multiple() if answer is None else answer


def _close(driver: object) -> None:
    close = getattr(driver, "close", None)
    if close is not None:
        close()
