"""What ``remus-ha disk verify`` says of what it is told."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from remus_ha.cmd import disk_verify as command
from tests.unit.cmd.test_remus_ha import run

MIB = 1 << 20


def disk(**facts: Any) -> dict[str, Any]:
    return {
        "vdev": "xvda",
        "octets": 10 * MIB,
        "compared_octets": 10 * MIB,
        "mismatched_octets": 0,
        "unsettled_octets": 0,
        "mismatches": [],
        **facts,
    }


def told(*disks: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "running": False,
        "complete": True,
        "error": None,
        "octets": 10 * MIB,
        "done_octets": 10 * MIB,
        "octets_per_s": MIB,
        "disks": list(disks),
        **facts,
    }


BAD = disk(mismatched_octets=1024, mismatches=[{"offset": 512, "length": 1024}])
BUSY = disk(unsettled_octets=512, compared_octets=10 * MIB - 512)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (told(disk()), 0),
        (told(disk(), BAD), 1),
        (told(BAD, complete=False), 1),
        (told(disk(), complete=False), 2),
        (told(BUSY, complete=False), 2),
        (told(BUSY, BAD, complete=False), 1),
        ({"error": {"code": "VERIFY-003", "cause": "", "remedy": ""}}, 2),
    ],
)
def test_exit_status(result: dict[str, Any], status: int) -> None:
    """0 only if everything was compared and is the same."""
    assert command.exit_status(result) == status


def test_verdicts() -> None:
    assert command.verdict(disk()) == "xvda: 10485760 of 10485760 octets compared, no mismatch"
    assert command.verdict(BAD).endswith("compared, 1024 differ: 1024 at 512")
    assert command.verdict(BUSY).endswith("no mismatch; 512 were written to at every look")


def test_progress_tells_octets_rate_and_the_time_left() -> None:
    status = told(disk(), done_octets=4 * MIB, octets_per_s=2 * MIB)
    assert command.progress("web1", status) == (
        "web1: compared 4 of 10 MiB (40 %), 2.0 MiB/s, 3 s left"
    )
    assert "nothing yet" in command.progress("web1", told(disk(), done_octets=0, octets_per_s=0))
    assert command.progress("web1", told(BAD)).endswith("  1024 octets DIFFER")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LOOK_S", 0.0)
    monkeypatch.setattr("signal.signal", lambda *_: None)


def answering(asked: list[str], answers: Sequence[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    rest = iter(answers)

    def ask(name: str, **_: Any) -> dict[str, Any]:
        asked.append(name)
        return next(rest)

    return ask


@pytest.mark.usefixtures("at_once")
def test_it_is_asked_until_it_has_ended() -> None:
    asked: list[str] = []
    answers = [{"accepted": True}, told(running=True), told(running=True), told(disk())]
    watch = command.Watch(answering(asked, answers), "web1", quiet=True)
    assert watch.show(0) == told(disk())
    assert asked == ["verify", "verification", "verification", "verification"]


@pytest.mark.usefixtures("at_once")
def test_an_interrupt_ends_it_there() -> None:
    asked: list[str] = []
    answers = [{"accepted": True}, {}, told(complete=False)]
    watch = command.Watch(answering(asked, answers), "web1", quiet=True)
    watch._interrupt(2, None)
    assert not watch.show(0)["complete"]
    assert asked == ["verify", "end-verification", "verification"]


@pytest.mark.usefixtures("at_once")
def test_a_refusal_is_all_there_is() -> None:
    refused = {"error": {"code": "VERIFY-003", "cause": "x", "remedy": "y"}}
    assert command.Watch(answering([], [refused]), "web1", quiet=True).show(0) == refused


@pytest.mark.parametrize("rate", ["0", "3", "16385", "x", "-1"])
def test_a_rate_that_makes_no_sense(tmp_path: Any, rate: str) -> None:
    assert run(tmp_path, "disk", "verify", "--rate", rate, "web1").returncode == 2


def test_a_guest_that_is_not_protected_here(tmp_path: Any) -> None:
    done = run(tmp_path, "disk", "verify", "web1")
    assert done.returncode == 2
    assert done.stderr.startswith("remus-ha: PROTECT-007: 'web1'")
