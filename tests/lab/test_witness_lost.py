"""The witness loses everything: both hosts hold until an operator accepts its new life."""

import shlex
import threading
import time

from remus_ha.lab.plan import Link
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import WITNESS, Guest, Stage

STILL_S = 5.0
ACCEPT_S = 60.0
FENCED_S = 180.0


def accept(stage: Stage, guest: Guest) -> None:
    """On both hosts at once, as the documentation says: each waits for the other one."""
    command = shlex.join(["remus-ha", "witness", "accept", WITNESS, guest.uuid])
    first = stage.host("a").shell.popen(command)
    try:
        stage.host("b").shell.run(command, timeout_s=ACCEPT_S)
        assert first.wait(ACCEPT_S) == 0
    finally:
        first.kill()
        first.wait()


def test_a_wiped_witness_decides_nothing_before_both_hosts_accept_it(stage: Stage) -> None:
    guest = stage.guest()
    c = guest.clients
    with Protection(stage, guest) as p:
        c.wait_answers()
        p.wait_checkpoints(3)
        stage.lab.witness.wipe()
        stage.lab.witness.initialise()
        stage.lab.unplug(p.primary, Link.REPL)
        p.log_primary.wait(r"the witness: WITNESS-002")
        p.log_backup.wait(r"the witness: WITNESS-002")
        held_s = time.monotonic()
        threading.Event().wait(STILL_S)  # the accident itself lasts this long
        assert c.answered_since(held_s) == 0
        assert not guest.wire.frames(guest.plan.mac(), since_s=held_s)
        accept(stage, guest)
        ends = [log.wait(ENDS).rsplit(maxsplit=1)[-1] for log in (p.log_primary, p.log_backup)]
        assert ends in (["alone", "destroyed"], ["destroyed", "alive"]), ends
        stage.moved(guest, p.primary if ends[0] == "alone" else p.backup)
        c.wait_answers()
        first = p.primary
    stage.lab.plug(first, Link.REPL)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        p.unprotect()


def test_a_guest_from_before_is_protected_again(stage: Stage) -> None:
    """With no session at the time: refused, with the remedy; the remedy works."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(1)
        p.unprotect()
    stage.lab.witness.wipe()
    stage.lab.witness.initialise()
    words = ["remus-ha", "protect", "--detach", "--witness", WITNESS, guest.name, guest.other]
    done = stage.host(guest.host).shell.run(shlex.join(words), timeout_s=ACCEPT_S, check=False)
    assert done.returncode != 0
    assert b"WITNESS-002" in done.stderr
    assert b"remus-ha witness accept" in done.stderr
    accept(stage, guest)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        guest.clients.wait_answers()
        p.unprotect()


def test_a_copy_lives_though_its_primary_and_the_witness_are_lost(stage: Stage) -> None:
    """It had never asked that witness; an operator says that the other host is off."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        stage.lab.witness.wipe()
        stage.lab.witness.initialise()
        stage.lab.cut(p.primary)
        p.log_backup.wait(r"the witness: WITNESS-002")
        shell = stage.host(p.backup).shell
        shell.run(f"remus-ha witness accept --without {p.primary} {WITNESS} {guest.uuid}")
        shell.run(f"remus-ha fenced {guest.name} {p.primary}", timeout_s=FENCED_S)
        p.wait_failed_over()
        guest.clients.wait_answers()
    stage.lab.boot(p.primary)
    stage.assert_clean()
