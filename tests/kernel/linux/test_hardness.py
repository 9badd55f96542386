"""What a step or a machine can bring that nobody thought of: a fault, and nothing lost, left open or taken away."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from netledger.dataplanes.contract import Place, Status, Verb
from netledger.dataplanes.linux import namespaces, rooms
from netledger.dataplanes.linux.namespaces import IN_THE_WAY
from netledger.dataplanes.linux.netlink import Conversation
from netledger.domain.errors import DataplaneFault
from netledger.domain.objects import ForwardPolicy, Masquerade, PortForward
from netledger.domain.values import SandboxKind

from .conftest import shell


@pytest.fixture
def network(stage):
    """Give a network, made."""
    network = stage.network("network1", "10.5.0.0/24")
    stage.make(*stage.forwarding, *network.objects)
    return network


def descriptors():
    """List what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def exhausted(*_):
    """Fail as a process without free descriptors."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_values_that_fit_nowhere(stage, network):
    """Each is a fault of its own step; the others are done."""
    web, other = stage.member(network, "web"), stage.member(network, "other")
    bad_path = msgspec.structs.replace(web.namespace, path="/run/a\0b")
    bad_port = PortForward(6, bytes(4), 70000, bytes([10, 5, 0, 2]), 80)
    bad_mtu = msgspec.structs.replace(web.pair, sandbox=other.sandbox, name="eth1", mtu=1 << 40)
    outcomes = stage.apply(Verb.MAKE, [bad_path, bad_port, *other.objects, *other.publish(8080)])
    assert "ValueError: embedded null byte" in str(outcomes[bad_path.key].fault)
    assert "error: " in str(outcomes[bad_port.key].fault)
    assert set(other.objects) | set(other.publish(8080)) <= stage.observed()
    outcomes = stage.apply(Verb.MAKE, [bad_mtu])
    assert outcomes[bad_mtu.key].status is Status.FAULT
    outcomes = stage.apply(Verb.REMOVE, [bad_path])
    assert outcomes[bad_path.key].status is Status.FAULT


def test_what_nobody_thought_of(stage, network, monkeypatch):
    """Whatever is raised, steps that have ended keep their outcome."""
    web = stage.member(network, "web")

    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("netledger.dataplanes.linux.executor._make_endpoints", fail)
    more = Masquerade("more", 4)
    outcomes = stage.apply(Verb.MAKE, [more, web.namespace])
    assert outcomes[more.key].status is Status.MADE
    assert "ZeroDivisionError: division by zero" in str(outcomes[web.namespace.key].fault)


@pytest.mark.parametrize("where", ["open_namespace", "Conversation"])
def test_no_descriptors_left(stage, network, monkeypatch, where):
    """A namespace that cannot be entered is neither lost nor absent, and nothing is left open."""
    web = stage.member(network, "web", path=stage.outside)
    identity = stage.dataplane.identify(str(stage.outside))
    stage.places[web.sandbox] = Place(SandboxKind.ATTACHED, str(stage.outside), identity)
    stage.observed()
    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(rooms if where == "open_namespace" else namespaces, where, exhausted)
        with pytest.raises(DataplaneFault, match="cannot be entered: Too many open files"):
            stage.dataplane.observe(stage.places)
        with pytest.raises(DataplaneFault, match="cannot be entered: Too many open files"):
            stage.dataplane.identify(str(stage.outside))
        outcomes = stage.apply(Verb.MAKE, web.inner)
        assert "cannot be entered: Too many open files" in str(outcomes[web.pair.key].fault)
    with monkeypatch.context() as patch:
        patch.setattr(rooms, "identity_of", exhausted)
        with pytest.raises(DataplaneFault, match="Too many open files"):
            stage.dataplane.observe(stage.places)
    assert descriptors() == before
    assert not stage.dataplane.observe(stage.places).lost


def test_a_fresh_namespace_that_fails_is_closed(stage, network, monkeypatch):
    """Neither its descriptor nor its socket stays."""
    web = stage.member(network, "web")
    kernel = stage.dataplane._kernel
    stage.dataplane._worker.run(stage.dataplane._worker._later.clear)
    if kernel.spare is not None:
        kernel.spare.close()
        kernel.spare = None
    before = descriptors()
    monkeypatch.setattr(Conversation, "exchange", exhausted)
    assert stage.apply(Verb.MAKE, [web.namespace])[web.namespace.key].status is Status.FAULT
    stage.dataplane._worker.run(stage.dataplane._worker._later.clear)
    assert descriptors() == before
    assert not web.path.exists()


def test_what_is_no_namespace_is_neither_entered_nor_removed(stage, network):
    """A FIFO, a folder, a link, a mount of something else: each stays as it is."""
    folder = stage.folder
    folder.mkdir()
    (folder / "empty").touch()
    (folder / "mounted").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/proc/self/ns/net")
    (folder / "link to a file").symlink_to(folder / "empty")
    shell("mount", "-t", "tmpfs", "tmpfs", folder / "mounted")
    shell("mount", "--bind", stage.host, folder / "empty")  # no link may lead to what is bound there
    try:
        for name in ("fifo", "folder", "link", "link to a file", "mounted"):
            web = stage.member(network, name, path=folder / name)
            outcome = stage.apply(Verb.REMOVE, [web.namespace])[web.namespace.key]
            assert IN_THE_WAY in str(outcome.fault), name
            if not name.startswith("link"):
                outcome = stage.apply(Verb.MAKE, [web.namespace])[web.namespace.key]
                assert IN_THE_WAY in str(outcome.fault), name
                assert stage.dataplane.identify(str(folder / name)) is None
            assert (folder / name).lstat()
            del stage.places[web.sandbox]
        assert (folder / "mounted").is_mount()
        assert (folder / "empty").samefile(stage.host)
    finally:
        shell("umount", folder / "mounted")
        shell("umount", folder / "empty")


def test_a_file_that_was_there_stays_when_a_namespace_fails(stage, network, monkeypatch):
    """Only one that was made for it goes."""
    web, other = stage.member(network, "web"), stage.member(network, "other")
    web.path.parent.mkdir(parents=True)
    web.path.touch()
    monkeypatch.setattr(rooms, "bind", exhausted)
    outcomes = stage.apply(Verb.MAKE, [web.namespace, other.namespace])
    assert {outcome.status for outcome in outcomes.values()} == {Status.FAULT}
    assert web.path.exists()
    assert not other.path.exists()


@pytest.mark.parametrize("name", ['a"b', "br*", "br;", "{br}", "a\\b", "b\u00fc", "$a", "12"])
def test_names_that_nft_would_misread(stage, name):
    """They reach the kernel as they are, and stand for nothing else."""
    things = {ForwardPolicy(name, icc=True, internal=False), Masquerade(name, 4)}
    stage.make(*stage.forwarding, *things)
    assert things <= stage.observed()
    stage.run("nft", f"add chain inet {stage.table} extra")
    outcomes = stage.apply(Verb.MAKE, stage.forwarding[:1])
    assert {outcome.status for outcome in outcomes.values()} == {Status.MADE}
    assert things <= stage.observed()


def test_names_that_the_kernel_would_fill_in(stage, network):
    """A `%` is refused before anything is sent."""
    web, other = stage.member(network, "web"), stage.member(network, "other")
    bridge = msgspec.structs.replace(network.bridge, name="br%d")
    pairs = [
        msgspec.structs.replace(web.pair, host_name="nl%d"),
        msgspec.structs.replace(web.pair, name="eth%d"),
    ]
    for things in ([bridge], [web.namespace, pairs[0], *other.objects], [pairs[1]]):
        outcomes = stage.apply(Verb.MAKE, things)
        for key, outcome in outcomes.items():
            if "%" in key or outcome.step.object in pairs:
                assert "cannot be a link's name" in str(outcome.fault)
    assert set(other.objects) <= stage.observed()
    names = {link["ifname"] for link in stage.ip("link")}
    assert not names & {"br0", "nl0", "eth0"}
    assert {link["ifname"] for link in stage.ip("link", namespace=web.path)} == {"lo"}
