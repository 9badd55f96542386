"""The examples that need a kernel, run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_small_runtime_serves_and_cleans_up():
    """The small runtime's client reaches its server by a real packet; the next one clears what the first left."""
    inside = ["unshare", "--net", "--", sys.executable, EXAMPLES / "small_runtime.py"]
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "the server answers 200" in done.stdout
    assert "web has 10.20.0.2, client has 10.20.0.3; the client exits with 0" in done.stdout
    assert "cleaned up: web client" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["26", "SandboxDeleted", "stop", "client"]
