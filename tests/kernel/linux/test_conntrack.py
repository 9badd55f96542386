"""A UDP flow that goes on reaches whom the port is published for now: what was tracked before does not stick."""

from __future__ import annotations

import contextlib
import select
import socket

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from netledger.dataplanes.contract import Plan, Status, Step, Verb
from netledger.domain.objects import Firewall

from .conftest import ANSWER_SECONDS, HOST4, HOST6, OUTSIDE4, OUTSIDE6, UDP, inside

HOSTS, OUTSIDES = {4: HOST4, 6: HOST6}, {4: OUTSIDE4, 6: OUTSIDE6}
PORT = 9000

families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(params=["nftables", "iptables"])
def firewall(request):
    """Name each backend that programs anything."""
    return request.param


class Flow:
    """One caller outside that goes on, and three who may hear it: the host itself and two endpoints."""

    def __init__(self, stage, family, stack):
        self.stage, self.family = stage, family
        network = stage.network("n1", "10.5.0.0/24", "fd05::/64")
        self.web, self.other = stage.member(network, "web"), stage.member(network, "other")
        stage.make(*stage.forwarding, *network.objects, *self.web.objects, *self.other.objects)
        self.hearers = {
            name: stack.enter_context(self.bound(place))
            for name, place in (("web", self.web.path), ("other", self.other.path))
        }
        self.stack = stack
        self.caller = self.bound(stage.outside)
        stack.enter_context(self.caller)
        self.caller.connect((HOSTS[family], PORT))

    def bound(self, place):
        """Bind a socket in a namespace."""
        kind = socket.AF_INET if self.family == 4 else socket.AF_INET6
        made = inside(place, lambda: socket.socket(kind, socket.SOCK_DGRAM))
        made.bind(("", PORT))
        return made

    def host_hears(self):
        """Let a process of the host have the port, which then cannot be published."""
        self.hearers["host"] = self.stack.enter_context(self.bound(self.stage.host))

    def host_leaves(self):
        """Let that process end."""
        self.hearers.pop("host").close()

    def ports(self, member):
        """Publish the port for one, in this family."""
        return [port for port in member.publish(PORT, PORT, UDP) if (len(port.address) == 4) == (self.family == 4)]

    def heard_by(self):
        """Say something, have it answered, and tell who heard it."""
        self.caller.send(b"hello?")
        ready, _, _ = select.select(list(self.hearers.values()), [], [], ANSWER_SECONDS)
        names = [name for name, hearer in self.hearers.items() if hearer in ready]
        for name in names:
            _, peer = self.hearers[name].recvfrom(64)
            self.hearers[name].sendto(name.encode(), peer)
            assert self.caller.recv(64) == name.encode()
        return names

    def tracked(self, port):
        """List the ids of what the kernel tracks to a port, as pyroute2 reads them."""

        def read():
            with NFCTSocket(nfgen_family=self.caller.family) as connection:
                found = list(connection.dump())
            return {
                entry.get_attr("CTA_ID")
                for entry in found
                if entry.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_DST_PORT") == port
            }

        return inside(self.stage.host, read)


@pytest.fixture
def make_flow(stage):
    """Give flows that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda family: Flow(stage, family, stack)


@families
def test_a_binding_comes_moves_and_goes(stage, make_flow, family):
    """The same caller, from the same port, is heard by the host, an endpoint, another one, and the host again."""
    flow = make_flow(family)
    flow.host_hears()
    assert flow.heard_by() == ["host"]
    flow.host_leaves()
    stage.make(*flow.ports(flow.web))
    assert flow.heard_by() == ["web"]
    moved = zip(flow.ports(flow.web), flow.ports(flow.other), strict=True)
    plan = Plan(tuple(Step(Verb.REPLACE, after, before) for before, after in moved), stage.places)
    assert {outcome.status for outcome in stage.dataplane.apply(plan)} == {Status.MADE}
    assert flow.heard_by() == ["other"]
    stage.remove(*flow.ports(flow.other))
    flow.host_hears()
    assert flow.heard_by() == ["host"]


@families
def test_what_flows_through_a_published_port_is_left_alone(stage, make_flow, family):
    """Making it again, or a repair of the whole firewall, forgets nothing that is as it should be."""
    flow = make_flow(family)
    stage.make(*flow.ports(flow.web))
    assert flow.heard_by() == ["web"]
    before = flow.tracked(PORT)
    assert len(before) == 1
    stage.apply(Verb.MAKE, flow.ports(flow.web))
    stage.run("nft", "flush", "ruleset")
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        stage.run(tool, "-F", "FORWARD")
    observed = stage.observed()
    assert Firewall() not in observed
    wanted = [Firewall(), *(thing for thing in observed if "policy" in thing.key), *flow.ports(flow.web)]
    stage.apply(Verb.MAKE, wanted)
    assert Firewall() in stage.observed()
    assert flow.heard_by() == ["web"]
    assert flow.tracked(PORT) == before


@families
def test_what_goes_to_the_same_port_elsewhere_is_left_alone(stage, make_flow, family):
    """An endpoint that calls that port of somebody outside has nothing to do with the host's port."""
    flow = make_flow(family)
    with inside(flow.web.path, lambda: socket.socket(flow.caller.family, socket.SOCK_DGRAM)) as asking:
        asking.sendto(b"hello?", (OUTSIDES[family], PORT))
        before = flow.tracked(PORT)
        assert len(before) == 1
        stage.make(*flow.ports(flow.web))
        stage.remove(*flow.ports(flow.web))
        assert flow.tracked(PORT) == before
