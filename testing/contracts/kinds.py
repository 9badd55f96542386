"""The part of a dataplane's contract that is about what not every kernel has: each kind comes, is observed, and goes.

A kind that the dataplane says it lacks is skipped, with its reason. Knows nothing of: how any kind is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from ...dataplanes.contract import Claim, Status
from ...domain.commands import Command, DeleteNetwork, DeleteSandbox
from ...domain.events import StaticRoute
from ...domain.objects import (
    Address,
    Announcement,
    Bridge,
    InterfaceSysctl,
    Ipvlan,
    KernelObject,
    Macvlan,
    Route,
    StandIn,
    VlanLink,
)
from ...domain.values import SandboxKind, parse_address, parse_subnet
from ..desk import create_endpoint, create_network, identifier, join

if TYPE_CHECKING:
    from .dataplane import Others, World

PARENT = "theirs0"
"""A bridge of somebody else's: to be adopted, or to stand on."""
BRIDGE = "com.docker.network.bridge."
SYSCTLS = "com.docker.network.endpoint.sysctls"


class Kind(Struct, frozen=True):
    """What to ask for, what a dataplane must be able to do for it, and which objects of it are told apart."""

    needs: tuple[str, ...]
    commands: Callable[[], Sequence[Command]]
    shows: Callable[[KernelObject], bool]


def _bridge(**options: bool | str | int) -> Callable[[], Sequence[Command]]:
    given = {BRIDGE + name: value for name, value in options.items()}
    return lambda: (
        create_network("special", "10.8.0.0/24", "fd08::/64", options=given),
        create_endpoint("special", "web"),
        join("special/web", "special"),
    )


def _on_parent(driver: str, *subnets: str, **options: str) -> Callable[[], Sequence[Command]]:
    return lambda: (
        create_network("special", *(subnets or ("10.8.0.0/24", "fd08::/64")), driver=driver, options=options),
        create_endpoint("special", "web"),
        create_endpoint("special", "db"),
        join("special/web", "special"),
        join("special/db", "other"),
    )


def _with_settings() -> Sequence[Command]:
    settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=0"
    return (
        create_network("special", "10.8.0.0/24", "fd08::/64"),
        create_endpoint("special", "web", options={SYSCTLS: settings}),
        join("special/web", "special", interface="lan.0"),
    )


def _with_routes() -> Sequence[Command]:
    routes = (
        StaticRoute(parse_subnet("10.9.0.0/16"), parse_address("10.8.0.9")),
        StaticRoute(parse_subnet("10.10.0.0/16")),
        StaticRoute(parse_subnet("fd09::/64"), parse_address("fd08::9")),
        StaticRoute(parse_subnet("fd0a::/64")),
    )
    return (
        create_network("special", "10.8.0.0/24", "fd08::/64"),
        create_endpoint("special", "web"),
        join("special/web", "special", routes=routes),
    )


def _with_link_local() -> Sequence[Command]:
    addresses = (parse_address("169.254.0.7"), parse_address("fe80::77"))
    return (
        create_network("special", "10.8.0.0/24"),
        create_endpoint("special", "web", link_local=addresses),
        join("special/web", "special"),
    )


def _is(kind: type[KernelObject], **fields: object) -> Callable[[KernelObject], bool]:
    return lambda thing: isinstance(thing, kind) and all(getattr(thing, name) == fields[name] for name in fields)


