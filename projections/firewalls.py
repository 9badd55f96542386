"""Which firewall backend each host's dataplane programs, and which ones before it still have rules there: a fold.

Keeps: a backend that was left is to be taken away until the log says that it was, or that it was chosen again.
Knows nothing of: rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.events import FirewallChosen, FirewallRetired, Recorded
from ..domain.values import HostId, Position
from .journal import Handlers, Journal, with_those_that_hold


class Firewalls:
    """Hosts' firewall backends."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.chosen: dict[HostId, Recorded[FirewallChosen]] = {}
        self.retiring: dict[tuple[HostId, str], Position] = {}
        """Whose rules are still to be taken away, and since when, that of the first move first."""
        self.handlers: Handlers = {FirewallChosen: self._chosen, FirewallRetired: self._retired}

    def tables(self) -> dict[str, Mapping[Any, object]]:
        """Name everything that this view holds, for its digest."""
        return with_those_that_hold({}, {"chosen": self.chosen, "retiring": self.retiring})

    def _chosen(self, position: Position, event: FirewallChosen) -> None:
        before = self.chosen.get(event.host)
        self._journal.discard(self.retiring, (event.host, event.backend))
        if before is not None and before.event.backend != event.backend:
            self._journal.put(self.retiring, (event.host, before.event.backend), position)
        self._journal.put(self.chosen, event.host, Recorded(position, event))

    def _retired(self, _: Position, event: FirewallRetired) -> None:
        self._journal.discard(self.retiring, (event.host, event.backend))
