"""Plugins over TLS: whom a specification file trusts, what it shows, and what is refused."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netledger import Controller
from netledger.domain.errors import Invalid
from netledger.engine.remote import Limits, PluginFault, Tls, Transport, find, implemented
from tests.engine.remote.conftest import PluginProcess

CERTIFICATES = Path(__file__).parent / "certificates"
CA, OTHER = str(CERTIFICATES / "ca.pem"), str(CERTIFICATES / "other.pem")
SERVER, ELSEWHERE = str(CERTIFICATES / "server.pem"), str(CERTIFICATES / "elsewhere.pem")
MINE = {"CertFile": str(CERTIFICATES / "client.pem"), "KeyFile": str(CERTIFICATES / "client.key")}
HASTE = Limits(0.5, 0.5, 0.8, attempts=1)

Start = Callable[..., PluginProcess]


@pytest.fixture
def told(plugins: Path, start_plugin: Start) -> Callable[..., tuple[str, ...]]:
    """Start a plugin, write a specification, and shake hands with the plugin by it."""

    def tell(*options: str, scheme: str = "https", host: str = "127.0.0.1", **tls: Any) -> tuple[str, ...]:
        plugin = start_plugin(*options, tcp=True)
        (plugins / "lab.spec").unlink()
        port = plugin.address.rpartition(":")[2]
        specification = {"Name": "lab", "Addr": f"{scheme}://{host}:{port}", "TLSConfig": tls or None}
        (plugins / "lab.json").write_text(json.dumps(specification))
        return implemented(Transport("lab", find("lab", [plugins]), HASTE))

    return tell


@pytest.mark.parametrize("scheme", ["https", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_plugin_is_called_over_tls(told: Callable[..., tuple[str, ...]], scheme: str, host: str) -> None:
    """Its certificate is signed by the authority that the file names, for the host that it names."""
    assert "IpamDriver" in told("--tls", SERVER, scheme=scheme, host=host, CAFile=CA)


@pytest.mark.parametrize(
    ("certificate", "tls", "words"),
    [
        (SERVER, {"CAFile": OTHER}, "certificate verify failed"),
        (SERVER, {}, "certificate verify failed"),
        (SERVER, MINE, "certificate verify failed"),
        (ELSEWHERE, {"CAFile": CA}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (SERVER, {"CAFile": "/nowhere/ca.pem"}, "CAFile /nowhere/ca.pem cannot be used: .*No such file"),
        (SERVER, {"CAFile": __file__}, r"CAFile .*/test_tls.py cannot be used"),
        (SERVER, {"CAFile": CA, **MINE, "KeyFile": OTHER}, "CertFile .*client.pem with KeyFile .* cannot be used"),
    ],
)
def test_a_plugin_that_cannot_be_trusted_is_not_told_anything(
    told: Callable[..., tuple[str, ...]], certificate: str, tls: dict[str, str], words: str
) -> None:
    """Also where the file names no authority: then this machine's own are asked."""
    with pytest.raises(PluginFault, match=f"no answer: .*{words}") as caught:
        told("--tls", certificate, **tls)
    assert not caught.value.was_sent


def test_verifying_nothing_must_be_written(told: Callable[..., tuple[str, ...]]) -> None:
    """As Docker's option says it; the other host's certificate will do then."""
    assert "IpamDriver" in told("--tls", ELSEWHERE, InsecureSkipVerify=True)


def test_a_plugin_that_wants_a_certificate_is_shown_ours(told: Callable[..., tuple[str, ...]]) -> None:
    """And without one it says nothing."""
    assert "IpamDriver" in told("--tls", SERVER, "--clients", CA, CAFile=CA, **MINE)


def test_without_our_certificate_it_says_nothing(told: Callable[..., tuple[str, ...]]) -> None:
    """TLS 1.3 tells it only when the first answer is read."""
    with pytest.raises(PluginFault, match="no answer"):
        told("--tls", SERVER, "--clients", CA, CAFile=CA)


def test_a_plugin_without_tls_is_not_called_in_the_clear(told: Callable[..., tuple[str, ...]]) -> None:
    """Where TLS is asked for, there is no falling back."""
    with pytest.raises(PluginFault, match=r"no answer|did not answer in time") as caught:
        told(CAFile=CA)
    assert not caught.value.was_sent


def test_a_handshake_that_hangs_ends_in_time(plugins: Path) -> None:
    """Within the time of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = {"Addr": f"https://127.0.0.1:{silent.getsockname()[1]}", "TLSConfig": {"CAFile": CA}}
        (plugins / "lab.json").write_text(json.dumps(address))
        begun = time.monotonic()
        with pytest.raises(PluginFault, match="it did not answer in time"):
            implemented(Transport("lab", find("lab", [plugins]), HASTE))
    assert time.monotonic() - begun < 1.5


def test_https_has_a_port_of_its_own(plugins: Path) -> None:
    """443, where the address names none."""
    (plugins / "lab.json").write_text(json.dumps({"Addr": "https://localhost", "TLSConfig": {"CAFile": CA}}))
    found = find("lab", [plugins])
    assert (found.port, found.tls, str(found)) == (443, Tls(CA), "https://localhost:443")


@pytest.mark.parametrize("wanted", [{}, {"InsecureSkipVerify": False}])
def test_whatever_is_said_about_tls_asks_for_it(plugins: Path, wanted: dict[str, Any]) -> None:
    """By the authorities of the system, where it names none."""
    (plugins / "lab.json").write_text(json.dumps({"Addr": "tcp://localhost:1", "TLSConfig": wanted}))
    assert find("lab", [plugins]).tls == Tls()


@pytest.mark.parametrize(
    ("specification", "words"),
    [
        ({"Addr": "unix:///run/x.sock", "TLSConfig": {"CAFile": CA}}, "it asks for TLS on a unix socket"),
        ({"Addr": "tcp://h:1", "TLSConfig": {"CAFile": "ca.pem"}}, "its CAFile 'ca.pem' is no absolute path"),
        ({"Addr": "tcp://h:1", "TLSConfig": {"CertFile": CA}}, "it has one of CertFile and KeyFile"),
        ({"Addr": "tcp://h:1", "TLSConfig": {"CAFile": 7}}, "it is no plugin specification"),
        ({"Addr": "tcp://h:1", "TLSConfig": "yes"}, "it is no plugin specification"),
        ({"Addr": "tcp://h:1", "TLSConfig": {"CAFIle": CA}}, "it is no plugin specification: .*CAFIle"),
    ],
)
def test_a_specification_that_is_wrong_is_named(plugins: Path, specification: dict[str, Any], words: str) -> None:
    """And the plugin is not called without TLS instead."""
    (plugins / "lab.json").write_text(json.dumps(specification))
    with pytest.raises(Invalid, match=f"lab.json: {words}"):
        find("lab", [plugins])


def test_a_network_has_its_addresses_over_tls(
    told: Callable[..., tuple[str, ...]], opened: Callable[..., Controller]
) -> None:
    """All calls go the same way."""
    told("--tls", SERVER, "--clients", CA, CAFile=CA, **MINE)
    network = opened().create_network("n", ipam_driver="lab", subnets=["10.9.0.0/24"])
    assert [str(address) for address in network.create_endpoint("web").info().addresses] == ["10.9.0.2/24"]
