"""What jobs work with: the marks, the host's namespace, and the long-lived sockets in it, opened when first needed.

Keeps: everything here is opened and used by the worker's thread. Must not know: plans, objects.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .firewall import NFTABLES, FirewallBackend, make_backend
from .firewall.nfnetlink import NETLINK_NETFILTER
from .marks import Marks
from .namespaces import Home
from .netlink import Conversation
from .portholder import PortHolder
from .rtnetlink import NO_AUTOMATIC_IPV6, Link, decode_link, get_link

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from .rooms import Room

T = TypeVar("T")

IPV6_MTU_LEAST = 1280
"""An interface with a smaller one has no IPv6 at all (RFC 8200), and refuses settings about it."""


class Kernel:
    """The host's side of one instance's dataplane."""

    def __init__(self, marks: Marks, home: Home, firewall: str = NFTABLES) -> None:
        self.marks = marks
        self.home = home
        self.ports = PortHolder()
        """The host ports that are published."""
        self.asked_sysctls: set[str] = set()
        """Settings of the host that this process was asked to make."""
        self.adopted: set[str] = set()
        """Bridges of others that this process was told, or has seen, to be a network's."""
        self.spare: Room | None = None
        """A namespace that was made when nobody waited, for the next sandbox."""
        self._links: Conversation | None = None
        self._firewall_name = firewall
        self._firewall: FirewallBackend | None = None
        self._library: IPRoute | None = None
        self._conntrack: Conversation | None = None
        self._has_ipv6: bool | None = None

    @property
    def links(self) -> Conversation:
        """The host namespace's links, addresses and routes."""
        if self._links is None:
            self._links = Conversation()
            self._links.widen()
        return self._links

    @property
    def firewall(self) -> FirewallBackend:
        """The firewall that was chosen."""
        if self._firewall is None:
            self._firewall = self.backend(self._firewall_name)
        return self._firewall

    def use_firewall(self, name: str) -> None:
        """Choose another one."""
        if self._firewall is not None:
            self._firewall.close()
        self._firewall_name, self._firewall = name, None

    def backend(self, name: str) -> FirewallBackend:
        """Make a firewall backend for this instance; the caller closes it."""
        return make_backend(name, self.marks, self.elsewhere)

    @property
    def conntrack(self) -> Conversation:
        """The host namespace's connection tracking."""
        if self._conntrack is None:
            self._conntrack = Conversation(NETLINK_NETFILTER)
            self._conntrack.widen()
        return self._conntrack

    @property
    def library(self) -> IPRoute:
        """Netlink through pyroute2, for what is off the hot path: importing it costs 160 ms."""
        if self._library is None:
            from pyroute2 import IPRoute

            self._library = IPRoute()
        return self._library

    @property
    def has_ipv6(self) -> bool:
        """Whether this kernel does IPv6."""
        if self._has_ipv6 is None:
            self._has_ipv6 = Path("/proc/thread-self/net/if_inet6").exists()
        return self._has_ipv6

    def quiet(self, mtu: int) -> bytes:
        """Pack that a link makes no IPv6 address by itself, where it could."""
        return NO_AUTOMATIC_IPV6 if self.has_ipv6 and not 0 < mtu < IPV6_MTU_LEAST else b""

    def link(self, name: str) -> Link | None:
        """Look up one link of the host's namespace."""
        return look_up(self.links, name)

    def elsewhere(self, work: Callable[[], T]) -> T:
        """Do something in a throw-away namespace."""
        with self.home.fresh():
            return work()

    def close(self) -> None:
        """Close every socket."""
        self.ports.close()
        if self.spare is not None:
            self.spare.close()
            self.spare = None
        for held in (self._links, self._firewall, self._library, self._conntrack):
            if held is not None:
                held.close()
        self._links = self._firewall = self._library = self._conntrack = None


def look_up(conversation: Conversation, name: str) -> Link | None:
    """Look up one link by name."""
    bodies = conversation.exchange([get_link(name)]).bodies.get(0)
    return decode_link(bodies[0]) if bodies else None
