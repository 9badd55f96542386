"""Rebuild: the log to a kernel, from whatever is there, blank or half done.

Fold, observe, difference, plan, apply: superseded history costs nothing, and a second rebuild plans nothing.
Knows nothing of: how an object is made.
"""

from ..engine.reconcile import Comparison, Reconciliation, rebuild
from ..engine.reconcile import compare as plan

__all__ = ["Comparison", "Reconciliation", "plan", "rebuild"]
