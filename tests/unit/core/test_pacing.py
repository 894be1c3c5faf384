"""Epochs start an interval apart, and the guest always gets its share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.core.pacing import SHARE_MAX, Pace, next_deadline, run_time_ns

MS = 1_000_000
SECOND = 1_000 * MS


def test_the_interval_is_measured_start_to_start() -> None:
    at = next_deadline(Pace(200 * MS), 1000 * MS, 1010 * MS, 1040 * MS)
    assert (at.start_ns, at.skipped) == (1200 * MS, 0)


def test_a_missed_start_is_not_made_up_for() -> None:
    # due at 1200, possible only from 1450 on: 1200 and 1400 are missed, the next is due at 1650
    at = next_deadline(Pace(200 * MS), 1000 * MS, 1010 * MS, 1450 * MS)
    assert (at.start_ns, at.skipped) == (1450 * MS, 1)
    assert next_deadline(Pace(200 * MS), at.start_ns, 1460 * MS, 1470 * MS).start_ns == 1650 * MS


def test_a_start_that_is_due_this_instant_is_not_missed() -> None:
    at = next_deadline(Pace(200 * MS), 0, 10 * MS, 200 * MS)
    assert (at.start_ns, at.skipped) == (200 * MS, 0)


def test_no_interval_starts_as_soon_as_the_guest_has_run_its_share() -> None:
    # paused for 30 ms; a quarter of the time means running for 10 ms
    at = next_deadline(Pace(0, share=0.25), 0, 30 * MS, 31 * MS)
    assert (at.start_ns, at.skipped) == (40 * MS, 0)


def test_a_long_pause_puts_the_next_start_off() -> None:
    # paused for 90 ms: half of the time means running until 180 ms
    at = next_deadline(Pace(100 * MS, share=0.5), 0, 90 * MS, 91 * MS)
    assert (at.start_ns, at.skipped) == (180 * MS, 0)


@pytest.mark.parametrize(("interval_ns", "share"), [(-1, 0.25), (1, -0.1), (1, 0.96)])
def test_nonsense_is_refused(interval_ns: int, share: float) -> None:
    with pytest.raises(ValueError, match=r"interval|share"):
        Pace(interval_ns, share)


@given(
    interval_ns=st.integers(0, SECOND),
    share=st.floats(0, SHARE_MAX),
    pause_ns=st.integers(0, 10 * SECOND),
    ack_ns=st.integers(0, 10 * SECOND),
    start_ns=st.integers(0, 1000 * SECOND),
)
def test_whatever_happens_the_guest_has_its_share_and_the_interval_holds(
    interval_ns: int, share: float, pause_ns: int, ack_ns: int, start_ns: int
) -> None:
    pace = Pace(interval_ns, share)
    resumed_ns, now_ns = start_ns + pause_ns, start_ns + ack_ns
    at = next_deadline(pace, start_ns, resumed_ns, now_ns)
    assert at.start_ns >= now_ns
    assert at.start_ns - resumed_ns >= run_time_ns(pace, pause_ns)
    assert at.start_ns >= start_ns + interval_ns
    assert at.skipped * interval_ns <= at.start_ns - start_ns
