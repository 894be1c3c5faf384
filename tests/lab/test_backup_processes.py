"""The backup's processes die at each of their steps, or cannot bring the copy up."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from remus_ha.killpoint import FAILOVER
from remus_ha.lab.errors import RemoteFailed
from remus_ha.lab.plan import Link
from tests.lab.support.domains import free_mib, paused_domain
from tests.lab.support.processes import kill, send, wait_other
from tests.lab.support.protection import ENDS, KEEPER_GONE, Protection
from tests.lab.support.stage import Guest, Stage

GUEST_MIB = 96
Command = subprocess.Popen[bytes]


def _check_one_survivor(stage: Stage, p: Protection) -> None:
    """Both sides have ended, the guest lives on one of them, and its clients are with it."""
    ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
    kept = ends[0].endswith("alone") and ends[1].endswith(("destroyed", "broken", "stopped"))
    moved = ends[0].endswith("destroyed") and ends[1].endswith("alive")
    assert kept or moved, ends
    stage.moved(p.guest, p.primary if kept else p.backup)
    p.guest.clients.wait_answers()
    _check_place(p.guest)


def _check_place(guest: Guest) -> None:
    """Its domain is where it is heard from, and nowhere else."""
    assert guest.uuid_on(guest.host) == guest.uuid
    assert not guest.uuid_on(guest.other)


def test_the_receiver_dies_while_protected(stage: Stage) -> None:
    """The keeper keeps the copy from starting; one of the two goes on."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "receiver")
        _check_one_survivor(stage, p)


def test_the_keeper_dies_while_protected(stage: Stage) -> None:
    """The receiver starts another one, and the protection goes on as if nothing had been."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        backup = stage.host(p.backup)
        (dead,) = kill(backup, "keeper")
        wait_other(backup, "keeper", dead)
        p.wait_checkpoints(5)
        guest.clients.wait_answers()
        p.unprotect()


def test_the_guardian_dies_while_protected(stage: Stage) -> None:
    """The primary's process starts another one, and the protection goes on."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        primary = stage.host(p.primary)
        (dead,) = kill(primary, "guardian")
        wait_other(primary, "guardian", dead)
        p.wait_checkpoints(5)
        guest.clients.wait_answers()
        p.unprotect()


def test_receiver_and_keeper_die_at_once(stage: Stage) -> None:
    """The restore takes it for its cue, but the copy is behind shut vifs; cleanup resolves it."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "receiver", "keeper")
        p.wait_alone()
        guest.clients.wait_answers()
        assert not guest.wire.frames(guest.plan.mac(), p.backup)
        stage.host(p.backup).shell.run("remus-ha cleanup", timeout_s=120)
        guest.clients.wait_answers()
        _check_place(guest)


def test_process_and_guardian_die_at_once(stage: Stage) -> None:
    """Output stays held in the kernel; the copy, or after cleanup the guest, goes on."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.primary), "guardian", "process")
        p.wait_failed_over()
        guest.clients.wait_answers()
        stage.lab.host(p.primary).shell.run("remus-ha cleanup", timeout_s=120)
        _check_place(guest)


@pytest.mark.parametrize("who", ["receiver", "keeper"])
def test_one_dies_while_restoring(stage: Stage, who: str) -> None:
    """The primary has lost its power: the failover goes on with what is left."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        # Before the backup has any doubt: so the restore lasts until it has been killed in.
        send(stage.host(p.backup), "STOP", "restore")
        stage.lab.cut(p.primary)
        p.log_backup.wait(r"-> restoring")
        kill(stage.host(p.backup), who)
        send(stage.host(p.backup), "CONT", "restore")
        p.wait_failed_over(90)
        guest.clients.wait_answers()


@pytest.mark.parametrize("step", ["in_doubt", "swapping"])
@pytest.mark.parametrize("who", ["receiver", "keeper"])
def test_one_dies_while_asking(stage: Stage, who: str, step: str) -> None:
    """The witness is out while the backup wants to read or to swap; then it comes back."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
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
        assert not guest.wire.frames(guest.plan.mac(), p.backup)
        stage.lab.witness.start()
        p.wait_failed_over(90)
        guest.clients.wait_answers()


