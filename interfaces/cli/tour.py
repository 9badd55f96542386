"""The tour: one container network from event to kernel and back, with real packets, in namespaces of its own.

Keeps: nothing outside its own user, network and mount namespaces and its temporary directory is touched; it succeeds
only if every check held. Knows nothing of: how anything is done; it uses the public API and the command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from ...domain.drivers import DRIVERS
from ...engine.controller import Controller
from ...replay import drift
from .tour_packets import ask, servers

PORT = 80
HOST_PORT = 8080
OUTSIDE = "/run/netns/outside"
OUTSIDE_NETWORK = ("192.0.2.1", "192.0.2.2")
LINES_SHOWN = 12
WIDTH_SHOWN = 160
INSIDE_FLAG = "NETLEDGER_TOUR_INSIDE"
UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
TAMPERED = 31
"""The exit status of `netledger log verify` when the log does not verify."""

DRIFT_FOUND = 40
"""The exit status of `netledger drift` when there is any."""

OWN_NEEDS = ("namespace", "ipv6", "published ports")
"""What the tour uses of a kernel, beside what its networks' driver needs; what else is missing is no matter."""

console = Console(highlight=False, emoji=False, soft_wrap=True)


class Tour:
    """What the tour has found so far."""

    def __init__(self, state: Path, dataplane: str) -> None:
        self.state = state
        self.dataplane = dataplane
        self.failed = 0
        self.held = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        console.print(f"\n[bold cyan]{title}[/]")

    def say(self, text: str) -> None:
        """Explain what is done."""
        console.print(f"  {text}")

    def check(self, what: str, *, holds: bool, detail: str = "") -> None:
        """Report one check."""
        self.held += holds
        self.failed += not holds
        mark = "[green]holds[/]" if holds else "[bold red]FAILS[/]"
        console.print(f"  {mark}  {what}{f'  [dim]{detail}[/]' if detail else ''}")

    def command(self, *words: str, expect: int = 0, lines: int = LINES_SHOWN, state: Path | None = None) -> str:
        """Run a netledger command in a process of its own; show it and the first and last lines that it prints."""
        console.print(f"  [bold]$ netledger {shlex.join(words)}[/]")
        done = subprocess.run(
            [sys.executable, "-m", "netledger", *words, "--state", str(state or self.state)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": str(max(console.width - 4, 100))},
        )
        for line in _shortened((done.stdout + done.stderr).splitlines(), lines):
            console.print(f"    {line}", markup=False, overflow="ignore", crop=False)
        if done.returncode != expect:
            self.check(
                f"netledger {words[0]} ends with status {expect}", holds=False, detail=f"it was {done.returncode}"
            )
        return done.stdout + done.stderr


def run() -> int:
    """Run the tour in namespaces of its own; 0 only if every check held."""
    if INSIDE_FLAG in os.environ:
        return inside()
    console.print(Panel.fit("netledger: one container network, from event to kernel and back", style="bold"))
    why = _why_not_linux()
    if why is None:
        console.print(
            "Everything below happens in private network, user and mount namespaces: this machine's own network"
        )
        console.print("and firewall are not touched, and nothing is left behind.")
        done = subprocess.run(
            [*UNSHARE, "--", sys.executable, "-m", "netledger", "tour"],
            env={**os.environ, INSIDE_FLAG: "1"},
            check=False,
        )
        return done.returncode
    console.print(f"[yellow]The kernel cannot be shown here: {why}. This is the same tour on the simulator.[/]")
    return _with_state("simulated")


def inside() -> int:
    """Run the tour in the namespaces that `run` made."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return _with_state("linux")


def _with_state(dataplane: str) -> int:
    directory = Path(tempfile.mkdtemp(prefix="netledger-tour-"))
    try:
        tour = Tour(directory / "state", dataplane)
        if dataplane == "linux":
            _on_linux(tour)
        else:
            _simulated(tour)
        colour = "red" if tour.failed else "green"
        console.print(f"\n[bold {colour}]{tour.held} checks held, {tour.failed} failed[/]")
        console.print("Next: `.venv/bin/netledger --help`, README.md, ARCHITECTURE.md")
        return 1 if tour.failed else 0
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _why_not_linux() -> str | None:
    """Say what this machine lacks for the tour on the kernel; None when it lacks nothing."""
    for tool in ("unshare", "nsenter", "ip", "nft"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}` (Debian: apt install util-linux iproute2 nftables)"
    code = (
        "import msgspec\n"
        "from netledger.dataplanes.linux import LinuxDataplane\n"
        "dataplane = LinuxDataplane('00000000')\n"
        "print(msgspec.json.encode(dataplane.capabilities().missing).decode())\n"
        "dataplane.close()"
    )
    done = subprocess.run([*UNSHARE, "--", sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"no private namespaces: {done.stderr.strip().splitlines()[-1:] or done.returncode}"
    return why_not_shown(json.loads(done.stdout))


def why_not_shown(missing: Mapping[str, str]) -> str | None:
    """Say what the tour needs of a kernel that lacks these features, and why they are missing; None when it can do."""
    needed = dict.fromkeys((*OWN_NEEDS, *DRIVERS["bridge"].needs))
    return "; ".join(dict.fromkeys(missing[feature] for feature in needed if feature in missing)) or None


def _build(tour: Tour) -> None:
    """Run the example of the README, and a second network beside it."""
    tour.chapter("1. Create two networks, attach three sandboxes, publish a port")
    with Controller.open(tour.state, dataplane=tour.dataplane) as controller:
        network = controller.create_network("network1", driver="bridge", ipv6=True)
        endpoint = network.create_endpoint("Endpoint1", ports=[f"{HOST_PORT}:{PORT}/tcp"])
        sandbox = controller.create_sandbox("container1", hostname="test", domainname="docker.io")
        endpoint.join(sandbox)
        info = endpoint.info()
        tour.say(f"Endpoint1: {', '.join(info.addresses)}; {', '.join(info.port_map['80/tcp'])} stand for its 80/tcp")
        second = network.create_endpoint("Endpoint2")
        second.join(controller.create_sandbox("container2"))
        other = controller.create_network("network2", driver="bridge", ipv6=True)
        third = other.create_endpoint("Endpoint3")
        third.join(controller.create_sandbox("container3"))


def _on_linux(tour: Tour) -> None:
    _build(tour)
    _connect_outside()
    facts = _facts(tour)
    tour.chapter("2. Packets")
    _check_packets(tour, facts)
    tour.chapter("3. Isolation, with its positive control")
    _check_isolation(tour, facts)
    tour.chapter("4. What happened, in the log")
    tour.command("log", "show", lines=40)
    _tamper(tour)
    tour.chapter("5. Delete every kernel object behind netledger's back")
    _wreck(tour, facts)
    output = tour.command("drift", expect=DRIFT_FOUND)
    tour.check("drift names what is missing", holds=f"bridge/{facts['bridge1']}" in output)
    tour.check("the published port is dead", holds=ask(OUTSIDE, OUTSIDE_NETWORK[0], HOST_PORT) is None)
    tour.chapter("6. Rebuild from the log, in a new process")
    tour.command("rebuild", "--reason", "the tour deleted everything")
    _check_packets(tour, facts)
    _check_isolation(tour, facts, with_control=False)
    tour.command("plan")
    tour.check("a second rebuild plans nothing", holds="nothing to do" in tour.command("rebuild"))


def _simulated(tour: Tour) -> None:
    _build(tour)
    tour.chapter("2. What happened, in the log")
    tour.command("log", "show")
    tour.command("log", "verify")
    tour.chapter("3. Rebuild from the log, in a new process, into an empty simulated kernel")
    with Controller.open(tour.state, dataplane="simulated") as controller:
        comparison = drift(controller)
        tour.check("the simulated kernel agrees with the log", holds=comparison.agrees)
        tour.check("the published port is bound", holds=bool(controller.endpoint("Endpoint1").info().published))


def _facts(tour: Tour) -> dict[str, str]:
    """Read what the checks need from the log."""
    with Controller.open(tour.state, dataplane="none", read_only=True) as controller:
        facts = {"instance": controller.id[:8]}
        for number in (1, 2, 3):
            endpoint = controller.endpoint(f"Endpoint{number}").info()
            facts[f"ipv4-{number}"], facts[f"ipv6-{number}"] = (text.split("/")[0] for text in endpoint.addresses)
            facts[f"key{number}"] = controller.sandbox(f"container{number}").key
        for number in (1, 2):
            facts[f"bridge{number}"] = controller.network(f"network{number}").info().device
        return facts


def _connect_outside() -> None:
    """Make a second machine: a namespace with a cable to this one."""
    here, there = OUTSIDE_NETWORK
    for words in (
        "netns add outside",
        "link add uplink type veth peer name eth0 netns outside",
        f"addr add {here}/24 dev uplink",
        "link set uplink up",
        f"-n outside addr add {there}/24 dev eth0",
        "-n outside link set eth0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def _check_packets(tour: Tour, facts: dict[str, str]) -> None:
    with servers({"container1": (facts["key1"], PORT), "outside": (OUTSIDE, PORT)}):
        for family in ("ipv4", "ipv6"):
            answer = ask(facts["key2"], facts[f"{family}-1"], PORT)
            tour.check(f"container2 reaches container1 by {family}", holds=bool(answer), detail=answer or "")
        answer = ask(None, OUTSIDE_NETWORK[0], HOST_PORT)
        tour.check(f"the host reaches the published port {HOST_PORT}", holds=bool(answer), detail=answer or "")
        answer = ask(OUTSIDE, OUTSIDE_NETWORK[0], HOST_PORT)
        tour.check(f"another machine reaches the published port {HOST_PORT}", holds=bool(answer), detail=answer or "")
        answer = ask(facts["key2"], OUTSIDE_NETWORK[1], PORT)
        masqueraded = bool(answer) and str(answer).endswith(OUTSIDE_NETWORK[0])
        tour.check("container2 goes out with the host's address", holds=masqueraded, detail=answer or "")


def _check_isolation(tour: Tour, facts: dict[str, str], *, with_control: bool = True) -> None:
    probe = (facts["key3"], facts["ipv4-1"], PORT)
    with servers({"container1": (facts["key1"], PORT)}):
        tour.check("container3, on network2, does not reach container1", holds=ask(*probe) is None)
        if not with_control:
            return
        subprocess.run(
            [
                "nft",
                "delete",
                "element",
                "inet",
                f"netledger-{facts['instance']}",
                "bridges",
                f"{{ {facts['bridge1']} }}",
            ],
            check=True,
        )
        answer = ask(*probe)
        tour.check("control: with network1's policy broken by hand it does", holds=bool(answer), detail=answer or "")
        tour.say("repair makes the whole table again, in one transaction, where its sets contradict each other:")
        tour.command("repair", "--reason", "the tour deleted a policy")
        tour.check("repaired: it does not any more", holds=ask(*probe) is None)


def _tamper(tour: Tour) -> None:
    """Alter one event in a copy of the log, and see it found."""
    copy = tour.state.with_name("copy")
    copy.mkdir(mode=0o700)
    tour.command("log", "verify")
    tour.command("log", "backup", str(copy / "ledger.db"))
    with contextlib.closing(sqlite3.connect(copy / "ledger.db")) as ledger, ledger:
        rows = ledger.execute("SELECT position, data FROM events ORDER BY position")
        position, data = next(row for row in rows if b"network1" in row[1])
        altered = (data.replace(b"network1", b"networkX"), position)
        ledger.execute("UPDATE events SET data = ? WHERE position = ?", altered)
    tour.say(f"in the copy, somebody renames a network in event {position}:")
    output = tour.command("log", "verify", expect=TAMPERED, state=copy)
    tour.check(
        "verify names the position that was altered",
        holds=f"position {position} " in output or f"position {position}:" in output,
    )


def _shortened(lines: list[str], most: int) -> list[str]:
    if len(lines) > most:
        left_out = len(lines) - most + 1
        lines = [*lines[: most - 2], f"... {left_out} more lines", lines[-1]]
    return [line if len(line) <= WIDTH_SHOWN else line[:WIDTH_SHOWN] + " ..." for line in lines]


def _wreck(tour: Tour, facts: dict[str, str]) -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    for key in ("key1", "key2", "key3"):
        subprocess.run(["umount", facts[key]], check=True)
    for bridge in ("bridge1", "bridge2"):
        subprocess.run(["ip", "link", "delete", facts[bridge]], check=True)
    tour.say("flushed nftables, unmounted three namespaces, deleted two bridges")
