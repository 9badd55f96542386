"""Worlds: what outlasts a process that dies, the files of its state directory and the kernel of its host.

Keeps: a world is never changed; whoever goes on from one has a copy.
Knows nothing of: how a world came about, or what is wrong with one.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct, structs

from ...dataplanes.simulated import SimulatedKernel
from ...domain.events import DriftRepaired, Event
from ...projections.views import Views

ORIGIN_FIELDS = 5
"""So many fields of every event say where it comes from: when, who, in which request, why, on which host."""

REQUEST_FIELD = 2
NAMED = "crash-"
"""What the ids of an exploration's own requests begin with; all others are random."""

LEDGER, LOG = "ledger.db", "ledger.db-wal"


Description: TypeAlias = dict[str, dict[str, str]]
"""What there is, by kind and key, in words."""


class _Appended(Protocol):
    """An event as a recorder is given it: its type's name, and its fields as a MessagePack array."""

    type: str
    data: bytes


class World(Struct, frozen=True, eq=False):
    """The files of a state directory by name, a kernel, and what is known to be durable.

    `events` are the durable ones, without times and random request ids; `cursor` is the durable cursor; `marks` is the
    kernel's fingerprint; `damage` says in which way a write was cut off, empty where none was; `log_end` is where the
    write-ahead log's last whole commit ends, 0 where it has none.
    """

    files: Mapping[str, bytes]
    kernel: SimulatedKernel
    events: tuple[bytes, ...] = ()
    cursor: int = 0
    marks: bytes = b""
    damage: str = ""
    log_end: int = 0

    def key(self) -> str:
        """Hash what an engine that starts here goes by: of two worlds with the same key one need be tried."""
        return hashlib.sha256(f"{self.log_key()} {self.damage} ".encode() + self.marks).hexdigest()

    def log_key(self) -> str:
        """Hash what is durable of the log."""
        digest = hashlib.sha256(b"%d" % self.cursor)
        for event in self.events:
            digest.update(event)
        return digest.hexdigest()

    def lay_out(self, directory: Path) -> SimulatedKernel:
        """Put the files into a directory that is not there yet, and give a kernel like this one."""
        directory.mkdir(mode=0o700)
        for name, content in self.files.items():
            (directory / name).write_bytes(content)
        return copy.deepcopy(self.kernel)


def files_in(directory: Path) -> dict[str, bytes]:
    """Read the files of a state directory.

    Closing a file gives up this process's locks on it (POSIX): nobody else may use the directory.
    """
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def fingerprint(kernel: SimulatedKernel) -> bytes:
    """Hash all that is ours in a kernel, and which namespaces there are."""
    there = sorted(f"{key}={made!r}" for key, made in kernel.objects.items())
    return hashlib.sha256("\n".join([*sorted(kernel.namespaces), *there]).encode()).digest()


def essence_of_appended(event: _Appended) -> bytes:
    """Reduce an event, as a recorder is given it, to what two runs of the same program have in common."""
    return _essence(event.type, msgspec.msgpack.decode(event.data))


def essence(event: Event) -> bytes:
    """Reduce an event, as a ledger gives it, to what two runs of the same program have in common."""
    return _essence(type(event).__name__, msgspec.msgpack.decode(msgspec.msgpack.encode(event)))


def _essence(kind: str, fields: list[Any]) -> bytes:
    request = str(fields[REQUEST_FIELD])
    if kind == DriftRepaired.__name__:
        del fields[ORIGIN_FIELDS:]  # words about how far the kernel was, by which nothing goes
    return msgspec.msgpack.encode([kind, request if request.startswith(NAMED) else "", *fields[ORIGIN_FIELDS:]])


def describe_state(views: Views) -> Description:
    """Say what there is, as its users see it: without positions, times, and what is kept for choosing and mending.

    Two logs with the same description have the same networks, endpoints, sandboxes, addresses, ports and firewall. How
    the next address or port would be chosen, the names of interfaces in the host (which go by the position of the
    join), which boots there were, and what is owed to the kernel are not part of it.
    """
    return {
        "networks": {key: _facts(record.event) for key, record in views.networks.networks.items()},
        "endpoints": {key: _facts(record.event) for key, record in views.endpoints.endpoints.items()},
        "aliases": {key: _listed(names) for key, names in views.endpoints.aliases.items() if names},
        "sandboxes": {key: _facts(record.event) for key, record in views.sandboxes.sandboxes.items()},
        "joined": {
            key: repr((record.event.sandbox, record.event.interface, record.event.priority))
            for key, record in views.endpoints.joined.items()
        },
        "gateways": {str(key): _facts(record.event) for key, record in views.sandboxes.gateways.items()},
        "pools": {key: _facts(record.event) for key, record in views.ipam.pools.items()},
        "addresses": {str(key): _facts(record.event) for key, record in views.ipam.holders.items()},
        "ports": {
            key: _listed(_facts(record.event) for record in bound.values())
            for key, bound in views.ports.by_endpoint.items()
            if bound
        },
        "published": {str(key): "" for key in views.ports.published},
        "firewalls": {key: _facts(record.event) for key, record in views.firewalls.chosen.items()},
    }


def difference(wanted: Description, found: Description) -> str:
    """Say in words how one description differs from another."""
    lines = []
    for kind in wanted:
        for key in sorted(wanted[kind].keys() | found[kind].keys()):
            one, other = wanted[kind].get(key), found[kind].get(key)
            if one != other:
                lines.append(f"{kind} {key[:40]}: {other or 'nothing'} instead of {one or 'nothing'}")
    return "; ".join(lines)


def _facts(event: Event) -> str:
    return repr(structs.astuple(event)[ORIGIN_FIELDS:])


def _listed(items: Iterable[str]) -> str:
    return ", ".join(sorted(items))
