"""Entry points of other distributions: network drivers and dataplanes, found when their name is asked for."""

from __future__ import annotations

import sys

import pytest

from netledger import Controller
from netledger.domain.drivers import DRIVERS
from netledger.domain.errors import Invalid, LedgerNewer

MODULE = """
from netledger.dataplanes.simulated import SimulatedDataplane
from netledger.domain.drivers import BridgeDriver


class Wide(BridgeDriver):
    @property
    def name(self):
        return "wide"


class Plane(SimulatedDataplane):
    name = "plane"

    def __init__(self, instance, namespace):
        super().__init__()
        self.made_for = (instance, namespace)


class Renamed(BridgeDriver):
    pass


def broken(*_):
    raise OSError("no such library")


def nothing():
    return object()


def a_class():
    return Wide
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution that brings these entry points, by group, while a test runs."""

    def install(name="wideplug", **groups):
        folder = tmp_path / name
        info = folder / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_module.py").write_text(MODULE)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = []
        for group, points in groups.items():
            lines += [f"[netledger.{group}]", *(f"{key} = {name}_module:{value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder))

    known = dict(DRIVERS)
    yield install
    DRIVERS.clear()
    DRIVERS.update(known)
    for name in [name for name in sys.modules if name.endswith("_module") and name.startswith("wide")]:
        del sys.modules[name]


def test_a_driver_of_another_distribution_makes_networks(distribution, tmp_path):
    """It is found by its name, and found again by the next process that opens the log."""
    distribution(drivers={"wide": "Wide"})
    with Controller.open(tmp_path / "state", dataplane="none") as controller:
        assert controller.create_network("n", "wide").driver == "wide"
    del DRIVERS["wide"]
    with Controller.open(tmp_path / "state", dataplane="simulated") as controller:
        controller.network("n").create_endpoint("e")
        assert controller.dataplane.kernel.objects
    del DRIVERS["wide"]


def test_a_driver_that_is_gone_is_missed(distribution, tmp_path, monkeypatch):
    """Without its distribution the log cannot be used, and says what to install."""
    with monkeypatch.context() as there:
        distribution(drivers={"wide": "Wide"})
        with Controller.open(tmp_path / "state", dataplane="none") as controller:
            controller.create_network("n", "wide")
        there.undo()
    monkeypatch.setattr("sys.path", [path for path in sys.path if "wideplug" not in path])
    del DRIVERS["wide"]
    with (
        pytest.raises(LedgerNewer, match="install the distribution that the driver is from"),
        Controller.open(tmp_path / "state", dataplane="simulated"),
    ):
        pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("broken", r"distribution wideplug 1.2 \(wideplug_module:broken\) cannot be loaded: OSError: no such library"),
        ("absent", r"wideplug 1.2 \(wideplug_module:absent\) cannot be loaded: AttributeError"),
        ("nothing", r"wideplug_module:nothing\) is no NetworkDriver: it lacks .*lower_endpoint, .*traits"),
        ("a_class", r"wideplug_module:a_class\) is no NetworkDriver: it makes a class"),
        ("Renamed", r"wideplug_module:Renamed\) calls it 'bridge'; mend it: the names must agree"),
    ],
)
def test_a_broken_driver_is_a_refusal_that_names_it(distribution, value, words):
    """And stops nothing else."""
    distribution(drivers={"wide": value})
    with Controller.open(dataplane="none") as controller:
        with pytest.raises(Invalid, match=f"use network driver 'wide': .*{words}"):
            controller.create_network("n", "wide")
        controller.create_network("n")
        assert "wide" not in DRIVERS


def test_a_name_of_ours_is_not_taken_over(distribution):
    """Nobody looks for it elsewhere."""
    ours = DRIVERS["bridge"]
    distribution(drivers={"bridge": "broken"}, dataplanes={"none": "broken"})
    with Controller.open(dataplane="none") as controller:
        controller.create_network("n", "bridge")
    assert DRIVERS["bridge"] is ours


def test_two_distributions_with_one_name_are_refused(distribution):
    """Neither is taken."""
    distribution(drivers={"wide": "Wide"})
    distribution("wider", drivers={"wide": "Wide"})
    with (
        Controller.open(dataplane="none") as controller,
        pytest.raises(Invalid, match=r"several distributions have one of that name: .*wideplug 1.2.*wider 1.2"),
    ):
        controller.create_network("n", "wide")


def test_a_dataplane_of_another_distribution_is_opened_by_its_name(distribution):
    """It gets the ledger's mark and the host's namespace."""
    distribution(dataplanes={"plane": "Plane", "bad": "broken"})
    with Controller.open(dataplane="plane", namespace="/run/netns/host") as controller:
        assert controller.dataplane.name == "plane"
        assert controller.dataplane.made_for == (controller.id[:8], "/run/netns/host")
        controller.create_network("n")
        assert controller.dataplane.kernel.objects
    with pytest.raises(Invalid, match=r"use dataplane 'bad': .*wideplug 1.2.* cannot be loaded: OSError"):
        Controller.open(dataplane="bad")
    with pytest.raises(Invalid, match="dataplane 'nowhere': unknown; known: linux, simulated, none"):
        Controller.open(dataplane="nowhere")


def test_nothing_is_looked_for_until_it_is_asked_for(monkeypatch):
    """Entry points are not read where every name is one of ours, and are where one is not."""
    asked = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: asked.append(wanted) or ())
    with Controller.open(dataplane="simulated") as controller:
        controller.create_network("n").create_endpoint("e")
        assert asked == []
        with pytest.raises(Invalid, match="unknown driver 'wide'"):
            controller.create_network("m", "wide")
    assert asked == [{"group": "netledger.drivers", "name": "wide"}]
