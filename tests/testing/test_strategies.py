"""What the strategies draw is valid, and shrinks to something that a person can read."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from netledger import Controller
from netledger.domain.commands import CreateNetwork, CreateSandbox, JoinEndpoint
from netledger.domain.drivers import driver_of
from netledger.domain.gateways import GATEWAY_NETWORK
from netledger.domain.values import check_labels, check_port, check_subnet, format_address, parse_subnet
from netledger.testing import strategies as drawn
from netledger.testing.author import GROUND, SINGLE, Author, Universe
from netledger.testing.desk import Desk
from netledger.testing.strategies import Drawn

PHASES = (Phase.generate, Phase.shrink)  # explaining traces every line, which costs twenty times as much
THOROUGH = settings(max_examples=2000, deadline=None, database=None, phases=PHASES)
SMALL = Universe(networks=1, endpoints=2, sandboxes=1)


@given(st.data())
def test_what_is_drawn_is_valid(data):
    """Blocks, gateways, labels, options and ports pass the domain's own checks."""
    family = data.draw(st.sampled_from((4, 6)))
    longest = 30 if family == 4 else 126
    block = data.draw(drawn.subnets(family, longest=longest))
    check_subnet("a test", block)
    assert data.draw(drawn.addresses(within=block)) in block
    pool = data.draw(drawn.pools(family))
    assert pool.gateway is None or (pool.subnet is not None and pool.gateway in pool.subnet)
    check_labels(data.draw(drawn.labels()))
    driver_of("bridge").options(data.draw(drawn.network_options()), "a test")
    for port in data.draw(drawn.ports()):
        check_port("a test", port)
    assert len(data.draw(drawn.addresses(family))) == (4 if family == 4 else 16)


def test_a_block_shrinks_to_the_simplest():
    """The smallest block is 10.0.0.0 with the longest prefix; within a bound, the bound."""
    assert str(find(drawn.subnets(), lambda _: True)) == "10.0.0.0/30"
    assert str(find(drawn.subnets(), lambda block: block.prefix <= 24)) == "10.0.0.0/24"
    smallest = find(drawn.addresses(within=parse_subnet("10.5.0.0/16")), lambda address: address[3] > 7)
    assert format_address(smallest) == "10.5.0.8"


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_a_history_shrinks_to_its_ground_and_one_command(seed):
    """Looking for a join that asks for eth1, what is left is the ground, with default values, and that join."""

    def asks_for_eth1(batches):
        return any(isinstance(each, JoinEndpoint) and each.interface == "eth1" for each in batches[-1])

    found = find(drawn.histories(), asks_for_eth1, settings=THOROUGH, random=Random(seed))
    assert list(map(len, found)) == [len(GROUND), 1]
    networks = [each for each in found[0] if isinstance(each, CreateNetwork)]
    assert [(each.name, dict(each.options), each.internal) for each in networks] == [
        ("n0", {}, False),
        ("n1", {}, False),
    ]
    assert [each.container for each in found[0] if isinstance(each, CreateSandbox)] == ["c0", "c1"]


@given(st.data())
def test_commands_fit_the_views_that_they_are_drawn_for(data):
    """In a state with something in it, most kinds of commands are carried out."""
    desk = Desk()
    author = Author(Drawn([]), SMALL, lambda: desk.views)
    desk.do(author.command("create network"))
    command = data.draw(drawn.commands(desk.views, SMALL))
    assert type(command).__name__


@settings(max_examples=20, deadline=None)
@given(drawn.histories(max_batches=3, universe=SMALL))
def test_a_history_of_a_small_universe_stays_in_it(batches):
    """One network at most is ever there, beside those of which a host has one."""
    with Controller.open(dataplane="none") as controller:
        for batch in batches:
            controller.execute(batch)
            others = (*SINGLE, *(f"another-{driver}" for driver in SINGLE), GATEWAY_NETWORK)
            networks = [each for each in controller.networks() if not each.info().config_only]
            assert len([network for network in networks if network.name not in others]) <= 1
