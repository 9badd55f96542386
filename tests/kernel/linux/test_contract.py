"""The Linux dataplane keeps the contract that the simulated one keeps."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netledger.dataplanes.contract import Instance
from netledger.dataplanes.linux import LinuxDataplane
from netledger.domain.facts import CHOSEN_PORTS, RESERVED_PORTS
from netledger.testing.contracts.dataplane import DataplaneContract
from tests.kernel.linux.conftest import inside, shell


class Others:
    """Somebody else on the host."""

    def __init__(self, host: Path, stack: contextlib.ExitStack) -> None:
        self.host = host
        self.stack = stack

    def make_interface(self, name: str) -> None:
        """Make one end of a cable without a mark, which is no bridge: such a one would be adopted."""
        shell("ip", "-n", self.host.name, "link", "add", name, "type", "veth", "peer", "elsewhere")

    def make_bridge(self, name: str) -> None:
        """Make a bridge without a mark, up."""
        shell("ip", "-n", self.host.name, "link", "add", name, "type", "bridge")
        shell("ip", "-n", self.host.name, "link", "set", name, "up")

    def remove_interface(self, name: str) -> None:
        """Remove a link."""
        shell("ip", "-n", self.host.name, "link", "del", name)

    def listen(self, port: int) -> None:
        """Listen with a socket in the host's namespace."""

        def work() -> socket.socket:
            made = socket.socket()
            made.bind(("0.0.0.0", port))
            made.listen()
            return made

        self.stack.enter_context(inside(self.host, work))

    def set_ports(self, reserved: str, chosen_from: str) -> None:
        """Write both settings of the host's namespace."""

        def work() -> None:
            for name, value in ((RESERVED_PORTS, reserved), (CHOSEN_PORTS, chosen_from)):
                Path("/proc/sys", *name.split(".")).write_text(f"{value}\n", encoding="ascii")

        inside(self.host, work)

    def make_namespace(self, name: str) -> str:
        """Make a namespace as ip-netns(8) does."""
        path = f"/run/netns/{self.host.name}-{name}"
        if Path(path).exists():
            shell("ip", "netns", "delete", Path(path).name)
        shell("ip", "netns", "add", Path(path).name)
        return path

    def remove_namespace(self, path: str) -> None:
        """Delete it."""
        shell("ip", "netns", "delete", Path(path).name)


class TestLinuxDataplane(DataplaneContract):
    """The Linux dataplane keeps the contract."""

    @pytest.fixture
    def dataplane(self, host: Path) -> Iterator[LinuxDataplane]:
        """Give a dataplane on a host of its own."""
        dataplane = LinuxDataplane(Instance("0a1b2c3d"), str(host))
        yield dataplane
        dataplane.close()

    @pytest.fixture
    def others(self, host: Path) -> Iterator[Others]:
        """Give somebody else on that host."""
        with contextlib.ExitStack() as stack:
            yield Others(host, stack)


class TestLinuxDataplaneOnIptables(TestLinuxDataplane):
    """It keeps the contract with the other firewall, too."""

    @pytest.fixture
    def dataplane(self, host: Path) -> Iterator[LinuxDataplane]:
        """Give a dataplane on a host of its own."""
        dataplane = LinuxDataplane(Instance("0a1b2c3d"), str(host), firewall="iptables")
        yield dataplane
        dataplane.close()
