"""Address management through a controller: what the host uses, the dead make way, settings, requests, explanations."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated import SimulatedDataplane
from netledger.domain.commands import CreateEndpoint, RequestAddress
from netledger.domain.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from netledger.domain.events import (
    ClockStepped,
    ConfigurationChanged,
    EndpointCreated,
    EndpointDeleted,
    EndpointLeft,
    PoolAllocated,
    PortBound,
    SandboxLost,
)
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.ports import EPHEMERAL_LAST
from netledger.domain.values import PoolId, parse_address, parse_port
from netledger.projections.occupancy import why_full
from netledger.testing.checkers import check_everything
from tests.desk import identifier


@pytest.fixture
def blue(dataplane: SimulatedDataplane) -> str:
    """Put somebody's namespace on the host."""
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 7)
    return "/run/netns/blue"


def attach(controller, path: str, subnet: str = "10.0.0.0/29"):
    """Put an endpoint into a namespace that is not ours."""
    network = controller.create_network("n", subnets=[subnet])
    endpoint = network.create_endpoint("old")
    endpoint.join(controller.create_sandbox("c", kind="attached", path=path))
    return network, endpoint


def test_a_block_is_chosen_beside_what_the_host_uses(controller, dataplane):
    """Others' addresses and name servers are avoided and recorded; our own bridges are not in the way of themselves."""
    card = dataplane.kernel.add_interface("eth0", "a card")
    card.addresses[parse_address("172.17.3.4"), 16] = False
    dataplane.name_servers.append(parse_address("172.18.0.53"))
    blocks = [controller.create_network(name).info().subnets[0] for name in ("a", "b")]
    assert blocks == ["172.19.0.0/16", "172.20.0.0/16"]
    events = [record.event for record in controller.history() if isinstance(record.event, PoolAllocated)]
    assert {event.avoided for event in events} == {("172.17.0.0/16 route dev eth0", "172.18.0.53/32 name server")}
    assert controller.create_network("c", address_space="GlobalDefault").info().subnets[0] == "10.0.0.0/24"


def test_the_host_is_asked_only_where_a_block_is_chosen(controller, dataplane, monkeypatch):
    """A network that names its block does not wait for the kernel; two of one batch ask once."""
    asked = []
    monkeypatch.setattr(dataplane, "taken_blocks", lambda: asked.append(1) or [])
    controller.create_network("a", subnets=["10.0.0.0/24"])
    assert asked == []
    controller.ipam.request_pool()
    controller.ipam.request_pool("10.1.0.0/24")
    assert asked == [1]


def test_the_host_is_asked_about_ports_only_where_it_matters(controller, dataplane, monkeypatch):
    """Where one is chosen, or is to be reached at ::1; what is reserved is passed over, what is not reached refused."""
    real, asked = dataplane.host_ports, []
    monkeypatch.setattr(dataplane, "host_ports", lambda: asked.append(1) or real())
    network = controller.create_network("a", subnets=["10.0.0.0/24", "fd00::/64"])
    network.create_endpoint("plain", ports=["8080:80"])
    assert asked == []
    dataplane.kernel.own.sysctls["net.ipv4.ip_local_reserved_ports"] = "49153-49160,49162"
    chosen = network.create_endpoint("chosen", ports=["80", "81"]).info().port_map
    assert chosen == {"80/tcp": ("0.0.0.0:49161", "[::]:49161"), "81/tcp": ("0.0.0.0:49163", "[::]:49163")}
    assert asked == [1]
    network.create_endpoint("near", ports=["[::1]:8081:80"])
    dataplane.kernel.own.sysctls["net.bridge.bridge-nf-call-ip6tables"] = "1"
    with pytest.raises(Unavailable, match="bridged packets pass ip6tables"):
        network.create_endpoint("far", ports=["[::1]:8082:80"])
    assert asked == [1, 1, 1]


