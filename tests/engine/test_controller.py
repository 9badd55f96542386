from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from netledger import Controller
from netledger.dataplanes.contract import Claim
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LedgerBusy,
    LedgerError,
    LedgerForeign,
    NotFound,
    Unavailable,
)
from netledger.domain.events import ClockStepped, HostRegistered, NetworkCreated
from netledger.domain.facts import Capabilities, NamespaceIdentity
from netledger.domain.values import SandboxKind
from netledger.engine.deciding import PROBE_ROUNDS
from tests.desk import create_endpoint, create_network, create_sandbox

BRIDGE = "com.docker.network.bridge.name"


def test_a_new_log_begins_with_its_host(controller):
    """The first event registers the host, by its name and boot."""
    first = next(controller.history())
    assert isinstance(first.event, HostRegistered)
    assert first.event.name == socket.gethostname()
    assert first.event.host == controller.host
    assert len(controller.id) == 32
    assert controller.recovery is None


def test_a_closed_controller_says_so(start):
    """Every call after `close` is refused with what to do; closing twice is no error."""
    controller = start()
    network = controller.create_network("n1")
    controller.close()
    controller.close()
    for call in (
        lambda: controller.create_network("n2"),
        controller.networks,
        controller.history,
        lambda: next(controller.events()),
        network.info,
        lambda: network.name,
    ):
        with pytest.raises(LedgerError, match=r"^this Controller is closed; call Controller.open again$"):
            call()


