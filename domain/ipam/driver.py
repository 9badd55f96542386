"""What an IPAM driver in this process is: Docker's IPAM plugin protocol as Python methods.

The seam is libnetwork's: everything is text, as its plugins' JSON has it. An address space is a name, a pool a CIDR
block (`10.0.0.0/24`), an address is given with its pool's prefix length (`10.0.0.5/24`) and asked for and released
without one (`10.0.0.5`).
Keeps: a driver is asked before a command is decided; its answers are recorded, and replay never asks again.
Knows nothing of: how a driver is found, called and believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

REQUIRES_MAC = "RequiresMACAddress"
"""A capability: each request for an endpoint's address comes with its MAC address."""
REQUIRES_REPLAY = "RequiresRequestReplay"
"""A capability: the driver keeps no books that outlive it, and is asked again for all that the log has of it."""


class AddressBooks(Protocol):
    """Who gives pools and addresses. A refusal is an exception that leaves everything as it was."""

    def request_pool(
        self,
        address_space: str,
        pool: str,
        sub_pool: str,
        options: Mapping[str, str],
        v6: bool,  # noqa: FBT001 - in libnetwork's order
        /,
    ) -> tuple[str, str, Mapping[str, str]]:
        """Take a block; return the pool's id, the block, and data about it.

        `pool` empty: any free block, of IPv6 if `v6`; an address that is all zero, `0.0.0.0/24` or `::/64`: any free
        one of that size. A driver may refuse to choose. `sub_pool` is a block in `pool` that chosen addresses come
        from. Refused: text that is no block, a block that overlaps another pool of the address space, and when none is
        left.
        """

    def release_pool(self, pool_id: str, /) -> None:
        """Give a block back. May be refused while addresses of it are held."""

    def request_address(
        self, pool_id: str, preferred: str, options: Mapping[str, str], /
    ) -> tuple[str, Mapping[str, str]]:
        """Take the preferred address, or a free one when that is empty; return it with the pool's prefix length.

        Refused: an unknown pool, an address that is held, reserved or outside, and when none is left. Reserved are the
        first address of a block, and of an IPv4 one the last; of blocks of one or two addresses none is.
        """

    def release_address(self, pool_id: str, address: str, /) -> None:
        """Give an address back."""


class IpamDriver(AddressBooks, Protocol):
    """An IPAM driver of another distribution, by the entry point `netledger.ipam`; made without arguments.

    It is called under the controller's lock, one call at a time, and waits for nobody: no time limit can end a call
    in this process. Any other exception than its `refusals` is a fault: nobody knows whether it gave anything. It is
    made once for each controller that asks for it.
    """

    @property
    def name(self) -> str:
        """The name of its entry point, which networks are created with."""

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """The exceptions with which it says no; their text is what the caller reads. Ours (`Refusal`) always are."""

    def get_capabilities(self) -> Mapping[str, bool]:
        """Tell what it wants: `REQUIRES_MAC`, `REQUIRES_REPLAY`; what is left out is not wanted.

        One that wants replay gives what it is asked for again, the same pool by the same id, as the first time.
        """

    def get_default_address_spaces(self) -> tuple[str, str]:
        """Name its local and its global default address space."""
