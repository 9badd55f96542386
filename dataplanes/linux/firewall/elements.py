"""Which elements of the firewall's sets and maps stand for which objects, and back. Pure.

Keeps: `objects_of(elements_of(object)) == [object]` for every object of the firewall. Must not know: sockets, rules.
The names are those of `ruleset.nft`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import product

from ....domain.objects import ForwardPolicy, GatewayMode, LoopbackAccess, Masquerade, OpenPort, PortForward
from ....domain.values import IPV4_BYTES, IPV6_BYTES, PROTOCOL_NAMES, format_address
from .backend import FirewallObject
from .nfnetlink import Element

INTERFACE_NAME_BYTES = 16
WIDTHS = {4: IPV4_BYTES, 6: IPV6_BYTES}

BRIDGES, SAME, ICC, INTERNAL, TRUSTED = "bridges", "same", "icc", "internal", "trusted"
MASQUERADE = {4: "masquerade4", 6: "masquerade6"}
SOURCE = {4: "source4", 6: "source6"}
LOOPBACK = {4: "loopback4", 6: "loopback6"}
PORTS = {4: "ports4", 16: "ports6"}
PORTS_AT = {4: "ports4_at", 16: "ports6_at"}
OPEN = {4: "open4", 16: "open6"}
REACHED6 = "reached6"
"""Holds ::1, or nothing; of no object alone, so it is none of `SETS`."""
MODES = {
    (GatewayMode.NAT_UNPROTECTED, 4): "unprotected4",
    (GatewayMode.NAT_UNPROTECTED, 6): "unprotected6",
    (GatewayMode.ROUTED, 4): "routed4",
    (GatewayMode.ROUTED, 6): "routed6",
    (GatewayMode.ISOLATED, 4): "isolated4",
    (GatewayMode.ISOLATED, 6): "isolated6",
}
"""A bridge that is in none of a family's is in mode `nat`."""
SETS = (
    *(BRIDGES, SAME, ICC, INTERNAL, TRUSTED),
    *(name for names in (MASQUERADE, SOURCE, LOOPBACK, PORTS, PORTS_AT, OPEN, MODES) for name in names.values()),
)

_SERVICE = struct.Struct("!B3xH2x")
"""inet_proto . inet_service: each part of a concatenation fills whole registers of four bytes."""
_PORT = struct.Struct("!H2x")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:@-]+")


def elements_of(thing: FirewallObject) -> tuple[Element, ...]:
    """Lower an object to its elements."""
    match thing:
        case PortForward():
            return (_element_of_port(thing),)
        case OpenPort():
            service = _SERVICE.pack(thing.protocol, thing.port)
            return (Element(OPEN[len(thing.address)], thing.address + service),)
        case Masquerade():
            return (_element_of_masquerade(thing),)
        case LoopbackAccess():
            return (Element(LOOPBACK[thing.family], _name(thing.bridge)),)
        case ForwardPolicy():
            return _elements_of_policy(thing)


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
        elif _is_source(element):
            found.append(Masquerade(_text(element.key), _family_in(SOURCE, element.set), element.data))
        elif not element.data:
            by_set[element.set].add(element.key)
    for width, name in OPEN.items():
        found += [_open_port(width, key) for key in by_set[name] if _is_service(key, width)]
    disguised = {(thing.family, thing.bridge) for thing in found if isinstance(thing, Masquerade)}
    for family, name in MASQUERADE.items():
        names = [_text(key) for key in filter(_is_name, by_set[name])]
        found += [Masquerade(name, family) for name in names if (family, name) not in disguised]
    for family, name in LOOPBACK.items():
        found += [LoopbackAccess(_text(key), family) for key in filter(_is_name, by_set[name])]
    return [*found, *_policies(by_set)]


def contradicting(policy: ForwardPolicy) -> tuple[Element, ...]:
    """List the elements that must not be there while this policy is, those that trust an interface aside."""
    own = elements_of(policy)
    others = {
        element
        for icc, internal, mode in product((True, False), (True, False), GatewayMode)
        for element in elements_of(ForwardPolicy(policy.bridge, icc, internal, mode, mode))
    }
    return tuple(sorted(others - set(own)))


def has_words(thing: FirewallObject) -> bool:
    """Whether an object can be said in nft's own language: in a name, `"` ends it there and `*` stands for others."""
    if isinstance(thing, PortForward | OpenPort):
        return True
    names = (thing.bridge, *thing.trusted) if isinstance(thing, ForwardPolicy) else (thing.bridge,)
    return all(_PLAIN_NAME.fullmatch(name) for name in names)


