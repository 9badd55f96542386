"""Docker's IPAM plugin protocol as it is on the wire: its field names, its types, what may be missing or null.

Knows nothing of: our own types. Source: libnetwork, ipams/remote/api/api.go.
"""

from __future__ import annotations

from msgspec import Struct


class Nothing(Struct, frozen=True):
    """An answer that says nothing."""


class Activated(Struct, frozen=True):
    """What a plugin implements."""

    Implements: list[str] | None = None


class CapabilitiesTold(Struct, frozen=True):
    """What an IPAM driver wants to be told."""

    RequiresMACAddress: bool = False
    RequiresRequestReplay: bool = False


class SpacesTold(Struct, frozen=True):
    """What an IPAM driver calls its address spaces."""

    LocalDefaultAddressSpace: str
    GlobalDefaultAddressSpace: str


class PoolWanted(Struct, frozen=True):
    """A request for a block: CIDR texts, empty where any will do."""

    AddressSpace: str
    Pool: str
    SubPool: str
    Options: dict[str, str]
    V6: bool


class PoolGiven(Struct, frozen=True):
    """A block."""

    PoolID: str
    Pool: str
    Data: dict[str, str] | None = None


class PoolReturned(Struct, frozen=True):
    """A block that is given back."""

    PoolID: str


class AddressWanted(Struct, frozen=True):
    """A request for an address, without prefix, empty where any will do. Docker sends null where it has no options."""

    PoolID: str
    Address: str
    Options: dict[str, str] | None


class AddressGiven(Struct, frozen=True):
    """An address, with prefix."""

    Address: str
    Data: dict[str, str] | None = None


class AddressReturned(Struct, frozen=True):
    """An address, without prefix, that is given back."""

    PoolID: str
    Address: str
