"""Processes and hosts die at chosen places of an epoch, on either side."""

import pytest
from _pytest.mark import ParameterSet

from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Stage

GATE = ("s2", "c")
REST = ("s", "r", "r2", "c2")
AFTER_EPOCHS = 20


def _points(how: str) -> list[ParameterSet]:
    gate = pytest.mark.gate
    first = [pytest.param(point, id=f"{point}-{how}", marks=gate) for point in GATE]
    return first + [pytest.param(point, id=f"{point}-{how}") for point in REST]


@pytest.mark.parametrize("point", _points("process"))
def test_the_primarys_process_dies(stage: Stage, point: str) -> None:
    """Its guardian lets the guest go on, output held, and a new process finds who may live."""
    guest = stage.guest()
    accident = f"REMUS_HA_KILLPOINT={point}:{AFTER_EPOCHS}:process"
    with Protection(stage, guest, environment=accident) as p:
        p.log_primary.wait(r"guardian .*: starting")
        ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
        kept = ends[0].endswith("alone") and ends[1].endswith("destroyed")
        moved = ends[0].endswith("destroyed") and ends[1].endswith("alive")
        assert kept or moved, ends
        stage.moved(guest, p.primary if kept else p.backup)
        assert guest.uuid_on(guest.host) == guest.uuid
        assert not guest.uuid_on(guest.other)
        guest.clients.wait_answers()


@pytest.mark.parametrize("point", _points("host"))
def test_the_primarys_host_dies(stage: Stage, point: str) -> None:
    """The copy goes on from the last epoch that the backup holds."""
    guest = stage.guest()
    accident = f"REMUS_HA_KILLPOINT={point}:{AFTER_EPOCHS}:host"
    with Protection(stage, guest, environment=accident) as p:
        p.wait_failed_over()
        guest.clients.wait_answers()
        stage.lab.cut(p.primary)
