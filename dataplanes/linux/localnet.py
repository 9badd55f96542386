"""Whether the host's loopback addresses are routed on an interface, which is a part of `LoopbackAccess`.

For IPv4 that is the setting `route_localnet`. For IPv6 it is a route: what the host sent from ::1 is answered to the
bridge's address, translated back at hook prerouting, and then looked up strictly by the interface that it came in at
(ip6_route_input), where `local ::1 dev BRIDGE` has it delivered. What comes in by a bridge from or to ::1 itself never
gets there: the kernel drops it before any hook (ip6_rcv). Where bridged packets pass ip6tables, answers are translated
before that check, and dropped by it: then nothing is to be sent from ::1, so that connections to it are refused.

Keeps: IPv4's is on only while the firewall's guard is there, so that nobody on that interface reaches the host's
loopback; a route without our mark is never changed. Must not know: plans.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping

from ...domain.objects import KernelObject, LoopbackAccess
from ...domain.values import Subnet
from .kernel import look_up
from .netlink import Conversation, Message
from .rtnetlink import LOCAL, MARK, TABLE_LOCAL, add_route, decode_routes, delete_route, list_routes
from .sysctls import read_sysctl, write_sysctl

LOOPBACK6 = Subnet(bytes(15) + b"\x01", 128)
BRIDGED_FILTER = "net.bridge.bridge-nf-call-ip6tables"
"""There only where br_netfilter is loaded; a bridge's own attribute can add to it, and take nothing away."""


def is_for_ipv6(thing: KernelObject) -> bool:
    """Whether an object is access to ports at ::1."""
    return isinstance(thing, LoopbackAccess) and thing.family == 6


def answers_reach_loopback6() -> bool:
    """Whether the kernel lets an answer back to ::1 at all, as it is set in the calling thread's namespace."""
    try:
        return read_sysctl(BRIDGED_FILTER) == "0"
    except OSError:
        return True


def route_loopback(links: Conversation, access: LoopbackAccess, *, is_wanted: bool) -> bool:
    """Turn it on or off where it is not so; whether there was anything to do. OSError without the interface."""
    if access.family == 6:
        return _route_loopback6(links, access, is_wanted=is_wanted)
    value = "1" if is_wanted else "0"
    try:
        return write_sysctl(_name(access), value)
    except FileNotFoundError:
        if is_wanted:
            raise
        return False  # gone, with its interface


def routed(
    links: Conversation, names: Mapping[int, str], things: Iterable[KernelObject], *, reaches_loopback6: bool
) -> Iterator[KernelObject]:
    """Leave out loopback access whose other part somebody has taken away: it is not what was asked for.

    `names` are those of the host's interfaces by index. `reaches_loopback6`: whether the firewall translates what goes
    to ::1; it is to exactly while answers get back.
    """
    found = list(things)
    by_route: set[str | None] = set()
    if any(map(is_for_ipv6, found)) and reaches_loopback6 == answers_reach_loopback6():
        by_route = {names.get(index) for index in _routes(links)}
    for thing in found:
        if isinstance(thing, LoopbackAccess):
            is_on = thing.bridge in by_route if thing.family == 6 else _is_set(thing)
            if not is_on:
                continue
        yield thing


def left_open(links: Conversation, bridges: Mapping[int, str]) -> Iterator[LoopbackAccess]:
    """Find these bridges (names by index) on which the host's loopback is routed, whatever the firewall has.

    What the host wants of every new interface (`default`) is its own business, and told of none.
    """
    by_route = {bridges.get(index) for index in _routes(links)} if bridges else set()
    is_everywhere = bool(bridges) and _is_set(LoopbackAccess("default", 4))
    for name in bridges.values():
        access = LoopbackAccess(name, 4)
        if not is_everywhere and _is_set(access):
            yield access
        if name in by_route:
            yield LoopbackAccess(name, 6)


def _is_set(access: LoopbackAccess) -> bool:
    try:
        return read_sysctl(_name(access)) == "1"
    except OSError:
        return False


def _route_loopback6(links: Conversation, access: LoopbackAccess, *, is_wanted: bool) -> bool:
    link = look_up(links, access.bridge)
    if link is None:
        if is_wanted:
            raise OSError(errno.ENODEV, f"there is no interface named {access.bridge}")
        return False  # gone, with its interface
    failure = links.attempt([_message(link.index, is_wanted=is_wanted)]).get(0)
    if failure is None:
        return True
    if not is_wanted and failure.number == errno.ESRCH:
        return False
    if is_wanted and failure.number == errno.EEXIST and link.index in _routes(links):
        return False
    if failure.number == errno.EEXIST:
        raise OSError(errno.EEXIST, f"a route to ::1 out of {access.bridge} is there, and netledger did not add it")
    raise OSError(failure.number, f"a route to ::1 out of {access.bridge}: {failure}")


def _message(index: int, *, is_wanted: bool) -> Message:
    make = add_route if is_wanted else delete_route
    return make(LOOPBACK6, b"", index, table=TABLE_LOCAL, kind=LOCAL)


def _routes(links: Conversation) -> set[int]:
    """List by index the interfaces on which our route has answers to ::1 delivered."""
    bodies = links.dump(list_routes(socket.AF_INET6, MARK, table=TABLE_LOCAL))
    return {
        route.index
        for route in decode_routes(bodies, table=TABLE_LOCAL, kind=LOCAL)
        if route.destination == LOOPBACK6 and route.protocol == MARK
    }


def _name(access: LoopbackAccess) -> str:
    return f"net.ipv4.conf.{access.bridge.replace('.', '/')}.route_localnet"
