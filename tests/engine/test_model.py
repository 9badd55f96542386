from __future__ import annotations

import pytest

from netledger.domain.errors import Invalid, NotFound

BRIDGE = "com.docker.network.bridge.name"


@pytest.fixture
def city(controller):
    """Give a controller with two networks, three endpoints and a sandbox."""
    first = controller.create_network("n1", subnets=["10.1.0.0/24"], labels={"a": "b"})
    second = controller.create_network("n2", subnets=["10.2.0.0/24"], ipv6=True, internal=True)
    first.create_endpoint("web", ports=["8080:80", "53/udp"], aliases=["www"], mac="02:42:0a:00:00:07")
    first.create_endpoint("db")
    second.create_endpoint("db", labels={"c": "d"})
    controller.create_sandbox("c1", hostname="h", domainname="d", labels={"e": "f"})
    return controller


def test_a_network_tells_what_it_is(city):
    """Names, blocks, options and endpoints are as they were given or chosen."""
    network = city.network("n1")
    info = network.info()
    assert (info.name, info.driver, info.scope, info.internal) == ("n1", "bridge", "local", False)
    assert (info.subnets, info.gateways, info.labels) == (("10.1.0.0/24",), ("10.1.0.1",), {"a": "b"})
    assert info.device == f"br-{network.id[:12]}"
    assert info.endpoints == tuple(endpoint.id for endpoint in network.endpoints())
    assert [endpoint.name for endpoint in network.endpoints()] == ["web", "db"]
    assert (network.name, network.driver) == ("n1", "bridge")
    assert city.network("n2").info().internal
    assert info.created in {record.position for record in city.history(tags=[f"network:{network.id}"])}


def test_an_endpoint_tells_what_it_is(city):
    """Before joining it has its addresses and ports, afterwards its sandbox and interface too."""
    endpoint, sandbox = city.endpoint("web"), city.sandbox("c1")
    info = endpoint.info()
    assert info.mac == "02:42:0a:00:00:07"
    assert info.addresses == ("10.1.0.2/24",)
    assert info.gateways == ("10.1.0.1",)
    assert info.aliases == ("www",)
    assert info.port_map == {"80/tcp": ("0.0.0.0:8080",), "53/udp": ("0.0.0.0:49153",)}
    assert (info.published, info.sandbox, info.device, info.interface, info.joined) == (False, "", "", "", 0)
    assert endpoint.sandbox is None
    endpoint.join(sandbox, interface="lan")
    info = endpoint.info()
    assert (info.published, info.sandbox, info.interface) == (True, sandbox.id, "lan")
    assert info.device.startswith("nl")
    assert info.joined > info.created
    assert endpoint.sandbox.id == sandbox.id
    assert endpoint.network.id == city.network("n1").id


def test_a_sandbox_tells_what_it_is(city):
    """Host name, labels, path, endpoints in the order of joining, and the way out of each family."""
    sandbox = city.sandbox("c1")
    for name in ("n2/db", "n1/web"):
        city.endpoint(name).join(sandbox)
    info = sandbox.info()
    assert (info.container, info.kind, info.hostname, info.domainname) == ("c1", "managed", "h", "d")
    assert info.labels == {"e": "f"}
    assert info.endpoints == tuple(endpoint.id for endpoint in sandbox.endpoints())
    assert [endpoint.network.name for endpoint in sandbox.endpoints()] == ["n2", "n1"]
    assert info.gateways == {"ipv4": city.endpoint("web").id}
    assert sandbox.key == info.key != ""


def test_aliases_and_ends(city):
    """What is added is told, what is deleted is not found, by handle or by name."""
    web, sandbox = city.endpoint("web"), city.sandbox("c1")
    web.add_alias("w")
    web.remove_alias("www")
    assert web.info().aliases == ("w",)
    web.join(sandbox)
    sandbox.delete(force=True)
    web.delete()
    city.network("n2").delete(force=True)
    for call in (web.info, sandbox.info, lambda: web.name, lambda: sandbox.key, lambda: city.endpoint("web")):
        with pytest.raises(NotFound):
            call()
    assert [network.name for network in city.networks()] == ["n1"]
    assert [endpoint.name for endpoint in city.endpoints()] == ["db"]
    assert city.sandboxes() == []
    with pytest.raises(NotFound) as caught:
        sandbox.info()
    assert str(caught.value) == f"sandbox {sandbox.id[:12]}: it is not there; see `netledger sandbox ls`"


def test_things_are_found_by_id_name_and_prefix(city):
    """The whole id, the name, NETWORK/NAME, and the beginning of an id all lead to the thing."""
    network, endpoint, sandbox = city.network("n1"), city.endpoint("n2/db"), city.sandbox("c1")
    for text in (network.id, network.id[:12], "n1"):
        assert city.network(text).id == network.id
    for text in (endpoint.id, endpoint.id[:12], "n2/db", f"{city.network('n2').id[:12]}/db"):
        assert city.endpoint(text).id == endpoint.id
    for text in (sandbox.id, sandbox.id[:12], "c1"):
        assert city.sandbox(text).id == sandbox.id


@pytest.mark.parametrize(
    ("find", "text", "message"),
    [
        ("network", "n9", "network 'n9': there is none of that name, id or id prefix; see `netledger network ls`"),
        ("network", "", "network '': there is none of that name, id or id prefix; see `netledger network ls`"),
        ("endpoint", "x9", "endpoint 'x9': there is none of that name, id or id prefix; see `netledger endpoint ls`"),
        ("endpoint", "n1/x9", "endpoint 'n1/x9': network n1 has no endpoint x9"),
        ("endpoint", "n9/e", "network 'n9': there is none of that name, id or id prefix; see `netledger network ls`"),
        ("sandbox", "x9", "sandbox 'x9': there is none of that name, id or id prefix; see `netledger sandbox ls`"),
    ],
)
def test_what_is_not_there_is_not_found(city, find, text, message):
    """The message quotes what was asked for and says where to look. No hex digits: those may begin a random id."""
    with pytest.raises(NotFound) as caught:
        getattr(city, find)(text)
    assert str(caught.value) == message


def test_an_ambiguous_prefix_is_refused(controller):
    """So many match, the first of them are shown, and more digits help."""
    for number in range(7):
        controller.create_network(f"n{number}", id=f"{'ab' * 31}{number:02}", options={BRIDGE: f"b{number}"})
    shown = ", ".join(["ab" * 6] * 5)
    with pytest.raises(Invalid) as caught:
        controller.network("abab")
    assert str(caught.value) == (f"network 'abab': it is ambiguous: 7 match ({shown} and 2 more); give more of the id")


def test_a_name_in_two_networks_is_ambiguous(city):
    """An endpoint's name that two networks have needs the network's."""
    with pytest.raises(Invalid, match=r"it is ambiguous: 2 match .*; write NETWORK/NAME, or more of the id"):
        city.endpoint("db")
