"""Where a process dies: every named point, and how it is brought to die there.

A point is before or after a call. What is called is patched in the doomed process alone; a function that is renamed
in the engine has to be renamed in the table here.
"""

from __future__ import annotations

import importlib
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LINUX = "netledger.dataplanes.linux"

CALLS = {
    # The engine and the log.
    "append": "netledger.ledger.ledger:Ledger.append",
    "cursor": "netledger.engine.machine:Machine.keep_cursor",
    "advance": "netledger.dataplanes.subscriber:Subscriber.advance",
    "BEGIN": "netledger.ledger.sqlite_file:begin",
    "INSERT INTO events": "sqlite",
    "INSERT INTO tags": "sqlite",
    "INSERT INTO cursors": "sqlite",
    "COMMIT": "sqlite",
    # The dataplane, and the phases of its executor.
    "apply": f"{LINUX}.dataplane:LinuxDataplane.apply",
    "execute": f"{LINUX}.dataplane:execute",
    "change_elements": f"{LINUX}.executor:change_elements",
    "strip_devices": f"{LINUX}.executor:strip_devices",
    "park": f"{LINUX}.executor:park",
    "drop_namespaces": f"{LINUX}.executor:drop_namespaces",
    "remove_bridges": f"{LINUX}.executor:remove_bridges",
    "remove_firewall": f"{LINUX}.executor:remove_firewall",
    "make_sysctls": f"{LINUX}.executor:make_sysctls",
    "make_firewall": f"{LINUX}.executor:make_firewall",
    "make_bridges": f"{LINUX}.executor:make_bridges",
    "make_room": f"{LINUX}.executor:make_room",
    "make_pairs": f"{LINUX}.executor:make_pairs",
    "furnish": f"{LINUX}.executor:furnish",
    # Within a phase.
    "reserve a file": f"{LINUX}.rooms:reserve",
    "bind": f"{LINUX}.rooms:bind",
    "unlink": "os:unlink",
    "dress pairs": f"{LINUX}.pairs:_dress",
    "set up container ends": f"{LINUX}.interiors:_set_up",
    "bridge message": f"{LINUX}.hostside:_ask",
    "netlink batch": f"{LINUX}.netlink:Conversation.exchange",
    "firewall batch": f"{LINUX}.firewall.nfnetlink:Netfilter._transact",
    "nft": f"{LINUX}.firewall.libnftables:Nftables.run",
    # When nobody waits.
    "reap": f"{LINUX}.dataplane:reap",
    "prepare_room": f"{LINUX}.dataplane:prepare_room",
    # A move to another firewall.
    "use a firewall": f"{LINUX}.dataplane:LinuxDataplane.use_firewall",
    "retire a firewall": f"{LINUX}.dataplane:LinuxDataplane.retire",
    # The start of a state directory.
    "take the lock": "netledger.ledger.state:HostLock.__init__",
    "make the log": "netledger.ledger.sqlite_file:create",
    "publish the log": "netledger.ledger.sqlite_file:publish",
    "fold the log": "netledger.engine.opening:_assemble",
    "register the host": "netledger.engine.opening:_make_good",
    # The end.
    "close the dataplane": f"{LINUX}.dataplane:LinuxDataplane.close",
    "flush cursors": "netledger.ledger.sqlite:SQLiteRecorder.flush_cursors",
    "close the log": "netledger.ledger.sqlite:SQLiteRecorder.close",
    "release the lock": "netledger.ledger.state:HostLock.release",
}
SIDES = ("before", "after")

AT_THE_START = frozenset({"take the lock", "make the log", "publish the log", "fold the log", "register the host"})
"""What only opening comes by."""

ONLY_AT_A_MOVE = frozenset({"use a firewall", "retire a firewall"})
"""What nothing but moving to another firewall comes by."""

AT_A_MOVE = ("COMMIT", "use a firewall", "make_firewall", "retire a firewall")
"""What such a move comes by, in its order, as far as it matters to it."""

AT_THE_END = frozenset({"close the dataplane", "flush cursors", "close the log", "release the lock"})
"""What only closing comes by."""

QUIET_SECONDS = {"reap": 0.07, "prepare_room": 0.01}
"""What is done when nobody waits, and how long that has to last."""

RARE = frozenset({"make_firewall", "make_sysctls", "remove_firewall", "nft", "reap"})
"""What is reached by work that takes away more than it makes: when the last network goes or the first one comes."""

MANY = {"netlink batch": 24, "firewall batch": 4} | dict.fromkeys(AT_THE_END | RARE, 1)
"""Out of so many the call that is died at is drawn, where not out of two."""

BEHIND = frozenset(
    {("append", "after"), ("COMMIT", "after"), ("advance", "before"), ("apply", "before"), ("execute", "before")}
)
"""Here an operation is in the log and not in the kernel: if it changes anything there, the next start says so."""

UNCOMMITTED = frozenset(
    {("append", "before"), ("COMMIT", "before")}
    | {(call, side) for call in ("BEGIN", "INSERT INTO events", "INSERT INTO tags") for side in SIDES}
)
"""Here an operation is not in the log, and never will be."""


@dataclass(frozen=True)
class Point:
    """Die before or after a call, the `occurrence`th time."""

    call: str
    side: str
    occurrence: int = 1

    @property
    def name(self) -> str:
        """Which point it is, whatever the occurrence."""
        return f"{self.side} {self.call}"

    def __str__(self) -> str:
        return f"{self.name} number {self.occurrence}"


class Trap:
    """Kills this process when an armed point is reached."""

    def __init__(self, point: Point | None) -> None:
        self._point = point
        self._reached = 0
        self._is_armed = False
        self._lock = threading.Lock()

    @property
    def is_at_the_end(self) -> bool:
        """Whether only closing comes by the point."""
        return self._point is not None and self._point.call in AT_THE_END

    @property
    def quiet_seconds(self) -> float:
        """How long a pause has to be for the point to be reached in it; 0 where it needs none."""
        return QUIET_SECONDS.get(self._point.call, 0.0) if self._point is not None else 0.0

    @property
    def mood(self) -> str:
        """What the work has to be like for the point to be reached soon; empty where that does not matter."""
        return "shrink" if self._point is not None and self._point.call in RARE else ""

    def arm(self) -> None:
        """Begin to count."""
        self._is_armed = True

    def set(self) -> None:
        """Patch what the point names."""
        if self._point is None:
            return
        target = CALLS[self._point.call]
        if target == "sqlite":
            self._patch_sqlite(self._point.call)
        else:
            module, _, path = target.partition(":")
            owner: Any = importlib.import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, called: Callable[..., Any]) -> Callable[..., Any]:
        def doomed(*arguments: Any, **options: Any) -> Any:
            if any(isinstance(argument, list) and not argument for argument in arguments):
                return called(*arguments, **options)  # a phase without anything to do
            self._pass("before")
            result = called(*arguments, **options)
            self._pass("after")
            return result

        return doomed

    def _pass(self, side: str) -> None:
        with self._lock:
            if not self._is_armed or self._point is None or side != self._point.side:
                return
            self._reached += 1
            if self._reached == self._point.occurrence:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def _patch_sqlite(self, statement: str) -> None:
        around = self._around

        class Doomed(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> Any:
                called = super().execute
                return (around(called) if sql.startswith(statement) else called)(sql, *arguments)

            def executemany(self, sql: str, rows: Any) -> Any:
                called = super().executemany
                return (around(called) if sql.startswith(statement) else called)(sql, iter(rows))

        connect = sqlite3.connect
        sqlite3.connect = lambda *arguments, **options: connect(*arguments, **options, factory=Doomed)
