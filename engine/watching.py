"""Keeping watch: the host is compared with its log when the kernel tells of a change, and now and then; and mended.

Keeps: what is found and what is mended are events, with what was noticed as their reason; a host that somebody keeps
changing is mended less and less often. Knows nothing of: how a change is noticed, how a difference is mended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from enum import StrEnum

from msgspec import Struct

from ..dataplanes.contract import Noticed, Watch
from ..domain.errors import DataplaneFault
from ..domain.events import DriftDetected
from .controller import Controller
from .reconcile import Comparison, compare, no_kernel, repair
from .requests import REASON_LIMIT, author
from .surroundings import here

PERIOD_SECONDS = 10.0
"""Between two comparisons when nothing is told: legacy iptables and most settings are changed in silence."""
PAUSE_LEAST_SECONDS = 0.25
PAUSE_MOST_SECONDS = 60.0
CALM_SECONDS = 60.0
"""After so long without a difference, the next one is mended at once again."""
LISTEN_SECONDS = 0.25
"""How long a request to stop may have to wait."""
WORDS_AT_MOST = 8


class Occasion(StrEnum):
    """Why the host was looked at: the watch began, something was noticed, or nothing was for a while."""

    START = "start"
    NOTICE = "notice"
    PERIOD = "period"


WHY = {Occasion.START: "compared at the start of a watch", Occasion.PERIOD: "found by comparing"}
"""The reason in the log, where nothing was noticed."""


class Finding(Struct, frozen=True):
    """What one look found: what was noticed before it, how the host differed, and what could not be mended."""

    noticed: tuple[str, ...]
    comparison: Comparison
    is_mended: bool
    faults: tuple[str, ...] = ()
    occasion: Occasion = Occasion.PERIOD


class Patience(Struct):
    """When the next look may be: later each time that the host was found changed again soon."""

    pause_seconds: float = PAUSE_LEAST_SECONDS
    next_at: float = 0.0
    calm_from: float = float("-inf")

    def found(self, now: float) -> None:
        """Take note that there was a difference."""
        is_again = now - self.calm_from < CALM_SECONDS
        self.pause_seconds = min(self.pause_seconds * 2, PAUSE_MOST_SECONDS) if is_again else PAUSE_LEAST_SECONDS
        self.calm_from = self.next_at = now + self.pause_seconds

    def agreed(self, now: float) -> None:
        """Take note that there was none."""
        self.next_at = now + PAUSE_LEAST_SECONDS


def keep_watch(
    controller: Controller,
    stop: threading.Event,
    *,
    mend: bool = True,
    period_seconds: float = PERIOD_SECONDS,
    actor: str = "watch",
) -> Iterator[Finding]:
    """Compare the host with its log as changes happen, until `stop` is set; yield what is found, as it is found.

    With `mend` each difference is recorded (DriftDetected), mended in one go and recorded again (DriftRepaired);
    without, it is recorded once for as long as it stays the same. To be run in a thread of the caller's own; the
    controller may be used meanwhile. Raises `Unavailable` where there is no dataplane.
    """
    patience = Patience()
    known = ""
    with closing(_listen(controller)) as watch:
        noticed: dict[str, None] = {}
        due = time.monotonic()
        occasion = Occasion.START
        while not stop.is_set():
            now = time.monotonic()
            if (noticed or now >= due) and now >= patience.next_at:
                if noticed and occasion is not Occasion.START:
                    occasion = Occasion.NOTICE
                finding = _look(controller, occasion, tuple(noticed), known, mend=mend, actor=actor)
                noticed.clear()
                occasion = Occasion.PERIOD
                due = time.monotonic() + period_seconds
                if finding is None:
                    patience.agreed(time.monotonic())
                    known = ""
                    continue
                patience.found(time.monotonic())
                is_news = mend or finding.faults or finding.comparison.digest != known
                if not finding.faults:
                    known = finding.comparison.digest
                if is_news:
                    yield finding
                continue
            wake_at = patience.next_at if noticed else max(due, patience.next_at)
            told = watch.wait(min(LISTEN_SECONDS, max(0.0, wake_at - now)))
            noticed.update(dict.fromkeys(_relevant(controller, told)))


def _listen(controller: Controller) -> Watch:
    with controller.working() as machine:
        if machine.dataplane is None:
            raise no_kernel("watch the host")
        return machine.dataplane.watch()


def _relevant(controller: Controller, told: Sequence[Noticed]) -> list[str]:
    """Leave out what is about interfaces that nothing calls for: what is taken away dies in its own time."""
    with controller.reading() as views:
        host = controller.host
        return [each.what for each in told if not each.device or views.device_holder(host, each.device) is not None]


def _look(
    controller: Controller, occasion: Occasion, noticed: tuple[str, ...], known: str, *, mend: bool, actor: str
) -> Finding | None:
    """Compare once, and mend; None where host and log agree."""
    words = noticed[:WORDS_AT_MOST]
    reason = "; ".join(words)[:REASON_LIMIT] if words else WHY[occasion]
    try:
        if mend:
            done = repair(controller, actor=actor, reason=reason)
            if done.comparison.agrees:
                return None
            return Finding(noticed, done.comparison, not done.faults, done.faults, occasion)
        comparison = compare(controller)
        if comparison.agrees:
            return None
        if comparison.digest != known:
            _record(controller, comparison, actor, reason)
        return Finding(noticed, comparison, is_mended=False, occasion=occasion)
    except DataplaneFault as fault:  # the kernel could not be read, or changed too fast: the next look is soon enough
        nothing = Comparison((), "", (), ())
        return Finding(noticed, nothing, is_mended=False, faults=(str(fault),), occasion=occasion)


def _record(controller: Controller, comparison: Comparison, actor: str, reason: str) -> None:
    with controller.working() as machine:
        origin = machine.origin(author(actor, reason, None), here().now())
        machine.record([DriftDetected(*origin, differences=comparison.lines)])
