"""What the parts make of what they have seen."""

import pytest

from benchmarks.cuts import Silences, longest_silence
from benchmarks.intervals import Found, latency_row, least_latency_ms, pause_row
from benchmarks.ours import Epoch
from benchmarks.watching import Window


def epoch(n: int, *, pause_ms: float, lag_ms: float) -> Epoch:
    suspended = n * 0.2 + 0.01
    resumed = suspended + pause_ms / 1e3
    return Epoch(n, n * 0.2, suspended, resumed, resumed, resumed + lag_ms / 1e3, 4096, False)


def found(*, latency_ms: float) -> Found:
    return Found(
        windows=[Window([n * 0.2 for n in range(100)], [])],
        epochs=[epoch(n, pause_ms=40, lag_ms=60) for n in range(1, 100)],
        unprotected_ms=[[4.0, 5.0, 6.0]],
        protected_ms=[[latency_ms + 5.0] * 3],
        round_trip_ms=[10.0],
    )


def test_a_window_counts_start_to_start() -> None:
    window = Window([1.0, 1.25, 1.5, 2.0], [])
    assert window.rate_per_s == pytest.approx(3)
    assert window.periods_ms == pytest.approx([250, 250, 500])


def test_a_checkpoint_has_one_stop_and_the_small_gaps_are_noise() -> None:
    window = Window([1.0, 2.0, 3.0], [9.0, 300.0, 8.5, 310.0, 12.0, 290.0])
    assert window.stops_ms() == [310.0, 300.0, 290.0]


def test_output_commit_costs_half_a_period_the_pause_and_the_way_there_and_back() -> None:
    parts = least_latency_ms(found(latency_ms=0))
    assert parts == pytest.approx(
        {"period/2": 100, "pause": 40, "transfer": 50, "round trip": 10}, rel=1e-6
    )


@pytest.mark.parametrize(("latency_ms", "met"), [(219.0, True), (221.0, False)])
def test_added_latency_may_be_a_tenth_more_than_that(latency_ms: float, met: bool) -> None:
    made = latency_row(found(latency_ms=latency_ms))
    assert made.ours == pytest.approx(latency_ms)
    assert made.peer == pytest.approx(200)
    assert made.met is met


@pytest.mark.parametrize(("interval_ms", "pause_ms"), [(200, 56), (0, 42)])
def test_the_pause_is_held_against_the_prototypes(interval_ms: int, pause_ms: float) -> None:
    as_long = Found(epochs=[epoch(1, pause_ms=pause_ms - 0.1, lag_ms=1)])
    longer = Found(epochs=[epoch(1, pause_ms=pause_ms + 0.1, lag_ms=1)])
    assert pause_row(interval_ms, as_long).met
    assert not pause_row(interval_ms, longer).met


def test_a_silence_counts_when_it_reaches_beyond_the_cut() -> None:
    answers = [0.0, 9.0, 9.5, 12.0, 12.1]
    assert longest_silence(answers, cut_s=10.0) == 2.5
    assert longest_silence(answers, cut_s=13.0) == 0.0


def test_detection_is_taken_off_round_by_round() -> None:
    silences = Silences(silences=[3.0, 5.0], detections=[2.0, 2.5])
    assert silences.without_detection == [1.0, 2.5]
