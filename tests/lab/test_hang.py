"""A host stands still for 20 seconds and goes on as if no time had passed."""

import threading
import time

import pytest

from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Stage

STILL_S = 20.0


def _let_pass(since_s: float) -> None:
    """The accident itself lasts this long."""
    threading.Event().wait(max(0.0, since_s + STILL_S - time.monotonic()))


@pytest.mark.gate
def test_the_primary_stands_still(stage: Stage) -> None:
    """The copy goes on; the returning primary finds that it has lost and gives its guest up."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        still_s = time.monotonic()
        stage.lab.hang(p.primary)
        p.wait_failed_over()
        guest.clients.wait_answers()
        _let_pass(still_s)
        stage.lab.unhang(p.primary)
        p.log_primary.wait(r" ends as destroyed")
        guest.clients.wait_answers()
        assert not guest.uuid_on(p.primary)


def test_the_backup_stands_still(stage: Stage) -> None:
    """The primary goes on alone; the returning backup drops its copy."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        still_s = time.monotonic()
        stage.lab.hang(p.backup)
        p.wait_alone()
        guest.clients.wait_answers()
        _let_pass(still_s)
        stage.lab.unhang(p.backup)
        assert p.log_backup.wait(ENDS).endswith("destroyed")
        guest.clients.wait_answers()
