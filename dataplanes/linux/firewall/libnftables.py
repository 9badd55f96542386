"""libnftables by ctypes: one long-lived handle, no process.

Keeps: a run is one transaction; a listing is canonical. Must not know: what the commands are about.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
from typing import TypeAlias

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
        """Open the handle; an OSError without errno says that the library is missing and what to install."""
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


@functools.cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OSError(f"{LIBRARY} cannot be loaded ({error}); {REMEDY}") from error
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
