"""Measure what an operation and a new connection cost by how many endpoints are there: 10, 900 and 5,000.

    python benchmarks/growth.py                       ten minutes; 5,000 endpoints take 2 GB and two minutes to make
    python benchmarks/growth.py --levels 10 --pairs 20 --connections 200
    python benchmarks/growth.py --levels 10 5000/8    so many on so many bridges (one takes 1,023 ports)

Each endpoint is in a sandbox of its own and has a published port. Attach and detach are measured as `attach.py` does
it, beside F with as many present, in turns. *New connection* is TCP's from outside through the port that was published
first, and through the last, to the endpoints themselves. Three others take turns with these two, each on a host of its
own with one endpoint: nftables' least rules (one `dnat` by a map of as many ports: the floor), and the first and the
last of as many ports by our iptables backend, whose list of rules is searched from its front.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import firewall
from attach import (
    INIT,
    INSIDE,
    PRIVATE,
    Level,
    Report,
    Stage,
    closing,
    label,
    measure,
    setns,
    temporary,
    title,
    wait_for_quiet,
    within,
)

from netledger.dataplanes.contract import Verb

LEVELS = ("10", "900", "5000/8")
AT_ONCE = 128
"""So many endpoints are attached in a batch while filling up."""

OUTSIDE, OURS = "beyond", "203.0.113.1"
LEAST, LEAST_OUTSIDE, LEAST_ADDRESS = "least", "least-out", "192.0.2.1"
UNCOUNTED = 50
"""So many connections of each kind go first."""

COMPARED = ("attach, at rest", "attach, in a row", "detach, at rest", "detach, in a row")


class Way(NamedTuple):
    """A published port, and the namespace that it is called from."""

    namespace: str
    address: str
    port: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what endpoints cost by how many are there.")
    parser.add_argument("--levels", nargs="+", default=LEVELS, metavar="ENDPOINTS[/BRIDGES]")
    parser.add_argument("--pairs", type=int, default=100, help="turns of F and ours; 0 leaves attach and detach out")
    parser.add_argument("--connections", type=int, default=1000, help="through each port; 0 leaves them out")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp(PRIVATE[0], [*PRIVATE, INIT, "sh", sys.executable, *sys.argv])
    options = parser.parse_args()
    Path("/run/floor").mkdir()
    Path("/run/netns").mkdir()

    report = Report(as_json=False)
    levels: list[Level] = []
    for text in options.levels:
        present, _, bridges = text.partition("/")
        with temporary() as folder, closing(Stage(folder, "4", int(bridges or 1))) as stage:
            named = title("4", int(present), int(bridges or 1))
            begun = time.perf_counter()
            stage.fill(int(present), AT_ONCE)
            made = time.perf_counter() - begun
            wait_for_quiet()
            print(f"\n{named}: made in {made:.1f} s, announced in {time.perf_counter() - begun:.1f}", flush=True)
            if options.connections:
                tell_connections(stage, options.connections)
            if options.pairs:
                levels.append(measure(stage, int(present), options.pairs, named))
                report.add(levels[-1])
    tell_growth(levels)


def tell_connections(stage: Stage, count: int) -> None:
    """Print what a new connection costs; the ratio is that of its median to the floor's, pair by pair."""
    times = connections(stage, count)
    load = os.getloadavg()[0]
    print(f"{'new connection':<21}{'us':>8}{'quartiles':>16}{'x floor':>9}   (load {load:.1f})")
    for name, mine in times.items():
        low, middle, high = statistics.quantiles(mine, n=4)
        ratio = statistics.median(own / floor for own, floor in zip(mine, times["floor"], strict=True))
        print(f"{name:<21}{middle / 1e3:>8.1f}{f'{low / 1e3:.1f} - {high / 1e3:.1f}':>16}{ratio:>9.2f}", flush=True)


def connections(stage: Stage, count: int) -> dict[str, list[int]]:
    """Connect in turns, in any order; nanoseconds each."""
    ports = len(stage.filled)
    first, last = stage.filled[0], stage.filled[-1]
    with ExitStack() as stack:
        stack.enter_context(beyond(OUTSIDE, None, OURS))
        for path in {path_of(stage, member.sandbox) for member in (first, last)}:
            stack.enter_context(firewall.listening(path))
        stack.enter_context(least_host(ports))
        dataplane, place = stack.enter_context(firewall.stage("iptables"))
        forwards = [firewall.published(firewall.FIRST_PORT + number) for number in range(ports)]
        firewall.apply(dataplane, Verb.MAKE, forwards, place)
        ways = {
            "ours, first": Way(OUTSIDE, OURS, first.port),
            "ours, last": Way(OUTSIDE, OURS, last.port),
            "floor": Way(LEAST_OUTSIDE, LEAST_ADDRESS, firewall.FIRST_PORT + ports - 1),
            "iptables, first": Way("outside", firewall.UPLINK, firewall.FIRST_PORT),
            "iptables, last": Way("outside", firewall.UPLINK, firewall.FIRST_PORT + ports - 1),
        }
        return within(Path("/run/netns") / OUTSIDE, lambda: call_in_turns(ways, count))


