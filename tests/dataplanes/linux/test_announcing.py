"""The frames that announce an address, against the RFCs' layouts, and when they are due."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.dataplanes.contract import Place
from netledger.dataplanes.linux import announcing
from netledger.dataplanes.linux.announcing import Announcer, frame
from netledger.domain.objects import Announcement
from netledger.domain.values import SandboxKind

macs = st.binary(min_size=6, max_size=6)


@given(macs, st.binary(min_size=4, max_size=4))
def test_an_arp_request(mac, address):
    """A broadcast that asks for its own address (RFC 826, RFC 5944 4.6)."""
    data = frame(mac, address)
    assert data[:14] == b"\xff" * 6 + mac + b"\x08\x06"
    assert struct.unpack("!HHBBH", data[14:22]) == (1, 0x0800, 6, 4, 1)
    assert (data[22:28], data[28:32], data[32:38], data[38:]) == (mac, address, bytes(6), address)


@given(macs, st.binary(min_size=16, max_size=16))
def test_a_neighbour_advertisement(mac, address):
    """To all nodes, unsolicited and overriding, hop limit 255, its checksum right (RFC 4861 4.4, RFC 4443 2.3)."""
    data = frame(mac, address)
    everybody = ipaddress.ip_address("ff02::1").packed
    assert data[:14] == b"\x33\x33\0\0\0\x01" + mac + b"\x86\xdd"
    version, size, following, hops = struct.unpack("!IHBB", data[14:22])
    assert (version >> 28, size, following, hops) == (6, len(data) - 54, 58, 255)
    assert (data[22:38], data[38:54]) == (address, everybody)
    message = data[54:]
    assert (message[0], message[1], message[4:8]) == (136, 0, b"\x20\0\0\0")
    assert (message[8:24], message[24:26], message[26:]) == (address, b"\x02\x01", mac)
    whole = address + everybody + struct.pack("!II", len(message), 58) + message
    total = sum(int.from_bytes(whole[i : i + 2], "big") for i in range(0, len(whole), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


class Clock:
    """A worker and its clock: what was put off is done when the test says that its time has come."""

    def __init__(self):
        self.now = 100.0
        self.due = None

    def monotonic(self):
        """Tell the time."""
        return self.now

    def later(self, name, seconds, work):
        """Put something off."""
        assert name == "announce"
        self.due = (self.now + seconds, work)

    def run(self):
        """Let the time come for what was put off, and do it."""
        (self.now, work), self.due = self.due, None
        work()


def test_count_and_interval(monkeypatch):
    """Each is announced as often as asked for, its interval apart, until its interface is gone; others do not mind."""
    clock, said, gone = Clock(), [], set()
    monkeypatch.setattr(announcing.time, "monotonic", clock.monotonic)

    def announce(_, place, device):
        said.append((round(clock.now - announcing.QUIET_SECONDS, 2), place.path, device))
        if device == "broken":
            raise OSError(1, "no")
        return device not in gone

    monkeypatch.setattr(announcing, "announce", announce)
    announcer = Announcer(clock)
    for device, count, interval in (("eth0", 3, 200), ("gone", 3, 100), ("broken", 3, 100), ("eth1", 1, 100)):
        announcer.add(None, Place(SandboxKind.MANAGED, "p"), Announcement("s", device, count, interval))
    gone.add("gone")
    while clock.due is not None:
        clock.run()
    assert [device for _, _, device in said].count("eth0") == 3
    assert [at for at, _, device in said if device == "eth0"] == [100.0, 100.2, 100.4]
    assert [device for at, _, device in said if device != "eth0"] == ["gone", "broken", "eth1"]


def test_many_are_said_in_parts(monkeypatch):
    """Between parts the worker looks for other jobs."""
    clock, said = Clock(), []
    monkeypatch.setattr(announcing.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(announcing, "announce", lambda *_: said.append(1) or True)
    announcer = Announcer(clock)
    for number in range(announcing.AT_ONCE + 1):
        announcer.add(None, Place(SandboxKind.MANAGED, "p"), Announcement("s", f"eth{number}", 1, 100))
    clock.run()
    assert len(said) == announcing.AT_ONCE
    clock.run()
    assert len(said) == announcing.AT_ONCE + 1
    assert clock.due is None


def test_who_goes_on_goes_first(monkeypatch):
    """Each job puts off what is to be announced, until it has waited long enough; then it comes between two jobs."""
    clock, said = Clock(), []
    monkeypatch.setattr(announcing.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(announcing, "announce", lambda *_: said.append(clock.now) or True)
    announcer = Announcer(clock)
    announcer.add(None, Place(SandboxKind.MANAGED, "p"), Announcement("s", "eth0", 1, 100))
    waits = []
    for _ in range(100):
        clock.now += 0.8 * announcing.QUIET_SECONDS
        announcer.make_way(None)
        waits.append(clock.due[0] - clock.now)
    assert waits[0] == pytest.approx(announcing.QUIET_SECONDS)
    assert waits[-1] == 0
    late = 0.8 * announcing.QUIET_SECONDS * (1 + waits.index(0))
    assert announcing.PATIENCE_SECONDS <= late < announcing.PATIENCE_SECONDS + announcing.QUIET_SECONDS
    clock.run()
    assert len(said) == 1
    assert clock.due is None


def test_the_end_comes_soon(monkeypatch):
    """What was never announced is, at most so many; what was announced once is given up, and so is the rest."""
    clock, said = Clock(), []
    monkeypatch.setattr(announcing.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(announcing, "announce", lambda _, __, device: said.append(device) or True)
    announcer = Announcer(clock)
    announcer.add(None, Place(SandboxKind.MANAGED, "p"), Announcement("s", "old", 3, 100))
    clock.run()
    new = [f"eth{number}" for number in range(announcing.AT_CLOSE + 5)]
    for device in new:
        announcer.add(None, Place(SandboxKind.MANAGED, "p"), Announcement("s", device, 3, 100))
    announcer.finish(None)
    assert said == ["old", *new[: announcing.AT_CLOSE]]
    announcer.finish(None)
    assert len(said) == 1 + announcing.AT_CLOSE
