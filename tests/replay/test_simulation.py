"""The network that a log calls for: who reaches whom in it, and which event is to blame."""

from __future__ import annotations

import pytest

from netledger import Controller, Invalid, NotFound
from netledger.dataplanes.simulated.packets import Verdict
from netledger.domain.values import format_address, parse_address
from netledger.replay.simulation import OUTSIDE, Question, Simulation, describe

ICC = "com.docker.network.bridge.enable_icc"
REACHED, DROPPED, REFUSED = Verdict.REACHED, Verdict.DROPPED, Verdict.REFUSED


@pytest.fixture
def controller():
    """Give an engine of its own."""
    with Controller.open(dataplane="simulated") as made:
        yield made


def attach(controller, network, name, **options):
    """Put a new container on a network."""
    endpoint = controller.network(network).create_endpoint(name, **options)
    known = [sandbox for sandbox in controller.sandboxes() if sandbox.container == name]  # `db` may begin an id, too
    sandbox = known[0] if known else controller.create_sandbox(name)
    endpoint.join(sandbox)
    return endpoint


def simulate(controller):
    """Give the simulation of what the log says now."""
    with controller.reading() as views:
        return Simulation(views, controller.host)


@pytest.fixture
def shop(controller):
    """Give a network with two containers, one of which publishes a port, and another network with one, dual stack."""
    controller.create_network("front", subnets=["10.1.0.0/24", "fd01::/64"], ipv6=True)
    controller.create_network("back", subnets=["10.2.0.0/24", "fd02::/64"], ipv6=True)
    attach(controller, "front", "web", ports=["8080:80/tcp"])
    attach(controller, "front", "cache")
    attach(controller, "back", "db")
    return simulate(controller)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("source", "destination", "what", "verdict"),
    [
        ("web", "cache", "tcp/6379", REACHED),
        ("web", "cache", "icmp", REACHED),
        ("web", "db", "tcp/5432", DROPPED),
        ("db", "front/web", "tcp/80", DROPPED),
        ("host", "web", "tcp/80", REACHED),
        ("host", "db", "udp/53", REACHED),
        ("web", "host", "icmp", REACHED),
        ("web", "host", "tcp/22", REFUSED),
        ("web", "outside", "tcp/443", REACHED),
        ("outside", "host", "tcp/8080", REACHED),
        ("outside", "host", "tcp/80", REFUSED),
        ("host", "host", "tcp/8080", REACHED),
        ("db", "host", "tcp/8080", REACHED),
        ("cache", "host", "tcp/8080", REACHED),
        ("web", "host", "tcp/8080", REACHED),
        ("outside", "web", "tcp/80", Verdict.NO_ROUTE),
        ("web", "web", "tcp/80", REACHED),
    ],
)
def test_who_reaches_whom(shop, source, destination, what, verdict, family):
    """Within a network, to the outside and to published ports: yes. Between networks and to closed ports: no."""
    asked = shop.reach(source, destination, what, family=family)
    assert asked.verdict is verdict, str(asked)


@pytest.mark.parametrize(
    ("source", "destination", "what", "seen"),
    [
        ("web", "cache", "tcp/1", "10.1.0.2"),
        ("web", "outside", "tcp/443", "198.18.0.1"),
        ("outside", "host", "tcp/8080", "198.18.0.2"),
        ("host", "host", "tcp/8080", "198.18.0.1"),
        ("host", "web", "tcp/80", "10.1.0.1"),
        ("db", "host", "tcp/8080", "10.2.0.2"),
        ("cache", "host", "tcp/8080", "10.1.0.1"),
        ("web", "host", "tcp/8080", "10.1.0.1"),
    ],
)
def test_the_address_that_the_other_side_sees(shop, source, destination, what, seen):
    """Outside the host's; at a published port the client's own, unless it is of the same network."""
    assert format_address(shop.reach(source, destination, what).seen_from) == seen


