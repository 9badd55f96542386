"""Measure attach, detach and rebuild on a real kernel against F, the least that reaches the same state (`floor.py`).

    python benchmarks/attach.py                     three minutes: IPv4, 10 and 900 endpoints present, and rebuild
    python benchmarks/attach.py --families 4 46     IPv4 alone, and both
    python benchmarks/attach.py --large             5,000 present on 8 bridges too
    python benchmarks/attach.py --json

It runs in private namespaces of its own, as root or as a plain user; the ledger and F's file are on the real disk, in
the directory for temporary files. Turns of F and of ours alternate in one process, on one and the same bridge; what
counts is the median of the ratios of the pairs. Each turn is three attaches in a row, a rest, and three detaches in a
row. `at rest` is the first of them: the process has slept, its code and data have left the processor's caches, and what
netledger puts off until nobody waits (ending dead namespaces, making one for the next sandbox) is done. `in a row` is
the last: warm, and whatever was put off is still to be done. `all of it` is what a turn costs from its first attach
until the kernel is quiet again, for each of its three endpoints, so that nothing put off is left out.

Each is measured by the clock and by the time that this process and the kernel for it take of a processor, which is what
can be compared on a machine with other work to do. With as many present as can be: `growth.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from floor import Floor, Packed, Wanted

from netledger import Controller
from netledger.dataplanes.contract import Place
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.linux.marks import Marks
from netledger.dataplanes.linux.namespaces import drop
from netledger.dataplanes.plan import difference
from netledger.domain.commands import (
    Command,
    CreateEndpoint,
    CreateSandbox,
    DeleteEndpoint,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
)
from netledger.domain.objects import TRACELESS, Address, KernelObject, Namespace, PortForward, Route, VethPair
from netledger.domain.values import (
    EndpointId,
    NetworkId,
    PortRequest,
    SandboxId,
    SandboxKind,
    Subnet,
    mac_for,
)
from netledger.engine.reconcile import rebuild
from netledger.ledger.ledger import Ledger
from netledger.projections.desired import lower_everything

T = TypeVar("T")

INSIDE = "NETLEDGER_BENCHMARK_INSIDE"
PRIVATE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c")
INIT = 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"'

REST_SECONDS = 0.012
SETTLE_SECONDS = 10.0
TCP, WEB = 6, 80
NOISE = 0.25
"""An interquartile range of the ratios over this is noise, not a measurement."""

IN_A_ROW = 3
BUDGETS = {"attach": 1.5, "detach": 2.0, "rebuild": 1.3}
SETTLED_BUDGET_MS = 100.0


class Spent(NamedTuple):
    """Nanoseconds, by the clock and of processors."""

    clock: int
    processors: int

    @classmethod
    def now(cls) -> Spent:
        """Read both."""
        return cls(time.perf_counter_ns(), time.process_time_ns())

    def since(self, before: Spent) -> Spent:
        """Subtract."""
        return Spent(self.clock - before.clock, self.processors - before.processors)


class Turn(NamedTuple):
    """What each attach and each detach of a row took, all from the first detach until settled, and all of it."""

    attach: list[Spent]
    detach: list[Spent]
    settled: int
    whole: Spent


class Row(NamedTuple):
    """What is printed: medians in milliseconds, the ratio's median and quartiles, and the most that it may be."""

    what: str
    floor_ms: float
    ours_ms: float
    ratio: float
    low: float
    high: float
    budget: float | None

    @property
    def verdict(self) -> str:
        """Say whether the budget is kept, or that this was noise."""
        if self.budget is None:
            return ""
        if (self.high - self.low) > NOISE * self.ratio:
            return "noise"
        return "kept" if self.ratio <= self.budget else "OVER"


class Level(NamedTuple):
    """The figures with so many endpoints present."""

    title: str
    rows: list[Row]
    settled_ms: float
    fsync_ms: float


class Member(NamedTuple):
    """An endpoint in a sandbox of its own, the port that it publishes, and its commands."""

    endpoint: EndpointId
    sandbox: SandboxId
    port: int
    coming: list[Command]
    going: list[Command]


