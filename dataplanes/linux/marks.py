"""How this instance marks what is its own: link groups, aliases, the firewall table's name. Pure.

Keeps: what bears no mark of this instance is foreign, whatever its name. Must not know: sockets, plans.

The group comes with a link's creation, the alias with the message that sets it up: a link in our group without an
alias is one whose making was interrupted.
"""

from __future__ import annotations

from msgspec import Struct

from ...domain.values import EndpointId, NetworkId
from ..contract import Instance
from .rtnetlink import Link

GROUPS_BEGIN = 16
"""Above the handful that people number by hand."""
ALIAS_BYTES = 255
SETTINGS = " settings "


class Delegation(Struct, frozen=True, gc=False):
    """What the container end was when it was handed over: its runtime moves and renames it."""

    name: str
    mac: bytes


class EndpointMark(Struct, frozen=True, gc=False):
    """What the alias of an endpoint's interface says; `settings` are the names of its kernel settings that are ours."""

    endpoint: EndpointId
    delegation: Delegation | None = None
    settings: tuple[str, ...] = ()


class Marks:
    """The marks of one instance."""

    def __init__(self, instance: Instance) -> None:
        number = int(instance[:7], 16) * 2 + GROUPS_BEGIN  # < 2**29: the kernel keeps groups as int
        self.live = number
        """The link group of host ends and bridges."""
        self.trash = number + 1
        """The link group of what is on its way out."""
        self.instance = instance
        self.table = f"netledger-{instance}"
        self._endpoint = f"{self.table} endpoint "
        self._network = f"{self.table} network "
        self._stand_in = f"{self.table} stand-in "
        self._far_end = f"{self.table} far end of "
        self._vlan = f"{self.table} vlan"

    def endpoint(
        self, endpoint: EndpointId, delegation: Delegation | None = None, settings: tuple[str, ...] = ()
    ) -> str:
        """Write the alias of an endpoint's interface, with as many of its settings as there is room for."""
        if delegation is None:
            written = self._endpoint + endpoint
            for number, name in enumerate(settings):
                longer = f"{written}{'' if number else SETTINGS}{' ' if number else ''}{name}"
                if len(longer.encode()) > ALIAS_BYTES:
                    break
                written = longer
            return written
        return f"{self._endpoint}{endpoint} delegated {delegation.mac.hex(':')} {delegation.name}"

    def network(self, network: NetworkId) -> str:
        """Write the alias of a bridge."""
        return self._network + network

    def read_endpoint(self, alias: str) -> EndpointMark | None:
        """Read the alias of a veth end; None when it is not ours."""
        if not alias.startswith(self._endpoint):
            return None
        said, _, settings = alias.removeprefix(self._endpoint).partition(SETTINGS)
        endpoint, _, delegated = said.partition(" delegated ")
        if not delegated:
            return EndpointMark(EndpointId(endpoint), None, tuple(settings.split()))
        mac, _, name = delegated.partition(" ")
        try:
            return EndpointMark(EndpointId(endpoint), Delegation(name, bytes.fromhex(mac.replace(":", ""))))
        except ValueError:
            return EndpointMark(EndpointId(endpoint))

    def read_network(self, alias: str) -> NetworkId | None:
        """Read the alias of a bridge; None when it is not ours."""
        return NetworkId(alias.removeprefix(self._network)) if alias.startswith(self._network) else None

    def stand_in(self, network: NetworkId) -> str:
        """Write the alias of a network's stand-in."""
        return self._stand_in + network

    def read_stand_in(self, alias: str) -> NetworkId | None:
        """Read the alias of a stand-in; None when it is not ours."""
        return NetworkId(alias.removeprefix(self._stand_in)) if alias.startswith(self._stand_in) else None

    def far_end(self, name: str) -> str:
        """Write the alias of the other end of a stand-in that is a veth pair."""
        return self._far_end + name

    def is_far_end(self, alias: str) -> bool:
        """Whether an alias is one of those."""
        return alias.startswith(self._far_end)

    def vlan(self) -> str:
        """Write the alias of a VLAN interface; it is no one network's."""
        return self._vlan

    def is_vlan(self, alias: str) -> bool:
        """Whether an alias is that of a VLAN interface."""
        return alias == self._vlan

    def owns(self, link: Link) -> bool:
        """Whether a link bears any mark of ours."""
        return link.group in {self.live, self.trash} or link.alias.startswith(f"{self.table} ")

    def describe_foreign(self, link: Link, where: str = "") -> str:
        """Say what is in the way."""
        kind = f"a {link.kind} link" if link.kind else "a link"
        return f"{kind} named {link.name}, index {link.index}{where}, without {self.table}'s mark, is in the way"
