"""Both hosts have more to do than they can, and the detection is short: false alarms, never two."""

import os
import time

from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import HOSTS, Stage

BUSY_S = float(os.environ.get("REMUS_HA_BUSY_S", "600"))
DETECT_MS = 1000


def _protect_until(stage: Stage, deadline: float) -> int:
    """Protect the guest again and again; how often an alarm has ended that."""
    alarms = 0
    while time.monotonic() < deadline:
        guest = stage.guest()
        with Protection(stage, guest, detect_ms=DETECT_MS) as p:
            end = p.log_primary.wait_until(ENDS, deadline)
            if end is None:
                p.unprotect()
                return alarms
            alarms += 1
            p.log_backup.wait(ENDS)
            if not guest.uuid_on(p.primary):
                stage.moved(guest, p.backup)
        guest.clients.wait_answers()
        stage.assert_clean()
    return alarms


def test_both_are_busy(stage: Stage) -> None:
    """The wire shows one guest all along, and it is protected again afterwards."""
    for name in HOSTS:
        stage.lab.load(name)
    try:
        print(f"{_protect_until(stage, time.monotonic() + BUSY_S)} alarms in {BUSY_S:.0f} s")
    finally:
        for name in HOSTS:
            stage.lab.load(name, on=False)
    guest = stage.guest()
    with Protection(stage, guest, detect_ms=DETECT_MS) as p:
        p.wait_checkpoints(3)
        guest.clients.wait_answers()
        p.unprotect()
