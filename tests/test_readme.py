"""The README's example, run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def example():
    """Return the README's Python."""
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def run(code, folder):
    """Run Python in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_example_runs_on_the_simulator(tmp_path):
    """The example prints what the README says."""
    simulated = example().replace('dataplane="linux"', 'dataplane="simulated"')
    assert run(simulated, tmp_path) == "{'80/tcp': ('0.0.0.0:8080',)}"


@pytest.mark.kernel
def test_the_example_runs_on_the_kernel(tmp_path):
    """The example, to the letter, on a kernel."""
    assert run(example(), tmp_path) == "{'80/tcp': ('0.0.0.0:8080',)}"
