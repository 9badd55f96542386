"""The CNM's plain values: ids, packed addresses, subnets, MAC addresses, ports.

Keeps: inside events and views an address is 4 or 16 packed bytes; text exists only at the edge (`parse_*`, `format_*`).
Knows nothing of: clocks, randomness, events.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import re
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
ID_HEX_DIGITS = 64
NAME_LIMIT = 255
INTERFACE_NAME_LIMIT = 15
"""IFNAMSIZ less the terminating zero (linux/if.h)."""
PORT_LIMIT = 65535

_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class SandboxKind(enum.StrEnum):
    """Who makes a sandbox's namespace, and who configures the interfaces in it.

    `managed`: we make it. `attached`: it exists, we configure it. `delegated`: a runtime makes it and moves the
    container ends of our interfaces into it.
    """

    MANAGED = "managed"
    ATTACHED = "attached"
    DELEGATED = "delegated"


class AllocationPolicy(enum.StrEnum):
    """Which free address of a pool comes next.

    `next`: the one after the last that was chosen, so that a released one rests as long as can be. `lowest`: the first.
    """

    NEXT = "next"
    LOWEST = "lowest"


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


class PortRequest(Struct, frozen=True, array_like=True, gc=False):
    """A port to publish: container `port` on `host_port` (0: any free one) of `host_address` (empty: every one)."""

    protocol: int
    port: int
    host_port: int = 0
    host_address: bytes = b""

    def __str__(self) -> str:
        host = format_host(self.host_address) + ":" if self.host_address else ""
        return f"{host}{self.host_port or ''}:{self.port}/{PROTOCOL_NAMES[self.protocol]}"


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
        raise Invalid(f"subnet {text!r}", "no prefix length", f"write it like {text}/24")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise Invalid(f"subnet {text!r}", f"not a CIDR block: {error}", "write it like 10.5.0.0/16") from None
    subnet = Subnet(network.network_address.packed, network.prefixlen)
    if ipaddress.ip_address(text.split("/", 1)[0]).packed != subnet.address:
        raise Invalid(f"subnet {text!r}", "it has host bits set", f"did you mean {subnet}?")
    return subnet


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


def parse_port(text: str) -> PortRequest:
    """Read a published port as Docker writes it: `[HOST_ADDRESS:][HOST_PORT:]PORT[/PROTOCOL]`.

    An IPv6 host address stands in brackets. Ranges are refused.
    """
    asked = f"port {text!r}"
    remedy = "write it like 8080:80/tcp, 127.0.0.1:8080:80 or [::1]:53:53/udp"
    body, _, protocol = text.partition("/")
    number = PROTOCOLS.get(protocol or "tcp")
    if number is None:
        raise Invalid(asked, f"unknown protocol {protocol!r}", f"known: {', '.join(PROTOCOLS)}")
    address, rest = b"", body
    if body.startswith("["):
        inside, bracket, rest = body[1:].partition("]:")
        if not bracket:
            raise Invalid(asked, "the bracket of its IPv6 address is not closed", remedy)
        address = parse_address(inside)
    elif body.count(":") > 1:
        host, _, rest = body.partition(":")
        address = parse_address(host)
    host_text, colon, port_text = rest.rpartition(":")
    port = _port_number(asked, port_text, remedy)
    if address and not colon:
        raise Invalid(asked, "a host address without a host port", remedy)
    host_port = _port_number(asked, host_text, remedy, least=0) if host_text else 0
    return PortRequest(number, port, host_port, address)


def _port_number(asked: str, text: str, remedy: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= PORT_LIMIT:
        raise Invalid(asked, f"{text!r} is not a port number from {least} to {PORT_LIMIT}", remedy)
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
    """Return a kernel interface name as it is; refuse what the kernel would (dev_valid_name, net/core/dev.c)."""
    ok = 0 < len(text.encode()) <= INTERFACE_NAME_LIMIT and text not in {".", ".."}
    if not ok or any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise Invalid(
            f"interface name {text!r}", f"not a name of 1 to {INTERFACE_NAME_LIMIT} bytes without '/', ':' and blanks"
        )
    return text


def mac_for(identity: str, attempt: int = 0) -> bytes:
    """Make a locally administered MAC address, 02:42 and four bytes, from an id that is itself random.

    moby draws the four bytes at random; drawing them from the random id keeps the rule pure. `attempt` picks others.
    """
    return b"\x02\x42" + hashlib.sha256(f"{identity}/{attempt}".encode()).digest()[:4]


def link_local_for(mac: bytes) -> bytes:
    """Make the EUI-64 link-local IPv6 address of a MAC address (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]])
