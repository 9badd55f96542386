"""`netledger plan`, `rebuild`, `drift`, `repair`: the log against the kernel.

Must not know: how a difference is found or mended.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from .exits import DIFFERENT, DONE, FAULT
from .options import HERE, THIS_HOST, THIS_USER, Author, Host, Log
from .printing import as_builtins, clean, document, note
from .session import looking, mending

if TYPE_CHECKING:
    from ...replay import Comparison, Reconciliation

Expected: TypeAlias = Annotated[
    str | None,
    Parameter(name="--plan", help="The digest of the plan that was shown: if it is another by now, nothing is done."),
]


def plan(*, log: Log = HERE, host: Host = THIS_HOST) -> int:
    """Show what `rebuild` would do, and the plan's digest; changes nothing.

    A line each: + made, - removed, ~ replaced. Status 40 when there is something to do.
    """
    from ...replay import plan as compare

    with looking(log, host) as controller:
        return _show(compare(controller), log, host, "rebuild")


def drift(*, log: Log = HERE, host: Host = THIS_HOST) -> int:
    """Show where the kernel has come to differ from the log; changes nothing.

    A line each: + missing, - not in the log, ~ altered. Status 40 when there is any.
    """
    from ...replay import drift as compare

    with looking(log, host) as controller:
        return _show(compare(controller), log, host, "repair")


def rebuild(*, plan: Expected = None, log: Log = HERE, host: Host = THIS_HOST, author: Author = THIS_USER) -> int:
    """Make the kernel what the log says, from whatever is there, and record that it was done."""
    from ...replay import rebuild as carry_out

    with mending(log, host, author) as controller:
        return _tell(carry_out(controller, actor=author.actor, reason=author.reason, expected=plan), log, "rebuilt")


def repair(*, plan: Expected = None, log: Log = HERE, host: Host = THIS_HOST, author: Author = THIS_USER) -> int:
    """Mend what `drift` shows, and record what was found and what was mended."""
    from ...replay import repair as carry_out

    with mending(log, host, author) as controller:
        return _tell(carry_out(controller, actor=author.actor, reason=author.reason, expected=plan), log, "repaired")


def _show(comparison: Comparison, log: Log, host: Host, mender: str) -> int:
    status = (DONE if comparison.agrees else DIFFERENT).status
    if log.json:
        document({**_builtins(comparison), "agrees": comparison.agrees})
        return status
    _print_lines(comparison)
    for key in comparison.dying:
        note(f"on its way out: {key}")
    if comparison.agrees:
        print("nothing to do: kernel and log agree")
    else:
        words = ["netledger", mender, "--plan", comparison.digest, *log.words, *host.words]  # it is another host's else
        print(f"{_count(comparison)}; to do it: {shlex.join(words)}")
    return status


def _tell(done: Reconciliation, log: Log, verb: str) -> int:
    status = (FAULT if done.faults else DONE).status
    if log.json:
        document({**_builtins(done.comparison), "agrees": done.comparison.agrees, "faults": list(done.faults)})
        return status
    _print_lines(done.comparison)
    for fault in done.faults:
        note(f"error: {fault}")
    if done.comparison.agrees:
        print("nothing to do: kernel and log agree")
    else:
        failed = f", {len(done.faults)} of them failed" if done.faults else ""
        print(f"{verb}: {_count(done.comparison)}{failed} (plan {done.comparison.digest})")
    return status


def _print_lines(comparison: Comparison) -> None:
    for text in comparison.lines:
        print(clean(text))
    for sandbox in comparison.lost:
        print(f"! sandbox {sandbox}: its namespace is gone or another one")
    for firewall in comparison.retiring:
        print(f"! firewall {firewall}: the host was moved from it, and its rules are still to be taken away")


def _count(comparison: Comparison) -> str:
    lost = f", {len(comparison.lost)} lost sandbox(es)" if comparison.lost else ""
    left = f", {len(comparison.retiring)} firewall(s) to take away" if comparison.retiring else ""
    return f"{len(comparison.lines)} kernel operation(s){lost}{left}"


def _builtins(comparison: Comparison) -> dict[str, object]:
    found = as_builtins(comparison)
    assert isinstance(found, dict), "a struct of fields by name"
    return found
