"""Removing several things of a kind as one batch, for each kind's `rm`.

Keeps: one that cannot be found or removed does not disturb the others. Must not know: which kind it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...domain.errors import NetledgerError, NotFound
from .options import Author, Host, Log
from .printing import complain, document
from .session import carry_out, changing, status_of

if TYPE_CHECKING:
    from ...domain.commands import Command
    from ...engine.controller import Controller

_WHOLE_ID = re.compile(r"[0-9a-f]{64}")


def remove(
    names: Sequence[str],
    find: Callable[[Controller, str], str],
    delete: Callable[[str], Command],
    *,
    log: Log,
    host: Host,
    author: Author,
    request: str | None,
) -> int:
    """Delete what the names stand for, as one batch, and print the names of what is gone."""
    with changing(log, host, author) as controller:
        found: list[tuple[str, str]] = []
        errors: list[NetledgerError] = []
        for name in names:
            try:
                found.append((name, _find(controller, name, find)))
            except NetledgerError as error:
                errors.append(error)
                complain(error, as_json=log.json)
        results = carry_out(controller, [delete(identity) for _, identity in found], log, author, request)
    gone = [pair for pair, result in zip(found, results, strict=True) if result.error is None]
    if log.json:
        document([{"name": name, "id": identity} for name, identity in gone])
    else:
        for name, _ in gone:
            print(name)
    return status_of(results, errors)


def _find(controller: Controller, name: str, find: Callable[[Controller, str], str]) -> str:
    """Find an id; a whole one goes through as it is, so that a request can be repeated when the thing is gone."""
    try:
        return find(controller, name)
    except NotFound:
        if _WHOLE_ID.fullmatch(name):
            return name
        raise
