"""The contract of an IPAM driver holds for our own, and notices every kind of wrong one."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings

from netledger import Controller
from netledger.domain.errors import Conflict, Exhausted, Invalid, NotFound, Refusal, Unimplemented
from netledger.testing.contracts.ipam import UNTIL_BROKEN, CheckedIpam, IpamContract, find_broken_rule

GATEWAY = "com.docker.network.gateway"
QUICK = settings(UNTIL_BROKEN, derandomize=True, database=None, max_examples=60)
THOROUGH = settings(QUICK, max_examples=150, stateful_step_count=12)


class OurIpam:
    """Networks and endpoints of a Controller as pools and addresses."""

    def __init__(self) -> None:
        self.controller = Controller.open(dataplane="none")
        self.names = (f"n{number}" for number in itertools.count(1))
        self.networks: dict[str, Any] = {}
        self.prefixes: dict[str, int] = {}

    def request_pool(self, space: str, pool: str, sub_pool: str, options: Mapping[str, str], v6: bool) -> tuple:
        """Create a network with this subnet."""
        if sub_pool:
            raise Unimplemented(f"request sub pool {sub_pool}", "addresses are chosen from the whole pool")
        made = self.controller.create_network(next(self.names), subnets=[pool] if pool else [], ipv4=not v6, ipv6=v6)
        info = made.info()
        with self.controller.reading() as views:
            event = views.network(made.id).event
        identity = event.pools[0].pool
        self.networks[identity] = made
        self.prefixes[identity] = event.pools[0].subnet.prefix
        return identity, info.subnets[0], {GATEWAY: f"{info.gateways[0]}/{self.prefixes[identity]}"}

    def release_pool(self, pool_id: str) -> None:
        """Delete the network."""
        self._network(pool_id).delete()
        del self.networks[pool_id]

    def request_address(self, pool_id: str, preferred: str, options: Mapping[str, str]) -> tuple:
        """Create an endpoint."""
        endpoint = self._network(pool_id).create_endpoint(next(self.names), addresses=[preferred] if preferred else [])
        return endpoint.info().addresses[0], {}

    def release_address(self, pool_id: str, address: str) -> None:
        """Delete the endpoint that has it."""
        for endpoint in self._network(pool_id).endpoints():
            if f"{address}/{self.prefixes[pool_id]}" in endpoint.info().addresses:
                return endpoint.delete()
        raise NotFound(f"release address {address}", "nobody holds it")

    def close(self) -> None:
        """Close the controller."""
        self.controller.close()

    def _network(self, pool_id: str) -> Any:
        if pool_id not in self.networks:
            raise NotFound(f"pool {pool_id}", "it is not there")
        return self.networks[pool_id]


class TestOurIpam(IpamContract):
    """Our own address management keeps the contract."""

    has_sub_pools = False
    sizes = (24, 28)
    settings = QUICK

    def make_driver(self) -> OurIpam:
        """Open a controller with a log in memory."""
        return OurIpam()


class OurRequests:
    """Requested pools and addresses of a Controller: what an IPAM plugin in front of it would ask for."""

    def __init__(self) -> None:
        self.controller = Controller.open(dataplane="none")
        self.ipam = self.controller.ipam

    def request_pool(self, space: str, pool: str, sub_pool: str, options: Mapping[str, str], v6: bool) -> tuple:
        """Request a pool."""
        made = self.ipam.request_pool(pool, space=space, ip_range=sub_pool, ipv6=v6)
        return made.pool, made.block, {}

    def release_pool(self, pool_id: str) -> None:
        """Give it back."""
        self.ipam.release_pool(pool_id)

    def request_address(self, pool_id: str, preferred: str, options: Mapping[str, str]) -> tuple:
        """Request an address."""
        return self.ipam.request_address(pool_id, preferred).address, {}

    def release_address(self, pool_id: str, address: str) -> None:
        """Give it back."""
        self.ipam.release_address(pool_id, address)

    def close(self) -> None:
        """Close the controller."""
        self.controller.close()


class TestOurRequests(IpamContract):
    """Requested pools and addresses keep the contract, in several spaces and with sub pools."""

    address_spaces = ("LocalDefault", "GlobalDefault", "red")
    settings = QUICK

    def make_driver(self) -> OurRequests:
        """Open a controller with a log in memory."""
        return OurRequests()


class Allocator:
    """A plain allocator, the lowest free address first; `mistake` breaks one rule."""

    def __init__(self, mistake: str = "") -> None:
        self.mistake = mistake
        self.pools: dict[str, tuple[Any, Any, set]] = {}

    def request_pool(self, space: str, pool: str, sub_pool: str, options: Mapping[str, str], v6: bool) -> tuple:
        """Take a block."""
        candidates = [_block(pool)] if pool else _block("fd77::/112" if v6 else "10.128.0.0/16").subnets(8)
        for block in candidates:
            mine = [other for identity, (other, _, _) in self.pools.items() if identity.startswith(f"{space}/")]
            if any(block.version == other.version and block.overlaps(other) for other in mine):
                if pool and not (self.mistake == "overlap" and block not in mine):
                    raise Conflict(f"request pool {pool}", "it overlaps another")
                if not pool:
                    continue
            identity = f"{space}/pool" if self.mistake == "one id" else f"{space}/{block}"
            self.pools[identity] = (block, _block(sub_pool) if sub_pool else block, set())
            return identity, str(block.supernet() if self.mistake == "another block" else block), {}
        raise Exhausted("request pool", "none is left")

    def release_pool(self, pool_id: str) -> None:
        """Give a block back."""
        if self.mistake != "pool stays" and self.pools.pop(pool_id, None) is None:
            raise NotFound(f"release pool {pool_id}", "it is not there")

    def request_address(self, pool_id: str, preferred: str, options: Mapping[str, str]) -> tuple:
        """Take an address."""
        if pool_id not in self.pools:
            raise NotFound(f"pool {pool_id}", "it is not there")
        block, part, held = self.pools[pool_id]
        reserved = {block[0], *([block[-1]] if block.version == 4 else [])}
        if self.mistake == "network":
            reserved.discard(block[0])
        if self.mistake == "broadcast":
            reserved.discard(block[-1])
        if preferred:
            chosen = ipaddress.ip_address(preferred)
            is_ours = chosen in block or self.mistake == "outside"
            if not is_ours or chosen in reserved or (chosen in held and self.mistake != "preferred twice"):
                raise Conflict(f"request address {preferred}", "it is not to be had")
        else:
            free = [each for each in part if each not in held and each not in reserved]
            if self.mistake == "early exhaustion":
                free = free[1:]
            if not free and self.mistake == "late exhaustion":
                free = [max(held, default=block[1])]
            if not free:
                raise Exhausted(f"request address of {block}", "none is left")
            chosen = free[0]
        if not (self.mistake == "gateway" and options) and self.mistake != "twice":
            held.add(chosen)
        if self.mistake == "preferred ignored" and preferred:
            chosen = block[1]
        prefix = block.max_prefixlen if self.mistake == "prefix" else block.prefixlen
        return f"{chosen}/{prefix}", {}

    def release_address(self, pool_id: str, address: str) -> None:
        """Give an address back."""
        held = self.pools.get(pool_id, (None, None, set()))[2]
        if self.mistake == "release crashes" and ipaddress.ip_address(address) not in held:
            raise KeyError(address)
        if self.mistake == "release of another" and ipaddress.ip_address(address) not in held and held:
            held.pop()
        if self.mistake != "never free":
            held.discard(ipaddress.ip_address(address))


class TestPlainAllocator(IpamContract):
    """An allocator with address spaces and sub pools keeps the contract, too: it asks nothing that only ours does."""

    address_spaces = ("LocalDefault", "GlobalDefault")
    settings = QUICK

    def make_driver(self) -> Allocator:
        """Make one without a mistake."""
        return Allocator()


@pytest.mark.parametrize(
    ("mistake", "words", "steps"),
    [
        ("twice", "no address is held twice", 3),
        ("preferred twice", "no address is held twice", 3),
        ("gateway", "no address is held twice: 10.0.0.1 is address1 already", 3),
        ("preferred ignored", "the address that was asked for is given", 2),
        ("network", "the network address 10.0.0.0 is nobody's", 2),
        ("broadcast", "the broadcast address 10.0.", 3),
        ("outside", "an address is in its pool", 2),
        ("prefix", "an address has its pool's prefix length", 2),
        ("early exhaustion", "pool1 has 1 free address.es.: one of them is given", 3),
        ("late exhaustion", "no address is held twice", 6),
        ("never free", "pool1: whoever asks for it gets it|pool1 has 1 free address", 6),
        ("release of another", "no address is held twice", 6),
        ("overlap", "no two pools of one address space overlap", 2),
        ("another block", "the block that was asked for is given: 10.0.0.0/30, not 10.0.0.0/29", 1),
        ("one id", "each pool has an id of its own", 2),
        ("pool stays", "pool1 was released: nothing can be had from it", 3),
    ],
)
def test_each_mistake_is_found_and_shrunk(mistake: str, words: str, steps: int) -> None:
    """A driver that breaks one rule fails with that rule and the fewest calls that show it, or one more."""
    with pytest.raises(AssertionError) as caught:
        find_broken_rule(lambda: CheckedIpam(Allocator(mistake), (Refusal,)), how=THOROUGH)
    said, *calls = str(caught.value).split("\n    ")
    assert re.search(words, said), said
    assert len(calls) <= steps + 1, calls


def test_a_failure_reads_as_a_program() -> None:
    """The calls are printed as one would write them, each with its answer."""
    with pytest.raises(AssertionError) as caught:
        find_broken_rule(lambda: CheckedIpam(Allocator("twice"), (Refusal,)), how=THOROUGH)
    assert str(caught.value).splitlines() == [
        "no address is held twice: 10.0.0.1 is address1 already",
        '    pool1 = request_pool("10.0.0.0/30")  # 10.0.0.0/30',
        "    address1 = request_address(pool1)  # 10.0.0.1/30",
        "    address2 = request_address(pool1)  # 10.0.0.1/30",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("10.0.0.0/25", "a block of the size that was asked for is given, not 10.0.0.0/25"),
        ("0.0.0.0/24", "0.0.0.0/24 is asked for with, not given"),
        (None, "a block of size /24 can be had"),
    ],
)
def test_a_block_of_another_size_is_noticed(given: str | None, words: str) -> None:
    """The question itself is no answer either, and a refusal is none where sizes are promised."""

    class Sized(Allocator):
        def request_pool(self, space: str, pool: str, sub_pool: str, options: Mapping[str, str], v6: bool) -> tuple:
            if given is None:
                raise Exhausted(f"request pool {pool}", "none is left")
            return super().request_pool(space, given, sub_pool, options, v6)

    class Contract(IpamContract):
        sizes = (24,)

    contract = Contract()
    with pytest.raises(AssertionError, match=words):
        contract.test_a_pool_of_a_size_can_be_had(CheckedIpam(Sized(), (Refusal,), chooses_pools=False))


def test_an_exception_that_is_no_refusal_goes_through() -> None:
    """A driver that fails with another exception than its refusals is wrong; the calls are noted on it."""
    with pytest.raises(KeyError) as caught:
        find_broken_rule(lambda: CheckedIpam(Allocator("release crashes"), (Refusal,)), how=THOROUGH)
    assert "KeyError is not one of the driver's refusals" in caught.value.__notes__[0]


def test_a_contract_without_a_factory_says_what_to_do() -> None:
    """Forgetting the factory is told as such."""
    with pytest.raises(NotImplementedError, match="override make_driver"):
        IpamContract().make_driver()


def _block(text: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"block {text}", str(error)) from error
