"""A host loses its power: the guest's survives it, on the other host or where it is."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from remus_ha.lab.plan import Link
from tests.lab.support.protection import Protection
from tests.lab.support.stage import Stage

MARKLESS_S = 1.0  # an epoch's octets take a small part of it


@pytest.mark.gate
def test_the_primary_loses_its_power(stage: Stage) -> None:
    """Under load on two vifs: all connections live on, nothing told is lost, all is announced."""
    guest = stage.guest()
    guest.control.dirty(2048, 8)
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(5)
        cut_s = time.monotonic()
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        guest.clients.wait_answers()
        reports = guest.clients.finish()
        assert max(report.silence_ms for report in reports) < 30_000
        for vif in range(guest.plan.vifs):
            mac = guest.plan.mac(vif)
            assert guest.wire.announced(mac, p.backup, since_s=cut_s) >= 3
        shown = p.status(p.backup)
        assert (shown["role"], shown["state"]) == ("backup", "failed_over")


@contextmanager
def _markless(stage: Stage, p: Protection) -> Iterator[None]:
    """Inside, the backup gets the memory stream and not what is said on the control channel."""
    backup = stage.host(p.backup)
    own = backup.plan.address(Link.REPL)
    told = backup.shell.text(f"ss -HOtni state established '( not sport = :22 )' src {own}")
    ports = {
        int(octets): int(port)
        for port, octets in re.findall(rf"{own}:(\d+) .*bytes_received:(\d+)", told)
    }
    assert len(ports) == 2, told
    rule = f"INPUT -p tcp --dport {ports[min(ports)]} -j DROP"
    backup.shell.run(f"iptables -I {rule}")
    try:
        yield
    finally:
        backup.shell.run(f"iptables -D {rule}")


def test_the_power_goes_when_an_epoch_has_come_and_its_mark_has_not(stage: Stage) -> None:
    """The restoring process has most of an epoch that never was: it goes on from the one before."""
    guest = stage.guest()
    with Protection(stage, guest, detect_ms=6000) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(5)
        with _markless(stage, p):
            threading.Event().wait(MARKLESS_S)  # the accident itself lasts this long
            told = p.progress()
            assert told["epoch"] == told["acked"] + 1, told
            stage.lab.cut(p.primary)
        p.wait_failed_over()
        guest.clients.wait_answers()


@pytest.mark.gate
def test_the_backup_loses_its_power(stage: Stage) -> None:
    """The guest is unprotected after the detection time, goes on, and ``protect`` says so."""
    guest = stage.guest()
    with Protection(stage, guest, detach=False) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(5)
        stage.lab.cut(p.backup)
        p.wait_alone()
        guest.clients.wait_answers()
        assert p.foreground is not None
        out, err = p.foreground.communicate(timeout=60)
        assert p.foreground.returncode == 1, (out, err)
        assert b"PROTECT-008" in err
        assert p.status(p.primary)["state"] == "degraded"
