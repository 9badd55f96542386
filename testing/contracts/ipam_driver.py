"""A witness that holds each answer of an IPAM driver against a naive model.

What a driver is, with units and refusals, is in `netledger.domain.ipam.driver`.
Keeps: a failed rule is an AssertionError that says the rule and lists the calls that led to it.
Knows nothing of: how a driver keeps its books; Hypothesis.
Its words are all that a user needs of a failure: PYTEST_DONT_REWRITE its assertions.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from ...domain.ipam.driver import AddressBooks

AnswerT = TypeVar("AnswerT")
Block: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Held: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

GATEWAY = "com.docker.network.gateway"
"""In a pool's data: the address, with prefix, that the driver itself has set aside as the gateway."""
ADDRESS_TYPE = "RequestAddressType"
"""In an address request's options: what the address is for; the only value is `GATEWAY`."""

POOLS_AT_LEAST = 8
"""A driver that chooses pools has at least so many for each family."""


@dataclass(eq=False)
class Pool:
    """A pool as the model has it."""

    name: str
    space: str
    id: str
    block: Block
    choices: Block
    """Where chosen addresses come from: the block, or its sub pool."""
    held: dict[Held, str] = field(default_factory=dict)
    """By address: the name of the step that took it."""
    is_living: bool = True
    has_gateway: bool = False

    def is_reserved(self, address: Held) -> bool:
        """Whether an address of the block is nobody's."""
        if self.block.num_addresses <= 2:
            return False
        return address == self.block[0] or (self.block.version == 4 and address == self.block[-1])

    @property
    def free(self) -> int:
        """How many addresses can still be chosen."""
        ends = {self.choices[0], self.choices[-1]}
        reserved = sum(self.is_reserved(address) for address in ends)
        return self.choices.num_addresses - reserved - sum(address in self.choices for address in self.held)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Address:
    """An address that a step took, which may have been given back since."""

    name: str
    pool: Pool
    address: Held

    def __repr__(self) -> str:
        return self.name


