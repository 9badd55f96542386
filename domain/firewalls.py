"""Which firewall backend a host's dataplane programs: asked for by name, or found out.

Keeps: a host keeps its backend until another is chosen, and one that cannot be used there is not; a backend whose rules
could not be taken away is not left, unless somebody insists, or the one before it, which is still there, is taken back.
Knows nothing of: rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from .commands import ChooseFirewall, RetireFirewall
from .decision import Context, Decision, Guard
from .errors import Invalid, Unavailable
from .events import Event, FirewallChosen, FirewallRetired, Recorded
from .values import HostId
from .view import View

AUTO = "auto"
FIREWALLS = ("nftables", "iptables", "none")
AUTOMATIC = ("nftables", "iptables")
"""What `auto` chooses from, the first that works; never none, since that protects nothing."""


def check_firewall(asked: str) -> None:
    """Refuse a firewall that there is not."""
    if asked not in {AUTO, *FIREWALLS}:
        raise Invalid(f"firewall {asked!r}", "unknown", f"known: {', '.join(FIREWALLS)}, {AUTO}")


def candidates(view: View, host: HostId, asked: str) -> tuple[str, ...]:
    """List what may be chosen, the first that works: `auto` stays with what the host has."""
    if asked != AUTO:
        return (asked,)
    chosen = view.firewall(host)
    own = (chosen.event.backend,) if chosen is not None else ()
    return tuple(dict.fromkeys((*own, *AUTOMATIC)))


def programmed(view: View, host: HostId) -> tuple[str, ...]:
    """List the backends that may have rules on a host, the one in use last."""
    chosen = view.firewall(host)
    return (*view.retiring(host), *((chosen.event.backend,) if chosen is not None else ()))


def why(event: FirewallChosen) -> str:
    """Say why a host has the backend that it has."""
    if event.asked != AUTO:
        return "asked for"
    return "; ".join(("the first that works", *(f"not {name}: {lack}" for name, lack in event.lacking.items())))


def choose_firewall(view: View, command: ChooseFirewall, context: Context) -> Decision:
    """Decide which backend a host has; nothing when it is so already."""
    check_firewall(command.asked)
    if command.asked == AUTO and command.lacking is None:
        raise Unavailable(f"use the firewall {AUTO}", "nobody has looked which one works on this host", "name one")
    origin = context.origin
    before = view.firewall(origin.host)
    lacking = command.lacking or {}
    passed = _before_the_first_that_works(view, origin.host, command.asked, lacking)
    backend = next((name for name in candidates(view, origin.host, command.asked) if name not in passed), "")
    if not backend:
        if before is None or before.event.asked != command.asked:
            raise _nothing_works(command.asked, passed)
        backend = before.event.backend  # as it was asked for before, and it stays
    is_back = before is not None and backend != before.event.backend and backend in view.retiring(origin.host)
    if before is not None and not command.force and not is_back:
        _check_can_be_left(before, backend, lacking)
    events: list[Event] = []
    if before is None or (before.event.backend, before.event.asked) != (backend, command.asked):
        events.append(FirewallChosen(*origin, backend=backend, asked=command.asked, lacking=passed))
    if command.force:
        others = [name for name in programmed(view, origin.host) if name != backend and lacking.get(name)]
        events += [FirewallRetired(*origin, backend=name, left=lacking[name]) for name in others]
    return Decision(tuple(events), (Guard((f"host:{origin.host}",), (FirewallChosen, FirewallRetired)),))


def retire_firewall(view: View, command: RetireFirewall, context: Context) -> Decision:
    """Decide that a backend's rules are gone; nothing where they are not to go any more."""
    origin = context.origin
    if command.backend not in view.retiring(origin.host):
        return Decision(())
    event = FirewallRetired(*origin, backend=command.backend, left="")
    return Decision((event,), (Guard((f"host:{origin.host}",), (FirewallChosen, FirewallRetired)),))


def _check_can_be_left(before: Recorded[FirewallChosen], backend: str, lacking: Mapping[str, str]) -> None:
    """Refuse to leave a backend whose rules would stay for good."""
    name = before.event.backend
    if name != backend and lacking.get(name):
        raise Unavailable(
            f"take the firewall {backend} instead of {name}",
            f"what {name} has programmed cannot be taken away here: {lacking[name]}",
            f"make {name} work once more, or keep it; or insist (--force), where nothing of it can be left",
            position=before.position,
        )


def _before_the_first_that_works(view: View, host: HostId, asked: str, lacking: Mapping[str, str]) -> dict[str, str]:
    """Say of the candidates that cannot be used why; of none behind the first one that can."""
    passed: dict[str, str] = {}
    for name in candidates(view, host, asked):
        if not lacking.get(name):
            break
        passed[name] = lacking[name]
    return passed


def _nothing_works(asked: str, passed: Mapping[str, str]) -> Unavailable:
    told = "; ".join(f"{name}: {lack}" for name, lack in passed.items())
    because = f"none works here: {told}" if asked == AUTO else f"it does not work here: {passed[asked]}"
    return Unavailable(f"use the firewall {asked}", because, "see `netledger doctor`, or ask for another")
