"""F: an endpoint's kernel state by messages that were packed beforehand, and one append with fsync.

What `attach.py` measures netledger against: the least that is known to reach the same end state, by Python's own system
calls. One namespace bound to a path, one `sendmsg` or two inside it and one outside, one nftables transaction, 4 KiB
appended to a file and fsync. No log, no address management, no checks, no answer but the last acknowledgement.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from netledger.dataplanes.linux import rtnetlink as rt
from netledger.dataplanes.linux.firewall.elements import elements_of
from netledger.dataplanes.linux.marks import Marks
from netledger.dataplanes.linux.netlink import (
    ACK,
    CREATE,
    EXCLUSIVE,
    HEADER,
    NLMSG_ERROR,
    REQUEST,
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    nested,
)
from netledger.domain.objects import Address, Namespace, PortForward, Route, VethPair
from netledger.domain.values import IPV4_BYTES, link_local_for

OWN = "/proc/thread-self/ns/net"
CLONE_NEWNET, MS_BIND, MNT_DETACH = 0x40000000, 4096, 2
NETLINK_NETFILTER = 12
NFT_NEWSETELEM, NFT_DELSETELEM = 10 << 8 | 12, 10 << 8 | 14
NFT_BEGIN, NFT_END = 0x10, 0x11
APPENDED = bytes(4096)
CONTAINER_END = 2
"""The container end's index: asked for, and free in a new namespace."""

_library = ctypes.CDLL(None, use_errno=True)


class Wanted(NamedTuple):
    """One endpoint's kernel objects."""

    namespace: Namespace
    pair: VethPair
    addresses: Sequence[Address]
    routes: Sequence[Route]
    ports: Sequence[PortForward]


class Packed(NamedTuple):
    """What is sent for one endpoint: `inside` its namespace, `outside` in the host's, to the firewall and back."""

    path: bytes
    create: bytes
    inside: bytes
    together: bytes
    outside: bytes
    publish: bytes
    withdraw: bytes


