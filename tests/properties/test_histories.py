"""Properties of every history: random batches of commands, carried out by a Controller on a simulated kernel."""

from __future__ import annotations

from collections import Counter
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedKernel
from netledger.domain.events import Event, Recorded
from netledger.projections.desired import entities, lower, lower_everything
from netledger.projections.views import Views
from netledger.replay import drift
from netledger.testing.author import SINGLE, Author, Seeded, Universe
from netledger.testing.checkers import check_log
from netledger.testing.strategies import histories

LASTING = {
    ("networks", "hosts"),
    ("networks", "boots"),
    ("networks", "configurations"),
    ("firewalls", "chosen"),
    ("ports", "last chosen"),
}
"""The tables that keep something when everything is deleted: the host, and where the choice of ports goes on."""
OF_NETWORKS = {("networks", "networks"), ("names", "networks"), ("endpoints", "by network")}
"""What a host or null network is in, which is never deleted."""

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def listings(views: Views) -> dict[str, list[object]]:
    """Give everything that is listed the oldest first, in its order."""
    ends = views.endpoints
    return {
        "networks": list(views.networks.networks),
        "endpoints": list(ends.endpoints),
        "joined": list(ends.joined),
        "sandboxes": list(views.sandboxes.sandboxes),
        **{f"of network {key}": list(held) for key, held in ends.by_network.items()},
        **{f"aliases of {key}": list(held) for key, held in ends.aliases.items()},
        **{f"in sandbox {key}": list(held) for key, held in views.sandboxes.endpoints.items()},
        **{f"in space {key}": list(held) for key, held in views.ipam.by_space.items()},
        **{f"ports of {key}": list(held) for key, held in views.ports.by_endpoint.items()},
    }


def history_of(batches) -> list[Recorded[Event]]:
    """Carry out batches without a dataplane, and give the log."""
    with Controller.open(dataplane="none") as controller:
        for batch in batches:
            controller.execute(batch)
        return list(controller.history())


@settings(slow, max_examples=60)
@given(histories())
def test_kernel_views_and_log_agree_after_every_batch(batches):
    """The kernel holds the full lowering, the views are the fold of the log, the log keeps the invariants."""
    kernel = SimulatedKernel()
    with Controller.open(dataplane=Universe().dataplane(kernel)) as controller:
        scratch = Views()
        for batch in batches:
            controller.execute(batch)
            with controller.reading() as views:
                assert kernel.objects == lower_everything(views, controller.host)
                for record in controller.history(after=scratch.position):
                    scratch.fold(record.position, record.event)
                assert scratch.digest() == views.digest()
                assert listings(scratch) == listings(views)
        assert drift(controller).agrees
        check_log(controller.history())
        assert controller.ledger.verify().problem is None


@settings(slow, max_examples=60)
@given(histories())
def test_what_is_deleted_leaves_nothing(batches):
    """When everything is deleted every table is empty, but for what lasts, and so is the kernel."""
    kernel = SimulatedKernel()
    with Controller.open(dataplane=Universe().dataplane(kernel)) as controller:
        for batch in batches:
            controller.execute(batch)
        with controller.reading() as views:
            farewell = Author(Seeded(0), views=lambda: views).farewell()
        controller.execute(farewell)
        with controller.reading() as views:
            assert {network.event.driver for network in views.networks.networks.values()} <= set(SINGLE)
            lasting = LASTING | (OF_NETWORKS if views.networks.networks else set())
            left = {
                (name, table_name)
                for name, part in views._parts.items()
                for table_name, table in part.tables().items()
                if table
            }
        assert left <= lasting
        assert kernel.objects == {}


@settings(slow, max_examples=60)
@given(histories(max_batches=6), st.data())
def test_undo_gives_back_what_was(batches, data):
    """Folding events and taking them back leaves digest, order and position as they were, wherever the split is."""
    log = history_of(batches)
    for _ in range(6):
        split = data.draw(st.integers(0, len(log)), label="split")
        end = data.draw(st.integers(split, len(log)), label="end")
        views = Views()
        for record in log[:split]:
            views.fold(record.position, record.event)
        before = views.digest(), listings(views), views.last_at
        views.begin()
        for record in log[split:end]:
            views.fold(record.position, record.event)
        views.undo()
        assert (views.digest(), listings(views), views.last_at) == before
        for record in log[split:]:
            views.fold(record.position, record.event)
        whole = Views()
        for record in log:
            whole.fold(record.position, record.event)
        assert (views.digest(), listings(views)) == (whole.digest(), listings(whole))


@settings(slow, max_examples=60)
@given(histories(max_batches=8))
def test_touched_misses_nothing(batches):
    """What an entity calls for changes only by an event that names it."""
    log = history_of(batches)
    views = Views()
    for record in log:
        host = record.event.host
        before = {entity: lower(views, entity) for entity in entities(views, host)}
        views.fold(record.position, record.event)
        known = before.keys() | set(entities(views, host))
        changed = {entity for entity in known if lower(views, entity) != before.get(entity, {})}
        assert changed <= set(record.event.touched()), record


@settings(slow, max_examples=60)
@given(histories())
def test_an_object_has_one_owner(batches):
    """No two entities call for an object with the same key."""
    with Controller.open(dataplane="none") as controller:
        for batch in batches:
            controller.execute(batch)
            with controller.reading() as views:
                keys = Counter(key for entity in entities(views, controller.host) for key in lower(views, entity))
            assert max(keys.values(), default=1) == 1


@settings(slow, max_examples=60)
@given(histories(), st.integers(1, 4))
def test_batching_makes_no_difference(batches, size):
    """The same commands in batches of another size give the same events, at the same positions, and refusals."""
    commands = [command for batch in batches for command in batch]
    seen = []
    for step in (len(commands), size):
        with (
            mock.patch("netledger.ledger.memory.secrets.token_hex", return_value="ab" * 16),
            mock.patch("netledger.engine.surroundings.time.time_ns", return_value=10**18),  # rests end by the clock
            Controller.open(dataplane="none") as controller,
        ):
            told = []
            for start in range(0, len(commands), step):
                told += [str(result.error) for result in controller.execute(commands[start : start + step])]
            log = [
                (record.position, structs.replace(record.event, at=0, request="")) for record in controller.history()
            ]
            seen.append((log, told))
    assert seen[0] == seen[1]
