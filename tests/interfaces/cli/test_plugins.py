"""Networks of an IPAM plugin by the command line: each command is a process of its own that meets the plugin anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.remote.conftest import PluginProcess


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginProcess]:
    """Start a plugin that keeps no books, where the command line finds it."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    monkeypatch.setenv("NETLEDGER_PLUGINS", str(directory))
    started = PluginProcess(directory, "lab", "--replay")
    yield started
    if started.process.poll() is None:
        started.kill()


def test_a_network_has_its_addresses_from_a_plugin(cli, made, plugin: PluginProcess) -> None:
    """Created, used and deleted; what the plugin says no to is the error."""
    made("network create web --ipam-driver lab --subnet 10.9.0.0/24 --ipam-opt zone=dmz")
    made("endpoint create web api")
    assert plugin.calls("RequestPool")[0]["Options"] == {"zone": "dmz"}
    assert plugin.pools == {"testLocal/10.9.0.0/24": ["10.9.0.1", "10.9.0.2"]}
    plugin.misbehave("RequestAddress", "answer", {"Error": "no licence"}, times=9)
    answer = cli("endpoint create web db --json")
    assert answer.status == 9
    assert "plugin 'lab'" in answer.err
    assert "no licence" in answer.err


def test_a_plugin_that_is_away_is_told_with_each_change(cli, made, plugin: PluginProcess) -> None:
    """What has nothing to do with it is done all the same."""
    made("network create web --ipam-driver lab --subnet 10.9.0.0/24")
    made("endpoint create web api")
    plugin.kill()
    answer = cli("endpoint rm web/api")
    assert answer.status == 0
    assert "nothing to recover; ask plugin 'lab'" in answer.err
    assert "no answer" in answer.err
    plugin.start()
    assert cli("network rm web").err == ""
    assert plugin.pools == {}
