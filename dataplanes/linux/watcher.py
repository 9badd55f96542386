"""What the kernel tells of its own accord: links, addresses, routes, settings and tables that somebody changed.

Keeps: what this process did itself wakes nobody; what concerns nothing of ours wakes nobody; notifications that were
lost do. Not everything is told: settings but for forwarding, and legacy iptables, are seen by comparing alone.
Must not know: what is called for, what is done about a change.

Sources: linux/rtnetlink.h (groups), linux/netlink.h (NETLINK_LISTEN_ALL_NSID), linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from ..contract import Noticed
from .firewall.nfnetlink import NETLINK_NETFILTER
from .marks import Marks
from .netlink import HEADER, SOL_NETLINK, Conversation, attributes_of, number_of, own_ports, own_removals, text_of
from .rtnetlink import (
    MARK,
    RTA_OIF,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWLINK,
    Link,
    decode_link,
    decode_links,
    list_links,
)

ADD_MEMBERSHIP, LISTEN_ALL_NSID = 1, 8
LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE, IPV4_SETTINGS, IPV6_SETTINGS = 1, 5, 7, 9, 11, 24, 25
ROUTING_GROUPS = (LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE, IPV4_SETTINGS, IPV6_SETTINGS)
NFTABLES_GROUP = 7
NFTABLES_SUBSYSTEM, NEW_GENERATION = 10, 15
TABLE_NAME = 1
"""In every message about a table and what is in it: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_ELEM_LIST_TABLE ..."""
RTM_NEWNETCONF = 80
ALL_INTERFACES = -1
RECEIVE_BYTES = 1 << 18
BUFFER_BYTES = 4 << 20
NOTICES_AT_ONCE = 64
"""More is no news: somebody compares everything then."""
GATHERING_SECONDS = 0.02
"""One `ip link delete` is many notifications."""

_INDEX = struct.Struct("=4xi")
_ROUTE = struct.Struct("=5xB6x")
"""Of a route's header, its protocol."""
_NETCONF_INDEX = 1
_NUMBER = struct.Struct("=i")
_LASTING = ("name", "mac", "mtu", "is_isolated")
HERE = -1
"""The host's namespace, among the kernel's numbers of others."""


class Judge(Protocol):
    """Tell what one message says, if it is about anything of ours; `where`: in which namespace."""

    def __call__(self, kind: int, body: memoryview, *, where: int) -> Noticed | None: ...


