"""What the demo leaves and shows: picture, table, exit status."""

import io
import json
import threading
from pathlib import Path

import pytest

from remus_ha.lab.demo import __main__ as demo
from remus_ha.lab.demo import figures, table
from remus_ha.lab.demo.timeline import Steps, Timeline
from tests.unit.lab.demo import observed


def test_a_good_run_leaves_report_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    seen = observed.run()
    assert demo.conclude(seen, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == figures.measure(seen).as_dict()
    png = (tmp_path / "out" / "report.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    assert width > 1000
    assert height > 600
    assert "guest survived" in capsys.readouterr().out


def test_a_lost_guest_is_drawn_too_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert demo.conclude(observed.without_failover(), tmp_path) == 1
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert "FAILED: the guest did not survive" in capsys.readouterr().err


def test_the_table_names_every_client() -> None:
    seen = observed.run()
    text = table.render(seen, figures.measure(seen))
    assert "silence                                2840 ms" in text
    assert [line.split()[0] for line in text.splitlines() if "connection open" in line] == [
        "one", "two",
    ]  # fmt: skip


def test_the_timeline_counts_from_its_start() -> None:
    stream = io.StringIO()
    timeline = Timeline(stream)
    timeline.say("host b", "in doubt", timeline.began_s + 61.5)
    with Steps(timeline).step("boot"):
        pass
    first, *others = stream.getvalue().splitlines()
    assert first == "  61.500 s  host b  in doubt"
    assert ["lab     boot ..." in others[0], "lab     boot: 0.0 s" in others[1]] == [True, True]


def test_a_demo_that_takes_too_long_is_ended() -> None:
    with pytest.raises(demo.TookTooLong), demo.bounded(0.05):
        threading.Event().wait(30)


def test_one_demo_at_a_time(tmp_path: Path) -> None:
    name = str(tmp_path)
    with demo.alone(name), pytest.raises(demo.AlreadyRunning), demo.alone(name):
        pass
    with demo.alone(name):
        pass
