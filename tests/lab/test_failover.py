"""A guest is moved to its backup on request: nothing is lost, and one lives, whatever dies."""

import pytest

from tests.lab.support import processes
from tests.lab.support.protection import ENDS, Protection, refused
from tests.lab.support.stage import Stage


@pytest.mark.gate
def test_a_guest_moves_and_comes_back(stage: Stage) -> None:
    """Twice: to the backup, and from there home again. No epoch is lost on either way."""
    guest = stage.guest()
    first = guest.host
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(3)
            shell = stage.host(p.primary).shell
            dry = shell.text(f"remus-ha failover --dry-run {guest.name}")
            assert f"can be moved to {p.backup}" in dry
            before = p.progress()["acked"]
            said = shell.text(f"remus-ha failover {guest.name}")
            assert f"runs on {p.backup}" in said
            p.wait_failed_over()
            guest.clients.wait_answers()
            assert p.status(p.primary)["state"] == "failed_over"
            assert p.status(p.backup)["committed"] > before
        stage.assert_clean()
    assert guest.host == first
    reports = guest.clients.finish()
    assert max(report.silence_ms for report in reports) < 30_000


def test_the_primarys_process_dies_while_the_backup_takes_over(stage: Stage) -> None:
    """Its successor finds the guest kept, asks, and ends the copy or takes it back."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        moving = stage.host(p.primary).shell.popen(f"remus-ha failover {guest.name}")
        p.log_primary.wait(r"yielding -> yielded")
        processes.kill(stage.host(p.primary), "process")
        p.wait_failed_over()
        p.log_primary.wait(r" ends as destroyed")
        guest.clients.wait_answers()
        moving.communicate(timeout=120)
    stage.assert_clean()
    guest.clients.finish()


def test_the_backup_dies_while_it_takes_over(stage: Stage) -> None:
    """The guest goes on where it was, from the epoch that it had ended with."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        moving = stage.host(p.primary).shell.popen(f"remus-ha failover {guest.name}")
        p.log_primary.wait(r"yielding -> yielded")
        stage.lab.cut(p.backup)
        p.log_primary.wait(ENDS)
        guest.clients.wait_answers()
        moving.communicate(timeout=120)
        if p.log_primary.lines[-1].endswith("alone"):
            assert moving.returncode == 1
    stage.lab.boot(p.backup)
    stage.assert_clean()
    guest.clients.finish()


def test_a_paused_guest_is_not_moved(stage: Stage) -> None:
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        shell = stage.host(p.primary).shell
        shell.run(f"xl pause {guest.name}")
        try:
            assert "PROTECT-032" in refused(stage, p.primary, f"remus-ha failover {guest.name}")
        finally:
            shell.run(f"xl unpause {guest.name}")
        p.wait_checkpoints(3)
        p.unprotect()
    stage.assert_clean()
    guest.clients.finish()
