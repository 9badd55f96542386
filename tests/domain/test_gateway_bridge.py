"""The gateway bridge where users made it: what of theirs it is not entered in."""

from __future__ import annotations

import pytest

from netledger.domain.commands import Configure, DeleteEndpoint, DeleteNetwork, LeaveEndpoint, PoolRequest
from netledger.domain.errors import Conflict, Exhausted
from netledger.domain.events import EndpointAbandoned, EndpointLeft, GatewayElected, NetworkCreated
from netledger.domain.facts import IpamAnswers, PoolAnswer
from netledger.domain.gateways import GATEWAY_NETWORK
from netledger.domain.values import PredefinedPool, parse_subnet
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


@pytest.fixture
def led(dark):
    """Let the sandbox have a network that leads out, too; it is needed once that is gone."""
    dark.do(create_network("front", "10.5.0.0/24"), create_endpoint("front", "f"))
    dark.do(join("front/f", "c"), join("dark/e", "c"))
    return dark


WAYS = (
    (LeaveEndpoint(identifier("front/f")), EndpointLeft),
    (DeleteEndpoint(identifier("front/f"), force=True), EndpointAbandoned),
)


@pytest.mark.parametrize(("command", "kind"), WAYS)
def test_nobody_is_kept_from_leaving_by_a_full_bridge(led, command, kind):
    """The sandbox has no way out then, and the event says why; it gets one with the next change that finds room."""
    led.do(create_network(GATEWAY_NETWORK, "10.4.0.0/30"), create_endpoint(GATEWAY_NETWORK, "only"))
    (left,) = [event for event in led.do(command) if isinstance(event, kind)]
    assert left.no_way_out.startswith("lead a sandbox out: no free IPv4 address in 10.4.0.0/30")
    assert led.views.gateway(identifier("c"), 4) is None
    led.do(
        create_network("more", "10.6.0.0/24", driver="macvlan", options={"parent": "eth0"}),
        create_endpoint("more", "m"),
    )
    assert "10.4.0.0/30" in str(led.refusal(Exhausted, join("more/m", "c")))
    led.do(DeleteEndpoint(identifier(f"{GATEWAY_NETWORK}/only")))
    assert any(isinstance(event, GatewayElected) for event in led.do(join("more/m", "c")))


@pytest.mark.parametrize(("command", "kind"), WAYS)
def test_nobody_is_kept_from_leaving_by_a_bridge_that_cannot_be_made(led, command, kind):
    """No predefined pool is left for it; with the next leave there is, and it is made."""
    led.do(Configure((PredefinedPool(parse_subnet("10.7.0.0/24"), 24),), 3600))
    led.do(create_network("last"), create_network("more", "10.6.0.0/24", driver="macvlan", options={"parent": "eth0"}))
    led.do(create_endpoint("more", "m"), join("more/m", "c"))
    (left,) = [event for event in led.do(command) if isinstance(event, kind)]
    assert "all predefined IPv4 address pools have been fully subnetted" in left.no_way_out
    led.do(DeleteNetwork(identifier("last")))
    (left, *others) = led.do(LeaveEndpoint(identifier("more/m")))
    assert left.no_way_out == ""
    assert any(isinstance(event, NetworkCreated) and event.name == GATEWAY_NETWORK for event in others)


@pytest.mark.parametrize(("command", "kind"), WAYS)
def test_nobody_is_kept_from_leaving_by_a_plugin(led, command, kind):
    """Whose addresses the bridge has."""
    answers = IpamAnswers(pools=(PoolAnswer(parse_subnet("10.9.0.0/24"), "their-pool"),))
    led.do(create_network(GATEWAY_NETWORK, PoolRequest(4), ipam_driver="weave"), ipam=answers)
    (left,) = [event for event in led.do(command) if isinstance(event, kind)]
    assert "IPAM driver 'weave', which is not asked here" in left.no_way_out


def test_who_is_led_out_otherwise_is_told_nothing(led):
    """A leave that needs no bridge has no reason."""
    (left,) = [event for event in led.do(LeaveEndpoint(identifier("dark/e"))) if isinstance(event, EndpointLeft)]
    assert left.no_way_out == ""


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
