"""Where a plugin is found: by its socket, or a file that says where it listens."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from unittest import mock

import pytest

from netledger.domain.errors import Invalid, NotFound
from netledger.engine.remote import addresses, find


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Give two directories, as the sockets' and the specifications' one."""
    for name in ("run", "etc"):
        (tmp_path / name).mkdir()
    return tmp_path / "run", tmp_path / "etc"


def listen(path: Path) -> None:
    """Leave a socket's file."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def test_each_kind_of_file_says_where(directories: tuple[Path, Path]) -> None:
    """Sockets come first, whichever directory they are in; a directory of the plugin's own will do."""
    run, etc = directories
    listen(run / "sock.sock")
    (run / "own").mkdir()
    listen(run / "own" / "own.sock")
    (run / "sock.spec").write_text("tcp://127.0.0.1:1")
    (etc / "spec.spec").write_text("tcp://127.0.0.1:8080\n")
    (etc / "six.spec").write_text("http://[::1]:8080")
    (etc / "tls.spec").write_text("https://plugins.example:8443")
    (etc / "json.json").write_text(json.dumps({"Name": "other", "Addr": "unix:///var/lib/x.sock", "TLSConfig": None}))
    found = {name: str(address) for name, address in addresses(directories)}
    assert found == {
        "json": "unix:///var/lib/x.sock",
        "own": f"unix://{run}/own/own.sock",
        "six": "tcp://[::1]:8080",
        "sock": f"unix://{run}/sock.sock",
        "spec": "tcp://127.0.0.1:8080",
        "tls": "https://plugins.example:8443",
    }


@pytest.mark.parametrize(
    ("file", "text", "because"),
    [
        ("lab.spec", "", "is no address of a plugin"),
        ("lab.spec", "tcp://127.0.0.1", "is no address of a plugin"),
        ("lab.spec", "tcp://127.0.0.1:x", "is no address: "),
        ("lab.spec", "unix://relative", "is no address of a plugin"),
        ("lab.json", "{", "is no plugin specification"),
        ("lab.json", '{"Name": "lab"}', "is no plugin specification.*Addr"),
        ("lab.sock", "", "it is no socket"),
    ],
)
def test_a_file_that_says_nothing_is_named(directories: tuple[Path, Path], file: str, text: str, because: str) -> None:
    """With what is wrong with it; the list of all plugins has it, too."""
    path = directories[1] / file
    path.write_text(text)
    with pytest.raises(Invalid, match=because) as caught:
        find("lab", directories)
    assert str(path) in str(caught.value)
    assert list(addresses(directories)) == [("lab", str(caught.value))]


@pytest.mark.parametrize("name", ["../lab", "a/b", "", ".", "x\0"])
def test_a_name_leads_nowhere_else(directories: tuple[Path, Path], name: str) -> None:
    """It is a name, not a path."""
    (directories[0].parent / "lab.spec").write_text("tcp://127.0.0.1:1")
    with pytest.raises(Invalid, match="plugin name"):
        find(name, directories)


def test_a_name_that_nobody_has_is_not_found(directories: tuple[Path, Path], tmp_path: Path) -> None:
    """Directories that are not there are no error."""
    with pytest.raises(NotFound, match="start the plugin"):
        find("lab", [*directories, tmp_path / "none"])
    assert list(addresses([tmp_path / "none"])) == []


def test_a_directory_that_may_not_be_searched_is_named(directories: tuple[Path, Path]) -> None:
    """As a refusal: it might hide the plugin that is asked for."""
    (directories[0] / "lab.spec").write_text("tcp://127.0.0.1:1")
    forbidden = mock.patch.object(Path, "exists", side_effect=PermissionError(13, "Permission denied"))
    with forbidden, pytest.raises(Invalid, match=r"it cannot be looked for: Permission denied"):
        find("lab", directories)
    with forbidden:
        ((name, why),) = addresses(directories)
    assert (name, "Permission denied" in str(why)) == ("lab", True)
