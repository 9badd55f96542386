"""Measure what published ports cost: a new connection through the last of them, and one more of them.

    python benchmarks/firewall.py                             both backends at 10, 1,000 and 5,000 ports, some minutes
    python benchmarks/firewall.py --ports 10 1000 --backends nftables

It runs in private namespaces of its own. A host has one network with one endpoint, and so many TCP ports of the host
lead to it. *connect*: a TCP connection from outside through the port that was published first or last, made and closed
by a process that is warm; first and last take turns, so what differs is the way to the rule. *come* and *go*: one more
port published and taken back, each through the dataplane as an attach does it, with nothing else in the batch. *load*
is the making of all of them in one plan, *observe* the reading back of everything by a process that has not seen it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from netledger.dataplanes.contract import Instance, Place, Plan, Status, Step, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.domain.objects import (
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from netledger.domain.values import EndpointId, NetworkId, SandboxId, SandboxKind, Subnet, mac_for

T = TypeVar("T")

BACKENDS = ("nftables", "iptables")
PORTS = (10, 1000, 5000)
FIRST_PORT = 20_000
MORE_PORT = 60_000
TCP = 6
INSTANCE = Instance("0a1b2c3d")
SANDBOX, NETWORK, ENDPOINT = SandboxId("a" * 64), NetworkId("b" * 64), EndpointId("c" * 64)
HOST = SandboxId("")
BRIDGE, OUTSIDE, UPLINK = "br-bench", "198.51.100.2", "198.51.100.1"
WEB = bytes([10, 5, 0, 2])
CLONE_NEWNET = 0x40000000
PRIVATE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--kill-child", "sh", "-c")


def main() -> None:
    """Print a table for each backend."""
    parser = argparse.ArgumentParser(description="Measure what published ports cost.")
    parser.add_argument("--ports", type=int, nargs="+", default=PORTS)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--connections", type=int, default=2000, help="through each of the two ports")
    parser.add_argument("--changes", type=int, default=50, help="each of coming and going")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.here:
        again = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
        sys.exit(subprocess.run([*PRIVATE, again, "sh", sys.executable, *sys.argv, "--here"], check=False).returncode)
    print(
        f"{'':<10}{'ports':>7}{'connect first':>15}{'last':>8}{'ratio':>7}{'come':>9}{'go':>9}{'load':>9}{'observe':>9}"
    )
    print(f"{'':<10}{'':>7}{'us':>15}{'us':>8}{'':>7}{'ms':>9}{'ms':>9}{'ms':>9}{'ms':>9}")
    for backend in arguments.backends:
        for count in arguments.ports:
            measure(backend, count, arguments.connections, arguments.changes)


def measure(backend: str, count: int, connections: int, changes: int) -> None:
    """Print one row."""
    with stage(backend) as (dataplane, place):
        forwards = [published(FIRST_PORT + number) for number in range(count)]
        load = timed(lambda: apply(dataplane, Verb.MAKE, forwards, place))
        first, last = connect(FIRST_PORT, FIRST_PORT + count - 1, connections)
        come, go = [], []
        for number in range(changes):
            more = [published(MORE_PORT + number)]
            come.append(timed(lambda more=more: apply(dataplane, Verb.MAKE, more, place)))
            go.append(timed(lambda more=more: apply(dataplane, Verb.REMOVE, more, place)))
        fresh = LinuxDataplane(INSTANCE, "/run/netns/host", firewall=backend)
        observe = timed(lambda: check_all_there(fresh, place, forwards))
        fresh.close()
    ratios = [b / a for a, b in zip(first, last, strict=True)]
    print(
        f"{backend:<10}{count:>7,}{statistics.median(first) * 1e6:>15.1f}{statistics.median(last) * 1e6:>8.1f}"
        f"{statistics.median(ratios):>7.2f}{statistics.median(come) * 1e3:>9.2f}{statistics.median(go) * 1e3:>9.2f}"
        f"{load * 1e3:>9.0f}{observe * 1e3:>9.0f}",
        flush=True,
    )


@contextmanager
def stage(backend: str) -> Iterator[tuple[LinuxDataplane, Place]]:
    """Set up a host with an endpoint that listens, and the outside."""
    for name in ("host", "outside"):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    run(
        *[
            "ip",
            "-n",
            "host",
            "link",
            "add",
            "uplink",
            "index",
            "100",
            "type",
            "veth",
            "peer",
            "name",
            "uplink",
            "netns",
            "outside",
        ]
    )
    for name, address in (("host", UPLINK), ("outside", OUTSIDE)):
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "uplink")
        run("ip", "-n", name, "link", "set", "uplink", "up")
    folder = Path(tempfile.mkdtemp(dir="/run"))
    place = Place(SandboxKind.MANAGED, str(folder / "web"))
    dataplane = LinuxDataplane(INSTANCE, "/run/netns/host", firewall=backend)
    try:
        apply(dataplane, Verb.MAKE, list(ground(place.path)), place)
        with listening(place.path):
            yield dataplane, place
        apply(dataplane, Verb.REMOVE, [*reversed(list(ground(place.path)))], place)
        dataplane.settle(5)
    finally:
        dataplane.close()
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("host", "outside"):
            run("ip", "netns", "delete", name)


def ground(path: str) -> Iterator[KernelObject]:
    """List the objects of the network and its endpoint."""
    yield Sysctl(HOST, "net.ipv4.ip_forward", "1")
    yield Firewall()
    yield Bridge(BRIDGE, NETWORK, mac_for(NETWORK), 0)
    yield Masquerade(BRIDGE, 4)
    yield ForwardPolicy(BRIDGE, icc=True, internal=False)
    yield Namespace(SANDBOX, path)
    yield VethPair("nlbench", ENDPOINT, BRIDGE, SANDBOX, "eth0", mac_for(ENDPOINT), 0, isolated=False)
    yield Address(HOST, BRIDGE, bytes([10, 5, 0, 1]), 24)
    yield Address(SANDBOX, "eth0", WEB, 24)
    yield Route(SANDBOX, "eth0", Subnet(bytes(4), 0), bytes([10, 5, 0, 1]))


def published(port: int) -> PortForward:
    """Make up a published port."""
    return PortForward(TCP, bytes(4), port, WEB, 80)


def apply(dataplane: LinuxDataplane, verb: Verb, objects: Sequence[KernelObject], place: Place) -> None:
    """Apply a plan; all of it must be done."""
    outcomes = dataplane.apply(Plan(tuple(Step(verb, thing) for thing in objects), {SANDBOX: place}))
    faults = [outcome for outcome in outcomes if outcome.status is Status.FAULT]
    assert not faults, faults[0]


def check_all_there(dataplane: LinuxDataplane, place: Place, forwards: Sequence[PortForward]) -> None:
    """Read everything back."""
    there = dataplane.observe({SANDBOX: place}).objects
    assert Firewall().key in there, "the firewall is whole"
    assert all(there.get(forward.key) == forward for forward in forwards), "every port is there"


@contextmanager
def listening(path: str) -> Iterator[None]:
    """Accept and close connections at port 80 of the endpoint, in a process of its own."""
    program = (
        "import socket\n"
        "listener = socket.socket()\n"
        "listener.bind(('', 80))\n"
        "listener.listen(1024)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    listener.accept()[0].close()\n"
    )
    words = ["nsenter", f"--net={path}", sys.executable, "-I", "-S", "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None, "its output is ours"
            process.stdout.readline()
            yield
        finally:
            process.kill()


def connect(first: int, last: int, count: int) -> tuple[list[float], list[float]]:
    """Connect from outside through two ports in turns; seconds of each."""

    def work() -> tuple[list[float], list[float]]:
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(count + 100):
            for port, kept in zip((first, last), times, strict=True):
                with socket.socket() as caller:
                    begin = time.perf_counter()
                    caller.connect((UPLINK, port))
                    took = time.perf_counter() - begin
                    caller.recv(1)
                    if number >= 100:
                        kept.append(took)
        return times

    return within("/run/netns/outside", work)


def timed(work: Callable[[], None]) -> float:
    """Measure in seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def within(namespace: str, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that stays there until it ends."""
    done: list[T] = []

    def enter() -> None:
        with Path(namespace).open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        done.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return done[0]


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
