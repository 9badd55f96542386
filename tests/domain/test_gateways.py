from __future__ import annotations

import pytest

from netledger.domain.commands import LeaveEndpoint
from netledger.domain.events import GatewayElected, PortsProgrammed, PortsRevoked
from netledger.domain.values import EndpointId
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join


@pytest.fixture
def net(desk):
    """Give a desk with networks of several kinds, an endpoint in each, and a sandbox."""
    desk.do(
        create_network("a4", "10.1.0.0/24"),
        create_network("b46", "10.2.0.0/24", "fd02::/64"),
        create_network("c6", "fd03::/64"),
        create_network("inside", "10.4.0.0/24", internal=True),
        create_sandbox("c"),
    )
    desk.do(create_endpoint("a4", "e", "80:80"), create_endpoint("b46", "e", "81:80"))
    desk.do(create_endpoint("c6", "e", "82:80"), create_endpoint("inside", "e"))
    return desk


def gateways(desk):
    """Name the network of the sandbox's way out in each family."""
    names = []
    for family in (4, 6):
        endpoint = desk.views.gateway(identifier("c"), family)
        record = desk.views.endpoint(EndpointId(endpoint)) if endpoint else None
        names.append(desk.views.network(record.event.network).event.name if record else None)
    return names


def test_each_family_has_a_way_out_of_its_own(net):
    """An IPv4 and an IPv6 network serve a sandbox together."""
    net.do(join("a4/e", "c"), join("c6/e", "c"))
    assert gateways(net) == ["a4", "c6"]


def test_more_families_beat_the_name(net):
    """A network with gateways of both families is preferred to one with one, as in moby."""
    net.do(join("a4/e", "c"), join("c6/e", "c"))
    elected = [event for event in net.do(join("b46/e", "c")) if isinstance(event, GatewayElected)]
    assert [(event.family, event.why) for event in elected] == [
        (4, "gateways of both families over one of network a4"),
        (6, "gateways of both families over one of network c6"),
    ]
    assert gateways(net) == ["b46", "b46"]


def test_priority_beats_everything(net):
    """The highest priority is the way out, whenever it joins."""
    net.do(join("b46/e", "c"))
    elected = [event for event in net.do(join("a4/e", "c", priority=1)) if isinstance(event, GatewayElected)]
    assert [event.why for event in elected] == ["priority 1 over 0 of network b46"]
    assert gateways(net) == ["a4", "b46"]


def test_the_name_decides_between_equals(net):
    """Of two equal networks the one whose name sorts first is the way out."""
    net.do(create_network("a0"), create_endpoint("a0", "e"))
    net.do(join("a4/e", "c"))
    elected = [event for event in net.do(join("a0/e", "c")) if isinstance(event, GatewayElected)]
    assert [event.why for event in elected] == ["network a0 sorts before a4"]


def test_an_internal_network_is_no_way_out(net):
    """Even alone it is not elected."""
    events = net.do(join("inside/e", "c", priority=9))
    assert not any(isinstance(event, GatewayElected) for event in events)
    net.do(join("a4/e", "c"))
    assert gateways(net) == ["a4", None]


def test_a_join_that_changes_nothing_elects_nobody(net):
    """Only what changes is an event."""
    net.do(join("b46/e", "c"))
    events = net.do(join("a4/e", "c"))
    assert not any(isinstance(event, GatewayElected | PortsProgrammed | PortsRevoked) for event in events)


def test_ports_follow_the_way_out(net):
    """Ports are published for whoever is elected, revoked when another takes over, and published again later."""
    first = net.do(join("a4/e", "c"))
    assert [(e.endpoint, e.family) for e in first if isinstance(e, PortsProgrammed)] == [(identifier("a4/e"), 4)]
    second = net.do(join("b46/e", "c", priority=1))
    assert [(e.endpoint, e.family) for e in second if isinstance(e, PortsRevoked)] == [(identifier("a4/e"), 4)]
    assert [(e.endpoint, e.family) for e in second if isinstance(e, PortsProgrammed)] == [
        (identifier("b46/e"), 4),
        (identifier("b46/e"), 6),
    ]
    last = net.do(LeaveEndpoint(identifier("b46/e")))
    assert [(e.endpoint, e.family) for e in last if isinstance(e, GatewayElected)] == [(identifier("a4/e"), 4)]
    assert [(e.endpoint, e.family) for e in last if isinstance(e, PortsProgrammed)] == [(identifier("a4/e"), 4)]
    assert not any(isinstance(e, PortsRevoked) for e in last), "leaving itself ends what was published"
    assert gateways(net) == ["a4", None]
    assert not net.views.is_published(identifier("b46/e"), 4)


def test_the_last_one_out_leaves_no_way_out(net):
    """A sandbox without endpoints has no gateway."""
    net.do(join("a4/e", "c"), LeaveEndpoint(identifier("a4/e")))
    assert gateways(net) == [None, None]
