"""A guest that ends is not resurrected: shutdown, destruction, a crash inside."""

import pytest

from tests.lab.support.protection import Protection
from tests.lab.support.stage import Guest, Stage


def _assert_nowhere(stage: Stage, guest: Guest, p: Protection) -> None:
    """The backup has no copy and will have none: its process has ended with it destroyed."""
    assert p.log_backup.wait(r" ends as ").endswith(("destroyed", "stopped"))
    assert not guest.uuid_on(p.backup)
    stage.gone(guest)


@pytest.mark.gate
def test_the_guest_shuts_down(stage: Stage) -> None:
    """It stays down on both hosts, and its last answers were true."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        guest.control.end("shutdown")
        p.log_primary.wait(r" ends as stopped")
        _assert_nowhere(stage, guest, p)
        assert not guest.uuid_on(p.primary)
        assert p.status(p.primary)["state"] == "stopped"


@pytest.mark.gate
def test_the_guest_is_destroyed(stage: Stage) -> None:
    """``xl destroy`` on the primary is meant: nothing comes up on the backup."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        stage.host(p.primary).shell.run(f"xl destroy {guest.name}")
        p.log_primary.wait(r" ends as stopped")
        _assert_nowhere(stage, guest, p)
        assert not guest.uuid_on(p.primary)


@pytest.mark.gate
def test_the_guest_crashes_inside(stage: Stage) -> None:
    """The crash is the guest's own end: preserved as its on_crash says, not resurrected."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        guest.control.end("crash")
        p.log_primary.wait(r" ends as stopped")
        _assert_nowhere(stage, guest, p)
        assert guest.uuid_on(p.primary) == guest.uuid, "on_crash=preserve keeps it for a look"
    stage.drop_guest()
