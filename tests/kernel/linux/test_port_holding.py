"""A published port is held against other processes while its owner lives, and left to whoever took it meanwhile."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from netledger import Controller
from netledger.domain.errors import Conflict
from netledger.domain.events import DriftDetected

SERVER = """if True:
    import socket, sys, time
    kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
    made = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((sys.argv[2], int(sys.argv[3])))
        if kind == socket.SOCK_STREAM:
            made.listen()
    except OSError as error:
        print(error.errno, flush=True)
    else:
        print("bound", flush=True)
        time.sleep(60)
"""


@contextmanager
def another_process(host: Path, protocol: str, address: str, port: int):
    """Let another process try to serve a port of the host; give what became of it."""
    command = ["nsenter", f"--net={host}", sys.executable, "-c", SERVER, protocol, address, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def start(host: Path, tmp_path: Path):
    """Give a function that opens a controller on one state directory and host."""

    def opened(**options) -> Controller:
        return Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host), **options)

    return opened


def publish(controller: Controller, *ports: str) -> None:
    """Publish ports of a new container."""
    network = controller.create_network("n1", subnets=["10.5.0.0/24", "fd05::/64"])
    network.create_endpoint("web", ports=list(ports)).join(controller.create_sandbox("c1"))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::"])
def test_nobody_else_binds_it_while_its_owner_lives(start, host, protocol, address):
    """Neither at every address nor at one; afterwards anybody can."""
    with start() as controller:
        publish(controller, f"8080:80/{protocol}")
        with another_process(host, protocol, address, 8080) as became:
            assert became == str(errno.EADDRINUSE)
        with another_process(host, protocol, address, 8081) as became:
            assert became == "bound"
    with another_process(host, protocol, address, 8080) as became:
        assert became == "bound"


def test_it_is_held_again_after_a_start(start, host):
    """A restart takes the published ports before anybody asks."""
    with start() as controller:
        publish(controller, "8080:80")
    with start(), another_process(host, "tcp", "0.0.0.0", 8080) as became:
        assert became == str(errno.EADDRINUSE)
    with start(hold_ports=False), another_process(host, "tcp", "0.0.0.0", 8080) as became:
        assert became == "bound"


def test_it_is_let_go_of_when_it_is_published_no_more(start, host):
    """Leaving ends it."""
    with start() as controller:
        publish(controller, "8080:80")
        controller.endpoint("web").leave()
        with another_process(host, "tcp", "0.0.0.0", 8080) as became:
            assert became == "bound"


def test_a_port_that_was_taken_meanwhile_is_drift_and_not_fought_over(start, host):
    """The log names the process that has it; the translation stays, and the container is still reached."""
    with start() as controller:
        publish(controller, "8080:80")
    with another_process(host, "tcp", "0.0.0.0", 8080) as became:
        assert became == "bound"
        with start() as controller:
            found = [record.event for record in controller.history() if isinstance(record.event, DriftDetected)]
            assert len(found) == 1
            assert found[0].differences[0].startswith("! port/tcp/0.0.0.0:8080 is held by process ")


def test_a_port_of_another_process_is_refused_before_anything_happens(start, host):
    """The refusal names the process."""
    with start() as controller, another_process(host, "tcp", "0.0.0.0", 8080) as became:
        assert became == "bound"
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        with pytest.raises(Conflict, match=r"port 0\.0\.0\.0:8080/tcp is held by process \d+"):
            network.create_endpoint("web", ports=["8080:80"])


def test_lingering_connections_of_an_earlier_server_are_in_nobodys_way(start, host):
    """A port in TIME_WAIT, which bind(2) refuses without SO_REUSEADDR, is had all the same, and held."""
    script = """if True:
        import socket
        server = socket.create_server(("127.0.0.1", 8080))
        client = socket.create_connection(("127.0.0.1", 8080))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
        server.close()
        try:
            socket.socket().bind(("0.0.0.0", 8080))
        except OSError as error:
            print(error.errno)
    """
    command = ["nsenter", f"--net={host}", sys.executable, "-c", script]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    assert said.strip() == str(errno.EADDRINUSE), "the port lingers"
    with start() as controller:
        publish(controller, "8080:80")
        with another_process(host, "tcp", "0.0.0.0", 8080) as became:
            assert became == str(errno.EADDRINUSE)


FEW_DESCRIPTORS = """if True:
    import resource, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    from netledger import Controller
    from netledger.domain.errors import Conflict
    with Controller.open(sys.argv[1], dataplane="linux") as controller:
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        try:
            for number in range(100):
                endpoint = network.create_endpoint(f"e{number}", ports=[f"{9000 + number}:80"])
                endpoint.join(controller.create_sandbox(f"c{number}"))
        except Conflict as refusal:
            print(len(controller.endpoints()), len(controller.sandboxes()), refusal)
"""


def test_so_many_ports_as_there_are_descriptors(tmp_path):
    """Where no more descriptors can be had, the next port is refused before its event, and says why."""
    inside = ["unshare", "--net", "--", sys.executable, "-c", FEW_DESCRIPTORS, str(tmp_path / "state")]
    said = subprocess.run(inside, check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.startswith("44 44 create endpoint 'e44': port 0.0.0.0:9044/tcp cannot be had: "), said
    assert "this process holds 44 ports and may open no more descriptors; see `ulimit -n`" in said


def test_sockets_keep_nothing_of_what_arrives():
    """A datagram to a held port is dropped, not queued."""
    from netledger.dataplanes.contract import Claim
    from netledger.dataplanes.linux.portholder import PortHolder

    holder = PortHolder()
    try:
        assert holder.hold(Claim(protocol=17, host_address=bytes([127, 0, 0, 1]), host_port=8099)) is None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", ("127.0.0.1", 8099))
        [held] = holder._held.values()
        held.setblocking(False)
        with pytest.raises(BlockingIOError):
            held.recv(16)
    finally:
        holder.close()
