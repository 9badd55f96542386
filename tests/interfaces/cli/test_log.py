"""`netledger log`: the events as people and as programs read them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from netledger.domain.events import EndpointCreated, Recorded, SandboxCreated
from netledger.domain.facts import NamespaceIdentity
from netledger.interfaces.cli.records import as_json, one_line, time_text


@pytest.fixture
def history(made) -> list[dict]:
    """Make a short history and give its events as JSON shows them."""
    made("network create n --subnet 10.0.0.0/24 --reason because")
    made("endpoint create n web -p 8080:80/udp --mac 02:42:00:00:00:01")
    return [json.loads(text) for text in made("log show --json").out.splitlines()]


def test_json_leaves_nothing_out(history: list[dict]) -> None:
    """Positions without a gap; origin, fields and tags; addresses, MACs and blocks as text."""
    assert [event["position"] for event in history] == list(range(1, 8))
    by_type = {event["type"]: event for event in history}
    network = by_type["NetworkCreated"]
    assert network["reason"] == "because"
    assert set(network) == {
        *("position", "type", "version", "time", "at", "actor", "request", "reason", "host", "fields", "tags")
    }
    assert network["fields"]["pools"][0]["subnet"] == "10.0.0.0/24"
    assert network["fields"]["pools"][0]["gateway"] == "10.0.0.1"
    assert f"network:{network['fields']['network']}" in network["tags"]
    endpoint = by_type["EndpointCreated"]["fields"]
    assert endpoint["mac"] == "02:42:00:00:00:01"
    assert endpoint["addresses"][0]["address"] == "10.0.0.2"
    assert by_type["PortBound"]["fields"]["host_address"] == "0.0.0.0"
    assert by_type["AddressAllocated"]["fields"]["owner"] == ["endpoint", endpoint["endpoint"]]


def test_a_line_for_people_has_short_ids_and_no_empty_fields(history: list[dict], made) -> None:
    """Position, time in UTC, actor, type, fields, reason."""
    lines = made("log show").out.splitlines()
    assert len(lines) == 7
    identity = history[3]["fields"]["network"]
    assert re.match(r" +4  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  \S+ +NetworkCreated ", lines[3])
    assert f" network={identity[:12]} " in lines[3]
    assert identity not in lines[3]
    assert " scope=local " in lines[3]
    assert "pools=[10.0.0.0/24 via 10.0.0.1]" in lines[3]
    assert lines[3].endswith("  # because")
    assert "labels" not in lines[3]
    assert "protocol=udp host_address=0.0.0.0 host_port=8080 address=10.0.0.2 port=80" in lines[6]
    assert f"owner=network/{identity[:12]}" in lines[2]
    assert "pool=10.0.0.0/24 address=10.0.0.1" in lines[2]


def test_what_is_shown_can_be_chosen(history: list[dict], made) -> None:
    """After a position, by all of the tags, by any of the types, at most so many."""

    def positions(options: str) -> list[int]:
        return [json.loads(text)["position"] for text in made(f"log show --json {options}").out.splitlines()]

    identity = history[3]["fields"]["network"]
    assert positions("--after 5") == [6, 7]
    assert positions("--limit 2") == [1, 2]
    assert positions(f"--tag network:{identity} --tag ip:10.0.0.1") == [3]
    assert positions("--tag ip:10.0.0.2") == [5]
    assert positions("--type NetworkCreated --type PortBound") == [4, 7]
    assert positions("--type NetworkCreated --after 4") == []


def test_tail_prints_the_last(history: list[dict], made) -> None:
    """Ten, or as many as asked for, or as many as there are."""
    assert len(made("log tail").out.splitlines()) == 7
    assert [json.loads(text)["position"] for text in made("log tail -n 2 --json").out.splitlines()] == [6, 7]
    assert made("log tail -n 0").out == ""


def test_verify_and_stat_agree(history: list[dict], made) -> None:
    """The number of events and the hash of the last."""
    stat = made("log stat --json").json
    assert stat["head"] == sum(stat["events"].values()) == 7
    assert made("log verify").out == f"7 events are whole; head hash {stat['head_hash']}\n"
    found = made("verify --json").json
    assert (found["whole_events"], found["problem"]) == (7, None)
    text = made("log stat").out
    assert f"head hash       {stat['head_hash']}\n" in text
    assert "AddressAllocated=2\n" in text


def test_a_backup_is_a_state_of_its_own(history: list[dict], made, cli, tmp_path: Path) -> None:
    """It verifies with the same hash; an existing file is not overwritten."""
    copy = tmp_path / "copy"
    copy.mkdir()
    head = made("log verify").out
    assert made(f"log backup {copy / 'ledger.db'}").out == f"{copy / 'ledger.db'}\n"
    assert made(f"log verify --state {copy}").out == head
    again = cli(f"log backup {copy / 'ledger.db'}")
    assert again.status == 30
    assert "is there already; name another file" in again.err
    assert made(f"log backup {tmp_path / 'other.db'} --json").json["head"] == 7


def test_a_backup_is_restored(history: list[dict], made, cli, tmp_path: Path) -> None:
    """Into a directory without a ledger: as it was, with what to do next; it can be gone on with."""
    file, fresh = tmp_path / "backup.db", tmp_path / "fresh"
    made(f"log backup {file}")
    restored = cli(f"log restore {file} --state {fresh}")
    assert restored.status == 0
    hash_ = made("log verify --json").json["head_hash"]
    assert restored.out == f"{fresh / 'ledger.db'}: 7 events are whole; head hash {hash_}\n"
    assert restored.err == "the kernel is as it was; see `netledger plan`, then `netledger rebuild`\n"
    assert made(f"log show --json --state {fresh}").out == made("log show --json").out
    assert made(f"log restore {file} --state {tmp_path / 'other'} --json").json == {
        "path": str(tmp_path / "other" / "ledger.db"),
        "head": 7,
        "head_hash": hash_,
    }
    made(f"network create more --state {fresh}")
    before = (fresh / "ledger.db").read_bytes()
    again = cli(f"log restore {file} --state {fresh}")
    assert again.status == 5
    assert again.err == (
        f"error: restore {file} to {fresh}: there is a ledger in it; "
        "name another directory, or move the whole of that one away first\n"
    )
    assert (fresh / "ledger.db").read_bytes() == before


def test_what_is_not_restored(history: list[dict], made, cli, tmp_path: Path) -> None:
    """No file, no ledger, one that was altered, and into somebody else's directory: nothing is left there."""
    file, fresh = tmp_path / "backup.db", tmp_path / "fresh"
    made(f"log backup {file}")
    assert cli(f"log restore {tmp_path / 'nothing.db'} --state {fresh}").status == 4
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE events SET chain = zeroblob(32) WHERE position = 3")
        connection.commit()
    answer = cli(f"log restore {file} --state {fresh}")
    assert answer.status == 31
    assert f"restore {file} to {fresh}: position 3 is the first that does not fit: " in answer.err
    file.write_text("no ledger")
    assert cli(f"log restore {file} --state {fresh}").status in {31, 34}
    assert not fresh.exists()
    good, theirs = tmp_path / "good.db", tmp_path / "theirs"
    made(f"log backup {good}")
    theirs.mkdir()
    (theirs / "letter").touch()
    assert cli(f"log restore {good} --state {theirs}").status == 34
    assert [path.name for path in theirs.iterdir()] == ["letter"]


def test_what_a_line_makes_of_rare_values() -> None:
    """Nested values, IPv6, flags, odd times."""
    identity = NamespaceIdentity("boot", 7)
    sandbox = SandboxCreated(0, "a", "r/0#", "", "h", "1" * 64, "c", "attached", "/a b", identity, "", "", {"k": "v"})
    line = one_line(Recorded(1, sandbox))
    assert "sandbox=111111111111 container=c kind=attached path='/a b' identity={boot=boot, cookie=7}" in line
    assert "labels={k=v}" in line
    assert as_json(Recorded(1, sandbox))["fields"]["identity"] == {"boot": "boot", "cookie": 7}
    endpoint = EndpointCreated(0, "a", "r/0#", "", "h", "e", "n", "name", b"\2\x42\0\0\0\1", (), {})
    assert "mac=02:42:00:00:00:01" in one_line(Recorded(1, endpoint))
    assert time_text(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z"
    assert time_text(10**30) == f"{10**30} ns"
