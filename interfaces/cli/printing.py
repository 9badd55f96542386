"""Printing: text and tables for people, JSON for programs, errors on stderr.

Keeps: what was asked for goes to stdout, everything else to stderr; colour only on a terminal and without NO_COLOR;
no text from a log reaches a terminal as a control sequence. Must not know: what any of it means.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ...domain.errors import DataplaneFault, LedgerDamaged, Refusal
from .exits import exit_of, lacks_permission

if TYPE_CHECKING:
    from msgspec import Struct
    from rich.console import Console
    from rich.text import Text

UNBOUNDED_COLUMNS = 10_000
"""Of a line that goes to a file or a pipe: nothing is wrapped or cut there."""

ID_SHOWN = 12

Cell = str | int | Sequence[str]
Value = Cell | Mapping[str, object] | None


def clean(text: str) -> str:
    """Make a text printable: control characters are written out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def console(file: TextIO | None = None) -> Console:
    """Make a console that prints texts as they are."""
    from rich.console import Console

    file = file or sys.stdout
    width = None if file.isatty() else UNBOUNDED_COLUMNS
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows below headings; several values of one cell stand below each other on a terminal."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.upper(), overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    _print(made)


def fields(values: Mapping[str, Value]) -> None:
    """Print names and values, a line each; a value that is empty is left out."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = tuple(f"{key}={_plain(inner)}" for key, inner in value.items())  # noqa: PLW2901  # now a cell
        if value not in (None, "", ()):
            made.add_row(name, _cell(value, "\n"))
    _print(made)


def shown(info: Struct) -> dict[str, Value]:
    """Name the values of an info struct as `fields` takes them."""
    import msgspec

    values = msgspec.structs.asdict(info)
    return {name: ("yes" if value else "no") if isinstance(value, bool) else value for name, value in values.items()}


def as_builtins(info: Struct) -> object:
    """Turn an info struct into what JSON knows."""
    import msgspec

    return msgspec.to_builtins(info)


def document(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def line(value: object) -> None:
    """Print one JSON document on one line, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def note(text: str) -> None:
    """Say something on stderr that was not asked for."""
    print(clean(text), file=sys.stderr, flush=True)


def complain(error: BaseException, *, as_json: bool) -> None:
    """Say on stderr, in one line each, what stopped a command."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            complain(inner, as_json=as_json)
        return
    message = _message(error)
    if as_json:
        print(json.dumps({"error": _explained(error, message)}, ensure_ascii=False), file=sys.stderr, flush=True)
        return
    styled = _styled("error: ", "bold red")
    styled.append(clean(message), style="default")
    console(sys.stderr).print(styled, soft_wrap=True)


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split("\n"))
    if isinstance(error, PermissionError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if lacks_permission(error):
        return f"{text}; run it as root, or as the user that the state directory belongs to"
    return text or type(error).__name__


def _explained(error: BaseException, message: str) -> dict[str, object]:
    known = exit_of(error)
    position = getattr(error, "position", None) if isinstance(error, (Refusal, DataplaneFault, LedgerDamaged)) else None
    return {
        "kind": known.kind,
        "status": known.status,
        "asked": error.asked if isinstance(error, Refusal) else None,
        "because": error.because if isinstance(error, Refusal) else None,
        "remedy": (error.remedy or None) if isinstance(error, Refusal) else None,
        "position": position or None,
        "message": message,
    }


def _cell(value: Cell, separator: str = ", ") -> str:
    if isinstance(value, int):
        return str(value)
    return clean(value) if isinstance(value, str) else separator.join(clean(text) for text in value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _styled(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _print(made: object) -> None:
    from io import StringIO

    if sys.stdout.isatty():
        console().print(made)
        return
    held = StringIO()  # rich pads the last column of every line
    console(held).print(made)
    for text in held.getvalue().splitlines():
        print(text.rstrip())
