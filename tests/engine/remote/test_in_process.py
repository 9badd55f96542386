"""IPAM drivers of other distributions: found by their entry points, asked in this process, believed like plugins."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings

from examples.site_ipam.site_ipam import No, SiteIpam
from netledger import Controller
from netledger.domain.errors import Invalid, NotFound, Refusal
from netledger.domain.events import AddressAllocated, DriftDetected, PoolAllocated, ReturnEnded, ReturnOwed
from netledger.engine.remote import InProcess, PluginFault, PluginRefused, RemoteIpam
from netledger.testing.checkers import check_log
from netledger.testing.contracts.ipam import UNTIL_BROKEN, IpamContract
from tests.engine.remote.conftest import PluginProcess
from tests.engine.remote.test_contract import Client

PROJECT = Path(__file__).parents[3] / "examples" / "site_ipam"
SUBNET = "10.9.0.0/24"
POOL = f"site-local/{SUBNET}"

Opened = Callable[..., Controller]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example's wheel, once, and unpack it as an installer does."""
    place = tmp_path_factory.mktemp("site")
    words = ("-m", "hatchling", "build", "--target", "wheel", "--directory", str(place))
    subprocess.run([sys.executable, *words], cwd=PROJECT, check=True, capture_output=True, timeout=100)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(place / "installed")
    return place / "installed"


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the site's file."""
    path = tmp_path / "site.json"
    monkeypatch.setenv("SITE_IPAM", str(path))
    return path


