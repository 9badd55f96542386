"""The gateway bridge where users made it: what of theirs it is not entered in."""

from __future__ import annotations

import pytest

from netledger.domain.commands import DeleteEndpoint, PoolRequest
from netledger.domain.errors import Conflict, Exhausted
from netledger.domain.events import NetworkCreated
from netledger.domain.facts import IpamAnswers, PoolAnswer
from netledger.domain.gateways import GATEWAY_NETWORK
from netledger.domain.values import parse_subnet
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join


@pytest.fixture
def dark(desk):
    """Give a desk with a sandbox and an endpoint in a network that leads nowhere."""
    desk.do(create_network("dark", "10.3.0.0/24", driver="macvlan", options={"parent": "eth0"}))
    desk.do(create_endpoint("dark", "e"), create_sandbox("c"))
    return desk


def test_a_full_bridge_is_not_entered(dark):
    """The port after the 1,023rd is refused to whoever needs a way out, too, until one is gone."""
    dark.do(create_network(GATEWAY_NETWORK, "10.4.0.0/16"))
    for number in range(1023):
        dark.do(create_endpoint(GATEWAY_NETWORK, f"e{number}"))
    position = dark.position_of(NetworkCreated, name=GATEWAY_NETWORK)
    assert str(dark.refusal(Exhausted, join("dark/e", "c"))) == (
        "lead a sandbox out: network docker_gwbridge has 1023 endpoints, as many as a Linux bridge has ports "
        f"(position {position}); create another network and put it there"
    )
    dark.do(DeleteEndpoint(identifier(f"{GATEWAY_NETWORK}/e7")), join("dark/e", "c"))


def test_addresses_of_an_ipam_plugin_are_not_taken(dark):
    """The plugin would not know of them."""
    answers = IpamAnswers(pools=(PoolAnswer(parse_subnet("10.9.0.0/24"), "their-pool"),))
    dark.do(create_network(GATEWAY_NETWORK, PoolRequest(4), ipam_driver="weave"), ipam=answers)
    position = dark.position_of(NetworkCreated, name=GATEWAY_NETWORK)
    assert str(dark.refusal(Conflict, join("dark/e", "c"))) == (
        "lead a sandbox out: IPAM driver 'weave', which is not asked here, gives the addresses of network "
        f"docker_gwbridge (position {position}); delete that network, and one is made; "
        "or let the sandbox join one that leads out first"
    )
