"""The log used as a time machine: rebuild a host from it, find where the host has drifted, mend it."""

from .drift import Comparison, Reconciliation, drift, repair
from .rebuild import plan, rebuild

__all__ = ["Comparison", "Reconciliation", "drift", "plan", "rebuild", "repair"]
