"""The line of figures that ``protect`` and ``status`` show of a protection."""

from typing import Any

from remus_ha.cmd.view import line

MIB = 1 << 20


def disk(vdev: str, done: int, of: int, rate: int, stage: str = "syncing") -> dict[str, Any]:
    return {
        "vdev": vdev,
        "stage": stage,
        "synced_octets": done * MIB,
        "sync_octets": of * MIB,
        "octets_per_s": rate * MIB,
    }


def status(**facts: Any) -> dict[str, Any]:
    return {"name": "web1", "state": "protected", "acked": 7, **facts}


def test_a_protected_guest() -> None:
    figures = {
        "checkpoints_per_s": 4.96,
        "pause_ms": {"median": 3.21},
        "octets": 2048,
        "ack_ms": {"median": 1.5},
    }
    vifs = [{"backlog_octets": 10, "drops": 0}, {"backlog_octets": 5, "drops": 3}]
    assert line(status(figures=figures, vifs=vifs)) == (
        "web1: protected  epoch 7  5.0/s  pause 3.2 ms  dirty 2 KiB  lag 1.5 ms  held 15 B  DROPS 3"
    )


def test_the_first_copy_of_all_disks_together() -> None:
    disks = [disk("xvda", 10, 100, 5), disk("xvdb", 30, 60, 5)]
    assert line(status(state="syncing", disks=disks)) == (
        "web1: syncing  disks 40 of 160 MiB (25 %), 10.0 MiB/s, 12 s left"
    )


def test_a_first_copy_that_does_not_move() -> None:
    told = line(status(state="syncing", disks=[disk("xvda", 0, 100, 0)]))
    assert told.endswith("disks 0 of 100 MiB (0 %), 0.0 MiB/s, stalled")


def test_disks_that_are_copied_are_not_shown() -> None:
    assert "disks" not in line(status(disks=[disk("xvda", 100, 100, 5, "mirrored")]))


def test_what_a_verification_does_and_has_found() -> None:
    known = {"running": True, "done_octets": 25, "octets": 100, "bad_disks": ["xvdb"]}
    assert line(status(verification=known)).endswith("  xvdb DIFFERS on the backup  verifying 25 %")
    assert line(status(verification={**known, "running": False})).endswith("DIFFERS on the backup")
    assert "DIFFERS" not in line(status(verification={**known, "bad_disks": []}))
    assert "DIFFERS" not in line(status(verification={}))
