"""`netledger tour`: what it takes for a reason not to show the kernel."""

from __future__ import annotations

import pytest

from netledger.domain.facts import FEATURES
from netledger.interfaces.cli.tour import why_not_shown

USED = {"namespace", "bridge", "veth", "firewall", "address marks", "ipv6", "published ports"}


@pytest.mark.parametrize("feature", sorted(USED))
def test_what_the_tour_uses_is_a_reason(feature: str) -> None:
    """With what the kernel said."""
    assert why_not_shown({feature: "the kernel answers EPERM"}) == "the kernel answers EPERM"


def test_what_it_does_not_use_is_none() -> None:
    """No kernel has IPv6 loopback access, and few have every module."""
    assert why_not_shown(dict.fromkeys(set(FEATURES) - USED, "no")) is None


def test_a_reason_is_told_once() -> None:
    """As when nothing is permitted."""
    assert why_not_shown(dict.fromkeys(FEATURES, "not permitted")) == "not permitted"
