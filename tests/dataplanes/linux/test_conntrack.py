"""Which tracked connections are against what a published port is now."""

from __future__ import annotations

import pytest

from netledger.dataplanes.linux.firewall.conntrack import UDP, Entry, is_loopback, is_stale
from netledger.domain.objects import PortForward
from netledger.domain.values import parse_address

HOST, EXTRA, WEB, OTHER, ELSEWHERE = map(
    parse_address, ("198.51.100.1", "198.51.100.7", "10.5.0.2", "10.5.0.3", "203.0.113.9")
)
EVERYWHERE = PortForward(UDP, bytes(4), 9000, WEB, 53)
AT_EXTRA = PortForward(UDP, EXTRA, 9000, WEB, 53)


def entry(destination, port, answering, answering_port):
    """Make up what is tracked."""
    return Entry(destination, port, answering, answering_port, b"key")


@pytest.mark.parametrize(
    ("tracked", "forward", "when_come", "when_gone"),
    [
        (entry(HOST, 9000, HOST, 9000), EVERYWHERE, True, False),  # the host itself answered
        (entry(HOST, 9000, WEB, 53), EVERYWHERE, False, True),  # as it should be
        (entry(HOST, 9000, OTHER, 53), EVERYWHERE, True, False),  # another endpoint had the port
        (entry(HOST, 9000, WEB, 54), EVERYWHERE, True, False),  # it led to another port
        (entry(HOST, 53, HOST, 53), EVERYWHERE, False, False),  # the endpoint's port, not the host's (moby#53384)
        (entry(ELSEWHERE, 9000, ELSEWHERE, 9000), EVERYWHERE, False, False),  # somebody else's port of that number
        (entry(EXTRA, 9000, EXTRA, 9000), AT_EXTRA, True, False),
        (entry(HOST, 9000, HOST, 9000), AT_EXTRA, False, False),  # another address of the host
        (entry(EXTRA, 9000, WEB, 53), AT_EXTRA, False, True),
    ],
)
def test_what_is_stale(tracked, forward, when_come, when_gone):
    """By the host's port and address when a port comes; by where it leads when it goes."""
    addresses = {HOST, EXTRA}
    assert is_stale(tracked, forward, addresses.__contains__, has_come=True) is when_come
    assert is_stale(tracked, forward, addresses.__contains__, has_come=False) is when_gone


def test_loopback_addresses():
    """Every host has them."""
    assert is_loopback(parse_address("127.3.2.1"))
    assert is_loopback(parse_address("::1"))
    assert not is_loopback(HOST)
    assert not is_loopback(parse_address("::2"))
