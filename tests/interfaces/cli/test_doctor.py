"""`netledger doctor`: what it finds, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netledger.domain.facts import FEATURES, FILTERED_LOOPBACK6, Capabilities, HostPorts
from netledger.interfaces.cli import machine
from tests.engine.remote.conftest import PluginProcess


def findings(answer) -> dict[str, dict[str, str]]:
    """Give the findings by name."""
    return {finding["name"]: finding for finding in answer.json["findings"]}


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Have the Linux dataplane lack what is put in here."""
    lacks: dict[str, str] = {}
    monkeypatch.setattr("netledger.dataplanes.linux.LinuxDataplane.capabilities", lambda *_: Capabilities(lacks))
    return lacks


def test_it_lists_every_feature_and_makes_nothing(cli, missing, state: Path) -> None:
    """Kernel, user, state, features, limits, settings; status 0 when all that is needed is there."""
    answer = cli("doctor --dataplane linux --json")
    found = findings(answer)
    assert answer.status == 0
    assert answer.json["ok"] is True
    assert {"kernel", "user", "nft tool", "directory", "endpoints a bridge", "open files", *FEATURES} <= found.keys()
    assert found["endpoints a bridge"]["found"].startswith("1023")
    assert found["kernel"]["found"].startswith("Linux ")
    assert "is not there yet" in found["directory"]["found"]
    assert not state.exists()
    text = cli("doctor --dataplane linux").out
    assert "\n  ok       bridge " in text
    assert text.endswith("\neverything needed is there\n")


