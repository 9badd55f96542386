"""An IPAM driver of others: the six calls of Docker's `IpamDriver`, and its answers checked.

Keeps: an answer that is returned is one that the question allows: a block of the right family, an address inside its
block with the block's prefix length, the very one that was asked for.
Knows nothing of: networks, endpoints, the log.
Source: libnetwork, docs/ipam.md and ipams/remote/api.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from ...domain.errors import Refusal
from ...domain.ipam.pools import is_usable
from ...domain.values import Subnet, check_name, family_of, format_address, parse_address, parse_subnet
from .transport import AnswerT, PluginFault, PluginRefused, said
from .wire import (
    Activated,
    AddressGiven,
    AddressReturned,
    AddressWanted,
    CapabilitiesTold,
    Nothing,
    PoolGiven,
    PoolReturned,
    PoolWanted,
    SpacesTold,
)

IPAM = "IpamDriver"
GATEWAY = "com.docker.network.gateway"
"""In a pool's data: the gateway, with prefix, that the driver has set aside; and what a gateway's address is for."""
ADDRESS_TYPE = "RequestAddressType"
MAC = "com.docker.network.endpoint.macaddress"
ENDPOINT_NAME = "com.docker.network.endpoint.name"
IDENTIFIER_LIMIT = 4096


class Calls(Protocol):
    """How a driver is called: in another process (`Transport`), or in this one (`InProcess`)."""

    @property
    def name(self) -> str:
        """The driver's name."""

    def call(self, method: str, question: Struct | None, answer: type[AnswerT], *, is_safe: bool = False) -> AnswerT:
        """Ask `method`; return the answer. `is_safe`: to ask it twice changes nothing."""

    def incarnation(self) -> tuple[int, int] | None:
        """Tell one driver from the next that serves the same name, where that can be seen."""


def implemented(transport: Calls) -> tuple[str, ...]:
    """Shake hands with a plugin, and tell what it implements: `NetworkDriver`, `IpamDriver`."""
    return tuple(transport.call("Plugin.Activate", None, Activated, is_safe=True).Implements or ())


class Nature(Struct, frozen=True):
    """What a plugin says of itself: what it wants to be told, and what it calls its default address spaces."""

    requires_mac: bool
    requires_replay: bool
    local_space: str
    global_space: str


class Pool(Struct, frozen=True):
    """A block that a plugin gave: its own name for it, and (perhaps) the gateway that it has set aside in it."""

    identifier: str
    block: Subnet
    gateway: bytes
    data: Mapping[str, str]


