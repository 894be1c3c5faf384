"""A backup's daemon whose epochs a receiver makes real, and what a dead one has left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remus_ha.disk.ack import Ack
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store.engine import LIMIT, EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.classic import journal, launch, standing
from remus_ha.disk.tapdisk.classic.apart import Apart, Taken
from remus_ha.disk.tapdisk.classic.setup import Commit
from remus_ha.disk.tapdisk.errors import DaemonAttended
from tests.functional.disk.machine import DEADLINE_S
from tests.functional.disk.writers import BLOCK, block

from .daemons import Daemon, Hosts, KernelsDriver, Pair, digest

pytestmark = pytest.mark.root
COORDINATED = ("--commit", "coordinated")


def test_an_epoch_is_real_when_the_receiver_says_so(pair: Pair) -> None:
    primary, backup = pair.begin(*COORDINATED)
    receiver = backup.receiver()
    before = backup.content()[:BLOCK]
    primary.client().write(0, block(1))
    primary.controller().flush(DEADLINE_S)
    assert receiver.said("prepared")["n"] == 1
    assert backup.content()[:BLOCK] == before
    receiver.order("commit", 1)
    assert receiver.said("committed")["n"] == 1
    assert backup.content()[:BLOCK] == block(1)


def test_after_the_loss_the_receiver_decides(pair: Pair) -> None:
    """Two epochs are whole, one of them is committed: that one it is."""
    primary, backup = pair.begin(*COORDINATED)
    receiver = backup.receiver()
    controller, client = primary.controller(), primary.client()
    for n in (1, 2):
        client.write(0, block(n))
        controller.flush(DEADLINE_S)
        receiver.said("prepared")
        if n == 1:
            receiver.order("commit", 1)
            receiver.said("committed")
    client.write(0, block(3))
    primary.kill()
    receiver.said("severed")
    guest = backup.client()
    with pytest.raises(PermissionError):
        guest.write(0, block(9))
    assert backup.role == "backup"
    receiver.order("finish")
    assert receiver.said("finished")["n"] == 1
    assert backup.role == "unprotected"
    assert backup.image.read_bytes()[:BLOCK] == block(1)
    guest.write(0, block(9))
    assert backup.image.read_bytes()[:BLOCK] == block(9)


def test_only_the_primary_closes_an_epoch(pair: Pair) -> None:
    _, backup = pair.begin(*COORDINATED)
    receiver = backup.receiver()
    receiver.order("close", 1)
    assert receiver.said("failed")["error"]["code"] == "DISK-011"


def test_cut_off_by_the_receiver_the_primary_gets_no_done(pair: Pair) -> None:
    primary, backup = pair.begin(*COORDINATED)
    receiver = backup.receiver()
    receiver.order("cut")
    receiver.said("cut")
    primary.hear("UNPROTECTED")


def test_a_primary_takes_no_orders_of_a_receiver(pair: Pair) -> None:
    primary, _ = pair.begin()
    receiver = primary.receiver()
    receiver.order("commit", 1)
    assert receiver.said("failed")["error"]["code"] == "DISK-011"


def leave(image: Path, commit: Commit, *, committed: bool) -> None:
    """What a store leaves that dies with epoch 1 held whole, and nothing of it in the image."""
    child = os.fork()
    if child == 0:
        directory = journal.begin(image, image.stat().st_size, commit, Ack.RECEIVED, LIMIT)
        store = EpochStore(disk="xvda", image=Image.open(image), directory=directory)
        with store.pinned():  # nothing is applied
            for n in (0, 1):
                store.close(n)
                store.prepare()
                if n == 0:
                    store.commit(0)
                    store.write(0, block(7))
            if committed:
                store.commit(1)
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("options", [(), COORDINATED])
def test_committed_epochs_of_a_dead_store_are_in_the_image_first(
    pair: Pair, tmp_path: Path, options: tuple[str, ...]
) -> None:
    image = tmp_path / "backup" / "disk.img"
    leave(image, Commit.COORDINATED, committed=True)
    assert image.read_bytes()[:BLOCK] != block(7)
    backup = pair.start("backup", *options)
    assert backup.content()[:BLOCK] == block(7)
    assert image.read_bytes()[:BLOCK] == block(7)


def test_an_uncommitted_epoch_of_a_dead_store_is_dropped(pair: Pair, tmp_path: Path) -> None:
    image = tmp_path / "backup" / "disk.img"
    before = image.read_bytes()
    leave(image, Commit.AT_CLOSE, committed=False)
    backup = pair.start("backup")
    assert backup.content() == before


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("host", ["primary", "backup"])
def test_what_was_left_of_a_replaced_image_is_forgotten(
    pair: Pair, tmp_path: Path, host: str, committed: bool
) -> None:
    """The operator's word for that is ``--in-sync``; a primary may have been a backup before."""
    image = tmp_path / host / "disk.img"
    before = digest(image.read_bytes())
    leave(image, Commit.COORDINATED, committed=committed)
    assert (journal_of(image) / "epoch-1").exists()
    primary, backup = pair.begin("--in-sync")
    assert digest(primary.content()) == digest(backup.content()) == before
    assert not (journal_of(image) / "epoch-1").exists()
    primary.kill()
    backup.hear("UNPROTECTED")
    backup.kill()
    assert digest(pair.start(host).content()) == before


