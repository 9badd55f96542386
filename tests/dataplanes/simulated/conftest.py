from __future__ import annotations

import pytest

from .lab import Lab


@pytest.fixture
def lab() -> Lab:
    """Give one host, and what tests put together on it."""
    return Lab()


@pytest.fixture
def pair() -> Lab:
    """Give two hosts."""
    return Lab(2)