@pytest.fixture
def installed(built: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have the distribution installed while a test runs; return the site's file."""
    monkeypatch.syspath_prepend(str(built))
    yield books
    sys.modules.pop("site_ipam", None)


def held(books: Path) -> dict[str, list[str]]:
    """Read who has what by the site's file."""
    pools = json.loads(books.read_text()) if books.exists() else {}
    return {name: sorted(pool["held"]) for name, pool in pools.items()}


def events(controller: Controller, *kinds: type) -> list[Any]:
    """List the events of some kinds, the oldest first."""
    return [record.event for record in controller.history() if isinstance(record.event, kinds)]


@pytest.mark.usefixtures("books")
class TestSiteIpam(IpamContract):
    """The example keeps the public contract by itself."""

    refusals = (No,)
    sizes = (24, 29)
    settings: ClassVar[settings] = settings(UNTIL_BROKEN, max_examples=10, stateful_step_count=12)

    @pytest.fixture(autouse=True)
    def a_place(self, tmp_path: Path) -> None:
        self.place, self.made = tmp_path, 0

    def make_driver(self) -> SiteIpam:
        driver = SiteIpam()
        self.made += 1
        driver.path = self.place / f"site{self.made}.json"
        return driver


class TestSiteIpamAsAsked(TestSiteIpam):
    """And through the client that calls it and checks its answers, where all that refuses is a refusal of ours."""

    refusals = (Refusal,)

    def make_driver(self) -> Client:  # type: ignore[override]  # the same seam
        return Client(RemoteIpam(InProcess(super().make_driver())), self.made)


def test_its_answers_are_recorded_and_what_is_released_goes_back(installed: Path, start: Opened, state: Path) -> None:
    """As with a plugin of another process; the next process that opens the log finds it again."""
    controller = start(state)
    network = controller.create_network("n", ipam_driver="site", subnets=[SUBNET], auxiliary={"printer": "10.9.0.7"})
    network.create_endpoint("web")
    network.create_endpoint("db", addresses=["10.9.0.9"])
    assert held(installed) == {POOL: ["10.9.0.1", "10.9.0.2", "10.9.0.7", "10.9.0.9"]}
    assert [event.driver_pool for event in events(controller, PoolAllocated)] == [POOL]
    assert [event.decided_by for event in events(controller, AddressAllocated)][-2:] == ["driver", "caller"]
    controller.close()
    controller = start(state)
    for endpoint in controller.endpoints():
        endpoint.delete()
    controller.network("n").delete()
    assert held(installed) == {}
    assert len(events(controller, ReturnEnded)) == 5
    check_log(record for record in controller.history())


def test_another_process_finds_it(installed: Path, built: Path, tmp_path: Path) -> None:
    """The command line in a process of its own, with nothing but the distribution on its path; the doctor lists it."""

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "netledger", *words, "--state", str(tmp_path / "state")]
        place = Path(__file__).parents[3]
        environment = {"PYTHONPATH": f"{built}:{place}", "SITE_IPAM": str(installed), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in {0, 9}, done.stdout + done.stderr
        return done.stdout

    run("network", "create", "web", "--ipam-driver", "site", "--dataplane", "none")
    assert held(installed) == {"site-local/10.200.0.0/24": ["10.200.0.1"]}
    findings = json.loads(run("doctor", "--json"))["findings"]
    (found,) = [finding["found"] for finding in findings if finding["name"] == "site"]
    assert found == "distribution site-ipam 1.0 (site_ipam:SiteIpam) implements IpamDriver, in this process"


def test_what_it_refuses_is_the_caller_s_refusal(installed: Path, start: Opened) -> None:
    """In its words, and nothing is recorded or kept."""
    controller = start()
    network = controller.create_network("n", ipam_driver="site", subnets=["10.9.0.0/30"])
    network.create_endpoint("a")
    with pytest.raises(PluginRefused, match=r"ask IPAM driver 'site' in this process .*: it refuses: .* is full"):
        network.create_endpoint("b")
    assert held(installed) == {"site-local/10.9.0.0/30": ["10.9.0.1", "10.9.0.2"]}
    assert not events(controller, ReturnOwed)


def test_what_it_cannot_do_now_is_owed_to_it(installed: Path, start: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file cannot be read: the delete stands; a later change gives back what the log does not have any more."""
    controller = start()
    network = controller.create_network("n", ipam_driver="site", subnets=[SUBNET])
    endpoint = network.create_endpoint("web")
    good = installed.read_text()
    installed.write_text("{")
    endpoint.delete()
    (owed,) = events(controller, ReturnOwed)
    assert "no answer: JSONDecodeError" in owed.message
    with pytest.raises(PluginFault, match="no answer: JSONDecodeError"):
        network.create_endpoint("other")
    installed.write_text(good)
    monkeypatch.setattr("netledger.engine.remote.asking.time.monotonic", lambda: 1e9)
    controller.create_network("m")
    assert held(installed) == {POOL: ["10.9.0.1"]}


class Wrong(SiteIpam):
    """Answers with what it should not."""

    answer: Any = None
    capabilities: ClassVar[dict[str, bool]] = {}

    def get_capabilities(self) -> dict[str, bool]:
        return self.capabilities

    def request_address(self, pool_id: str, preferred: str, options: Any) -> Any:
        given = super().request_address(pool_id, preferred, options)
        return self.answer or given


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("10.9.0.9",), "no answer: ValueError"),
        ((b"10.9.0.9/24", {}), r"a wrong answer: Expected `str`, got `bytes` - at `\$.Address`"),
        (("10.8.0.9/24", {}), "outside its pool 10.9.0.0/24"),
        (("10.9.0.9/24\ud800", {}), "a wrong answer: 'utf-8' codec can't encode"),
        (("10.9.0.1/24", {}), "10.9.0.1 is held by network n already"),
    ],
)
def test_its_answers_are_not_believed_blindly(
    installed: Path, start: Opened, monkeypatch: pytest.MonkeyPatch, answer: Any, words: str
) -> None:
    """What a plugin's JSON could not say, its methods cannot either."""
    made = Wrong()
    monkeypatch.setattr("netledger.engine.opening.ipam_driver", {"site": made}.get)
    controller = start()
    network = controller.create_network("n", ipam_driver="site", subnets=[SUBNET])
    made.answer = answer
    with pytest.raises(PluginFault, match=words):
        network.create_endpoint("web")
    assert not controller.endpoints()


@pytest.mark.parametrize("refusals", [ValueError, ("No",), (int,)])
def test_what_it_refuses_with_are_exceptions(start: Opened, monkeypatch: pytest.MonkeyPatch, refusals: Any) -> None:
    """Else it is not used, and says so."""
    made = Wrong()
    monkeypatch.setattr(Wrong, "refusals", refusals)
    monkeypatch.setattr("netledger.engine.opening.ipam_driver", {"site": made}.get)
    with pytest.raises(Invalid, match="its `refusals` are no tuple of exceptions"):
        start().create_network("n", ipam_driver="site", subnets=[SUBNET])


def test_one_without_books_is_told_again_at_each_start(
    installed: Path, start: Opened, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each driver that is made is asked for all that the log has of it; where it answers otherwise, that is drift."""

    def make(name: str) -> SiteIpam | None:
        return Wrong() if name == "site" else None

    monkeypatch.setattr("netledger.engine.opening.ipam_driver", make)
    monkeypatch.setattr(Wrong, "capabilities", {"RequiresRequestReplay": True})
    controller = start(state)
    controller.create_network("n", ipam_driver="site", subnets=[SUBNET]).create_endpoint("web")
    before = held(installed)
    controller.close()
    installed.unlink()
    controller = start(state)
    assert held(installed) == before
    assert not events(controller, DriftDetected)


def test_two_that_serve_one_name_are_refused(
    installed: Path, start_plugin: Callable[..., PluginProcess], opened: Opened
) -> None:
    """A plugin's socket and a distribution: each has books of its own, and neither is guessed."""
    start_plugin(name="site")
    with pytest.raises(Invalid, match=r"use IPAM driver 'site': a distribution has it, and so has .*/site.sock"):
        opened().create_network("n", ipam_driver="site")
    assert held(installed) == {}


def test_without_its_distribution_it_is_missed(
    installed: Path, start: Opened, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is opened all the same, and what is released is owed."""
    controller = start(state)
    endpoint = controller.create_network("n", ipam_driver="site", subnets=[SUBNET]).create_endpoint("web")
    controller.close()
    monkeypatch.setattr("sys.path", [path for path in sys.path if "installed" not in path])
    controller = start(state)
    controller.endpoint(endpoint.id).delete()
    assert [event.ipam_driver for event in events(controller, ReturnOwed)] == ["site"]
    with pytest.raises(NotFound, match="find plugin 'site'"):
        controller.create_network("m", ipam_driver="site")
    assert held(installed) == {POOL: ["10.9.0.1", "10.9.0.2"]}