class Watcher:
    """The notifications of one host namespace, and of the namespaces that its links lead into.

    To be made by the thread that stands in the host's namespace; then it may be used by any one thread.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._own_links: dict[tuple[int, int], Link] = {}
        """By namespace and index, as they were last told of: a change of ours bears no port id in most of its messages,
        and only brings a link nearer to what it is to be."""
        self._dying: set[tuple[int, int]] = set()
        """Interfaces in sandboxes of which nothing is news any more: see `_comes_apart`."""
        own_removals.clear()  # nobody is told of what was deleted before this, and marks and indices come again
        self._routing = _listen(socket.NETLINK_ROUTE, ROUTING_GROUPS)
        try:
            _listen_everywhere(self._routing)
            self._firewall = _listen(NETLINK_NETFILTER, (NFTABLES_GROUP,))
        except BaseException:
            self._routing.close()
            raise
        self._poll = select.poll()  # select() knows no descriptor beyond 1023, and each published port takes one
        for source in (self._routing, self._firewall):
            self._poll.register(source, select.POLLIN)
        self._list_links()

    def wait(self, timeout_seconds: float) -> tuple[Noticed, ...]:
        """Wait until something of ours was changed by others, and tell what; nothing when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        found: dict[Noticed, None] = {}
        while True:
            rest = deadline - time.monotonic()
            if found:
                rest = min(rest, GATHERING_SECONDS)
            ready = {descriptor for descriptor, _ in self._poll.poll(math.ceil(max(0.0, rest) * 1000))}
            if not ready or len(found) >= NOTICES_AT_ONCE:
                return tuple(found)
            if self._routing.fileno() in ready:
                found.update(dict.fromkeys(self._read(self._routing, self._judge_routing)))
            if self._firewall.fileno() in ready:
                found.update(dict.fromkeys(self._read(self._firewall, self._judge_firewall)))

    def close(self) -> None:
        """Stop listening."""
        self._routing.close()
        self._firewall.close()

    def _list_links(self) -> None:
        conversation = Conversation()
        try:
            links = decode_links(conversation.dump(list_links()))
        finally:
            conversation.close()
        self._own_links = {(HERE, link.index): link for link in links if self._marks.owns(link)}

    def _read(self, source: socket.socket, judge: Judge) -> Iterator[Noticed]:
        try:
            data, ancillary, _, _ = source.recvmsg(RECEIVE_BYTES, 64)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield Noticed("more changed at once than could be told")
            return
        where = next((_NUMBER.unpack(number)[0] for level, _, number in ancillary if level == SOL_NETLINK), HERE)
        offset, view = 0, memoryview(data)
        while offset + HEADER.size <= len(data):
            size, kind, _, _, port = HEADER.unpack_from(data, offset)
            if size < HEADER.size:
                return
            noticed = judge(kind, view[offset + HEADER.size : offset + size], where=where)
            if noticed is not None and port not in own_ports:
                yield noticed
            offset += (size + 3) & ~3

    def _judge_routing(self, kind: int, body: memoryview, *, where: int) -> Noticed | None:
        """Tell what a routing message says, if it is about anything of ours; `where`: in which namespace."""
        if kind in {RTM_NEWLINK, RTM_DELLINK}:
            return self._judge_link(body, is_gone=kind == RTM_DELLINK, where=where)
        if kind in {RTM_DELADDR, RTM_DELROUTE}:
            return self._judge_removal(kind, body, where=where)
        if kind == RTM_NEWNETCONF and where == HERE:
            index = attributes_of(body, 4).get(_NETCONF_INDEX)
            is_about_all = index is not None and int.from_bytes(index, sys.byteorder, signed=True) == ALL_INTERFACES
            return Noticed("a setting of the host's forwarding was changed") if is_about_all else None
        return None

    def _judge_removal(self, kind: int, body: memoryview, *, where: int) -> Noticed | None:
        """Tell that an address or route was removed, unless it went with its interface."""
        if kind == RTM_DELADDR:
            what, is_marked, index = "an address", True, _INDEX.unpack_from(body)[0]
        else:
            what, is_marked = "a route", _ROUTE.unpack_from(body)[0] == MARK
            index = number_of(attributes_of(body, _ROUTE.size).get(RTA_OIF))
        if where != HERE:
            return None if (where, index) in self._dying else Noticed(f"{what} in a sandbox was removed")
        link = self._own_links.get((HERE, index))
        return Noticed(f"{what} of {link.name} was removed", link.name) if link and is_marked else None

    def _judge_link(self, body: memoryview, *, is_gone: bool, where: int) -> Noticed | None:
        link = decode_link(bytes(body))
        if not self._marks.owns(link):
            return None
        before = self._own_links.pop((where, link.index), None)
        if where != HERE and self._comes_apart(link, is_gone=is_gone, where=where):
            return None
        if not is_gone:
            self._own_links[where, link.index] = link
            if before is None or (where != HERE and _is_another(before, link)) or not _is_worse(before, link):
                return None
        if link.group == self._marks.trash:
            return None
        became = "removed" if is_gone else "changed"
        if where != HERE:
            return Noticed(f"interface {link.name} in a sandbox was {became}")
        return Noticed(f"link {link.name} was {became}", link.name)

    def _comes_apart(self, link: Link, *, is_gone: bool, where: int) -> bool:
        """Whether it is an interface that this process deletes, or a container end whose pair is being deleted.

        That one knows its other end no more (veth_dellink), and it is the host end that tells of it.
        """
        self._dying.discard((where, link.index))
        is_end = link.kind == "veth" and not link.is_up and not link.peer
        if not is_end and (link.alias, link.index) not in own_removals:
            return False
        if is_gone:
            own_removals.forget((link.alias, link.index))  # the next one of its endpoint may have the same index
        else:
            self._dying.add((where, link.index))
        return True

    def _judge_firewall(self, kind: int, body: memoryview, *, where: int) -> Noticed | None:
        """Tell that our table was changed; each change of any table ends in a message of its new generation."""
        if kind >> 8 != NFTABLES_SUBSYSTEM or kind & 0xFF == NEW_GENERATION or where != HERE:
            return None
        table = text_of(attributes_of(body, 4).get(TABLE_NAME))
        return Noticed(f"nftables table {table} was changed") if table == self._marks.table else None


def _is_another(before: Link, now: Link) -> bool:
    """Whether it is another sandbox's link: the kernel gives the number of a namespace that died to the next one.

    It tells nothing of the links that die with a namespace.
    """
    return (before.mac, before.peer) != (now.mac, now.peer)


def _is_worse(before: Link, now: Link) -> bool:
    """Whether a link was taken away from what it had become: no change of ours does that."""
    is_down = before.is_up and not now.is_up
    is_elsewhere = before.master not in {0, now.master}
    is_straightened = before.is_hairpin and not now.is_hairpin
    return (
        is_down
        or is_elsewhere
        or is_straightened
        or any(getattr(before, name) != getattr(now, name) for name in _LASTING)
    )


def _listen(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        made.bind((0, 0))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        for group in groups:
            made.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    except BaseException:
        made.close()
        raise
    return made


def _listen_everywhere(source: socket.socket) -> None:
    """Hear of the namespaces, too, that this one has a number for: those into which its veth pairs lead."""
    try:
        source.setsockopt(SOL_NETLINK, LISTEN_ALL_NSID, 1)
    except PermissionError:  # without CAP_NET_BROADCAST what happens in sandboxes is seen by comparing alone
        return
