"""plan, rebuild, drift, repair: on a simulated kernel that outlives the command, as a real one does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.facts import NamespaceIdentity


class Machine:
    """A simulated machine that commands come and go on."""

    def __init__(self) -> None:
        self.kernel = SimulatedKernel()
        self.boot = "first"
        self.namespaces: dict[str, NamespaceIdentity] = {}
        self.cannot_make = self.cannot_remove = ""
        """The beginning of the keys of which that is so."""

    def dataplane(self, *_: object) -> SimulatedDataplane:
        """Open it anew."""
        made = SimulatedDataplane(self.kernel, faults=self._fault)
        made.boot, made.namespaces = self.boot, self.namespaces
        return made

    def _fault(self, step) -> int:
        broken = self.cannot_remove if step.verb is Verb.REMOVE else self.cannot_make
        return errno.EIO if broken and step.key.startswith(broken) else 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, made) -> Machine:
    """Make a machine with an endpoint in a sandbox."""
    machine = Machine()
    monkeypatch.setattr("netledger.engine.opening.make_dataplane", machine.dataplane)
    made("network create n --subnet 10.0.0.0/24")
    made("endpoint create n web -p 8080:80")
    made("sandbox create c")
    made("endpoint join web c")
    return machine


def test_a_host_that_agrees_has_nothing_to_do(machine: Machine, made) -> None:
    """All four say so with status 0 and add nothing to the log."""
    before = made("log verify").out
    for verb in ("plan", "drift", "rebuild", "repair"):
        assert made(verb).out == "nothing to do: kernel and log agree\n"
        assert made(f"{verb} --json").json["agrees"] is True
    assert made("log verify").out == before


def test_what_is_to_be_done_names_the_host_that_was_asked_about(machine: Machine, cli, state: Path) -> None:
    """The same words elsewhere would be about another log, or another kernel."""
    machine.kernel.clear()
    for verb, mender in (("plan", "rebuild"), ("drift", "repair")):
        last = cli(verb, "--state", str(state), "--dataplane", "simulated").out.splitlines()[-1]
        assert f"to do it: netledger {mender} --plan " in last
        assert last.endswith(f" --state {state} --dataplane simulated")


def test_drift_shows_and_repair_mends(machine: Machine, made, cli) -> None:
    """A line for each object, the digest, status 40; the plan that was shown is carried out and recorded, once."""
    there = dict(machine.kernel.objects)
    gone = next(key for key in there if key.startswith("port/"))
    machine.kernel.remove(machine.kernel.objects[gone])
    before = made("log verify").out
    drift = cli("drift")
    assert drift.status == 40
    line, last = drift.out.splitlines()
    assert line == "+ port/tcp/0.0.0.0:8080 -> 10.0.0.2:80"
    shown = cli("drift --json").json
    assert last == f"1 kernel operation(s); to do it: netledger repair --plan {shown['digest']}"
    assert shown["lines"] == [line]
    assert made("log verify").out == before
    assert cli("repair --plan 0000").status == 5
    assert gone not in machine.kernel.objects
    repaired = made("repair", "--plan", shown["digest"], "--reason", "found it", "--actor", "carol")
    assert repaired.out == f"{line}\nrepaired: 1 kernel operation(s) (plan {shown['digest']})\n"
    assert machine.kernel.objects == there
    detected, mended = made("log tail -n 2").out.splitlines()
    assert f"carol     DriftDetected      differences=['{line}']  # found it" in detected
    assert "DriftRepaired" in mended
    assert made("drift").status == 0


def test_a_reboot_is_rebuilt_by_the_plan_that_was_shown(machine: Machine, made, cli) -> None:
    """Neither looking nor opening for the rebuild does anything before the plan is compared."""
    there = dict(machine.kernel.objects)
    machine.kernel, machine.boot = SimulatedKernel(), "second"
    plan = cli("plan --json")
    assert plan.status == 40
    assert len(plan.json["lines"]) == len(there)
    assert not machine.kernel.objects
    assert cli("rebuild --plan 0000").status == 5
    assert not machine.kernel.objects
    rebuilt = made(f"rebuild --plan {plan.json['digest']} --json").json
    assert rebuilt["lines"] == plan.json["lines"]
    assert rebuilt["faults"] == []
    assert machine.kernel.objects == there
    assert f"HostRebuilt        made={len(there)}" in made("log tail -n 1").out
    made("plan")


def test_other_commands_make_good_first_and_say_so(machine: Machine, cli) -> None:
    """After a reboot the next change recovers, and tells it on stderr."""
    there = dict(machine.kernel.objects)
    machine.kernel, machine.boot = SimulatedKernel(), "second"
    answer = cli("sandbox create other")
    assert answer.status == 0
    assert answer.err == f"recovered: {len(there)} kernel operation(s) after a reboot\n"
    assert machine.kernel.objects.keys() > there.keys()


def test_what_cannot_be_mended_is_a_fault(machine: Machine, made, cli) -> None:
    """Status 20, what failed on stderr, and an event."""
    machine.kernel, machine.cannot_make = SimulatedKernel(), "port/"
    answer = cli("rebuild")
    assert answer.status == 20
    assert answer.err == "error: + port/tcp/0.0.0.0:8080 -> 10.0.0.2:80: the fault plan says so\n"
    assert "1 of them failed (plan " in answer.out
    assert cli("repair --json").json["faults"] == [answer.err.removeprefix("error: ").rstrip()]
    assert made("log show --type DataplaneFaulted").out.count("\n") == 1
    machine.cannot_make = ""
    assert made("repair").status == 0


def test_a_lost_namespace_ends_its_sandbox(machine: Machine, made, cli) -> None:
    """One that is not ours is not made anew: its sandbox is shown as lost, and repair records that."""
    machine.namespaces["/run/netns/x"] = NamespaceIdentity("first", 7)
    made("sandbox create attached --kind attached --path /run/netns/x")
    made("endpoint create n two -p 9090:90")
    made("endpoint join two attached")
    identity = made("sandbox inspect attached --json").json["id"]
    machine.namespaces.clear()
    drift = cli("drift")
    assert drift.status == 40
    lines = drift.out.splitlines()
    assert lines[-2] == f"! sandbox {identity}: its namespace is gone or another one"
    assert not any(identity[:12] in line for line in lines[:-2])
    repaired = cli("repair")
    assert (repaired.status, repaired.err) == (0, "")
    assert cli("sandbox inspect attached").status == 4
    assert made("endpoint inspect two --json").json["sandbox"] == ""
    assert made("drift").status == 0


def test_a_creation_that_the_kernel_refuses_is_taken_back(machine: Machine, made, cli) -> None:
    """Status 20, the fault names its position, and the network is not there."""
    machine.cannot_make = "bridge/"
    answer = cli("network create m --json")
    assert answer.status == 20
    assert answer.error["kind"] == "dataplane fault"
    assert answer.error["position"] > 0
    assert "the fault plan says so (asked for at position " in answer.error["message"]
    machine.cannot_remove = "bridge/"
    first, second = cli("network create m").err.splitlines()
    assert "(asked for at position " in first
    assert second.startswith("error: bridge/br-")
    machine.cannot_make = machine.cannot_remove = ""
    assert [info["name"] for info in made("network ls --json").json] == ["n"]


def test_what_cannot_be_removed_is_told_and_gone_from_the_log(machine: Machine, made, cli) -> None:
    """Both `rm` and `leave` succeed for the log; status 20 and the fault say what is left in the kernel."""
    machine.cannot_remove = "veth/"
    left = cli("endpoint leave web")
    assert left.status == 20
    assert "the fault plan says so" in left.err
    assert made("endpoint inspect web --json").json["sandbox"] == ""
    machine.cannot_remove = "bridge/"
    removed = cli("network rm -f n")
    assert (removed.status, removed.out) == (20, "n\n")
    assert made("network ls -q").out == ""


def test_looking_takes_no_lock_and_leaves_no_trace(machine: Machine, cli, state: Path) -> None:
    """The log's file is not written by plan and drift."""
    machine.kernel.clear()
    before = (state / "ledger.db").read_bytes()
    for verb in ("plan", "drift"):
        assert cli(verb).status == 40
    assert (state / "ledger.db").read_bytes() == before
    assert not machine.kernel.objects