KINDS: dict[str, Kind] = {
    "adopted bridge": Kind(("adopted bridges",), _bridge(name=PARENT), _is(Bridge, name=PARENT, adopted=True)),
    "bridge without IPv4": Kind((), _bridge(inhibit_ipv4=True), _is(Address, sandbox="", prefix=64)),
    **{
        f"macvlan {mode}": Kind(
            ("macvlan",), _on_parent("macvlan", parent=PARENT, macvlan_mode=mode), _is(Macvlan, mode=mode)
        )
        for mode in ("bridge", "private", "vepa")
    },
    "macvlan on a stand-in": Kind(("macvlan", "stand-in"), _on_parent("macvlan"), _is(StandIn)),
    "macvlan on a VLAN": Kind(("macvlan", "vlan"), _on_parent("macvlan", parent=f"{PARENT}.10"), _is(VlanLink)),
    **{
        f"ipvlan {mode} {flag}": Kind(
            ("ipvlan",),
            _on_parent("ipvlan", parent=PARENT, ipvlan_mode=mode, ipvlan_flag=flag),
            _is(Ipvlan, mode=mode, flag=flag),
        )
        for mode, flag in (("l2", "bridge"), ("l2", "private"), ("l3", "vepa"), ("l3s", "bridge"))
    },
    "ipvlan on a stand-in": Kind(("ipvlan", "stand-in"), _on_parent("ipvlan"), _is(StandIn)),
    "interface sysctls": Kind(("interface sysctls",), _with_settings, _is(InterfaceSysctl)),
    "static routes": Kind(("static routes",), _with_routes, _is(Route, gateway=b"")),
    "link-local addresses": Kind((), _with_link_local, _is(Address, address=bytes([169, 254, 0, 7]))),
    "announcements": Kind(("announcements",), _bridge(), _is(Announcement)),
}


class KindsContract:
    """What any dataplane keeps of the kinds that it has."""

    @pytest.mark.parametrize("name", KINDS)
    def test_a_kind_comes_and_goes(self, world: World, others: Others, name: str) -> None:
        """It is observed as it was asked for, found so when asked for again, and leaves nothing; its parent stays."""
        asked = self._ask(world, others, name)
        plan = world.plan(*asked)
        outcomes = world.apply(plan)
        assert {outcome.status for outcome in outcomes.values()} <= {Status.MADE, Status.ALREADY}, outcomes
        shown = [thing for thing in world.wanted.values() if KINDS[name].shows(thing)]
        assert shown, "the kind is asked for"
        world.check()
        again = world.apply(plan)
        changed = [outcome for outcome in again.values() if outcome.status is not Status.ALREADY]
        assert not changed, f"apply: the second time everything is already so: {changed}"
        world.check()
        world.do(
            DeleteNetwork(identifier("special"), force=True),
            DeleteSandbox(identifier("special"), force=True),
            DeleteSandbox(identifier("other")),
        )
        world.check()
        left = {thing for thing in world.observed().values() if KINDS[name].shows(thing)}
        assert not left & set(shown), "what was removed is not observed any more"
        assert world.dataplane.links([PARENT])[PARENT].is_ours is False, "what somebody else made stays"

    @pytest.mark.parametrize("name", KINDS)
    def test_a_kind_moves_to_another_sandbox(self, world: World, others: Others, name: str) -> None:
        """Its sandbox goes, and comes again under the same name, in one plan; an interface with it."""
        world.do(*self._ask(world, others, name))
        world.do(
            DeleteSandbox(identifier("special"), force=True),
            world.sandbox("special"),
            join("special/web", "special"),
        )
        world.check()

    def test_what_a_kind_needs_has_a_name(self, world: World) -> None:
        """Every feature that a kind needs is one that a dataplane can say it lacks."""
        from ...domain.facts import FEATURES

        assert {need for kind in KINDS.values() for need in kind.needs} <= set(FEATURES)
        assert world.dataplane.probe([Claim(device=PARENT)]) == {}

    def test_a_handed_over_namespace_gets_its_interfaces(self, world: World, others: Others) -> None:
        """A delegated sandbox's interface waits outside; once its namespace is there it is configured in it."""
        from ...domain.commands import SetSandboxKey

        world.do(
            create_network("special", "10.8.0.0/24", "fd08::/64"),
            world.sandbox("special", kind=SandboxKind.DELEGATED, path=""),
            create_endpoint("special", "web", "18091:80"),
            join("special/web", "special"),
        )
        world.check()
        path = others.make_namespace("late")
        identity = world.dataplane.identify(path)
        assert identity is not None
        outcomes = world.do(SetSandboxKey(identifier("special"), path, identity))
        assert any(isinstance(outcome.step.object, Route) for outcome in outcomes.values()), "it is led out"
        world.check()
        others.remove_namespace(path)

    def _ask(self, world: World, others: Others, name: str) -> Sequence[Command]:
        for need in KINDS[name].needs:
            reason = world.dataplane.capabilities().lacks(need)
            if reason:
                pytest.skip(f"{need}: {reason}")
        others.make_bridge(PARENT)
        return (world.sandbox("special"), world.sandbox("other"), *KINDS[name].commands())
