"""The log used as a time machine: rebuild a host from it, find where the host has drifted, mend it, ask who held what.

Nothing of the engine is loaded before it is used: telling from a log who had an address needs none of it.
"""

from typing import TYPE_CHECKING

from .drift import drift, repair
from .rebuild import plan, rebuild

if TYPE_CHECKING:
    from ..engine.reconcile import Comparison, Reconciliation

__all__ = ["Comparison", "Reconciliation", "drift", "plan", "rebuild", "repair"]


def __getattr__(name: str) -> object:
    """Load what a reconciliation answers with when it is first asked for."""
    if name not in {"Comparison", "Reconciliation"}:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from ..engine import reconcile

    value: object = getattr(reconcile, name)
    return value
