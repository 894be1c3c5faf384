"""A protection is ended and begun again, also from the host that the guest came to.

Ended, it is in nobody's way: ``xl migrate`` works as before.
"""

import pytest

from tests.lab.support.domains import tracks_dirty_pages
from tests.lab.support.processes import is_copy
from tests.lab.support.protection import Protection
from tests.lab.support.stage import HOSTS, WITNESS, Guest, Stage


@pytest.mark.gate
def test_unprotect_and_protect_again(stage: Stage) -> None:
    """The guest stays where it is, its clients notice nothing, and both hosts are clean between."""
    guest = stage.guest()
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(3)
            assert tracks_dirty_pages(stage.host(guest.host), guest.name)
            for role in ("guardian", "process"):
                assert is_copy(stage.host(p.primary), role)
            for role in ("keeper", "receiver"):
                assert is_copy(stage.host(p.backup), role)
            p.unprotect()
            assert p.status(p.primary)["state"] == "stopped"
            guest.clients.wait_answers()
        stage.assert_clean()
        assert not tracks_dirty_pages(stage.host(guest.host), guest.name)
    for name in HOSTS:  # one of them has no guest at all
        assert not stage.host(name).shell.text("remus-ha cleanup")
    _migrate(stage, guest)


def _migrate(stage: Stage, guest: Guest) -> None:
    """To the other host, by xl; the register is told who has it now."""
    old = guest.host
    shell = stage.host(old).shell
    shell.run(f"xl migrate {guest.name} {guest.other}", timeout_s=240)
    stage.moved(guest, guest.other)
    guest.clients.wait_answers()
    assert guest.uuid_on(guest.host) == guest.uuid
    assert not guest.uuid_on(old)
    shell.run(f"remus-ha witness release {WITNESS} {guest.uuid}")
    here = stage.host(guest.host).shell
    assert "claimed" in here.text(f"remus-ha witness claim {WITNESS} {guest.uuid}")


def test_a_migrated_guest_is_protected_from_its_new_host(stage: Stage) -> None:
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        p.unprotect()
    _migrate(stage, guest)
    with Protection(stage, guest) as again:
        again.wait_checkpoints(3)
        again.unprotect()


@pytest.mark.gate
def test_after_a_failover_back_the_other_way(stage: Stage) -> None:
    """The guest loses its host, is protected from the new one, and loses that one too."""
    guest = stage.guest()
    first = guest.host
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(3)
            stage.lab.cut(p.primary)
            p.wait_failed_over()
            guest.clients.wait_answers()
        stage.lab.boot(p.primary)
        stage.assert_clean()
    assert guest.host == first
