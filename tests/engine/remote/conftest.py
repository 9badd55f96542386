"""A plugin process to start, to make misbehave, to kill, and to ask what it knows."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netledger import Controller

PROGRAM = Path(__file__).with_name("plugin.py")


class PluginProcess:
    """A plugin that runs; `directory` is where it is found by its name."""

    def __init__(self, directory: Path, name: str, *options: str, tcp: bool = False) -> None:
        self.directory, self.name, self.options, self.tcp = directory, name, options, tcp
        self.start()

    def start(self, *more: str) -> None:
        """Start it, and wait until it listens."""
        where = [] if self.tcp else ["--socket", str(self.directory / f"{self.name}.sock")]
        command = [sys.executable, "-S", "-E", str(PROGRAM), *where, *self.options, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the plugin listens"
        if self.tcp:
            (self.directory / f"{self.name}.spec").write_text(f"{self.address}\n")

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def misbehave(self, method: str, how: str, value: object = None, *, times: int = 1, after: bool = False) -> None:
        """Let it answer the next calls wrongly; `after` it has done what was asked."""
        self._ask("Misbehave", {"method": method, "how": how, "value": value, "times": times, "after": after})

    @property
    def pools(self) -> dict[str, list[str]]:
        """The pools that it has given, with the addresses that are held in each."""
        return {name: sorted(pool["held"]) for name, pool in self._ask("Tell", {})["pools"].items()}

    def calls(self, method: str = "") -> list[dict[str, Any]]:
        """List what it was asked, the oldest call first."""
        calls: list[dict[str, Any]] = self._ask("Tell", {})["calls"]
        return [call["asked"] for call in calls if method in call["method"]] if method else calls

    def _ask(self, method: str, question: object) -> Any:
        connection = http.client.HTTPConnection("plugin", timeout=10)
        if self.tcp:
            host, _, port = self.address.rpartition("//")[2].rpartition(":")
            connection.sock = socket.create_connection((host, int(port)))
        else:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.address.removeprefix("unix://"))
        connection.request("POST", f"/{method}", json.dumps(question))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Name the directory where plugins are found."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    return directory


@pytest.fixture
def start_plugin(plugins: Path) -> Iterator[Callable[..., PluginProcess]]:
    """Start plugin processes that end with the test."""
    with ExitStack() as stack:

        def start_one(*options: str, name: str = "lab", tcp: bool = False) -> PluginProcess:
            plugin = PluginProcess(plugins, name, *options, tcp=tcp)
            stack.callback(lambda: plugin.process.poll() is None and plugin.kill())
            return plugin

        yield start_one


@pytest.fixture
def plugin(start_plugin: Callable[..., PluginProcess]) -> PluginProcess:
    """Start a plugin that behaves well."""
    return start_plugin()


@pytest.fixture
def opened(plugins: Path, start: Callable[..., Controller]) -> Callable[..., Controller]:
    """Open controllers that find the plugins."""

    def open_one(state: Path | None = None, **others: Any) -> Controller:
        return start(state, plugin_directories=[plugins], **others)

    return open_one
