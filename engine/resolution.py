"""What a sandbox's files are made of: the caller's words, and the host's own resolv.conf as it is now.

Knows nothing of: what is written into any file, or when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from ..domain.resolution import Resolution, Resolver, parse_resolv_conf
from ..domain.values import SandboxId, parse_address

RESOLV_CONF = Path("/etc/resolv.conf")
BEHIND_SYSTEMD = Path("/run/systemd/resolve/resolv.conf")
"""The servers that systemd-resolved asks itself, where /etc/resolv.conf names nothing but its stub."""
STUB = ("127.0.0.53",)
FILES_NAME = "sandboxes"


def resolution_of(  # each part by itself, as the caller wrote it
    extra_hosts: Mapping[str, str],
    dns: Sequence[str],
    search: Sequence[str],
    options: Sequence[str],
    hosts_path: str,
    resolv_conf_path: str,
    *,
    always: bool,
) -> Resolution | None:
    """Put together what was asked for; None where nothing was, and files are not wanted anyway."""
    hosts = tuple((name, parse_address(address)) for name, address in extra_hosts.items())
    wanted = Resolver(tuple(dns), tuple(search), tuple(options))
    asked = Resolution(hosts, wanted, Resolver(), hosts_path, resolv_conf_path)
    return asked if always or asked != Resolution() else None


def with_facts(resolution: Resolution, sandbox: SandboxId, state: Path) -> Resolution:
    """Add where the files are by default, and what the host resolves names by now."""
    directory = state / FILES_NAME / sandbox
    return structs.replace(
        resolution,
        found=read_host(),
        hosts_path=resolution.hosts_path or str(directory / "hosts"),
        resolv_conf_path=resolution.resolv_conf_path or str(directory / "resolv.conf"),
    )


def read_host() -> Resolver:
    """Read the host's own resolv.conf, or what is behind it; nothing where there is none."""
    found = _read(RESOLV_CONF)
    return _read(BEHIND_SYSTEMD) if found.servers == STUB and BEHIND_SYSTEMD.exists() else found


def _read(path: Path) -> Resolver:
    try:
        return parse_resolv_conf(path.read_text(errors="replace"))
    except OSError:
        return Resolver()
