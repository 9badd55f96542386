"""The contract of a network driver as tests. Subclass `NetworkDriverContract` and say how to make the driver.

    class TestMyDriver(NetworkDriverContract):
        accepted = ({}, {"example.mode": "quiet"})
        refused = ({"example.mode": "loud"},)

        def make_driver(self):
            return MyDriver()

The driver decides nothing here by itself: the rules create networks, endpoints and sandboxes with it, so it is held to
what the engine really asks. Keeps: the driver is known by its name only as long as a test runs.
Knows nothing of: kernels, but the simulated one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from ...dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from ...domain.commands import Command, DeleteEndpoint, DeleteNetwork, DeleteSandbox, LeaveEndpoint
from ...domain.drivers import DRIVERS, NetworkDriver, driver_of
from ...domain.errors import Invalid, Refusal
from ...domain.events import OptionValue
from ...domain.facts import FEATURES
from ...domain.objects import HOST_NAMESPACE, MAKING_ORDER, Bridge, KernelObject, offers, stands_on
from ...domain.values import EndpointId, NetworkId, SandboxKind, check_interface_name
from ...projections.desired import entities, lower, lower_everything
from ..desk import HOST, Desk, create_endpoint, create_network, create_sandbox, identifier, join
from .dataplane import World

__all__ = ["NetworkDriver", "NetworkDriverContract", "registered"]

KINDS = (SandboxKind.MANAGED, SandboxKind.DELEGATED)
UNKNOWN = "example.there-is-no-such-option"


@contextlib.contextmanager
def registered(driver: NetworkDriver) -> Iterator[NetworkDriver]:
    """Let networks be created with this driver, under its name, until the block ends."""
    before = DRIVERS.get(driver.name)
    DRIVERS[driver.name] = driver
    try:
        yield driver
    finally:
        if before is None:
            del DRIVERS[driver.name]
        else:
            DRIVERS[driver.name] = before


class NetworkDriverContract:
    """What any network driver keeps."""

    accepted: ClassVar[Sequence[Mapping[str, OptionValue]]] = ({},)
    """Options that the driver takes. Every test that creates networks does it with each of them."""
    refused: ClassVar[Sequence[Mapping[str, OptionValue]]] = ()
    """Options that it refuses, beside unknown ones."""
    pools: ClassVar[Sequence[str]] = ("10.5.0.0/24", "fd05::/64")
    """The address pools of a network, one of each family that the driver takes."""
    other_pools: ClassVar[Sequence[str]] = ("10.6.0.0/24", "fd06::/64")
    parents: ClassVar[Sequence[str]] = ()
    """The interfaces of the host that networks with these options stand on; the simulated host gets them."""
    ports: ClassVar[Sequence[str]] = ("18080:80", "18081:81/udp")
    """What an endpoint publishes; none for a driver that publishes nothing."""

    def make_driver(self) -> NetworkDriver:
        """Make the driver."""
        raise NotImplementedError("say how to make your driver: override make_driver")

    @pytest.fixture
    def driver(self) -> Iterator[NetworkDriver]:
        """Give the driver, under its name."""
        with registered(self.make_driver()) as driver:
            yield driver

    # --- what it says of itself

    def test_it_says_what_it_is(self, driver: NetworkDriver) -> None:
        """A driver has a name and limits, and needs only what dataplanes know by name."""
        assert driver.name, "a driver has a name: what users write behind --driver"
        assert driver.endpoint_limit >= 1, "a network takes at least one endpoint"
        assert driver.pools_per_family >= 1, "a network takes at least one address pool of a family"
        for given in self.accepted:
            features = set(driver.needs) | set(driver.features(driver.options(given, "test")))
            assert features <= set(FEATURES), f"dataplanes know no feature {sorted(features - set(FEATURES))}"

    def test_options_are_complete_and_lasting(self, driver: NetworkDriver) -> None:
        """All options have a value; what an event keeps of them is read back as the same, in whatever order."""
        names = {frozenset(driver.options(given, "test")) for given in self.accepted}
        assert len(names) == 1, f"every network's options have the same labels, defaults filled in: {names}"
        for given in self.accepted:
            options = driver.options(given, "test")
            assert given.keys() <= options.keys(), f"no option is lost: {sorted(given.keys() - options.keys())}"
            assert driver.options(options, "test") == options, "options that were checked are taken as they are"
            backwards = dict(reversed(options.items()))
            assert driver.options(backwards, "test") == options, "the order of options means nothing"

    def test_what_is_wrong_is_refused(self, driver: NetworkDriver) -> None:
        """An unknown option is refused by its name and with the known ones; so is each of `refused`."""
        refusal = self._refusal(driver, {UNKNOWN: "1"})
        assert isinstance(refusal, Invalid), f"an unknown option is refused as Invalid: {refusal!r}"
        for label in (UNKNOWN, *driver.options({}, "test")):
            assert label in str(refusal), f"the refusal of an unknown option names {label}: {refusal}"
        for given in self.refused:
            assert self._refusal(driver, given) is not None, f"{dict(given)} is refused"

    def test_a_network_has_an_interface_of_its_own(self, driver: NetworkDriver) -> None:
        """Its name is one that the kernel takes, is the same each time, and another for another network."""
        options = driver.options({}, "test")
        one, two = (driver.device(identifier(name), options) for name in ("n1", "n2"))
        assert one == driver.device(identifier("n1"), options), "the same network has the same interface"
        if one:
            check_interface_name(one)
            assert one != two, "two networks without a chosen name have different interfaces"
        assert len(driver.host_binding(options)) == 4, "the address that ports are published at is IPv4, packed"

    # --- what it asks for

    def test_every_object_has_a_key_of_its_own(self, driver: NetworkDriver) -> None:
        """No two objects of a host have the same key, whichever entity calls for them."""
        for desk in self._worlds(driver):
            counts = Counter(made.key for made in _lowered(desk))
            twice = [str(key) for key, count in counts.items() if count > 1]
            assert not twice, f"each object has one key and one owner, these are called for twice: {twice}"
            assert all(type(made) in MAKING_ORDER for made in _lowered(desk)), "objects are of the known kinds"

    def test_what_it_stands_on_is_there(self, driver: NetworkDriver) -> None:
        """Whatever an object cannot be without is called for, too."""
        for desk in self._worlds(driver):
            wanted = lower_everything(desk.views, HOST)
            ground = {ground for made in wanted.values() for ground in offers(made)}
            bridges = {made.name for made in wanted.values() if isinstance(made, Bridge)}
            ground |= {(HOST_NAMESPACE, ""), *((HOST_NAMESPACE, name) for name in bridges)}
            ground |= {(HOST_NAMESPACE, name) for name in self.parents}
            for made in wanted.values():
                missing = set(stands_on(made)) - ground
                assert not missing, f"{made.key} stands on {missing}, which nothing calls for"
                bridge = getattr(made, "bridge", None)
                assert bridge is None or bridge in bridges, f"{made.key} needs bridge {bridge}: nothing calls for it"

    def test_it_answers_the_same_each_time(self, driver: NetworkDriver) -> None:
        """Asked again, in another process or with the options in another order, it calls for the same objects."""
        for kind in KINDS:
            for given in self.accepted:
                first, again = self._world(driver, given, kind), self._world(driver, given, kind)
                backwards = self._world(driver, dict(reversed(list(given.items()))), kind)
                wanted = lower_everything(first.views, HOST)
                assert lower_everything(first.views, HOST) == wanted, "the same state calls for the same objects"
                assert lower_everything(again.views, HOST) == wanted, "the same commands call for the same objects"
                assert lower_everything(backwards.views, HOST) == wanted, "the order of options means nothing"

    def test_leaving_undoes_joining(self, driver: NetworkDriver) -> None:
        """After an endpoint has left, the host calls for what it did before it joined; it can join again."""
        for given in self.accepted:
            for kind in KINDS:
                desk = Desk()
                joining = join("n1/web", "c1")
                desk.do(*(command for command in self._commands(driver, given, kind) if command != joining))
                before = lower_everything(desk.views, HOST)
                for _ in range(2):
                    desk.do(joining)
                    assert lower_everything(desk.views, HOST) != before, "an endpoint in a sandbox calls for something"
                    desk.do(LeaveEndpoint(identifier("n1/web")))
                    owned = lower(desk.views, ("endpoint", identifier("n1/web")))
                    assert not owned, f"an endpoint that is in no sandbox calls for nothing: {list(owned)}"
                    assert lower_everything(desk.views, HOST) == before, "leaving undoes joining"

    def test_deleting_leaves_nothing(self, driver: NetworkDriver) -> None:
        """When sandboxes, endpoints and networks are deleted nothing is called for."""
        for desk in self._worlds(driver):
            desk.do(
                DeleteSandbox(identifier("c1"), force=True),
                DeleteSandbox(identifier("c2"), force=True),
                DeleteEndpoint(identifier("n1/web")),
                DeleteNetwork(identifier("n1"), force=True),
                DeleteNetwork(identifier("n2"), force=True),
            )
            desk.do(*(DeleteNetwork(network) for network in desk.views.networks.networks))  # the gateway bridge's
            left = lower_everything(desk.views, HOST)
            assert not left, f"nothing is there, and this is still called for: {list(left)}"

    def test_one_endpoint_does_not_change_another(self, driver: NetworkDriver) -> None:
        """What an endpoint and a network call for stays as it is while others come and go."""
        for desk in self._worlds(driver):
            before = {entity: lower(desk.views, entity) for entity in entities(desk.views, HOST)}
            desk.do(
                create_endpoint("n1", "late"),
                create_sandbox("c3", path="/run/netledger/c3"),
                join("n1/late", "c3"),
            )
            for entity, objects in before.items():
                if entity[0] in {"endpoint", "network"}:
                    assert lower(desk.views, entity) == objects, f"{entity} changed when another endpoint joined"

    def test_a_dataplane_makes_it_and_takes_it_away(self, driver: NetworkDriver, tmp_path: Path) -> None:
        """What it calls for can be made on the simulated kernel, is then observed, and is gone afterwards."""
        for given in self.accepted:
            kernel = SimulatedKernel()
            for name in self.parents:
                kernel.add_card(name)
            world = World(SimulatedDataplane(kernel), tmp_path / "namespaces")
            for command in self._commands(driver, given, SandboxKind.MANAGED):
                world.do(command)
                world.check()
            world.do(LeaveEndpoint(identifier("n1/web")))
            world.check()
            world.do(*(DeleteNetwork(identifier(name), force=True) for name in ("n1", "n2")))
            world.do(*(DeleteSandbox(identifier(name)) for name in ("c1", "c2")))
            world.do(*(DeleteNetwork(network) for network in world.desk.views.networks.networks))
            assert world.observed() == {}, "what was deleted is not observed any more"

    # --- within

    def _commands(self, driver: NetworkDriver, given: Mapping[str, OptionValue], kind: SandboxKind) -> list[Command]:
        """Ask for two networks, an endpoint in each of two sandboxes, and one more; the second network by defaults."""
        paths = (
            {"c1": "", "c2": ""} if kind is SandboxKind.DELEGATED else {n: f"/run/netledger/{n}" for n in ("c1", "c2")}
        )
        return [
            create_network("n1", *self.pools, driver=driver.name, options=dict(given)),
            create_network("n2", *self.other_pools, driver=driver.name),
            *(create_sandbox(name, kind=kind, path=path) for name, path in paths.items()),
            create_endpoint("n1", "web", *self.ports),
            create_endpoint("n1", "db"),
            create_endpoint("n2", "web"),
            join("n1/web", "c1"),
            join("n2/web", "c1"),
            join("n1/db", "c2"),
        ]

    def _world(self, driver: NetworkDriver, given: Mapping[str, OptionValue], kind: SandboxKind) -> Desk:
        desk = Desk()
        desk.do(*self._commands(driver, given, kind))
        return desk

    def _worlds(self, driver: NetworkDriver) -> Iterator[Desk]:
        for given in self.accepted:
            for kind in KINDS:
                yield self._world(driver, given, kind)

    @staticmethod
    def _refusal(driver: NetworkDriver, given: Mapping[str, OptionValue]) -> Refusal | None:
        try:
            driver.options(given, "create network")
        except Refusal as refusal:
            return refusal
        return None


def _lowered(desk: Desk) -> Iterator[KernelObject]:
    """List what each entity calls for, as its driver lists it: with what it may list twice."""
    views = desk.views
    for entity in entities(views, HOST):
        kind, identity = entity
        network = views.network(NetworkId(identity)) if kind == "network" else None
        endpoint = views.endpoint(EndpointId(identity)) if kind == "endpoint" else None
        joined = views.joined(EndpointId(identity)) if kind == "endpoint" else None
        if network is not None:
            yield from driver_of(network.event.driver).lower_network(network.event)
        elif endpoint is not None and joined is not None:
            home, sandbox = views.network(endpoint.event.network), views.sandbox(joined.event.sandbox)
            assert home is not None
            assert sandbox is not None
            ports = [port.event for port in views.ports_of(endpoint.event.endpoint)]
            theirs = driver_of(home.event.driver)
            yield from theirs.lower_endpoint(home.event, endpoint.event, joined.event, sandbox.event.kind, ports)
        else:
            yield from lower(views, entity).values()
