"""The demo's figures: each from the moments that define it, and every broken promise fails."""

import json
from dataclasses import replace

import pytest

from remus_ha.lab.demo import figures
from tests.unit.lab.demo import observed


def test_the_report_has_exactly_the_promised_keys() -> None:
    report = json.loads(json.dumps(figures.measure(observed.run()).as_dict()))
    assert list(report) == [
        "guest_survived", "connections_survived", "acknowledged_lost", "went_back", "silence_ms",
        "detection_ms", "decision_ms", "restore_ms", "checkpoints", "checkpoints_per_s",
        "pause_ms", "added_latency_ms", "disk_agrees", "saved", "saved_lost",
    ]  # fmt: skip
    assert list(report["pause_ms"]) == list(report["added_latency_ms"]) == ["median", "p95"]


def test_figures_of_a_run() -> None:
    report = figures.measure(observed.run())
    assert report.guest_survived
    assert report.connections_survived
    assert report.detection_ms == pytest.approx(1500)
    assert report.decision_ms == pytest.approx(100 + 100)
    assert report.restore_ms == pytest.approx(600)
    assert report.checkpoints == 51
    assert report.checkpoints_per_s == pytest.approx(5)
    assert report.pause_ms == figures.Spread(40, 40)
    assert report.added_latency_ms == figures.Spread(95, 95)
    assert report.failures() == []


def test_silence_begins_with_the_last_straggler_not_with_the_cut() -> None:
    seen = observed.run()
    late = observed.client("late", {99.9: 0.3})
    start_s, end_s = figures.silence([*seen.clients, late], seen.cut_s, seen.ended_s)
    assert (start_s, end_s) == (pytest.approx(100.2), pytest.approx(102.75))


def test_silence_before_the_cut_does_not_count() -> None:
    client = observed.client("one", {70.0: 0.001, 99.0: 0.001, 101.0: 0.001, 105.0: 0.001})
    assert figures.silence([client], 100.0, 106.0) == (
        pytest.approx(101.001),
        pytest.approx(105.001),
    )


def test_a_guest_that_stays_silent_is_lost() -> None:
    seen = observed.without_failover()
    report = figures.measure(seen)
    assert not report.guest_survived
    assert report.silence_ms > 5000
    assert report.detection_ms is report.decision_ms is report.restore_ms is None
    assert report.failures() == ["the guest did not survive"]


def test_one_client_without_an_answer_to_a_later_request_is_a_lost_guest() -> None:
    seen = observed.run()
    deaf = observed.client("deaf", {99.0: 0.001, 99.5: 3.0, 103.0: None})
    assert not figures.measure(replace(seen, clients=(*seen.clients, deaf))).guest_survived


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        ({"lost_acknowledged": 3}, "3 acknowledged requests were lost"),
        ({"went_back": 2}, "2 answers went back"),
        ({"connections_survived": False}, "a connection broke"),
        ({"finished": False}, "a connection broke"),
    ],
)
def test_every_broken_promise_is_a_failure(wrong: dict[str, int], failure: str) -> None:
    seen = observed.run()
    first, second = seen.clients
    first = replace(first, verdict=replace(first.verdict, **wrong))
    report = figures.measure(replace(seen, clients=(first, second)))
    assert report.failures() == [failure]


@pytest.mark.parametrize(
    ("disk", "failure"),
    [
        (
            replace(observed.DISK, verdict=None),
            "the guest's disk and its memory are not of one epoch",
        ),
        (
            replace(observed.DISK, verdict=replace(observed.CLEAN, clean=False, later=1)),
            "the guest's disk and its memory are not of one epoch",
        ),
        (replace(observed.DISK, found=("line 1", None)), "1 saved lines were lost"),
    ],
)
def test_a_disk_that_lost_something_is_a_failure(disk: figures.DiskSeen, failure: str) -> None:
    assert figures.measure(replace(observed.run(), disk=disk)).failures() == [failure]


def test_nothing_measured_is_nothing_told() -> None:
    report = figures.measure(replace(observed.run(), checkpoints=(), unprotected_s=(0.0, 1.0)))
    assert report.pause_ms is None
    assert report.added_latency_ms is None
    assert report.checkpoints_per_s == 0