def test_it_says_why_nothing_is_reached_at_the_ipv6_loopback(cli, missing, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is set now, with what to do; a firewall that has no such thing at all comes first."""
    facts = HostPorts(unreached6=FILTERED_LOOPBACK6)
    monkeypatch.setattr("netledger.dataplanes.linux.LinuxDataplane.host_ports", lambda _: facts)
    found = findings(cli("doctor --dataplane linux --json"))["loopback ipv6"]
    assert (found["state"], found["found"]) == (
        "note",
        "bridged packets pass ip6tables, so the kernel drops what answers to ::1",
    )
    assert found["remedy"].startswith("`sysctl -w net.bridge.bridge-nf-call-ip6tables=0`")
    missing["loopback ipv6"] = "the kernel has no IPv6; start it with it"
    assert findings(cli("doctor --dataplane linux --json"))["loopback ipv6"]["found"] == "the kernel has no IPv6"


def test_what_is_needed_and_missing_is_status_9(cli, missing) -> None:
    """With the reason and what to do; what only some networks need is a note."""
    missing["port isolation"] = "the kernel answers EINVAL; Linux 4.18 has it"
    answer = cli("doctor --dataplane linux --json")
    assert answer.status == 0
    assert findings(answer)["port isolation"]["state"] == "note"
    missing["ipvlan"] = missing["macvlan"] = "the kernel answers EOPNOTSUPP; load the module"
    answer = cli("doctor --dataplane linux --json")
    assert (answer.status, findings(answer)["ipvlan"]["state"]) == (0, "note")
    missing["firewall"] = "libnftables.so.1 cannot be loaded; install libnftables (apt install libnftables1)"
    answer = cli("doctor --dataplane linux --json")
    assert (answer.status, answer.json["ok"]) == (9, False)
    found = findings(answer)["firewall"]
    assert found["state"] == "missing"
    assert found["found"] == "libnftables.so.1 cannot be loaded"
    assert found["remedy"] == "install libnftables (apt install libnftables1)"
    assert "1 thing(s) missing" in cli("doctor --dataplane linux").out


def test_it_tells_which_firewall_is_chosen_and_why(cli, made, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new host would take, what the log says, what is still to go; of each other one what it lacks."""
    missing = {"iptables": "iptables: python-iptables is not there; install it"}

    def capabilities(dataplane, name=""):
        lacks = missing.get(name or dataplane.firewall)
        return Capabilities({"firewall": lacks} if lacks else {})

    monkeypatch.setattr("netledger.dataplanes.linux.LinuxDataplane.capabilities", capabilities)

    def chosen() -> str:
        return str(findings(cli("doctor --dataplane linux --json"))["chosen"]["found"])

    assert chosen() == "none yet; the first change takes nftables (the first that works)"
    found = findings(cli("doctor --dataplane linux --json"))
    assert (found["iptables"]["state"], found["iptables"]["found"]) == (
        "note",
        "iptables: python-iptables is not there",
    )
    assert found["iptables"]["remedy"] == "install it"
    assert (found["none"]["state"], found["none"]["found"]) == ("ok", "works")
    missing["nftables"] = missing.pop("iptables")
    assert chosen().startswith("none yet; the first change takes iptables (the first that works; not nftables: ")
    missing["iptables"] = "no tables"
    assert chosen().startswith("none yet; the first change takes nftables (none works; not nftables: ")
    missing.clear()
    assert not state.exists()
    for name in ("iptables", "none"):
        made(f"firewall use {name} --dataplane none")
    found = findings(cli("doctor --dataplane linux --json"))
    assert found["chosen"]["found"] == "none (asked for), since position 3"
    assert (found["until now"]["state"], found["until now"]["found"]) == ("note", "iptables")
    made("firewall use iptables --dataplane none")
    missing["iptables"] = "no tables"
    answer = cli("doctor --dataplane linux --json")
    assert (answer.status, findings(answer)["firewall"]["state"]) == (9, "missing")


def test_a_machine_that_does_not_let_us_probe_is_told_not_a_traceback(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rights for it, every feature is missing for that reason."""

    def strand(_: object) -> None:
        raise RuntimeError("cannot enter") from PermissionError(1, "setns")

    monkeypatch.setattr("netledger.dataplanes.linux.LinuxDataplane.capabilities", strand)
    answer = cli("doctor --dataplane linux --json")
    assert answer.status == 9
    found = findings(answer)["bridge"]
    assert found["found"].startswith("not permitted: this needs CAP_NET_ADMIN")
    assert found["remedy"].startswith("run as root")


def test_it_tells_about_the_log(made, cli, state: Path) -> None:
    """Its id and head, and a directory that is somebody else's."""
    made("network create n")
    found = findings(made("doctor --json"))
    assert "4 events" in found["log"]["found"]
    assert found["lock"]["found"] == "free"
    (state / "ledger.db").unlink()
    (state / "photos").touch()
    answer = cli("doctor --json")
    assert answer.status == 9
    assert "photos" in findings(answer)["ledger foreign"]["found"]


def test_facts_that_cannot_be_had_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tool, no setting, no lock file."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert machine.nft_version() is None
    assert machine.setting("net.nowhere.at_all") is None
    assert machine.is_locked(tmp_path / "lock") is False
    assert machine.is_locked(tmp_path) is None
    assert machine.loaded_library("libnowhere") is None


def test_it_lists_the_plugins_that_are_found(cli, missing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where each listens and what it implements; one that is of no use is a note."""
    monkeypatch.setenv("NETLEDGER_PLUGINS", f"{tmp_path}:{tmp_path}/none")
    assert not any(finding["area"] == "plugins" for finding in cli("doctor --json").json["findings"])
    plugin = PluginProcess(tmp_path, "lab")
    try:
        (tmp_path / "broken.spec").write_text("nowhere")
        (tmp_path / "gone.spec").write_text(f"unix://{tmp_path}/gone")
        found = findings(cli("doctor --dataplane linux --json"))
        assert found["lab"]["state"] == "ok"
        assert found["lab"]["found"] == f"unix://{tmp_path}/lab.sock implements NetworkDriver, IpamDriver"
        assert (found["broken"]["state"], found["gone"]["state"]) == ("note", "note")
        assert "'nowhere' is no address of a plugin" in found["broken"]["found"]
        assert "no answer" in found["gone"]["found"]
    finally:
        plugin.kill()
