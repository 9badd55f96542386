"""netledger: container networks as an append-only log of events, and a kernel that follows it.

Public names are loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .domain.errors import (
        Conflict,
        DataplaneFault,
        Exhausted,
        Forbidden,
        InUse,
        Invalid,
        LedgerBusy,
        LedgerConflict,
        LedgerDamaged,
        LedgerError,
        LedgerForeign,
        LedgerFull,
        LedgerNewer,
        NetledgerError,
        NotFound,
        Refusal,
        Unavailable,
        Unimplemented,
    )
    from .engine.controller import Controller
    from .engine.model import Endpoint, EndpointInfo, Network, NetworkInfo, Sandbox, SandboxInfo
    from .engine.results import Recovery, Result

__version__ = "0.1.0"

_ENGINE = {
    "Controller": "controller",
    "Endpoint": "model",
    "EndpointInfo": "model",
    "Network": "model",
    "NetworkInfo": "model",
    "Recovery": "results",
    "Result": "results",
    "Sandbox": "model",
    "SandboxInfo": "model",
}

__all__ = [
    "Conflict",
    "Controller",
    "DataplaneFault",
    "Endpoint",
    "EndpointInfo",
    "Exhausted",
    "Forbidden",
    "InUse",
    "Invalid",
    "LedgerBusy",
    "LedgerConflict",
    "LedgerDamaged",
    "LedgerError",
    "LedgerForeign",
    "LedgerFull",
    "LedgerNewer",
    "NetledgerError",
    "Network",
    "NetworkInfo",
    "NotFound",
    "Recovery",
    "Refusal",
    "Result",
    "Sandbox",
    "SandboxInfo",
    "Unavailable",
    "Unimplemented",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = f"{__name__}.engine.{_ENGINE[name]}" if name in _ENGINE else f"{__name__}.domain.errors"
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