def test_a_port_is_chosen_from_the_range_that_the_host_takes_itself(controller, dataplane):
    """As it is set when the port is chosen; also where all of the usual range is held; a start reads it in the log."""
    network = controller.create_network("a", subnets=["10.0.0.0/24"])
    usual = network.create_endpoint("usual", ports=["80"]).info().port_map
    dataplane.kernel.own.sysctls["net.ipv4.ip_local_port_range"] = "40000\t40001"
    low = network.create_endpoint("low", ports=["80"]).info().port_map
    assert (usual, low) == ({"80/tcp": ("0.0.0.0:49153",)}, {"80/tcp": ("0.0.0.0:40000",)})
    with pytest.raises(Exhausted, match=r"all 2 tcp ports from 40000 to 40001 \(net\.ipv4\.ip_local_port_range\)"):
        network.create_endpoint("more", ports=["80", "81"])
    dataplane.kernel.own.sysctls["net.ipv4.ip_local_port_range"] = "49153 49153"
    with pytest.raises(Exhausted, match="all 1 tcp ports"):
        network.create_endpoint("more", ports=["80"])
    dataplane.kernel.own.sysctls["net.ipv4.ip_local_port_range"] = "49153 49154"
    assert network.create_endpoint("more", ports=["80"]).info().port_map == {"80/tcp": ("0.0.0.0:49154",)}
    bound = [event for record in controller.history() if isinstance(event := record.event, PortBound)]
    assert [event.chosen_from for event in bound] == [(), (40000, 40001), (49153, 49154)]


def test_a_full_usual_range_is_no_matter_where_the_host_has_another(controller, dataplane, monkeypatch):
    """The host is asked before the first decision, not after one that has already refused."""
    monkeypatch.setattr("netledger.domain.ports.EPHEMERAL_FIRST", EPHEMERAL_LAST)
    network = controller.create_network("a", subnets=["10.0.0.0/24"])
    network.create_endpoint("full", ports=[f"{EPHEMERAL_LAST}:80"])
    dataplane.kernel.own.sysctls["net.ipv4.ip_local_port_range"] = "32768 60999"
    assert network.create_endpoint("b", ports=["80"]).info().port_map == {"80/tcp": ("0.0.0.0:32768",)}


def test_a_claim_finds_out_that_the_owner_is_gone(controller, dataplane, blue):
    """The namespace is looked at only then; gone, its endpoint is superseded in the same append."""
    network, old = attach(controller, blue)
    with pytest.raises(Conflict, match=r"10\.0\.0\.2 is held by endpoint old"):
        network.create_endpoint("new", addresses=["10.0.0.2"])
    del dataplane.namespaces[blue]
    before = controller.ledger.head
    new = network.create_endpoint("new", addresses=["10.0.0.2"])
    assert new.info().addresses == ("10.0.0.2/29",)
    events = [record.event for record in controller.history(after=before)]
    assert any(isinstance(event, SandboxLost) and "is gone" in event.evidence for event in events)
    assert [endpoint.name for endpoint in network.endpoints()] == ["new"]
    assert check_everything(controller) == ()
    with pytest.raises(NotFound):
        old.info()


def test_what_made_way_is_told_with_the_command(controller, dataplane, blue):
    """The result has every event of the append, those that made way first; and the same when it is asked again."""
    network, old = attach(controller, blue)
    del dataplane.namespaces[blue]
    before = controller.ledger.head
    command = CreateEndpoint(identifier("new"), network.id, "new", (parse_address("10.0.0.2"),))
    [result] = controller.execute([command], request="r")
    result.check()
    records = list(controller.history(after=before))
    assert list(result.events) == records
    assert isinstance(result.events[0].event, EndpointLeft)
    assert [type(record.event) for record in result.own][-1] is EndpointCreated
    assert isinstance(result.events[result.ways - 1].event, SandboxLost)
    [again] = controller.execute([command], request="r")
    assert (again.is_repetition, again.events, again.ways) == (True, result.events, result.ways)
    assert old.id not in {endpoint.id for endpoint in controller.endpoints()}


def test_what_made_way_for_a_command_that_is_refused_after_all_is_told(controller, dataplane, blue):
    """It stands, and is not the command's own; what depends on the command is not taken for done."""
    network, _ = attach(controller, blue)
    network.create_endpoint("living", addresses=["10.0.0.3"], ports=["8080:80"])
    del dataplane.namespaces[blue]
    before = controller.ledger.head
    ports = (parse_port("8080:80"),)
    command = CreateEndpoint(identifier("new"), network.id, "new", (parse_address("10.0.0.2"),), ports=ports)
    [result] = controller.execute([command])
    assert isinstance(result.error, Conflict)
    assert list(result.events) == list(controller.history(after=before))
    assert any(isinstance(record.event, SandboxLost) for record in result.events)
    assert result.own == ()


