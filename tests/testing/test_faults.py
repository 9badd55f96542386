"""Fault plans are values, and a simulated dataplane does what they say."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.dataplanes.contract import Plan, Status, Step, Verb
from netledger.dataplanes.simulated import FaultPlan, Faults, SimulatedClock, SimulatedDataplane, SimulatedKernel
from netledger.dataplanes.simulated.faults import ERRNOS, PRESETS, Died, Half, Kind, Misfortune, Rule, askew
from netledger.domain.errors import Invalid
from netledger.domain.objects import (
    Address,
    Bridge,
    Firewall,
    ForwardPolicy,
    Masquerade,
    Namespace,
    PortForward,
    Sysctl,
    VethPair,
)

MAC = b"\x02" + bytes(5)
BRIDGE = Bridge("br0", "n", MAC, 0)
PORT = PortForward(6, bytes(4), 80, bytes([10, 0, 0, 2]), 80)
BATCH = (Sysctl("", "net.ipv4.ip_forward", "1"), Firewall(), BRIDGE, ForwardPolicy("br0", icc=True, internal=False))


def apply(dataplane, *objects, verb=Verb.MAKE):
    """Apply these as one batch; give the statuses and the errnos."""
    outcomes = dataplane.apply(Plan(tuple(Step(verb, made) for made in objects), {}))
    return [outcome.fault.number if outcome.fault else outcome.status for outcome in outcomes]


rules = st.builds(
    Rule,
    st.integers(0, 100_000),
    st.lists(st.integers(1, 10**9), unique=True, max_size=3).map(lambda at: tuple(sorted(at))),
    st.lists(st.sampled_from(ERRNOS), unique=True, max_size=3).map(tuple),
)


# --- plans


@given(st.dictionaries(st.sampled_from(list(Kind)), rules))
def test_a_plan_is_read_as_it_is_written(made):
    """Every plan has a text, and the text is that plan."""
    plan = FaultPlan(made)
    assert FaultPlan.named(str(plan)) == plan


def test_a_plan_can_be_written_by_hand():
    """Shares, occasions, errnos, comments and lines."""
    plan = FaultPlan.parse("fail = 5%+@17+@3:ENOSPC/EBUSY, half=0.125%  # seldom\n\n# nothing\ndie=@2")
    assert plan.rule(Kind.FAIL) == Rule(5000, (3, 17), ("ENOSPC", "EBUSY"))
    assert plan.rule(Kind.HALF) == Rule(125)
    assert plan.rule(Kind.DIE) == Rule(0, (2,))
    assert plan.rule(Kind.LATE) == Rule()
    assert str(plan) == "die=@2,fail=5%+@3+@17:ENOSPC/EBUSY,half=0.125%"


def test_names_and_files(tmp_path):
    """A name stands for a plan, and so does a file; `none` has no faults, `many` more than `some`."""
    path = tmp_path / "mine"
    path.write_text("fail=1%\nslow=2%\n")
    assert FaultPlan.named(str(path)) == FaultPlan.parse("fail=1%,slow=2%")
    none, some, many = (FaultPlan.named(name) for name in PRESETS)
    assert none.rules == {}
    assert str(none) == "none"
    assert all(0 < some.rule(kind).share < many.rule(kind).share for kind in Kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fial=5%", "kinds: fail, half"),
        ("fail", "neither a name nor a file"),
        ("fail=5", "is not a share"),
        ("fail=5.0001%", "is not a share"),
        ("fail=-5%", "is not a share"),
        ("fail=99.9%+0.2%", "more than 100%"),
        ("fail=@0", "not the number of an occasion"),
        ("fail=5%:EWHAT", "there is no errno 'EWHAT'"),
        ("fail=5%,fail=6%", "was given before"),
        ("fail=5%," * 1000, "longer than"),
    ],
)
def test_what_is_no_plan_is_refused(text, words):
    """The message says what is wrong and how to write it."""
    with pytest.raises(Invalid) as caught:
        FaultPlan.named(text)
    assert words in str(caught.value)


# --- faults at work


def test_a_given_step_fails_with_a_given_errno():
    """The third step fails as it is told to; what stands on it is not tried, the rest is made."""
    dataplane = SimulatedDataplane(SimulatedKernel(), faults=Faults(FaultPlan.parse("fail=@2:ENOSPC")))
    assert apply(dataplane, *BATCH) == [Status.MADE, errno.ENOSPC, Status.MADE, 0]
    assert Firewall().key not in dataplane.kernel.objects


def test_faults_are_as_frequent_as_the_plan_says():
    """Five in a hundred, of the errnos that a kernel has; the same seed gives the same, another seed others."""

    def numbers(seed):
        faults = Faults(FaultPlan.parse("fail=5%"), seed)
        return [faults(Step(Verb.MAKE, BRIDGE)).number for _ in range(10_000)]

    first = numbers(1)
    assert 400 < sum(number > 0 for number in first) < 600
    assert {errno.errorcode[number] for number in first if number} == set(ERRNOS)
    assert numbers(1) == first != numbers(2)


def test_faults_can_be_turned_off_and_on():
    """While they are off nothing happens, and it is not counted."""
    faults = Faults(FaultPlan.parse("fail=100%"))
    faults.is_off = True
    assert faults(Step(Verb.MAKE, BRIDGE)) == Misfortune()
    assert not faults.injected
    faults.is_off = False
    assert faults(Step(Verb.MAKE, BRIDGE)).number
    assert faults.injected[Kind.FAIL] == 1


@pytest.mark.parametrize("half", list(Half))
def test_a_step_is_done_by_half(half):
    """Made and reported as failed; made otherwise; both; or the batch ends there."""
    fate = [Misfortune(0 if half is Half.ASKEW else errno.ENOMEM, half)]
    dataplane = SimulatedDataplane(SimulatedKernel(), faults=lambda _: fate.pop() if fate else Misfortune())
    found = apply(dataplane, BRIDGE, Firewall())
    there = dataplane.kernel.find(BRIDGE)
    expected = {
        Half.UNHEARD: ([errno.ENOMEM, Status.MADE], BRIDGE),
        Half.ASKEW: ([Status.MADE, Status.MADE], askew(BRIDGE)),
        Half.ASKEW_UNHEARD: ([errno.ENOMEM, Status.MADE], askew(BRIDGE)),
        Half.CUT: ([errno.ENOMEM, errno.ENOMEM], None),
    }
    assert (found, there) == expected[half]


def test_a_removal_that_is_not_done_is_reported_as_done():
    """There is nothing else to make of a removal."""
    dataplane = SimulatedDataplane(SimulatedKernel())
    apply(dataplane, BRIDGE)
    dataplane._faults = lambda _: Misfortune(0, Half.ASKEW)
    assert apply(dataplane, BRIDGE, verb=Verb.REMOVE) == [Status.REMOVED]
    assert dataplane.kernel.find(BRIDGE) == BRIDGE


def test_a_slow_step_lets_simulated_time_pass():
    """The clock tells how long it took, and so do the faults; nobody waits."""
    clock, faults = SimulatedClock(), Faults(FaultPlan.parse("slow=100%"))
    dataplane = SimulatedDataplane(SimulatedKernel(), faults=faults, clock=clock)
    before = clock.now()
    apply(dataplane, *BATCH)
    assert faults.injected[Kind.SLOW] == 4
    assert clock.now() - before == round(faults.delay_seconds * 1e9) > 0


def test_a_process_dies_before_the_step_that_it_is_told_to():
    """What came before is in the kernel, the rest is not; the next process lives."""
    faults = Faults(FaultPlan.parse(""))
    dataplane = SimulatedDataplane(SimulatedKernel(), faults=faults)
    faults.die_before_step(3)
    with pytest.raises(Died):
        apply(dataplane, *BATCH)
    assert set(dataplane.kernel.objects) == {made.key for made in BATCH[:2]}
    assert apply(dataplane, *BATCH) == [Status.ALREADY, Status.ALREADY, Status.MADE, Status.MADE]


def test_what_is_askew_has_the_same_key():
    """Where an object has anything beside its key it can be made otherwise, and it is told from what was asked."""
    pair = VethPair("nl1", "e", "br0", "", "eth0", MAC, 0, isolated=False)
    for made in (*BATCH, PORT, pair):
        other = askew(made)
        assert (other is None) == isinstance(made, Firewall)
        assert other is None or (other.key == made.key and other != made)
    for made in (Masquerade("br0", 4), Namespace("c", "/run/c"), Address("", "br0", bytes(4), 24)):
        assert askew(made) is None