class Stage:
    """A controller on the kernel, networks, and F beside it."""

    def __init__(self, folder: Path, families: str, bridges: int) -> None:
        state = folder / "state"
        state.mkdir()
        with Ledger.open(state / "ledger.db") as ledger:
            self.instance = ledger.instance
        self.dataplane = LinuxDataplane(self.instance)
        self.controller = Controller.open(state, dataplane=self.dataplane)
        self.networks = make_networks(self.controller, families, bridges)
        self.floor = Floor(Marks(self.instance), folder / "floor")
        self.ports = iter(range(20_000, 60_000))
        self.filled: list[Member] = []
        """Those that are there all the time."""

    def member(self, bridge: int = 0) -> Member:
        """Make up an endpoint."""
        return make_up(NetworkId(self.networks[bridge]), next(self.ports))

    def fill(self, present: int, at_once: int = 50) -> None:
        """Attach endpoints, evenly to all bridges, until so many are there."""
        while (there := len(self.filled)) < present:
            members = [
                self.member(number % len(self.networks)) for number in range(there, min(present, there + at_once))
            ]
            execute(self.controller, [command for member in members for command in member.coming])
            self.filled += members
            time.sleep(REST_SECONDS)

    def wanted(self, number: int) -> Wanted:
        """Make up what F makes: an endpoint of the first network that the log does not know."""
        endpoint, sandbox = EndpointId(secrets.token_hex(32)), SandboxId(secrets.token_hex(32))
        with self.controller.reading() as views:
            network = views.networks.networks[NetworkId(self.networks[0])].event
        addresses = [Address(sandbox, "eth0", p.subnet.at(4000 + number % 90), p.subnet.prefix) for p in network.pools]
        routes = [Route(sandbox, "eth0", Subnet(bytes(len(pool.gateway)), 0), pool.gateway) for pool in network.pools]
        ports = [PortForward(TCP, bytes(len(held.address)), 10_000 + number, held.address, WEB) for held in addresses]
        pair = VethPair(
            f"nlf{endpoint[:11]}", endpoint, network.device, sandbox, "eth0", mac_for(endpoint), 0, isolated=False
        )
        return Wanted(Namespace(sandbox, f"/run/floor/{sandbox[:12]}"), pair, addresses, routes, ports)

    def pack(self, wanted: Wanted) -> Packed:
        """Pack F's messages."""
        bridge = self.floor.index_of(wanted.pair.bridge)
        assert bridge is not None
        return self.floor.pack(wanted, bridge)

    def check_floor(self) -> None:
        """Check that what F makes is what ours would have made."""
        wanted = self.wanted(0)
        packed = self.pack(wanted)
        self.floor.attach(packed)
        place = Place(SandboxKind.MANAGED, wanted.namespace.path)
        there = self.dataplane.observe({wanted.namespace.sandbox: place}).objects
        for thing in (wanted.namespace, wanted.pair, *wanted.addresses, *wanted.routes, *wanted.ports):
            assert there.get(thing.key) == thing, f"F makes {there.get(thing.key)} of {thing}"
        self.floor.detach(packed)
        self.wait_for_end_of(wanted)

    def wait_for_end_of(self, wanted: Wanted) -> None:
        """Wait until the kernel has ended F's pair."""
        while self.floor.index_of(wanted.pair.host_name) is not None:
            time.sleep(0.003)

    def close(self) -> None:
        """Close everything."""
        self.floor.close()
        self.controller.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure attach, detach and rebuild.")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--present", type=int, nargs="*", default=[10, 900])
    parser.add_argument("--families", nargs="*", choices=["4", "46"], default=["4"])
    parser.add_argument("--large", action="store_true", help="with 5,000 present on 8 bridges too")
    parser.add_argument("--rebuild", type=int, default=3, metavar="ROUNDS", help="0 leaves it out")
    parser.add_argument("--endpoints", type=int, default=1000, help="so many are rebuilt")
    parser.add_argument("--json", action="store_true")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp(PRIVATE[0], [*PRIVATE, INIT, "sh", sys.executable, *sys.argv])
    options = parser.parse_args()
    Path("/run/floor").mkdir()

    report = Report(as_json=options.json)
    for families in options.families:
        with temporary() as folder, closing(Stage(folder, families, 1)) as stage:
            for present in options.present:
                report.add(measure(stage, present, options.pairs, title(families, present, 1)))
        if options.large:
            with temporary() as folder, closing(Stage(folder, families, 8)) as stage:
                report.add(measure(stage, 5000, options.pairs, title(families, 5000, 8)))
        if options.rebuild:
            report.add(measure_rebuild(families, options.endpoints, options.rebuild))
    report.end()


