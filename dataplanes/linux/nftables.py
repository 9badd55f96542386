"""The firewall's skeleton: loaded from a text file that a person can review, and compared with what the kernel lists.

Works through libnftables, by ctypes: one long-lived handle, no process. Keeps: making it replaces the whole table with
every element in one transaction; other tables are never named. Must not know: what the elements mean, plans.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from .elements import FirewallElement, elements_of, in_words
from .nfnetlink import check_access

LIBRARY = "libnftables.so.1"
REMEDY = "install libnftables (Debian, Ubuntu: apt install libnftables1; Fedora: dnf install nftables-libs)"

OUTPUT_JSON, OUTPUT_TERSE = 1 << 4, 1 << 11
"""Terse listings leave out what is in sets."""

Listing: TypeAlias = tuple[str, ...]
"""What the kernel lists of a table, without handles and elements: one canonical JSON text for each thing."""

_ERRORS = {
    "Operation not permitted": errno.EPERM,
    "No such file or directory": errno.ENOENT,
    "File exists": errno.EEXIST,
    "Device or resource busy": errno.EBUSY,
    "Operation not supported": errno.EOPNOTSUPP,
    "Too many open files": errno.EMFILE,
    "Cannot allocate memory": errno.ENOMEM,
    "No buffer space available": errno.ENOBUFS,
}


class Nftables:
    """A libnftables handle; of the namespace that the calling thread is in when it is made."""

    def __init__(self) -> None:
        """Open the handle; OSError when the library is missing."""
        self._library = _load()
        check_access()  # without a socket the library ends the process; without permission it prints
        self._handle = self._library.nft_ctx_new(0)
        if not self._handle:
            raise OSError(errno.ENOMEM, "libnftables gave no handle")
        self._library.nft_ctx_buffer_output(self._handle)
        self._library.nft_ctx_buffer_error(self._handle)

    def run(self, commands: str) -> str:
        """Carry out commands in nft's own language, in one transaction; return what they print."""
        status = self._library.nft_run_cmd_from_buffer(self._handle, commands.encode())
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._handle)
        complaint: bytes = self._library.nft_ctx_get_error_buffer(self._handle)
        if status:
            text = complaint.decode(errors="replace").strip()
            raise OSError(next((number for known, number in _ERRORS.items() if known in text), errno.EINVAL), text)
        return printed.decode(errors="replace")

    def list_table(self, table: str) -> Listing | None:
        """List a table canonically; None when there is none."""
        self._library.nft_ctx_output_set_flags(self._handle, OUTPUT_JSON | OUTPUT_TERSE)
        try:
            printed = self.run(f"list table inet {table}")
        except FileNotFoundError:
            return None
        finally:
            self._library.nft_ctx_output_set_flags(self._handle, 0)
        things = [thing for thing in json.loads(printed)["nftables"] if "metainfo" not in thing]
        return tuple(json.dumps(_without_handles(thing), sort_keys=True) for thing in things)

    def close(self) -> None:
        """Free the handle."""
        self._library.nft_ctx_free(self._handle)


class Skeleton:
    """The table of one instance."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._listed: Listing | None = None

    def load(self, nftables: Nftables, elements: Iterable[FirewallElement] = ()) -> None:
        """Put the table in place of whatever is there by its name, with these elements, in one transaction."""
        filled: dict[str, list[str]] = {}
        for thing in elements:
            for element in elements_of(thing):
                filled.setdefault(element.set, []).append(in_words(element))
        # "table" adds an empty one when there is none, so that "delete" cannot fail.
        commands = [f"table inet {self._table}", f"delete table inet {self._table}", skeleton_text(self._table)]
        commands += [
            f"add element inet {self._table} {name} {{ {', '.join(words)} }}" for name, words in filled.items()
        ]
        nftables.run("\n".join(commands))

    def is_intact(self, nftables: Nftables, elsewhere: Callable[[Callable[[], None]], None]) -> bool:
        """Whether the kernel lists the table as it lists our own text, loaded `elsewhere` (a throw-away namespace)."""
        listed = nftables.list_table(self._table)
        if listed is None:
            return False
        if self._listed is None:
            elsewhere(self.learn)
        return listed == self._listed

    def learn(self) -> None:
        """Learn what the kernel lists for our own text; for a throw-away namespace."""
        nftables = Nftables()
        try:
            nftables.run(skeleton_text(self._table))
            listed = nftables.list_table(self._table)
        finally:
            nftables.close()
        assert listed is not None, "a table that was just made is not listed"
        self._listed = listed


def skeleton_text(table: str) -> str:
    """Read `ruleset.nft` for a table's name."""
    return _ruleset().replace("%TABLE%", table)


@functools.cache
def _ruleset() -> str:
    return Path(__file__).with_name("ruleset.nft").read_text(encoding="utf-8")


@functools.cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = (ctypes.c_uint32,), ctypes.c_void_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes, getattr(library, name).restype = (ctypes.c_void_p,), ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library


def _without_handles(thing: object) -> object:
    if isinstance(thing, dict):
        return {key: _without_handles(value) for key, value in thing.items() if key not in {"handle", "elem"}}
    if isinstance(thing, list):
        return [_without_handles(value) for value in thing]
    return thing
