"""A protection is ended and begun again, also from the host that the guest came to."""

import pytest

from tests.lab.support.domains import tracks_dirty_pages
from tests.lab.support.protection import Protection
from tests.lab.support.stage import HOSTS, Stage


@pytest.mark.gate
def test_unprotect_and_protect_again(stage: Stage) -> None:
    """The guest stays where it is, its clients notice nothing, and both hosts are clean between."""
    guest = stage.guest()
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(3)
            assert tracks_dirty_pages(stage.host(guest.host), guest.name)
            p.unprotect()
            assert p.status(p.primary)["state"] == "stopped"
            guest.clients.wait_answers()
        stage.assert_clean()
        assert not tracks_dirty_pages(stage.host(guest.host), guest.name)
    for name in HOSTS:  # one of them has no guest at all
        assert not stage.host(name).shell.text("remus-ha cleanup")


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
