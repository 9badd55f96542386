"""`netledger setkey`: the OCI hook that hands over the namespace of a container's delegated sandbox.

Runtimes call it at `createRuntime` (or `prestart`) with the container's state as JSON on its standard input:
OCI runtime specification, "State". Must not know: how a namespace is entered, who configures it.
"""

from __future__ import annotations

import sys

from msgspec import DecodeError, Struct, json

from .exits import UsageError
from .options import HERE, THIS_HOST, THIS_USER, Author, Host, Log, Request
from .session import carry_out, changing, status_of


class OciState(Struct, frozen=True):
    """What we need of a container's state: its id, and its process as the runtime's PID namespace numbers it."""

    id: str
    pid: int


def setkey(
    sandbox: str = "",
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """As an OCI hook, hand over the namespace of a delegated SANDBOX's process; else that of the container's id.

    The state is read from standard input: {"id": "web", "pid": 4711, ...}. The sandbox is then configured in it.
    """
    from ...domain.commands import SetSandboxKey

    state = read_state(sys.stdin.buffer.read())
    with changing(log, host, author) as controller:
        found = controller.sandbox(sandbox or state.id)
        command = SetSandboxKey(found.id, f"/proc/{state.pid}/ns/net")
        return status_of(carry_out(controller, [command], log, author, request))


def read_state(text: bytes) -> OciState:
    """Read a container's state as a runtime gives it to its hooks."""
    try:
        state = json.decode(text, type=OciState)
    except DecodeError as error:
        raise UsageError(f"no OCI state on standard input: {error}; it is for runtimes' createRuntime hooks") from None
    if state.pid <= 0:
        raise UsageError(f"no OCI state on standard input: pid {state.pid} is no process; use it at createRuntime")
    return state
