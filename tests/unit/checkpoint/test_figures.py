"""Figures of a session."""

from remus_ha.checkpoint.epochs import Sample
from remus_ha.checkpoint.figures import KEPT, Figures


def sample(
    n: int, *, pause_ms: float = 10.0, octets: int = 4096, overflowed: bool = False
) -> Sample:
    start = n * 0.2
    return Sample(
        n=n,
        requested=start,
        suspended=start + 0.005,
        copied=start + 0.005 + 0.8 * pause_ms / 1e3,
        resumed=start + 0.005 + pause_ms / 1e3,
        acked=start + 0.025 + pause_ms / 1e3,
        octets=octets,
        overflowed=overflowed,
    )


def test_the_full_copy_says_nothing_about_the_rest() -> None:
    figures = Figures()
    figures.add(sample(0, pause_ms=5000, octets=1 << 30))
    for n in range(1, 11):
        figures.add(sample(n))
    summary = figures.summary()
    assert summary["checkpoints"] == 11
    assert summary["pause_ms"] == {"median": 10.0, "p95": 10.0, "max": 10.0}
    assert summary["suspend_ms"]["median"] == 5.0
    assert summary["copy_ms"]["median"] == 8.0
    assert summary["ack_ms"]["median"] == 20.0
    assert summary["octets"] == 4096
    assert abs(summary["checkpoints_per_s"] - 5.0) < 1e-9


def test_spread_is_of_all_samples() -> None:
    figures = Figures()
    for n in range(1, 101):
        figures.add(sample(n, pause_ms=float(n)))
    assert figures.summary()["pause_ms"] == {"median": 50.5, "p95": 95.0, "max": 100.0}


def test_before_there_are_two_there_are_no_medians() -> None:
    figures = Figures()
    assert figures.summary()["checkpoints"] == 0
    figures.add(sample(0))
    figures.add(sample(1, overflowed=True))
    summary = figures.summary()
    assert (summary["checkpoints"], summary["overflows"]) == (2, 1)
    assert "pause_ms" not in summary


def test_old_samples_go_and_counters_stay() -> None:
    figures = Figures()
    for n in range(KEPT + 10):
        figures.add(sample(n, overflowed=n < 5))
    assert figures.summary()["checkpoints"] == KEPT + 10
    assert figures.summary()["overflows"] == 5
    assert len(figures.raw(-1)) == KEPT
    last = figures.last()
    assert last is not None
    assert last.n == KEPT + 9


def test_raw_samples_are_those_after_an_epoch() -> None:
    figures = Figures()
    for n in range(5):
        figures.add(sample(n))
    raw = figures.raw(2)
    assert [entry["n"] for entry in raw] == [3, 4]
    assert set(raw[0]) == {
        "n", "requested", "suspended", "copied", "resumed", "acked", "octets", "overflowed"
    }  # fmt: skip
