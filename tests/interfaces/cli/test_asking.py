"""`netledger who`: text, JSON and CSV, windows, hostile texts, refusals, and a log that another process writes."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from netledger.domain import events as ev
from netledger.domain.values import parse_address
from netledger.interfaces.cli.tenures import CSV_COLUMNS
from netledger.ledger.ledger import Ledger
from netledger.replay.moments import NANOSECONDS

ROOT = Path(__file__).parent.parent.parent.parent

MINUTE = 60 * NANOSECONDS
TWO_O_CLOCK = 1_777_816_800 * NANOSECONDS  # 2026-05-03T14:00:00Z

WRITER = """
import sys
from netledger import Controller
with Controller.open(sys.argv[1], dataplane="none", synchronous="NORMAL") as controller:
    network = controller.create_network("n", subnets=["10.1.0.0/29"])
    print("ready", flush=True)
    while True:
        network.create_endpoint("e").delete()
"""


@pytest.fixture
def web(made):
    """Have an endpoint that was in one container, is in another, and publishes a port."""
    made("network create n --subnet 10.1.0.0/24")
    made("endpoint", "create", "n", "web", "--publish", "8080:80", "--alias", "www", "--reason", 'deploy, "soon"')
    for name in ("c1", "c2"):
        made("sandbox", "create", name)
    made("endpoint join web c1")
    made("endpoint leave web")
    made("endpoint join web c2")


def position_of(made, kind, index=0):
    """Find an event in the log."""
    lines = made("log", "show", "--type", kind).out.splitlines()
    return int(lines[index].split()[0])


def test_text_is_a_table_of_what_happened(web, made):
    """A row for each event, what was held and by whom in front of the first."""
    lines = made("who 10.1.0.2").out.splitlines()
    assert lines[0].split() == ["WHAT", "HELD", "BY", "EVENT", "POSITION", "TIME", "ACTOR", "REQUEST"]
    assert lines[1].startswith("address 10.1.0.2  endpoint n/web (")
    assert lines[1].endswith('endpoint, chosen by netledger  # deploy, "soon"')
    assert [line.split()[0] for line in lines[2:]] == ["joined", "left", "joined", "held"]
    assert "eth0 in c1 (" in lines[2]
    assert f"@{position_of(made, 'EndpointJoined')} " in lines[2]


@pytest.mark.parametrize(
    ("words", "what", "said"),
    [
        ("--port 8080/tcp", "port 0.0.0.0:8080/tcp", "for 10.1.0.2:80"),
        ("--name web", "endpoint web", "created"),
        ("--name www", "alias www", "added"),
        ("--name c2", "container c2", "web as eth0 in c2 ("),
        ("--name n", "network n", "network n ("),
        ("10.1.0.1", "address 10.1.0.1", "gateway, chosen by netledger"),
    ],
)
def test_everything_that_is_held_can_be_asked_for(web, made, words, what, said):
    """Ports, names of all kinds, gateways."""
    out = made(f"who {words}").out
    assert out.splitlines()[1].startswith(what)
    assert said in out
    assert out.splitlines()[-1].strip() == "held still"


def test_a_mac_address_can_be_asked_for(web, made):
    """As `inspect` prints it."""
    mac = made("endpoint inspect web --json").json["mac"]
    assert made(f"who --mac {mac}").out.splitlines()[1].startswith(f"mac {mac}")


def test_json_has_positions_and_times_of_everything(web, made):
    """One document with the window, whole ids and nanoseconds."""
    left = position_of(made, "EndpointLeft")
    found = made(f"who 10.1.0.2 --from @{left} --json").json
    assert found["window"]["first"] == {"position": left, "at": None, "time": None, "repeated": []}
    assert found["window"]["last"]["position"] == found["head"]
    (interval,) = found["intervals"]
    assert (interval["name"], interval["network_name"], interval["ended"]) == ("web", "n", None)
    assert interval["began"]["reason"] == 'deploy, "soon"'
    assert interval["began"]["time"].endswith("Z")
    assert isinstance(interval["began"]["at"], int)
    assert len(interval["holder"]) == 64
    assert [stay["container"] for stay in interval["presences"]] == ["c2"], "the other stay was over"


def test_csv_is_read_back_as_it_was(web, made):
    """A row for each stay in a sandbox, quoted where it must be."""
    out = made("who 10.1.0.2 --csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["container"], row["left_position"] != "") for row in rows] == [("c1", True), ("c2", False)]
    assert {row["began_reason"] for row in rows} == {'deploy, "soon"'}
    (row,) = csv.DictReader(io.StringIO(made("who 10.1.0.1 --csv").out))
    assert (row["purpose"], row["container"], row["ended_position"]) == ("gateway", "", "")
    assert made("who 10.1.0.9 --csv").out == ",".join(CSV_COLUMNS) + "\n"


def test_nobody_is_told_with_the_nearest_holders(web, made):
    """The last before and the first after, or that nobody ever did."""
    assert made("who 10.1.0.9").out == "nobody held 10.1.0.9\nnobody ever did\n"
    made("endpoint rm web --force")
    made("network create other --subnet 10.9.0.0/24")
    gone = made("log", "tail", "-n", "1", "--json").json["position"]
    made("endpoint create n db --ip 10.1.0.2")
    told = made(f"who 10.1.0.2 --at @{gone}").out.splitlines()
    assert told[:2] == [f"nobody held 10.1.0.2 after @{gone}", "the last before that:"]
    assert told[3].startswith("address 10.1.0.2  endpoint n/web")
    following = told.index("the first after that:")
    assert told[following + 2].startswith("address 10.1.0.2  endpoint n/db")
    assert "asked for" in told[following + 2]
    found = made(f"who 10.1.0.2 --at @{gone} --json").json
    assert (found["intervals"], found["before"]["name"], found["following"]["name"]) == ([], "web", "db")


@pytest.fixture
def stepped(state):
    """Have an address held from 14:00 to 14:30 by a clock that is then set back to 14:10, and again from 14:12."""
    state.mkdir(mode=0o700)

    def origin(minutes, reason=""):
        return (TWO_O_CLOCK + minutes * MINUTE, "tester", "r/0#0", reason, "h1")

    address, owner = parse_address("10.1.0.7"), ("endpoint", "e1")
    hostile = '=1+1\x1b[31m\n,"x"'
    with Ledger.open(state / "ledger.db") as ledger:
        ledger.append(
            [
                ev.AddressAllocated(*origin(0), "p1", address, owner, "endpoint", "netledger"),
                ev.HostBooted(*origin(20), "new", "old"),
                ev.AddressReleased(*origin(30), "p1", address, owner),
                ev.ClockStepped(*origin(10), back=20 * MINUTE),
                ev.AddressAllocated(*origin(12, hostile), "p1", address, ("unclaimed", "-x"), "unclaimed", "caller"),
                ev.HostBooted(*origin(40), "new", "old"),
            ],
            (),
            0,
        )


def test_a_time_that_was_twice_is_the_last_one_and_the_other_is_told(stepped, cli):
    """At 14:25 it was held in both runs of the clock: the second one counts, the first one's position is told."""
    answer = cli("who 10.1.0.7 --at 2026-05-03T14:25Z --json")
    assert answer.status == 0
    assert answer.json["window"]["first"]["position"] == 5
    assert answer.json["window"]["first"]["repeated"] == [2]
    assert [one["began"]["position"] for one in answer.json["intervals"]] == [5]
    text = cli("who 10.1.0.7 --at 2026-05-03T14:25Z")
    assert text.out.startswith("10.1.0.7 after @5 (2026-05-03T14:25:00.000Z)\n")
    said = "the clock was set back: 2026-05-03T14:25:00.000Z was at @2 too; this is about @5, where it was last\n"
    assert text.err == said
    assert cli("who 10.1.0.7 --at @2 --json").json["intervals"][0]["began"]["position"] == 1


