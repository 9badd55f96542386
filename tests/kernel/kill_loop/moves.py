"""A process that moves its host to another firewall and dies at it, and what an outsider sees of the host then.

Keeps: what is on the host is read by the tools of each firewall, and the log by `log.py`: no code of the engine's.
"""

from __future__ import annotations

import socket
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path

from netledger import Controller
from netledger.replay import drift
from tests.kernel.linux.conftest import inside

from .host import HOST_ADDRESS, TOOL_SECONDS
from .points import Point, Trap

PORT = 8080
SAVERS = ("iptables-legacy-save", "ip6tables-legacy-save")


def publish(talk: Connection, state: Path, host: Path) -> None:
    """Make a host with a published port, and tell where its sandbox is."""
    with Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        endpoint = controller.create_network("net", subnets=["10.1.0.0/24"]).create_endpoint(
            "web", ports=[f"{PORT}:80"]
        )
        sandbox = controller.create_sandbox("box")
        endpoint.join(sandbox)
        talk.send(sandbox.key)


def move(talk: Connection, state: Path, host: Path, backend: str, point: Point | None) -> None:
    """Open, tell, wait to be told to begin, and move."""
    trap = Trap(point)
    trap.set()
    with Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        talk.send("open")
        talk.recv()
        trap.arm()
        controller.firewall.use(backend)
        talk.send("moved")


def start(talk: Connection, state: Path, host: Path) -> None:
    """Be the next one that starts: tell which firewall it has, and what differs from the log."""
    with Controller.open(state, dataplane="linux", namespace=str(host)) as controller:
        chosen = controller.firewall.state()
        assert chosen is not None, "a host has a firewall"
        talk.send((chosen.backend, chosen.retiring, drift(controller).lines))


def rules(host: Path, instance: str) -> set[str]:
    """Tell which firewalls have anything of an instance on a host: tables, chains, rules."""
    mark = f"netledger-{instance}"
    found = {"nftables"} if mark in _run(host, "nft", "list", "tables") else set()
    return found | ({"iptables"} if any(mark in _run(host, tool).lower() for tool in SAVERS) else set())


def is_reached(host: Path, sandbox: str) -> bool:
    """Whether the host itself reaches the published port."""
    with inside(sandbox, socket.socket) as listener, inside(host, socket.socket) as asking:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", 80))
        listener.listen()
        asking.settimeout(TOOL_SECONDS)
        if asking.connect_ex((HOST_ADDRESS, PORT)):
            return False
        served, peer = listener.accept()
        served.close()
        return peer != ("", 0)


def _run(host: Path, *command: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={host}", *command], check=True, capture_output=True, text=True, timeout=TOOL_SECONDS
    )
    return done.stdout
