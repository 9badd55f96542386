"""Which elements of the firewall's sets and maps stand for which objects, and back. Pure.

Keeps: `objects_of(elements_of(object)) == [object]` for every object that is an element. Must not know: sockets, rules.
The names are those of `ruleset.nft`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from ....domain.objects import ForwardPolicy, Masquerade, PortForward
from ....domain.values import IPV4_BYTES, PROTOCOL_NAMES, format_address
from .backend import FirewallObject
from .nfnetlink import Element

INTERFACE_NAME_BYTES = 16

BRIDGES, SAME, ICC, INTERNAL = "bridges", "same", "icc", "internal"
MASQUERADE = {4: "masquerade4", 6: "masquerade6"}
PORTS = {4: "ports4", 16: "ports6"}
PORTS_AT = {4: "ports4_at", 16: "ports6_at"}
SETS = (BRIDGES, SAME, ICC, INTERNAL, *MASQUERADE.values(), *PORTS.values(), *PORTS_AT.values())

_SERVICE = struct.Struct("!B3xH2x")
"""inet_proto . inet_service: each part of a concatenation fills whole registers of four bytes."""
_PORT = struct.Struct("!H2x")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:@-]+")


def elements_of(thing: FirewallObject) -> tuple[Element, ...]:
    """Lower an object to its elements."""
    if isinstance(thing, PortForward):
        data = thing.address + _PORT.pack(thing.port)
        service = _SERVICE.pack(thing.protocol, thing.host_port)
        if any(thing.host_address):
            return (Element(PORTS_AT[len(thing.host_address)], thing.host_address + service, data),)
        return (Element(PORTS[len(thing.host_address)], service, data),)
    name = thing.bridge.encode().ljust(INTERFACE_NAME_BYTES, b"\0")
    if isinstance(thing, Masquerade):
        return (Element(MASQUERADE[thing.family], name),)
    elements = [Element(BRIDGES, name), Element(SAME, name + name)]
    if thing.icc:
        elements.append(Element(ICC, name + name))
    if thing.internal:
        elements.append(Element(INTERNAL, name))
    return tuple(elements)


def objects_of(elements: Iterable[Element]) -> list[FirewallObject] | None:
    """Lift elements to objects; None when the sets contradict each other, which no transaction of ours leaves."""
    there = set(elements)
    found = salvage(there)
    return found if {element for thing in found for element in elements_of(thing)} == there else None


def salvage(elements: Iterable[Element]) -> list[FirewallObject]:
    """Lift what stands for objects, out of sets that somebody may have altered: one half of a policy is enough."""
    by_set: dict[str, set[bytes]] = {name: set() for name in SETS}
    found: list[FirewallObject] = []
    for element in elements:
        if _is_port_forward(element):
            found.append(_port_forward(element))
        elif not element.data:
            by_set[element.set].add(element.key)
    for family, name in MASQUERADE.items():
        found += [Masquerade(_text(key), family) for key in filter(_is_name, by_set[name])]
    halves = {key[:INTERFACE_NAME_BYTES] for key in by_set[SAME] if key == key[:INTERFACE_NAME_BYTES] * 2}
    bridges = filter(_is_name, by_set[BRIDGES] | halves)
    found += [ForwardPolicy(_text(key), key + key in by_set[ICC], key in by_set[INTERNAL]) for key in bridges]
    return found


def contradicting(policy: ForwardPolicy) -> tuple[Element, ...]:
    """List the elements that must not be there while this policy is."""
    strictest, loosest = (
        ForwardPolicy(policy.bridge, icc=False, internal=True),
        ForwardPolicy(policy.bridge, icc=True, internal=False),
    )
    own = elements_of(policy)
    return tuple(sorted({*elements_of(strictest), *elements_of(loosest)} - set(own)))


def has_words(thing: FirewallObject) -> bool:
    """Whether an object can be said in nft's own language: in a name, `"` ends it there and `*` stands for others."""
    return isinstance(thing, PortForward) or _PLAIN_NAME.fullmatch(thing.bridge) is not None


def in_words(element: Element) -> str:
    """Write an element in nft's own language, if its object has words there."""
    if not element.data:
        return " . ".join(
            f'"{_text(element.key[start : start + INTERFACE_NAME_BYTES])}"'
            for start in range(0, len(element.key), INTERFACE_NAME_BYTES)
        )
    port = _port_forward(element)
    words = f"{port.protocol} . {port.host_port} : {format_address(port.address)} . {port.port}"
    return f"{format_address(port.host_address)} . {words}" if any(port.host_address) else words


def _is_port_forward(element: Element) -> bool:
    """Whether an element has the form of a published port's; a map that somebody made anew may hold anything."""
    for width in (IPV4_BYTES, 16):
        sizes = {PORTS[width]: _SERVICE.size, PORTS_AT[width]: width + _SERVICE.size}
        if sizes.get(element.set) == len(element.key):
            return len(element.data) == width + _PORT.size and _SERVICE.unpack(element.key[-8:])[0] in PROTOCOL_NAMES
    return False


def _is_name(key: bytes) -> bool:
    return len(key) == INTERFACE_NAME_BYTES and _text(key).encode().ljust(INTERFACE_NAME_BYTES, b"\0") == key


def _port_forward(element: Element) -> PortForward:
    width = IPV4_BYTES if element.set in {PORTS[4], PORTS_AT[4]} else 16
    host = element.key[:width] if element.set in PORTS_AT.values() else bytes(width)
    protocol, host_port = _SERVICE.unpack(element.key[-_SERVICE.size :])
    return PortForward(protocol, host, host_port, element.data[:width], _PORT.unpack(element.data[width:])[0])


def _text(key: bytes) -> str:
    return key.rstrip(b"\0").decode(errors="replace")
