"""Cables are pulled: whoever the witness chooses lives, and without it nobody is heard."""

import threading
import time

import pytest

from remus_ha.lab.plan import Link
from tests.lab.support.protection import ENDS, Protection
from tests.lab.support.stage import Guest, Stage

STILL_S = 5.0
NO_WITNESS = r"the witness: \[?WITNESS-"


def _one_survivor(stage: Stage, guest: Guest, p: Protection) -> str:
    """Both sides have ended, one of them as the guest; the host where it lives."""
    ends = {
        p.primary: p.log_primary.wait(ENDS).rsplit(maxsplit=1)[-1],
        p.backup: p.log_backup.wait(ENDS).rsplit(maxsplit=1)[-1],
    }
    kept = ends[p.primary] == "alone" and ends[p.backup] in ("destroyed", "stopped")
    moved = ends[p.primary] == "destroyed" and ends[p.backup] == "alive"
    assert kept or moved, ends
    survivor = p.primary if kept else p.backup
    assert guest.uuid_on(survivor) == guest.uuid
    stage.moved(guest, survivor)
    assert not guest.uuid_on(guest.other)
    return survivor


@pytest.mark.gate
def test_the_replication_link_with_the_witness_in_reach_of_both(stage: Stage) -> None:
    """Both ask; exactly one goes on, and the clients stay with it."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        stage.lab.unplug(p.primary, Link.REPL)
        _one_survivor(stage, guest, p)
        guest.clients.wait_answers()


@pytest.mark.parametrize("reached_by", ["primary", "backup"])
def test_the_replication_link_with_the_witness_in_reach_of_one(
    stage: Stage, reached_by: str
) -> None:
    """The one that reaches the witness goes on; the other holds and gives up when it hears."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        winner = p.primary if reached_by == "primary" else p.backup
        loser = p.backup if reached_by == "primary" else p.primary
        stage.lab.unplug(loser, Link.MGMT)
        stage.lab.unplug(p.primary, Link.REPL)
        if winner == p.primary:
            p.wait_alone()
        else:
            p.log_backup.wait(r"-> alive")
        guest.clients.wait_answers()
        stage.lab.plug(loser, Link.MGMT)
        assert _one_survivor(stage, guest, p) == winner
        guest.clients.wait_answers()


def test_the_replication_link_with_the_witness_in_reach_of_none(stage: Stage) -> None:
    """Neither is heard while nobody can decide; one goes on when the witness is back."""
    guest = stage.guest()
    mac = guest.plan.mac()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        p.wait_checkpoints(3)
        stage.lab.witness.stop()
        stage.lab.unplug(p.primary, Link.REPL)
        p.log_primary.wait(r"-> asking")
        p.log_backup.wait(r"-> in_doubt")
        p.log_primary.wait(NO_WITNESS)
        p.log_backup.wait(NO_WITNESS)
        held_s = time.monotonic()
        threading.Event().wait(STILL_S)  # the accident itself lasts this long
        assert guest.clients.answered_since(held_s) == 0
        assert not guest.wire.frames(mac, since_s=held_s)
        assert guest.uuid_on(p.primary), "the guest runs, only its output is held"
        stage.lab.witness.start()
        _one_survivor(stage, guest, p)
        guest.clients.wait_answers()