def test_the_restore_dies_while_protected(stage: Stage) -> None:
    """As when the backup's memory is taken: the primary lives, the backup says why."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        kill(stage.host(p.backup), "restore")
        p.wait_alone()
        assert p.log_backup.wait(ENDS).endswith("broken")
        assert p.status(p.backup)["state"] == "error"
        guest.clients.wait_answers()
        _check_place(guest)


def test_the_bridge_is_missing_at_the_failover(stage: Stage) -> None:
    """The copy could not be heard: the backup gives back, and the frozen primary goes on."""
    guest = stage.guest()
    backup = stage.host(guest.other).shell
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
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
        guest.clients.wait_answers()
        _check_place(guest)


@contextmanager
def _first_copy(stage: Stage, guest: Guest, rate: str) -> Iterator[tuple[Protection, Command]]:
    """A protection whose first copy has begun and takes long, and the command that waits for it."""
    stage.lab.slow(guest.host, Link.REPL, rate)
    try:
        with Protection(stage, guest, start=False) as p:
            command = stage.host(p.primary).shell.popen(p.command)
            try:
                p.log_backup.wait(r"set apart")
                yield p, command
            finally:
                command.kill()
                command.communicate()
    finally:
        stage.lab.slow(p.primary, Link.REPL, None)


def test_the_primary_is_cut_off_while_the_first_copy_runs(stage: Stage) -> None:
    """Nothing is committed: there is no copy, and the guest was never at risk."""
    guest = stage.guest()
    with _first_copy(stage, guest, "20mbit") as (p, command):
        stage.lab.unplug(p.primary, Link.REPL)
        p.wait_alone(90)
        assert p.log_backup.wait(ENDS).endswith("stopped")
        assert command.wait(60) == 1


def test_the_receiver_dies_while_the_first_copy_runs(stage: Stage) -> None:
    """The stream is lost and nothing is committed: the next receiver finds no copy to keep."""
    guest = stage.guest()
    with _first_copy(stage, guest, "20mbit") as (p, command):
        kill(stage.host(p.backup), "receiver")
        p.wait_alone(90)
        assert p.log_backup.wait(ENDS).endswith("stopped")
        assert command.wait(60) == 1
        _check_place(guest)


def test_the_keeper_dies_while_the_first_copy_runs(stage: Stage) -> None:
    """The receiver starts another one, and the copy is made all the same."""
    guest = stage.guest()
    with _first_copy(stage, guest, "40mbit") as (p, command):
        kill(stage.host(p.backup), "keeper")
        p.log_backup.wait(KEEPER_GONE)
        p.log_primary.wait(r"pairing -> protected", 120)
        assert command.wait(60) == 0
        p.unprotect()


@pytest.mark.parametrize("point", FAILOVER)
@pytest.mark.parametrize("who", ["receiver", "keeper"])
def test_one_dies_once_the_copy_has_won(stage: Stage, who: str, point: str) -> None:
    """No other can live now: what is left of the two opens the copy, and it is the guest."""
    guest = stage.guest()
    how = {"receiver": "process", "keeper": "caretaker"}[who]
    command = f"ssh {guest.other} REMUS_HA_KILLPOINT={point}:0:{how} remus-ha receive"
    with Protection(stage, guest, "-s", "", receiver=command) as p:
        p.wait_checkpoints(3)
        stage.lab.cut(p.primary)
        p.log_backup.wait({"receiver": r"keeper .*: starting", "keeper": KEEPER_GONE}[who])
        p.wait_failed_over(90)
        guest.clients.wait_answers()


def test_the_memory_is_taken_before_the_restore_begins(stage: Stage) -> None:
    """Whoever gets the backup's memory, the guest lives on where it is, and hears of it at once."""
    guest = stage.guest()
    backup = stage.host(guest.other)
    stopped = 'remus-ha receive; pkill -STOP -f "^xl migrate-receive"'
    receiver = shlex.join(["ssh", guest.other, stopped])
    with Protection(stage, guest, "-s", "", receiver=receiver, start=False) as p:
        guest.clients.wait_answers()
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
        guest.clients.wait_answers()
        _check_place(guest)


def test_the_memory_is_set_apart_while_the_first_copy_runs(stage: Stage) -> None:
    """Nobody else gets what the copy will need."""
    guest = stage.guest()
    backup = stage.host(guest.other)
    free = free_mib(backup)
    with _first_copy(stage, guest, "40mbit") as (p, _):
        p.log_primary.wait(r"-> syncing")
        assert free_mib(backup) < free - GUEST_MIB + 8, "claimed"
        with pytest.raises(RemoteFailed), paused_domain(backup, "hog", memory=free - 64):
            pass
        p.log_primary.wait(r"pairing -> protected", 120)
        p.unprotect()
