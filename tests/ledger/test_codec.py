"""Typed events to bytes and back, across versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from netledger.domain.errors import LedgerError, LedgerNewer
from netledger.domain.events import EVENT_TYPES, AliasAdded, Event, NetworkCreated, NetworkPool
from netledger.domain.values import Subnet
from netledger.ledger.audit import read_generic
from netledger.ledger.codec import UPCASTERS, Codec
from netledger.ledger.ledger import Ledger

ORIGIN = (1, "tester", "r1/0#00", "test", "h1")


def versions() -> tuple[type[Event], type[Event], type[Event], type[Event]]:
    """Make the versions of one event: a second with a new optional field, then two that changed what was there."""

    def first() -> type[Event]:
        class PortMoved(Event, frozen=True):
            where: str

        return PortMoved

    def longer() -> type[Event]:
        class PortMoved(Event, frozen=True):
            where: str
            note: str = "none"

        return PortMoved

    def second() -> type[Event]:
        class PortMoved(Event, frozen=True):
            VERSION: ClassVar[int] = 2
            host_address: bytes
            port: int
            note: str = "none"

        return PortMoved

    def third() -> type[Event]:
        class PortMoved(Event, frozen=True):
            VERSION: ClassVar[int] = 3
            host_address: bytes
            port: int
            protocol: int
            note: str = "none"

        return PortMoved

    return first(), longer(), second(), third()


def to_second(fields: list[object]) -> list[object]:
    """Split `where` into address and port."""
    *origin, where = fields[:6]
    address, port = str(where).split(":")
    return [*origin, bytes(map(int, address.split("."))), int(port), *fields[6:]]


def to_third(fields: list[object]) -> list[object]:
    """Every port was a TCP port."""
    return [*fields[:7], 6, *fields[7:]]


LIFTS = {("PortMoved", 1): to_second, ("PortMoved", 2): to_third}


def test_every_version_is_read_for_ever(path: Path) -> None:
    """Events of older versions are lifted, step by step; each is described in the log as it was written."""
    first, longer, second, third = versions()
    written = [
        (first, first(*ORIGIN, "10.0.0.1:80")),
        (longer, longer(*ORIGIN, "10.0.0.2:81", "moved")),
        (second, second(*ORIGIN, b"\x0a\x00\x00\x03", 82)),
        (third, third(*ORIGIN, b"\x0a\x00\x00\x04", 83, 17)),
        (third, third(*ORIGIN, b"\x0a\x00\x00\x05", 84, 17)),
    ]
    for kind, event in written:
        with Ledger.open(path, codec=Codec({"PortMoved": kind}, LIFTS)) as ledger:
            ledger.append([event], (), ledger.head)
    with Ledger.open(path, codec=Codec({"PortMoved": third}, LIFTS)) as ledger:
        read = [recorded.event for recorded in ledger.read(types=[third])]
        assert read == [
            third(*ORIGIN, b"\x0a\x00\x00\x01", 80, 6),
            third(*ORIGIN, b"\x0a\x00\x00\x02", 81, 6, "moved"),
            third(*ORIGIN, b"\x0a\x00\x00\x03", 82, 6),
            third(*ORIGIN, b"\x0a\x00\x00\x04", 83, 17),
            third(*ORIGIN, b"\x0a\x00\x00\x05", 84, 17),
        ]
        assert ledger.verify().problem is None
        assert ledger.stat().events == {"PortMoved": 5}
    described = [(event["version"], list(event["fields"])[5:]) for event in read_generic(path)]
    assert described == [
        (1, ["where"]),
        (1, ["where", "note"]),
        (2, ["host_address", "port", "note"]),
        (3, ["host_address", "port", "protocol", "note"]),
        (3, ["host_address", "port", "protocol", "note"]),
    ]


def test_a_longer_event_is_read_by_code_that_knows_fewer_fields(path: Path) -> None:
    """New optional fields at the end need no new version: older code leaves them out."""
    first, longer, *_ = versions()
    with Ledger.open(path, codec=Codec({"PortMoved": longer})) as ledger:
        ledger.append([longer(*ORIGIN, "10.0.0.2:81", "moved")], (), 0)
    with Ledger.open(path, codec=Codec({"PortMoved": first})) as ledger:
        assert [recorded.event for recorded in ledger.read()] == [first(*ORIGIN, "10.0.0.2:81")]


def test_newer_and_unknown_types_are_refused_by_name(path: Path) -> None:
    """What this code cannot read, it names; the events before it are read."""
    _, _, second, third = versions()
    with Ledger.open(path, codec=Codec({"PortMoved": third, "AliasAdded": AliasAdded})) as ledger:
        ledger.append([AliasAdded(*ORIGIN, "e1", "n1", "a"), third(*ORIGIN, b"", 83, 17)], (), 0)
    with Ledger.open(path, codec=Codec({"PortMoved": second, "AliasAdded": AliasAdded})) as ledger:
        events = ledger.read()
        assert next(events).position == 1
        with pytest.raises(LedgerNewer, match="PortMoved version 3: this netledger knows version 2"):
            next(events)
    with Ledger.open(path) as ledger, pytest.raises(LedgerNewer, match=r"PortMoved version 3: .* no such event"):
        list(ledger.read())


def test_a_missing_upcaster_is_named(path: Path) -> None:
    """A version that no step leads up from is an error that says which step."""
    first, _, _, third = versions()
    with Ledger.open(path, codec=Codec({"PortMoved": first})) as ledger:
        ledger.append([first(*ORIGIN, "10.0.0.1:80")], (), 0)
    only_the_first_step = {("PortMoved", 1): to_second}
    with (
        Ledger.open(path, codec=Codec({"PortMoved": third}, only_the_first_step)) as ledger,
        pytest.raises(LedgerError, match="no upcaster from PortMoved 2"),
    ):
        list(ledger.read())


def test_every_older_version_has_its_upcasters() -> None:
    """For each released version of each event there is a way up to today's."""
    for name, kind in EVENT_TYPES.items():
        for version in range(1, kind.VERSION):
            assert (name, version) in UPCASTERS


def test_nested_values_come_back_equal(ledger: Ledger) -> None:
    """Packed addresses, nested values, tuples and maps survive."""
    pool = NetworkPool("p1", Subnet(b"\xfd" + bytes(15), 64), b"\xfd" + bytes(14) + b"\x01")
    event = NetworkCreated(*ORIGIN, "n1", "net", "h1", "bridge", "nl0", False, (pool, pool), {"b": 1, "a": "x"}, {})
    ledger.append([event], (), 0)
    (recorded,) = ledger.read()
    assert recorded.event == event
    assert isinstance(recorded.event.pools, tuple)


def test_an_event_that_is_not_registered_is_a_bug(ledger: Ledger) -> None:
    """A class that only shares its name with an event type is not written."""
    impostor = type("AliasAdded", (Event,), {})
    with pytest.raises(AssertionError, match="AliasAdded is not one of"):
        ledger.append([impostor(*ORIGIN)], (), 0)


def test_importing_netledger_loads_no_eventsourcing(python: Callable) -> None:
    """Only an open ledger needs the library, which is slow to load."""
    script = """
        import sys
        import netledger, netledger.ledger.ledger, netledger.ledger.state
        print("eventsourcing" in sys.modules)
        netledger.ledger.ledger.Ledger.open(None)
        print("eventsourcing" in sys.modules)
    """
    assert python(script).communicate(timeout=30) == ("False\nTrue\n", "")
