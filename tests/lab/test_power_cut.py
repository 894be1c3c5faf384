"""A host loses its power: the guest's survives it, on the other host or where it is."""

import time

import pytest

from tests.lab.support.clients import Clients
from tests.lab.support.protection import Protection
from tests.lab.support.stage import Guest, Stage
from tests.lab.support.wire import Wire


def _macs(guest: Guest) -> list[str]:
    return [guest.plan.mac(vif) for vif in range(guest.plan.vifs)]


@pytest.mark.gate
def test_the_primary_loses_its_power(stage: Stage) -> None:
    """Under load on two vifs: all connections live on, nothing told is lost, all is announced."""
    guest = stage.guest()
    guest.control.dirty(2048, 8)
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(5)
        cut_s = time.monotonic()
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        c.wait_answers()
        reports = c.finish()
        assert max(report.silence_ms for report in reports) < 30_000
        for mac in _macs(guest):
            assert wire.emitters(mac) == [p.primary, p.backup]
            assert wire.announced(mac, p.backup, since_s=cut_s) >= 3
        shown = p.status(p.backup)
        assert (shown["role"], shown["state"]) == ("backup", "failed_over")


@pytest.mark.gate
def test_the_backup_loses_its_power(stage: Stage) -> None:
    """The guest is unprotected after the detection time, goes on, and ``protect`` says so."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest, detach=False) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(5)
        stage.lab.cut(p.backup)
        p.wait_alone()
        c.wait_answers()
        c.finish()
        assert p.foreground is not None
        out, err = p.foreground.communicate(timeout=60)
        assert p.foreground.returncode == 1, (out, err)
        assert b"PROTECT-008" in err
        assert p.status(p.primary)["state"] == "degraded"
        for mac in _macs(guest):
            assert wire.emitters(mac) == [p.primary]
