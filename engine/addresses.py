"""Address management as a user holds it: pools, who has what and why, reservations, leases of the dead.

Keeps: what it tells is the current state. Knows nothing of: how anything is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, Unpack

from msgspec import Struct

from ..domain.commands import (
    Command,
    Configure,
    EndReservation,
    Expire,
    LoseSandbox,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RequestAddress,
    RequestPool,
    ReserveAddress,
)
from ..domain.errors import Invalid, NotFound
from ..domain.events import LOCAL_DEFAULT, AddressAllocated, Event, PoolAllocated, Recorded
from ..domain.leases import retention_of
from ..domain.values import (
    AllocationPolicy,
    EndpointId,
    NetworkId,
    PoolId,
    PredefinedPool,
    SandboxId,
    Subnet,
    format_address,
    parse_address,
    parse_subnet,
)
from ..projections.occupancy import Explanation, Occupancy, explain_address, occupancy
from .lookup import find_network
from .making_way import evidence
from .requests import Asking, new_id
from .surroundings import here

if TYPE_CHECKING:
    from ..projections.views import Views
    from .controller import Controller
    from .model import Network

EventT = TypeVar("EventT", bound=Event)


class GoneLease(Struct, frozen=True):
    """An endpoint whose owner is proven gone: what it holds, the evidence, and since when (UTC nanoseconds; 0: now).

    `position` is that of the event that recorded the proof; 0 where the kernel shows it and no event does yet.
    """

    endpoint: str
    name: str
    network: str
    addresses: tuple[str, ...]
    evidence: str
    since: int
    position: int


class Requested(Struct, frozen=True):
    """A pool or address that was requested: the pool's id, the block or address, the lease to give it back under."""

    pool: str
    block: str
    address: str
    lease: str


class Settings(Struct, frozen=True):
    """A host's settings: predefined pools as `BASE in /SIZE` (none: libnetwork's), and how long leases are retained."""

    default_pools: tuple[str, ...]
    retention_seconds: int


