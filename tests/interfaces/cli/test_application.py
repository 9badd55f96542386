"""The application as a whole: help, usage, how errors and bugs end, what is loaded when, and docs/cli.md."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from netledger.domain import errors
from netledger.domain.events import HostBooted
from netledger.domain.values import HostId
from netledger.interfaces.cli import application
from netledger.interfaces.cli.exits import BUG, EXITS, LEDGER, UsageError, exit_of
from netledger.ledger.ledger import Ledger

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
NETLEDGER = (sys.executable, "-m", "netledger")


def commands(app=application.app, path=()):
    """List every command with its words."""
    for name in app:
        if name.startswith("-"):
            continue
        below = list(commands(app[name], (*path, name)))
        yield from below or [" ".join((*path, name))]


def test_the_docs_show_the_table_of_exit_statuses() -> None:
    """docs/cli.md has every row of it, and no other."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", DOCS, re.MULTILINE)
    assert rows == [(str(row.status), row.kind, row.meaning) for row in EXITS]


def test_the_docs_list_every_command_and_no_other() -> None:
    """The first words of each row of the table of commands are those of the application."""
    table = DOCS[DOCS.index("## Commands") : DOCS.index("## Common options")]
    listed = re.findall(r"^\| `([a-z ]+?)(?: [A-Z].*?)?` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(commands())


def test_the_docs_list_every_common_option(cli) -> None:
    """Each option of the help's group of common options has a row."""
    shown = cli("network create --help").out.partition("Common options")[2]
    options = set(re.findall(r"(--[a-z]+)\b", shown))
    assert options == set(re.findall(r"^\| `(--[a-z]+)", DOCS, re.MULTILINE))


def test_a_status_means_one_thing_and_an_error_has_one() -> None:
    """Statuses and kinds are unique; every error class has its own, the ledger's conflict the ledger's own."""
    assert len({row.status for row in EXITS}) == len({row.kind for row in EXITS}) == len(EXITS)
    for name in dir(errors):
        kind = getattr(errors, name)
        if not isinstance(kind, type) or not issubclass(kind, errors.Refusal | errors.LedgerError):
            continue
        if kind is errors.Refusal:
            continue
        error = kind("asked", "because") if issubclass(kind, errors.Refusal) else kind("message")
        found = exit_of(error)
        assert found is not BUG
        if issubclass(kind, errors.Refusal):
            assert found.kind == kind.kind
        elif kind is errors.LedgerConflict:
            assert found is LEDGER
    assert exit_of(ExceptionGroup("two", [errors.DataplaneFault("key", "no"), ValueError()])).status == 20


def test_help_lists_commands_and_keeps_common_options_apart(cli) -> None:
    """The root lists the commands, a command its own options first, and the epilogue leads to the exit statuses."""
    root = cli("--help")
    assert root.status == 0
    for command in ("network", "endpoint", "sandbox", "log", "plan", "rebuild", "drift", "repair", "doctor", "tour"):
        assert f"│ {command} " in root.out
    assert "netledger help exit-codes" in root.out
    create = cli("help network create").out
    own, _, common = create.partition("Common options")
    assert "--subnet" in own
    assert "--state" in common
    assert "--state" not in own
    codes = cli("help exit-codes").out
    for row in EXITS:
        assert f"{row.status:<8}{row.kind}" in codes


def test_the_version_is_the_package_s(cli) -> None:
    """--version prints it."""
    assert cli("--version").out.strip() == version("netledger")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("network creat x", 'Unknown command "creat". Did you mean "create"?'),
        ("network create", 'Command "network create" parameter NAME requires an argument.'),
        ("network create x --subnets 10.0.0.0/8", "Unknown option: --subnets. Did you mean --subnet?"),
        ("log tail -n many", "many"),
        ("network ls x", "Unused Tokens: ['x']"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(cli, line: str, message: str) -> None:
    """As text and as JSON."""
    answer = cli(line)
    assert answer.status == 2
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    as_json = cli(f"{line} --json")
    assert (as_json.status, as_json.error["kind"]) == (2, "usage")
    assert message in as_json.error["message"]


def test_help_loads_nothing_of_the_engine() -> None:
    """Neither the libraries for kernel and log, nor our own packages for them."""
    script = """
import sys
from netledger.interfaces.cli import run
assert run(["--help"]) == 0
heavy = {"eventsourcing", "pyroute2", "sqlite3", "msgpack", "bitarray"}
ours = {f"netledger.{name}" for name in ("engine", "ledger", "dataplanes", "projections", "replay")}
sys.exit(", ".join(sorted((heavy | ours) & set(sys.modules))) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bug_shows_its_traceback_and_status_1(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no table knows is our bug."""
    monkeypatch.setattr("netledger.engine.controller.Controller.networks", lambda _: 1 / 0)
    cli("network create n")
    answer = cli("network ls")
    assert answer.status == 1
    assert "Traceback" in answer.err
    assert "error: division by zero" in answer.err


def test_what_the_operating_system_forbids_is_no_bug(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PermissionError, and an error that comes from one: status 8, one line, and what to do."""

    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/where")

    def strand(*_: object) -> None:
        raise RuntimeError("cannot enter the namespace") from PermissionError(1, "setns")

    cli("network create n")
    for how, message in ((forbid, "/some/where: Permission denied"), (strand, "cannot enter the namespace")):
        monkeypatch.setattr("netledger.engine.controller.Controller.networks", how)
        answer = cli("network ls")
        assert answer.status == 8
        expected = f"error: {message}; run it as root, or as the user that the state directory belongs to\n"
        assert answer.err == expected


def test_faults_while_taking_back_are_told_one_a_line(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception group gives a line for each error and the first one's status."""

    def fail(*_: object) -> None:
        raise ExceptionGroup("both", [errors.DataplaneFault("bridge/br0", "no"), errors.LedgerFull("disk")])

    monkeypatch.setattr("netledger.engine.controller.Controller.networks", fail)
    cli("network create n")
    answer = cli("network ls")
    assert (answer.status, answer.err) == (20, "error: bridge/br0: no\nerror: disk\n")


def test_no_control_sequence_of_another_writer_reaches_the_terminal(made, cli, state: Path) -> None:
    """A reason or an actor with escape codes and line breaks is refused, and written out where it is in the log."""
    assert cli("network", "create", "n", "--actor", "eve\r").status == 3
    made("network create n")
    with Ledger.open(state / "ledger.db") as ledger:
        said = HostBooted(1, "eve\r", "r/0#", "\x1b[31mred\nline\x9b", HostId("h"), boot="b", before="")
        ledger.append([said], (), ledger.head)
    shown = made("log show").out
    assert r"\x1b[31mred\nline\x9b" in shown
    assert r"eve\r" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 5


def test_no_color_without_a_terminal(made) -> None:
    """What is captured is plain text without padding."""
    made("network create n")
    for line in ("network ls", "network inspect n", "doctor", "log stat"):
        out = made(line).out
        assert "\x1b" not in out
        assert not re.search(r" $", out, re.MULTILINE)


def test_follow_ends_on_ctrl_c_with_130_and_a_cut_pipe_with_141(made, state: Path) -> None:
    """Following prints what comes from other processes; neither end shows a traceback."""
    made("network create n")
    following = subprocess.Popen(
        [*NETLEDGER, "log", "tail", "-n", "1", "--follow"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert "NetworkCreated" in following.stdout.readline()
        made("network rm n")
        assert "AddressReleased" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=20)
        assert (following.returncode, err) == (130, "")
    finally:
        following.kill()
    cut = subprocess.Popen(
        [*NETLEDGER, "log", "show"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    cut.stdout.close()
    assert (cut.wait(timeout=20), cut.stderr.read()) == (141, "")
    cut.stderr.close()


def test_usage_errors_have_the_usage_status() -> None:
    """They are in the table like all others."""
    assert exit_of(UsageError("x")).status == 2


def test_main_leaves_with_the_status(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """The console script exits with what `run` answers."""
    monkeypatch.setattr(sys, "argv", ["netledger", "network", "ls"])
    with pytest.raises(SystemExit) as left:
        application.main()
    assert left.value.code == 4


@pytest.mark.parametrize("words", ["nope", "network nope", "network create nope"])
def test_help_on_what_there_is_not(cli, words: str) -> None:
    """It is no command: the usage is wrong, and nothing else's help is shown for it."""
    answer = cli(f"help {words}")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"error: there is no command {words!r} (see `netledger --help`)\n"


def test_help_on_what_there_is(made) -> None:
    """That of a command, of a group, of all."""
    assert "Usage: netledger network create" in made("help network create").out
    assert "Usage: netledger network" in made("help network").out
    assert "Usage: netledger COMMAND" in made("help").out


def test_who_is_left_without_a_way_out_is_told_of(made, cli) -> None:
    """A leave that would need a gateway bridge that is full is done, and says what the sandbox goes without."""
    made("network create docker_gwbridge --subnet 10.4.0.0/30")
    made("endpoint create docker_gwbridge only")
    made("network create dark --driver macvlan --opt parent=eth0 --subnet 10.5.0.0/24")
    made("network create front --subnet 10.6.0.0/24")
    made("sandbox create c")
    for network in ("front", "dark"):
        made(f"endpoint create {network} {network}")
        made(f"endpoint join {network}/{network} c")
    left = cli("endpoint leave front/front")
    assert (left.status, left.out) == (0, "")
    assert left.err.startswith("warning: sandbox ")
    assert "is left without a way out: lead a sandbox out: no free IPv4 address in 10.4.0.0/30" in left.err
