"""The story of a per-guest process."""

import subprocess
import sys

import pytest

from remus_ha.journal import KEPT, Journal


def test_a_viewer_gets_what_it_has_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal("primary web1")
    for text in ("one", "two", "three"):
        journal(text)
    assert [event["text"] for event in journal.after(1)] == ["two", "three"]
    assert journal.after(3) == []
    assert "primary web1: three" in capsys.readouterr().err


def test_the_oldest_are_dropped_and_numbers_go_on() -> None:
    journal = Journal("x")
    for n in range(KEPT + 5):
        journal(str(n))
    events = journal.after(0)
    assert len(events) == KEPT
    assert events[-1]["number"] == KEPT + 5
    assert events[0]["text"] == "5"


def test_a_full_disk_under_the_log_ends_nothing() -> None:
    """/var/log is full sooner or later; the guest's protection has to outlive that."""
    program = (
        "from remus_ha.journal import Journal\n"
        "journal = Journal('x')\n"
        "journal('nobody can write this down')\n"
        "print(journal.after(0)[0]['text'])\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert done.stdout == "nobody can write this down\n"
