"""The backup's processes die at each of their steps, or cannot bring the copy up."""

import shlex

import pytest

from remus_ha.lab.errors import RemoteFailed
from remus_ha.lab.plan import Link
from tests.lab.support.clients import Clients
from tests.lab.support.domains import free_mib, paused_domain
from tests.lab.support.processes import kill, send, wait_other
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Guest, Stage
from tests.lab.support.wire import Wire

GUEST_MIB = 96


def _check_one_survivor(stage: Stage, p: Protection, c: Clients, wire: Wire) -> None:
    """Both sides have ended, the guest lives on one of them, and its clients are with it."""
    ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
    kept = ends[0].endswith("alone") and ends[1].endswith(("destroyed", "broken", "stopped"))
    moved = ends[0].endswith("destroyed") and ends[1].endswith("alive")
    assert kept or moved, ends
    stage.moved(p.guest, p.primary if kept else p.backup)
    c.wait_answers()
    c.finish()
    _check_place(p.guest, wire, [p.primary] if kept else [p.primary, p.backup])


def _check_place(guest: Guest, wire: Wire, emitters: list[str]) -> None:
    assert guest.uuid_on(guest.host) == guest.uuid
    assert not guest.uuid_on(guest.other)
    for vif in range(guest.plan.vifs):
        assert wire.emitters(guest.plan.mac(vif)) == emitters


def _moved(stage: Stage, p: Protection, c: Clients, wire: Wire) -> None:
    """The primary is gone; the copy is the guest."""
    p.wait_failed_over(90)
    c.wait_answers()
    c.finish()
    for vif in range(p.guest.plan.vifs):
        assert wire.emitters(p.guest.plan.mac(vif)) == [p.primary, p.backup]


def test_the_receiver_dies_while_protected(stage: Stage) -> None:
    """The keeper keeps the copy from starting; one of the two goes on."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "receiver")
        _check_one_survivor(stage, p, c, wire)


def test_the_keeper_dies_while_protected(stage: Stage) -> None:
    """The receiver starts another one, and the protection goes on as if nothing had been."""
    guest = stage.guest()
    with Protection(stage, guest) as p, Clients(stage.lab, guest.plan) as c:
        backup = stage.host(p.backup)
        (dead,) = kill(backup, "keeper")
        wait_other(backup, "keeper", dead)
        p.wait_checkpoints(5)
        c.wait_answers()
        c.finish()
        p.unprotect()


def test_the_guardian_dies_while_protected(stage: Stage) -> None:
    """The primary's process starts another one, and the protection goes on."""
    guest = stage.guest()
    with Protection(stage, guest) as p, Clients(stage.lab, guest.plan) as c:
        primary = stage.host(p.primary)
        (dead,) = kill(primary, "guardian")
        wait_other(primary, "guardian", dead)
        p.wait_checkpoints(5)
        c.wait_answers()
        c.finish()
        p.unprotect()


def test_receiver_and_keeper_die_at_once(stage: Stage) -> None:
    """The restore takes it for its cue, but the copy is behind shut vifs; cleanup resolves it."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "receiver", "keeper")
        p.wait_alone()
        c.wait_answers()
        assert not wire.frames(guest.plan.mac(), p.backup)
        stage.host(p.backup).shell.run("remus-ha cleanup", timeout_s=120)
        c.wait_answers()
        c.finish()
        _check_place(guest, wire, [p.primary])


def test_process_and_guardian_die_at_once(stage: Stage) -> None:
    """Output stays held in the kernel; the copy, or after cleanup the guest, goes on."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.primary), "guardian", "process")
        p.wait_failed_over()
        c.wait_answers()
        stage.lab.host(p.primary).shell.run("remus-ha cleanup", timeout_s=120)
        c.finish()
        _check_place(guest, wire, [p.primary, p.backup])


@pytest.mark.parametrize("who", ["receiver", "keeper"])
def test_one_dies_while_restoring(stage: Stage, who: str) -> None:
    """The primary has lost its power: the failover goes on with what is left."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        # Before the backup has any doubt: so the restore lasts until it has been killed in.
        send(stage.host(p.backup), "STOP", "restore")
        stage.lab.cut(p.primary)
        p.log_backup.wait(r"-> restoring")
        kill(stage.host(p.backup), who)
        send(stage.host(p.backup), "CONT", "restore")
        _moved(stage, p, c, wire)


@pytest.mark.parametrize("step", ["in_doubt", "swapping"])
@pytest.mark.parametrize("who", ["receiver", "keeper"])
def test_one_dies_while_asking(stage: Stage, who: str, step: str) -> None:
    """The witness is out while the backup wants to read or to swap; then it comes back."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        if step == "in_doubt":
            stage.lab.witness.stop()
            stage.lab.cut(p.primary)
        else:
            # The restore does not end before the witness is away.
            send(stage.host(p.backup), "STOP", "restore")
            stage.lab.cut(p.primary)
            p.log_backup.wait(r"-> restoring")
            stage.lab.witness.stop()
            send(stage.host(p.backup), "CONT", "restore")
        p.log_backup.wait(rf"-> {step}")
        kill(stage.host(p.backup), who)
        assert not wire.frames(guest.plan.mac(), p.backup)
        stage.lab.witness.start()
        _moved(stage, p, c, wire)


