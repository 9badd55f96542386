"""`netledger watch`, as a user runs it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

WAIT_SECONDS = 20


def netledger(*words: str | Path) -> list[str]:
    """Write a command line."""
    return [sys.executable, "-m", "netledger", *map(str, words)]


def read_line(process: subprocess.Popen, seconds: float = WAIT_SECONDS) -> str:
    """Read a line that is to come soon."""
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    assert ready, "nothing was said"
    return process.stdout.readline()


def test_a_flushed_firewall_is_mended_while_it_watches(host: Path, tmp_path: Path):
    """It says what it found, with what was noticed; the log has it; SIGTERM ends it well."""
    where = ("--state", tmp_path / "state", "--namespace", host)
    for words in (
        ("network", "create", "n1", "--subnet", "10.5.0.0/24"),
        ("endpoint", "create", "n1", "web", "--publish", "8080:80"),
        ("sandbox", "create", "c1"),
        ("endpoint", "join", "web", "c1"),
    ):
        subprocess.run(netledger(*words, *where), check=True, capture_output=True, timeout=60)
    process = subprocess.Popen(
        netledger("watch", "--json", *where), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        os.set_blocking(process.stderr.fileno(), True)
        assert "watching" in process.stderr.readline()
        time.sleep(0.3)
        flush = ["nsenter", f"--net={host}", "nft", "flush", "ruleset"]
        subprocess.run(flush, check=True, timeout=30)
        found = json.loads(read_line(process))
        assert found["is_mended"] is True
        assert any("nftables table" in words for words in found["noticed"])
        listed = subprocess.run(
            ["nsenter", f"--net={host}", "nft", "list", "ruleset"],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
        assert "10.5.0.2" in listed
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
    shown = subprocess.run(
        netledger("log", "show", "--type", "DriftDetected", "--state", tmp_path / "state"),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "nftables table" in shown


def test_too_short_a_period_is_refused(tmp_path: Path):
    """Status 3, and what to give."""
    done = subprocess.run(
        netledger("watch", "--period", "0", "--state", tmp_path),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "too short; give 0.1 or more" in done.stderr