class AddressManagement:
    """The address pools of a controller's log."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    # --- asking

    def pools(self) -> list[Occupancy]:
        """Count every pool, the oldest first."""
        now = here().now()
        with self._controller.reading() as views:
            return [occupancy(views, pool, now) for pool in views.ipam.pools]

    def inspect(self, text: str) -> list[Occupancy]:
        """Count the pools that are meant: by a pool's id, its subnet, or a network's name or id."""
        now = here().now()
        with self._controller.reading() as views:
            return [occupancy(views, pool, now) for pool in self._find(views, text)]

    def explain(self, text: str) -> list[Explanation]:
        """Say why an address is whose it is, or nobody's, in each pool that has it."""
        address = parse_address(text)
        now = here().now()
        with self._controller.reading() as views:
            found = explain_address(views, list(views.ipam.pools), address, now)
        if not found:
            raise NotFound(f"explain address {text}", "it is in no pool", "see `netledger ipam ls`")
        return found

    def history(self, explanation: Explanation) -> list[Recorded[Event]]:
        """Read what has ever happened to an explained address in its pool."""
        return list(self._controller.history(tags=(f"address:{explanation.pool}/{explanation.address}",)))

    def settings(self) -> Settings:
        """Tell this host's settings."""
        with self._controller.reading() as views:
            record = views.configuration(self._controller.host)
            pools = tuple(map(str, record.event.default_pools)) if record is not None else ()
            return Settings(pools, retention_of(views, self._controller.host))

    def gone(self, *, retention_seconds: int = 0) -> list[GoneLease]:
        """List the leases whose owner is proven gone, by the log or, where there is a dataplane, by the kernel now.

        `retention_seconds`: those alone that have been so for so long.
        """
        until = here().now() - retention_seconds * 10**9
        return [lease for lease in self._all_gone() if not retention_seconds or 0 < lease.since <= until]

    def _all_gone(self) -> list[GoneLease]:
        with self._controller.reading() as views:
            found = [
                self._gone(views, endpoint, left.event.cause, left.event.at, left.position)
                for endpoint, left in views.gone().items()
                if left.event.host == self._controller.host
            ]
            for sandbox, why in self._lost(views):
                found += [self._gone(views, endpoint, why, 0, 0) for endpoint in views.joined_to(sandbox)]
            return found

    def lost(self) -> list[tuple[str, str]]:
        """List the sandboxes that `collect` removes, by container, with what shows that their namespace is gone."""
        with self._controller.reading() as views:
            found = [(views.sandbox(sandbox), why) for sandbox, why in self._lost(views)]
            return [(record.event.container, why) for record, why in found if record is not None]

    # --- changing

    def collect(self, *, retention_seconds: int = 0, **asking: Unpack[Asking]) -> list[GoneLease]:
        """Give back the leases whose owner has been proven gone for so long; return those that went.

        A sandbox whose namespace is found to be gone only now is removed, too, whatever `retention_seconds` is.
        """
        with self._controller.working():
            with self._controller.reading() as views:
                lost: list[Command] = [LoseSandbox(sandbox, why) for sandbox, why in self._lost(views)]
            for result in self._controller.execute(lost, **asking) if lost else []:
                result.check()
            before = self._all_gone()
            asking = {**asking, "request": None} if lost else asking
            self._controller.do(Expire(retention_seconds), **asking)
            with self._controller.reading() as views:
                return [lease for lease in before if views.endpoint(EndpointId(lease.endpoint)) is None]

    def configure(
        self,
        *,
        default_pools: Sequence[str | tuple[str, int]] | None = None,
        retention_seconds: int | None = None,
        **asking: Unpack[Asking],
    ) -> Settings:
        """Set from where predefined pools are taken, each `BASE,SIZE`, and how long leases are retained.

        What is left out stays as it is; no pools at all are libnetwork's.
        """
        with self._controller.working() as machine:
            machine.catch_up()
            record = machine.views.configuration(machine.host)
            pools = record.event.default_pools if record is not None else ()
            if default_pools is not None:
                pools = tuple(map(read_predefined, default_pools))
            retention = retention_of(machine.views, machine.host) if retention_seconds is None else retention_seconds
            self._controller.do(Configure(pools, retention), **asking)
            return self.settings()

    def request_pool(
        self,
        subnet: str = "",
        *,
        space: str = LOCAL_DEFAULT,
        ip_range: str = "",
        ipv6: bool = False,
        allocation: str = AllocationPolicy.NEXT,
        rest_seconds: int = 0,
        lease: str | None = None,
        **asking: Unpack[Asking],
    ) -> Requested:
        """Take a pool that no network uses yet; a network with the same subnet and space claims it.

        Without `subnet` a predefined one; `0.0.0.0/24` or `::/64` one of that size.
        """
        block, size = read_block(subnet) if subnet else (None, 0)
        family = (6 if len(parse_subnet(subnet).address) == 16 else 4) if subnet else 6 if ipv6 else 4
        request = PoolRequest(
            family,
            block,
            policy=read_policy(allocation),
            space=space,
            size=size,
            sub_pool=parse_subnet(ip_range) if ip_range else None,
            rest_seconds=rest_seconds,
        )
        lease = lease or new_id(asking.get("request"), f"pool/{space}/{subnet}")
        event = self._only(PoolAllocated, RequestPool(request, lease), **asking)
        return Requested(event.pool, str(event.subnet), "", lease)

    def release_pool(self, pool: str, *, lease: str = "", **asking: Unpack[Asking]) -> None:
        """Give a requested pool back."""
        self._controller.do(ReleasePool(PoolId(pool), lease), **asking)

    def request_address(
        self, pool: str, address: str = "", *, lease: str | None = None, **asking: Unpack[Asking]
    ) -> Requested:
        """Take an address of a pool that nobody uses yet; an endpoint that is created with it claims it."""
        lease = lease or new_id(asking.get("request"), f"address/{pool}/{address}")
        command = RequestAddress(PoolId(pool), lease, parse_address(address) if address else b"")
        event = self._only(AddressAllocated, command, **asking)
        with self._controller.reading() as views:
            record = views.pool(event.pool)
            prefix = record.event.subnet.prefix if record is not None else len(event.address) * 8
        return Requested(event.pool, "", f"{format_address(event.address)}/{prefix}", lease)

    def release_address(self, pool: str, address: str, *, lease: str = "", **asking: Unpack[Asking]) -> None:
        """Give a requested address back."""
        self._controller.do(ReleaseAddress(PoolId(pool), parse_address(address), lease), **asking)

    def reserve(self, network: Network, name: str, address: str, **asking: Unpack[Asking]) -> None:
        """Keep an address for the endpoint of a name, which gets it whenever it is created."""
        self._controller.do(ReserveAddress(network.id, name, parse_address(address)), **asking)

    def unreserve(self, network: Network, address: str, **asking: Unpack[Asking]) -> None:
        """Keep an address for nobody any more."""
        self._controller.do(EndReservation(network.id, parse_address(address)), **asking)

    # --- within

    def _only(self, kind: type[EventT], command: Command, **asking: Unpack[Asking]) -> EventT:
        """Carry out a command, and find the one event of a kind that it amounts to."""
        result = self._controller.execute([command], **asking)[0]
        result.check()
        return next(record.event for record in result.own if isinstance(record.event, kind))

    def _find(self, views: Views, text: str) -> list[PoolId]:
        if PoolId(text) in views.ipam.pools:
            return [PoolId(text)]
        if "/" in text:
            subnet = parse_subnet(text)
            found = [pool for pool, record in views.ipam.pools.items() if record.event.subnet == subnet]
            if not found:
                raise NotFound(f"address pool {text}", "there is none", "see `netledger ipam ls`")
            return found
        network = views.network(find_network(views, self._controller.host, text))
        assert network is not None, "it was found"
        return [pool.pool for pool in network.event.pools]

    def _lost(self, views: Views) -> list[tuple[SandboxId, str]]:
        """Ask the dataplane for sandboxes of others whose namespace is gone, and say what shows it."""
        dataplane = self._controller.dataplane
        if dataplane is None or dataplane.is_volatile:
            return []
        mine = [record for record in views.sandboxes.sandboxes.values() if record.event.host == self._controller.host]
        found = [(record.event.sandbox, evidence(dataplane, record)) for record in mine]
        return [(sandbox, why) for sandbox, why in found if why]

    def _gone(self, views: Views, endpoint: EndpointId, why: str, since: int, position: int) -> GoneLease:
        record = views.endpoint(endpoint)
        assert record is not None, "an endpoint that is gone is still in the log"
        network = views.network(NetworkId(record.event.network))
        assert network is not None, "an endpoint's network is there"
        addresses = tuple(f"{format_address(held.address)}/{held.prefix}" for held in record.event.addresses)
        return GoneLease(endpoint, record.event.name, network.event.name, addresses, why, since, position)


def read_policy(text: str) -> AllocationPolicy:
    """Read how free addresses are chosen."""
    try:
        return AllocationPolicy(text)
    except ValueError:
        raise Invalid(f"allocation {text!r}", "unknown", f"known: {', '.join(AllocationPolicy)}") from None


def read_block(text: str) -> tuple[Subnet | None, int]:
    """Read a CIDR block, or (an unspecified address) the size of one that is to be chosen."""
    subnet = parse_subnet(text)
    if any(subnet.address) or not subnet.prefix:
        return subnet, 0
    return None, subnet.prefix


def read_predefined(given: str | tuple[str, int]) -> PredefinedPool:
    """Read a predefined pool: `BASE,SIZE`, or a pair."""
    if isinstance(given, str):
        base, comma, size = given.partition(",")
        if not comma or not (size.isascii() and size.isdigit()):
            raise Invalid(f"address pool {given!r}", "not BASE,SIZE", "write it like 10.64.0.0/10,24")
        given = (base, int(size))
    return PredefinedPool(parse_subnet(given[0]), given[1])
