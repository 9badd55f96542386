"""Which iptables rules stand for which objects of the firewall, and back. Pure.

Keeps: a rule bears a comment with this instance's mark, its rank in its chain and the whole object, so that reading
rules back gives the objects; two rules of one rank may stand in any order. Must not know: libiptc, processes.

The chains of an instance, `NETLEDGER-` and its eight digits, then:

    (nothing)   filter  from FORWARD: what is let through; RETURN is "not dropped by us", so others keep the last word
    -OPEN       filter  by goto from there: open ports return, all else is dropped
    -PUBLISH    nat     from PREROUTING and OUTPUT, for the host's addresses: published ports
    -SOURCE     nat     from POSTROUTING: masquerading
    -GUARD      raw     from PREROUTING: nobody but the host uses its loopback addresses

`NETLEDGER-USER` in filter is the user's: called first, made where it is not there, never changed or removed.
"""

from __future__ import annotations

import enum
import functools
import re
import typing
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from ....domain.errors import Refusal
from ....domain.objects import ForwardPolicy, GatewayMode, LoopbackAccess, Masquerade, OpenPort, PortForward
from ....domain.values import IPV4_BYTES, PROTOCOL_NAMES, format_address, format_host, parse_address
from .backend import FirewallObject

TABLES = ("filter", "nat", "raw")
FAMILIES = (4, 6)
USER_CHAIN = "NETLEDGER-USER"
COMMENT_LIMIT = 255
"""XT_MAX_COMMENT_LEN, less its final zero."""
KINDS: dict[str, tuple[type[FirewallObject], int]] = {
    "masquerade": (Masquerade, 2),
    "policy": (ForwardPolicy, 1),
    "loopback": (LoopbackAccess, 2),
    "port": (PortForward, 3),
    "open": (OpenPort, 3),
}
"""The word for each kind of object, and how many of its fields make up its key: they come first."""
EVERY_LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
REACHED6 = "reached6"
"""What the comment of the rule says that leads from OUTPUT to published ports what goes to ::1."""
ICMP = {4: "icmp", 6: "icmpv6"}


Pairs: TypeAlias = tuple[tuple[str, str], ...]
Matches: TypeAlias = tuple[tuple[str, Pairs], ...]


class Names(NamedTuple):
    """What the chains and the mark of an instance are called."""

    instance: str

    @property
    def prefix(self) -> str:
        return f"NETLEDGER-{self.instance}"

    @property
    def mark(self) -> str:
        """What each of our comments begins with."""
        return f"netledger-{self.instance} "

    @property
    def open(self) -> str:
        return f"{self.prefix}-OPEN"

    @property
    def publish(self) -> str:
        return f"{self.prefix}-PUBLISH"

    @property
    def source(self) -> str:
        return f"{self.prefix}-SOURCE"

    @property
    def guard(self) -> str:
        return f"{self.prefix}-GUARD"

    def chains(self, table: str) -> list[str]:
        """List the chains that a table has to have."""
        return {
            "filter": [USER_CHAIN, self.prefix, self.open],
            "nat": [self.publish, self.source],
            "raw": [self.guard],
        }[table]


class Target(NamedTuple):
    """What a rule does: a verdict, a chain or an extension with its options; `is_goto` never comes back."""

    name: str
    options: Pairs = ()
    is_goto: bool = False


class Rule(NamedTuple):
    """One rule. `fields` are of its header, `matches` its extensions with their options: python-iptables' names."""

    family: int
    table: str
    chain: str
    rank: int
    comment: str
    fields: Pairs
    matches: Matches
    target: Target

    @property
    def subject(self) -> str:
        """What the comment says after the mark and the rank, up to the `=`: what stays of an object that changes."""
        return self.comment.split(" ", 2)[2].partition(" =")[0]

    @property
    def specification(self) -> tuple[object, ...]:
        """Say to `xtables.py` what is to be built."""
        matches = (("comment", (("comment", self.comment),)), *self.matches)
        return self.fields, matches, self.target.name, self.target.options, self.target.is_goto


ACCEPTED, DROPPED = Target("RETURN"), Target("DROP")
MASQUERADED = Target("MASQUERADE")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}")
_KNOWN = (("conntrack", (("ctstate", "RELATED,ESTABLISHED"),)),)
_TRANSLATED = (("conntrack", (("ctstate", "DNAT"),)),)
_LOCAL = (("addrtype", (("dst_type", "LOCAL"),)),)