def in_words(element: Element) -> str:
    """Write an element in nft's own language, if its object has words there."""
    if element.set in SOURCE.values():
        return f'"{_text(element.key)}" : {format_address(element.data)}'
    if element.set in OPEN.values():
        opened = _open_port(len(element.key) - _SERVICE.size, element.key)
        return f"{format_address(opened.address)} . {opened.protocol} . {opened.port}"
    if not element.data:
        return " . ".join(
            f'"{_text(element.key[start : start + INTERFACE_NAME_BYTES])}"'
            for start in range(0, len(element.key), INTERFACE_NAME_BYTES)
        )
    port = _port_forward(element)
    words = f"{port.protocol} . {port.host_port} : {format_address(port.address)} . {port.port}"
    return f"{format_address(port.host_address)} . {words}" if any(port.host_address) else words


def _element_of_port(port: PortForward) -> Element:
    data = port.address + _PORT.pack(port.port)
    service = _SERVICE.pack(port.protocol, port.host_port)
    if any(port.host_address):
        return Element(PORTS_AT[len(port.host_address)], port.host_address + service, data)
    return Element(PORTS[len(port.host_address)], service, data)


def _element_of_masquerade(masquerade: Masquerade) -> Element:
    family, name = masquerade.family, _name(masquerade.bridge)
    if not masquerade.source:
        return Element(MASQUERADE[family], name)
    if len(masquerade.source) != WIDTHS[family]:
        raise ValueError(f"{masquerade.key}: its source is of another family")
    return Element(SOURCE[family], name, masquerade.source)


def _elements_of_policy(policy: ForwardPolicy) -> tuple[Element, ...]:
    name = _name(policy.bridge)
    elements = [Element(BRIDGES, name), Element(SAME, name + name)]
    if policy.icc:
        elements.append(Element(ICC, name + name))
    if policy.internal:
        elements.append(Element(INTERNAL, name))
    for mode, family in ((policy.mode4, 4), (policy.mode6, 6)):
        if mode is not GatewayMode.NAT:
            elements.append(Element(MODES[mode, family], name))
    elements += [Element(TRUSTED, _name(trusted) + name) for trusted in policy.trusted]
    return tuple(elements)


def _policies(by_set: dict[str, set[bytes]]) -> Iterator[ForwardPolicy]:
    halves = {key[:INTERFACE_NAME_BYTES] for key in by_set[SAME] if key == key[:INTERFACE_NAME_BYTES] * 2}
    trusting: dict[bytes, list[str]] = {}
    for key in by_set[TRUSTED]:
        trusting.setdefault(key[INTERFACE_NAME_BYTES:], []).append(_text(key[:INTERFACE_NAME_BYTES]))
    for key in filter(_is_name, by_set[BRIDGES] | halves):
        modes = [
            next((mode for (mode, of), name in MODES.items() if of == family and key in by_set[name]), GatewayMode.NAT)
            for family in WIDTHS
        ]
        trusted = tuple(sorted(trusting.get(key, ())))
        yield ForwardPolicy(_text(key), key + key in by_set[ICC], key in by_set[INTERNAL], modes[0], modes[1], trusted)


def _is_port_forward(element: Element) -> bool:
    """Whether an element has the form of a published port's; a map that somebody made anew may hold anything."""
    for width in WIDTHS.values():
        sizes = {PORTS[width]: 0, PORTS_AT[width]: width}
        if element.set in sizes and _is_service(element.key, sizes[element.set]):
            return len(element.data) == width + _PORT.size
    return False


def _is_source(element: Element) -> bool:
    widths = {SOURCE[family]: width for family, width in WIDTHS.items()}
    return _is_name(element.key) and widths.get(element.set) == len(element.data)


def _is_service(key: bytes, before: int) -> bool:
    """Whether a key ends with a protocol and a port, so many bytes into it."""
    return len(key) == before + _SERVICE.size and _SERVICE.unpack(key[before:])[0] in PROTOCOL_NAMES


def _is_name(key: bytes) -> bool:
    return len(key) == INTERFACE_NAME_BYTES and _text(key).encode().ljust(INTERFACE_NAME_BYTES, b"\0") == key


def _port_forward(element: Element) -> PortForward:
    width = IPV4_BYTES if element.set in {PORTS[4], PORTS_AT[4]} else IPV6_BYTES
    host = element.key[:width] if element.set in PORTS_AT.values() else bytes(width)
    protocol, host_port = _SERVICE.unpack(element.key[-_SERVICE.size :])
    return PortForward(protocol, host, host_port, element.data[:width], _PORT.unpack(element.data[width:])[0])


def _open_port(width: int, key: bytes) -> OpenPort:
    protocol, port = _SERVICE.unpack(key[width:])
    return OpenPort(protocol, key[:width], port)


def _family_in(names: dict[int, str], name: str) -> int:
    return next(family for family, known in names.items() if known == name)


def _name(text: str) -> bytes:
    return text.encode().ljust(INTERFACE_NAME_BYTES, b"\0")


def _text(key: bytes) -> str:
    return key.rstrip(b"\0").decode(errors="replace")
