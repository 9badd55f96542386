"""The hosts file and resolv.conf of a sandbox: written, kept up to date, and left alone once somebody edited them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from netledger import Controller
from netledger.domain.errors import DataplaneFault
from netledger.replay import drift, repair


@pytest.fixture
def start(host: Path, tmp_path: Path):
    """Give a function that opens a controller on one state directory and host."""
    return lambda: Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host))


def joined(controller: Controller, **options):
    """Put an endpoint into a sandbox with files."""
    network = controller.create_network("n1", subnets=["10.5.0.0/24"])
    endpoint = network.create_endpoint("web")
    sandbox = controller.create_sandbox("c1", hostname="web", files=True, **options)
    endpoint.join(sandbox)
    info = sandbox.info()
    return endpoint, sandbox, Path(info.hosts_path), Path(info.resolv_conf_path)


def test_they_follow_the_sandbox(start, tmp_path):
    """Joining and leaving change the hosts file in place; deleting the sandbox removes both."""
    with start() as controller:
        endpoint, sandbox, hosts, resolver = joined(controller, extra_hosts={"db": "10.9.9.9"}, dns=["192.0.2.1"])
        assert hosts.is_relative_to(tmp_path / "state" / "sandboxes")
        assert "10.9.9.9\tdb\n10.5.0.2\tweb\n" in hosts.read_text()
        assert resolver.read_text().startswith("nameserver 192.0.2.1\n")
        inode = hosts.stat().st_ino
        endpoint.leave()
        assert "10.5.0.2" not in hosts.read_text()
        assert hosts.stat().st_ino == inode, "a container may have it mounted"
        sandbox.delete()
        assert not hosts.parent.exists()


def test_an_edited_file_is_the_users(start):
    """It is neither overwritten nor removed, and is no drift."""
    with start() as controller:
        endpoint, sandbox, hosts, resolver = joined(controller)
        with hosts.open("a") as file:
            file.write("192.0.2.7\tmine\n")
        mine = hosts.read_text()
        endpoint.leave()
        endpoint.join(sandbox)
        assert hosts.read_text() == mine
        assert drift(controller).agrees
        sandbox.delete(force=True)
        assert hosts.read_text() == mine
        assert not resolver.exists()


def test_a_missing_file_is_drift_and_made_again(start):
    """What somebody removed is written again by a repair."""
    with start() as controller:
        _, _, hosts, resolver = joined(controller)
        before = hosts.read_text()
        hosts.unlink()
        assert any(str(hosts) in line for line in drift(controller).lines)
        assert not repair(controller).faults
        assert hosts.read_text() == before
        assert resolver.exists()


@pytest.mark.parametrize("state", ["before", "emptied", "half", "after"])
def test_killed_while_it_was_written_it_is_still_ours(start, state):
    """Whatever a kill leaves of a file that was being written, the next start finishes it."""
    with start() as controller:
        endpoint, _, hosts, _ = joined(controller)
        old = hosts.read_bytes()
        endpoint.leave()
        new = hosts.read_bytes()
        beside = hosts.with_name("hosts.hash")
        digests = [hashlib.sha256(content).hexdigest() for content in (old, new)]
        beside.write_text(f"{digests[0]} {digests[1]} {len(new)}\n")
        half = new + old[len(new) :]
        hosts.write_bytes({"before": old, "emptied": b"", "half": half, "after": new}[state])
        assert not repair(controller).faults
        assert hosts.read_bytes() == new
        assert drift(controller).agrees
        assert state == "after" or beside.read_text().split() == [digests[1]]


def test_nothing_is_written_through_a_link(start, tmp_path):
    """A link or a pipe in the place of a file is a fault, and what it leads to stays as it is."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "hosts").symlink_to(secret)
    os.mkfifo(tmp_path / "resolv.conf")
    with start() as controller, pytest.raises(DataplaneFault, match="hosts"):
        controller.create_sandbox(
            "c1", hosts_path=str(tmp_path / "hosts"), resolv_conf_path=str(tmp_path / "resolv.conf")
        )
    assert secret.read_text() == "mine"


def test_a_restart_leaves_them_alone(start):
    """Nothing is to be done for a clean start."""
    with start() as controller:
        _, _, hosts, _ = joined(controller)
        before = hosts.stat().st_mtime_ns
    with start() as controller:
        assert controller.recovery is None
        assert drift(controller).agrees
    assert hosts.stat().st_mtime_ns == before