def test_what_made_way_for_a_refused_attempt_is_not_the_next_one_s(controller, dataplane, blue):
    """A request that is refused although something made way, and carried out later, is told alike ever after."""
    network, _ = attach(controller, blue)
    living = network.create_endpoint("living", addresses=["10.0.0.3"], ports=["8080:80"])
    del dataplane.namespaces[blue]
    ports = (parse_port("8080:80"),)
    command = CreateEndpoint(identifier("new"), network.id, "new", (parse_address("10.0.0.2"),), ports=ports)
    [refused] = controller.execute([command], request="r")
    assert (type(refused.error), refused.ways) == (Conflict, len(refused.events))
    living.delete(force=True)
    [done] = controller.execute([command], request="r")
    [again] = controller.execute([command], request="r")
    assert (done.ways, done.error) == (0, None)
    assert (again.is_repetition, again.events, again.ways) == (True, done.events, 0)


def test_the_clock_is_told_to_have_gone_back_before_what_makes_way(controller, dataplane, blue, monkeypatch):
    """Whatever comes first after it."""
    network, _ = attach(controller, blue)
    del dataplane.namespaces[blue]
    now = max(record.event.at for record in controller.history())
    monkeypatch.setattr("time.time_ns", lambda: now - 10**10)
    before = controller.ledger.head
    network.create_endpoint("new", addresses=["10.0.0.2"])
    kinds = [type(record.event) for record in controller.history(after=before)]
    assert (kinds[0], kinds.count(ClockStepped)) == (ClockStepped, 1)


def test_what_goes_with_the_leases_of_the_dead(controller, dataplane, blue):
    """The sandbox whose namespace is found to be gone, named by its container, is removed too."""
    attach(controller, blue)
    assert controller.ipam.lost() == []
    del dataplane.namespaces[blue]
    [(container, evidence)] = controller.ipam.lost()
    assert container == "c"
    assert "is gone" in evidence
    controller.ipam.collect()
    assert controller.ipam.lost() == []
    assert controller.sandboxes() == []


def test_what_would_be_given_back_is_what_is(controller, dataplane, blue):
    """With a retention, what was proven gone only just now is spared, in the plan as in the doing."""
    attach(controller, blue)
    del dataplane.namespaces[blue]
    for retention, number in ((3600, 0), (0, 1)):
        assert len(controller.ipam.gone(retention_seconds=retention)) == number
        assert len(controller.ipam.collect(retention_seconds=retention)) == number


def test_an_exhausted_pool_is_freed_of_the_dead(controller, dataplane, blue):
    """Those whose retention is over go before anybody is refused."""
    network, _ = attach(controller, blue, "10.0.0.0/30")
    controller.ipam.configure(retention_seconds=0)
    del dataplane.namespaces[blue]
    with pytest.raises(Exhausted):
        network.create_endpoint("new")
    assert [(lease.name, lease.position) for lease in controller.ipam.gone()] == [("old", 0)]
    assert [lease.name for lease in controller.ipam.collect()] == ["old"]
    assert controller.ipam.gone() == []
    assert network.create_endpoint("new").info().addresses == ("10.0.0.2/30",)
    pool = controller.ipam.inspect("n")[0].pool
    with pytest.raises(Exhausted):
        controller.do(RequestAddress(PoolId(pool), identifier("lease")))
    assert check_everything(controller) == ()


def test_the_dead_expire_when_a_pool_is_exhausted(controller, dataplane, blue):
    """Known to be gone, with no retention: the same command succeeds."""
    network, _ = attach(controller, blue, "10.0.0.0/30")
    controller.ipam.configure(retention_seconds=0)
    network.delete(force=True)
    network, old = attach_again(controller, dataplane, blue)
    assert network.create_endpoint("new").info().addresses == ("10.0.0.2/30",)
    deleted = [record.event for record in controller.history() if isinstance(record.event, EndpointDeleted)]
    assert deleted[-1].endpoint == old.id
    assert check_everything(controller) == ()


def attach_again(controller, dataplane, path):
    """Put an endpoint into the sandbox that is there, and lose that."""
    from netledger.domain.commands import LoseSandbox

    network = controller.create_network("m", subnets=["10.0.0.0/30"])
    endpoint = network.create_endpoint("old")
    sandbox = controller.sandbox("c")
    endpoint.join(sandbox)
    del dataplane.namespaces[path]
    controller.do(LoseSandbox(sandbox.id, "gone"))
    return network, endpoint