def test_a_trace_names_the_objects_and_the_events_to_blame(shop, controller):
    """Each hop that one of our objects decided has the position of the event that called for the object."""
    asked = shop.reach("outside", "host", "tcp/8080")
    named = {hop.key: hop.position for hop in asked.hops if hop.position}
    events = {there.position: type(there.event).__name__ for there in controller.history()}
    assert {key.partition("/")[0]: events[position] for key, position in named.items()} == {
        "port": "PortBound",
        "bridge": "NetworkCreated",
        "policy": "NetworkCreated",
        "veth": "EndpointJoined",
    }
    assert "publishes the port" in str(asked)
    assert "  [port/tcp/0.0.0.0:8080 @" in str(asked)


def test_no_icc_keeps_containers_apart(controller):
    """Without inter-container communication a network's containers reach the outside and not each other."""
    controller.create_network("n", subnets=["10.1.0.0/24"], options={ICC: "false"})
    attach(controller, "n", "a", ports=["8080:80/tcp"])
    attach(controller, "n", "b")
    there = simulate(controller)
    assert not there.reach("b", "a", "tcp/80").is_reached
    assert there.reach("b", OUTSIDE, "tcp/80").is_reached
    assert there.reach(OUTSIDE, "host", "tcp/8080").is_reached


def test_an_internal_network_has_no_outside(controller):
    """An internal network's containers reach each other, and nothing else; nothing else reaches them but the host."""
    controller.create_network("n", subnets=["10.1.0.0/24"], internal=True)
    attach(controller, "n", "a")
    attach(controller, "n", "b")
    there = simulate(controller)
    assert there.reach("a", "b", "udp/53").is_reached
    assert not there.reach("a", OUTSIDE, "tcp/80").is_reached
    assert there.reach("host", "a", "tcp/80").is_reached


def test_the_matrix_has_everybody_and_everything(shop):
    """Each place asks for each endpoint and each published port; the words say it in a line for each place."""
    matrix = shop.matrix()
    assert matrix[Question("web", "front/cache", "icmp", 6)] is REACHED
    assert matrix[Question("web", "back/db", "icmp", 4)] is DROPPED
    assert matrix[Question("outside", "host", "tcp/8080", 6)] is REACHED
    assert len(matrix) == 5 * 2 * (3 + 1)
    assert describe(matrix).splitlines()[0] == (
        "web: dropped: back/db, back/db over IPv6; reached: front/web, front/web over IPv6, host tcp/8080, "
        "host tcp/8080 over IPv6, front/cache, front/cache over IPv6"
    )


def test_asking_changes_nothing(shop):
    """A question leaves no connection and no change behind; the second answer is the first."""
    before = dict(shop.kernel.objects), shop.kernel.epoch
    first = shop.reach(OUTSIDE, "host", "tcp/8080")
    assert (dict(shop.kernel.objects), shop.kernel.epoch) == before
    second = shop.reach(OUTSIDE, "host", "tcp/8080")
    assert [hop.key for hop in first.hops] == [hop.key for hop in second.hops]
    assert not any(tracker.flows for tracker in shop.fabric._machines.trackers.values())