def test_the_restore_dies_while_protected(stage: Stage) -> None:
    """As when the backup's memory is taken: the primary lives, the backup says why."""
    guest = stage.guest()
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "restore")
        p.wait_alone()
        assert p.log_backup.wait(ENDS).endswith("broken")
        assert p.status(p.backup)["state"] == "error"
        c.wait_answers()
        c.finish()
        _check_place(guest, wire, [p.primary])


def test_the_bridge_is_missing_at_the_failover(stage: Stage) -> None:
    """The copy could not be heard: the backup gives back, and the frozen primary goes on."""
    guest = stage.guest()
    backup = stage.host(guest.other).shell
    with (
        Wire(stage.lab) as wire,
        Protection(stage, guest) as p,
        Clients(stage.lab, guest.plan) as c,
    ):
        c.wait_answers()
        p.wait_checkpoints(3)
        backup.run("ip link set xenbr0 down && ip link set xenbr0 name elsewhere")
        try:
            stage.lab.hang(p.primary)
            assert p.log_backup.wait(ENDS).endswith("broken")
            assert p.log_backup.count("no bridge xenbr0")
            stage.lab.unhang(p.primary)
            p.wait_alone(90)
        finally:
            backup.run("ip link set elsewhere name xenbr0 && ip link set xenbr0 up")
        c.wait_answers()
        c.finish()
        _check_place(guest, wire, [p.primary])


def test_the_primary_is_cut_off_while_the_first_copy_runs(stage: Stage) -> None:
    """Nothing is committed: there is no copy, and the guest was never at risk."""
    guest = stage.guest()
    with Clients(stage.lab, guest.plan) as c:
        c.wait_answers()
        stage.lab.slow(guest.host, Link.REPL, "20mbit")
        with Protection(stage, guest, start=False) as p:
            child = stage.host(p.primary).shell.popen(p.command)
            try:
                p.log_backup.wait(r"set apart")
                stage.lab.unplug(p.primary, Link.REPL)
                p.wait_alone(90)
                assert p.log_backup.wait(ENDS).endswith("stopped")
                assert child.wait(60) == 1
            finally:
                child.kill()
                child.communicate()
                stage.lab.slow(p.primary, Link.REPL, None)
        c.wait_answers()
        c.finish()


def test_the_memory_is_taken_before_the_restore_begins(stage: Stage) -> None:
    """Whoever gets the backup's memory, the guest lives on where it is, and hears of it at once."""
    guest = stage.guest()
    backup = stage.host(guest.other)
    stopped = 'remus-ha receive; pkill -STOP -f "^xl migrate-receive"'
    receiver = shlex.join(["ssh", guest.other, stopped])
    with (
        Wire(stage.lab) as wire,
        Clients(stage.lab, guest.plan) as c,
        Protection(stage, guest, "-s", "", receiver=receiver, start=False) as p,
    ):
        c.wait_answers()
        child = stage.host(p.primary).shell.popen(p.command)
        try:
            p.log_primary.wait(r"-> syncing")
            with paused_domain(backup, "hog", memory=free_mib(backup) - 64):
                send(backup, "CONT", "restore")
                p.wait_alone(90)
            assert p.log_backup.wait(ENDS).endswith("broken")
            assert p.log_backup.count("XEN-013")
            _, said = child.communicate(timeout=60)
            assert child.returncode == 1, said
        finally:
            child.kill()
            child.communicate()
        c.wait_answers()
        c.finish()
        _check_place(guest, wire, [guest.host])


def test_the_memory_is_set_apart_while_the_first_copy_runs(stage: Stage) -> None:
    """Nobody else gets what the copy will need."""
    guest = stage.guest()
    backup = stage.host(guest.other)
    free = free_mib(backup)
    stage.lab.slow(guest.host, Link.REPL, "40mbit")
    try:
        with Protection(stage, guest, start=False) as p:
            child = stage.host(p.primary).shell.popen(p.command)
            try:
                p.log_primary.wait(r"-> syncing")
                p.log_backup.wait(r"set apart")
                assert free_mib(backup) < free - GUEST_MIB + 8, "claimed"
                with pytest.raises(RemoteFailed), paused_domain(backup, "hog", memory=free - 64):
                    pass
                p.log_primary.wait(r"pairing -> protected", 120)
            finally:
                child.kill()
                child.communicate()
            p.unprotect()
    finally:
        stage.lab.slow(guest.host, Link.REPL, None)
