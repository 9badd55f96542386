"""The CNM's plain values: ids, packed addresses, subnets, MAC addresses, ports.

Keeps: inside events and views an address is 4 or 16 packed bytes; text exists only at the edge (`parse_*`, `format_*`).
Knows nothing of: clocks, randomness, events.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import NewType

from msgspec import Struct

from .errors import Invalid

HostId = NewType("HostId", str)
NetworkId = NewType("NetworkId", str)
EndpointId = NewType("EndpointId", str)
SandboxId = NewType("SandboxId", str)
PoolId = NewType("PoolId", str)
Position = NewType("Position", int)

NOWHERE = Position(0)
"""Before the first event."""

IPV4_BYTES = 4
IPV6_BYTES = 16
MAC_BYTES = 6
NAME_LIMIT = 255
INTERFACE_NAME_LIMIT = 15
"""IFNAMSIZ less the terminating zero (linux/if.h)."""
PORT_LIMIT = 65535
PRIORITY_LIMIT = 2**31 - 1
LABELS_LIMIT = 128
LABEL_KEY_LIMIT = 255
TEXT_LIMIT = 4096
"""Bytes of a label's value, an option, a path."""
DOMAIN_NAME_LIMIT = 253
SECONDS_LIMIT = 100 * 365 * 24 * 3600
NANOSECONDS = 1_000_000_000

_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_DOMAIN_NAME_PART = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")
_PORT_RANGE = re.compile(r"[0-9]+-[0-9]+")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class SandboxKind(enum.StrEnum):
    """Who makes a sandbox's namespace, and who configures the interfaces in it.

    `managed`: we make it. `attached`: it exists, we configure it. `delegated`: a runtime makes it and moves the
    container ends of our interfaces into it. `host`: it is the host's own, and nothing is configured in it.
    """

    MANAGED = "managed"
    ATTACHED = "attached"
    DELEGATED = "delegated"
    HOST = "host"


class AllocationPolicy(enum.StrEnum):
    """Which free address of a pool comes next.

    `next`: the one after the last that was chosen, so that a released one rests as long as can be. `lowest`: the first.
    `serial`: as `next`, by the name that libnetwork's option has for it. `sticky`: as `next`, and an endpoint's name
    gets its last address back within the pool's grace period.
    """

    NEXT = "next"
    LOWEST = "lowest"
    SERIAL = "serial"
    STICKY = "sticky"


class MacPolicy(enum.StrEnum):
    """Which MAC address an endpoint gets that asks for none.

    `random`: drawn from its id, which is random. `ipv4`: 02:42 and the bytes of its IPv4 address, where it has one.
    """

    RANDOM = "random"
    IPV4 = "ipv4"


class Subnet(Struct, frozen=True, array_like=True, gc=False, order=True):
    """An address block: `address` packed, 4 or 16 bytes, host bits zero; `prefix` its length in bits."""

    address: bytes
    prefix: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return family_of(self.address)

    @property
    def host_bits(self) -> int:
        """The bits that number the addresses of the block."""
        return len(self.address) * 8 - self.prefix

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.prefix}"

    def __contains__(self, address: bytes) -> bool:
        if len(address) != len(self.address):
            return False
        shift = self.host_bits
        return int.from_bytes(address, "big") >> shift == int.from_bytes(self.address, "big") >> shift

    def overlaps(self, other: Subnet) -> bool:
        """Whether any address is in both."""
        if self.prefix <= other.prefix:
            return other.address in self
        return self.address in other

    def at(self, ordinal: int) -> bytes:
        """Return the packed address with this number, the network's own address being 0."""
        return (int.from_bytes(self.address, "big") + ordinal).to_bytes(len(self.address), "big")

    def ordinal(self, address: bytes) -> int:
        """Return the number of this packed address in the block."""
        return int.from_bytes(address, "big") - int.from_bytes(self.address, "big")


class PredefinedPool(Struct, frozen=True, array_like=True, gc=False, order=True):
    """Blocks of `size` (a prefix length) in `base`, for networks that name none: Docker's `default-address-pools`."""

    base: Subnet
    size: int

    def __str__(self) -> str:
        return f"{self.base} in /{self.size}"


