"""The report on disk and on the screen."""

import json
from pathlib import Path

from benchmarks import picture, report
from benchmarks.rows import Row, ratio_at_least, row

MET = row("quick", "1/s", [4.0], [2.0], ratio_at_least(2))
MISSED = row("slow", "1/s", [3.0], [2.0], ratio_at_least(2))
PLAIN = row("a rather long name of a figure that has no goal at all", "s", [1.0], [])
KEYS = {"name", "unit", "ours", "peer", "ratio", "goal", "met", "samples"}


def test_parts_are_joined_in_their_order_and_one_can_be_replaced(tmp_path: Path) -> None:
    report.keep(tmp_path, "two", [MISSED])
    report.keep(tmp_path, "one", [MET])
    report.keep(tmp_path, "two", [PLAIN])
    assert report.join(tmp_path, ["one", "two", "three"]) == [MET, PLAIN]
    written = json.loads((tmp_path / "report.json").read_text())
    assert [one["name"] for one in written] == [MET.name, PLAIN.name]
    assert all(set(one) == KEYS for one in written)


def test_a_new_report_knows_nothing_of_the_old_one(tmp_path: Path) -> None:
    report.keep(tmp_path, "one", [MET])
    report.join(tmp_path, ["one"])
    report.forget(tmp_path)
    assert not (tmp_path / "report.json").exists()
    assert report.join(tmp_path, ["one"]) == []


def test_a_missed_goal_is_said_loudly() -> None:
    lines = report.table([MET, MISSED, PLAIN]).splitlines()
    assert "    met: ours / peer >= 2" in lines
    assert "    MISSED: ours / peer >= 2" in lines
    assert any("slow [1/s]" in line and "1.5" in line for line in lines)
    assert len({len(line) for line in lines if "[1/s]" in line}) == 1


def test_a_part_that_failed_stays_in_the_report(tmp_path: Path) -> None:
    report.keep(tmp_path, "one", [report.failed("one", ValueError("no answer"))])
    (found,) = report.join(tmp_path, ["one"])
    assert isinstance(found, Row)
    assert not found.met
    assert found.samples == {"error": "no answer"}
    assert "MISSED: is measured" in report.table([found])


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    picture.draw([MET, MISSED, PLAIN], tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
