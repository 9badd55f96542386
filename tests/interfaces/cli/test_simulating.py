"""`netledger simulate`: what it prints, how it ends, and what reproduces a failure."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from netledger.dataplanes.simulated import SimulatedKernel
from netledger.domain.objects import PortForward

SEEDS = tuple(map(str, range(1, 13)))
"""Not every run publishes a port; how many do is in tests/testing/test_simulate.py."""


@pytest.fixture
def forgetful(monkeypatch):
    """Let simulated kernels forget published ports."""
    whole = SimulatedKernel.make

    def make(kernel, wanted):
        if not isinstance(wanted, PortForward):
            whole(kernel, wanted)

    monkeypatch.setattr(SimulatedKernel, "make", make)


def test_a_run_tells_what_it_has_exercised(made):
    """A summary, a digest that is the same each time, and no ledger left."""
    first = made("simulate --seed 1 --steps 40 --hosts 2 --faults many").out
    assert first.startswith("seed 1, 2 host(s), faults alter=10%,")
    for words in (
        "steps                   40",
        "command ",
        "fault ",
        "recoveries ",
        "repairs ",
        "refusal sites ",
        "reach ",
    ):
        assert words in first
    assert first.endswith("everything holds\n")
    assert made("simulate --seed 1 --steps 40 --hosts 2 --faults many").out == first


def test_a_bar_is_shown_on_a_terminal_only(cli, monkeypatch):
    """It goes to stderr, and what was asked for is the same."""
    words = "simulate --seed 5 --steps 12 --faults none"
    quiet = cli(words)
    monkeypatch.setattr(sys.stderr.__class__, "isatty", lambda _: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = cli(words)
    assert (quiet.err, shown.out) == ("", quiet.out)
    assert "steps" in shown.err


def test_json(made):
    """The same for programs; a seed that was not given is told."""
    told = made("simulate --steps 12 --json").json
    assert told["holds"] is True
    assert told["ledgers"] is None
    again = made("simulate", "--steps", "12", "--seed", str(told["seed"]), "--json").json
    assert again["digest"] == told["digest"]
    assert again["summary"]["steps"] == 12


def test_ledgers_can_be_kept(made, tmp_path):
    """Every host's ledger is where it says, and can be read like any other."""
    out = made("simulate", "--seed", "1", "--steps", "20", "--hosts", "2", "--keep", str(tmp_path / "kept")).out
    place = re.search(r"^ledgers +(.+)$", out, re.MULTILINE)[1]
    for host in ("host1", "host2"):
        assert "HostRegistered" in made("log", "show", "--state", f"{place}/{host}").out
        assert all(line.startswith("holds ") for line in made("check", "--state", f"{place}/{host}").out.splitlines())


@pytest.mark.usefixtures("forgetful")
def test_a_failure_is_shortened_and_reproduced(cli, made, tmp_path):
    """It says what does not hold, where, and the exact command line; that one fails in the same way."""
    steps = ("--steps", "40", "--faults", "none")
    runs = ((seed, cli("simulate", "--seed", seed, *steps, "--keep", str(tmp_path / seed))) for seed in SEEDS)
    seed, answer = next((seed, answer) for seed, answer in runs if answer.status)
    assert answer.status == 41
    violated = re.search(r"^VIOLATED  kernel: at step (\d+), on host\d, position [1-9]\d*$", answer.out, re.MULTILINE)
    assert violated
    command = re.search(r"^reproduced by: +netledger (.+)$", answer.out, re.MULTILINE)[1]
    assert f"--seed {seed} --steps {violated[1]} --hosts 2 --faults none" in command
    again = cli(*shlex.split(command), "--keep", str(tmp_path / "again"))
    assert again.status == 41
    assert violated[0] in again.out
    shown = re.search(r"^what happened: +netledger (.+)$", answer.out, re.MULTILINE)[1]
    assert "PortBound" in made(*shlex.split(shown)).out
    told = cli(*shlex.split(command), "--json", "--keep", str(tmp_path / "json"))
    assert told.status == 41
    assert told.json["failure"]["checker"] == "kernel"
    assert told.json["reproduced_by"] == f"netledger {command}"


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("--steps", "0"), "give one from 1 to 1000000"),
        (("--hosts", "1000"), "give one from 1 to 250"),
        (("--faults", "fail=2"), "is not a share"),
        (("--keep", "/proc"), "it is no empty directory"),
    ],
)
def test_what_cannot_be_run_is_refused(cli, words, because):
    """Before anything is made."""
    answer = cli("simulate", *words)
    assert answer.status == 3
    assert because in answer.err
