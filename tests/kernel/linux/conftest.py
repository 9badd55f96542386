"""A stage for the Linux dataplane: a host, an outside world beside it, hand-built plans, and real packets.

State is read back with `ip -j` and `nft -j`, never with our own decoder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import ipaddress
import itertools
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netledger.dataplanes.contract import Instance, Outcome, Place, Plan, Status, Step, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.domain.objects import (
    MAKING_ORDER,
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Key,
    Masquerade,
    Namespace,
    PortForward,
    Route,
    Sysctl,
    VethPair,
)
from netledger.domain.values import EndpointId, NetworkId, SandboxId, SandboxKind, Subnet, mac_for

T = TypeVar("T")

INSTANCE = Instance("0a1b2c3d")
ANSWER_SECONDS = 10.0
"""For what is expected to answer, on a machine that is busy with other tests."""
SILENCE_SECONDS = 0.5
"""For what is expected not to."""
OUTSIDE4, OUTSIDE6 = "198.51.100.2", "2001:db8::2"
HOST4, HOST6 = "198.51.100.1", "2001:db8::1"
TCP, UDP = 6, 17


def packed(text: str) -> bytes:
    """Pack an address."""
    return ipaddress.ip_address(text).packed


def identifier(text: str) -> str:
    """Make 64 hex digits of a name."""
    return hashlib.sha256(text.encode()).hexdigest()


def shell(*command: str | Path) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def inside(namespace: str | Path, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that enters it and ends."""
    result: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            assert ctypes.CDLL(None).setns(descriptor, 0x40000000) == 0
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


class Network:
    """The objects of a bridge network."""

    def __init__(
        self, name: str, *subnets: str, icc: bool = True, internal: bool = False, masquerade: bool = True, mtu: int = 0
    ) -> None:
        self.id = NetworkId(identifier(name))
        self.device = f"br-{self.id[:12]}"
        self.subnets = [ipaddress.ip_network(subnet) for subnet in subnets]
        self.icc = icc
        self.mtu = mtu
        self.hosts = itertools.count(2)
        self.bridge = Bridge(self.device, self.id, mac_for(self.id), mtu)
        self.policy = ForwardPolicy(self.device, icc, internal)
        self.addresses = [
            Address(SandboxId(""), self.device, subnet[1].packed, subnet.prefixlen) for subnet in self.subnets
        ]
        if any(subnet.version == 6 for subnet in self.subnets):  # the kernel asks for neighbours from it
            self.addresses.append(Address(SandboxId(""), self.device, packed("fe80::1"), 64))
        self.masquerades = [Masquerade(self.device, s.version) for s in self.subnets if masquerade and not internal]

    @property
    def objects(self) -> list[KernelObject]:
        """List them all."""
        return [self.bridge, self.policy, *self.masquerades, *self.addresses]


class Member:
    """The objects of an endpoint and of the sandbox that is its own."""

    def __init__(self, network: Network, name: str, folder: Path, *, path: Path | None = None) -> None:
        self.network = network
        self.endpoint = EndpointId(identifier(name))
        self.sandbox = SandboxId(identifier(f"sandbox of {name}"))
        self.path = path or folder / self.sandbox[:12]
        ordinal = next(network.hosts)
        self.texts = [str(subnet[ordinal]) for subnet in network.subnets]
        self.namespace = Namespace(self.sandbox, str(self.path))
        self.pair = VethPair(
            host_name=f"nl{self.endpoint[:11]}",
            endpoint=self.endpoint,
            bridge=network.device,
            sandbox=self.sandbox,
            name="eth0",
            mac=mac_for(self.endpoint),
            mtu=network.mtu,
            isolated=not network.icc,
        )
        self.addresses = [
            Address(self.sandbox, "eth0", packed(text), subnet.prefixlen)
            for text, subnet in zip(self.texts, network.subnets, strict=True)
        ]
        self.routes = [
            Route(self.sandbox, "eth0", Subnet(bytes(len(s[1].packed)), 0), s[1].packed) for s in network.subnets
        ]
        self.place = Place(SandboxKind.MANAGED, str(self.path))

    def publish(self, host_port: int, port: int = 80, protocol: int = TCP, at: str = "") -> list[PortForward]:
        """List the objects that publish a port in each family, or at one address."""
        return [
            PortForward(protocol, packed(at) if at else bytes(len(packed(text))), host_port, packed(text), port)
            for text in self.texts
            if not at or len(packed(at)) == len(packed(text))
        ]

    @property
    def objects(self) -> list[KernelObject]:
        """List them all."""
        return [self.namespace, *self.inner]

    @property
    def inner(self) -> list[KernelObject]:
        """List all but the namespace."""
        return [self.pair, *self.addresses, *self.routes]


