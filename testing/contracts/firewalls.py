"""The part of a dataplane's contract that is about the host's firewall and ports: which there are, and going over.

A dataplane without a second firewall skips going over, with the reason. Knows nothing of: what a rule looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from ...dataplanes.contract import Dataplane, Plan, Status, Step, Verb
from ...dataplanes.plan import difference
from ...domain.commands import Command, DeleteNetwork, DeleteSandbox
from ...domain.facts import FEATURES
from ...domain.firewalls import AUTOMATIC, FIREWALLS
from ...domain.objects import TRACELESS, KernelObject, Key, LoopbackAccess, is_of_firewall
from ...domain.values import PORT_LIMIT
from ..desk import create_endpoint, create_network, identifier, join

if TYPE_CHECKING:
    from .dataplane import Others, World

NO_FIREWALL = "none"


def published(world: World) -> Sequence[Command]:
    """Ask for a network with a published port, in both families."""
    return (
        create_network("walled", "10.8.0.0/24", "fd08::/64"),
        world.sandbox("walled"),
        create_endpoint("walled", "web", "18092:80", "18093:80/udp"),
        join("walled/web", "walled"),
    )


class FirewallContract:
    """What any dataplane keeps about firewalls and the host's ports."""

    def test_it_says_what_it_lacks_with_each_firewall(self, world: World) -> None:
        """By known names, with reasons; without one nothing is published; and asking about one takes up none."""
        dataplane = world.dataplane
        own, before = dataplane.firewall, dataplane.capabilities()
        assert own in {"", *FIREWALLS}, f"firewall: {own!r} is none of {FIREWALLS}, nor empty"
        world.do(*published(world))
        for name in FIREWALLS:
            found = dataplane.capabilities(name)
            assert set(found.missing) <= set(FEATURES), f"capabilities({name!r}): features by their known names"
            assert all(found.missing.values()), f"capabilities({name!r}): a reason for each that is missing"
            if found.omits_firewall and not found.lacks("firewall"):
                for feature in ("published ports", "internal networks"):
                    assert found.lacks(feature), f"capabilities({name!r}): {feature} take a firewall, which it omits"
            assert name != own or found == before, "capabilities: those of the one in use are those without a name"
        assert dataplane.firewall == own, "capabilities: asking about a firewall does not take it up"
        assert dataplane.capabilities() == before, "capabilities: asking about another changes nothing"
        world.check()

    def test_a_firewall_takes_over_from_another(self, world: World) -> None:
        """Each has its own rules until it is retired; nothing else is touched; and back again."""
        dataplane = world.dataplane
        first, second = dataplane.firewall, _another(dataplane)
        world.do(*published(world))
        others = _others(world.observed())
        assert dataplane.retire(second) is False, "retire: it has programmed nothing yet"

        dataplane.use_firewall(second)
        assert dataplane.firewall == second, "firewall: the one that is used"
        assert dataplane.capabilities() == dataplane.capabilities(second), "capabilities: those of the one in use"
        assert _others(world.observed()) == others, "use_firewall: what is no rule stays as it is"
        has_own_rules = _program(world)
        dataplane.use_firewall(first)
        world.check()  # what it has programmed stays until it is retired
        dataplane.use_firewall(second)
        world.check()

        assert dataplane.retire(first) is has_own_rules, "retire: whether there was anything to take away"
        world.check()  # what the one in use has programmed stays
        assert dataplane.retire(first) is False, "retire: there is nothing left"
        dataplane.use_firewall(first)
        left = sorted(key for key, thing in world.observed().items() if is_of_firewall(thing))
        assert not (has_own_rules and left), f"retire: nothing is left of what it has programmed: {left}"
        assert _program(world) is has_own_rules, "retire: what is programmed again is what was taken away"
        assert dataplane.retire(second) is has_own_rules
        world.do(DeleteNetwork(identifier("walled"), force=True), DeleteSandbox(identifier("walled"), force=True))
        world.check()

    def test_no_firewall_takes_over(self, world: World) -> None:
        """With `none` no rule is there or asked for, all else is; the next firewall makes them once more."""
        dataplane, first = world.dataplane, world.dataplane.firewall
        lack = dataplane.capabilities(NO_FIREWALL).lacks("firewall")
        if lack or first == NO_FIREWALL:
            pytest.skip(f"firewall {NO_FIREWALL}: {lack or 'it has no other'}")
        world.do(*published(world))
        others = _others(world.observed())
        dataplane.use_firewall(NO_FIREWALL)
        assert dataplane.capabilities().omits_firewall, "capabilities: with none no object of a firewall is asked for"
        assert dataplane.retire(first) is True, "retire: it has programmed something"
        observed = world.observed()
        assert _others(observed) == others, "use_firewall: without a firewall all else is observed"
        left = [thing for thing in observed.values() if is_of_firewall(thing)]
        assert all(isinstance(thing, LoopbackAccess) for thing in left), f"use_firewall: no rule is observed: {left}"
        dataplane.apply(Plan(tuple(Step(Verb.REMOVE, thing) for thing in left), {}))  # it is half a setting
        assert dict(world.observed()) == others, "use_firewall: what is taken away is gone"
        assert dataplane.retire(NO_FIREWALL) is False, "retire: none has programmed nothing"
        dataplane.use_firewall(first)
        assert not dataplane.capabilities().omits_firewall, "capabilities: those of the firewall in use"
        assert _program(world) is True, "retire: what is programmed again is what was taken away"

    def test_the_hosts_ports_are_as_they_are_set_now(self, world: World, others: Others) -> None:
        """What it reserves and what it chooses from, read each time; what is published is not among it."""
        dataplane = world.dataplane
        before = dataplane.host_ports()
        for first, last in (*before.reserved, before.chosen_from or (1, PORT_LIMIT)):
            assert 0 < first <= last <= PORT_LIMIT, f"host_ports: ports in order: {before}"
        world.do(*published(world))
        assert dataplane.host_ports() == before, "host_ports: what is published is neither reserved nor a range"
        others.set_ports("18200,18205-18207", "40000 40100")
        found = dataplane.host_ports()
        assert found.reserved == ((18200, 18200), (18205, 18207)), "host_ports: what the host reserves"
        assert found.chosen_from == (40000, 40100), "host_ports: what the host takes its own ports from"
        others.set_ports("", "40001 40001")
        found = dataplane.host_ports()
        assert (found.reserved, found.chosen_from) == ((), (40001, 40001)), "host_ports: as it is set now"
        assert found.unreached6 == before.unreached6, "host_ports: whether ::1 is reached is another matter"


def _another(dataplane: Dataplane) -> str:
    """Choose a firewall that the dataplane can take up and has not."""
    lacks = {name: dataplane.capabilities(name).lacks("firewall") for name in AUTOMATIC if name != dataplane.firewall}
    found = next((name for name, lack in lacks.items() if lack is None), None)
    if found is None:
        pytest.skip(f"no other firewall: {lacks}")
    return found


def _program(world: World) -> bool:
    """Have what is missing of the rules made, which is all that may be missing; whether anything was."""
    plan = difference(world.wanted, world.observed(), world.places)
    steps = [step for step in plan.steps if not isinstance(step.object, TRACELESS)]
    assert all(is_of_firewall(step.object) for step in steps), f"nothing but rules is missing: {steps}"
    outcomes = world.apply(plan)
    assert Status.FAULT not in {outcome.status for outcome in outcomes.values()}, outcomes
    world.check()
    return bool(steps)


def _others(observed: Mapping[Key, KernelObject]) -> dict[Key, KernelObject]:
    return {key: thing for key, thing in observed.items() if not is_of_firewall(thing)}
