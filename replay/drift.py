"""Drift: what the kernel has come to differ in from the log, and mending it; ours alone.

Knows nothing of: how an object is observed. The engine is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.controller import Controller
    from ..engine.reconcile import Comparison, Reconciliation


def drift(controller: Controller) -> Comparison:
    """Observe the host and compare it with the log; changes neither."""
    from ..engine.reconcile import compare

    return compare(controller)


def repair(
    controller: Controller, *, actor: str | None = None, reason: str = "", expected: str | None = None
) -> Reconciliation:
    """Mend the difference between host and log, and record what was found and what was mended.

    `expected` is the digest of the plan that was shown; another one by now is a conflict, and nothing is done.
    """
    from ..engine import reconcile

    return reconcile.repair(controller, actor=actor, reason=reason, expected=expected)
