"""Address management against a model that is a dict of sets, for any pool, policy and order of events.

Keeps in every state: an address has one holder, counts add up to 2^n, the views are the fold of the log, and each
choice is the one that the policy promises. When everything was given back nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from netledger.domain.commands import (
    DeleteEndpoint,
    DeleteNetwork,
    EndReservation,
    Expire,
    RegisterHost,
    ReleaseAddress,
    RequestAddress,
    ReserveAddress,
)
from netledger.domain.errors import Conflict, Exhausted, Refusal
from netledger.domain.events import AddressAllocated
from netledger.domain.values import AllocationPolicy, PoolId, Subnet, parse_subnet
from netledger.projections.occupancy import occupancy
from netledger.projections.views import Views
from netledger.testing.checkers import check_log
from tests.desk import HOST, Desk, create_endpoint, create_network, identifier, pool

BLOCKS = ("10.0.0.0/29", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/24", "10.0.0.0/8", "10.0.0.7/32")
BLOCKS6 = ("fd00::/125", "fd00::/126", "fd00::/127", "fd00::/64", "fd00::/40", "fd00::7/128")
NAMES = [f"e{number}" for number in range(9)]
SECOND = 10**9
LEASES = [identifier(f"lease{number}") for number in range(3)]


@dataclass
class Model:
    """What a pool holds, as plain sets of ordinals."""

    first: int
    last: int
    lowest: int
    highest: int
    """The range that is chosen from; `first` and `last` bound what may be asked for."""
    policy: AllocationPolicy
    rest: int
    grace: int
    cursor: int = -1
    held: dict[int, str] = field(default_factory=dict)
    kept: dict[int, tuple[str, int]] = field(default_factory=dict)
    released: dict[int, int] = field(default_factory=dict)

    def resting(self, now: int) -> set[int]:
        """List what rests now."""
        return {ordinal for ordinal, at in self.released.items() if at + self.rest * SECOND > now}

    def bound(self, now: int) -> set[int]:
        """List what is kept for a name and still binds."""
        return {ordinal for ordinal, (_, until) in self.kept.items() if not until or until > now}

    def promise(self, name: str, now: int) -> set[int]:
        """List the ordinals of which a choice for a name must give one; none where it must be refused."""
        mine = {n for n in self.bound(now) if self.kept[n][0] == name and n not in self.held}
        if mine and name:
            return mine
        everything = range(self.lowest, self.highest + 1)
        taken = self.held.keys() | self.kept.keys() | self.resting(now)
        if self.highest - self.lowest > 300:
            start = self.lowest if self.policy is AllocationPolicy.LOWEST else max(self.cursor + 1, self.lowest)
            everything = range(start, min(start + 300, self.highest + 1))
        free = [ordinal for ordinal in everything if ordinal not in taken]
        if free:
            if self.policy is AllocationPolicy.LOWEST:
                return {free[0]}
            return {min(free, key=lambda ordinal: (ordinal <= self.cursor, ordinal))}
        over = {n for n in self.kept if n in everything and n not in self.held and n not in self.bound(now)}
        if over:
            return over
        mine = self.held.keys() | self.kept.keys()
        resting = {n: at for n, at in self.released.items() if n in everything and n not in mine}
        return {n for n in resting if resting[n] == min(resting.values())} if resting else set()

    def take(self, ordinal: int, who: str, *, chosen: bool) -> None:
        """Let somebody have an ordinal."""
        assert ordinal not in self.held, "no address is held twice"
        assert self.first <= ordinal <= self.last, "no reserved address is given"
        self.held[ordinal] = who
        self.released.pop(ordinal, None)
        if ordinal in self.kept and self.kept[ordinal][1]:
            del self.kept[ordinal]
        if chosen:
            self.cursor = ordinal

    def give(self, ordinal: int, now: int) -> None:
        """Take it back."""
        del self.held[ordinal]
        if self.rest:
            self.released[ordinal] = now


class AddressMachine(RuleBasedStateMachine):
    """One network with one pool: endpoints, requested addresses, reservations, and time."""

    endpoints = Bundle("endpoints")
    requested = Bundle("requested")
    blocks = BLOCKS

    @initialize(
        number=st.integers(0, 5),
        policy=st.sampled_from(AllocationPolicy),
        rest=st.sampled_from((0, 5)),
        grace=st.sampled_from((0, 9)),
        halved=st.booleans(),
    )
    def make(self, number: int, policy: AllocationPolicy, rest: int, grace: int, halved: bool) -> None:
        """Create the network."""
        self.desk = Desk()
        self.block = parse_subnet(self.blocks[number])
        bits = self.block.host_bits
        size = 1 << bits
        first, last = (0, size - 1) if bits <= 1 else (1, size - 2 if self.block.family == 4 else size - 1)
        half = Subnet(self.block.at(size // 2), self.block.prefix + 1) if halved and bits > 2 else None
        low = size // 2 if half else first
        self.model = Model(first, last, low, last, policy, rest, grace)
        asked = pool(str(self.block), policy=policy, rest_seconds=rest, grace_seconds=grace, sub_pool=half)
        driver = "bridge" if bits else "macvlan"  # which takes no gateway's address
        self.desk.do(RegisterHost(HOST, "host1", "boot"), create_network("n", asked, driver=driver))
        if bits:
            self.model.take(low, "gateway", chosen=True)
        self.pool = PoolId(f"{HOST}/LocalDefault/{self.block}")

    @rule(target=endpoints, name=st.sampled_from(NAMES))
    def create(self, name: str) -> object:
        """Create an endpoint whose address is chosen."""
        if name in self.model.held.values():
            self.desk.refusal(Conflict, create_endpoint("n", name))
            return multiple()
        return self._chosen(create_endpoint("n", name), name, name)

    @rule(target=endpoints, name=st.sampled_from(NAMES), number=st.integers(0, 9))
    def create_at(self, name: str, number: int) -> object:
        """Create an endpoint with an address of one's own choice, which may be a requested one."""
        if name in self.model.held.values():
            return multiple()
        ordinal = min(number, (1 << self.block.host_bits) - 1)
        command = create_endpoint("n", name)
        command = type(command)(command.endpoint, command.network, name, (self.block.at(ordinal),))
        is_free = ordinal not in self.model.held or self.model.held[ordinal] in LEASES
        kept = self.model.kept.get(ordinal)
        is_kept = kept is not None and kept[0] != name and ordinal in self.model.bound(self.desk.now)
        is_there = self.model.first <= ordinal <= self.model.last
        if not (is_free and is_there and not is_kept):
            self._refused(command)
            return multiple()
        self.desk.do(command)
        if ordinal in self.model.held:
            self.leases[ordinal] = self.model.held.pop(ordinal)
        self.model.take(ordinal, name, chosen=False)
        return name

    leases: dict[int, str]

    def __init__(self) -> None:
        super().__init__()
        self.leases = {}
        """Of which lease an address is that an endpoint has claimed."""

    @rule(name=consumes(endpoints))
    def delete(self, name: str) -> None:
        """Delete an endpoint: a requested address goes back, a sticky one is kept."""
        ordinal = next(ordinal for ordinal, who in self.model.held.items() if who == name)
        self.desk.do(DeleteEndpoint(identifier(f"n/{name}")))
        now = self.desk.now
        if ordinal in self.leases:
            self.model.held[ordinal] = self.leases.pop(ordinal)
            return
        self.model.give(ordinal, now)
        if self.model.policy is AllocationPolicy.STICKY and self.model.grace and ordinal not in self.model.kept:
            mine = [n for n, (other, _) in self.model.kept.items() if other == name]
            if not mine or self.model.kept[mine[0]][1]:
                for old in mine:
                    del self.model.kept[old]
                self.model.kept[ordinal] = (name, now + self.model.grace * SECOND)

    @rule(target=requested, lease=st.sampled_from(LEASES))
    def request(self, lease: str) -> object:
        """Request an address."""
        return self._chosen(RequestAddress(self.pool, lease), "", lease)

    @rule(address=consumes(requested))
    def release(self, address: bytes) -> None:
        """Give it back: refused while an endpoint has it, and when it was given back."""
        ordinal = self.block.ordinal(address)
        command = ReleaseAddress(self.pool, address)
        if self.model.held.get(ordinal) in LEASES:
            self.desk.do(command)
            self.model.give(ordinal, self.desk.now)
        else:
            self._refused(command)

    @rule(name=st.sampled_from(NAMES[:3]), number=st.integers(1, 6))
    def reserve(self, name: str, number: int) -> None:
        """Keep an address for a name."""
        if not self.model.first <= number <= self.model.last:
            return
        command = ReserveAddress(identifier("n"), name, self.block.at(number))
        holder, now = self.model.held.get(number), self.desk.now
        there = number in self.model.bound(now) and self.model.kept[number][0] != name
        mine = [n for n, (other, _) in self.model.kept.items() if other == name]
        if holder not in {None, name} or number in self.leases or there or any(not self.model.kept[n][1] for n in mine):
            self._refused(command)
            return
        self.desk.do(command)
        for old in mine:
            del self.model.kept[old]
        self.model.kept[number] = (name, 0)

    @rule(number=st.integers(1, 6))
    def unreserve(self, number: int) -> None:
        """End a reservation."""
        if number > self.model.last:
            return
        command = EndReservation(identifier("n"), self.block.at(number))
        if self.model.kept.pop(number, None) is None:
            self._refused(command)
        else:
            self.desk.do(command)

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.desk.wait(seconds)

    @rule()
    def expire(self) -> None:
        """End what is over."""
        self.desk.do(Expire(0))
        bound = self.model.bound(self.desk.now)
        self.model.kept = {n: kept for n, kept in self.model.kept.items() if n in bound}

    @precondition(lambda self: hasattr(self, "pool"))
    @invariant()
    def counts_add_up(self) -> None:
        """Compare the pool's count with the model's."""
        counted = occupancy(self.desk.views, self.pool, self.desk.now)
        held = {self.block.ordinal(address) for address in self._addresses()}
        assert held == set(self.model.held)
        kept = {n for n in self.model.kept if n not in self.model.held}
        resting = self.model.resting(self.desk.now) - kept - held
        assert (counted.kept, counted.resting) == (len(kept), len(resting))
        assert counted.free == self.model.last - self.model.first + 1 - len(held | kept | resting)
        assert (
            counted.size
            == counted.reserved + sum(counted.in_use.values()) + counted.kept + counted.resting + counted.free
        )

    def teardown(self) -> None:
        """Delete everything: nothing is left, and the whole log keeps its promises."""
        if not hasattr(self, "pool"):
            return
        scratch = Views()
        for record in self.desk.log:
            scratch.fold(record.position, record.event)
        assert scratch.digest() == self.desk.views.digest()
        self.desk.do(DeleteNetwork(identifier("n"), force=True))
        ipam = self.desk.views.ipam
        assert not any(table for table in ipam.tables().values())
        check_log(self.desk.log)

    # --- within

    def _chosen(self, command, name: str, who: str) -> object:
        promised = self.model.promise(name, self.desk.now)
        if not promised:
            self.desk.refusal(Exhausted, command)
            return multiple()
        again = self.desk.decide(command)
        events = self.desk.do(command)
        assert tuple(events) == again.events, "deciding twice gives the same"
        made = next(event for event in events if isinstance(event, AddressAllocated))
        ordinal = self.block.ordinal(made.address)
        assert ordinal in promised, f"{ordinal} is given, and {promised} was promised"
        self.model.take(ordinal, who, chosen=made.decided_by == "netledger")
        return who if name else made.address

    def _refused(self, command) -> None:
        before = self.desk.views.digest()
        try:
            self.desk.do(command)
        except Refusal:
            assert self.desk.views.digest() == before
        else:
            raise AssertionError(f"{command} was to be refused")

    def _addresses(self) -> list[bytes]:
        return [holder.event.address for holder in self.desk.views.holders_in(self.pool)]


class AddressMachine6(AddressMachine):
    """The same for IPv6 widths."""

    blocks = BLOCKS6


for machine in (AddressMachine, AddressMachine6):
    machine.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestIPv4 = AddressMachine.TestCase
TestIPv6 = AddressMachine6.TestCase
