import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def read(*command: str) -> Any:
    """Run a command and return the JSON that it printed."""
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return json.loads(output or "[]")


def names(links: list[dict]) -> list[str]:
    """Return the names of the links that `ip -j` listed; it lists what it left out as empty objects."""
    return [link["ifname"] for link in links if link]


def test_the_machine_is_out_of_reach():
    """Kernel tests see a network namespace in which only a loopback is up, and an empty /run of their own."""
    assert os.environ["NETLEDGER_TESTS_OUTSIDE"] != str(Path("/proc/self/ns/net").stat().st_ino)
    assert names(read("ip", "-j", "link", "show", "up")) == ["lo"]
    made_by_tests = {"netns", "mount", "netledger"}
    there = {path.name for path in Path("/run").iterdir() if path.suffix != ".lock"}  # iptables leaves its lock
    assert there <= made_by_tests


def test_every_test_has_a_host_of_its_own(host: Path):
    """The host is a fresh namespace, apart from the one that the test runs in."""
    assert host.stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
    assert names(read("ip", "-j", "-n", host.name, "link", "show", "up")) == ["lo"]


def test_a_host_carries_packets(host: Path):
    """Its loopback is up: a datagram sent to it arrives."""
    script = """if True:
        import socket
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.settimeout(5)
        receiver.bind(("127.0.0.1", 0))
        receiver.sendto(b"hello", receiver.getsockname())
        print(receiver.recv(16).decode())
    """
    command = ["nsenter", f"--net={host}", sys.executable, "-c", script]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout == "hello\n"


def test_a_host_takes_links_and_rules(host: Path):
    """A bridge and an nftables table made in the host are there, and not outside."""
    in_host = ["nsenter", f"--net={host}"]
    subprocess.run(["ip", "-n", host.name, "link", "add", "bridge1", "type", "bridge"], check=True, timeout=30)
    subprocess.run([*in_host, "nft", "add", "table", "inet", "table1"], check=True, timeout=30)
    tables = read(*in_host, "nft", "-j", "list", "tables")["nftables"]
    assert "bridge1" in names(read("ip", "-j", "-n", host.name, "link"))
    assert [entry["table"]["name"] for entry in tables if "table" in entry] == ["table1"]
    assert "bridge1" not in names(read("ip", "-j", "link"))
    assert not [entry for entry in read("nft", "-j", "list", "tables")["nftables"] if "table" in entry]