def test_windows_are_cut_by_times_and_positions(stepped, cli):
    """What lasted in any state of the window, with its borders."""

    def held(words):
        return [one["began"]["position"] for one in cli(f"who 10.1.0.7 {words} --json").json["intervals"]]

    assert held("") == [1, 5]
    assert held("--from 2026-05-03 --to 2026-05-03T14:05Z") == [1]
    assert held("--to 2026-05-03T13:59:59Z") == []
    assert held("--from @2 --to @3") == [1]
    assert held("--from @3 --to @4") == []
    assert held("--from @4") == [5]
    assert held("--from @2") == [1, 5]


def test_hostile_texts_are_shown_and_not_obeyed(stepped, cli):
    """Neither the terminal nor a spreadsheet nor a reader of lines takes them for anything but text."""
    out = cli("who 10.1.0.7 --csv").out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3
    row = list(csv.DictReader(io.StringIO(out)))[1]
    assert row["began_reason"] == '\'=1+1\\x1b[31m\\n,"x"'
    assert row["holder"] == "'-x"
    text = cli("who 10.1.0.7").out
    assert "\x1b" not in text
    assert '# =1+1\\x1b[31m\\n,"x"' in text
    assert "unclaimed ? (-x)" in text
    assert cli("who 10.1.0.7 --json").json["intervals"][1]["began"]["reason"] == '=1+1\x1b[31m\n,"x"'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("who", "nothing is named; name an address, or one of --mac, --port and --name"),
        ("who 10.1.0.2 --name web", "2 things are named"),
        ("who 10.1.0.2 --csv --json", "leave --csv or --json out"),
        ("who 10.1.0.2 --at now --from now", "leave --at out"),
        ("who 10.1.0.2 --at 2026-05-03T14:02", "write 2026-05-03T14:02Z for UTC"),
        ("who 10.1.0.2 --at @99", "the log ends at 6"),
        ("who 10.1.0.2 --from @3 --to @2", "it ends before it begins"),
        ("who 10.1.0.2 --from 2026-05-04 --to 2026-05-03", "it ends before it begins"),
        ("who web", "not an IPv4 or IPv6 address"),
        ("who --mac web", "not six hex pairs"),
        ("who --port 80/icmp", "not a port from 1 to 65535"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(stepped, cli, words, said):
    """Status 3, and what to write instead."""
    answer = cli(words)
    assert answer.status == 3
    assert said in (answer.error["message"] if "--json" in words else answer.err)


def test_without_a_log_there_is_nothing_to_ask(cli):
    """As for every other question to a log."""
    answer = cli("who 10.1.0.2")
    assert answer.status == 4
    assert "there is no ledger in it" in answer.err


def test_it_answers_while_another_process_writes(state, cli):
    """No lock, no wait: each answer is one state of the log, however fast it grows."""
    command = [sys.executable, "-c", WRITER, str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            heads = []
            for _ in range(15):
                answer = cli("who 10.1.0.2 --json")
                assert (answer.status, answer.err) == (0, "")
                intervals = answer.json["intervals"]
                assert all(one["ended"] for one in intervals[:-1]), "one holder at a time"
                ends = [one["ended"]["position"] for one in intervals[:-1]]
                assert all(end < one["began"]["position"] for end, one in zip(ends, intervals[1:], strict=True))
                assert all(one["name"] == "e" and one["network_name"] == "n" for one in intervals)
                heads.append(answer.json["head"])
            assert heads == sorted(heads), "a later answer knows no less"
            assert heads[0] < heads[-1], "it went on writing"
        finally:
            writer.kill()
    assert cli("who 10.1.0.2").status == 0


def test_it_loads_neither_the_engine_nor_a_dataplane(web, state):
    """It is asked in passing, on a log of any length: what starting costs is what it costs."""
    script = """
import sys
from netledger.interfaces.cli import run
assert run(["who", "10.1.0.2"]) == 0
print(*sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert "netledger.replay.who" in loaded
    assert "netledger.projections.views" not in loaded
    assert not [name for name in loaded if name.startswith(("netledger.engine", "netledger.dataplanes", "rich.table"))]