def measure(stage: Stage, present: int, pairs: int, named: str) -> Level:
    """Take turns with so many endpoints present."""
    stage.fill(present)
    wait_for_quiet()
    stage.check_floor()
    calibrate(stage)
    take_turns(stage)
    turns = [take_turns(stage) for _ in range(pairs)]
    fsync = [timed(stage.floor.append) for _ in range(pairs)]
    rows = [
        made
        for what in ("attach", "detach")
        for when, which in (("at rest", 0), ("in a row", -1))
        for made in row_pair(
            f"{what}, {when}", [getattr(f, what)[which] for f, _ in turns], [getattr(o, what)[which] for _, o in turns]
        )
    ]
    rows.append(row("all of it", [f.whole.processors for f, _ in turns], [o.whole.processors for _, o in turns]))
    settled = statistics.median(o.settled for _, o in turns) / 1e6
    return Level(named, rows, settled, statistics.median(spent.clock for spent in fsync) / 1e6)


def wait_for_quiet(patience_seconds: int = 120) -> None:
    """Wait until this process has nothing to do: it announces each endpoint three times, a second apart."""
    for _ in range(patience_seconds):
        before = time.process_time()
        time.sleep(1.2)
        if time.process_time() - before < 0.02:
            return


def calibrate(stage: Stage, tries: int = 10) -> None:
    """Choose the order of messages that makes F the shorter here."""
    spent: dict[bool, list[int]] = {True: [], False: []}
    for number in range(2 * tries):
        stage.floor.host_first = number % 2 == 0
        spent[stage.floor.host_first] += [attach.clock for attach in floor_turn(stage).attach]
    stage.floor.host_first = statistics.median(spent[True]) <= statistics.median(spent[False])


def take_turns(stage: Stage) -> tuple[Turn, Turn]:
    """Measure F and ours, in any order."""
    if random.random() < 0.5:
        return floor_turn(stage), our_turn(stage)
    ours = our_turn(stage)
    return floor_turn(stage), ours


def floor_turn(stage: Stage) -> Turn:
    """Measure F."""
    wanted = [stage.wanted(number) for number in range(IN_A_ROW)]
    packed = [stage.pack(one) for one in wanted]
    time.sleep(REST_SECONDS)
    first = Spent.now()
    attach = [timed(partial(stage.floor.attach, one)) for one in packed]
    time.sleep(REST_SECONDS)
    begun = time.perf_counter_ns()
    detach = [timed(partial(stage.floor.detach, one)) for one in packed]
    for one in wanted:
        stage.wait_for_end_of(one)
    return Turn(attach, detach, time.perf_counter_ns() - begun, each(Spent.now().since(first)))


def our_turn(stage: Stage) -> Turn:
    """Measure ours."""
    members = [stage.member() for _ in range(IN_A_ROW)]
    time.sleep(REST_SECONDS)
    first = Spent.now()
    attach = [timed(partial(execute, stage.controller, one.coming)) for one in members]
    time.sleep(REST_SECONDS)
    begun = time.perf_counter_ns()
    detach = [timed(partial(execute, stage.controller, one.going)) for one in members]
    assert stage.dataplane.settle(SETTLE_SECONDS)
    return Turn(attach, detach, time.perf_counter_ns() - begun, each(Spent.now().since(first)))


