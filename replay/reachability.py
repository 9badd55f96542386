"""Who reaches whom in a whole state, of any number of hosts: what is alike is asked once, and answered for all of it.

Keeps: every question of everybody for everything has an answer, the one that it would have if it were asked by itself.
Knows nothing of: how a packet finds its way, what makes two places alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from msgspec import Struct

from ..dataplanes.simulated.fabric import CARD, Fabric
from ..dataplanes.simulated.likeness import Kind, Likeness
from ..dataplanes.simulated.packets import Spot, Verdict
from ..dataplanes.simulated.routing import is_loopback
from ..domain.values import HostId, format_address
from ..projections.views import Views
from .offers import Offer, offers
from .simulation import HOST, OUTSIDE, Question, build_fabric, host_addresses


class Asker(NamedTuple):
    """A place that asks, and its own addresses."""

    name: str
    spot: Spot
    own: frozenset[bytes]


class Asked(NamedTuple):
    """An offer of a host."""

    host: str
    offer: Offer


class Answer(Struct, frozen=True):
    """What came of all questions of some askers for some offers that are alike.

    `itself`: of those where the address is the asker's own; None where the others are all, or there are none.
    """

    askers: Sequence[Asker]
    offers: Sequence[Asked]
    verdict: Verdict | None
    itself: Verdict | None


class Reachability:
    """The hosts of some logs and a machine outside, everybody of whom is asked for everything that is there.

    Names are those of `Simulation`; where there are several hosts, with the host in front: `host1:web`.
    """

    def __init__(self, states: Mapping[str, tuple[Views, HostId]]) -> None:
        self._states = states
        self.fabric: Fabric = build_fabric(states)
        self.fabric.add_outside(OUTSIDE)
        for name, (views, host) in states.items():
            self.fabric.give(name, host_addresses(views, host))

    @cached_property
    def _likeness(self) -> Likeness:
        """What is alike when that is asked for the first time."""
        return Likeness(self.fabric.hosts)

    @cached_property
    def _holders(self) -> dict[bytes, str]:
        """Which host has an address that others reach; of two the first, as packets find it."""
        found: dict[bytes, str] = {}
        for name in self._states:
            for address in self.fabric.addresses_of(Spot(name)):
                if not is_loopback(address):
                    found.setdefault(address, name)
        return found

    @cached_property
    def askers(self) -> list[list[Asker]]:
        """Everybody who asks, by what is alike: containers that are in a namespace, hosts, the machine outside."""
        groups: dict[Kind, list[Asker]] = {}
        for name, (views, _) in self._states.items():
            for sandbox, record in views.sandboxes.sandboxes.items():
                spot = Spot(name, sandbox)
                if sandbox in self.fabric.hosts[name].namespaces:
                    self._add(groups, self._named(name, record.event.container), spot)
            self._add(groups, self._named(name, HOST), Spot(name))
        self._add(groups, OUTSIDE, Spot(OUTSIDE))
        return list(groups.values())

    @cached_property
    def offers(self) -> list[list[Asked]]:
        """Everything that is asked for, by what is alike: endpoints' addresses, published ports."""
        groups: dict[Kind, list[Asked]] = {}
        for name, (views, _) in self._states.items():
            for offer in offers(views):
                groups.setdefault(self._kind_of(name, offer), []).append(Asked(name, offer))
        return list(groups.values())

    @cached_property
    def answers(self) -> list[Answer]:
        """Ask once for what is alike."""
        held = [{address: asker for asker in group for address in asker.own} for group in self.askers]
        inner = [{each.offer.inner: each for each in group} for group in self.offers]
        return [
            Answer(askers, asked, self._verdict(_strangers(askers, asked)), self._verdict(_selves(owners, by_address)))
            for askers, owners in zip(self.askers, held, strict=True)
            for asked, by_address in zip(self.offers, inner, strict=True)
        ]

    def __len__(self) -> int:
        """Count the questions that are answered."""
        return sum(map(len, self.askers)) * sum(map(len, self.offers))

    def packets(self) -> int:
        """Count those that were asked."""
        return sum((answer.verdict is not None) + (answer.itself is not None) for answer in self.answers)

    def __iter__(self) -> Iterator[tuple[Question, Verdict]]:
        """Give every question with its answer, one after the other: nothing of them is kept."""
        for answer in self.answers:
            for asker in answer.askers:
                for asked in answer.offers:
                    is_own = asked.offer.inner in asker.own
                    verdict = answer.itself if is_own else answer.verdict
                    assert verdict is not None, "what is asked of anybody is answered"
                    yield self.question(asker, asked), verdict

    def question(self, asker: Asker, asked: Asked) -> Question:
        """Write who asks for what by names."""
        offer = asked.offer
        at = offer.host_address
        if not at:
            destination = self._named(asked.host, offer.name)
        elif any(at) and (not is_loopback(at) or asker.spot == Spot(asked.host)):
            destination = format_address(at)
        else:
            destination = self._named(asked.host, HOST)
        return Question(asker.name, destination, offer.what, offer.family)

    # --- within

    def _named(self, host: str, name: str) -> str:
        return name if len(self._states) == 1 else f"{host}:{name}"

    def _add(self, groups: dict[Kind, list[Asker]], name: str, spot: Spot) -> None:
        own = frozenset(self.fabric.addresses_of(spot))
        groups.setdefault(self._likeness.of(spot), []).append(Asker(name, spot, own))

    def _kind_of(self, host: str, offer: Offer) -> Kind:
        """Tell an offer but for the endpoint's address and the number of the port."""
        kernel = self.fabric.hosts[host]
        spot = Spot(host, offer.sandbox)
        if offer.sandbox in kernel.namespaces:
            own = self.fabric.addresses_of(spot)
            target: Kind = (self._likeness.of(spot), own.index(offer.inner) if offer.inner in own else None)
        else:
            target = (host, offer.network, self._likeness.of_address(offer.inner))
        holder = self._holders.get(offer.host_address, host)  # the host to which the packets go, whoever publishes
        there, own_port = self.fabric.hosts[holder].own, (offer.protocol, offer.host_port)
        published = there.firewall.ports if there.firewall is not None else {}
        is_published = (offer.protocol, offer.host_address, offer.host_port) in published
        is_heard = there.listeners is None or own_port in there.listeners
        inside = kernel.namespaces.get(offer.sandbox)
        listened = inside is None or inside.listeners is None or (offer.protocol, offer.port) in inside.listeners
        return target, offer.protocol, offer.host_address, holder, is_published, is_heard, listened

    def _verdict(self, pair: tuple[Asker, Asked] | None) -> Verdict | None:
        """Ask; what another answers, who has the same address, is not reached."""
        if pair is None:
            return None
        asker, (host, offer) = pair
        address = offer.host_address or offer.inner
        is_others_loopback = is_loopback(address) and asker.spot != Spot(host)
        if offer.host_address and (not any(address) or is_others_loopback):
            card = self.fabric.hosts[host].own.devices[CARD]
            address = next(own for own, _ in card.addresses if len(own) == len(address))
        found = self.fabric.reach(asker.spot, address, offer.protocol, offer.host_port)
        if found.verdict is Verdict.REACHED and found.at != Spot(host, offer.sandbox):
            return Verdict.ANOTHER
        return found.verdict


