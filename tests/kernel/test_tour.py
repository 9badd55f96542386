"""`netledger tour`, which is what `make run` shows: every check of it holds on a real kernel."""

from __future__ import annotations

import re
import subprocess
import sys


def test_every_check_of_the_tour_holds():
    """It ends well, and has shown the kernel and not the simulator alone."""
    tour = [sys.executable, "-m", "netledger", "tour"]
    done = subprocess.run(tour, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILS" not in done.stdout
    held = re.search(r"(\d+) checks held", done.stdout)
    assert held is not None
    assert int(held[1]) >= 18
