"""A change that finds the firewall taken away puts the whole of it back, and the log says so."""

from __future__ import annotations

import pytest

from netledger import Controller
from netledger.dataplanes.linux import LinuxDataplane
from netledger.domain.events import DriftDetected, DriftRepaired
from netledger.replay import drift

from .conftest import HOST4, HOST6, OUTSIDE4, OUTSIDE6
from .services import Probe, Services, ask_all

TOOLS = ("iptables-legacy", "ip6tables-legacy")
LOSSES = {
    "nftables": ["nft flush ruleset", "nft delete table inet netledger-{instance}"],
    "iptables": [
        f"for t in filter nat raw; do {'; '.join(f'{t} -t $t -{o}' for o in 'FX' for t in TOOLS)}; done",
        "iptables-legacy -F; iptables-legacy -X; ip6tables-legacy -F; ip6tables-legacy -X",
        "iptables-legacy -F; ip6tables-legacy -F",
        "iptables-legacy -t nat -F; ip6tables-legacy -t nat -F",
    ],
}
"""What somebody does."""


@pytest.fixture
def services():
    """Give services that end with the test."""
    made = Services()
    yield made
    made.close()


def attach(controller, services, network, name, port):
    """Publish a port of a new endpoint that answers at port 80, and return its addresses."""
    endpoint = controller.network(network).create_endpoint(name, ports=[f"{port}:80"])
    sandbox = controller.create_sandbox(name)
    endpoint.join(sandbox)
    addresses = [text.partition("/")[0] for text in endpoint.info().addresses]
    for text in addresses:
        services.open(sandbox.key, text, 80)
    return sandbox.key, addresses


def drifts(controller):
    """List what the log says about drift."""
    return [record.event for record in controller.history() if isinstance(record.event, DriftDetected | DriftRepaired)]


@pytest.mark.parametrize(
    ("firewall", "command"),
    [(name, command) for name, commands in LOSSES.items() for command in commands],
)
@pytest.mark.parametrize("change", ["an endpoint", "a network"])
def test_a_change_puts_a_lost_firewall_back(stage, services, tmp_path, firewall, command, change):
    """It succeeds; old and new ports are reached, networks are apart again; nothing is left to repair."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host), firewall=firewall) as controller:
        for number, name in enumerate(("one", "two")):
            controller.create_network(name, subnets=[f"10.{number}.0.0/24", f"fd0{number}::/64"])
        key, addresses = attach(controller, services, "one", "a", 8080)
        _, others = attach(controller, services, "two", "b", 8081)
        apart = [Probe(key, text, 80) for text in others]
        published = [(Probe(stage.outside, HOST4, 8080), OUTSIDE4), (Probe(stage.outside, HOST6, 8081), OUTSIDE6)]
        assert ask_all(apart, [None, None]) == [None, None]
        stage.run("sh", "-c", command.format(instance=controller.id[:8]))
        if "filter" in command or "nat" not in command:
            assert None not in ask_all(apart)
        if change == "an endpoint":
            attach(controller, services, "one", "c", 8082)
            published.append((Probe(stage.outside, HOST4, 8082), OUTSIDE4))
        else:
            controller.create_network("three", subnets=["10.3.0.0/24"])
        assert ask_all(apart, [None, None]) == [None, None]
        assert ask_all([probe for probe, _ in published]) == [seen for _, seen in published]
        found, mended = drifts(controller)
        assert (type(found), type(mended)) == (DriftDetected, DriftRepaired)
        assert found.reason == "a change found that the firewall was not whole"
        assert any("port/tcp/0.0.0.0:8080" in line for line in found.differences) or firewall == "iptables"
        assert not any("8082" in line or "10.3" in line for line in found.differences)
        assert drift(controller).agrees
        assert len(addresses) == 2


@pytest.mark.parametrize(
    ("firewall", "command"),
    [
        ("nftables", LOSSES["nftables"][0]),
        ("iptables", LOSSES["iptables"][0]),
        ("iptables", LOSSES["iptables"][3]),  # a port has rules in no other table, so that it does not notice another's
    ],
)
@pytest.mark.parametrize("change", ["a port is left", "a port is deleted", "a network is deleted"])
def test_a_change_that_only_removes_puts_a_lost_firewall_back(stage, services, tmp_path, firewall, command, change):
    """What it removes was gone already, which is no fault; what is still called for is there again, and that alone."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host), firewall=firewall) as controller:
        for number, name in enumerate(("one", "two", "three")):
            controller.create_network(name, subnets=[f"10.{number}.0.0/24", f"fd0{number}::/64"])
        attach(controller, services, "one", "a", 8080)
        attach(controller, services, "two", "b", 8081)
        attach(controller, services, "two", "c", 8082)
        stage.run("sh", "-c", command.format(instance=controller.id[:8]))
        if change == "a port is left":
            controller.endpoint("c").leave()
        elif change == "a port is deleted":
            controller.endpoint("c").delete(force=True)
        else:
            controller.network("three").delete()
        assert ask_all([Probe(stage.outside, HOST4, 8080), Probe(stage.outside, HOST6, 8081)]) == [OUTSIDE4, OUTSIDE6]
        found, mended = drifts(controller)
        assert (type(found), type(mended)) == (DriftDetected, DriftRepaired)
        assert found.reason == "a change found that the firewall was not whole"
        assert any("port/tcp/0.0.0.0:8080" in line for line in found.differences) or firewall == "iptables"
        assert not any("8082" in line for line in found.differences) or change == "a network is deleted"
        assert drift(controller).agrees


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
def test_what_is_removed_from_a_whole_firewall_is_looked_for_nowhere(stage, tmp_path, monkeypatch, firewall):
    """Endpoints, networks and the firewall itself go without anything being read back."""
    asked = []
    with Controller.open(tmp_path / "state", namespace=str(stage.host), firewall=firewall) as controller:
        for number, (name, icc) in enumerate((("one", True), ("two", False), ("three", True))):
            options = {"com.docker.network.bridge.enable_icc": icc}
            subnets = [f"10.{number}.0.0/24", f"fd0{number}::/64"]
            network = controller.create_network(name, subnets=subnets, options=options, internal=name == "three")
            for each in range(2):
                endpoint = network.create_endpoint(f"{name}{each}", ports=[] if name == "three" else ["80", "53/udp"])
                endpoint.join(controller.create_sandbox(f"{name}{each}"))
        monkeypatch.setattr(LinuxDataplane, "observe", lambda *_: asked.append("observe"))
        for name in ("one", "two", "three"):
            controller.endpoint(f"{name}0").leave()
            controller.endpoint(f"{name}0").delete()
            controller.sandbox(f"{name}1").delete(force=True)
            controller.network(name).delete(force=True)
        assert drifts(controller) == []
    assert asked == []


def test_a_firewall_that_is_whole_is_left_alone(stage, services, tmp_path):
    """No change asks for it; nothing about drift is in the log."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as controller:
        controller.create_network("one", subnets=["10.5.0.0/24"])
        attach(controller, services, "one", "a", 8080)
        attach(controller, services, "one", "b", 8081)
        assert drifts(controller) == []