def describe_alike(whole: Reachability) -> str:
    """Write the answers down: a line for each kind of asker, what it reaches and what it does not."""
    lines: dict[str, dict[str, list[str]]] = {}
    for answer in whole.answers:
        question = whole.question(answer.askers[0], answer.offers[0])
        what = "" if question.what == "icmp" else f" {question.what}"
        over = " over IPv6" if question.family == 6 else ""
        label = _and_others(f"{question.destination}{what}{over}", len(answer.offers))
        told = lines.setdefault(_and_others(answer.askers[0].name, len(answer.askers)), {})
        if answer.verdict is not None:
            told.setdefault(answer.verdict, []).append(label)
        if answer.itself is not None and answer.itself is not answer.verdict:
            told.setdefault(answer.itself, []).append(f"{label} where that is its own")
    return "\n".join(
        f"{source}: " + "; ".join(f"{verdict}: {', '.join(there)}" for verdict, there in sorted(found.items()))
        for source, found in lines.items()
    )


def _and_others(name: str, count: int) -> str:
    return name if count == 1 else f"{name} and {count - 1:,} like it"


def _strangers(askers: Sequence[Asker], asked: Sequence[Asked]) -> tuple[Asker, Asked] | None:
    """Find one who asks for what is not its own."""
    return next(((asker, each) for each in asked for asker in askers if each.offer.inner not in asker.own), None)


def _selves(owners: Mapping[bytes, Asker], inner: Mapping[bytes, Asked]) -> tuple[Asker, Asked] | None:
    """Find one who asks for what has an address of its own."""
    few, many = (owners, inner) if len(owners) < len(inner) else (inner, owners)
    return next(((owners[address], inner[address]) for address in few if address in many), None)
