"""Requests: who asked, and how the same request is known when it comes again.

Keeps: a request id with a place in its batch stands for one command; ids made for a named request are always the same.
Knows nothing of: what any command does.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
from typing import TypedDict

import msgspec
from msgspec import Struct

from ..domain.commands import Command
from ..domain.errors import Conflict, Invalid
from ..domain.events import Event, Recorded
from .surroundings import here

REQUEST_LIMIT = 128
REASON_LIMIT = 1024
ACTOR_LIMIT = 256
DIGEST_HEX_DIGITS = 16


class Asking(TypedDict, total=False):
    """Who asks (by default the operating system's user), why, and in which request (by default a new one)."""

    actor: str | None
    reason: str
    request: str | None


class Author(Struct, frozen=True):
    """Who asks, why, and in which request; `is_named` when the caller gave the request its id."""

    actor: str
    reason: str
    request: str
    is_named: bool

    def tag(self, index: int) -> str:
        """Tag the events of one command of the batch."""
        return f"request:{self.request}/{index}"

    def way(self, index: int, number: int) -> str:
        """Write what events keep of their request that make way for one command of the batch."""
        return f"{self.request}/{index}/way{number}"

    def undoing(self, index: int, reason: str = "") -> Author:
        """Make the author of what takes one command of the batch back."""
        return Author(self.actor, reason, f"{self.request}/{index}/undo", is_named=False)

    def field(self, index: int, command: Command) -> str:
        """Write what the events of one command keep of their request."""
        return f"{self.request}/{index}#{digest_of(command)}"


def author(actor: str | None, reason: str, request: str | None) -> Author:
    """Check who asks and why; without a request id, make one."""
    if request is not None and not _is_request_id(request):
        raise Invalid(f"request id {request!r}", f"not 1 to {REQUEST_LIMIT} printable characters without '#' and '/'")
    if len(reason) > REASON_LIMIT or not reason.isprintable():
        raise Invalid("reason", f"not at most {REASON_LIMIT} printable characters")
    if actor is not None and not (0 < len(actor) <= ACTOR_LIMIT and actor.isprintable()):
        raise Invalid(f"actor {actor!r}", f"not 1 to {ACTOR_LIMIT} printable characters")
    who = actor or operating_system_user(os.getuid())
    return Author(who, reason, request or here().token(8), request is not None)


def _is_request_id(text: str) -> bool:
    return 0 < len(text) <= REQUEST_LIMIT and text.isprintable() and not set("#/") & set(text)


@functools.cache  # reading the password database takes longer than deciding a command
def operating_system_user(user: int) -> str:
    """Name the user that this process runs as, who has this number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in the password database (Python before 3.13 raises KeyError)
        return f"uid {user}"


def new_id(request: str | None, subject: str) -> str:
    """Make a 64-hex id: random, or for a named request always the same."""
    if request is None:
        return here().token(32)
    return hashlib.sha256(f"{request}/{subject}".encode()).hexdigest()


def digest_of(command: Command) -> str:
    """Hash a command, by which a repeated request is told from another with the same id."""
    return hashlib.sha256(msgspec.msgpack.encode(command, order="deterministic")).hexdigest()[:DIGEST_HEX_DIGITS]


def is_repetition(earlier: list[Recorded[Event]], wanted: str, asked: str) -> bool:
    """Tell whether the events of an earlier request are this one's; refuse when its id was another command's."""
    if not earlier:
        return False
    first = earlier[0]
    if first.event.request != wanted:
        raise Conflict(
            asked,
            f"request id {wanted.partition('/')[0]!r} was another command's",
            "use a new request id",
            position=first.position,
        )
    return True
