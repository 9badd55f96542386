"""The application: which command is where, and how every command ends.

Keeps: every end has a status of `exits.py`; an error is one line on stderr, and only a bug shows a traceback.
Must not know: what any command does. Nothing of the engine is loaded before a command needs it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from . import (
    addresses,
    asking,
    checking,
    doctor,
    endpoints,
    firewalls,
    logs,
    networks,
    reaching,
    reconciling,
    sandboxes,
    setkey,
    simulating,
    watching,
)
from .exits import BUG, CUT_OFF, DONE, EXITS, USAGE, UsageError, exit_of
from .printing import complain, table

app = App(
    name="netledger",
    help="Container networks as an append-only log of events, and a kernel that follows it.",
    help_format="plaintext",
    help_epilogue="What each exit status means: netledger help exit-codes",
    version=lambda: version("netledger"),
    default_parameter=Parameter(negative=(), show_default=False),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

for _group in (networks.app, endpoints.app, sandboxes.app, addresses.app, firewalls.app, logs.app):
    app.command(_group)
_COMMANDS: tuple[Callable[..., int], ...] = (
    reconciling.plan,
    reconciling.rebuild,
    reconciling.drift,
    reconciling.repair,
    watching.watch,
    reaching.reach,
    asking.who,
    logs.verify,
    checking.check,
    simulating.simulate,
    doctor.doctor,
    setkey.setkey,
)
for _command in _COMMANDS:
    app.command(_command)


@app.command
def tour() -> int:
    """Take the tour: what netledger does, shown on this machine without touching its network."""
    from . import tour as guided

    return guided.run()


@app.command(name="help")
def help_(*command: str) -> int:
    """Tell about a command; `help exit-codes` lists the exit statuses."""
    if command == ("exit-codes",):
        table(("status", "kind", "meaning"), EXITS)
    else:
        unknown = app.parse_commands(command)[2]
        if unknown:
            raise UsageError(f"there is no command {' '.join(command)!r} (see `netledger --help`)")
        app.help_print(command)
    return DONE.status


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        status: int | None = app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        complain(UsageError(f"{str(error).strip()} (see `netledger --help`)"), as_json=as_json)
        return USAGE.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered has nowhere to go
        return CUT_OFF.status
    except KeyboardInterrupt as interrupt:
        return exit_of(interrupt).status
    except BaseException as error:  # a bug, unless the table knows it
        if exit_of(error) is not BUG:
            complain(error, as_json=as_json)
        elif isinstance(error, Exception):
            traceback.print_exc()
            complain(error, as_json=as_json)
        else:
            raise
        return exit_of(error).status
    return status or DONE.status


def main() -> NoReturn:
    """Run the command line that this process was started with, and leave with its status."""
    sys.exit(run())
