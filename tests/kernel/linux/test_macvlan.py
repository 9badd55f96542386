"""Macvlan networks with real packets: between sandboxes on one parent, to a machine behind it, and to nobody else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from netledger import Controller, DataplaneFault
from netledger.domain.errors import Exhausted
from netledger.replay import drift, repair

from .conftest import ANSWER_SECONDS, HOST4, OUTSIDE4, OUTSIDE6, SILENCE_SECONDS

LAN = ("198.51.100.0/24", "2001:db8::/64")
WEB, DB = ("198.51.100.20", "2001:db8::20"), ("198.51.100.30", "2001:db8::30")
MODES = {"bridge": True, "private": False, "vepa": False}
"""Whether sandboxes on one parent reach each other. Between two of mode vepa the wire's other end must send it back."""


@pytest.fixture
def controller(stage, tmp_path):
    """Give a controller whose host the stage's is; a kernel without macvlan runs none of this."""
    reason = stage.dataplane.capabilities().lacks("macvlan")
    if reason:
        pytest.skip(f"macvlan: {reason}")
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as opened:
        yield opened


def attach(controller, network, name, addresses=()):
    """Create an endpoint and a sandbox of the same name, join them, and return the namespace's path."""
    sandbox = controller.create_sandbox(name)
    network.create_endpoint(name, addresses=addresses).join(sandbox)
    return sandbox.key


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", [4, 6])
def test_who_reaches_whom(stage, controller, mode, family):
    """Every sandbox reaches the machine behind the parent, and each other in mode bridge alone; never the host."""
    options = {"parent": "uplink", "macvlan_mode": mode}
    network = controller.create_network("lan", "macvlan", subnets=LAN, ipv6=True, options=options)
    web, db = attach(controller, network, "web", WEB), attach(controller, network, "db", DB)
    index = 0 if family == 4 else 1
    outside = (OUTSIDE4, OUTSIDE6)[index]
    with stage.listening(stage.outside, outside, 80) as listener:
        assert stage.reach(web, outside, 80, listener) == WEB[index]
        assert stage.reach(db, outside, 80, listener) == DB[index]
    with stage.listening(web, WEB[index], 80) as listener:
        assert stage.reach(stage.outside, WEB[index], 80, listener) == outside
        seconds = ANSWER_SECONDS if MODES[mode] else SILENCE_SECONDS
        assert (stage.reach(db, WEB[index], 80, listener, seconds) == DB[index]) is MODES[mode]
        assert stage.is_silent(stage.host, WEB[index], 80, listener)
    [link] = stage.ip("-d", "link", "show", "eth0", namespace=web)
    assert (link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]["mode"]) == ("macvlan", mode)


def test_passthru_takes_the_parent_for_one(stage, controller):
    """It has its own MAC address, which the parent shares until it goes; a second one cannot be made."""
    [before] = stage.ip("link", "show", "uplink")
    options = {"parent": "uplink", "macvlan_mode": "passthru"}
    network = controller.create_network("lan", "macvlan", subnets=LAN[:1], options=options)
    web = attach(controller, network, "web", WEB[:1])
    with stage.listening(stage.outside, OUTSIDE4, 80) as listener:
        assert stage.reach(web, OUTSIDE4, 80, listener) == WEB[0]
    endpoint = network.endpoints()[0]
    [link] = stage.ip("link", "show", "eth0", namespace=web)
    assert link["address"] == endpoint.info().mac
    assert drift(controller).lines == ()
    with pytest.raises(Exhausted, match="network lan has 1 endpoint, as many as an interface in mode passthru takes"):
        attach(controller, network, "db", DB[:1])
    endpoint.leave()
    [after] = stage.ip("link", "show", "uplink")
    assert after["address"] == before["address"]


def test_an_internal_network_stands_on_nothing(stage, controller):
    """Sandboxes on a stand-in reach each other, and nobody outside; it goes with the network."""
    network = controller.create_network("inside", "macvlan", subnets=LAN[:1], internal=True)
    web, db = attach(controller, network, "web", WEB[:1]), attach(controller, network, "db", DB[:1])
    device = network.info().device
    assert "UP" in stage.ip("link", "show", device)[0]["flags"]
    with stage.listening(web, WEB[0], 80) as listener:
        assert stage.reach(db, WEB[0], 80, listener) == DB[0]
        assert stage.is_silent(stage.outside, WEB[0], 80, listener)
    assert drift(controller).lines == ()
    network.delete(force=True)
    assert {link["ifname"] for link in stage.ip("link")} == {"lo", "uplink"}


