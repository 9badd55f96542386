"""Twins: see `twins.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .prober import Prober
from .twins import Twins


@pytest.fixture
def prober() -> Iterator[Prober]:
    """Give what sends real packets."""
    made = Prober()
    yield made
    made.close()


@pytest.fixture
def twins(prober: Prober) -> Iterator[Twins]:
    """Give a real and a simulated host."""
    made = Twins(prober)
    yield made
    made.close()