def skeleton(names: Names, family: int) -> Iterator[Rule]:
    """List the rules that are there whatever is in them."""

    def make(
        place: tuple[str, str, int], words: str, target: Target, fields: Pairs = (), matches: Matches = ()
    ) -> Rule:
        return _rule(names, (family, *place), words, fields, matches, target)

    yield make(("filter", "FORWARD", 0), "forward", Target(names.prefix))
    yield make(("filter", names.prefix, 10), "user", Target(USER_CHAIN))
    yield make(("filter", names.prefix, 11), "known", ACCEPTED, matches=_KNOWN)
    yield make(("filter", names.open, 90), "closed", DROPPED)
    yield make(("nat", "PREROUTING", 0), "prerouting", Target(names.publish), matches=_LOCAL)
    # To ::1 only by a rule that is there while an answer gets back to it: see `reached6`.
    outgoing = (("dst", "!::1/128"),) if family == 6 else ()
    yield make(("nat", "OUTPUT", 0), "output", Target(names.publish), outgoing, _LOCAL)
    yield make(("nat", "POSTROUTING", 0), "postrouting", Target(names.source))
    yield make(("raw", "PREROUTING", 0), "guard", Target(names.guard))


def reached6(names: Names) -> Rule:
    """Give the rule by which connections of the host to ::1 are translated."""
    fields = (("dst", EVERY_LOOPBACK[6]),)
    return _rule(names, (6, "nat", "OUTPUT", 0), REACHED6, fields, (), Target(names.publish))


def rules_of(names: Names, thing: FirewallObject) -> list[Rule]:
    """Lower an object to its rules, of both families where it is of both."""
    words = words_of(thing)
    match thing:
        case PortForward():
            return [_publication(names, thing, words), _hairpin(names, thing, words)]
        case OpenPort():
            family = 4 if len(thing.address) == IPV4_BYTES else 6
            fields = (("protocol", PROTOCOL_NAMES[thing.protocol]), ("dst", _alone(thing.address)))
            place = family, "filter", names.open, 10
            return [_rule(names, place, words, fields, _port(thing.protocol, thing.port), ACCEPTED)]
        case Masquerade():
            if thing.source and (len(thing.source) == IPV4_BYTES) != (thing.family == 4):
                raise ValueError(f"{thing.key}: its source is of another family")
            target = MASQUERADED
            if thing.source:
                target = Target("SNAT", (("to_source", format_address(thing.source)),))
            place = thing.family, "nat", names.source, 40
            return [_rule(names, place, words, (("in_interface", _named(thing.bridge)),), (), target)]
        case LoopbackAccess():
            return list(_loopback(names, thing, words))
        case ForwardPolicy():
            return [rule for family in FAMILIES for rule in _policy(names, family, thing, words)]


def words_of(thing: FirewallObject) -> str:
    """Write an object as a comment has it: its kind and key, `=`, the rest of it."""
    name, width = next((name, width) for name, (kind, width) in KINDS.items() if isinstance(thing, kind))
    words = [_word(getattr(thing, field)) for field in thing.__struct_fields__]
    return " ".join([name, *words[:width], "=", *words[width:]])


def thing_of(names: Names, comment: str) -> FirewallObject | None:
    """Read an object from a comment; None when it is of none, or not one that we write."""
    if not comment.startswith(names.mark):
        return None
    _, name, *words = comment.removeprefix(names.mark).split(" ")
    if name not in KINDS:
        return None
    kind, width = KINDS[name]
    hints = _hints(kind)
    fields = kind.__struct_fields__
    try:
        values = [
            _value(hints[field], word) for field, word in zip(fields, words[:width] + words[width + 1 :], strict=True)
        ]
        thing = msgspec.convert(dict(zip(fields, values, strict=True)) | {"type": kind.__name__}, kind)
        return thing if words_of(thing) == " ".join((name, *words)) else None
    except (ValueError, KeyError, Refusal):  # an address that is none is a refusal
        return None


def things_of(names: Names, comments: Iterable[str]) -> list[FirewallObject]:
    """Read the objects that these comments name, each once; of several with one key the last counts."""
    found = {thing.key: thing for comment in comments if (thing := thing_of(names, comment)) is not None}
    return list(found.values())


def _publication(names: Names, port: PortForward, words: str) -> Rule:
    family = 4 if len(port.address) == IPV4_BYTES else 6
    fields = [("protocol", PROTOCOL_NAMES[port.protocol])]
    if any(port.host_address):
        fields.append(("dst", _alone(port.host_address)))
    rank = 10 if any(port.host_address) else 20  # one address before all
    target = Target("DNAT", (("to_destination", f"{format_host(port.address)}:{port.port}"),))
    place = family, "nat", names.publish, rank
    return _rule(names, place, words, tuple(fields), _port(port.protocol, port.host_port), target)