class Stage:
    """A host with a dataplane, and an outside world that is connected to it."""

    network = Network

    def __init__(
        self, host: Path, outside: Path, folder: Path, instance: Instance = INSTANCE, firewall: str = "nftables"
    ) -> None:
        self.host = host
        self.outside = outside
        self.folder = folder
        self.instance = instance
        self.table = f"netledger-{instance}"
        self.places: dict[SandboxId, Place] = {}
        self.dataplane = LinuxDataplane(instance, str(host), firewall=firewall)
        self.forwarding: list[KernelObject] = [
            Firewall(),
            Sysctl(SandboxId(""), "net.ipv4.ip_forward", "1"),
            Sysctl(SandboxId(""), "net.ipv6.conf.all.forwarding", "1"),
        ]

    def member(self, network: Network, name: str, **options: Any) -> Member:
        """Make up an endpoint in a sandbox of its own."""
        member = Member(network, name, self.folder, **options)
        self.places[member.sandbox] = member.place
        return member

    def apply(self, verb: Verb, objects: Iterable[KernelObject]) -> dict[Key, Outcome]:
        """Apply a plan of these objects, in the order of making or its reverse."""
        ordered = sorted(objects, key=lambda thing: MAKING_ORDER[type(thing)], reverse=verb is Verb.REMOVE)
        steps = tuple(Step(verb, thing) for thing in ordered)
        outcomes = self.dataplane.apply(Plan(steps, self.places))
        assert [outcome.step for outcome in outcomes] == list(steps)
        return {outcome.step.key: outcome for outcome in outcomes}

    def make(self, *objects: KernelObject) -> None:
        """Make objects, all of which must succeed."""
        for outcome in self.apply(Verb.MAKE, objects).values():
            assert outcome.status is Status.MADE or isinstance(outcome.step.object, Sysctl), outcome

    def remove(self, *objects: KernelObject) -> None:
        """Remove objects, all of which must be there, and settle."""
        for outcome in self.apply(Verb.REMOVE, objects).values():
            assert outcome.status in {Status.REMOVED, Status.DYING}, outcome
        assert self.dataplane.settle(5)

    def observed(self) -> set[KernelObject]:
        """Observe, and return the objects."""
        observation = self.dataplane.observe(self.places)
        assert all(key == thing.key for key, thing in observation.objects.items())
        return set(observation.objects.values())

    def ip(self, *words: str, namespace: str | Path | None = None) -> Any:
        """Read with `ip -j`, in the host."""
        output = shell("nsenter", f"--net={namespace or self.host}", "ip", "-j", *words)
        return [entry for entry in json.loads(output or "[]") if entry]

    def run(self, *words: str | Path, namespace: str | Path | None = None) -> str:
        """Run a command in the host."""
        return shell("nsenter", f"--net={namespace or self.host}", *words)

    def elements(self, name: str) -> list[Any]:
        """Read what is in a set or map with `nft -j`."""
        listed = json.loads(self.run("nft", "-n", "-j", "list", "table", "inet", self.table))["nftables"]
        found = [entry.get("set") or entry.get("map") for entry in listed if "set" in entry or "map" in entry]
        return next(entry.get("elem", []) for entry in found if entry["name"] == name)

    @contextlib.contextmanager
    def listening(self, where: str | Path, address: str, port: int, protocol: int = TCP) -> Iterator[socket.socket]:
        """Listen in a namespace."""

        def listen() -> socket.socket:
            kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if protocol == TCP:
                made.listen(8)
            return made

        with inside(where, listen) as listener:
            yield listener

    def is_silent(self, client: str | Path, address: str, port: int, listener: socket.socket) -> bool:
        """Whether a request gets no answer."""
        return self.reach(client, address, port, listener, SILENCE_SECONDS) is None

    def reach(
        self,
        client: str | Path,
        address: str,
        port: int,
        listener: socket.socket,
        seconds: float = ANSWER_SECONDS,
    ) -> str | None:
        """Send a request and its answer; return the client's address as the server saw it, None when nothing came."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener.settimeout(seconds)
        with inside(client, lambda: socket.socket(family, listener.type)) as request:
            request.settimeout(seconds)
            try:
                if listener.type == socket.SOCK_DGRAM:
                    request.sendto(b"question", (address, port))
                    _, peer = listener.recvfrom(64)
                    listener.sendto(b"answer", peer)
                    assert request.recv(64) == b"answer"
                    return str(peer[0])
                request.connect((address, port))
                served, peer = listener.accept()
                with served:
                    served.settimeout(seconds)
                    served.sendall(b"answer")
                    assert request.recv(64) == b"answer"
                return str(peer[0])
            except OSError:
                return None


@pytest.fixture
def firewall() -> str:
    """Name the firewall backend of the stage's dataplane."""
    return "nftables"


@pytest.fixture
def stage(host: Path, tmp_path: Path, firewall: str) -> Iterator[Stage]:
    """Give a host, connected to an outside world by a cable, with a dataplane of its own."""
    outside = f"{host.name}-outside"
    shell("ip", "netns", "add", outside)
    # Ends of the same index would get their carrier up to a second late: the kernel takes only unequal ones for urgent.
    cable = ["ip", "-n", host.name, "link", "add", "uplink", "index", "100", "type", "veth", "peer", "uplink", "netns"]
    try:
        shell(*cable, outside)
        for name, four, six, near in ((host.name, HOST4, HOST6, "fe80::1"), (outside, OUTSIDE4, OUTSIDE6, "fe80::2")):
            shell("ip", "-n", name, "link", "set", "lo", "up")
            shell("ip", "-n", name, "link", "set", "uplink", "addrgenmode", "none")
            shell("ip", "-n", name, "addr", "add", f"{near}/64", "dev", "uplink", "nodad")
            shell("ip", "-n", name, "addr", "add", f"{four}/24", "dev", "uplink")
            shell("ip", "-n", name, "addr", "add", f"{six}/64", "dev", "uplink", "nodad")
            shell("ip", "-n", name, "link", "set", "uplink", "up")
        made = Stage(host, Path("/run/netns") / outside, tmp_path / "namespaces", firewall=firewall)
        try:
            yield made
        finally:
            made.dataplane.close()
            for place in made.places.values():
                with contextlib.suppress(AssertionError):
                    shell("umount", "--lazy", place.path)
    finally:
        shell("ip", "netns", "delete", outside)
