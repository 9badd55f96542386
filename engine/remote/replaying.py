"""Request replay: what a plugin had given is asked of it again, for one that keeps no record of its own.

Keeps: asking again changes nothing in the log; where an answer differs, it is told. Each pool, its gateway, auxiliary
and endpoint addresses are asked by name, as dockerd does when it starts.
Knows nothing of: when that is to be done.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...domain.events import AddressAllocated, PoolAllocated
from ...domain.values import HostId, PoolId, format_address
from ...projections.views import Views
from .ipam import ADDRESS_TYPE, GATEWAY, RemoteIpam
from .transport import PluginFault, PluginRefused


def replay(driver: RemoteIpam, view: Views, host: HostId) -> Iterator[str]:
    """Ask a plugin again for all that the log has of it; one line for each answer that differs.

    Raises `PluginFault` where it does not answer at all.
    """
    for pool in view.driver_pools.of(driver.name):
        if pool.event.host == host:
            yield from _pool(driver, view, pool.event)


def replay_one(driver: RemoteIpam, view: Views, pool: PoolId, address: bytes) -> Iterator[str]:
    """Ask a plugin again for one address, or (empty) for a pool and all that is held of it; as `replay` does."""
    record = view.pool(pool)
    assert record is not None, "a pool that was found is there"
    if not address:
        yield from _pool(driver, view, record.event)
        return
    holder = view.holder(pool, address)
    if holder is not None:
        yield from _address(driver, record.event, record.event.driver_pool, holder.event, "")


def _pool(driver: RemoteIpam, view: Views, pool: PoolAllocated) -> Iterator[str]:
    what = f"IPAM plugin {driver.name}, pool {pool.subnet}"
    user = view.pool_user(pool.pool)
    network = view.network(user) if user is not None else None
    options = network.event.ipam_options if network is not None else {}
    texts = {label: str(value).lower() if isinstance(value, bool) else str(value) for label, value in options.items()}
    sub_pool = str(pool.sub_pool) if pool.sub_pool is not None else ""
    try:
        given = driver.take_pool(pool.space, pool.subnet, sub_pool, texts, is_v6=pool.subnet.family == 6)
    except (PluginFault, PluginRefused) as error:
        if isinstance(error, PluginFault) and not error.given:
            raise
        yield f"{what}: {error.because}"
        return
    if given.identifier != pool.driver_pool:
        yield f"{what}: the plugin calls it {given.identifier!r} now, not {pool.driver_pool!r}"
    for holder in list(view.holders_in(pool.pool)):
        yield from _address(driver, pool, given.identifier, holder.event, what)


def _address(
    driver: RemoteIpam, pool: PoolAllocated, identifier: str, held: AddressAllocated, what: str
) -> Iterator[str]:
    options = {ADDRESS_TYPE: GATEWAY} if held.purpose == "gateway" else None
    try:
        driver.take_address(identifier, pool.subnet, held.address, options)
    except (PluginFault, PluginRefused) as error:
        if isinstance(error, PluginFault) and not error.given:
            raise
        yield f"{what}, {held.purpose} address {format_address(held.address)}: {error.because}"