def call_in_turns(ways: dict[str, Way], count: int) -> dict[str, list[int]]:
    """Connect so often each way, in the calling thread, which is lost to its namespace."""
    times: dict[str, list[int]] = {name: [] for name in ways}
    descriptors = {
        way.namespace: os.open(f"/run/netns/{way.namespace}", os.O_RDONLY | os.O_CLOEXEC) for way in ways.values()
    }
    order = list(ways.items())
    for number in range(UNCOUNTED + count):
        random.shuffle(order)
        for name, way in order:
            setns(descriptors[way.namespace])
            with socket.socket() as caller:
                begun = time.perf_counter_ns()
                caller.connect((way.address, way.port))
                spent = time.perf_counter_ns() - begun
                caller.recv(1)
            if number >= UNCOUNTED:
                times[name].append(spent)
    for descriptor in descriptors.values():
        os.close(descriptor)
    return times


@contextmanager
def beyond(name: str, host: str | None, address: str) -> Iterator[None]:
    """Make a namespace from which a host is reached at an address: the one named, or that of this process."""
    there = ("-n", host) if host is not None else ()
    uplink = f"up-{secrets.token_hex(4)}"
    firewall.run("ip", "netns", "add", name)
    firewall.run(*f"ip {' '.join(there)} link add {uplink} type veth peer name eth0 netns {name}".split())
    try:
        firewall.run("ip", *there, "addr", "add", f"{address}/24", "dev", uplink)
        firewall.run("ip", *there, "link", "set", uplink, "up")
        firewall.run("ip", "-n", name, "addr", "add", f"{address.rpartition('.')[0]}.2/24", "dev", "eth0")
        firewall.run("ip", "-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        firewall.run("ip", *there, "link", "delete", uplink)
        firewall.run("ip", "netns", "delete", name)


@contextmanager
def least_host(ports: int) -> Iterator[None]:
    """Make a host whose ports lead to one endpoint on a bridge by the least rules there can be."""
    web = "least-web"
    for name in (LEAST, web):
        firewall.run("ip", "netns", "add", name)
    with beyond(LEAST_OUTSIDE, LEAST, LEAST_ADDRESS):
        for words in (
            f"ip netns exec {LEAST} sysctl -q -w net.ipv4.ip_forward=1",
            f"ip -n {LEAST} link add br0 type bridge",
            f"ip -n {LEAST} link add web master br0 type veth peer name eth0 netns {web}",
            f"ip -n {LEAST} addr add 10.6.0.1/24 dev br0",
            f"ip -n {LEAST} link set br0 up",
            f"ip -n {LEAST} link set web up",
            f"ip -n {web} addr add 10.6.0.2/24 dev eth0",
            f"ip -n {web} link set eth0 up",
            f"ip -n {web} route add default via 10.6.0.1",
        ):
            firewall.run(*words.split())
        elements = ", ".join(f"{firewall.FIRST_PORT + number} : 10.6.0.2 . 80" for number in range(ports))
        rules = (
            "table ip least {\n"
            f" map ports {{ type inet_service : ipv4_addr . inet_service; elements = {{ {elements} }} }}\n"
            " chain before { type nat hook prerouting priority dstnat; dnat ip to tcp dport map @ports; }\n"
            "}\n"
        )
        subprocess.run(["ip", "netns", "exec", LEAST, "nft", "-f", "-"], input=rules, text=True, check=True)
        with firewall.listening(f"/run/netns/{web}"):
            yield
    for name in (LEAST, web):
        firewall.run("ip", "netns", "delete", name)


def path_of(stage: Stage, sandbox: str) -> str:
    """Say where a sandbox's namespace is mounted."""
    with stage.controller.reading() as views:
        return next(record.event.path for key, record in views.sandboxes.sandboxes.items() if key == sandbox)


def tell_growth(levels: list[Level]) -> None:
    """Print how many times as much as at the first level each operation takes, F's beside ours."""
    if len(levels) < 2:
        return
    figures = [{one.what: one for one in level.rows} for level in levels]
    print(f"\n{label('4')}: times what it is at the first level, by the clock and of processors; F, ours")
    for what in COMPARED:
        for name in (what, f"{what}, cpu"):
            first = figures[0][name]
            columns = "".join(
                f"{mine[name].floor_ms / first.floor_ms:>9.2f}{mine[name].ours_ms / first.ours_ms:>7.2f}"
                for mine in figures[1:]
            )
            print(f"{name:<23}{columns}", flush=True)


if __name__ == "__main__":
    main()
