"""Which addresses the host uses already: where its main routing table leads, and its name servers.

Keeps: what bears our mark is left out, and so is what is routed to our links. Must not know: plans, address pools.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...domain.errors import Invalid
from ...domain.facts import TakenBlock
from ...domain.values import Subnet, parse_address
from .kernel import Kernel
from .rtnetlink import MARK, decode_links, decode_routes, list_links, list_routes

RESOLV_CONF = Path("/etc/resolv.conf")
RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
"""The name servers behind systemd-resolved's own, 127.0.0.53."""
RESOLVED = parse_address("127.0.0.53")


def taken_blocks(kernel: Kernel, resolv_conf: Path = RESOLV_CONF) -> list[TakenBlock]:
    """Read what the host's main table leads to, but for the default routes, and its name servers."""
    links = {link.index: link for link in decode_links(kernel.links.dump(list_links()))}
    found: dict[Subnet, str] = {}
    for route in decode_routes(kernel.links.dump(list_routes(0))):
        link = links.get(route.index)
        is_ours = route.protocol == MARK or (link is not None and kernel.marks.owns(link))
        if not is_ours and route.destination.prefix:
            found.setdefault(route.destination, f"route dev {link.name}" if link is not None else "route")
    servers = list(name_servers(resolv_conf))
    if RESOLVED in servers:
        servers += name_servers(RESOLVED_CONF)
    for server in servers:
        found.setdefault(Subnet(server, len(server) * 8), "name server")
    return [TakenBlock(block, use) for block, use in sorted(found.items())]


def name_servers(path: Path) -> Iterator[bytes]:
    """Read the addresses of a resolv.conf; what cannot be read names none (resolv.conf(5))."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                yield parse_address(words[1].partition("%")[0])
            except Invalid:
                continue
