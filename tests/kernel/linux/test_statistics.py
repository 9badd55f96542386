"""Counters of a sandbox's interfaces: as `ip -s` has them, and refused where the namespace is gone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from netledger import Controller


def test_counters_are_those_of_ip(host: Path, tmp_path: Path):
    """After packets have crossed, each counter is the one that ip(8) prints."""
    with Controller.open(tmp_path / "state", dataplane="linux", namespace=str(host)) as controller:
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        for name in ("c1", "c2"):
            network.create_endpoint(name).join(controller.create_sandbox(name))
        inside = ["nsenter", f"--net={controller.sandbox('c1').key}"]
        subprocess.run(
            [
                *inside,
                "python3",
                "-c",
                "import socket\nfor _ in range(9):\n socket.socket(2,2).sendto(b'x'*99,('10.5.0.3',9))",
            ],
            check=True,
            timeout=30,
        )
        told = json.loads(subprocess.run([*inside, "ip", "-j", "-s", "link"], check=True, capture_output=True).stdout)
        counted = controller.sandbox("c1").statistics()
    assert set(counted) == {"lo", "eth0"}
    eth0 = next(link["stats64"] for link in told if link["ifname"] == "eth0")
    assert counted["eth0"].tx_packets >= 9
    for side in ("rx", "tx"):
        for name in ("packets", "bytes", "errors", "dropped"):
            assert getattr(counted["eth0"], f"{side}_{name}") >= eth0[side][name]
    assert counted["eth0"].tx_bytes >= 9 * 99
