"""Running parts: what becomes of one that fails, and of the others' rows."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks.errors import Missing, TookTooLong
from benchmarks.rows import Row, ratio_at_least, row


def good(_bed: object, rounds: int) -> list[Row]:
    return [row("good", "1/s", [4.0] * rounds, [2.0], ratio_at_least(2))]


def missed(_bed: object, _rounds: int) -> list[Row]:
    return [row("missed", "1/s", [3.0], [2.0], ratio_at_least(2))]


def broken(_bed: object, _rounds: int) -> list[Row]:
    raise Missing(what="a checkpoint", seconds=1, tail="nothing")


def endless(_bed: object, _rounds: int) -> list[Row]:
    time.sleep(60)
    return []


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    parts = {
        "good": bench.Part(good, 10, rounds=3, needs_lab=False),
        "missed": bench.Part(missed, 10, needs_lab=False),
        "broken": bench.Part(broken, 10, needs_lab=False),
        "endless": bench.Part(endless, 0.2, needs_lab=False),
    }
    monkeypatch.setattr(bench, "PARTS", parts)
    monkeypatch.setattr(bench, "RUN", tmp_path / "run")
    return tmp_path


def run(out: Path, *only: str) -> tuple[int, dict[str, Any]]:
    words = [word for part in only for word in ("--only", part)]
    status = bench.main([*words, "--out", str(out)])
    return status, {r["name"]: r for r in json.loads((out / "report.json").read_text())}


def test_a_missed_goal_is_a_result_and_no_failure(out: Path) -> None:
    status, rows = run(out, "good", "missed")
    assert status == 0
    assert rows["good"]["met"]
    assert rows["good"]["samples"]["ours"] == [4.0] * 3
    assert not rows["missed"]["met"]
    assert (out / "report.png").exists()


def test_a_part_that_fails_is_in_the_report_and_the_others_are_measured(out: Path) -> None:
    status, rows = run(out)
    assert status == 1
    assert set(rows) == {"good", "missed", "not measured: broken", "not measured: endless"}
    assert TookTooLong.code in rows["not measured: endless"]["samples"]["error"]
    assert not rows["not measured: broken"]["met"]


def test_one_part_alone_keeps_the_rows_of_the_others(out: Path) -> None:
    run(out, "good")
    _, rows = run(out, "missed")
    assert list(rows) == ["good", "missed"]


def test_only_one_runs_at_a_time(out: Path) -> None:
    with bench.alone():
        assert bench.main(["--only", "good", "--out", str(out)]) == 1
    assert not (out / "report.json").exists()
