"""The network that a log calls for, in memory: questions about who reaches whom, answered with the events to blame.

Keeps: no real kernel is touched, and the log is only read. Knows nothing of: how a packet finds its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec import structs

from ..dataplanes.contract import Place
from ..dataplanes.places import place_of
from ..dataplanes.simulated.fabric import PROTOCOLS, Fabric
from ..dataplanes.simulated.kernel import SimulatedKernel
from ..dataplanes.simulated.packets import ICMP, Hop, Reach, Spot, Verdict
from ..dataplanes.simulated.routing import is_loopback
from ..domain.drivers import traits_of
from ..domain.errors import Invalid, NotFound
from ..domain.facts import NamespaceIdentity
from ..domain.objects import MAKING_ORDER
from ..domain.values import (
    IPV4_BYTES,
    HostId,
    SandboxId,
    SandboxKind,
    format_address,
    parse_address,
)
from ..engine.lookup import find_endpoint, find_sandbox
from ..projections.desired import decided_at, lower_everything
from ..projections.views import Views
from .offers import Offer, offers

HOST = "host"
OUTSIDE = "outside"
LARGEST_PORT = 65535
SOURCES = ("com.docker.network.host_ipv4", "com.docker.network.host_ipv6")
"""Options of a network: as which address its packets leave the host."""
FAMILIES = {4: IPV4_BYTES, 6: 16}


class Question(NamedTuple):
    """Who asks for what, by names: `web`, `db`, `tcp/5432`, in which family of addresses."""

    source: str
    destination: str
    what: str
    family: int


class Simulation:
    """One host as its log wants it, beside a machine outside, both on a simulated underlay.

    A place is named `host`, `outside`, by a container or sandbox, or as NETWORK/ENDPOINT. What is asked for is `icmp`
    or PROTOCOL/PORT. The host has an address of the underlay, which `host` stands for, and every other that its log
    says it has: see `host_addresses`.
    """

    def __init__(self, views: Views, host: HostId) -> None:
        self._views = views
        self._host = host
        self._positions = decided_at(views, host)
        self.fabric = Fabric()
        self.kernel = self.fabric.adopt(build(views, host))
        self.outside = self.fabric.add_outside(OUTSIDE)
        self.fabric.give(self.kernel.host, host_addresses(views, host))

    def reach(self, source: str, destination: str, what: str = "icmp", *, family: int = 0) -> Reach:
        """Ask whether `source` reaches `destination`, which may be an address. Raises `NotFound` and `Invalid`.

        `family` 4 or 6 chooses among the destination's addresses; 0 takes the first.
        """
        protocol, port = parse_what(what)
        asker = self.spot(source)
        asked = self.fabric.reach(asker, self.address(destination, family), protocol, port)
        return structs.replace(asked, hops=self._told(asked.hops), reply=self._told(asked.reply))

    def matrix(self) -> dict[Question, Verdict]:
        """Ask everybody for everything that is there: every endpoint (an echo), every published port of the host.

        A port that is published at one address is asked for there; at a loopback address, by the host alone.
        """
        asked: dict[Question, Verdict] = {}
        for source in self._places():
            for offer in offers(self._views):
                question = Question(source, _destination(offer, source), offer.what, offer.family)
                found = self.reach(*question[:3], family=question.family)
                is_another = found.is_reached and found.at != Spot(self.kernel.host, offer.sandbox)
                asked[question] = Verdict.ANOTHER if is_another else found.verdict
        return asked

    def spot(self, name: str) -> Spot:
        """Find the place of a name."""
        if name in (HOST, OUTSIDE):
            return Spot(self.kernel.host if name == HOST else OUTSIDE)
        sandbox = self._sandbox(name)
        record = self._views.sandbox(sandbox)
        if record is not None and record.event.kind is SandboxKind.HOST:
            return Spot(self.kernel.host)
        if sandbox not in self.kernel.namespaces:
            because = "its container is not in a namespace that netledger enters"
            raise Invalid(f"reach from {name!r}", because, "ask from another container")
        return Spot(self.kernel.host, sandbox)

    def address(self, name: str, family: int = 0) -> bytes:
        """Find the address that a name stands for: an address itself, or the first of its endpoints or interfaces."""
        try:
            return parse_address(name)
        except Invalid:
            pass
        if name in (HOST, OUTSIDE):
            known = self.fabric.addresses_of(self.spot(name))
            if name == HOST:
                known = [address for address, _ in self.kernel.own.devices["eth0"].addresses]
        else:
            known = list(self._endpoint_addresses(name))
        wanted = [address for address in known if not family or len(address) == FAMILIES[family]]
        if not wanted:
            raise NotFound(f"an address of {name!r}", f"it has none{f' in IPv{family}' if family else ''}")
        return wanted[0]

    def _endpoint_addresses(self, name: str) -> Iterator[bytes]:
        views = self._views
        if "/" in name:
            endpoints = [find_endpoint(views, self._host, name)]
        else:
            endpoints = list(views.joined_to(self._container(f"reach {name!r}", name, "an address, ")))
        for identity in endpoints:
            endpoint = views.endpoint(identity)
            assert endpoint is not None, "it was found"
            yield from (address.address for address in endpoint.event.addresses)

    def _sandbox(self, name: str) -> SandboxId:
        if "/" not in name:
            return self._container(f"reach from {name!r}", name)
        joined = self._views.joined(find_endpoint(self._views, self._host, name))
        if joined is None:
            raise Invalid(f"reach from {name!r}", "the endpoint is in no sandbox", "join it to one")
        return joined.event.sandbox

    def _container(self, asked: str, name: str, also: str = "") -> SandboxId:
        try:
            return find_sandbox(self._views, self._host, name)
        except NotFound as error:
            remedy = f"name {also}`{HOST}`, `{OUTSIDE}`, a container (`netledger sandbox ls`) or NETWORK/ENDPOINT"
            raise NotFound(asked, "there is no container or sandbox of that name or id", remedy) from error

    def _places(self) -> list[str]:
        sandboxes = self._views.sandboxes.sandboxes
        inside = [there.event.container for name, there in sandboxes.items() if name in self.kernel.namespaces]
        return [*inside, HOST, OUTSIDE]

    def _told(self, hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
        """Put beside each object the position that called for it."""
        return tuple(
            structs.replace(hop, position=self._positions[hop.key]) if hop.key in self._positions else hop
            for hop in hops
        )


def _destination(offer: Offer, source: str) -> str:
    """Name where an offer is asked for: a port of one address there, one of a loopback address by the host alone."""
    at = offer.host_address
    if not at:
        return offer.name
    return format_address(at) if any(at) and (source == HOST or not is_loopback(at)) else HOST


def host_addresses(views: Views, host: HostId) -> list[bytes]:
    """List the addresses that a host has by what its log says: ports are published at them, or packets leave as them.

    Loopback addresses are every host's.
    """
    ports = (port.event for endpoint in views.endpoints.endpoints for port in views.ports_of(endpoint))
    published = {port.host_address for port in ports if port.host == host}
    options = [network.event.options for network in views.networks_on(host)]
    sources = {str(each.get(option, "")) for each in options for option in SOURCES}
    known = published | {parse_address(source) for source in sources if source}
    return sorted((each for each in known if any(each) and not is_loopback(each)), key=lambda each: (len(each), each))


def build(views: Views, host: HostId, name: str = HOST) -> SimulatedKernel:
    """Make everything that a log calls for in a new simulated kernel."""
    kernel = SimulatedKernel(name)
    for number, sandbox in enumerate(views.sandboxes.sandboxes):
        place = place_of(views, sandbox)
        if place is not None and place.kind is SandboxKind.ATTACHED:
            kernel.enter(sandbox, place.path, _identity(place, number))
    wanted = lower_everything(views, host)
    for card in sorted(_foreign(views, host)):
        kernel.add_card(card)
    for network in views.networks_on(host):
        if network.event.is_adopted:
            kernel.add_bridge(network.event.device)
    for made in sorted(wanted.values(), key=lambda made: MAKING_ORDER[type(made)]):
        kernel.make(made)
    return kernel


def _foreign(views: Views, host: HostId) -> set[str]:
    """Name the interfaces of the host's own that its networks stand on."""
    parents = {(traits_of(network.event).parent, network.event.makes_parent) for network in views.networks_on(host)}
    return {parent.rpartition(".")[0] if is_made else parent for parent, is_made in parents if parent}


