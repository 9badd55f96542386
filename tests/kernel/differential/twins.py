"""Two hosts that are told the same: one of a real kernel, one simulated; each beside a machine outside.

Keeps: both decide by themselves, at the same time and with the same ids, so that their logs are equal when they agree.
Knows nothing of: which commands make sense.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

from msgspec import structs

from netledger import Controller
from netledger.dataplanes.contract import Instance, Observation, Plan, Step, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.dataplanes.simulated.fabric import Fabric
from netledger.dataplanes.simulated.model import RouteEntry
from netledger.dataplanes.simulated.packets import Reach, Spot, Verdict
from netledger.domain.commands import Command, CreateSandbox, SetSandboxKey
from netledger.domain.facts import CHOSEN_PORTS, Capabilities
from netledger.domain.objects import KernelObject, Key, Sysctl
from netledger.domain.values import SandboxId, SandboxKind, Subnet, format_address, parse_address
from netledger.replay import repair
from netledger.testing.author import Universe

from .prober import (
    ICMP,
    LISTENED,
    NO_ROUTE,
    REACHED,
    REFUSED,
    SILENCE,
    SOURCES,
    TCP,
    TOO_BIG,
    UDP,
    Answer,
    Prober,
    Question,
)

LEDGER = "0a1b2c3d" + "0" * 8 + "feedc0de" + "0" * 8
HOST, OUTSIDE = "host", "outside"
UNDERLAY4, UNDERLAY6 = "192.0.2.0/24", "2001:db8::/64"
ADDRESSES = {HOST: ("192.0.2.1", "2001:db8::1", "fe80::1"), OUTSIDE: ("192.0.2.2", "2001:db8::2", "fe80::2")}
NOWHERE4, NOWHERE6 = "203.0.113.9", "2001:db8:9::9"
"""Addresses that nobody has and no route leads to."""

BRIDGED = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
LISTENING = {(TCP, LISTENED), (UDP, LISTENED)}
UNPUBLISHED = 8099
LARGE = 1450
"""Bytes that do not fit where the MTU is 1,400, the one that programs choose beside the default."""
PATIENCE_SECONDS = 4.0
"""For so long packets are sent again that fare otherwise than simulated ones: a link may be slow to come up."""

VERDICTS = {
    Verdict.REACHED: REACHED,
    Verdict.REFUSED: REFUSED,
    Verdict.NO_ROUTE: NO_ROUTE,
    Verdict.TOO_BIG: TOO_BIG,
    Verdict.DROPPED: SILENCE,
    Verdict.NO_NEIGHBOUR: SILENCE,
    Verdict.UNANSWERED: SILENCE,
}
"""What a client can tell apart; the kernel says that there is no neighbour only after seconds."""

_numbers = itertools.count(1)


class Alike(SimulatedDataplane):
    """A simulated dataplane that can make what the Linux dataplane can."""

    def __init__(self, kernel: SimulatedKernel, real: LinuxDataplane) -> None:
        super().__init__(kernel)
        self._real = real
        self.firewall = real.firewall
        self.name_servers = [taken.block.address for taken in real.taken_blocks() if taken.use == "name server"]

    def capabilities(self, firewall: str = "") -> Capabilities:
        """Say what the Linux dataplane says."""
        return self._real.capabilities(firewall)


class Twins:
    """A real and a simulated host. `filters_bridged`: whether bridged packets pass the IP layer's hooks.

    `firewall`: the backend of the real one; the simulated one is as with nftables.
    """

    def __init__(
        self,
        prober: Prober,
        *,
        filters_bridged: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
        firewall: str = "nftables",
    ) -> None:
        self.prober = prober
        self.patience_seconds = patience_seconds
        self.clock = 1_700_000_000_000_000_000
        self.steps: list[str] = []
        number = next(_numbers)
        self.names = {place: f"twin{number}-{place}" for place in (HOST, OUTSIDE)}
        self.paths = {place: Path("/run/netns") / name for place, name in self.names.items()}
        self._attached: list[str] = []
        self._make_places()

        self.fabric = Fabric(UNDERLAY4, UNDERLAY6)
        self.kernel = self.fabric.add_host(HOST)
        outside = self.fabric.hosts[self.fabric.add_outside(OUTSIDE).host]
        for text in ADDRESSES[HOST][:2]:
            gateway = parse_address(text)
            outside.own.routes.append(RouteEntry(Subnet(bytes(len(gateway)), 0), "eth0", gateway))
        for own in (self.kernel.own, outside.own):
            own.listeners = LISTENING
        self.filter_bridged("1" if filters_bridged else "0")
        self.prober.visit([self.paths[HOST]], self._choose_ports_alike)
        self.steps.clear()

        real = LinuxDataplane(Instance(LEDGER[:8]), str(self.paths[HOST]), firewall=firewall)
        simulated = Alike(self.kernel, real)
        simulated.boot, simulated.firewall = real.boot_id(), firewall  # which is chosen in both logs
        self.dataplanes = (real, simulated)
        with mock.patch.object(secrets, "token_hex", lambda size: LEDGER[: size * 2]), self._moment():
            self.real, self.simulated = (
                Controller.open(dataplane=dataplane, actor="twin") for dataplane in self.dataplanes
            )

    # --- commands

    def do(self, *commands: Command) -> list[str]:
        """Carry out commands as one batch on both; return what is refused. Both must answer, and be, the same."""
        told = [self._with_identity(command) for command in commands]
        self.steps.append(f"twins.do({', '.join(map(repr, commands))})")
        with self._moment():
            request = f"r{self.clock}"
            answers = [
                [str(result.error or "") for result in each.execute(told, request=request)]
                for each in (self.real, self.simulated)
            ]
        self._agree("the answers differ", *answers)
        self.compare_logs()
        self.compare_states()
        return [error for error in answers[0] if error]

    def lose(self, choice: int) -> None:
        """Let somebody remove one object from both kernels, which then differ from the log in the same way; repair."""
        objects = self.compare_states()
        keys = [key for key, there in sorted(objects.items()) if not isinstance(there, Sysctl)]
        if not keys:
            return
        step = Step(Verb.REMOVE, objects[keys[choice % len(keys)]])
        self.steps.append(f"twins.lose({choice})  # {step.object}")
        for each, dataplane in zip((self.real, self.simulated), self.dataplanes, strict=True):
            with each.working() as machine:
                assert machine.subscriber is not None
                plan = Plan((step,), machine.subscriber._all_places())
            assert [outcome.fault for outcome in dataplane.apply(plan)] == [None]
        self.compare_states()
        self.mend()

    def mend(self) -> list[str]:
        """Repair both, which must find the same to do; return it."""
        self.steps.append("twins.mend()")
        with self._moment(), mock.patch.object(secrets, "token_hex", return_value=f"r{self.clock}"):
            answers = [repair(each) for each in (self.real, self.simulated)]
        self._agree("the repairs differ", *(each.comparison.lines for each in answers))
        self._agree("the repairs end differently", *(each.faults for each in answers))
        self.compare_logs()
        self.compare_states()
        return list(answers[0].comparison.lines)

    def filter_bridged(self, value: str) -> None:
        """Let bridged packets pass the IP layer's hooks on both (`1`), or not (`0`)."""
        self.steps.append(f"twins.filter_bridged({value!r})")

        def set_filter() -> None:
            for name in BRIDGED:
                Path("/proc/sys", *name.split(".")).write_text(value, encoding="ascii")

        self.prober.visit([self.paths[HOST]], set_filter)
        self.kernel.own.sysctls |= dict.fromkeys(BRIDGED, value)
        self.kernel.epoch += 1

    def compare_logs(self) -> None:
        """Both logs hold the same events."""
        real, simulated = (list(each.history()) for each in (self.real, self.simulated))
        differing = [
            f"{one and one.event}\nsimulated: {other and other.event}"
            for one, other in itertools.zip_longest(real, simulated)
            if one != other
        ]
        self._agree("the logs differ", differing[:1], [])

    def compare_states(self) -> Mapping[Key, KernelObject]:
        """Both kernels hold the same objects; return them. What was in a namespace may outlive it for a moment.

        That something was announced is kept by no kernel; the simulated one remembers it.
        """
        assert self.dataplanes[0].settle(5), "the kernel never settles"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            real, simulated = (self._observe(each) for each in (self.real, self.simulated))
            differing = [
                f"{key}: {real.objects.get(key)}, simulated: {simulated.objects.get(key)}"
                for key in sorted({*real.objects, *simulated.objects})
                if real.objects.get(key) != simulated.objects.get(key) and not key.startswith("announcement/")
            ]
            if not differing or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self._agree("the objects differ", differing, [])
        self._agree("what is lost differs", real.lost, simulated.lost)
        return real.objects

    # --- packets

    @property
    def places(self) -> dict[str, Path]:
        """The namespaces from which packets can be sent."""
        found = dict(self.paths)
        with self.real.reading() as views:
            for identity, record in views.sandboxes.sandboxes.items():
                if record.event.kind is not SandboxKind.DELEGATED and identity in self.kernel.namespaces:
                    found[record.event.container] = Path(record.event.path)
        return found

    def questions(self) -> list[Question]:
        """List everything that is worth asking, from everywhere."""
        addresses = {text: None for place in (HOST, OUTSIDE) for text in ADDRESSES[place][:2]}
        services = {(ICMP, 0): None, (TCP, LISTENED): None, (UDP, LISTENED): None, (TCP, UNPUBLISHED): None}
        published: dict[tuple[str, int, int], None] = {}
        loopback: dict[tuple[str, int, int], None] = {}
        with self.real.reading() as views:
            for network in views.networks.networks.values():
                addresses |= {format_address(pool.gateway): None for pool in network.event.pools if pool.gateway}
            for endpoint in views.endpoints.endpoints.values():
                addresses |= {format_address(held.address): None for held in endpoint.event.addresses}
            for ports in views.ports.by_endpoint.values():
                for protocol, host_address, host_port in ports:
                    loopback[("127.0.0.1" if len(host_address) == 4 else "::1", protocol, host_port)] = None
                    at = ADDRESSES[HOST][len(host_address) > 4]
                    published[(at, protocol, host_port)] = None
                    for pool in (pool for network in views.networks.networks.values() for pool in network.event.pools):
                        if len(pool.gateway) == len(host_address):
                            published[(format_address(pool.gateway), protocol, host_port)] = None
        what = [(text, *service) for text in (*addresses, NOWHERE4, NOWHERE6) for service in (*services, (UDP, 81))]
        large = [(text, UDP, LISTENED, LARGE) for text in addresses] + [
            (*each, LARGE) for each in published if each[1] == UDP
        ]
        asked = [Question(place, *each) for place in self.places for each in (*what, *published, *large)]
        return asked + [Question(HOST, *each) for each in loopback]

    def compare_packets(self, questions: Sequence[Question]) -> Counter[tuple[str, str]]:
        """Ask both the same; return how often something was asked and answered in a way: `tcp over IPv6`, `refused`."""
        questions = list(dict.fromkeys(questions))
        simulated = {question: self.reach(question) for question in questions}
        places = {self._spot(place): place for place in self.places}
        expected = {question: answers_of(reach, question, places) for question, reach in simulated.items()}
        deadline = time.monotonic() + self.patience_seconds
        left = questions
        while True:
            self.forget_neighbours()
            found = self.prober.ask(self.places, left)
            left = [question for question in left if found[question] not in expected[question]]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        differing = [
            f"{question}: {found[question]}, simulated: {expected[question][0]}\n{simulated[question]}"
            for question in left
        ]
        self._agree("packets fare differently", differing, [])
        return Counter((question.kind, answer.verdict) for question, (answer, *_) in expected.items())

    def ask(self, source: str, address: str, protocol: int = TCP, port: int = LISTENED, size: int = 84) -> Answer:
        """Ask both one question, and return what they agree about."""
        question = Question(source, address, protocol, port, size)
        self.compare_packets([question])
        return answers_of(self.reach(question), question, {self._spot(place): place for place in self.places})[0]

    def reach(self, question: Question) -> Reach:
        """Ask the simulator."""
        for sandbox in self.kernel.namespaces.values():
            sandbox.listeners = LISTENING
        spot = self._spot(question.source)
        return self.fabric.reach(spot, question.address, question.protocol, question.port, size=question.size)

    def forget_neighbours(self) -> None:
        """Let every namespace forget its neighbours: here, addresses are used again at once."""
        self.prober.visit(self.places.values(), _flush_neighbours)

    def _spot(self, place: str) -> Spot:
        if place in (HOST, OUTSIDE):
            return Spot(place if place == OUTSIDE else self.kernel.host)
        with self.real.reading() as views:
            for identity, record in views.sandboxes.sandboxes.items():
                if record.event.container == place:
                    return Spot(self.kernel.host, SandboxId(identity))
        raise LookupError(place)

    # --- the end

    def close(self) -> None:
        """Take everything away."""
        places = self.places
        for each in (self.real, self.simulated):
            each.close()
        for name, path in places.items():
            if name not in self.names and path.parent != Path("/run/netns"):
                subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True, timeout=30)
        ip(*(f"netns delete {name}" for name in (*self.names.values(), *self._attached)))

    # --- within

    def _observe(self, each: Controller) -> Observation:
        with each.working() as machine:
            assert machine.subscriber is not None
            return machine.subscriber.observe()

    def _make_places(self) -> None:
        host, outside = self.names[HOST], self.names[OUTSIDE]
        ip(f"netns add {host}", f"netns add {outside}")
        # Ends of the same index would get their carrier up to a second late.
        ip(f"-n {host} link add eth0 index 100 type veth peer eth0 netns {outside}")
        for place, name in self.names.items():
            four, six, near = ADDRESSES[place]
            lines = ["link set lo up", "link set eth0 addrgenmode none"]
            lines += [f"addr add {text} dev eth0 nodad" for text in (f"{near}/64", f"{six}/64")]
            lines += [f"addr add {four}/24 dev eth0", "link set eth0 up"]
            if place == OUTSIDE:
                lines += [f"route add default via {ADDRESSES[HOST][0]}", f"route add ::/0 via {ADDRESSES[HOST][1]}"]
            ip(*lines, namespace=name)

    def _choose_ports_alike(self) -> None:
        self.kernel.own.sysctls[CHOSEN_PORTS] = SOURCES.read_text(encoding="ascii")

    def _with_identity(self, command: Command) -> Command:
        """Say which namespace is really at the path of one that somebody else makes."""
        is_attached = isinstance(command, CreateSandbox) and command.kind is SandboxKind.ATTACHED
        if not isinstance(command, CreateSandbox | SetSandboxKey) or (
            isinstance(command, CreateSandbox) and not is_attached
        ):
            return command
        real, simulated = self.dataplanes
        if command.path in Universe().namespaces and not Path(command.path).exists():
            name = Path(command.path).name
            ip(f"netns add {name}")
            ip("link set lo up", namespace=name)  # as every runtime does
            self._attached.append(name)
        identity = real.identify(command.path)
        if identity is not None:
            simulated.namespaces[command.path] = identity
        return structs.replace(command, identity=identity)

    @contextlib.contextmanager
    def _moment(self) -> Iterator[None]:
        """Let time stand still while both do the same."""
        self.clock += 1_000_000
        moment = self.clock
        with mock.patch.object(time, "time_ns", return_value=moment):
            yield

    def _agree(self, words: str, real: object, simulated: object) -> None:
        if real != simulated:
            program = "\n".join(self.steps)
            if isinstance(real, list) and not simulated:
                raise AssertionError("\n".join([f"{words}:", *real, "after:", program]))
            raise AssertionError(f"{words}:\n{real}\nsimulated:\n{simulated}\nafter:\n{program}")


