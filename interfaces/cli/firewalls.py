"""`netledger firewall`: show, use.

Must not know: what any firewall programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from .exits import DONE, FAULT
from .options import HERE, THIS_HOST, THIS_USER, Author, Host, Log, Request
from .printing import as_builtins, document, fields
from .session import changing, reading

if TYPE_CHECKING:
    from ...engine.firewalls import FirewallState

NONE_YET = "none yet: the first command that changes the host takes the first of nftables and iptables that works"

app = App(name="firewall", help="The firewall that the host's networks are kept with: nftables, iptables or none.")


@app.default
def default(*, log: Log = HERE) -> int:
    """Tell which firewall the host has, why, and since when."""
    return show(log=log)


@app.command
def show(*, log: Log = HERE) -> int:
    """Tell which firewall the host has, why, and since when."""
    with reading(log) as controller:
        _print(controller.firewall.state(), log)
    return DONE.status


@app.command
def use(
    firewall: str,
    /,
    *,
    force: Annotated[
        bool, Parameter(help="Even if what the firewall before it has programmed cannot be taken away here.")
    ] = False,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Move the host to FIREWALL: nftables, iptables, none, or auto, its own, else the first that works.

    The new one's rules are put in place and read back, then the old one's are taken away; connections go on. Where that
    cannot be finished, status 20: the old rules stay, and a later command or `repair` finishes it.
    """
    from ...engine.firewalls import FirewallRequest

    wanted = FirewallRequest(firewall, force, author.reason, request)
    with changing(log, host, author, firewall=wanted) as controller:
        state = controller.firewall.state()
        _print(state, log)
    return (FAULT if state is not None and state.kept else DONE).status


def _print(state: FirewallState | None, log: Log) -> None:
    if log.json:
        document(as_builtins(state) if state is not None else None)
    elif state is None:
        print(NONE_YET)
    else:
        from .records import time_text

        why = f" ({state.reason})" if state.reason else ""
        fields(
            {
                "firewall": state.backend,
                "why": state.why,
                "since": f"position {state.position}, {time_text(state.at)}, by {state.actor}{why}",
                "to be taken away": state.retiring or None,
                "in the way of that": state.kept or None,
            }
        )
