"""`netledger ipam`: ls, inspect, explain, gc, reserve, unreserve, configure.

Must not know: how a block or an address is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from .exits import DONE
from .options import HERE, THIS_HOST, THIS_USER, Author, Host, Log, Request
from .printing import ID_SHOWN, as_builtins, document, fields, note, table
from .session import changing, looking, reading

if TYPE_CHECKING:
    from ...engine.addresses import GoneLease
    from ...engine.controller import Controller
    from ...projections.occupancy import Occupancy

app = App(name="ipam", help="Addresses: pools, who has what and why, reservations, leases of the dead.")


@app.command
def ls(*, log: Log = HERE) -> int:
    """List the address pools, the oldest first, and how full they are."""
    with reading(log) as controller:
        pools = controller.ipam.pools()
        if log.json:
            document([as_builtins(pool) for pool in pools])
        else:
            table(
                ("subnet", "space", "user", "range", "policy", "in use", "kept", "resting", "free"),
                (
                    (
                        pool.subnet,
                        pool.space,
                        pool.user,
                        pool.sub_pool,
                        pool.policy,
                        sum(pool.in_use.values()),
                        pool.kept,
                        pool.resting,
                        str(pool.free),
                    )
                    for pool in pools
                ),
            )
    return DONE.status


@app.command
def inspect(pool: str, /, *, log: Log = HERE) -> int:
    """Tell who holds what in a POOL: a subnet, a network, or a pool's id."""
    with reading(log) as controller:
        found = controller.ipam.inspect(pool)
        if log.json:
            document([as_builtins(each) for each in found])
        else:
            for number, each in enumerate(found):
                if number:
                    print()
                _show(each)
    return DONE.status


@app.command
def explain(what: str, /, *, log: Log = HERE) -> int:
    """Say why an ADDRESS is whose it is or nobody's, or why a POOL (a subnet, a network) is as full as it is."""
    import msgspec

    from ...projections.occupancy import why_full
    from .records import as_json, one_line

    with reading(log) as controller:
        if _is_address(what):
            explained = controller.ipam.explain(what)
            if log.json:
                histories = [[as_json(record) for record in controller.ipam.history(each)] for each in explained]
                document(
                    [
                        {**msgspec.structs.asdict(each), "history": history}
                        for each, history in zip(explained, histories, strict=True)
                    ]
                )
            else:
                for each in explained:
                    print(f"{each.address} in {each.subnet}: {each.words} (position {each.position})")
                    for record in controller.ipam.history(each):
                        print(f"  {one_line(record)}")
        else:
            found = _pools(controller, what)
            if log.json:
                document([{"pool": each.pool, "subnet": each.subnet, "words": why_full(each)} for each in found])
            else:
                for counted in found:
                    print(f"{counted.subnet} ({counted.space}, {counted.user}): {why_full(counted)}")
                    for used in counted.avoided:
                        print(f"  kept away from {used}")
    return DONE.status


@app.command
def gc(
    *,
    plan: Annotated[bool, Parameter(help="Show what would be given back, and give nothing back.")] = False,
    retention: Annotated[
        int, Parameter(help="Spare those that were proven gone within so many seconds. Else none.")
    ] = 0,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Give back what endpoints hold whose sandbox's namespace is proven gone; end reservations that are over.

    A sandbox whose namespace is found to be gone is removed, too: what is told of it is on stderr.
    """
    if plan:
        with looking(log, host) as controller:
            lost = controller.ipam.lost()
            _leases(controller.ipam.gone(retention_seconds=retention), log)
    else:
        with changing(log, host, author) as controller:
            lost = controller.ipam.lost()
            gone = controller.ipam.collect(retention_seconds=retention, reason=author.reason, request=request)
            _leases(gone, log)
    for container, why in lost:
        note(f"the sandbox of container {container} {'goes, too' if plan else 'was removed, too'}: {why}")
    return DONE.status


@app.command
def reserve(
    network: str,
    name: str,
    address: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Keep an ADDRESS of NETWORK for the endpoint NAME, which gets it whenever it is created."""
    with changing(log, host, author) as controller:
        controller.ipam.reserve(controller.network(network), name, address, reason=author.reason, request=request)
    return DONE.status


@app.command
def unreserve(
    network: str,
    address: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Keep an ADDRESS of NETWORK for no name any more."""
    with changing(log, host, author) as controller:
        controller.ipam.unreserve(controller.network(network), address, reason=author.reason, request=request)
    return DONE.status


@app.command
def configure(
    *,
    pool: Annotated[
        tuple[str, ...], Parameter(help="A predefined pool, BASE,SIZE like 10.64.0.0/10,24; repeatable.")
    ] = (),
    docker_pools: Annotated[bool, Parameter(help="Take predefined blocks from Docker's pools again.")] = False,
    retention: Annotated[
        int | None, Parameter(help="So many seconds an endpoint keeps its addresses whose owner is proven gone.")
    ] = None,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Set from where predefined subnets are taken and how long leases are retained; print how it is set."""
    wanted = () if docker_pools else pool or None
    with changing(log, host, author) as controller:
        if wanted is None and retention is None:
            settings = controller.ipam.settings()
        else:
            settings = controller.ipam.configure(
                default_pools=wanted, retention_seconds=retention, reason=author.reason, request=request
            )
        if log.json:
            document(as_builtins(settings))
        else:
            fields(
                {
                    "default_pools": settings.default_pools or "Docker's",
                    "retention_seconds": settings.retention_seconds,
                }
            )
    return DONE.status


def _is_address(text: str) -> bool:
    from ...domain.errors import Invalid
    from ...domain.values import parse_address

    try:
        parse_address(text)
    except Invalid:
        return False
    return True


def _pools(controller: Controller, what: str) -> list[Occupancy]:
    from ...domain.errors import NotFound

    try:
        return controller.ipam.inspect(what)
    except NotFound as error:
        because = "it is no address, and no subnet of a pool, network or pool's id here is called that"
        raise NotFound(f"explain {what!r}", because, "see `netledger ipam ls`") from error


def _show(pool: Occupancy) -> None:
    from ...projections.occupancy import why_full

    fields(
        {
            "subnet": pool.subnet,
            "range": pool.sub_pool,
            "space": pool.space,
            "user": pool.user,
            "pool": pool.pool,
            "policy": pool.policy,
            "rest_seconds": pool.rest_seconds or None,
            "grace_seconds": pool.grace_seconds or None,
            "ipam_driver": pool.ipam_driver,
            "taken": f"at position {pool.position}",
            "avoided": pool.avoided,
            "addresses": why_full(pool),
        }
    )
    rows = [(held.address, held.purpose, held.owner, held.decided_by, held.position) for held in pool.holders]
    rows += [(kept.address, "kept", f"endpoint {kept.name}", "", kept.position) for kept in pool.kept_for]
    rows += [
        (rest.address, "resting", f"{rest.rest_left / 1e9:.0f} s more", "", rest.position) for rest in pool.at_rest
    ]
    if rows:
        table(("address", "purpose", "owner", "decided by", "position"), rows)


def _leases(gone: list[GoneLease], log: Log) -> None:
    if log.json:
        document([as_builtins(lease) for lease in gone])
    elif gone:
        table(
            ("endpoint", "network", "name", "addresses", "evidence", "position"),
            (
                (
                    lease.endpoint[:ID_SHOWN],
                    lease.network,
                    lease.name,
                    lease.addresses,
                    lease.evidence,
                    lease.position or "now",
                )
                for lease in gone
            ),
        )
