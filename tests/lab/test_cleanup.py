"""What ``remus-ha cleanup`` makes of a guest whose processes are all dead."""

import pytest

from remus_ha.lab.host import Host
from tests.lab.support.domains import tracks_dirty_pages
from tests.lab.support.processes import kill, send, wait_gone
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import WITNESS, Guest, Stage

CLEANUP = "remus-ha cleanup --timeout 5"
CLEANUP_S = 300.0
_HELD = """
ls /sys/class/net | grep ^rh
tc qdisc show | grep -E 'qdisc (plug|ingress)'
xl list | awk '{ print $1, $2 }'
"""


def _dying_at(point: str) -> str:
    """Late enough for the guardian to be stopped first."""
    return f"REMUS_HA_KILLPOINT={point}:80:process"


def _die_suspended(stage: Stage, p: Protection) -> None:
    """Process and guardian in one moment, in the middle of an epoch; then the backup's host.

    The witness is away meanwhile, so that nobody has won.
    """
    primary = stage.host(p.primary)
    stage.lab.witness.stop()
    send(primary, "STOP", "guardian")
    wait_gone(primary, "process")
    kill(primary, "guardian")
    stage.lab.cut(p.backup)
    stage.lab.witness.start()
    assert _is_suspended(primary, p.guest)
    assert tracks_dirty_pages(primary, p.guest.name)


def _is_suspended(host: Host, guest: Guest) -> bool:
    return " ---ss- " in host.shell.text(f"xl list {guest.name}")


def _check_goes_on(stage: Stage, p: Protection) -> None:
    """The guest lives where it was, its output is open, and nothing of ours is left there."""
    p.guest.clients.wait_answers()
    assert not _is_suspended(stage.host(p.primary), p.guest)
    assert not tracks_dirty_pages(stage.host(p.primary), p.guest.name)
    assert not stage.leftovers()


@pytest.mark.parametrize("point", ["s2", "r"])
def test_both_die_while_the_guest_is_suspended(stage: Stage, point: str) -> None:
    """Nobody resumes it until cleanup takes the session up, which then finds itself alone."""
    guest = stage.guest()
    with Protection(stage, guest, environment=_dying_at(point)) as p:
        _die_suspended(stage, p)
        stage.host(p.primary).shell.run("remus-ha cleanup", timeout_s=CLEANUP_S)
        _check_goes_on(stage, p)


def test_the_session_is_lost_as_well(stage: Stage) -> None:
    """Cleanup touches nothing and says what lets the guest go on; that does."""
    guest = stage.guest()
    with Protection(stage, guest, environment=_dying_at("s")) as p:
        _die_suspended(stage, p)
        shell = stage.host(p.primary).shell
        shell.run(f"rm -r /run/remus-ha/primary/{guest.uuid}")
        held = shell.text(_HELD)
        assert "plug" in held
        assert "PROTECT-017" in refused(stage, p.primary, CLEANUP)
        said = shell.run(CLEANUP, check=False).stdout.decode()
        claim = f"remus-ha witness claim {WITNESS} {guest.uuid}"
        assert "PROTECT-020" in said
        assert claim.replace(WITNESS, "URL") in said
        assert shell.text(_HELD) == held
        assert _is_suspended(stage.host(p.primary), guest)
        shell.run(claim)
        shell.run("remus-ha cleanup", timeout_s=CLEANUP_S)
        _check_goes_on(stage, p)


def test_nothing_is_touched_while_the_register_says_pair(stage: Stage) -> None:
    """Everything of ours is dead on both hosts, and nobody can swap: all of it stays, held."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        stage.lab.witness.stop()
        kill(stage.host(p.backup), "receiver", "keeper", "restore")
        kill(stage.host(p.primary), "guardian", "process")
        held = {name: stage.host(name).shell.text(_HELD) for name in (p.primary, p.backup)}
        assert "plug" in held[p.primary]
        assert f"{guest.name}--incoming" in held[p.backup]
        for name in held:
            assert "PROTECT-010" in refused(stage, name, CLEANUP)
        for name, before in held.items():
            assert stage.host(name).shell.text(_HELD) == before
        assert not guest.wire.frames(guest.plan.mac(), p.backup)
        stage.lab.witness.start()
        p.wait_alone()
        assert p.log_backup.wait(r" ends as (\w+)").endswith(("broken", "destroyed"))
        _check_goes_on(stage, p)
