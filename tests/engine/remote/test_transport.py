"""One call to a plugin: bounded in time and size whatever it does, and repeated only where that is safe."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netledger.domain.values import parse_subnet
from netledger.engine.remote import Address, Limits, PluginFault, PluginRefused, RemoteIpam, Transport, find
from netledger.engine.remote.ipam import Pool
from netledger.engine.remote.transport import said
from tests.engine.remote.conftest import PluginProcess

HASTE = Limits(connect_seconds=0.5, read_seconds=0.3, total_seconds=0.6, answer_bytes=10_000, pause_seconds=0.05)


def client(plugin: PluginProcess, limits: Limits = HASTE) -> RemoteIpam:
    """Make a client that has little patience."""
    return RemoteIpam(Transport(plugin.name, find(plugin.name, [plugin.directory]), limits))


def take(ipam: RemoteIpam) -> Pool:
    """Ask for a pool, which is not safe to ask for twice."""
    return ipam.take_pool("testLocal", parse_subnet("10.9.0.0/24"), "", {}, is_v6=False)


def test_a_slow_answer_is_not_waited_for(plugin: PluginProcess) -> None:
    """Longer than `read_seconds`."""
    plugin.misbehave("RequestPool", "slow", 3)
    begin = time.monotonic()
    with pytest.raises(PluginFault, match="it did not answer in time"):
        take(client(plugin))
    assert time.monotonic() - begin < 2


def test_an_answer_that_trickles_ends_in_time(plugin: PluginProcess) -> None:
    """Each byte comes soon after the one before, and still the whole is bounded by `total_seconds`."""
    plugin.misbehave("RequestPool", "trickle", 0.1)
    begin = time.monotonic()
    with pytest.raises(PluginFault, match="it did not answer in time"):
        take(client(plugin))
    assert 0.5 < time.monotonic() - begin < 3


def test_an_answer_is_read_up_to_a_limit(plugin: PluginProcess) -> None:
    """One byte more is a fault."""
    plugin.misbehave("RequestPool", "huge", 10_000)
    with pytest.raises(PluginFault, match="longer than 10000 bytes"):
        take(client(plugin))


def test_what_was_sent_is_not_sent_again(plugin: PluginProcess) -> None:
    """It may have been done: who asks decides."""
    plugin.misbehave("RequestPool", "close", times=2)
    with pytest.raises(PluginFault, match="no answer") as caught:
        take(client(plugin))
    assert caught.value.was_sent
    assert len(plugin.calls("RequestPool")) == 1


@pytest.mark.parametrize("how", ["close", "status"])
def test_what_is_safe_is_asked_again(plugin: PluginProcess, how: str) -> None:
    """The handshake and the questions about its nature, at most `attempts` times."""
    patient = Limits(read_seconds=2, total_seconds=5, pause_seconds=0.01)
    plugin.misbehave("Activate", how, [503, "starting"], times=2)
    assert client(plugin, patient).nature().local_space == "testLocal"
    plugin.misbehave("Activate", how, [503, "starting"], times=3)
    with pytest.raises(PluginFault, match=r"no answer|503: starting"):
        client(plugin, patient).nature()


def test_what_has_not_arrived_is_sent_again(plugin: PluginProcess) -> None:
    """Nobody listens: the plugin cannot have had it. When nobody comes, the fault says that it has not."""
    plugin.kill()
    begin = time.monotonic()
    with pytest.raises(PluginFault, match="Connection refused") as caught:
        take(client(plugin))
    assert not caught.value.was_sent
    assert time.monotonic() - begin >= HASTE.pause_seconds * 3


def test_a_plugin_may_know_no_capabilities(plugin: PluginProcess) -> None:
    """The call came later than the others: without it, nothing is required."""
    plugin.misbehave("GetCapabilities", "status", [404, "404 page not found"])
    nature = client(plugin).nature()
    assert (nature.requires_mac, nature.requires_replay) == (False, False)


@pytest.mark.parametrize(
    ("method", "answer", "because"),
    [
        ("Activate", {"Implements": ["NetworkDriver"]}, "it implements NetworkDriver, not IpamDriver"),
        ("Activate", {}, "it implements nothing, not IpamDriver"),
        ("GetDefaultAddressSpaces", {"LocalDefaultAddressSpace": "a"}, "cannot be read"),
        (
            "GetDefaultAddressSpaces",
            {"LocalDefaultAddressSpace": "a/b", "GlobalDefaultAddressSpace": "c"},
            "wrong answer: not a name",
        ),
        ("GetCapabilities", {"RequiresMACAddress": "yes"}, "cannot be read"),
    ],
)
def test_a_handshake_that_is_wrong_is_refused(plugin: PluginProcess, method: str, answer: object, because: str) -> None:
    """Nothing is asked of a plugin that is none."""
    plugin.misbehave(method, "answer", answer, times=3)
    with pytest.raises(PluginFault, match=because):
        client(plugin).nature()


@pytest.mark.parametrize("key", ["Err", "Error"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_is_a_refusal_under_either_name(plugin: PluginProcess, key: str, status: int) -> None:
    """IPAM drivers say `Error`, network drivers `Err`; the status is not to be relied upon."""
    plugin.misbehave("RequestPool", "status", [status, f'{{"{key}": "no more"}}'])
    with pytest.raises(PluginRefused, match="it refuses: no more"):
        take(client(plugin))


def test_an_empty_answer_is_one_where_nothing_is_to_be_said(plugin: PluginProcess) -> None:
    """To a release, but not to a request."""
    ipam = client(plugin)
    plugin.misbehave("ReleasePool", "answer", "")
    ipam.release_pool("any")
    plugin.misbehave("RequestPool", "answer", "")
    with pytest.raises(PluginFault, match="cannot be read"):
        take(ipam)


def test_no_proxy_is_used(start_plugin: Callable[..., PluginProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    plugin = start_plugin(tcp=True)
    assert take(client(plugin)).block == parse_subnet("10.9.0.0/24")


def test_a_socket_path_that_is_too_long_is_a_fault(plugin: PluginProcess, tmp_path: Path) -> None:
    """The kernel takes 107 bytes."""
    ipam = RemoteIpam(Transport("lab", Address(path=str(tmp_path / ("x" * 120))), HASTE))
    with pytest.raises(PluginFault, match="path too long"):
        take(ipam)


def test_what_a_plugin_says_is_told_on_one_short_line() -> None:
    """Without control characters."""
    assert said(b"a\x1b[31m\n\tb\xff") == "a [31m b\ufffd"
    assert said("x" * 600) == "x" * 500 + "..."


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_nested_too_deeply_is_a_fault(plugin: PluginProcess, status: int) -> None:
    """It is not read to its end, whether it is an answer or an error."""
    plugin.misbehave("RequestPool", "status", [status, '{"Other": ' + "[" * 4500 + "]" * 4500 + "}"])
    with pytest.raises(PluginFault, match=r"cannot be read|HTTP status 500"):
        take(client(plugin))


@pytest.mark.parametrize("address", [Address(host="a..b", port=80), Address(path="/run/x\0.sock")])
def test_an_address_that_cannot_be_called_is_a_fault(address: Address) -> None:
    """Not even its name can be written."""
    with pytest.raises(PluginFault, match="no answer") as caught:
        take(RemoteIpam(Transport("lab", address, HASTE)))
    assert not caught.value.was_sent
