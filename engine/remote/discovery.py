"""Plugin discovery: which process serves a name, by the files that Docker's plugins put into known directories.

A plugin NAME is a socket `NAME.sock` (or `NAME/NAME.sock`), a file `NAME.spec` that holds its address, or a file
`NAME.json` with `Name`, `Addr` and `TLSConfig` (docs.docker.com/engine/extend/plugin_api). Sockets come first.
Keeps: a name leads nowhere outside the directories. Knows nothing of: what a plugin does.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, structs

from ...domain.errors import Invalid, NotFound
from ...domain.values import check_name
from .tls import Tls

PLUGIN_DIRECTORIES = (Path("/run/docker/plugins"), Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
SUFFIXES = (".sock", ".spec", ".json")
SPECIFICATION_LIMIT = 65536
"""Bytes of a .spec or .json file that are read."""
HTTPS_PORT = 443


class Address(Struct, frozen=True):
    """Where a plugin listens: a unix socket's path, or (empty path) a host and TCP port; `found_in` says so."""

    path: str = ""
    host: str = ""
    port: int = 0
    found_in: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.path:
            return f"unix://{self.path}"
        return f"{'tcp' if self.tls is None else 'https'}://{host}:{self.port}"


class _Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """How a .json file asks for TLS, in Docker's words."""

    InsecureSkipVerify: bool = False
    CAFile: str = ""
    CertFile: str = ""
    KeyFile: str = ""


class _Specification(Struct, frozen=True):
    """A .json file, in Docker's words."""

    Addr: str
    Name: str = ""
    TLSConfig: _Tls | None = None


def find(name: str, directories: Sequence[Path] = PLUGIN_DIRECTORIES) -> Address:
    """Find where the plugin of a name listens.

    Raises `NotFound` (no file is its), `Invalid` (the file says nothing that can be called).
    """
    check_name("plugin", name)
    for suffix in SUFFIXES:
        for directory in directories:
            for file in (directory / f"{name}{suffix}", directory / name / f"{name}{suffix}"):
                if _is_there(name, file):
                    return _read(name, file)
    places = ", ".join(map(str, directories))
    raise NotFound(f"find plugin {name!r}", f"no {name}.sock, .spec or .json in {places}", "start the plugin")


def addresses(directories: Sequence[Path] = PLUGIN_DIRECTORIES) -> Iterator[tuple[str, Address | str]]:
    """List every plugin by name, with its address or with what is wrong with its file."""
    names: set[str] = set()
    for directory in directories:
        for pattern in ("*", "*/*"):
            files = (file for file in _glob(directory, pattern) if file.suffix in SUFFIXES)
            names |= {file.stem for file in files if pattern == "*" or file.parent.name == file.stem}
    for name in sorted(names):
        try:
            yield name, find(name, directories)
        except (Invalid, NotFound) as error:
            yield name, str(error)


def parse_address(text: str, asked: str, found_in: str = "") -> Address:
    """Read an address: `unix:///PATH`, `tcp://HOST:PORT`, `http://HOST:PORT` or, with TLS, `https://HOST[:PORT]`."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise Invalid(asked, f"{text.strip()!r} is no address: {error}") from None
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return Address(path=parts.path, found_in=found_in)
    if parts.scheme in {"tcp", "http"} and parts.hostname and port:
        return Address(host=parts.hostname, port=port, found_in=found_in)
    if parts.scheme == "https" and parts.hostname:
        return Address(host=parts.hostname, port=port or HTTPS_PORT, found_in=found_in, tls=Tls())
    known = "known: unix:///PATH, tcp://HOST:PORT, https://HOST:PORT"
    raise Invalid(asked, f"{text.strip()!r} is no address of a plugin", known)


def _glob(directory: Path, pattern: str) -> list[Path]:
    try:
        return list(directory.glob(pattern))
    except OSError:
        return []  # one that may not be read has nothing for us


def _is_there(name: str, file: Path) -> bool:
    """Whether there is a file; a directory that may not be searched could hide one, and is not passed over."""
    try:
        return file.exists()
    except OSError as error:
        because = f"it cannot be looked for: {error.strerror}"
        raise Invalid(f"find plugin {name!r} by {file}", because, "see the permissions of its directory") from None


def _read(name: str, file: Path) -> Address:
    asked = f"find plugin {name!r} by {file}"
    try:
        if file.suffix == ".sock":
            if not stat.S_ISSOCK(file.stat().st_mode):
                raise Invalid(asked, "it is no socket", "remove it, or start the plugin")
            return Address(path=str(file), found_in=str(file))
        with file.open("rb") as opened:
            text = opened.read(SPECIFICATION_LIMIT)
    except OSError as error:
        raise Invalid(asked, f"it cannot be read: {error.strerror}", "see its permissions") from None
    if file.suffix == ".spec":
        return parse_address(text.decode(errors="replace"), asked, str(file))
    try:
        specification = msgspec.json.decode(text, type=_Specification)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(asked, f"it is no plugin specification: {error}") from None
    address = parse_address(specification.Addr, asked, str(file))
    wanted = specification.TLSConfig
    if wanted is None or (address.path and wanted == _Tls()):
        return address
    return structs.replace(address, tls=_tls(wanted, address, asked))


def _tls(wanted: _Tls, address: Address, asked: str) -> Tls:
    """Read how TLS is asked for; a plugin that asks for it is never called without."""
    if address.path:
        raise Invalid(asked, "it asks for TLS on a unix socket", "leave TLSConfig out, or name a host and port")
    for name, path in (("CAFile", wanted.CAFile), ("CertFile", wanted.CertFile), ("KeyFile", wanted.KeyFile)):
        if path and not Path(path).is_absolute():
            raise Invalid(asked, f"its {name} {path!r} is no absolute path", "write the whole path")
    if bool(wanted.CertFile) != bool(wanted.KeyFile):
        raise Invalid(asked, "it has one of CertFile and KeyFile", "give both, or neither")
    return Tls(wanted.CAFile, wanted.CertFile, wanted.KeyFile, wanted.InsecureSkipVerify)
