"""Drift: what the kernel has come to differ in from the log, and mending it; ours alone.

Knows nothing of: how an object is observed.
"""

from ..engine.reconcile import Comparison, Reconciliation, repair
from ..engine.reconcile import compare as drift

__all__ = ["Comparison", "Reconciliation", "drift", "repair"]
