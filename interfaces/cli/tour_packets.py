"""Real packets for the tour: small TCP servers and clients, each in a network namespace of its own.

Keeps: every process that it starts is stopped by it. Knows nothing of: netledger.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

CONNECT_SECONDS = 1.0
START_SECONDS = 10.0

_SERVER = """
import socket, sys
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"{sys.argv[2]} sees {peer[0].removeprefix('::ffff:')}".encode())
    connection.close()
"""

_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as connection:
    print(connection.recv(200).decode())
"""


class Server:
    """A TCP server in the namespace at `path` that tells each client its own name and the client's address."""

    def __init__(self, path: str, name: str, port: int) -> None:
        self._process = subprocess.Popen(
            [*_inside(path), sys.executable, "-I", "-S", "-c", _SERVER, str(port), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None, "its output is a pipe"
        if self._process.stdout.readline().strip() != "ready":
            self.stop()
            message = f"the server {name} did not start in {path}"
            raise RuntimeError(message)

    def stop(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait(START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def ask(path: str | None, address: str, port: int) -> str | None:
    """Connect from the namespace at `path` (None: this one) and return what the server says; None if it does not."""
    command = [sys.executable, "-I", "-S", "-c", _CLIENT, address, str(port), str(CONNECT_SECONDS)]
    answer = subprocess.run(
        [*(_inside(path) if path else []), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=CONNECT_SECONDS + START_SECONDS,
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


@contextlib.contextmanager
def servers(places: dict[str, tuple[str, int]]) -> Iterator[None]:
    """Run a server for each name in its namespace and port."""
    with contextlib.ExitStack() as stack:
        for name, (path, port) in places.items():
            stack.enter_context(Server(path, name, port))
        yield


def _inside(path: str) -> list[str]:
    return ["nsenter", f"--net={path}", "--"]
