"""What a row says and when its goal is met."""

import pytest

from benchmarks import rows
from benchmarks.rows import Row, at_most, native, ratio_at_least, ratio_at_most, row, while_writing


def test_medians_stand_side_by_side_and_the_samples_are_listed() -> None:
    made = row("rate", "1/s", [4.0, 5.0, 4.5], [2.0, 1.8], ratio_at_least(2))
    assert (made.ours, made.peer, made.ratio) == (4.5, 1.9, 2.368)
    assert made.met
    assert made.samples == {"ours": [4.0, 5.0, 4.5], "peer": [2.0, 1.8]}


def test_many_samples_become_their_spread() -> None:
    made = row("pause", "ms", [float(n) for n in range(1, 101)], [])
    assert made.samples["ours"] == {"count": 100, "p5": 5, "p50": 50, "p95": 95, "max": 100}


@pytest.mark.parametrize(
    ("goal", "ours", "met"),
    [
        (ratio_at_least(2), 20.0, True),
        (ratio_at_least(2), 19.9, False),
        (ratio_at_most(0.3), 3.0, True),
        (ratio_at_most(0.3), 3.1, False),
        (at_most(56, "ms"), 56.0, True),
        (at_most(56, "ms"), 56.1, False),
    ],
)
def test_a_goal_is_met_at_its_bound_and_missed_beyond(
    goal: rows.Goal, ours: float, met: bool
) -> None:
    assert row("figure", "ms", [ours], [10.0], goal).met is met


@pytest.mark.parametrize("goal", [ratio_at_least(0.1), ratio_at_most(100), at_most(100, "s")])
def test_what_was_not_measured_meets_no_goal(goal: rows.Goal) -> None:
    assert not row("figure", "s", [], [1.0], goal).met


def test_a_ratio_without_a_peer_meets_no_goal() -> None:
    made = row("figure", "s", [1.0], [], ratio_at_most(100))
    assert made.ratio is None
    assert not made.met


def test_a_goal_says_what_it_bounds() -> None:
    assert row("n", "s", [1.0], [1.0], ratio_at_most(0.25)).goal == "ours / peer <= 0.25"
    assert row("n", "s", [1.0], [1.0], at_most(3.5, "s", "why")).goal == "ours <= 3.5 s (why)"


@pytest.mark.parametrize(
    ("ours", "rates", "met"),
    [(50, [97, 95], True), (50, [99, 94], False), (51, [99], False), (1, [], False)],
)
def test_a_goal_counts_only_while_so_much_is_written(
    ours: float, rates: list[float], met: bool
) -> None:
    made = while_writing(row("wait", "ms", [ours], [], at_most(50, "ms")), rates, 95)
    assert made.met is met
    assert str(made.goal).startswith("ours <= 50 ms at 95 MB/s of writes or more, ")
    assert str(made.goal).endswith(f"{min(rates, default=0)} reached")


def test_rows_of_the_native_programs_keep_their_figures_and_verdict() -> None:
    raw = {
        "name": "control",
        "unit": "us",
        "ours": 80.0,
        "peer": 900.0,
        "ratio": 0.089,
        "goal": 100.0,
        "met": True,
        "samples": {},
    }
    assert native(raw, unit_bounded=True).goal == "ours <= 100 us"
    assert native({**raw, "goal": 0.9}, unit_bounded=False).goal == "ours / peer >= 0.9"
    assert native({**raw, "goal": None}, unit_bounded=True).goal is None
    assert native(raw, unit_bounded=True).as_dict() == {**raw, "goal": "ours <= 100 us"}


def test_a_row_survives_being_written_down() -> None:
    made = row("rate", "1/s", [4.0], [2.0], ratio_at_least(2))
    assert Row.load(made.as_dict()) == made
