"""Driver options: labels as text in, one typed Struct out.

Keeps: an unknown label or an ill-typed value is refused with the labels that are known.
Knows nothing of: what any option means.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from .errors import Invalid
from .events import OptionValue
from .values import TEXT_LIMIT, check_text

OptionsT = TypeVar("OptionsT", bound=Struct)

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


def parse_options(kind: type[OptionsT], given: Mapping[str, OptionValue], asked: str) -> OptionsT:
    """Read a driver's options; booleans and numbers may be text, as Docker's clients send them (Go's ParseBool)."""
    fields = _types_by_label(kind)
    for label in given:
        if label not in fields:
            raise Invalid(asked, f"unknown option {label!r}", f"known: {', '.join(sorted(fields)) or 'none'}")
    values = {label: _typed(fields[label], label, value, asked) for label, value in given.items()}
    return msgspec.convert(values, kind)


def _typed(wanted: object, label: str, value: OptionValue, asked: str) -> OptionValue:
    text = check_text(f"option {label}:", str(value), TEXT_LIMIT)
    if wanted is bool:
        if isinstance(value, bool) or text in _TRUE | _FALSE:
            return value if isinstance(value, bool) else text in _TRUE
        raise Invalid(asked, f"option {label}={text!r} is not a boolean", "write true or false")
    if wanted is int:
        if not isinstance(value, bool) and text.isascii() and text.isdigit():
            return int(text)
        raise Invalid(asked, f"option {label}={text!r} is not a whole number from 0")
    if isinstance(value, str):
        return value
    raise Invalid(asked, f"option {label}={text!r} is not text")


def options_as_labels(options: Struct) -> dict[str, OptionValue]:
    """Write options, defaults included, by their labels: the form in which an event keeps them."""
    return {label: getattr(options, name) for label, name in _names_by_label(type(options)).items()}


@functools.cache
def _types_by_label(kind: type[Struct]) -> Mapping[str, object]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


@functools.cache
def _names_by_label(kind: type[Struct]) -> Mapping[str, str]:
    return {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