def test_what_is_left_of_an_image_that_is_refused_stays(
    hosts: Hosts, pair: Pair, tmp_path: Path
) -> None:
    """Also where both are said to be the same."""
    image = tmp_path / "backup" / "disk.img"
    leave(image, Commit.COORDINATED, committed=True)
    user = image.open("rb")
    daemon = Daemon(hosts, "backup", tmp_path / "backup", "--in-sync")
    assert "DISK-150" in "\n".join(daemon.said)
    user.close()
    assert pair.start("backup").content()[:BLOCK] == block(7)


def test_what_a_receiver_may_have_committed_is_not_decided_here(
    hosts: Hosts, pair: Pair, tmp_path: Path
) -> None:
    image = tmp_path / "backup" / "disk.img"
    leave(image, Commit.COORDINATED, committed=False)
    daemon = Daemon(hosts, "backup", tmp_path / "backup")
    assert daemon.process.returncode == 1
    assert "DISK-151" in "\n".join(daemon.said)
    assert (journal_of(image) / "epoch-1").exists()
    recover = [sys.executable, "-m", "remus_ha.cmd.remus_ha", "disk", "recover", str(image)]
    subprocess.run(recover, check=True)
    assert pair.start("backup").role == "backup"


@pytest.mark.parametrize("record", [Apart, Taken])
@pytest.mark.parametrize("committed", [True, False])
def test_what_was_left_of_an_image_that_has_become_the_guests_is_forgotten(
    pair: Pair, tmp_path: Path, record: type[Apart | Taken], *, committed: bool
) -> None:
    """The state of an epoch is not synced for '--ack received': a power cut takes it back."""
    image = tmp_path / "backup" / "disk.img"
    before = digest(image.read_bytes())
    leave(image, Commit.COORDINATED, committed=committed)
    record(image).set()
    backup = pair.start("backup", *COORDINATED)
    assert backup.role == "unprotected"
    assert digest(backup.content()) == before
    assert not (journal_of(image) / "epoch-1").exists()


def test_a_question_leaves_the_daemon_its_receiver(pair: Pair) -> None:
    """Also while a failover waits for the daemon's last epochs."""
    _, backup = pair.begin(*COORDINATED)
    receiver = backup.receiver()
    assert standing.status(backup.files)["attended"]
    receiver.order("finish")
    assert standing.status(backup.files)["role"] in ("backup", "unprotected")
    assert receiver.said("finished")["n"] == 0
    receiver.close()


def test_a_daemon_that_a_receiver_has_is_not_stopped(pair: Pair, kernel: KernelsDriver) -> None:
    """Not by a signal either, and its device stays; once the receiver is gone it is."""
    backup = pair.start("backup", *COORDINATED, "--attach", "/dev/nbd5")
    receiver = backup.receiver()
    done = subprocess.run(backup.command("--stop"), capture_output=True, text=True)
    assert (done.returncode, "DISK-162" in done.stderr) == (1, True)
    with pytest.raises(DaemonAttended):
        launch.end(backup.files)
    backup.process.send_signal(signal.SIGTERM)
    backup.hear("goes on: DISK-162")
    receiver.order("cut")
    receiver.said("cut")
    assert len(kernel.asked) == 1
    receiver.close()
    end = time.monotonic() + DEADLINE_S
    while backup.orders.status()["attended"]:
        assert time.monotonic() < end
    assert backup.stop() == 0