def each(spent: Spent) -> Spent:
    """Share what a turn took among its endpoints."""
    return Spent(spent.clock // IN_A_ROW, spent.processors // IN_A_ROW)


def measure_rebuild(families: str, endpoints: int, rounds: int) -> Level:
    """Take turns at making all endpoints of a log on a blank host: opening and rebuild, and F for each."""
    ours: list[Spent] = []
    floors: list[Spent] = []
    with temporary() as folder:
        state = folder / "state"
        with Controller.open(state, dataplane="none") as controller:
            networks = make_networks(controller, families, 2)
            for number in range(endpoints):
                execute(controller, make_up(NetworkId(networks[number % 2]), 20_000 + number).coming)
        for number in range(rounds + 1):
            turns: list[Callable[[], None]] = [
                lambda: ours.append(rebuild_once(state)),
                lambda: floors.append(floor_once(state, folder / "floor")),
            ]
            for turn in turns if number % 2 else reversed(turns):
                turn()
                time.sleep(3.0)  # the kernel ends a thousand namespaces
    named = f"{label(families)}, {endpoints:,} endpoints on two bridges, blank host, {rounds} rounds"
    return Level(named, row_pair("rebuild", floors[1:], ours[1:]), 0.0, 0.0)


def rebuild_once(state: Path) -> Spent:
    """Open a log and rebuild its host, a new one."""
    with blank_host() as host:
        begun = Spent.now()
        with Controller.open(state, dataplane="linux", namespace=str(host), recover=False) as controller:
            faults = rebuild(controller).faults
            spent = Spent.now().since(begun)
            assert not faults, faults[:3]
            with controller.reading() as views:
                end(lower_everything(views, controller.host).values())
    return spent


def floor_once(state: Path, appended: Path) -> Spent:
    """Do F, without the fsync, for each endpoint of a log on a new host that has its bridges and table."""
    with Controller.open(state, dataplane="none", read_only=True) as controller, controller.reading() as views:
        everything = lower_everything(views, controller.host)
        instance = controller.id[:8]
    objects = {key: thing for key, thing in everything.items() if not isinstance(thing, TRACELESS)}
    ends = wanted_of(objects.values())
    of_endpoints = {thing.key for wanted in ends for thing in flat(wanted)}
    of_host = {key: thing for key, thing in objects.items() if key not in of_endpoints}
    places = {wanted.namespace.sandbox: Place(SandboxKind.MANAGED, wanted.namespace.path) for wanted in ends}
    with blank_host() as host:
        dataplane = LinuxDataplane(instance, str(host))
        assert all(outcome.fault is None for outcome in dataplane.apply(difference(of_host, {}, {})))
        spent = within(host, lambda: floor_for_all(Marks(instance), appended, ends))
        assert dataplane.observe(places).objects == objects, "F makes what ours makes"
        dataplane.close()
        end(objects.values())
    return spent


def wanted_of(objects: Collection[KernelObject]) -> list[Wanted]:
    """Sort the objects of a host by the endpoint that they belong to; every sandbox has one."""
    by_sandbox: dict[SandboxId, dict[type[KernelObject], list[Any]]] = {}
    holders: dict[bytes, SandboxId] = {}
    for thing in objects:
        if isinstance(thing, Namespace | VethPair | Address | Route) and thing.sandbox:
            by_sandbox.setdefault(thing.sandbox, defaultdict(list))[type(thing)].append(thing)
            if isinstance(thing, Address):
                holders[thing.address] = thing.sandbox
    for thing in objects:
        if isinstance(thing, PortForward):
            by_sandbox[holders[thing.address]][PortForward].append(thing)
    return [
        Wanted(mine[Namespace][0], mine[VethPair][0], mine[Address], mine[Route], mine[PortForward])
        for mine in by_sandbox.values()
    ]


def floor_for_all(marks: Marks, appended: Path, all_wanted: Sequence[Wanted]) -> Spent:
    """Time F for each."""
    floor = Floor(marks, appended)
    bridges = {name: floor.index_of(name) or 0 for name in {wanted.pair.bridge for wanted in all_wanted}}
    packed = [floor.pack(wanted, bridges[wanted.pair.bridge]) for wanted in all_wanted]
    Path(all_wanted[0].namespace.path).parent.mkdir(parents=True, exist_ok=True)
    begun = Spent.now()
    for one in packed:
        floor.attach(one, durably=False)
    spent = Spent.now().since(begun)
    floor.close()
    return spent


def flat(wanted: Wanted) -> Iterator[KernelObject]:
    """List an endpoint's objects."""
    yield from (wanted.namespace, wanted.pair, *wanted.addresses, *wanted.routes, *wanted.ports)


def within(namespace: Path, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that stays there until it ends."""
    result: list[T] = []

    def enter() -> None:
        with namespace.open("rb") as file:
            setns(file.fileno())
        result.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return result[0]


def setns(descriptor: int) -> None:
    """Enter a namespace; `os.setns` came with Python 3.12."""
    import ctypes

    assert ctypes.CDLL(None).setns(descriptor, 0x40000000) == 0


@contextmanager
def blank_host() -> Iterator[Path]:
    """Make a network namespace with nothing but its loopback."""
    name = f"host{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def end(things: Iterable[KernelObject]) -> None:
    """Drop namespaces."""
    for thing in things:
        if isinstance(thing, Namespace):
            assert drop(thing.path)


def make_networks(controller: Controller, families: str, count: int) -> list[str]:
    """Create networks, 4,094 addresses each."""
    return [
        controller.create_network(
            f"bench{number}",
            subnets=[f"10.{100 + number}.0.0/20", *([f"fd00:{number:x}::/64"] if "6" in families else [])],
        ).id
        for number in range(count)
    ]


def make_up(network: NetworkId, port: int) -> Member:
    """Make up an endpoint with one published port, in a sandbox of its own."""
    endpoint, sandbox = EndpointId(secrets.token_hex(32)), SandboxId(secrets.token_hex(32))
    request = PortRequest(TCP, WEB, port)
    return Member(
        endpoint,
        sandbox,
        port,
        [
            CreateSandbox(sandbox, f"container-{sandbox[:12]}"),
            CreateEndpoint(endpoint, network, f"endpoint-{endpoint[:12]}", ports=(request,)),
            JoinEndpoint(endpoint, sandbox),
        ],
        [LeaveEndpoint(endpoint), DeleteEndpoint(endpoint), DeleteSandbox(sandbox)],
    )


def execute(controller: Controller, commands: Sequence[Command]) -> None:
    """Carry out commands; all must succeed."""
    for result in controller.execute(commands):
        result.check()


def timed(work: Callable[[], None]) -> Spent:
    """Time something."""
    begun = Spent.now()
    work()
    return Spent.now().since(begun)


def row_pair(what: str, floors: Sequence[Spent], ours: Sequence[Spent]) -> list[Row]:
    """Compare by the clock and by processor time."""
    return [
        row(what, [spent.clock for spent in floors], [spent.clock for spent in ours]),
        row(f"{what}, cpu", [spent.processors for spent in floors], [spent.processors for spent in ours]),
    ]


def row(what: str, floors: Sequence[int], ours: Sequence[int]) -> Row:
    """Compare, pair by pair."""
    ratios = [mine / floor for floor, mine in zip(floors, ours, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    middle = statistics.median(ratios)
    return Row(
        what,
        statistics.median(floors) / 1e6,
        statistics.median(ours) / 1e6,
        middle,
        low,
        high,
        BUDGETS.get(what.split(",", maxsplit=1)[0]),
    )


def title(families: str, present: int, bridges: int) -> str:
    """Name a level."""
    return f"{label(families)}, {present:,} present" + (f" on {bridges} bridges" if bridges > 1 else "")


def label(families: str) -> str:
    """Name the address families."""
    return {"4": "IPv4", "46": "IPv4 and IPv6"}[families]


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a directory on the disk."""
    with tempfile.TemporaryDirectory(prefix="netledger-bench-") as folder:
        yield Path(folder)


@contextmanager
def closing(stage: Stage) -> Iterator[Stage]:
    """Close a stage, and leave nothing in the kernel for the next one."""
    try:
        yield stage
    finally:
        with stage.controller.reading() as views:
            objects = lower_everything(views, stage.controller.host)
        end(objects.values())
        stage.close()
        for network in stage.networks:
            subprocess.run(["ip", "link", "delete", f"br-{network[:12]}"], check=True)
        time.sleep(3.0)


class Report:
    """Print levels as they come, or everything as JSON in the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._levels: list[Level] = []
        self._machine = machine()
        if not as_json:
            print(", ".join(f"{name} {value}" for name, value in self._machine.items()))

    def add(self, level: Level) -> None:
        """Take a level in."""
        self._levels.append(level)
        if self._as_json:
            return
        load = os.getloadavg()[0]
        print(f"\n{level.title} (load {load:.1f})")
        print(f"{'':<21}{'F ms':>8}{'ours ms':>9}{'ratio':>7}  {'quartiles':<13}{'at most':>8}")
        for one in level.rows:
            budget = f"{one.budget:>8.1f}  {one.verdict}" if one.budget else ""
            print(
                f"{one.what:<21}{one.floor_ms:>8.2f}{one.ours_ms:>9.2f}{one.ratio:>7.2f}"
                f"  {f'{one.low:.2f} - {one.high:.2f}':<13}{budget}".rstrip()
            )
        if level.settled_ms:
            kept = "kept" if level.settled_ms <= SETTLED_BUDGET_MS else "OVER"
            print(f"{'settled after':<21}{'':>8}{level.settled_ms:>9.1f}{'':>22}{SETTLED_BUDGET_MS:>8.0f}  {kept}")
            print(f"{'append + fsync':<21}{level.fsync_ms:>8.2f}", flush=True)

    def end(self) -> None:
        """Print the JSON."""
        if self._as_json:
            levels = [
                {
                    **level._asdict(),
                    "rows": [{**one._asdict(), "verdict": one.verdict} for one in level.rows],
                }
                for level in self._levels
            ]
            print(json.dumps({"machine": self._machine, "levels": levels}, indent=2))


def machine() -> dict[str, str]:
    """Describe the machine."""
    return {
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    main()