def build_fabric(states: Mapping[str, tuple[Views, HostId]]) -> Fabric:
    """Make everything that the logs of several hosts call for, by the hosts' names, on one underlay."""
    fabric = Fabric()
    for name, (views, host) in states.items():
        fabric.adopt(build(views, host, name))
    return fabric


def describe(matrix: Mapping[Question, Verdict]) -> str:
    """Write a matrix down: a line for each place asked from, what it reaches and what it does not."""
    lines: dict[str, dict[Verdict, list[str]]] = {}
    for question, verdict in matrix.items():
        what = "" if question.what == "icmp" else f" {question.what}"
        label = f"{question.destination}{what}{' over IPv6' if question.family == 6 else ''}"  # as people say
        lines.setdefault(question.source, {}).setdefault(verdict, []).append(label)
    return "\n".join(f"{source}: {_sentence(found)}" for source, found in lines.items())


def _sentence(found: Mapping[Verdict, list[str]]) -> str:
    return "; ".join(f"{verdict}: {', '.join(there)}" for verdict, there in sorted(found.items()))


def parse_what(text: str) -> tuple[int, int]:
    """Read `icmp` or PROTOCOL/PORT; return the protocol's number and the port."""
    name, slash, port = text.partition("/")
    protocol = PROTOCOLS.get(name)
    is_number = port.isascii() and port.isdigit() and 1 <= int(port) <= LARGEST_PORT
    if protocol == ICMP and not slash:
        return protocol, 0
    if protocol in (None, ICMP) or not is_number:
        remedy = "write icmp, tcp/PORT, udp/PORT or sctp/PORT, with a port from 1 to 65535"
        raise Invalid(f"reach {text!r}", "it is neither icmp nor a protocol and a port", remedy)
    assert protocol is not None, "it was looked up"
    return protocol, int(port)


def _identity(place: Place, number: int) -> NamespaceIdentity:
    return place.identity or NamespaceIdentity("simulated", number)
