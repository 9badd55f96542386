"""What people call a moment, and the position that is meant, with a clock that goes back too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netledger.domain.errors import Invalid
from netledger.domain.events import ClockStepped, HostBooted
from netledger.ledger.ledger import Ledger
from netledger.replay.moments import LAG_NANOSECONDS, NANOSECONDS, Moment, find_moment, moment_at, parse_time

SECOND = NANOSECONDS
NOW = 1_777_816_800 * SECOND  # 2026-05-03T14:00:00Z
CLOCK_STEP = SECOND
"""What the engine records as a step is more than this."""


def log_of(times):
    """Append an event at each time as the engine would: with a ClockStepped where the clock went back."""
    ledger, last, written = Ledger.open(None), 0, []
    for at in times:
        if last - at > CLOCK_STEP:
            written.append(ClockStepped(at, "tester", "r/clock", "", "h1", back=last - at))
        written.append(HostBooted(at, "tester", "r/0#0", "", "h1", "new", "old"))
        last = at
    if written:
        ledger.append(written, (), 0)
    return ledger, [event.at for event in written]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-05-03T14:00Z", NOW),
        ("2026-05-03T14:00:00Z", NOW),
        ("2026-05-03t14:00:00z", NOW),
        ("2026-05-03 16:00+02:00", NOW),
        ("2026-05-03T08:30-0530", NOW),
        ("2026-05-03T14:00:00.25Z", NOW + SECOND // 4),
        ("2026-05-03T14:00:00.000000001Z", NOW + 1),
        ("2026-05-03", NOW - 14 * 3600 * SECOND),
        ("1969-12-31T23:59:59.5Z", -SECOND // 2),
        ("now", NOW),
        ("2 hours ago", NOW - 7200 * SECOND),
        ("90s ago", NOW - 90 * SECOND),
        ("1 minute ago", NOW - 60 * SECOND),
        ("5 min ago", NOW - 300 * SECOND),
        ("1 day ago", NOW - 86400 * SECOND),
        ("2 weeks ago", NOW - 14 * 86400 * SECOND),
    ],
)
def test_times_are_read_to_the_nanosecond(text, at):
    """RFC 3339 with or without seconds, any offset, a date's beginning in UTC, and how long ago."""
    assert parse_time(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-05-03T14:02", "write 2026-05-03T14:02Z for UTC, or an offset like 2026-05-03T14:02+02:00"),
        ("2026-05-03 14:02:07.5", "does not say in which time zone"),
        ("2026-13-03", "month must be in 1..12"),
        ("2026-02-30T00:00Z", "day is out of range"),
        ("2026-05-03T24:00Z", "hour must be in 0..23"),
        ("2026-05-03T14:02+25:00", "+25:00 is no offset"),
        ("0000-01-01", "year 0 is out of range"),
        ("14:02", "write it like 2026-05-03T14:02Z"),
        ("yesterday", "or @POSITION"),
        ("@-1", "or @POSITION"),
        ("@x", "or @POSITION"),
        ("", "or @POSITION"),
    ],
)
def test_what_is_no_time_is_refused_with_how_to_write_one(text, said):
    """A local time above all: it is another time in each time zone."""
    with pytest.raises(Invalid) as caught:
        parse_time(text, NOW)
    assert said in str(caught.value)


def test_a_position_is_taken_as_it_is():
    """From before the first event to the last; what is behind that is refused with where the log ends."""
    ledger, _ = log_of([SECOND, 2 * SECOND])
    assert find_moment(ledger, "@0", NOW) == Moment(0)
    assert find_moment(ledger, "@2", NOW) == Moment(2)
    with pytest.raises(Invalid, match="position 3: the log ends at 2"):
        find_moment(ledger, "@3", NOW)
    with pytest.raises(Invalid, match="position 2: the log ends at 1"):
        find_moment(ledger, "@2", NOW, head=1)


def test_a_time_is_the_state_after_the_last_event_that_was_not_later():
    """Before all events it is the empty state, after all of them the last; an event counts at its own time."""
    ledger, _ = log_of([10 * SECOND, 10 * SECOND, 30 * SECOND])
    found = [moment_at(ledger, at * SECOND, 3).position for at in (9, 10, 29, 30, 1000)]
    assert found == [0, 2, 2, 3, 3]
    assert find_moment(ledger, "1970-01-01T00:00:20Z", NOW) == Moment(2, 20 * SECOND)
    assert moment_at(Ledger.open(None), NOW, 0) == Moment(0, NOW)


def test_where_the_clock_was_set_back_the_last_run_counts_and_the_earlier_is_told():
    """14:00 to 14:30, back to 14:10: at 14:20 is in the second run, and the first one's position is told."""
    ledger, times = log_of([at * 60 * SECOND for at in (0, 15, 30, 10, 15, 25, 40)])
    assert times[3] == 10 * 60 * SECOND, "the step stands before the event that shows it"
    assert moment_at(ledger, 20 * 60 * SECOND, 8) == Moment(6, 20 * 60 * SECOND, (2,))
    assert moment_at(ledger, 5 * 60 * SECOND, 8) == Moment(1, 5 * 60 * SECOND), "no other run was there"
    assert moment_at(ledger, 35 * 60 * SECOND, 8) == Moment(7, 35 * 60 * SECOND)
    assert moment_at(ledger, 20 * 60 * SECOND, 3) == Moment(2, 20 * 60 * SECOND), "up to where the log ended then"


def test_a_clock_that_was_far_ahead_hides_nothing():
    """Events of a wrong year are passed over when an earlier time is asked for, though they come first in the log."""
    ledger, _ = log_of([NOW, NOW + 10**18, NOW + 60 * SECOND, NOW + 120 * SECOND])
    assert moment_at(ledger, NOW + 90 * SECOND, 5).position == 4
    assert moment_at(ledger, NOW, 5).position == 1
    assert moment_at(ledger, NOW + 10**18, 5) == Moment(5, NOW + 10**18), "now, as no event is later"


@given(
    st.lists(
        st.integers(0, 60).map(lambda seconds: seconds * SECOND)
        | st.integers(-CLOCK_STEP // 4, 0)
        | st.integers(-100, -2).map(lambda seconds: seconds * SECOND),
        max_size=40,
    ),
    st.integers(-10, 700),
    st.data(),
)
def test_any_clock_gives_what_looking_at_every_event_gives(changes, asked, data):
    """However the clock goes: the last event in log order whose time is not after the one that is asked for."""
    now, times = 100 * SECOND, []
    for change in changes:
        now += change
        times.append(now)
    ledger, written = log_of(times)
    head = data.draw(st.integers(0, len(written)), label="head")
    at = data.draw(st.sampled_from(written) | st.just(asked * SECOND), label="at") if written else asked * SECOND
    expected = max((place for place, found in enumerate(written[:head], 1) if found <= at), default=0)
    found = moment_at(ledger, at, head)
    assert found.position == expected
    assert all(written[place - 1] <= at for place in found.repeated)
    assert all(any(late > at for late in written[place : found.position]) for place in found.repeated)


def test_a_writer_that_had_to_wait_is_not_missed():
    """Events that lag behind by less than the limit are found though nothing tells of them."""
    ledger = Ledger.open(None)
    lag = LAG_NANOSECONDS
    times = [NOW, *(NOW + lag - 1000 + step for step in range(701)), NOW, NOW + 2 * lag]
    ledger.append([HostBooted(at, "tester", "r/0#0", "", "h1", "new", "old") for at in times], (), 0)
    assert moment_at(ledger, NOW, len(times)).position == 703
    assert moment_at(ledger, NOW + lag, len(times)).position == len(times) - 1
