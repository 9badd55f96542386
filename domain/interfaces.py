"""The names of interfaces: in a sandbox, and of their ends in the host's namespace.

Keeps: a name is there once in its sandbox; no two joins use one name in the host. Knows nothing of: kernels.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from .errors import Conflict, Exhausted
from .values import EndpointId, Position, check_interface_name

DEVICE_PREFIX = "nl"
DEVICE_HASH_CHARACTERS = 11
INTERFACES_IN_A_SANDBOX = 1024


def device_name(instance: str, endpoint: EndpointId, position: Position) -> str:
    """Name the host end: a hash of ledger, endpoint and where the log ends, so that no two joins use one name."""
    digest = hashlib.sha256(f"{instance}/{endpoint}/{position}".encode()).digest()[:10]  # 16 characters in base 32
    return DEVICE_PREFIX + base64.b32encode(digest).decode().lower()[:DEVICE_HASH_CHARACTERS]


def choose_interface(taken: Mapping[str, Position], wanted: str, prefix: str, asked: str) -> str:
    """Decide on a name: the one asked for, else the prefix and the lowest number that is free."""
    if wanted:
        check_interface_name(wanted)
        if wanted in taken or wanted == "lo":
            raise Conflict(
                asked,
                f"interface {wanted} is taken in that sandbox",
                "choose another name",
                position=taken.get(wanted),
            )
        return wanted
    for number in range(INTERFACES_IN_A_SANDBOX):
        if f"{prefix}{number}" not in taken:
            return f"{prefix}{number}"
    raise Exhausted(asked, f"the sandbox has {INTERFACES_IN_A_SANDBOX} interfaces", "use another sandbox")