def test_opening_configures_and_expires(state, start):
    """What is given at open is recorded once; leases that are over end there."""
    pools = ["10.64.0.0/10,24"]
    first = start(state, default_address_pools=pools, retention_seconds=60)
    assert first.create_network("n").info().subnets == ("10.64.0.0/24",)
    second = start(state, default_address_pools=[("10.64.0.0/10", 24)], retention_seconds=60)
    changes = [record for record in second.history() if isinstance(record.event, ConfigurationChanged)]
    assert len(changes) == 1
    assert second.ipam.settings().retention_seconds == 60
    with pytest.raises(Invalid, match="not BASE,SIZE"):
        start(state, default_address_pools=["10.0.0.0/8"])


def test_pools_and_addresses_are_requested_and_given_back(controller):
    """As an IPAM plugin is asked: a block, a size, an address; a network claims the pool."""
    pool = controller.ipam.request_pool("0.0.0.0/24", ip_range="", lease=identifier("lease"))
    assert (pool.block, pool.lease) == ("172.17.0.0/24", identifier("lease"))
    gateway = controller.ipam.request_address(pool.pool)
    assert gateway.address == "172.17.0.1/24"
    network = controller.create_network("n", subnets=[pool.block], gateways=["172.17.0.1"])
    address = controller.ipam.request_address(pool.pool, "172.17.0.9")
    endpoint = network.create_endpoint("e", addresses=["172.17.0.9"])
    assert check_everything(controller) == ()
    endpoint.delete()
    network.delete()
    controller.ipam.release_address(pool.pool, "172.17.0.9", lease=address.lease)
    controller.ipam.release_address(pool.pool, "172.17.0.1")
    controller.ipam.release_pool(pool.pool, lease=pool.lease)
    assert controller.ipam.pools() == []


def test_every_address_is_explained(controller):
    """Held, kept, reserved, outside the range, free, and in no pool."""
    network = controller.create_network(
        "n", subnets=["10.0.0.0/28"], ip_ranges=["10.0.0.0/29"], auxiliary={"printer": "10.0.0.5"}, rest_seconds=60
    )
    network.create_endpoint("a")
    network.create_endpoint("b").delete()
    controller.ipam.reserve(network, "db", "10.0.0.6")
    said = {
        text: (explained.state, explained.words)
        for text in ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.9")
        for explained in controller.ipam.explain(text)
    }
    assert [state for state, _ in said.values()] == [
        *("reserved", "gateway", "endpoint", "resting", "free", "auxiliary", "kept", "free")
    ]
    assert said["10.0.0.2"][1].startswith("endpoint of endpoint a: chosen by netledger, policy next, by ")
    assert said["10.0.0.3"][1].startswith("released by endpoint ")
    assert said["10.0.0.4"][1] == "the next to be chosen (policy next)"
    assert said["10.0.0.9"][1] == "outside the range 10.0.0.0/29: given only to who asks for it"
    [explained] = controller.ipam.explain("10.0.0.3")
    assert [type(record.event).__name__ for record in controller.ipam.history(explained)] == [
        "AddressAllocated",
        "AddressReleased",
    ]
    [counted] = controller.ipam.inspect("10.0.0.0/28")
    assert why_full(counted) == (
        "16 addresses: 2 reserved, 1 auxiliary, 1 endpoint, 1 gateway, 1 kept for names, 1 resting, 9 free; "
        "2 can be chosen of 10.0.0.0/29"
    )
    controller.ipam.unreserve(network, "10.0.0.6")
    with pytest.raises(NotFound, match="it is in no pool"):
        controller.ipam.explain("192.0.2.1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ip_ranges": ["10.0.0.0/25"]}, "there is no subnet for it"),
        ({"auxiliary": {"a": "10.0.0.1"}}, "it is in none of the subnets"),
        ({"subnets": ["0.0.0.0/33"]}, "not a CIDR block"),
        ({"subnets": ["10.0.0.0/24"], "rest_seconds": -1}, "a rest of -1 seconds"),
    ],
)
def test_what_does_not_fit_is_refused(controller, arguments, words):
    """A range or address without its subnet, a size that is none, a length of time that is none."""
    with pytest.raises(Invalid, match=words):
        controller.create_network("n", **arguments)