def _hairpin(names: Names, port: PortForward, words: str) -> Rule:
    """Let an endpoint that reaches its own port take the host's address.

    Within one network there is a rule for all ports, but where bridged packets pass the IP layer's hooks no rule can
    say at POSTROUTING that a packet came in by the bridge.
    """
    family = 4 if len(port.address) == IPV4_BYTES else 6
    alone = _alone(port.address)
    fields = (("protocol", PROTOCOL_NAMES[port.protocol]), ("src", alone), ("dst", alone))
    place = family, "nat", names.source, 12
    return _rule(names, place, words, fields, _port(port.protocol, port.port), MASQUERADED)


def _loopback(names: Names, access: LoopbackAccess, words: str) -> Iterator[Rule]:
    own = EVERY_LOOPBACK[access.family]
    fields = (("dst", own), ("in_interface", _named(access.bridge)))
    yield _rule(names, (access.family, "raw", names.guard, 10), words, fields, (), DROPPED)
    fields = (("src", own), ("out_interface", _named(access.bridge)))
    yield _rule(names, (access.family, "nat", names.source, 20), words, fields, (), MASQUERADED)


def _policy(names: Names, family: int, policy: ForwardPolicy, words: str) -> Iterator[Rule]:
    """List a bridge's rules in the order of `ForwardPolicy`; the rank has what comes first."""
    into = (("out_interface", _named(policy.bridge)),)
    out_of = (("in_interface", _named(policy.bridge)),)
    within = (*out_of, *into)
    mode = policy.mode4 if family == 4 else policy.mode6
    opened = Target(names.open, is_goto=True)
    make = functools.partial(_rule, names)

    def place(rank: int) -> tuple[int, str, str, int]:
        return family, "filter", names.prefix, rank

    if policy.icc:
        yield make(place(20), words, within, (), ACCEPTED)
    if policy.internal:
        yield make(place(30), words, out_of, (), DROPPED)
        yield make(place(31), words, into, (), DROPPED)
    yield make(place(40), words, into, _TRANSLATED, ACCEPTED)
    yield make(place(45), words, within, (), DROPPED)
    if mode is GatewayMode.NAT_UNPROTECTED:
        yield make(place(50), words, into, (), ACCEPTED)
    if mode is GatewayMode.ROUTED:
        yield make(place(60), words, (("protocol", ICMP[family]), *into), (), ACCEPTED)
        yield make(place(61), words, into, (), opened)
    for number, trusted in enumerate(policy.trusted):
        fields = (("in_interface", _named(trusted)), *into)
        yield make(place(70), f"{words} .{number}", fields, (), opened)
    yield make(place(80), words, into, (), DROPPED)
    # An endpoint that reaches a published port of its own network: the answer must come back by the host.
    yield make((family, "nat", names.source, 10), words, within, _TRANSLATED, MASQUERADED)
    # Between our networks addresses stay as they are.
    yield make((family, "nat", names.source, 30), words, into, (), ACCEPTED)


def _rule(
    names: Names,
    place: tuple[int, str, str, int],
    words: str,
    fields: Pairs,
    matches: Matches,
    target: Target,
) -> Rule:
    family, table, chain, rank = place
    comment = f"{names.mark}{rank:02} {words}"
    if len(comment.encode()) > COMMENT_LIMIT:
        raise ValueError(f"{words[:60]}...: its rule's comment would be longer than {COMMENT_LIMIT} bytes")
    return Rule(family, table, chain, rank, comment, fields, matches, target)


def _port(protocol: int, port: int) -> Matches:
    if not 0 < port < 1 << 16:
        raise ValueError(f"{port} is no port")
    return ((PROTOCOL_NAMES[protocol], (("dport", str(port)),)),)


def _alone(address: bytes) -> str:
    return f"{format_address(address)}/{len(address) * 8}"


def _named(interface: str) -> str:
    """Check that iptables takes a name for nothing but itself, and that a comment can have it."""
    if not _PLAIN_NAME.fullmatch(interface):
        raise ValueError(f"{interface!r} cannot be said to iptables: name interfaces with letters, digits and .:@_-")
    return interface


@functools.cache
def _hints(kind: type[FirewallObject]) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _word(value: object) -> str:
    """Write a field so that it has no space in it."""
    if isinstance(value, bytes):
        return format_address(value) if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return str(value)


def _value(hint: object, word: str) -> object:
    """Read a field."""
    if hint is bytes:
        return b"" if word == "-" else parse_address(word)
    if hint is bool:
        return {"yes": True, "no": False}[word]
    if isinstance(typing.get_origin(hint) or hint, type) and typing.get_origin(hint) is tuple:
        return () if word == "-" else tuple(word.split(","))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(word)
    return int(word) if hint is int else word
