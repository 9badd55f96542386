"""The host ports that are published, held by bound sockets while this process lives: no other process binds them.

Keeps: a port is held once, by a socket without SO_REUSEADDR that hears nothing and answers nobody; one that another
process has is left to it. Must not know: plans, the log.

A published port is translated before a packet reaches any socket. But a process that binds the same port would believe
that it serves it, and would get it as soon as the port is published no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import resource
import socket
import struct
from typing import Final

from ...domain.values import IPV4_BYTES, PROTOCOLS, format_address
from ..contract import Claim

NOBODY = frozenset({errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EADDRNOTAVAIL})
"""Where no socket can have the protocol (SCTP) or the address, there is nobody to keep away."""
DESCRIPTORS_SPARED = 256
"""For everything else that this process does."""

_DROP_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""Classic BPF: `ret #0`. Nothing that arrives at the socket is kept (linux/filter.h)."""
SO_ATTACH_FILTER = 26
KINDS = {
    PROTOCOLS["tcp"]: socket.SOCK_STREAM,
    PROTOCOLS["udp"]: socket.SOCK_DGRAM,
    PROTOCOLS["sctp"]: socket.SOCK_STREAM,
}


class PortHolder:
    """Bound sockets, by what they hold. Used by the thread that stands in the host's namespace."""

    def __init__(self) -> None:
        self._held: dict[Claim, socket.socket] = {}
        self._limit = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, claim: Claim) -> bool:
        return claim in self._held

    @property
    def room(self) -> int:
        """How many more ports can be held: the process's limit of descriptors, raised as far as it may be."""
        if not self._limit:
            self._limit = raise_descriptor_limit()
        return max(0, self._limit - DESCRIPTORS_SPARED - len(self._held))

    def hold(self, claim: Claim) -> OSError | None:
        """Hold a port; what the kernel says where that cannot be. Holding twice changes nothing."""
        if claim in self._held:
            return None
        if not self.room:
            return OSError(errno.EMFILE, f"this process may open {self._limit} descriptors; raise `ulimit -n`")
        try:
            self._held[claim] = _bound(claim)
        except OSError as error:
            if error.errno in NOBODY:
                return None
            return error
        return None

    def release(self, claim: Claim) -> None:
        """Let go of a port; of one that is not held, nothing."""
        held = self._held.pop(claim, None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Let go of everything."""
        while self._held:
            self._held.popitem()[1].close()


def raise_descriptor_limit() -> int:
    """Raise the limit of open descriptors as far as this process may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit if limit != resource.RLIM_INFINITY else 1 << 20


def _bound(claim: Claim) -> socket.socket:
    """Bind a socket to a port.

    Where only lingering connections of an earlier server are in the way, which bind(2) minds and listen(2) does not, it
    listens with SO_REUSEADDR, to nobody.
    """
    try:
        return _bind(claim)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or claim.protocol != PROTOCOLS["tcp"]:
            raise
    return _bind(claim, is_lingering=True)


def _bind(claim: Claim, *, is_lingering: bool = False) -> socket.socket:
    is_ipv4 = len(claim.host_address) == IPV4_BYTES
    number = claim.protocol if claim.protocol == PROTOCOLS["sctp"] else 0
    family = socket.AF_INET if is_ipv4 else socket.AF_INET6
    made = socket.socket(family, KINDS[claim.protocol] | socket.SOCK_CLOEXEC, number)
    try:
        if not is_ipv4:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_lingering:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _deafen(made)
        made.bind((format_address(claim.host_address), claim.host_port))
        if is_lingering:
            made.listen(0)
    except BaseException:
        made.close()
        raise
    return made


def _deafen(made: socket.socket) -> None:
    """Let a socket keep nothing of what arrives: something may, while its port's translation is being made."""
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
