"""What a container resolves names by: the text of its hosts file and of its resolv.conf.

Keeps: the same events give the same text. Formats and rules: libnetwork's etchosts and resolvconf (moby,
daemon/libnetwork); hosts(5), resolv.conf(5). Knows nothing of: files, who writes them, when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from .errors import Invalid
from .values import IPV4_BYTES, TEXT_LIMIT, check_address, check_domain_name, check_text, format_address, parse_address

ALWAYS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
"""What every hosts file begins with."""

FALLBACK4 = ("8.8.8.8", "8.8.4.4")
FALLBACK6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")
"""Name servers for a container that would have none: libnetwork's."""

NO_SEARCH = "."
"""As the only search domain: no search line at all."""

EXTRA_HOSTS_LIMIT = 256
SERVERS_LIMIT = 8
SEARCH_LIMIT = 32
OPTIONS_LIMIT = 32


class Resolver(Struct, frozen=True, array_like=True, gc=False):
    """The three kinds of lines of a resolv.conf; what is empty is not given."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Resolution(Struct, frozen=True, array_like=True, gc=False):
    """What a sandbox's files are made of, as its creator asked for it and its host was then.

    `hosts` are further names with packed addresses, `wanted` overrides what was `found` in the host's own resolv.conf.
    The paths are those of the two files.
    """

    hosts: tuple[tuple[str, bytes], ...] = ()
    wanted: Resolver = Resolver()
    found: Resolver = Resolver()
    hosts_path: str = ""
    resolv_conf_path: str = ""


def check_resolution(asked: str, wanted: Resolution) -> Resolution:
    """Return it as it is; refuse what cannot be written into the files."""
    if len(wanted.hosts) > EXTRA_HOSTS_LIMIT:
        raise Invalid(asked, f"there are {len(wanted.hosts)} extra hosts", f"give {EXTRA_HOSTS_LIMIT} at most")
    for name, address in wanted.hosts:
        check_address(asked, address)
        if not name:
            raise Invalid(asked, f"an extra host at {format_address(address)} has no name", "write NAME:ADDRESS")
        check_domain_name("extra host", name)
    for server in wanted.wanted.servers:
        parse_address(server)
    _check_count(asked, "name servers", wanted.wanted.servers, SERVERS_LIMIT)
    _check_count(asked, "search domains", wanted.wanted.search, SEARCH_LIMIT)
    _check_count(asked, "resolver options", wanted.wanted.options, OPTIONS_LIMIT)
    for domain in wanted.wanted.search:
        if domain != NO_SEARCH:
            check_domain_name("search domain", domain.removesuffix("."))
    for option in wanted.wanted.options:
        check_text("resolver option", option, TEXT_LIMIT)
        if not option or " " in option:
            raise Invalid(asked, f"resolver option {option!r} is not one word", "write it like ndots:2")
    for path in (wanted.hosts_path, wanted.resolv_conf_path):
        check_text("path", path, TEXT_LIMIT)
        if path and not path.startswith("/"):
            raise Invalid(asked, f"path {path!r} is not absolute", "give the whole path")
    if wanted.hosts_path and wanted.hosts_path == wanted.resolv_conf_path:
        raise Invalid(asked, f"{wanted.hosts_path} is to be both files", "give each a path of its own")
    return wanted


def hosts_text(resolution: Resolution, hostname: str, domainname: str, addresses: Iterable[bytes]) -> str:
    """Write a hosts file: what every one has, the further names, and the container's own at each of its addresses."""
    lines = [f"{address}\t{names}" for address, names in ALWAYS]
    lines += [f"{format_address(address)}\t{name}" for name, address in resolution.hosts]
    if hostname:
        names = f"{hostname}.{domainname} {hostname}" if domainname else _with_short_name(hostname)
        lines += [f"{format_address(address)}\t{names}" for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def resolv_conf_text(resolution: Resolution, *, has_ipv6: bool) -> str:
    """Write a resolv.conf: each kind of line as it was asked for, else as the host has it.

    Of the host's name servers those stay that a container can reach: none on the loopback, and IPv6 where it has IPv6.
    """
    wanted, found = resolution.wanted, resolution.found
    servers: Sequence[str] = wanted.servers or [each for each in found.servers if _is_reached(each, has_ipv6=has_ipv6)]
    if not servers:
        servers = (*FALLBACK4, *(FALLBACK6 if has_ipv6 else ()))
    search = wanted.search or found.search
    options = wanted.options or found.options
    lines = [f"nameserver {server}" for server in servers]
    if search and tuple(search) != (NO_SEARCH,):
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def parse_resolv_conf(text: str) -> Resolver:
    """Read a resolv.conf; of several `search` or `domain` lines the last counts, as resolv.conf(5) says."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = tuple(domains)
            case ["options", *more]:
                options += more
            case _:
                continue
    return Resolver(tuple(servers[:SERVERS_LIMIT]), search[:SEARCH_LIMIT], tuple(options[:OPTIONS_LIMIT]))


def _with_short_name(hostname: str) -> str:
    short, dot, _ = hostname.partition(".")
    return f"{hostname} {short}" if dot else hostname


def _is_reached(server: str, *, has_ipv6: bool) -> bool:
    try:
        address = parse_address(server.partition("%")[0])
    except Invalid:
        return False
    if len(address) == IPV4_BYTES:
        return address[0] != 127
    return has_ipv6 and address != bytes(15) + b"\x01" and "%" not in server


def _check_count(asked: str, what: str, given: Sequence[str], limit: int) -> None:
    if len(given) > limit:
        raise Invalid(asked, f"there are {len(given)} {what}", f"give {limit} at most")