def answers_of(reach: Reach, question: Question, places: Mapping[Spot, str]) -> list[Answer]:
    """Reduce the simulator's answer to what a client and the servers can tell.

    A router says that it knows no way only so often (net.ipv4.route.error_burst): it may as well be silent.
    """
    answer = _answer_of(reach, question, places)
    last = reach.hops[-1]
    is_told_by_router = answer.verdict == NO_ROUTE and places[Spot(last.host, last.sandbox)] != question.source
    return [answer, Answer(SILENCE)] if is_told_by_router else [answer]


def _answer_of(reach: Reach, question: Question, places: Mapping[Spot, str]) -> Answer:
    verdict = VERDICTS[reach.verdict]
    is_heard = not reach.hops[-1].what.startswith("has nobody who listens")  # a refusal may be lost on its way back
    if (
        reach.at is None
        or not is_heard
        or verdict in (REFUSED, NO_ROUTE, TOO_BIG)
        or (verdict == SILENCE and question.protocol == TCP)
    ):
        return Answer(verdict)
    return Answer(verdict, places[reach.at], format_address(reach.seen_from))


def ip(*lines: str, namespace: str = "") -> None:
    """Carry out lines as the program ip reads them, in a namespace."""
    if not lines:
        return
    if lines[0].startswith("-n "):
        command, text = ["ip", *lines[0].split()], ""
    else:
        command, text = ["ip", *(["-n", namespace] if namespace else []), "-batch", "-"], "\n".join(lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{lines}: {done.stderr}"


def _flush_neighbours() -> None:
    """Delete every neighbour entry of the namespace that this thread is in (RTM_GETNEIGH, RTM_DELNEIGH)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(2)
        asking.send(struct.pack("=IHHII", 28, 30, 0x301, 1, 0) + bytes(12))
        entries: list[bytes] = []
        is_done = False
        while not is_done:
            data = asking.recv(65536)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind == 3:  # the end of the dump
                    is_done = True
                elif kind == 28:
                    entries.append(data[16:size])
                data = data[(size + 3) & ~3 :]
        for entry in entries:
            state = struct.unpack_from("=H", entry, 8)[0]
            if not state & 0xC0:  # neither permanent nor without a need for one
                asking.send(struct.pack("=IHHII", 16 + len(entry), 29, 1, 2, 0) + entry)
