"""A bridge that somebody else made is used, never changed, and stays when the network is deleted."""

from __future__ import annotations

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import Conflict
from netledger.domain.values import parse_address
from netledger.replay import drift

NAME = "com.docker.network.bridge.name"
THEIRS = (parse_address("192.0.2.1"), 24)


def test_a_bridge_of_others_is_adopted():
    """Our address and ports come and go; its MAC address, MTU and own address stay, and so does the bridge."""
    kernel = SimulatedKernel()
    bridge = kernel.add_bridge("mine", THEIRS)
    mac, mtu = bridge.mac, bridge.mtu
    with Controller.open(dataplane=SimulatedDataplane(kernel)) as controller:
        network = controller.create_network("n", subnets=["10.5.0.0/24"], options={NAME: "mine"})
        endpoint = network.create_endpoint("e")
        endpoint.join(controller.create_sandbox("c"))
        assert "bridge/mine adopted" in map(str, kernel.objects.values())
        assert (parse_address("10.5.0.1"), 24) in bridge.addresses
        assert len(bridge.ports) == 1
        assert drift(controller).agrees
        network.delete(force=True)
        assert kernel.own.devices["mine"] is bridge
        assert (list(bridge.addresses), bridge.ports, bridge.mac, bridge.mtu) == ([THEIRS], {}, mac, mtu)


def test_what_is_no_bridge_is_not_adopted():
    """An interface of another kind holds its name."""
    kernel = SimulatedKernel()
    kernel.add_card("mine")
    with (
        Controller.open(dataplane=SimulatedDataplane(kernel)) as controller,
        pytest.raises(Conflict, match="a network card has the name mine and is not ours"),
    ):
        controller.create_network("n", options={NAME: "mine"})