class PortRequest(Struct, frozen=True, array_like=True, gc=False):
    """A port to publish: container `port` on `host_port` (0: any free one) of `host_address` (empty: every one).

    `host_port_end`: any free one from `host_port` to this; 0: `host_port` alone.
    """

    protocol: int
    port: int
    host_port: int = 0
    host_address: bytes = b""
    host_port_end: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether one host port alone will do."""
        return self.host_port != 0 and self.host_port_end in {0, self.host_port}

    def __str__(self) -> str:
        host = format_host(self.host_address) + ":" if self.host_address else ""
        upto = f"-{self.host_port_end}" if self.host_port_end else ""
        return f"{host}{self.host_port or ''}{upto}:{self.port}/{PROTOCOL_NAMES[self.protocol]}"


def family_of(address: bytes) -> int:
    """4 or 6."""
    return 4 if len(address) == IPV4_BYTES else 6


def parse_address(text: str) -> bytes:
    """Pack an IPv4 or IPv6 address; refuse anything else."""
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise Invalid(f"address {text!r}", "not an IPv4 or IPv6 address", "write it like 10.0.0.7 or fd00::7") from None


def format_address(address: bytes) -> str:
    """Write a packed address as text."""
    if len(address) == IPV4_BYTES:
        return ".".join(map(str, address))
    return str(ipaddress.IPv6Address(address))


def format_host(address: bytes) -> str:
    """Write a packed address as it stands before `:port`: IPv6 in brackets."""
    return format_address(address) if len(address) == IPV4_BYTES else f"[{format_address(address)}]"


def parse_subnet(text: str) -> Subnet:
    """Pack a CIDR block; refuse host bits, a missing prefix, and anything that is none."""
    if "/" not in text:
        raise Invalid(f"subnet {text!r}", "no prefix length", f"write it like {_with_prefix(text)}")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise Invalid(f"subnet {text!r}", f"not a CIDR block: {error}", "write it like 10.5.0.0/16") from None
    subnet = Subnet(network.network_address.packed, network.prefixlen)
    if ipaddress.ip_address(text.split("/", 1)[0]).packed != subnet.address:
        raise Invalid(f"subnet {text!r}", "it has host bits set", f"did you mean {subnet}?")
    return subnet


def subnet_of(address: bytes, prefix: int) -> Subnet:
    """Give the block of this prefix length that an address is in."""
    bits = len(address) * 8 - prefix
    return Subnet((int.from_bytes(address) >> bits << bits).to_bytes(len(address)), prefix)


def _with_prefix(text: str) -> str:
    try:
        return f"{text}/{24 if len(parse_address(text)) == IPV4_BYTES else 64}"
    except Invalid:
        return "10.5.0.0/16"


def parse_mac(text: str) -> bytes:
    """Pack a unicast MAC address written as six hex pairs."""
    if not _MAC.fullmatch(text):
        raise Invalid(f"MAC address {text!r}", "not six hex pairs", "write it like 02:42:0a:00:00:07")
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1 or not any(mac):
        raise Invalid(
            f"MAC address {text!r}", "a multicast or zero address", "use one whose first byte is even, like 02"
        )
    return mac


def format_mac(mac: bytes) -> str:
    """Write a packed MAC address as text."""
    return mac.hex(":")


_PORT_REMEDY = "write it like 8080:80/tcp, 192.0.2.1:8080:80, 8000-8010:80 or [2001:db8::1]:53:53/udp"


def parse_port(text: str) -> PortRequest:
    """Read one published port as Docker writes it: `[HOST_ADDRESS:][HOST_PORT[-END]:]PORT[/PROTOCOL]`."""
    ports = parse_ports(text)
    if len(ports) != 1:
        raise Invalid(f"port {text!r}", f"it is a range of {len(ports)} ports", "publish each by itself")
    return ports[0]


def parse_ports(text: str) -> tuple[PortRequest, ...]:
    """Read published ports as Docker writes them: `[HOST_ADDRESS:][HOST_PORT[-END]:]PORT[-END][/PROTOCOL]`.

    An IPv6 host address stands in brackets. A range of ports takes a range of host ports of the same length, one to
    one, or none; a single port takes any free one of a range of host ports.
    """
    asked = f"port {text!r}"
    body, _, protocol = text.partition("/")
    number = PROTOCOLS.get(protocol or "tcp")
    if number is None:
        raise Invalid(asked, f"unknown protocol {protocol!r}", f"known: {', '.join(PROTOCOLS)}")
    address, rest = _split_host(asked, body)
    host_text, colon, port_text = rest.rpartition(":")
    first, last = _port_range(asked, port_text)
    if address and not colon:
        raise Invalid(asked, "a host address without a host port", _PORT_REMEDY)
    host_first, host_last = _port_range(asked, host_text, is_host=True) if host_text else (0, 0)
    if first == last:
        return (PortRequest(number, first, host_first, address, host_last if host_last != host_first else 0),)
    if host_first and host_last - host_first != last - first:
        raise Invalid(asked, f"{host_text} and {port_text} differ in length", "give as many host ports as ports")
    return tuple(
        PortRequest(number, port, host_first + port - first if host_first else 0, address)
        for port in range(first, last + 1)
    )


def _split_host(asked: str, body: str) -> tuple[bytes, str]:
    """Split a host address off, if there is one."""
    if body.startswith("["):
        inside, bracket, rest = body[1:].partition("]:")
        if not bracket:
            raise Invalid(asked, "the bracket of its IPv6 address is not closed", _PORT_REMEDY)
        return _host_address(asked, inside), rest
    if body.count(":") > 1:
        host, _, rest = body.partition(":")
        return _host_address(asked, host), rest
    return b"", body


def _host_address(asked: str, text: str) -> bytes:
    try:
        return parse_address(text)
    except Invalid:
        raise Invalid(asked, f"{text!r} is not an IPv4 or IPv6 address", _PORT_REMEDY) from None


def _port_range(asked: str, text: str, *, is_host: bool = False) -> tuple[int, int]:
    if not _PORT_RANGE.fullmatch(text):
        number = _port_number(asked, text, is_host=is_host)
        return number, number
    first, last = (_port_number(asked, each) for each in text.split("-"))
    if last < first:
        raise Invalid(asked, f"invalid port range: {text}", "write the smaller number first")
    return first, last


def _port_number(asked: str, text: str, *, is_host: bool = False) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(PORT_LIMIT))
    if not is_number or not (0 if is_host else 1) <= int(text) <= PORT_LIMIT:
        what = f"host port from 1 to {PORT_LIMIT}, or 0 for any free one" if is_host else f"port from 1 to {PORT_LIMIT}"
        raise Invalid(asked, f"{text!r} is not a {what}", _PORT_REMEDY)
    return int(text)


def check_id(kind: str, text: str) -> str:
    """Return a 64-hex id as it is; refuse anything else."""
    if not _ID.fullmatch(text):
        raise Invalid(f"{kind} id {text!r}", "not 64 lower-case hex digits", "leave it out and one is made")
    return text


def check_name(kind: str, text: str) -> str:
    """Return a name as it is; refuse an empty, over-long or unprintable one (Docker's rule for names)."""
    if not _NAME.fullmatch(text) or len(text) > NAME_LIMIT:
        raise Invalid(
            f"{kind} name {text[:NAME_LIMIT]!r}",
            f"not a name of 1 to {NAME_LIMIT} letters, digits, '_', '.' and '-' that begins with a letter or digit",
        )
    return text


def check_interface_name(text: str) -> str:
    """Return a kernel interface name as it is; refuse any but plain letters, digits, `_`, `.` and `-`.

    The kernel takes more (dev_valid_name, net/core/dev.c). But it reads `%d` as a pattern, nftables a final `*`, and
    text a quote or a blank.
    """
    if not _INTERFACE_NAME.fullmatch(text) or text in {".", ".."}:
        raise Invalid(
            f"interface name {text!r}",
            f"not a name of 1 to {INTERFACE_NAME_LIMIT} letters, digits, '_', '.' and '-'",
        )
    return text


def check_text(kind: str, text: str, limit: int) -> str:
    """Return text that is to be recorded as it is; refuse what is too long, or cannot be printed or written as UTF-8.

    No lone surrogate is printable, so what is printable can be written.
    """
    if not text.isprintable():
        raise Invalid(f"{kind} {text[:NAME_LIMIT]!r}", "it has characters that cannot be printed", "leave them out")
    size = len(text.encode())
    if size > limit:
        raise Invalid(f"{kind} {text[:NAME_LIMIT]!r}", f"it has {size} bytes", f"write {limit} at most")
    return text


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels as they are; refuse too many, and text that is not to be recorded."""
    if len(labels) > LABELS_LIMIT:
        raise Invalid("labels", f"there are {len(labels)}", f"give {LABELS_LIMIT} at most")
    return {
        check_text("label", key, LABEL_KEY_LIMIT): check_text(f"value of label {key}:", value, TEXT_LIMIT)
        for key, value in labels.items()
    }


def check_domain_name(kind: str, text: str) -> str:
    """Return a host or domain name (RFC 1123), or none at all, as it is."""
    if text and (len(text) > DOMAIN_NAME_LIMIT or not all(map(_DOMAIN_NAME_PART.fullmatch, text.split(".")))):
        raise Invalid(
            f"{kind} {text[:NAME_LIMIT]!r}",
            f"not a name of {DOMAIN_NAME_LIMIT} characters at most whose parts between '.' are 1 to 63 letters, "
            "digits and '-', without a '-' at either end",
        )
    return text


def check_address(asked: str, address: bytes) -> bytes:
    """Return a packed address as it is; refuse one of neither family's length."""
    if len(address) not in {IPV4_BYTES, IPV6_BYTES}:
        raise Invalid(asked, f"packed address {address[:IPV6_BYTES].hex()!r} has {len(address)} bytes", "give 4 or 16")
    return address


def check_mac(asked: str, mac: bytes) -> bytes:
    """Return a packed MAC address, or none at all, as it is; refuse any but a unicast one."""
    if mac and (len(mac) != MAC_BYTES or mac[0] & 1 or not any(mac)):
        raise Invalid(
            asked, f"MAC address {format_mac(mac[:IPV6_BYTES])} is not a unicast one of 6 bytes", "leave it out"
        )
    return mac


def check_port(asked: str, request: PortRequest) -> PortRequest:
    """Return a port to publish as it is; refuse one with any part out of range."""
    if request.protocol not in PROTOCOL_NAMES:
        raise Invalid(asked, f"unknown protocol {request.protocol}", f"known: {', '.join(map(str, PROTOCOL_NAMES))}")
    if not 1 <= request.port <= PORT_LIMIT:
        raise Invalid(asked, f"{request.port} is not a port from 1 to {PORT_LIMIT}")
    if not 0 <= request.host_port <= PORT_LIMIT:
        raise Invalid(asked, f"{request.host_port} is not a host port from 1 to {PORT_LIMIT}, or 0 for any free one")
    if request.host_port_end and not 1 <= request.host_port <= request.host_port_end <= PORT_LIMIT:
        raise Invalid(asked, f"invalid port range: {request.host_port}-{request.host_port_end}")
    if request.host_address:
        check_address(asked, request.host_address)
    return request


def check_subnet(asked: str, subnet: Subnet) -> Subnet:
    """Return a block as it is; refuse one whose prefix is out of range or whose host bits are set."""
    check_address(asked, subnet.address)
    if not 0 <= subnet.prefix <= len(subnet.address) * 8:
        raise Invalid(asked, f"{subnet} has no prefix length from 0 to {len(subnet.address) * 8}")
    if int.from_bytes(subnet.address, "big") % (1 << subnet.host_bits):
        raise Invalid(asked, f"{subnet} has host bits set", "give the block's first address")
    return subnet


def check_seconds(asked: str, name: str, seconds: int) -> int:
    """Return a length of time as it is; refuse a negative one, and one of more than a hundred years."""
    if not 0 <= seconds <= SECONDS_LIMIT:
        raise Invalid(asked, f"{name} of {seconds} seconds", f"give 0 to {SECONDS_LIMIT}")
    return seconds


def mac_from_ipv4(address: bytes) -> bytes:
    """Make the MAC address that libnetwork made of an IPv4 address: 02:42 and its bytes."""
    return b"\x02\x42" + address


def mac_for(identity: str, attempt: int = 0) -> bytes:
    """Make a locally administered MAC address, 02:42 and four bytes, from an id that is itself random.

    moby draws the four bytes at random; drawing them from the random id keeps the rule pure. `attempt` picks others.
    """
    return b"\x02\x42" + hashlib.sha256(f"{identity}/{attempt}".encode()).digest()[:4]


LINK_LOCAL_PREFIXES = {4: 16, 6: 64}
"""libnetwork's prefix lengths of link-local addresses."""


def check_link_local(asked: str, address: bytes) -> bytes:
    """Return a packed address as it is; refuse any but a link-local one."""
    check_address(asked, address)
    blocks = ("169.254.0.0/16", "fe80::/10")
    if not any(address in parse_subnet(block) for block in blocks):
        raise Invalid(asked, f"{format_address(address)} is not a link-local address", f"take one of {blocks}")
    return address


def link_local_for(mac: bytes) -> bytes:
    """Make the EUI-64 link-local IPv6 address of a MAC address (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]])