class CheckedIpam:
    """Ask a driver, check each answer, and remember what it gave.

    `refusals` are the exceptions with which the driver refuses; any other goes through, with the calls noted on it.
    """

    def __init__(
        self,
        driver: AddressBooks,
        refusals: tuple[type[Exception], ...],
        *,
        spaces: tuple[str, ...] = ("LocalDefault",),
        chooses_pools: bool = True,
        has_sub_pools: bool = True,
    ) -> None:
        self.driver = driver
        self.refusals = refusals
        self.spaces = spaces
        self.chooses_pools = chooses_pools
        self.has_sub_pools = has_sub_pools
        self.pools: list[Pool] = []
        self.steps: list[str] = []
        self.addresses = 0

    def living(self, space: str) -> list[Pool]:
        """List the pools of an address space."""
        return [pool for pool in self.pools if pool.is_living and pool.space == space]

    def request_pool(self, block: str, *, space: str = "", sub_pool: str = "", v6: bool = False) -> Pool | None:
        """Ask for a pool, by itself of the first address space; None if it was refused, rightly."""
        name = f"pool{len(self.pools) + 1}"
        elsewhere = f', space="{space}"' if space not in {"", self.spaces[0]} else ""
        part = f', sub_pool="{sub_pool}"' if sub_pool else ""
        call = f'{name} = request_pool("{block}"{elsewhere}{part}{", v6=True" if v6 else ""})'
        space = space or self.spaces[0]
        answer = self._ask(call, lambda: self.driver.request_pool(space, block, sub_pool, {}, v6))
        size = _size_of(block)
        wanted = ipaddress.ip_network(block) if block and not size else None
        if answer is None:
            self._check_pool_refusal(wanted, space, v6=v6, has_sub_pool=bool(sub_pool))
            return None
        identity, text, data = answer
        self.steps[-1] += f"  # {text}"
        got = ipaddress.ip_network(text)
        assert wanted in {None, got}, self.say(f"the block that was asked for is given: {wanted}, not {got}")
        assert size in {0, got.prefixlen}, self.say(f"a block of the size that was asked for is given, not {got}")
        assert got.network_address != got.network_address.__class__(0), self.say(f"{got} is asked for with, not given")
        assert got.version == (6 if v6 else 4), self.say(f"an IPv{6 if v6 else 4} pool was asked for, not {got}")
        for other in self.living(space):
            assert not _overlap(got, other.block), self.say(
                f"no two pools of one address space overlap: {got} overlaps {other.block} of {other.name}"
            )
        assert identity, self.say("a pool has an id")
        assert all(identity != other.id for other in self.pools if other.is_living), self.say(
            f"each pool has an id of its own: {identity!r} is that of another"
        )
        pool = Pool(name, space, identity, got, ipaddress.ip_network(sub_pool) if sub_pool else got)
        self.pools.append(pool)
        if GATEWAY in data:
            self._take(pool, data[GATEWAY], "gateway")
            pool.has_gateway = True
        return pool

    def request_address(self, pool: Pool, preferred: str = "", *, gateway: bool = False) -> Address | None:
        """Ask for an address; None if it was refused, rightly."""
        pool = self._now(pool)
        name = f"address{self.addresses + 1}"
        extra = (f', "{preferred}"' if preferred else "") + (", gateway=True" if gateway else "")
        options = {ADDRESS_TYPE: GATEWAY} if gateway else {}
        answer = self._ask(
            f"{name} = request_address({pool}{extra})", lambda: self.driver.request_address(pool.id, preferred, options)
        )
        wanted = ipaddress.ip_address(preferred) if preferred else None
        if answer is None:
            self._check_address_refusal(pool, wanted)
            return None
        text, _ = answer
        self.steps[-1] += f"  # {text}"
        assert pool.is_living, self.say(f"{pool} was released: nothing can be had from it")
        taken = self._take(pool, text, name)
        assert wanted in {None, taken}, self.say(f"the address that was asked for is given: {wanted}, not {taken}")
        if wanted is None:
            assert taken in pool.choices, self.say(f"a chosen address is in the sub pool {pool.choices}: not {taken}")
        self.addresses += 1
        return Address(name, pool, taken)

    def release_address(self, address: Address) -> None:
        """Give an address back, perhaps for the second time."""
        self._release(self._now(address.pool), address.address, f"release_address({address})")

    def release_text(self, pool: Pool, text: str) -> None:
        """Give back whatever has this address, or what nobody has."""
        pool = self._now(pool)
        self._release(pool, ipaddress.ip_address(text), f'release_address({pool}, "{text}")')

    def release_pool(self, pool: Pool) -> None:
        """Give a pool back, perhaps for the second time."""
        pool = self._now(pool)
        if self._tell(f"release_pool({pool})", lambda: self.driver.release_pool(pool.id)):
            pool.is_living = False
            pool.held.clear()
        elif pool.is_living:
            busy = set(pool.held.values()) - {"gateway"}
            assert busy, self.say(f"nothing of {pool} is held: it can be released")

    def say(self, rule: str) -> str:
        """Write a rule that was broken, and what led to it."""
        return "\n    ".join([rule, *self.steps])

    # --- within

    def _now(self, pool: Pool) -> Pool:
        """Find whose the id is now: it may be given anew after a release."""
        return next((other for other in self.pools if other.is_living and other.id == pool.id), pool)

    def _tell(self, call: str, work: Callable[[], None]) -> bool:
        """Call the driver for what has no answer; False if it refuses."""

        def answer() -> bool:
            work()
            return True

        return self._ask(call, answer) is not None

    def _ask(self, call: str, work: Callable[[], AnswerT]) -> AnswerT | None:
        """Call the driver; None if it refuses."""
        self.steps.append(call)
        try:
            return work()
        except self.refusals as refusal:
            self.steps[-1] = f"{call.partition(' = ')[2] or call}  # refused: {refusal}"
            return None
        except Exception as error:
            error.add_note(self.say(f"{type(error).__name__} is not one of the driver's refusals:"))
            raise

    def _check_pool_refusal(self, wanted: Block | None, space: str, *, v6: bool, has_sub_pool: bool) -> None:
        if has_sub_pool and not self.has_sub_pools:
            return
        if wanted is None:
            count = sum(pool.block.version == (6 if v6 else 4) for pool in self.living(space))
            assert not self.chooses_pools or count >= POOLS_AT_LEAST, self.say(
                f"a pool can be had without naming one: only {count} are taken"
            )
            return
        blocked = any(_overlap(wanted, pool.block) for pool in self.living(space))
        assert blocked, self.say(f"{wanted} overlaps no pool of {space!r}: it is given")

    def _check_address_refusal(self, pool: Pool, wanted: Held | None) -> None:
        if not pool.is_living:
            return
        if wanted is None:
            assert pool.free <= 0, self.say(f"{pool} has {pool.free} free address(es): one of them is given")
            return
        is_rightly = wanted not in pool.block or pool.is_reserved(wanted) or wanted in pool.held
        assert is_rightly, self.say(f"{wanted} is free in {pool}: whoever asks for it gets it")

    def _take(self, pool: Pool, text: str, name: str) -> Held:
        assert "/" in text, self.say(f"an address comes with a prefix length: {text}")
        interface = ipaddress.ip_interface(text)
        address = interface.ip
        assert address in pool.block, self.say(f"an address is in its pool: {address} is outside {pool.block}")
        assert interface.network.prefixlen == pool.block.prefixlen, self.say(
            f"an address has its pool's prefix length: {text} is of {pool.block}"
        )
        assert address not in pool.held, self.say(
            f"no address is held twice: {address} is {pool.held.get(address)} already"
        )
        assert not pool.is_reserved(address), self.say(
            f"the {'network' if address == pool.block[0] else 'broadcast'} address {address} is nobody's"
        )
        pool.held[address] = name
        return address

    def _release(self, pool: Pool, address: Held, call: str) -> None:
        if self._tell(call, lambda: self.driver.release_address(pool.id, str(address))):
            pool.held.pop(address, None)
        else:
            holder = pool.held.get(address)
            assert holder in {None, "gateway"}, self.say(f"{address} is {holder}: it can be released")


def _size_of(text: str) -> int:
    """Read what size of block is asked for, by an address that is all zero; 0 where a block is named, or none."""
    address, _, prefix = text.partition("/")
    return int(prefix) if address in {"0.0.0.0", "::"} else 0  # noqa: S104  # no address to listen on


def _overlap(one: Block, other: Block) -> bool:
    return one.version == other.version and one.overlaps(other)
