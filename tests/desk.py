"""The desk at which rules decide, for our own tests."""

from __future__ import annotations

from netledger.testing.desk import (
    HOST,
    INSTANCE,
    ORIGIN,
    Desk,
    create_endpoint,
    create_network,
    create_sandbox,
    identifier,
    join,
    pool,
)

__all__ = [
    "HOST",
    "INSTANCE",
    "ORIGIN",
    "Desk",
    "create_endpoint",
    "create_network",
    "create_sandbox",
    "identifier",
    "join",
    "pool",
]