def test_it_comes_back_when_its_parent_was_deleted(stage, controller):
    """A parent that goes takes its interfaces along; once it is there again repair makes them again."""
    stage.run("ip", "link", "add", "lan0", "type", "bridge")
    network = controller.create_network("lan", "macvlan", subnets=LAN[:1], options={"parent": "lan0"})
    web, db = attach(controller, network, "web", WEB[:1]), attach(controller, network, "db", DB[:1])
    stage.run("ip", "link", "set", "lan0", "up")
    stage.run("ip", "link", "delete", "lan0")
    assert "eth0" not in {link["ifname"] for link in stage.ip("link", namespace=web)}
    [fault, *_] = repair(controller).faults
    assert "there is no interface named lan0 in the host to stand on" in str(fault)
    stage.run("ip", "link", "add", "lan0", "type", "bridge")
    stage.run("ip", "link", "set", "lan0", "up")
    assert not repair(controller).faults
    assert drift(controller).lines == ()
    with stage.listening(web, WEB[0], 80) as listener:
        assert stage.reach(db, WEB[0], 80, listener) == DB[0]


def test_its_address_is_free_only_when_the_old_namespace_has_died(stage, controller):
    """Somebody unmounts it, and it dies a little later: a repair waits for that."""
    network = controller.create_network("lan", "macvlan", subnets=LAN[:1], options={"parent": "uplink"})
    web = attach(controller, network, "web", WEB[:1])
    with Path(web).open("rb") as held:
        stage.run("umount", "--lazy", web)
        death = threading.Timer(0.3, held.close)
        death.start()
        assert not repair(controller).faults
        death.join()
    assert drift(controller).lines == ()


def test_an_interface_of_somebody_else_is_in_the_way(stage, controller):
    """One without our mark is named and never touched; ours that somebody altered is put right."""
    network = controller.create_network("lan", "macvlan", subnets=LAN[:1], options={"parent": "uplink"})
    sandbox = controller.create_sandbox("web")
    stage.run("ip", "link", "add", "eth0", "type", "bridge", namespace=sandbox.key)
    endpoint = network.create_endpoint("web", addresses=WEB[:1])
    with pytest.raises(
        DataplaneFault, match=r"a bridge link named eth0, .* without netledger-.*'s mark, is in the way"
    ):
        endpoint.join(sandbox)
    assert stage.ip("-d", "link", "show", "eth0", namespace=sandbox.key)[0]["linkinfo"]["info_kind"] == "bridge"
    stage.run("ip", "link", "delete", "eth0", namespace=sandbox.key)
    endpoint.join(sandbox)
    stage.run("ip", "link", "set", "eth0", "type", "macvlan", "mode", "private", namespace=sandbox.key)
    stage.run("ip", "link", "set", "eth0", "down", namespace=sandbox.key)
    assert not repair(controller).faults
    [link] = stage.ip("-d", "link", "show", "eth0", namespace=sandbox.key)
    assert link["linkinfo"]["info_data"]["mode"] == "bridge"
    with stage.listening(stage.outside, OUTSIDE4, 80) as listener:
        assert stage.reach(sandbox.key, OUTSIDE4, 80, listener) == WEB[0]
        assert stage.is_silent(sandbox.key, HOST4, 80, listener)


def test_it_is_gone_from_a_namespace_that_somebody_holds(stage, controller):
    """A sandbox is deleted while a process holds its namespace: the interface does not stay with the process."""
    network = controller.create_network("lan", "macvlan", subnets=LAN[:1], options={"parent": "uplink"})
    web = attach(controller, network, "web", WEB[:1])
    with Path(web).open("rb") as held:
        path = f"/proc/{os.getpid()}/fd/{held.fileno()}"
        assert "eth0" in {link["ifname"] for link in stage.ip("link", namespace=path)}
        controller.sandbox("web").delete(force=True)
        assert not Path(web).exists()
        assert "eth0" not in {link["ifname"] for link in stage.ip("link", namespace=path)}
