"""Firewalls of hosts, and those that they were moved from."""

from __future__ import annotations

from ...domain import events as ev
from .checker import Checker, require


class Firewalls(Checker):
    """The firewall of a host."""

    name = "firewalls"
    invariant = "A firewall's rules are taken away once for each time that a host is moved from it to another."

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[str, str] = {}
        self._left: dict[str, set[str]] = {}

    def firewall_chosen(self, event: ev.FirewallChosen) -> None:
        left = self._left.setdefault(event.host, set())
        left |= {self._chosen.get(event.host, event.backend)}
        left.discard(event.backend)
        self._chosen[event.host] = event.backend

    def firewall_retired(self, event: ev.FirewallRetired) -> None:
        require(event.backend != self._chosen.get(event.host), "the host has it")
        require(event.backend in self._left.get(event.host, set()), "the host was not moved from it since")
        self._left[event.host].remove(event.backend)
