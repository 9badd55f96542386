"""VLAN interfaces with real packets, on kernels that have them; on others that they are refused before any event."""

from __future__ import annotations

import pytest

from netledger import Controller, DataplaneFault
from netledger.domain.errors import Unavailable
from netledger.replay import drift, repair

WEB, TAGGED = "192.0.2.20", "192.0.2.2"
SUBNET = "192.0.2.0/24"
OPTIONS = {"parent": "uplink.10"}


@pytest.fixture
def anywhere(stage, tmp_path):
    """Give a controller whose host the stage's is."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as opened:
        yield opened


@pytest.fixture
def controller(stage, anywhere):
    """Give it where the kernel has 802.1Q, and the machine outside on VLAN 10."""
    reason = stage.dataplane.capabilities().lacks("vlan")
    if reason:
        pytest.skip(f"vlan: {reason}")
    stage.run(*["ip", "link", "add", "tagged", "link", "uplink", "type", "vlan", "id", "10"], namespace=stage.outside)
    stage.run("ip", "addr", "add", f"{TAGGED}/24", "dev", "tagged", namespace=stage.outside)
    stage.run("ip", "link", "set", "tagged", "up", namespace=stage.outside)
    return anywhere


def attach(controller, network):
    """Create an endpoint in a sandbox of its own and return the namespace's path."""
    sandbox = controller.create_sandbox(f"{network.name}-web")
    network.create_endpoint("web", addresses=[WEB]).join(sandbox)
    return sandbox.key


def links(stage):
    """List the names of the host's links."""
    return {link["ifname"] for link in stage.ip("link")}


def test_a_kernel_without_it_refuses(stage, anywhere):
    """The network is refused with the kernel's own answer, and nothing is in the log."""
    if stage.dataplane.capabilities().lacks("vlan") is None:
        pytest.skip("this kernel has 802.1Q")
    head = anywhere.ledger.head
    with pytest.raises(Unavailable, match=r"cannot make 'vlan': the kernel answers .*; load the module"):
        anywhere.create_network("lan", "macvlan", subnets=[SUBNET], options=OPTIONS)
    assert anywhere.ledger.head == head


def test_it_comes_with_the_first_network_and_goes_with_the_last(stage, controller):
    """A sandbox on it reaches who has the tag, and nobody without; it is made once for two networks."""
    first = controller.create_network("first", "macvlan", subnets=[SUBNET], options=OPTIONS)
    second = controller.create_network("second", "macvlan", subnets=["192.0.3.0/24"], options=OPTIONS)
    [link] = stage.ip("-d", "link", "show", "uplink.10")
    assert (link["link"], link["linkinfo"]["info_data"]["id"]) == ("uplink", 10)
    web = attach(controller, first)
    with stage.listening(stage.outside, TAGGED, 80) as listener:
        assert stage.reach(web, TAGGED, 80, listener) == WEB
        stage.run("ip", "link", "set", "tagged", "down", namespace=stage.outside)
        stage.run("ip", "addr", "add", "192.0.2.3/24", "dev", "uplink", namespace=stage.outside)
        assert stage.is_silent(web, TAGGED, 80, listener)
    assert drift(controller).lines == ()
    first.delete(force=True)
    assert "uplink.10" in links(stage)
    second.delete()
    assert links(stage) & {"uplink", "uplink.10"} == {"uplink"}


def test_one_that_the_user_made_stays(stage, controller):
    """A VLAN interface that is there is a parent like any other."""
    stage.run(*["ip", "link", "add", "uplink.10", "link", "uplink", "type", "vlan", "id", "10"])
    stage.run("ip", "link", "set", "uplink.10", "up")
    network = controller.create_network("lan", "macvlan", subnets=[SUBNET], options=OPTIONS)
    web = attach(controller, network)
    with stage.listening(stage.outside, TAGGED, 80) as listener:
        assert stage.reach(web, TAGGED, 80, listener) == WEB
    network.delete(force=True)
    assert "uplink.10" in links(stage)


def test_a_tag_that_another_interface_has(stage, controller):
    """The kernel has one interface for a tag of a parent: which is in the way is said, and nothing is left."""
    stage.run(*["ip", "link", "add", "theirs", "link", "uplink", "type", "vlan", "id", "10"])
    with pytest.raises(DataplaneFault, match="uplink has another interface for VLAN 10 already"):
        controller.create_network("lan", "macvlan", subnets=[SUBNET], options=OPTIONS)
    assert controller.networks() == []
    assert "theirs" in links(stage)


def test_one_that_was_deleted_or_set_down_is_made_again(stage, controller):
    """Drift names it; repair makes it and what stood on it."""
    network = controller.create_network("lan", "macvlan", subnets=[SUBNET], options=OPTIONS)
    web = attach(controller, network)
    for change in (("delete", "uplink.10"), ("set", "uplink.10", "down")):
        stage.run("ip", "link", *change)
        assert any("vlan/uplink.10" in line for line in drift(controller).lines)
        assert not repair(controller).faults
        assert drift(controller).lines == ()
        with stage.listening(stage.outside, TAGGED, 80) as listener:
            assert stage.reach(web, TAGGED, 80, listener) == WEB
