"""Ipvlan networks with real packets, on kernels that have the kind; on others that it is refused before any event."""

from __future__ import annotations

import pytest

from netledger import Controller
from netledger.domain.errors import Unavailable
from netledger.replay import drift, repair

from .conftest import ANSWER_SECONDS, OUTSIDE4, OUTSIDE6, SILENCE_SECONDS

LAN = ("198.51.100.0/24", "2001:db8::/64")
WEB, DB = ("198.51.100.20", "2001:db8::20"), ("198.51.100.30", "2001:db8::30")
FAMILIES = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])


@pytest.fixture
def anywhere(stage, tmp_path):
    """Give a controller whose host the stage's is."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as opened:
        yield opened


@pytest.fixture
def controller(stage, anywhere):
    """Give it where the kernel has ipvlan."""
    reason = stage.dataplane.capabilities().lacks("ipvlan")
    if reason:
        pytest.skip(f"ipvlan: {reason}")
    return anywhere


def attach(controller, network, name, addresses):
    """Create an endpoint and a sandbox of the same name, join them, and return the namespace's path."""
    sandbox = controller.create_sandbox(name)
    network.create_endpoint(name, addresses=addresses).join(sandbox)
    return sandbox.key


def test_a_kernel_without_it_refuses(stage, anywhere):
    """The network is refused with the kernel's own answer, and nothing is in the log."""
    if stage.dataplane.capabilities().lacks("ipvlan") is None:
        pytest.skip("this kernel has ipvlan")
    head = anywhere.ledger.head
    with pytest.raises(Unavailable, match=r"cannot make 'ipvlan': the kernel answers .*; load the module"):
        anywhere.create_network("lan", "ipvlan", subnets=LAN[:1], options={"parent": "uplink"})
    assert anywhere.ledger.head == head


@FAMILIES
@pytest.mark.parametrize("flag", ["bridge", "private"])
def test_l2(stage, controller, flag, index):
    """Every sandbox reaches the machine behind the parent under the parent's MAC; each other with flag bridge alone."""
    options = {"parent": "uplink", "ipvlan_flag": flag}
    network = controller.create_network("lan", "ipvlan", subnets=LAN, ipv6=True, options=options)
    web, db = attach(controller, network, "web", WEB), attach(controller, network, "db", DB)
    outside = (OUTSIDE4, OUTSIDE6)[index]
    with stage.listening(stage.outside, outside, 80) as listener:
        assert stage.reach(web, outside, 80, listener) == WEB[index]
    with stage.listening(web, WEB[index], 80) as listener:
        seconds = ANSWER_SECONDS if flag == "bridge" else SILENCE_SECONDS
        assert (stage.reach(db, WEB[index], 80, listener, seconds) == DB[index]) is (flag == "bridge")
        assert stage.is_silent(stage.host, WEB[index], 80, listener)
    [parent] = stage.ip("link", "show", "uplink")
    [link] = stage.ip("-d", "link", "show", "eth0", namespace=web)
    assert link["address"] == parent["address"]
    assert (link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]["mode"]) == ("ipvlan", "l2")
    assert drift(controller).lines == ()


@FAMILIES
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_l3(stage, controller, mode, index):
    """The parent's side routes: a machine behind it that has a route by the host's address reaches the sandbox."""
    options = {"parent": "uplink", "ipvlan_mode": mode}
    subnets = ("10.66.0.0/24", "fd66::/64")
    network = controller.create_network("lan", "ipvlan", subnets=subnets, ipv6=True, options=options)
    web = attach(controller, network, "web", ("10.66.0.20", "fd66::20"))
    db = attach(controller, network, "db", ("10.66.0.30", "fd66::30"))
    address, neighbour = (("10.66.0.20", "10.66.0.30"), ("fd66::20", "fd66::30"))[index]
    outside, gateway = ((OUTSIDE4, "198.51.100.1"), (OUTSIDE6, "2001:db8::1"))[index]
    with stage.listening(web, address, 80) as listener:
        assert stage.reach(db, address, 80, listener) == neighbour
        assert stage.is_silent(stage.outside, address, 80, listener)
        stage.run("ip", "route", "add", subnets[index], "via", gateway, namespace=stage.outside)
        assert stage.reach(stage.outside, address, 80, listener) == outside
    routes = stage.ip(("-4", "-6")[index], "route", "show", "default", namespace=web)
    assert [(route["dev"], route.get("gateway")) for route in routes] == [("eth0", None)]
    assert drift(controller).lines == ()


def test_an_altered_mode_is_put_right(stage, controller):
    """Drift names it, and repair makes the interface again with its addresses."""
    network = controller.create_network("lan", "ipvlan", subnets=LAN[:1], options={"parent": "uplink"})
    web = attach(controller, network, "web", WEB[:1])
    stage.run("ip", "link", "set", "eth0", "type", "ipvlan", "mode", "l3", namespace=web)
    assert any("ipvlan/" in line for line in drift(controller).lines)
    assert not repair(controller).faults
    assert drift(controller).lines == ()
    with stage.listening(stage.outside, OUTSIDE4, 80) as listener:
        assert stage.reach(web, OUTSIDE4, 80, listener) == WEB[0]


def test_an_internal_network_stands_on_nothing(stage, controller):
    """Sandboxes on a stand-in reach each other, and nobody outside."""
    network = controller.create_network("inside", "ipvlan", subnets=LAN[:1], internal=True)
    web, db = attach(controller, network, "web", WEB[:1]), attach(controller, network, "db", DB[:1])
    with stage.listening(web, WEB[0], 80) as listener:
        assert stage.reach(db, WEB[0], 80, listener) == DB[0]
        assert stage.is_silent(stage.outside, WEB[0], 80, listener)
    network.delete(force=True)
    assert {link["ifname"] for link in stage.ip("link")} == {"lo", "uplink"}
