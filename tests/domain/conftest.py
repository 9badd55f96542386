"""What the rules' tests share: a desk."""

from __future__ import annotations

import pytest

from tests.desk import Desk


@pytest.fixture
def desk() -> Desk:
    """Give a desk with nothing on it."""
    return Desk()
