"""Processes and hosts die at chosen places of an epoch, on either side."""

import pytest
from _pytest.mark import ParameterSet

from tests.lab.support.clients import Clients
from tests.lab.support.domains import tracks_dirty_pages
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Stage
from tests.lab.support.wire import Wire

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
    with (
        Wire(stage.lab) as wire,
        Clients(stage.lab, guest.plan) as c,
        Protection(
            stage, guest, environment=f"REMUS_HA_KILLPOINT={point}:{AFTER_EPOCHS}:process"
        ) as p,
    ):
        p.log_primary.wait(r"guardian .*: starting")
        ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
        kept = ends[0].endswith("alone") and ends[1].endswith("destroyed")
        moved = ends[0].endswith("destroyed") and ends[1].endswith("alive")
        assert kept or moved, ends
        stage.moved(guest, p.primary if kept else p.backup)
        assert guest.uuid_on(guest.host) == guest.uuid
        assert not guest.uuid_on(guest.other)
        c.wait_answers()
        assert not tracks_dirty_pages(stage.host(guest.host), guest.name)
        c.finish()
        expected = [p.primary] if kept else [p.primary, p.backup]
        assert wire.emitters(guest.plan.mac()) == expected


@pytest.mark.parametrize("point", _points("host"))
def test_the_primarys_host_dies(stage: Stage, point: str) -> None:
    """The copy goes on from the last epoch that the backup holds."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Clients(stage.lab, guest.plan) as c,
        Protection(
            stage, guest, environment=f"REMUS_HA_KILLPOINT={point}:{AFTER_EPOCHS}:host"
        ) as p,
    ):
        p.wait_failed_over()
        c.wait_answers()
        c.finish()
        stage.lab.cut(p.primary)
        for vif in range(guest.plan.vifs):
            assert wire.emitters(guest.plan.mac(vif)) == [p.primary, p.backup]
