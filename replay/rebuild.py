"""Rebuild: the log to a kernel, from whatever is there, blank or half done.

Fold, observe, difference, plan, apply: superseded history costs nothing, and a second rebuild plans nothing.
Knows nothing of: how an object is made. The engine is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.controller import Controller
    from ..engine.reconcile import Comparison, Reconciliation


def plan(controller: Controller) -> Comparison:
    """Show what a rebuild would do, and the plan's digest; changes nothing."""
    from ..engine.reconcile import compare

    return compare(controller)


def rebuild(
    controller: Controller, *, actor: str | None = None, reason: str = "", expected: str | None = None
) -> Reconciliation:
    """Make the host what the log says, from whatever is there, and record that it was done.

    `expected` is the digest of the plan that was shown; another one by now is a conflict, and nothing is done.
    """
    from ..engine import reconcile

    return reconcile.rebuild(controller, actor=actor, reason=reason, expected=expected)
