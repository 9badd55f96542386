"""The seeded whole-system run: the same seed, the same logs; it holds, and it finds what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from netledger.dataplanes.simulated import FaultPlan, SimulatedKernel, forwarding
from netledger.dataplanes.simulated.faults import PRESETS, Kind
from netledger.dataplanes.simulated.firewall import Ruling
from netledger.domain.errors import LedgerConflict
from netledger.domain.objects import PortForward
from netledger.domain.values import Position
from netledger.ledger.ledger import Ledger
from netledger.projections import desired
from netledger.testing.checkers import check_log
from netledger.testing.simulation import Settings, fewest_steps, run
from netledger.testing.simulation.summary import Summary

MANY = FaultPlan.named("many")


def events(state):
    """Read a log."""
    with Ledger.open(state / "ledger.db", read_only=True) as ledger:
        return list(ledger.read())


# --- the same seed


def test_the_same_seed_gives_the_same_logs_byte_for_byte(tmp_path):
    """Also in another process, whose strings hash otherwise; another seed gives others."""
    code = (
        "import sys; from pathlib import Path; from netledger.testing.simulation import *; "
        "from netledger.dataplanes.simulated import FaultPlan; "
        "print(run(Settings(7, 60, 2, FaultPlan.named('many')), Path(sys.argv[1])).digest)"
    )
    here = run(Settings(7, 60, 2, MANY), tmp_path / "here")
    there = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here.digest
    for host in ("host1", "host2"):
        assert events(tmp_path / "there" / host) == events(tmp_path / "here" / host) != []
    assert run(Settings(8, 60, 2, MANY), tmp_path / "other").digest != here.digest


def test_a_shorter_run_is_the_beginning_of_a_longer_one(tmp_path):
    """So the steps that lead to a failure can be halved."""
    run(Settings(3, 40, 1, MANY), tmp_path / "short")
    run(Settings(3, 60, 1, MANY), tmp_path / "long")
    short, long = (events(tmp_path / name / "host1") for name in ("short", "long"))
    assert long[: len(short)] == short
    assert len(long) > len(short)


# --- it holds


@pytest.mark.parametrize("name", PRESETS)
def test_everything_holds(tmp_path, name):
    """Whatever goes wrong, at quiet points all is as the logs say; the logs that are left are right."""
    plan = FaultPlan.named(name)
    outcome = run(Settings(7, 240, 3, plan), tmp_path)
    assert outcome.failure is None
    for host in ("host1", "host2", "host3"):
        check_log(events(tmp_path / host))
    summary = outcome.summary
    assert (summary.steps, summary.quiet_points) == (240, 22)
    assert len(summary.commands) >= 10
    assert summary.sites_reached > 10
    assert summary.verdicts["reached"] > 20
    assert bool(summary.faults) == bool(summary.recoveries) == (name != "none")


def test_every_kind_of_fault_happens(tmp_path):
    """Nothing of a plan is left out, and the summary tells of all of it."""
    summary = run(Settings(3, 150, 2, MANY), tmp_path).summary
    assert all(summary.faults[kind] for kind in Kind)
    assert len([name for name in summary.faults if name.startswith("half: ")]) == 4
    assert summary.recovered_steps > summary.recoveries > 0
    assert summary.repaired_steps > summary.repairs > 0
    assert summary.slow_seconds > 0
    assert summary.taken_back > 0
    text = "\n".join(summary.lines())
    for words in ("refusal sites", "half: ", "twice: a request", "twice: events", "reached", "recoveries", "JoinEnd"):
        assert words in text


def test_a_kernel_is_altered_in_every_way(tmp_path):
    """Each is noticed as drift, and repaired."""
    summary = run(Settings(2, 90, 1, FaultPlan.parse("alter=80%")), tmp_path).summary
    assert len([name for name in summary.faults if name.startswith("alter: ")]) == 7
    assert summary.repaired_steps > summary.repairs > 0


def test_another_writer_comes_between_looking_and_appending(tmp_path, monkeypatch):
    """Its events conflict with what was decided, or are overtaken by nothing and the append lands behind them."""
    met = Counter()
    whole = Ledger.append

    def append(ledger, events, guards, after):
        try:
            last = whole(ledger, events, guards, after)
        except LedgerConflict:
            met["conflict"] += 1
            raise
        met["behind others" if last - len(events) > after else "at once"] += 1
        return last

    monkeypatch.setattr(Ledger, "append", append)
    outcome = run(Settings(1, 150, 2, FaultPlan.parse("late=40%")), tmp_path)
    assert outcome.failure is None
    assert min(met["conflict"], met["behind others"], met["at once"]) > 0
    assert "another writer" in {record.event.actor for record in events(tmp_path / "host1")}


def test_a_plan_of_given_occasions_strikes_there(tmp_path):
    """A host that reboots at its third step reboots once."""
    outcome = run(Settings(1, 20, 1, FaultPlan.parse("reboot=@3,die=@5")), tmp_path)
    assert outcome.failure is None
    assert (outcome.summary.faults[Kind.REBOOT], outcome.summary.faults[Kind.DIE]) == (1, 1)
    names = [type(record.event).__name__ for record in events(tmp_path / "host1")]
    assert names.count("HostBooted") == 1


def test_a_summary_of_nothing_can_be_told():
    """A run that failed at once has one, too."""
    assert Summary().lines()[0].split() == ["steps", "0,", "with", "0", "quiet", "points"]


# --- it finds what does not hold


class WithoutPorts(SimulatedKernel):
    """A kernel that forgets published ports."""

    def make(self, wanted):
        """Make all but ports."""
        if not isinstance(wanted, PortForward):
            super().make(wanted)


def test_a_kernel_that_forgets_is_found_and_the_run_is_shortened(tmp_path):
    """The failure names the checker and the host; the shortest run fails in the same way, one step less does not."""
    settings = Settings(2, 100, 2, FaultPlan.named("none"))
    failure = run(settings, tmp_path / "run", make_kernel=WithoutPorts).failure
    assert failure is not None
    assert failure.checker == "kernel"
    assert "+ port/" in failure.words
    shorter, outcome, place = fewest_steps(settings, failure.step, tmp_path / "shorter", make_kernel=WithoutPorts)
    assert shorter.steps <= failure.step
    assert outcome.failure is not None
    assert outcome.failure.checker == "kernel"
    assert (place / outcome.failure.host / "ledger.db").exists()
    before = Settings(settings.seed, shorter.steps - 1, settings.hosts, settings.plan)
    assert run(before, tmp_path / "before", make_kernel=WithoutPorts).failure is None


def found(tmp_path, plan):
    """Say which checker finds something in one of a few runs."""
    for seed in range(1, 20):
        failure = run(Settings(seed, 80, 2, FaultPlan.named(plan)), tmp_path / str(seed)).failure
        if failure is not None:
            return failure.checker
    return None


def test_a_firewall_that_lets_everything_through_is_found(tmp_path, monkeypatch):
    """Its objects are all there, so only packets can tell."""
    monkeypatch.setattr(forwarding, "forward", lambda *_, **__: Ruling(is_accepted=True, why="why not"))
    assert found(tmp_path, "none") == "reach"


def test_an_engine_that_gives_no_way_out_is_found(tmp_path, monkeypatch):
    """A lowering that leaves out the default routes agrees with itself; packets do not come out."""
    whole = desired._LOWERINGS["sandbox"]
    without = {
        **desired._LOWERINGS,
        "sandbox": lambda *given: [made for made in whole(*given) if "route" not in made.key],
    }
    monkeypatch.setattr(desired, "_LOWERINGS", without)
    assert found(tmp_path, "none") == "reach"


def test_a_start_that_believes_that_all_is_applied_is_found(tmp_path, monkeypatch):
    """A process that died in the middle leaves something undone, and its successor does not look."""
    monkeypatch.setattr(Ledger, "cursor", lambda ledger, _: Position(ledger.head))
    assert found(tmp_path, "die=30%") == "recovery"


def test_an_engine_that_carries_requests_out_twice_is_found(tmp_path, monkeypatch):
    """The same request id is to change nothing the second time."""
    monkeypatch.setattr("netledger.engine.deciding.is_repetition", lambda *_: False)
    assert found(tmp_path, "twice=50%") in {"requests", "error"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_long_runs_hold(tmp_path, seed):
    """Two thousand steps of four hosts."""
    assert run(Settings(seed, 2000, 4, MANY), tmp_path).failure is None
