"""Announcements: telling the link at which MAC address a sandbox's addresses now are, when nobody waits.

Keeps: no caller waits for more than one, and `close` for no more than AT_CLOSE; what is announced is what the interface
has at that moment; between two of them nothing is held open, so that a namespace can die. Must not know: plans.

One costs every port of the bridge a frame: 1 to 3 ms where 900 are there. So they come when the worker has had nothing
to do for a moment, or when that does not happen for a while, one by one between its jobs.

The kernel sends them itself where it can be had to, as the frames that `frame` packs: closing a packet socket waits for
RCU, 7 to 15 ms each, in which the worker's next job would have to wait.

Sources: RFC 826 and RFC 5944, 4.6 (gratuitous ARP requests); RFC 4861, 4.4 and 7.2.6 (neighbour advertisements).
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import socket
import struct
import time
from collections.abc import Sequence

from ...domain.objects import Announcement
from ...domain.values import IPV4_BYTES
from ..contract import Place
from .kernel import Kernel, look_up
from .rooms import Lost, Room, open_room
from .rtnetlink import MARK, Link, ask_for_neighbour, decode_addresses, forget_neighbour, list_addresses
from .worker import Worker

QUIET_SECONDS = 0.005
"""Whoever goes on attaching at once has given the worker its next job by then."""
PATIENCE_SECONDS = 0.05
"""No announcement waits longer for quiet."""
AT_ONCE = 1
"""So many are sent before the worker looks for other jobs."""
AT_CLOSE = 16
"""So many that were not made at all yet are made before the end; the others are given up."""

ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES, ALL_NODES_MAC = b"\xff\x02" + bytes(13) + b"\x01", b"\x33\x33\x00\x00\x00\x01"
NEXT_HEADER_ICMPV6, HOP_LIMIT = 58, 255
ADVERTISEMENT, OVERRIDE, TARGET_LINK_LAYER_ADDRESS = 136, 0x20000000, 2

_logger = logging.getLogger(__name__)


class Announcer:
    """What is still to be announced, the next first."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pending: list[tuple[float, int, Place, Announcement, int]] = []
        self._numbered = 0

    def add(self, kernel: Kernel, place: Place, announcement: Announcement) -> None:
        """Begin an announcement, shortly; for jobs."""
        self._push(time.monotonic(), place, announcement, announcement.count)
        self.make_way(kernel)

    def make_way(self, kernel: Kernel) -> None:
        """Let whoever is about to ask for more go first, within reason; for jobs."""
        self._schedule(kernel, QUIET_SECONDS)

    def finish(self, kernel: Kernel) -> None:
        """Make what was not announced at all yet, and give up the rest; for jobs."""
        fresh = [(place, one) for _, _, place, one, left in sorted(self._pending) if left == one.count]
        self._pending.clear()
        for place, announcement in fresh[:AT_CLOSE]:
            self._say(kernel, place, announcement)

    def _push(self, due: float, place: Place, announcement: Announcement, left: int) -> None:
        if left > 0:
            self._numbered += 1
            heapq.heappush(self._pending, (due, self._numbered, place, announcement, left))

    def _schedule(self, kernel: Kernel, quiet_seconds: float = 0.0) -> None:
        if self._pending:
            wait = self._pending[0][0] - time.monotonic()
            wait = max(wait, min(quiet_seconds, wait + PATIENCE_SECONDS), 0.0)
            self._worker.later("announce", wait, lambda: self._send_due(kernel))

    def _send_due(self, kernel: Kernel) -> None:
        try:
            for _ in range(AT_ONCE):
                now = time.monotonic()
                if not self._pending or self._pending[0][0] > now:
                    break
                _, _, place, announcement, left = heapq.heappop(self._pending)
                if self._say(kernel, place, announcement):
                    interval = announcement.interval_milliseconds / 1000
                    self._push(now + interval, place, announcement, left - 1)
        finally:
            self._schedule(kernel)

    def _say(self, kernel: Kernel, place: Place, announcement: Announcement) -> bool:
        try:
            return announce(kernel, place, announcement.device)
        except OSError as error:
            _logger.warning("%s failed: %s", announcement, error)
            return False


def announce(kernel: Kernel, place: Place, device: str) -> bool:
    """Announce our addresses on an interface, once each; False when it is not there any more, or down."""
    try:
        room = open_room(kernel, place)
    except Lost:
        return False
    with contextlib.closing(room):
        link = look_up(room.conversation, device)
        if link is None or not link.is_up or not kernel.marks.owns(link):
            return False
        entries = decode_addresses(room.conversation.dump(list_addresses()))
        addresses = [entry.address for entry in entries if entry.index == link.index and entry.protocol == MARK]
        of_ipv4 = [address for address in addresses if len(address) == IPV4_BYTES]
        of_ipv6 = [address for address in addresses if len(address) != IPV4_BYTES]
        left = [*_ask_for_own(room, link, of_ipv4), *_advertise(kernel, room, link, of_ipv6)]
        if left:
            _send_frames(kernel, room, link, left)
    return True


def _ask_for_own(room: Room, link: Link, addresses: Sequence[bytes]) -> Sequence[bytes]:
    """Have the kernel ask the link for our own IPv4 address, once, and forget it; return what it was not asked for.

    It asks in the name of the first address of a block, so only one that is alone is announced by that.
    """
    if len(addresses) != 1 or not link.asks:
        return addresses
    messages = [ask_for_neighbour(link.index, addresses[0]), forget_neighbour(link.index, addresses[0])]
    return addresses if 0 in room.conversation.exchange(messages).failures else ()


def _advertise(kernel: Kernel, room: Room, link: Link, addresses: Sequence[bytes]) -> Sequence[bytes]:
    """Send the neighbour advertisements of IPv6 addresses by raw sockets; return those that could not be sent so."""
    left = []
    for address in addresses:
        try:
            with kernel.home.visit(room.descriptor):
                made = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
        except OSError:
            left.append(address)
            continue
        with made:
            try:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOP_LIMIT)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
                made.bind((socket.inet_ntop(socket.AF_INET6, address), 0, 0, link.index))
                everybody = socket.inet_ntop(socket.AF_INET6, ALL_NODES)
                made.sendto(_advertisement(link.mac, address), (everybody, 0, 0, link.index))
            except OSError:
                left.append(address)
    return left


def _send_frames(kernel: Kernel, room: Room, link: Link, addresses: Sequence[bytes]) -> None:
    with kernel.home.visit(room.descriptor):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # 0: it receives nothing
    with made:
        made.bind((link.name, 0))
        for address in addresses:
            made.send(frame(link.mac, address))


def frame(mac: bytes, address: bytes) -> bytes:
    """Pack the Ethernet frame that tells everybody who has an address."""
    if len(address) == IPV4_BYTES:
        request = struct.pack("!HHBBH", 1, 0x0800, 6, IPV4_BYTES, 1)
        return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + request + mac + address + bytes(6) + address
    message = _advertisement(mac, address)
    pseudo = address + ALL_NODES + struct.pack("!II", len(message), NEXT_HEADER_ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), NEXT_HEADER_ICMPV6, HOP_LIMIT) + address + ALL_NODES
    return ALL_NODES_MAC + mac + struct.pack("!H", ETH_P_IPV6) + header + message


def _advertisement(mac: bytes, address: bytes) -> bytes:
    """Pack the message that tells who has an IPv6 address, unsolicited; its checksum is still to come."""
    message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + address
    return message + struct.pack("!BB", TARGET_LINK_LAYER_ADDRESS, 1) + mac


def _checksum(data: bytes) -> int:
    """Sum as RFC 1071 says; the data has an even length."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
