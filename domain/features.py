"""What a decision needs of the host, refused before any event where the host has it not.

Knows nothing of: how a host is probed.
"""

from __future__ import annotations

from .decision import Context
from .errors import Unavailable


def check_feature(context: Context, feature: str, asked: str) -> None:
    """Refuse what this host cannot make, with the reason."""
    reason = context.capabilities.lacks(feature)
    if reason:
        raise Unavailable(asked, f"this host cannot make {feature!r}: {reason}", "see `netledger doctor`")