@pytest.mark.parametrize(
    ("source", "destination", "what", "error", "words"),
    [
        ("nobody", "web", "icmp", NotFound, "reach from 'nobody': there is no container or sandbox of that name or id"),
        ("front/nobody", "web", "icmp", NotFound, "network front has no endpoint nobody"),
        ("web", "nobody", "icmp", NotFound, "reach 'nobody': there is no container or sandbox of that name or id"),
        ("web", "cache", "tcp", Invalid, "neither icmp nor a protocol and a port"),
        ("web", "cache", "tcp/0", Invalid, "a port from 1 to 65535"),
        ("web", "cache", "icmp/1", Invalid, "neither icmp"),
        ("web", "cache", "quic/443", Invalid, "write icmp, tcp/PORT"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(shop, source, destination, what, error, words):
    """An unknown name, protocol or port is refused in words."""
    with pytest.raises(error, match=words):
        shop.reach(source, destination, what)


def test_an_endpoint_that_is_nowhere_cannot_ask(shop, controller):
    """An endpoint in no sandbox is refused with what to do."""
    controller.network("front").create_endpoint("idle")
    with pytest.raises(Invalid, match="join it to one"):
        simulate(controller).reach("front/idle", "web")


def test_an_address_of_a_lost_family_is_not_found(controller):
    """IPv6 to a network that has none."""
    controller.create_network("n", subnets=["10.1.0.0/24"])
    attach(controller, "n", "a")
    with pytest.raises(NotFound, match="it has none in IPv6"):
        simulate(controller).reach("host", "a", family=6)


def test_a_plain_address_can_be_asked_for(shop):
    """An address needs no name."""
    assert shop.reach("web", "10.1.0.3", "tcp/1").is_reached
    assert parse_address("10.1.0.3") == shop.address("cache")


# --- addresses of the host


@pytest.mark.parametrize(
    ("published", "address"), [("192.0.2.5:8080:80", "192.0.2.5"), ("[2001:db8::5]:8080:80", "2001:db8::5")]
)
def test_a_port_at_one_address_of_the_host_is_found_there(controller, published, address):
    """From outside, from the host and from a container, as one without an address is at the host's; nowhere else."""
    controller.create_network("n", subnets=["10.1.0.0/24", "fd01::/64"], ipv6=True)
    attach(controller, "n", "web", ports=[published])
    attach(controller, "n", "db")
    there = simulate(controller)
    for source in (OUTSIDE, "host", "db", "web"):
        asked = there.reach(source, address, "tcp/8080")
        assert asked.is_reached, f"{source}: {asked}"
        assert asked.at == there.spot("web")
        assert there.reach(source, address, "tcp/80").verdict is REFUSED
        assert there.reach(source, "host", "tcp/8080", family=4).verdict is REFUSED
    matrix = there.matrix()
    family = 6 if ":" in address else 4
    assert {matrix[Question(source, address, "tcp/8080", family)] for source in ("web", "db", "host", OUTSIDE)} == {
        REACHED
    }


def test_an_address_that_no_port_is_published_at_any_more_is_nobodys(controller):
    """What the log does not know of the host is not found."""
    controller.create_network("n", subnets=["10.1.0.0/24"])
    endpoint = attach(controller, "n", "web", ports=["192.0.2.5:8080:80"])
    assert simulate(controller).reach(OUTSIDE, "192.0.2.5", "tcp/8080").is_reached
    endpoint.delete(force=True)
    assert simulate(controller).reach(OUTSIDE, "192.0.2.5", "tcp/8080").verdict is Verdict.NO_ROUTE


def test_a_port_at_a_loopback_address_is_the_hosts_alone(controller):
    """The host's own processes find it; others, who ask the host for it, do not."""
    controller.create_network("n", subnets=["10.1.0.0/24"])
    attach(controller, "n", "web", ports=["127.0.0.1:8080:80"])
    matrix = simulate(controller).matrix()
    assert matrix[Question("host", "127.0.0.1", "tcp/8080", 4)] is REACHED
    assert matrix[Question(OUTSIDE, "host", "tcp/8080", 4)] is REFUSED
    assert Question(OUTSIDE, "127.0.0.1", "tcp/8080", 4) not in matrix


def test_the_answers_to_what_leaves_as_an_address_of_the_hosts_come_back(controller):
    """A network whose packets leave the host as one of its addresses is answered there."""
    controller.create_network("n", subnets=["10.1.0.0/24"], options={"com.docker.network.host_ipv4": "192.0.2.9"})
    attach(controller, "n", "web")
    asked = simulate(controller).reach("web", OUTSIDE, "tcp/443")
    assert asked.is_reached, str(asked)
    assert format_address(asked.seen_from) == "192.0.2.9"


def test_the_hosts_name_stands_for_its_address_on_the_underlay(controller):
    """Whatever other addresses it has."""
    controller.create_network("n", subnets=["10.1.0.0/24"])
    attach(controller, "n", "web", ports=["192.0.2.5:8080:80", "8081:80"])
    there = simulate(controller)
    assert format_address(there.address("host")) == "198.18.0.1"
    assert there.reach(OUTSIDE, "host", "tcp/8081").is_reached
    assert there.reach(OUTSIDE, "192.0.2.5", "tcp/8081").is_reached