def test_a_forked_child_opens_its_own(start, state):
    """In a forked child every call is refused with what to do, and the parent goes on."""
    controller = start(state)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = []
        for call in (lambda: controller.create_network("n1"), controller.networks, controller.close):
            try:
                call()
            except LedgerError as error:
                told.append(str(error))
        os.write(writer, "\n".join(told).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read().splitlines()
    os.waitpid(child, 0)
    assert told == ["this Controller was opened before a fork; call Controller.open in the child process"] * 3
    controller.create_network("n1")


def test_a_read_only_controller_reads(start, state):
    """It answers questions, follows what others write, and refuses every change."""
    writer = start(state)
    writer.create_network("n1")
    reader = start(state, read_only=True)
    assert reader.network("n1").info().name == "n1"
    with pytest.raises(Forbidden) as caught:
        reader.create_network("n2")
    assert str(caught.value) == "change anything: this controller was opened read-only; open it without read_only"
    writer.create_network("n2")
    assert [network.name for network in reader.networks()] == ["n1", "n2"]


def test_there_must_be_something_to_read(state):
    """Opening a directory without a ledger for reading does not make one."""
    with pytest.raises(NotFound, match="there is no ledger in it; create a network first"):
        Controller.open(state, dataplane="none", read_only=True)
    assert not state.exists()


def test_an_unknown_dataplane_is_refused_before_anything_is_made(state):
    """The message lists those that there are."""
    with pytest.raises(Invalid) as caught:
        Controller.open(state, dataplane="quantum")
    assert str(caught.value) == "dataplane 'quantum': unknown; known: linux, simulated, none"
    assert not state.exists()


def test_one_process_owns_a_host(start, state):
    """A second controller with a dataplane is told who holds the host; one without may write."""
    start(state, "simulated")
    with pytest.raises(LedgerBusy, match=f"process {os.getpid()} "):
        Controller.open(state, dataplane="simulated", wait_seconds=0.05)
    start(state, "none").create_network("n1")


def test_a_failed_start_lets_the_host_go(state, start):
    """When opening fails the lock is released."""

    class Broken(SimulatedDataplane):
        def boot_id(self):
            raise OSError("no /proc")

    with pytest.raises(OSError, match="no /proc"):
        Controller.open(state, dataplane=Broken(SimulatedKernel()))
    start(state, "simulated", wait_seconds=0.05)


def test_a_foreign_directory_is_left_alone(tmp_path):
    """A directory with somebody else's files in it is refused."""
    (tmp_path / "precious").write_text("x")
    with pytest.raises(LedgerForeign):
        Controller.open(tmp_path, dataplane="none")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_what_the_dataplane_lacks_is_refused_before_any_event(start):
    """A capability that is missing stops the command, not the dataplane; it is asked for once."""

    class Limited(SimulatedDataplane):
        asked = 0

        def capabilities(self, firewall=""):
            Limited.asked += 1
            return Capabilities(missing={"veth": "no such module", "namespace": "no CAP_SYS_ADMIN"})

    controller = start(dataplane=Limited())
    head = controller.ledger.head
    with pytest.raises(Unavailable, match="cannot make 'veth': no such module; see `netledger doctor`"):
        controller.create_network("n1")
    with pytest.raises(Unavailable, match="cannot make 'namespace': no CAP_SYS_ADMIN"):
        controller.create_sandbox("c")
    assert controller.ledger.head == head
    assert Limited.asked == 1


def test_a_foreign_interface_is_found_by_probing(controller, kernel):
    """A bridge name that something else on the host has is refused before any event."""
    kernel.add_interface("docker0", "a bridge")
    head = controller.ledger.head
    with pytest.raises(Conflict, match="a bridge has the name docker0 and is not ours"):
        controller.create_network("n1", options={BRIDGE: "docker0"})
    assert controller.ledger.head == head
    assert not kernel.objects


def test_a_port_of_another_process_is_found_by_probing(controller, dataplane):
    """A port that is asked for is refused; one that is chosen goes round those of others."""
    for port in (8080, 49153, 49154):
        dataplane.obstacles[Claim(protocol=6, host_address=bytes(4), host_port=port)] = "nginx (process 7)"
    network = controller.create_network("n1")
    with pytest.raises(Conflict, match=r"port 0\.0\.0\.0:8080/tcp is held by nginx \(process 7\); free it"):
        network.create_endpoint("e", ports=["8080:80"])
    assert network.create_endpoint("e", ports=["80"]).info().port_map == {"80/tcp": ("0.0.0.0:49155",)}


def test_probing_for_a_free_port_ends(controller, dataplane):
    """When one port after the other turns out to be taken the command is refused, after so many."""
    for number in range(PROBE_ROUNDS + 1):
        dataplane.obstacles[Claim(protocol=6, host_address=bytes(4), host_port=49153 + number)] = "somebody"
    controller.create_network("n1")
    with pytest.raises(Unavailable, match="64 host ports in a row were taken by other processes"):
        controller.network("n1").create_endpoint("e", ports=["80"])
    for number in range(PROBE_ROUNDS - 1, PROBE_ROUNDS + 1):
        del dataplane.obstacles[Claim(protocol=6, host_address=bytes(4), host_port=49153 + number)]
    controller.network("n1").create_endpoint("e", ports=["80"])


def test_attached_namespaces_are_identified_when_they_come(controller, dataplane):
    """The identity of the namespace at the path is in the event; where there is none it is refused."""
    with pytest.raises(Invalid, match="there is no network namespace at '/run/netns/blue'"):
        controller.create_sandbox("c", kind="attached", path="/run/netns/blue")
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 7)
    sandbox = controller.create_sandbox("c", kind="attached", path="/run/netns/blue")
    assert sandbox.key == "/run/netns/blue"
    with controller.reading() as views:
        assert views.sandbox(sandbox.id).event.identity == NamespaceIdentity("boot", 7)


def test_namespaces_of_ours_have_a_path_each(controller):
    """Two sandboxes whose ids begin alike lie at different paths."""
    keys = {controller.create_sandbox(f"c{digit}", id="0" * 63 + digit).key for digit in "12"}
    assert len(keys) == 2


def test_a_refused_command_does_not_disturb_the_others(controller):
    """The others of the batch are carried out; the refused one's result has the error and no events."""
    results = controller.execute([create_network("n1"), create_network("n1"), create_sandbox("c")])
    assert [result.error is None for result in results] == [True, False, True]
    assert results[1].events == ()
    with pytest.raises(Conflict):
        results[1].check()
    assert controller.execute([]) == []


def test_a_batch_is_one_append(controller):
    """All events of a batch share their time and stand at consecutive positions, each command's in one piece."""
    results = controller.execute([create_network("n1"), create_endpoint("n1", "e", "80")], actor="alice", reason="why")
    records = [record for result in results for record in result.events]
    head = controller.ledger.head
    assert [record.position for record in records] == list(range(head - len(records) + 1, head + 1))
    assert len({record.event.at for record in records}) == 1
    assert {(record.event.actor, record.event.reason) for record in records} == {("alice", "why")}