class Floor:
    """F in the namespace that the calling thread is in, beside a dataplane whose bridges and table are there."""

    def __init__(self, marks: Marks, appended: Path, *, host_first: bool = True) -> None:
        self.host_first = host_first
        """Whether the host end is set up before the container end, which takes one `sendmsg` more."""
        self._marks = marks
        self._home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._links = _netlink(socket.NETLINK_ROUTE)
        self._firewall = _netlink(NETLINK_NETFILTER)
        self._file = os.open(appended, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._quiet = rt.NO_AUTOMATIC_IPV6 if Path("/proc/thread-self/net/if_inet6").exists() else b""

    def index_of(self, name: str) -> int | None:
        """Look up a link of the host's namespace."""
        self._links.send(_frames([rt.get_link(name)]))
        answer = self._links.recv(65536)
        if struct.unpack_from("=H", answer, 4)[0] == NLMSG_ERROR:
            return None
        self._links.recv(65536)
        return rt.decode_link(answer[16:]).index

    def pack(self, wanted: Wanted, bridge: int) -> Packed:
        """Pack every message; not counted."""
        pair, mark = wanted.pair, rt.alias(self._marks.endpoint(wanted.pair.endpoint))
        isolation = rt.port_settings(isolated=pair.isolated)
        create = self._create(pair, bridge)
        inside = [
            rt.set_link(index=rt.LOOPBACK_INDEX, up=True),
            rt.set_link(index=CONTAINER_END, attributes=mark + self._quiet),
            rt.set_link(index=CONTAINER_END, up=True),
        ]
        for address in wanted.addresses:
            if len(address.address) != IPV4_BYTES:
                inside.append(rt.add_address(CONTAINER_END, link_local_for(pair.mac), 64, protocol=0))
            inside.append(rt.add_address(CONTAINER_END, address.address, address.prefix))
        inside += [rt.add_route(route.destination, route.gateway, CONTAINER_END) for route in wanted.routes]
        return Packed(
            wanted.namespace.path.encode(),
            _frames([create]),
            _frames(inside),
            _frames([create, *inside]),
            _frames([rt.set_link(name=pair.host_name, up=True, attributes=mark + self._quiet + isolation)]),
            self._elements(wanted.ports, NFT_NEWSETELEM, CREATE | EXCLUSIVE),
            self._elements(wanted.ports, NFT_DELSETELEM, 0),
        )

    def append(self) -> None:
        """Append and wait for the disk."""
        os.write(self._file, APPENDED)
        os.fsync(self._file)

    def attach(self, packed: Packed, *, durably: bool = True) -> None:
        """Reach the end state."""
        if durably:
            self.append()
        os.close(os.open(packed.path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))
        _check(_library.unshare(CLONE_NEWNET))
        inside = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        _check(_library.mount(OWN.encode(), packed.path, None, MS_BIND, None))
        _check(_library.setns(self._home, CLONE_NEWNET))
        if self.host_first:
            _exchange(inside, packed.create)
            _exchange(self._links, packed.outside)
            _exchange(inside, packed.inside)
        else:
            _exchange(inside, packed.together)
            _exchange(self._links, packed.outside)
        if packed.publish:
            _exchange(self._firewall, packed.publish)
        inside.close()

    def detach(self, packed: Packed) -> None:
        """Take it away again; the kernel ends the namespace, and the pair with it, when it likes."""
        self.append()
        if packed.withdraw:
            _exchange(self._firewall, packed.withdraw)
        _check(_library.umount2(packed.path, MNT_DETACH))
        os.unlink(packed.path)  # noqa: PTH108 - the floor makes no objects

    def close(self) -> None:
        """Close everything."""
        self._links.close()
        self._firewall.close()
        os.close(self._file)
        os.close(self._home)

    def _create(self, pair: VethPair, bridge: int) -> Message:
        """Create the pair from inside: the host end is sent abroad, by a descriptor known beforehand."""
        peer = struct.pack("=BxHiII", 0, 0, CONTAINER_END, 0, 0) + attribute_text(rt.IFLA_IFNAME, pair.name)
        alike = attribute_u32(rt.IFLA_NUM_TX_QUEUES, 1) + attribute_u32(rt.IFLA_NUM_RX_QUEUES, 1)
        alike += rt.size(pair.mtu) if pair.mtu else b""
        peer += attribute(rt.IFLA_ADDRESS, pair.mac) + alike
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute_text(rt.IFLA_IFNAME, pair.host_name) + alike
        body += rt.master(bridge) + rt.group(self._marks.live) + attribute_u32(rt.IFLA_NET_NS_FD, self._home)
        kind = attribute_text(rt.IFLA_INFO_KIND, "veth")
        body += nested(rt.IFLA_LINKINFO, kind, nested(rt.IFLA_INFO_DATA, attribute(rt.VETH_INFO_PEER, peer)))
        return Message(rt.RTM_NEWLINK, CREATE | EXCLUSIVE, body)

    def _elements(self, ports: Sequence[PortForward], kind: int, flags: int) -> bytes:
        batch = struct.pack("!BBH", 0, 0, 10)
        messages = [Message(NFT_BEGIN, 0, batch)]
        for element in (element for port in ports for element in elements_of(port)):
            data = b"" if kind == NFT_DELSETELEM else nested(2, attribute(1, element.data))
            entry = nested(1, nested(1, attribute(1, element.key)), data)
            body = struct.pack("!BBH", 1, 0, 0) + attribute_text(1, self._marks.table)
            messages.append(Message(kind, flags, body + attribute_text(2, element.set) + nested(3, entry)))
        last = len(messages) - 1
        return _frames([*messages, Message(NFT_END, 0, batch)], asking=last) if ports else b""


def _netlink(protocol: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    made.bind((0, 0))
    return made


def _frames(messages: Sequence[Message], *, asking: int | None = None) -> bytes:
    """Frame messages of which one, the last if nothing is said, asks for an acknowledgement; its number is 1."""
    asking = len(messages) - 1 if asking is None else asking
    return b"".join(
        HEADER.pack(16 + len(body), kind, flags | REQUEST | (ACK if index == asking else 0), int(index == asking), 0)
        + body
        for index, (kind, flags, body) in enumerate(messages)
    )


def _exchange(conversation: socket.socket, frames: bytes) -> None:
    """Send, and wait for the last message's acknowledgement."""
    conversation.send(frames)
    answer = conversation.recv(65536)
    error = struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(-error, os.strerror(-error))


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
