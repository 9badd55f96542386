"""`netledger watch`: own the host, hold its published ports, and mend what others change as it happens.

Must not know: how a change is noticed or mended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...domain.errors import Invalid
from .exits import DONE
from .options import HERE, THIS_HOST, THIS_USER, Author, Host, Log
from .printing import as_builtins, clean, line, note
from .session import changing

if TYPE_CHECKING:
    from ...engine.watching import Finding

SHORTEST_PERIOD_SECONDS = 0.1


def watch(
    *,
    repair: Annotated[bool, Parameter(negative="--no-repair", help="Mend what is found; else only record it.")] = True,
    period: Annotated[float, Parameter(help="Seconds between two comparisons when nothing is noticed.")] = 10.0,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
) -> int:
    """Watch the host until Ctrl-C: hold the published ports, and mend what somebody else changes, as it happens.

    Prints what is found, a line each: + was missing, - was not in the log, ~ was altered. It is in the log, too, with
    what was noticed as the reason. While it runs, this process owns the host: other commands that change it wait.
    """
    from ...engine.reconcile import no_kernel
    from ...engine.watching import keep_watch

    if period < SHORTEST_PERIOD_SECONDS:
        raise Invalid(f"watch with a period of {period} seconds", "too short", "give 0.1 or more")
    if host.dataplane_name == "none":
        raise no_kernel("watch the host")
    with changing(log, host, author, hold_ports=True) as controller, _until_told() as stop:
        note("watching; end with Ctrl-C")
        for finding in keep_watch(controller, stop, mend=repair, period_seconds=period, actor=author.actor or "watch"):
            _tell(finding, log)
    return DONE.status


def _tell(finding: Finding, log: Log) -> None:
    if log.json:
        line(as_builtins(finding))
        return
    what = "mended" if finding.is_mended else "found"
    print(clean(f"{what}, {_occasion(finding)}"), flush=True)
    for text in finding.comparison.lines:
        print(clean(f"  {text}"), flush=True)
    for sandbox in finding.comparison.lost:
        print(f"  ! sandbox {sandbox}: its namespace is gone or another one", flush=True)
    for firewall in finding.comparison.retiring:
        print(f"  ! firewall {firewall}: the host was moved from it, and its rules were still there", flush=True)
    for fault in finding.faults:
        note(f"error: {fault}")


def _occasion(finding: Finding) -> str:
    """Say why the host was looked at."""
    if finding.noticed:
        return f"having noticed: {'; '.join(finding.noticed)}"
    when = "at the start" if finding.occasion == "start" else "now and then"
    return f"having compared the host with the log {when}:"


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set: the end of a watch is no interruption of anything."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