def test_a_clock_that_went_back_is_recorded(controller, monkeypatch):
    """The step is an event, once; the events after it carry the new time."""
    import time

    controller.create_network("n1")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 60_000_000_000)
    controller.create_network("n2")
    controller.create_network("n3")
    steps = [record.event for record in controller.history() if isinstance(record.event, ClockStepped)]
    assert len(steps) == 1
    assert 59_000_000_000 < steps[0].back <= 60_000_000_000


def test_subnets_and_gateways_are_read_together(controller):
    """A gateway belongs to the subnet that it is in; a family is on when it has a subnet or was asked for."""
    info = controller.create_network(
        "n1", subnets=["fd01::/64", "10.1.0.0/24"], gateways=["10.1.0.9", "fd01::9"], allocation="lowest"
    ).info()
    assert info.subnets == ("10.1.0.0/24", "fd01::/64")
    assert info.gateways == ("10.1.0.9", "fd01::9")
    assert len(controller.create_network("n2", ipv6=True).info().subnets) == 2
    assert controller.create_network("n3", ipv4=False, ipv6=True).info().subnets[0].startswith("fd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allocation": "random"}, "allocation 'random': unknown; known: next, lowest, serial, sticky"),
        (
            {"subnets": ["10.1.0.0/24"], "ipv4": False},
            "subnet 10.1.0.0/24: IPv4 is turned off; turn it on, or leave the subnet out",
        ),
        (
            {"gateways": ["10.1.0.1", "10.1.0.2"]},
            "1 gateway(s): there is no subnet for them; give one gateway for each subnet",
        ),
        ({"subnets": ["10.1.0.0"]}, "subnet '10.1.0.0': no prefix length; write it like 10.1.0.0/24"),
        (
            {"subnets": ["10.1.0.0/24"], "gateways": ["10.2.0.1"]},
            "create network 'n1': gateway 10.2.0.1 is outside its subnet 10.1.0.0/24; choose one inside it",
        ),
        ({"id": "x"}, "network id 'x': not 64 lower-case hex digits; leave it out and one is made"),
    ],
)
def test_a_network_call_that_is_wrong_says_how(controller, arguments, message):
    """What the caller wrote is quoted with what is wrong and what to write."""
    with pytest.raises(Invalid) as caught:
        controller.create_network("n1", **arguments)
    assert str(caught.value) == message


def test_a_sandbox_kind_is_one_of_three(controller):
    """The message lists them."""
    with pytest.raises(Invalid) as caught:
        controller.create_sandbox("c", kind="stolen")
    assert str(caught.value) == f"sandbox kind 'stolen': unknown; known: {', '.join(SandboxKind)}"


def test_history_is_cut_by_position_and_tags(controller):
    """What happened to one thing is found by its tag, after a position."""
    network = controller.create_network("n1")
    controller.create_network("n2")
    mine = list(controller.history(tags=[f"network:{network.id}"]))
    assert {type(record.event).__name__ for record in mine} == {"PoolAllocated", "AddressAllocated", "NetworkCreated"}
    assert list(controller.history(after=mine[-1].position, tags=[f"network:{network.id}"])) == []


def test_events_come_as_they_are_appended(start, state):
    """A follower sees what is there and what comes, from this process and from others, until the end."""
    controller, other = start(state), start(state)
    seen = []
    stream = controller.events(poll_seconds=0.01)
    seen.append(next(stream))
    other.create_network("n1")
    controller.create_network("n2")
    while sum(isinstance(record.event, NetworkCreated) for record in seen) < 2:
        seen.append(next(stream))
    assert [record.position for record in seen] == list(range(1, len(seen) + 1))
    controller.close()
    assert list(stream) == []


def test_importing_the_package_loads_no_kernel_library():
    """Opening a simulated controller needs neither pyroute2 nor nftables."""
    script = (
        "import sys, netledger\n"
        "with netledger.Controller.open(dataplane='simulated') as c: c.create_network('n')\n"
        "assert 'pyroute2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
