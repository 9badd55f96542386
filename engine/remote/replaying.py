"""Request replay: what a plugin had given is asked of it again, for one that keeps no record of its own.

Keeps: asking again changes nothing in the log; where an answer differs, it is told. Each pool, its gateway, auxiliary
and endpoint addresses are asked by name, as dockerd does when it starts. What there was no time for is asked the next
time, and nothing twice.
Knows nothing of: when that is to be done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...domain.events import AddressAllocated, PoolAllocated
from ...domain.values import HostId, PoolId, format_address
from ...projections.views import Views
from .ipam import ADDRESS_TYPE, GATEWAY, RemoteIpam
from .transport import PluginFault, PluginRefused


class Retelling:
    """What one plugin is to be told again, and how far that is."""

    def __init__(self, driver: RemoteIpam, host: HostId) -> None:
        self.driver = driver
        self._host = host
        self._told: dict[tuple[PoolId, bytes], str] = {}
        """By pool and address (empty: the pool itself, for which the plugin's name for it is kept)."""

    def go_on(self, view: Views, until: float) -> Iterator[str]:
        """Ask a plugin again for all that the log has of it; one line for each answer that differs.

        Raises `PluginFault` where it does not answer at all, and where the clock (`time.monotonic`) comes to `until`.
        """
        for pool in view.driver_pools.of(self.driver.name):
            if pool.event.host == self._host:
                yield from self._pool(view, pool.event, until)

    def _pool(self, view: Views, pool: PoolAllocated, until: float) -> Iterator[str]:
        key = (PoolId(pool.pool), b"")
        if key not in self._told:
            self._check_time(until)
            self._told[key], lines = _ask_pool(self.driver, view, pool)
            yield from lines
        identifier = self._told[key]
        for holder in list(view.holders_in(pool.pool)) if identifier else ():
            held = (PoolId(pool.pool), holder.event.address)
            if held not in self._told:
                self._check_time(until)
                yield from _address(self.driver, pool, identifier, holder.event)
                self._told[held] = ""

    def _check_time(self, until: float) -> None:
        if time.monotonic() >= until:
            raise PluginFault(
                f"tell plugin {self.driver.name!r} again what it had given",
                f"the time for that is over, after {len(self._told)} pools and addresses",
                "the next change that needs it, or the next start, goes on from there",
            )


def replay_one(driver: RemoteIpam, view: Views, pool: PoolId, address: bytes) -> Iterator[str]:
    """Ask a plugin again for one address, or (empty) for a pool and all that is held of it; as `replay` does."""
    record = view.pool(pool)
    assert record is not None, "a pool that was found is there"
    identifier = record.event.driver_pool
    holders = [view.holder(pool, address)] if address else list(view.holders_in(pool))
    if not address:
        identifier, lines = _ask_pool(driver, view, record.event)
        yield from lines
    for holder in holders:
        if holder is not None and identifier:
            yield from _address(driver, record.event, identifier, holder.event)


def _ask_pool(driver: RemoteIpam, view: Views, pool: PoolAllocated) -> tuple[str, list[str]]:
    """Ask for a pool; return what the plugin calls it (empty: it refuses), and what differs."""
    what = _name(driver, pool)
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
        return "", [f"{what}: {error.because}"]
    if given.identifier != pool.driver_pool:
        return given.identifier, [f"{what}: the plugin calls it {given.identifier!r} now, not {pool.driver_pool!r}"]
    return given.identifier, []


def _address(driver: RemoteIpam, pool: PoolAllocated, identifier: str, held: AddressAllocated) -> Iterator[str]:
    options = {ADDRESS_TYPE: GATEWAY} if held.purpose == "gateway" else None
    try:
        driver.take_address(identifier, pool.subnet, held.address, options)
    except (PluginFault, PluginRefused) as error:
        if isinstance(error, PluginFault) and not error.given:
            raise
        yield f"{_name(driver, pool)}, {held.purpose} address {format_address(held.address)}: {error.because}"


def _name(driver: RemoteIpam, pool: PoolAllocated) -> str:
    return f"IPAM plugin {driver.name}, pool {pool.subnet}"
