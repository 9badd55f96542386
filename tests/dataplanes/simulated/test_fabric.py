"""Hosts on one underlay: the addresses that they have there, and who finds them."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated.fabric import CARD, Fabric
from netledger.dataplanes.simulated.packets import Spot, Verdict
from netledger.domain.values import format_address, parse_address

FURTHER = ("192.0.2.5", "2001:db8::5")


@pytest.fixture
def fabric():
    """Give two hosts with further addresses of the first, one host older than those and one newer."""
    made = Fabric()
    made.add_host("old")
    made.add_host("mine").own.listeners = None
    made.give("mine", map(parse_address, FURTHER))
    made.add_outside("new")
    return made


@pytest.mark.parametrize("address", FURTHER)
def test_a_further_address_is_found_by_everybody(fabric, address):
    """Also by those who came later, and by the host itself; it answers there."""
    for source in ("old", "mine", "new"):
        asked = fabric.reach(Spot(source), address, "tcp", 80)
        assert asked.is_reached, str(asked)
        assert asked.at == Spot("mine")


def test_the_underlays_address_stays_the_first(fabric):
    """What leaves the host leaves as that one."""
    first = [format_address(address) for address, _ in fabric.hosts["mine"].own.devices[CARD].addresses]
    assert first == ["198.18.0.2", "2001:db8:ffff::2", *FURTHER]
    assert format_address(fabric.reach(Spot("mine"), "198.18.0.3").seen_from) == "198.18.0.2"


def test_an_address_that_somebody_has_is_left_with_them(fabric):
    """Another host's further address, one of the underlay, one of the host's own."""
    fabric.give("old", map(parse_address, ("192.0.2.5", "198.18.0.3", "198.18.0.1")))
    assert fabric.reach(Spot("new"), "192.0.2.5").at == Spot("mine")
    assert len(fabric.hosts["old"].own.devices[CARD].addresses) == 2


def test_an_address_that_nobody_was_given_is_not_found(fabric):
    """There is no way there."""
    assert fabric.reach(Spot("new"), "192.0.2.6").verdict is Verdict.NO_ROUTE