class RemoteIpam:
    """An IPAM driver that is not ours. Every call may raise `PluginFault` and `PluginRefused`."""

    def __init__(self, transport: Calls) -> None:
        self._transport = transport
        self._nature: Nature | None = None
        self._incarnation = transport.incarnation()

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self._transport.name

    def nature(self) -> Nature:
        """Shake hands, once, and ask what the plugin is like."""
        if self._nature is None:
            told = implemented(self._transport)
            if IPAM not in told:
                raise self._wrong("Plugin.Activate", f"it implements {said(', '.join(told) or 'nothing')}, not {IPAM}")
            capabilities = self._capabilities()
            spaces = self._ask("GetDefaultAddressSpaces", None, SpacesTold, is_safe=True)
            self._nature = Nature(
                capabilities.RequiresMACAddress,
                capabilities.RequiresRequestReplay,
                self._space(spaces.LocalDefaultAddressSpace),
                self._space(spaces.GlobalDefaultAddressSpace),
            )
        return self._nature

    def take_pool(
        self, space: str, block: Subnet | None, sub_pool: str, options: Mapping[str, str], *, is_v6: bool, size: int = 0
    ) -> Pool:
        """Take a block, a certain one or (None) any of a family; `sub_pool` is the part that addresses come from.

        With a `size`, any block with this prefix length: libnetwork hands such a request on as `0.0.0.0/24`.

        An answer that is wrong is not given back here, since it may be a pool that somebody has: the fault's `given`
        says which it was.
        """
        method = "RequestPool"
        sized = str(Subnet(bytes(16 if is_v6 else 4), size)) if size else ""
        wanted = PoolWanted(space, str(block) if block else sized, sub_pool, dict(options), is_v6)
        given = self._ask(method, wanted, PoolGiven)
        if not 0 < len(given.PoolID) <= IDENTIFIER_LIMIT:
            raise self._wrong(method, f"a pool id of {len(given.PoolID)} characters")
        try:
            return self._checked(given, block, size, is_v6=is_v6)
        except PluginFault as fault:
            fault.given = given.PoolID
            raise

    def release_pool(self, pool_id: str, /) -> None:
        """Give a block back."""
        self._ask("ReleasePool", PoolReturned(pool_id), Nothing)

    def take_address(
        self, pool_id: str, block: Subnet, wanted: bytes = b"", options: Mapping[str, str] | None = None
    ) -> bytes:
        """Take an address of a block that the plugin gave, a certain one or (empty) any.

        An answer that is wrong is not given back here either.
        """
        method = "RequestAddress"
        question = AddressWanted(pool_id, format_address(wanted) if wanted else "", dict(options) if options else None)
        given = self._ask(method, question, AddressGiven)
        text, _, prefix = given.Address.partition("/")
        try:
            address = parse_address(text)
        except Refusal:
            raise self._wrong(method, f"{said(given.Address)!r} is no address") from None
        because = _why_not(address, prefix, block, wanted)
        if because:
            fault = self._wrong(method, f"{said(given.Address)} {because}")
            fault.given = format_address(address)
            raise fault
        return address

    def release_address(self, pool_id: str, address: str, /) -> None:
        """Give an address back."""
        self._ask("ReleaseAddress", AddressReturned(pool_id, address), Nothing)

    @property
    def can_be_told_apart(self) -> bool:
        """Whether another process that serves the name could be told from this one; over TCP it cannot."""
        return self._incarnation is not None

    def was_replaced(self) -> bool:
        """Whether another process serves the name since we shook hands, as far as its socket's file tells."""
        return self._transport.incarnation() != self._incarnation

    # --- within

    def _capabilities(self) -> CapabilitiesTold:
        """Ask what the plugin wants to be told; one that does not know the call wants nothing."""
        try:
            return self._ask("GetCapabilities", None, CapabilitiesTold, is_safe=True)
        except PluginRefused:
            return CapabilitiesTold()

    def _space(self, name: str) -> str:
        try:
            return check_name("address space", name)
        except Refusal as error:
            raise self._wrong("GetDefaultAddressSpaces", f"{error.because}: {said(name)!r}") from None

    def _checked(self, given: PoolGiven, block: Subnet | None, size: int, *, is_v6: bool) -> Pool:
        method = "RequestPool"
        try:
            subnet = parse_subnet(given.Pool)
        except Refusal:
            raise self._wrong(method, f"{said(given.Pool)!r} is no block of addresses") from None
        if block is not None and subnet != block:
            raise self._wrong(method, f"{subnet} is not the block that was asked for, {block}")
        if (subnet.family == 6) != is_v6:
            raise self._wrong(method, f"{subnet} is not an IPv{6 if is_v6 else 4} block")
        if size and subnet.prefix != size:
            raise self._wrong(method, f"{subnet} is not of the size that was asked for, /{size}")
        if size and not any(subnet.address):
            raise self._wrong(method, f"{subnet} is what a size is asked for with, not a block; name a subnet")
        data = given.Data or {}
        gateway = b""
        if GATEWAY in data:
            text, _, prefix = data[GATEWAY].partition("/")
            try:
                gateway = parse_address(text)
            except Refusal:
                raise self._wrong(method, f"its gateway {said(data[GATEWAY])!r} is no address") from None
            because = _why_not(gateway, prefix, subnet, b"")
            if because:
                raise self._wrong(method, f"its gateway {said(data[GATEWAY])} {because}")
        return Pool(given.PoolID, subnet, gateway, data)

    def _ask(self, method: str, question: Struct | None, answer: type[AnswerT], *, is_safe: bool = False) -> AnswerT:
        return self._transport.call(f"{IPAM}.{method}", question, answer, is_safe=is_safe)

    def _wrong(self, method: str, what: str) -> PluginFault:
        call = method if "." in method else f"{IPAM}.{method}"
        return PluginFault(f"ask plugin {self.name!r} for {call}", f"a wrong answer: {what}", "mend the plugin")


def _why_not(address: bytes, prefix: str, block: Subnet, wanted: bytes) -> str:
    """Say why an address is not one to be given; empty where it is."""
    if family_of(address) != block.family:
        return f"is not an IPv{block.family} address"
    if address not in block:
        return f"is outside its pool {block}"
    if prefix != str(block.prefix):
        return f"has not the prefix length of its pool {block}"
    if not is_usable(block, address):
        return f"is reserved in {block}"
    if wanted and address != wanted:
        return f"is not the address that was asked for, {format_address(wanted)}"
    return ""
