"""The public contract of IPAM drivers, held against a plugin process through our client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
from hypothesis import settings

from netledger.domain.errors import Refusal
from netledger.domain.values import Subnet, format_address, parse_address, parse_subnet
from netledger.engine.addresses import read_block
from netledger.engine.remote import RemoteIpam, Transport, find
from netledger.testing.contracts.ipam import UNTIL_BROKEN, IpamContract
from tests.engine.remote.conftest import PluginProcess


class Client:
    """Our client behind libnetwork's seam, where everything is text. Each one's address spaces are new ones."""

    def __init__(self, ipam: RemoteIpam, number: int) -> None:
        self.ipam = ipam
        self.number = number
        self.blocks: dict[str, Subnet] = {}
        self.ipam.nature()

    def request_pool(
        self, space: str, pool: str, sub_pool: str, options: Mapping[str, str], v6: bool, /
    ) -> tuple[str, str, Mapping[str, str]]:
        block, size = read_block(pool) if pool else (None, 0)
        given = self.ipam.take_pool(f"{space}{self.number}", block, sub_pool, options, is_v6=v6, size=size)
        self.blocks[given.identifier] = given.block
        return given.identifier, str(given.block), given.data

    def release_pool(self, identifier: str, /) -> None:
        self.ipam.release_pool(identifier)

    def request_address(
        self, identifier: str, preferred: str, options: Mapping[str, str], /
    ) -> tuple[str, Mapping[str, str]]:
        block = self.blocks.get(identifier, parse_subnet("10.0.0.0/8"))
        wanted = parse_address(preferred) if preferred else b""
        address = self.ipam.take_address(identifier, block, wanted, options)
        return f"{format_address(address)}/{block.prefix}", {}

    def release_address(self, identifier: str, address: str, /) -> None:
        self.ipam.release_address(identifier, address)


class TestRemoteIpam(IpamContract):
    """A plugin that behaves well keeps the contract, seen through the client that checks its answers."""

    refusals = (Refusal,)
    address_spaces = ("testLocal", "testGlobal")
    sizes = (24, 29)
    settings: ClassVar[settings] = settings(UNTIL_BROKEN, max_examples=10, stateful_step_count=12)

    @pytest.fixture(autouse=True)
    def a_plugin(self, start_plugin: Callable[..., PluginProcess]) -> None:
        self.plugin = start_plugin()
        self.made = 0

    def make_driver(self) -> Client:
        self.made += 1
        transport = Transport(self.plugin.name, find(self.plugin.name, [self.plugin.directory]))
        return Client(RemoteIpam(transport), self.made)
