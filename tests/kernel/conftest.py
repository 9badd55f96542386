"""Fixtures for tests on a real kernel. They run in private namespaces: see tests/conftest.py."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


@pytest.fixture
def host() -> Iterator[Path]:
    """Give the path of a fresh network namespace, to be the host of one test: empty but for its loopback, which is up.

    `ip -n host.name` and `ip netns exec host.name` reach it.
    """
    name = f"host{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=30)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=30)
