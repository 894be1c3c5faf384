"""A protected guest reboots, or somebody migrates it: as the documentation says.

Migrating it after the protection's end is a part of ``test_again``.
"""

import pytest

from remus_ha.lab.plan import Link
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Guest, Stage
from tests.lab.support.wire import Sighting


def wait_begun_anew(stage: Stage, guest: Guest) -> None:
    """A guest says hello until it is welcomed, and this one had been."""
    hello = f"hello {guest.name}".encode()

    def has_begun_anew(seen: Sighting) -> bool:
        return hello in seen.frame.data

    guest.wire.wait(has_begun_anew, 120)
    assert not guest.wire.frames(guest.plan.mac(), guest.other)
    stage.begun_anew(guest)
    guest.clients.wait_answers()


@pytest.mark.gate
def test_the_guest_reboots(stage: Stage) -> None:
    """It is started again where it was, by us, unprotected, and nothing comes up elsewhere."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        before = guest.control.stat()
        guest.clients.finish()
        guest.control.end("reboot")
        p.wait_alone()
        assert p.log_backup.wait(r" ends as ").endswith("destroyed")
        wait_begun_anew(stage, guest)
        assert guest.control.stat().ticks < before.ticks, "it has begun anew"
        assert guest.uuid_on(p.primary) == guest.uuid
        assert not guest.uuid_on(p.backup)


def test_the_guest_reboots_while_the_first_copy_runs(stage: Stage) -> None:
    """Until its first suspend xl minds it: xl starts it again, and the protection ends."""
    guest = stage.guest(fresh=True)  # xl minds no guest that was suspended once
    stage.lab.slow(guest.host, Link.REPL, "20mbit")
    try:
        with Protection(stage, guest, start=False) as p:
            child = stage.host(p.primary).shell.popen(p.command)
            try:
                p.log_primary.wait(r"-> syncing")
                guest.clients.finish()
                guest.control.end("reboot")
                assert p.log_primary.wait(ENDS).endswith("stopped")
                wait_begun_anew(stage, guest)
                assert child.wait(60) == 1
            finally:
                child.kill()
                child.communicate()
            p.log_backup.wait(ENDS)
            assert guest.uuid_on(p.primary) == guest.uuid
            assert not guest.uuid_on(p.backup)
    finally:
        stage.lab.slow(guest.host, Link.REPL, None)


@pytest.mark.gate
def test_a_migration_while_protected(stage: Stage) -> None:
    """``xl migrate`` is refused by the backup; having begun a save, it ends the protection."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        shell = stage.host(p.primary).shell
        done = shell.run(f"xl migrate {guest.name} {p.backup}", timeout_s=120, check=False)
        print(done.stderr.decode(errors="replace"))
        assert done.returncode != 0
        p.wait_alone(90)
        p.log_backup.wait(r" ends as destroyed")
        guest.clients.wait_answers()
        assert guest.uuid_on(p.primary) == guest.uuid
        assert not guest.uuid_on(p.backup)
