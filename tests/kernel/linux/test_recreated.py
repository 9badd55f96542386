"""A sandbox is deleted and created again under its id, in another namespace: nothing of ours stays in the old one."""

from __future__ import annotations

import pytest

from netledger import Controller
from netledger.domain.commands import CreateSandbox, DeleteSandbox, JoinEndpoint, LeaveEndpoint
from netledger.domain.values import SandboxKind
from netledger.engine.requests import author
from netledger.replay import drift

from .conftest import OUTSIDE4, shell

LAN, WEB = "198.51.100.0/24", "198.51.100.20"
OURS = ""
NETWORKS = {
    "bridge": {"driver": "bridge"},
    "macvlan": {"driver": "macvlan", "options": {"parent": "uplink"}},
    "passthru": {"driver": "macvlan", "options": {"parent": "uplink", "macvlan_mode": "passthru"}},
    "ipvlan": {"driver": "ipvlan", "options": {"parent": "uplink"}},
}


@pytest.fixture
def borrowed():
    """Give the paths of two namespaces of somebody else."""
    names = ("borrowed1", "borrowed2")
    for name in names:
        shell("ip", "netns", "add", name)
    yield [f"/run/netns/{name}" for name in names]
    for name in names:
        shell("ip", "netns", "delete", name)


@pytest.fixture(params=NETWORKS)
def network(request, stage):
    """Name a kind of network that the kernel has."""
    reason = stage.dataplane.capabilities().lacks(NETWORKS[request.param]["driver"])
    if reason:
        pytest.skip(reason)
    return request.param


def open_host(stage, tmp_path):
    """Open the stage's host."""
    return Controller.open(tmp_path / "state", namespace=str(stage.host))


def attach(controller, kind, path):
    """Create a network, and an endpoint of it in a sandbox in the namespace at `path`; return their ids."""
    options = NETWORKS[kind]
    addresses = () if kind == "bridge" else (WEB,)
    network = controller.create_network("lan", subnets=("10.1.0.0/24",) if kind == "bridge" else (LAN,), **options)
    endpoint = network.create_endpoint("web", addresses=addresses)
    sandbox = controller.create_sandbox("web", kind="attached", path=path)
    endpoint.join(sandbox)
    return endpoint.id, sandbox.id


def sandbox_at(controller, sandbox, path):
    """Write a sandbox in the namespace at `path`, or in one of ours."""
    if path == OURS:
        return CreateSandbox(sandbox, "web")
    return CreateSandbox(sandbox, "web", SandboxKind.ATTACHED, path, controller.dataplane.identify(path))


def recreation(controller, endpoint, sandbox, path):
    """Write the batch that deletes a sandbox and creates it again, in the namespace at `path`."""
    made = [sandbox_at(controller, sandbox, path), JoinEndpoint(endpoint, sandbox)]
    return [LeaveEndpoint(endpoint), DeleteSandbox(sandbox), *made]


def links(stage, path):
    """Name the interfaces in a namespace, but for its loopback."""
    return {link["ifname"] for link in stage.ip("link", namespace=path)} - {"lo"}


def check(stage, controller, *, left):
    """Check that the interface is where the sandbox is, with packets, not where it was, and nothing is to repair."""
    key = controller.sandbox("web").key
    assert controller.dataplane.settle(5)
    assert [links(stage, path) for path in left] == [set()] * len(left)
    assert "eth0" in links(stage, key)  # beside the one of the gateway bridge
    assert drift(controller).lines == ()
    with stage.listening(stage.outside, OUTSIDE4, 80) as listener:
        assert stage.reach(key, OUTSIDE4, 80, listener)


def test_in_one_batch(stage, tmp_path, borrowed, network):
    """From somebody's namespace to one of ours and back, and from one of somebody's to another."""
    first, second = borrowed
    with open_host(stage, tmp_path) as controller:
        endpoint, sandbox = attach(controller, network, first)
        for before, after in ((first, OURS), (OURS, second), (second, first)):
            for result in controller.execute(recreation(controller, endpoint, sandbox, after)):
                result.check()
            check(stage, controller, left={first, second, before} - {after, OURS})


def test_found_by_a_start(stage, tmp_path, borrowed, network):
    """The process dies after its append, after one sandbox more than it has applied: the next one finds all of it."""
    first, second = borrowed
    with open_host(stage, tmp_path) as controller:
        endpoint, sandbox = attach(controller, network, first)
        with controller.working() as machine:
            for path in (second, OURS):
                machine.commit(recreation(controller, endpoint, sandbox, path), author(None, "", None))
    with open_host(stage, tmp_path) as controller:
        check(stage, controller, left=borrowed)


def test_in_part(stage, tmp_path, borrowed, network):
    """It dies when all is done, and before it has noted that: where it was in between is looked at, too."""
    first, second = borrowed
    with open_host(stage, tmp_path) as controller:
        endpoint, sandbox = attach(controller, network, first)
        applied = controller._machine.subscriber.applied
        for result in controller.execute(recreation(controller, endpoint, sandbox, second)):
            result.check()
        with controller.working() as machine:
            machine.commit(recreation(controller, endpoint, sandbox, OURS), author(None, "", None))
            machine.ledger.set_cursor(machine.cursor, applied)
    with open_host(stage, tmp_path) as controller:
        check(stage, controller, left=borrowed)


def test_left_and_joined_elsewhere(stage, tmp_path, borrowed, network):
    """A start finds that an endpoint has gone to another sandbox, while the first one stands."""
    first, second = borrowed
    with open_host(stage, tmp_path) as controller:
        endpoint, sandbox = attach(controller, network, first)
        other = sandbox[::-1]
        identity = controller.dataplane.identify(second)
        made = CreateSandbox(other, "box", SandboxKind.ATTACHED, second, identity)
        commands = [LeaveEndpoint(endpoint), made, JoinEndpoint(endpoint, other)]
        with controller.working() as machine:
            machine.commit(commands, author(None, "", None))
    with open_host(stage, tmp_path) as controller:
        assert controller.dataplane.settle(5)
        assert links(stage, first) == set()
        assert "eth0" in links(stage, second)
        assert drift(controller).lines == ()
