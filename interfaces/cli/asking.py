"""`netledger who`: who held an address, MAC address, port or name, when, and by whose doing.

Keeps: the log is only read, while others write it, and none of it is folded into views. Must not know: how it is found.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...domain.errors import Invalid
from .exits import DONE
from .options import HERE, Log
from .session import reading_log

if TYPE_CHECKING:
    from ...ledger.ledger import Ledger
    from ...replay.who import Window

TIMES = "2026-05-03T14:02Z, a date, '2 hours ago', or @POSITION"


def who(  # noqa: PLR0913  # each option by its name
    address: str = "",
    /,
    *,
    mac: Annotated[str, Parameter(help="A MAC address, instead of ADDRESS.")] = "",
    port: Annotated[str, Parameter(help="A published port of a host, like 8080/tcp, or 8080 of any protocol.")] = "",
    name: Annotated[str, Parameter(help="A name of networks, endpoints (aliases too) or containers.")] = "",
    at: Annotated[str, Parameter(help=f"Only who held it then: {TIMES}.")] = "",
    from_: Annotated[str, Parameter(name="--from", help="Only who held it then or later.")] = "",
    to: Annotated[str, Parameter(help="Only who held it then or earlier.")] = "",
    csv: Annotated[bool, Parameter(help="Print CSV: a row for each stay in a sandbox.")] = False,
    log: Log = HERE,
) -> int:
    """Tell who held ADDRESS, and when: endpoint, sandbox, container, and who did it, with positions of the log.

    A time means the state after the last event that was not later, in log order; @N the state after position N. A date
    is its beginning in UTC. Without --at, --from and --to, everybody who ever held it is told.
    """
    from . import tenures

    subjects = [text for text in (address, mac, port, name) if text]
    if len(subjects) != 1:
        named = f"{len(subjects)} things are named" if subjects else "nothing is named"
        raise Invalid("ask who held something", named, _ONE_THING)
    if csv and log.json:
        raise Invalid("print CSV and JSON", "it is one or the other", "leave --csv or --json out")
    if at and (from_ or to):
        raise Invalid(f"--at {at} with --from or --to", "it is one or the other", "leave --at out")
    with reading_log(log) as ledger:
        from ...replay.who import who_had_address, who_had_mac, who_had_name, who_had_port

        window = _window(ledger, at, from_, to)
        if mac:
            answer = who_had_mac(ledger, mac, window)
        elif port:
            answer = who_had_port(ledger, port, window)
        elif name:
            answer = who_had_name(ledger, name, window)
        else:
            answer = who_had_address(ledger, address, window)
        if log.json:
            tenures.print_json(answer)
        elif csv:
            tenures.print_csv(answer)
        else:
            tenures.print_text(answer)
    return DONE.status


_ONE_THING = "name an address, or one of --mac, --port and --name"


def _window(ledger: Ledger, at: str, first: str, last: str) -> Window | None:
    """Read which part of the log is asked about; None for all of it."""
    from ...domain.values import NOWHERE
    from ...replay.moments import Moment, find_moment
    from ...replay.who import Window

    if not (at or first or last):
        return None
    now, head = time.time_ns(), ledger.head
    if at:
        moment = find_moment(ledger, at, now, head)
        return Window(moment, moment)
    begin = find_moment(ledger, first, now, head) if first else Moment(NOWHERE)
    end = find_moment(ledger, last, now, head) if last else Moment(head)
    if end.position < begin.position or (begin.at is not None and end.at is not None and end.at < begin.at):
        raise Invalid(f"--from {first} --to {last}", "it ends before it begins", "exchange them")
    return Window(begin, end)
