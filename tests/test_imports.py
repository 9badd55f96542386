import subprocess
import sys

import pytest


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after the statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["cyclopts", "eventsourcing", "iptc", "nftables", "pyroute2", "rich"])
def test_the_face_loads_nothing_heavy(module: str):
    """`import netledger` is quick and works without a kernel: what only some users need is loaded when it is used."""
    loaded = loaded_after("import netledger")
    assert "netledger" in loaded
    assert module not in loaded


def test_the_probe_sees_what_is_loaded():
    """The check above can fail: an import that happens is seen."""
    assert "rich" in loaded_after("import netledger, rich")
