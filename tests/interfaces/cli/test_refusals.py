"""What the command line says when something is refused, and with which status it ends."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from netledger.ledger.state import StateDirectory

ROOT = Path(__file__).parents[3]

CREATE = "network create n"
REFUSED = [
    (f"{CREATE} --driver token-ring", 3, "create network 'n': unknown driver 'token-ring'; known: bridge"),
    (f"{CREATE} --subnet 10.0.0.0/33", 3, "subnet '10.0.0.0/33': not a CIDR block"),
    (f"{CREATE} --subnet 10.0.0.0", 3, "subnet '10.0.0.0': no prefix length; write it like 10.0.0.0/24"),
    (f"{CREATE} --subnet 10.0.0.5/24", 3, "it has host bits set; did you mean 10.0.0.0/24?"),
    (f"{CREATE} --subnet 127.0.0.0/24", 3, "holds loopback addresses"),
    (f"{CREATE} --subnet 10.0.0.0/24 --gateway 10.0.1.1", 3, "gateway 10.0.1.1 is outside its subnet 10.0.0.0/24"),
    (f"{CREATE} --subnet 10.0.0.0/24 --no-ipv4 --ipv6", 3, "IPv4 is turned off"),
    (f"{CREATE} --no-ipv4", 3, "neither IPv4 nor IPv6"),
    (f"{CREATE} --allocation random", 3, "allocation 'random': unknown; known: next, lowest"),
    (f"{CREATE} --opt mtu=9000", 3, "unknown option 'mtu'; known: com.docker.network."),
    (f"{CREATE} --opt mtu", 3, "--opt 'mtu': not KEY=VALUE; write it like --opt"),
    (f"{CREATE} --label a=1 --label a=2", 3, "--label 'a=2': a was given before, as '1'"),
    (f"{CREATE} --id 123", 3, "network id '123': not 64 lower-case hex digits"),
    (f"{CREATE} --dataplane windows", 3, "dataplane 'windows': unknown; known: linux, simulated, none"),
    ("network create -- -n", 3, "network name '-n'"),
    ("network create taken", 5, "network with name taken already exists"),
    (f"{CREATE} --subnet 10.9.0.0/16", 5, "10.9.0.0/16 overlaps 10.9.8.0/30 of network taken (position 2)"),
    ("network inspect nowhere", 4, "network 'nowhere': there is none of that name, id or id prefix"),
    ("endpoint create nowhere e", 4, "network 'nowhere': there is none"),
    ("endpoint create taken e --ip ten", 3, "address 'ten': not an IPv4 or IPv6 address"),
    ("endpoint create taken e --ip 10.0.0.1", 3, "address 10.0.0.1 is in none of this network's subnets"),
    ("endpoint create taken e --mac 03:00:00:00:00:01", 3, "a multicast or zero address"),
    ("endpoint create taken e -p 80/icmp", 3, "unknown protocol 'icmp'"),
    ("endpoint create taken e -p 0", 3, "'0' is not a port from 1 to 65535"),
    ("endpoint inspect taken/e", 4, "network taken has no endpoint e"),
    ("endpoint leave e", 4, "endpoint 'e': there is none"),
    ("sandbox create c --kind rented", 3, "sandbox kind 'rented': unknown; known: managed, attached, delegated"),
    ("sandbox create c --kind attached --path /nowhere", 3, "there is no network namespace at '/nowhere'"),
    ("sandbox rm c", 4, "sandbox 'c': there is none"),
    ("log show --type Nothing", 3, "event type 'Nothing': unknown; known: AddressAllocated"),
    ("log show --limit -1", 3, "--limit -1: less than nothing"),
    (
        "rebuild --dataplane none",
        9,
        "compare the host with the log: the dataplane is `none`: there is no kernel to look at",
    ),
    ("drift --dataplane none", 9, "compare the host with the log: the dataplane is `none`: there is no kernel"),
    ("watch --dataplane none", 9, "watch the host: the dataplane is `none`: there is no kernel to look at"),
    (
        "reach foo host",
        4,
        "reach from 'foo': there is no container or sandbox of that name or id; name `host`, `outside`",
    ),
    ("reach host bar", 4, "reach 'bar': there is no container or sandbox of that name or id; name an address, `host`,"),
    (
        "ipam explain banana",
        4,
        "explain 'banana': it is no address, and no subnet of a pool, network or pool's id",
    ),
    ("who", 3, "ask who held something: nothing is named; name an address, or one of --mac, --port and --name"),
    ("who 10.0.0.1 --name x", 3, "ask who held something: 2 things are named; name an address"),
    ("repair --plan 0123456789abcdef", 5, "apply plan 0123456789abcdef: it would be plan"),
]


@pytest.mark.parametrize(("line", "status", "message"), REFUSED)
def test_a_refusal_is_one_line_and_changes_nothing(made, cli, line: str, status: int, message: str) -> None:
    """With its status, on stderr, as text and as JSON; the log is as it was."""
    made("network create taken --subnet 10.9.8.0/30")
    before = made("log verify").out
    answer = cli(line)
    assert answer.status == status, answer
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    command, separator, rest = line.partition(" -- ")
    error = cli(f"{command} --json{separator}{rest}").error
    assert error["status"] == status
    assert message in error["message"]
    assert error["asked"]
    assert error["because"]
    assert made("log verify").out == before


def test_a_pool_that_is_exhausted(made, cli) -> None:
    """A /30 has room for the gateway and one endpoint."""
    made("network create tiny --subnet 10.0.0.0/30")
    made("endpoint create tiny one")
    answer = cli("endpoint create tiny two")
    assert answer.status == 7
    assert "no free IPv4 address in 10.0.0.0/30; see `netledger ipam inspect`" in answer.err


def test_a_port_that_is_ours_already_names_its_position(made, cli) -> None:
    """Which endpoint publishes it, and the event that bound it."""
    made("network create n")
    made("endpoint create n web -p 8080:80")
    (bound,) = made("log", "show", "--type", "PortBound", "--json").out.splitlines()
    position = int(bound.split(",")[0].removeprefix('{"position": '))
    answer = cli("endpoint create n other -p 192.0.2.1:8080:80")
    assert answer.status == 5
    assert f"port 192.0.2.1:8080/tcp is published by endpoint web (position {position}); choose another" in answer.err
    assert cli("endpoint create n other -p 8080:80 --json").error["position"] == position


def test_an_id_prefix_that_several_have_is_ambiguous(made, cli) -> None:
    """Both are named; with one more digit it is found."""
    made(f"network create one --id aaaa{'0' * 60}")
    made(f"network create two --id aaab{'0' * 60}")
    answer = cli("network inspect aaa")
    assert answer.status == 3
    assert "network 'aaa': it is ambiguous: 2 match (aaaa00000000, aaab00000000); give more of the id" in answer.err
    assert made("network inspect aaab --json").json["name"] == "two"


def test_nothing_is_read_or_rebuilt_where_there_is_nothing(cli, state: Path) -> None:
    """Reading, looking and mending make no state directory."""
    for line in ("network ls", "log show", "log verify", "plan", "drift", "rebuild", "repair"):
        answer = cli(line)
        assert answer.status == 4
        assert f"open {state}: there is no ledger in it; create a network first, or give --state" in answer.err
        assert not state.exists()


def test_somebody_else_s_directory_is_not_taken_over(cli, state: Path) -> None:
    """It says what is in it."""
    state.mkdir()
    (state / "photos").touch()
    answer = cli("network create n")
    assert answer.status == 34
    assert "it has no ledger.db, but it is not empty (photos); name an empty or a new directory" in answer.err
    (state / "ledger.db").write_text("a diary, not a database, of more than a hundred characters. " * 3)
    for line in ("network create n", "network ls", "log show"):
        answer = cli(line)
        assert answer.status == 34
        assert "it is not a ledger, nor any other SQLite file" in answer.err
    assert cli("network ls --json").error["kind"] == "ledger foreign"


def test_a_log_of_a_newer_netledger_is_left_alone(made, cli, state: Path) -> None:
    """It says which version it has and which this netledger knows."""
    made("network create n")
    with closing(sqlite3.connect(state / "ledger.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for line in ("network create m", "network ls", "log verify"):
        answer = cli(line)
        assert answer.status == 33
        assert "its schema has version 99, this netledger knows 1; use the netledger that wrote it" in answer.err


def test_an_altered_event_is_found_by_verify(made, cli, state: Path) -> None:
    """Its position is the first that does not fit."""
    made("network create n")
    made("network create m")
    with closing(sqlite3.connect(state / "ledger.db")) as connection:
        connection.execute("UPDATE events SET data = CAST(data || x'00' AS BLOB) WHERE position = 3")
        connection.commit()
    answer = cli("log verify")
    assert answer.status == 31
    assert answer.out.startswith("2 events are whole; the hash of the last of them is ")
    assert "position 3 is the first that does not fit: its hash does not follow from its content" in answer.err
    as_json = cli("verify --json")
    assert as_json.json["bad_position"] == as_json.error["position"] == 3


def test_a_damaged_log_shows_what_is_whole_and_takes_nothing(made, cli, state: Path) -> None:
    """Reading prints the whole part and ends with status 31; a change is refused; the file is as it was."""
    made("network create n")
    made("network create m")
    path = state / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET chain = zeroblob(32) WHERE position = (SELECT max(position) FROM events)")
        connection.commit()
    before = path.read_bytes()
    listed = cli("network ls")
    assert listed.status == 31
    assert [row.split()[1] for row in listed.out.splitlines()] == ["NAME", "n"]
    assert "the log is damaged" in listed.err
    assert "position 7 is the first that does not fit" in listed.err
    assert len(cli("log show").out.splitlines()) == 6
    assert cli("log show").status == 31
    for line in ("network create x", "rebuild", "repair"):
        answer = cli(line)
        assert answer.status == 31
        assert "restore a backup" in answer.err
    assert cli("doctor").status == 9
    assert path.read_bytes() == before


def test_a_locked_state_directory_says_who_holds_it(made, cli, state: Path) -> None:
    """A change waits and gives up; reading and looking go on."""
    made("network create n")
    with StateDirectory.open(state).lock(0, "serve the tests"):
        answer = cli("network create m --wait 0.05")
        assert answer.status == 35
        assert f"process {os.getpid()} (" in answer.err
        assert "owns this host's dataplane since " in answer.err
        assert "(serve the tests); wait for it, or stop it" in answer.err
        assert cli("rebuild --wait 0 --json").error["kind"] == "ledger busy"
        made("network ls")
        assert cli("plan").status == 40
        found = {finding["name"]: finding for finding in made("doctor --json").json["findings"]}
        assert found["lock"]["state"] == "note"
        assert "(serve the tests)" in found["lock"]["found"]
    made("network create m")


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root, and setpriv is not there")
def test_a_directory_that_is_not_ours_to_write(made, state: Path) -> None:
    """No traceback: which file, that it is not permitted, and what to do. As root, without root's rights on files."""
    made("network create n")
    for path in (*state.iterdir(), state):
        path.chmod(0o500)
    drop = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    prefix = ["setpriv", *drop] if os.geteuid() == 0 else []
    command = [*prefix, sys.executable, "-m", "netledger", "network", "create", "m"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    state.chmod(0o700)
    assert done.returncode == 8, done.stderr
    assert done.stderr.startswith(f"error: lock {state / 'lock'}")
    assert "Permission denied; run it as root, or as the user that the state directory belongs to" in done.stderr
    assert done.stderr.count("\n") == 1
