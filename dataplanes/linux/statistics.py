"""Counters of a sandbox's interfaces, read through netlink in its namespace.

Must not know: whose interfaces they are. Source: struct rtnl_link_stats64 (linux/if_link.h), IFLA_STATS64.
"""

from __future__ import annotations

import struct

from ...domain.errors import DataplaneFault
from ..contract import Counters, Place
from .kernel import Kernel
from .netlink import Message, attributes_of, text_of
from .rooms import Lost, open_room
from .rtnetlink import IFLA_IFNAME, RTM_GETLINK

IFLA_STATS64 = 23
_LINK_HEADER_BYTES = 16
_COUNTERS = struct.Struct("=8Q")
"""Received and sent packets, received and sent bytes, received and sent errors, dropped on receiving and on sending."""


def statistics(kernel: Kernel, place: Place) -> dict[str, Counters]:
    """Read the counters of every interface in a namespace, by name."""
    try:
        room = open_room(kernel, place)
    except Lost as lost:
        raise DataplaneFault(f"namespace/{place.path}", str(lost)) from lost
    try:
        bodies = room.conversation.dump(Message(RTM_GETLINK, 0, bytes(_LINK_HEADER_BYTES)))
    finally:
        room.close()
    found: dict[str, Counters] = {}
    for body in bodies:
        attributes = attributes_of(body, _LINK_HEADER_BYTES)
        if IFLA_STATS64 in attributes:
            found[text_of(attributes.get(IFLA_IFNAME))] = _counters(attributes[IFLA_STATS64])
    return found


def _counters(payload: memoryview) -> Counters:
    received, sent, received_bytes, sent_bytes, receive_errors, send_errors, receive_drops, send_drops = (
        _COUNTERS.unpack_from(payload)
    )
    return Counters(
        rx_packets=received,
        rx_bytes=received_bytes,
        rx_errors=receive_errors,
        rx_dropped=receive_drops,
        tx_packets=sent,
        tx_bytes=sent_bytes,
        tx_errors=send_errors,
        tx_dropped=send_drops,
    )
