"""Whole sessions of a guest with two disks: real stores, and memory and disks at one epoch."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha.core import backup as backup_table
from remus_ha.core.register import Kind, Register
from remus_ha.disk import tls
from remus_ha.disk.lineage import (
    NEVER,
    Lineage,
    generation_of,
    in_session,
    lineage_of,
    of_replica,
    of_win,
    record,
)
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store import recover
from remus_ha.disk.store.launch import SETUP, Setup, StoreRefused
from remus_ha.disk.store.users import user_of
from remus_ha.disk.target import claim, may_overwrite
from remus_ha.guest_vifs import GuestVifs
from remus_ha.hypervisor.base import Life
from remus_ha.loop import Loop
from remus_ha.netbuf import announce
from remus_ha.netbuf.announce import GAPS_S, Announcement, Announcer
from remus_ha.receive import process as backup_process
from remus_ha.receive.incoming import Incoming
from remus_ha.receive.stores import RECOVERIES, Stores, Told
from remus_ha.stream.xenstream import CHECKPOINT_END
from remus_ha.waiting import readable
from tests.functional.checkpoint.pair import UUID, Pair
from tests.functional.checkpoint.straight import StraightDisks
from tests.functional.disk.store.test_nbd import Client
from tests.functional.disk.store.test_qcow2 import qemu_nbd

B = backup_table.State
SIZE = 1 << 20


class Disks:
    """The guest's side of both disks."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.tls = tls.save(pair.disk_key, pair.root / "tls")
        self.clients: list[Client] = []

    def open(self) -> None:
        driver = StraightDisks.made[-1]
        self.clients = [Client(*driver.where(self.tls, number)) for number in range(2)]

    def write(self, octet: int) -> None:
        """The same to both disks, one after the other."""
        for client in self.clients:
            assert "wrote" in client.write(0, 4096, octet)

    def images(self) -> list[int]:
        """The first octet of each disk on the backup."""
        return [self._first(self.pair.image(vdev)) for vdev in self.pair.disks]

    def _first(self, image: Path) -> int:
        if self.pair.disk_format == "qcow2":
            raw = image.with_suffix(".raw")
            command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(image), str(raw)]
            subprocess.run(command, check=True, timeout=30)
            image = raw
        return image.read_bytes()[0]

    def pid(self, vdev: str) -> int:
        """A store's process."""
        store = next(s for s in self.pair.backup_process._stores._stores if s.spec.vdev == vdev)
        assert store.client is not None
        return store.client.pid


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    made.disks = {"xvda": SIZE, "xvdb": SIZE}
    StraightDisks.made.clear()
    yield made
    made.close()


@pytest.fixture
def disks(pair: Pair) -> Iterator[Disks]:
    made = Disks(pair)
    yield made
    for client in made.clients:
        client.kill()


def acked(pair: Pair) -> int:
    return int(pair.status()["acked"])


def wait_epochs(pair: Pair, more: int) -> int:
    """Until ``more`` further epochs are acknowledged; the last one."""
    wanted = acked(pair) + more
    pair.wait(lambda: acked(pair) >= wanted)
    return acked(pair)


def start(pair: Pair, disks: Disks) -> None:
    pair.start()
    pair.wait_protected()
    disks.open()


def lose_primary(pair: Pair) -> None:
    """For the backup and the witness it is gone."""
    pair.store.away.add("a")
    pair.silence()


def write_and_lose_primary_and_store(pair: Pair, disks: Disks) -> None:
    """Both disks hold 7; the store of xvda is dead when the copy is to live."""
    disks.write(7)
    wait_epochs(pair, 2)
    pid = disks.pid("xvda")
    os.kill(pid, signal.SIGSTOP)
    lose_primary(pair)
    pair.wait(lambda: pair.backup_process._decider.state is not B.STANDBY)
    os.kill(pid, signal.SIGKILL)


def is_alive(pair: Pair) -> bool:
    return (pair.result("backup") or {}).get("detail") == "alive"


FORMATS = pytest.mark.parametrize("image_format", ["raw", "qcow2"])


@FORMATS
def test_after_the_primarys_death_the_disks_are_at_the_committed_epoch(
    pair: Pair, disks: Disks, image_format: str
) -> None:
    pair.disk_format = image_format
    start(pair, disks)
    disks.write(1)
    wait_epochs(pair, 3)
    lose_primary(pair)
    disks.write(2)  # of an epoch that never ends
    pair.wait(lambda: is_alive(pair))
    assert disks.images() == [1, 1]
    assert not any(user_of(pair.image(vdev)) for vdev in pair.disks), "the copy opens them now"
    assert pair.restore.path.read_bytes().count(CHECKPOINT_END) >= 4


def test_memory_and_disks_agree_on_every_epoch(pair: Pair, disks: Disks) -> None:
    """Every epoch that the restore was given is committed on every disk, and no other."""
    start(pair, disks)
    for octet in range(5):
        disks.write(octet)
        wait_epochs(pair, 2)  # the first one may have ended between the two writes
    lose_primary(pair)
    pair.wait(lambda: is_alive(pair))
    epochs = pair.restore.path.read_bytes().count(CHECKPOINT_END)
    assert pair.backup_process._commits.committed == epochs - 1
    assert disks.images() == [4, 4]


def test_unprotect_frees_the_disks_and_ends_the_stores(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    pids = [disks.pid(vdev) for vdev in pair.disks]
    ends = [os.pidfd_open(pid) for pid in pids]
    pair.unprotect()
    pair.primary.join()
    assert pair.result()["state"] == "stopped"
    pair.backup.join()
    for fd in ends:
        assert readable(fd, 10), "a store outlived its protection"
    assert StraightDisks.made[-1].stage.value == "free"


def test_a_store_that_dies_ends_the_protection_and_the_guest_goes_on(
    pair: Pair, disks: Disks
) -> None:
    start(pair, disks)
    os.kill(disks.pid("xvdb"), signal.SIGKILL)
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert pair.backup.join() is B.DESTROYED
    assert StraightDisks.made[-1].stage.value == "free"


def test_a_store_that_hangs_ends_the_session_within_the_detection_time(
    pair: Pair, disks: Disks
) -> None:
    start(pair, disks)
    pid = disks.pid("xvda")
    os.kill(pid, signal.SIGSTOP)
    before = time.monotonic()
    try:
        pair.wait(lambda: StraightDisks.made[-1].stage.value == "free")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - before < pair.detect_ms / 1e3 + 1.0


def test_a_store_that_hangs_between_two_epochs_ends_the_session(pair: Pair, disks: Disks) -> None:
    """Long before the next epoch, which would wait for it."""
    pair.interval_ms = 60_000
    pair.start()
    pair.wait_protected(epochs=0)
    pair.store.away.add("b")  # the primary is to be the first who asks
    os.kill(disks.pid("xvdb"), signal.SIGSTOP)
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert "DISK-172 the store of xvdb" in told(pair)
    pair.store.away.clear()
    assert pair.backup.join() is B.DESTROYED


def test_no_disk_is_committed_before_every_disk_is_prepared(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One store closes its epochs and never says that they are safe: no part becomes real."""
    start(pair, disks)
    stores = pair.backup_process._stores._stores
    first, second = (store.client for store in stores)
    assert first is not None
    assert second is not None
    told = second._take

    def without_prepared(message: dict[str, Any]) -> None:
        if message["said"] != "prepared":
            told(message)

    monkeypatch.setattr(second, "_take", without_prepared)
    pair.wait(lambda: first.prepared > second.prepared)
    disks.write(7)
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert first.committed == second.committed == pair.backup_process._commits.committed
    assert pair.backup.join() is B.DESTROYED
    assert disks.images() == [0, 0]


def test_a_mirror_that_is_lost_ends_the_session(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    StraightDisks.made[-1].lose()
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")


def test_a_lost_connection_of_a_disk_ends_the_session(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    disks.write(1)  # it is connected
    disks.clients[1].kill()
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")


def test_an_epoch_that_outgrows_its_journal_ends_the_session(pair: Pair, disks: Disks) -> None:
    """The write that waits for the end of its own epoch goes on, and the reason is told."""
    pair.disk_limit, pair.interval_ms = 64 << 10, 8000  # no end within a store's patience
    pair.start()
    pair.wait_protected(epochs=0)
    disks.open()
    assert "wrote" in disks.clients[0].write(0, 128 << 10, 1)
    assert "failed" in disks.clients[0].write(0, 512, 2)
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert "the open epoch of xvda has outgrown the journal of 65536 octets" in told(pair)


@FORMATS
def test_a_store_that_dies_with_the_primary_is_taken_up(
    pair: Pair, disks: Disks, image_format: str
) -> None:
    """Its process is gone when the copy is to live: what it had committed is in its journal."""
    pair.disk_format = image_format
    start(pair, disks)
    write_and_lose_primary_and_store(pair, disks)
    pair.wait(lambda: is_alive(pair))
    assert disks.images() == [7, 7]


def test_a_store_that_dies_before_the_primary_is_missed_is_taken_up(
    pair: Pair, disks: Disks
) -> None:
    """Nobody knows yet that this is the only copy."""
    start(pair, disks)
    disks.write(7)
    wait_epochs(pair, 2)
    pair.primary_process._peer.close()  # its last words
    lose_primary(pair)
    os.kill(disks.pid("xvda"), signal.SIGKILL)
    pair.wait(lambda: is_alive(pair))
    assert disks.images() == [7, 7]


@pytest.mark.parametrize("killed", [RECOVERIES - 1, RECOVERIES])
def test_a_journal_is_taken_up_again_if_whoever_did_was_killed(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    """And the copy is given up only after some tries."""
    tries: list[int] = []
    begin = recover.begin

    def begin_or_die(file: Path, commit: int, *, patient: bool) -> "subprocess.Popen[bytes]":
        tries.append(commit)
        if len(tries) > killed:
            return begin(file, commit, patient=patient)
        return subprocess.Popen(["sh", "-c", "kill -KILL $$"], stdout=subprocess.PIPE)

    monkeypatch.setattr(recover, "begin", begin_or_die)
    start(pair, disks)
    write_and_lose_primary_and_store(pair, disks)
    if killed < RECOVERIES:
        pair.wait(lambda: is_alive(pair))
        assert disks.images() == [7, 7]
    else:
        assert pair.backup.join() is not B.ALIVE
    assert len(tries) == RECOVERIES


def test_a_poisoned_store_is_ended_and_its_journal_taken_up(pair: Pair, disks: Disks) -> None:
    """What it could not write by itself somebody else perhaps can: here its qemu-nbd was killed."""
    pair.disk_format = "qcow2"
    start(pair, disks)
    disks.write(7)
    wait_epochs(pair, 2)
    lose_primary(pair)
    os.kill(qemu_nbd(disks.pid("xvda")), signal.SIGKILL)
    pair.wait(lambda: is_alive(pair))
    assert disks.images() == [7, 7]


def test_the_journal_is_empty_after_a_failover(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    disks.write(3)
    wait_epochs(pair, 2)
    lose_primary(pair)
    pair.wait(lambda: is_alive(pair))
    for vdev in pair.disks:
        assert not list(journal_of(pair.image(vdev)).glob("epoch-*"))


def test_the_win_is_announced_before_it_is_noted_on_a_disk(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note waits for the images' disk, and nobody outside needs it."""
    order: list[str] = []

    def announce_somewhere(vifs: GuestVifs, loop: Loop, domid: int) -> None:
        nowhere = Announcement("vif42.0", "no-bridge", "02:00:00:00:00:01")
        vifs._announcer = Announcer(loop, [nowhere])

    def recorded(image: Path, lineage: Lineage) -> None:
        order.append("noted")
        record(image, lineage)

    monkeypatch.setattr(GuestVifs, "announce", announce_somewhere)
    monkeypatch.setattr(announce, "send_round", lambda *_: order.append("announced"))
    start(pair, disks)
    before = {vdev: lineage_of(pair.image(vdev)) for vdev in pair.disks}
    monkeypatch.setattr(backup_process, "record", recorded)
    lose_primary(pair)
    pair.wait(lambda: is_alive(pair))
    assert order == ["announced", "noted", "noted", *["announced"] * (len(GAPS_S) - 1)]
    for vdev, old in before.items():
        new = lineage_of(pair.image(vdev))
        assert new is not None
        assert old is not None
        assert new.generation > old.generation


def test_the_win_is_noted_where_nothing_is_announced(pair: Pair, disks: Disks) -> None:
    pair.store.register = Register(5, Kind.NONE, None)
    start(pair, disks)
    pair.wait(lambda: noted(pair) > NEVER)
    before = noted(pair)
    lose_primary(pair)
    pair.wait(lambda: is_alive(pair))
    assert noted(pair) == before + 3  # a step to the guest's own, the pair's swap, and the win's


def noted(pair: Pair) -> int:
    """How new the replica of xvda is."""
    return generation_of(pair.image("xvda"), UUID, "xvda")


def test_a_replica_is_older_than_anything_until_its_first_copy_is_whole(pair: Pair) -> None:
    record(pair.image("xvda"), Lineage(UUID, "xvda", 4))
    pair.scenario = "helper.write(b'live'); helper.stand_still()"
    pair.start()
    pair.wait(lambda: pair.status("backup").get("committed") == -1 and noted(pair) == NEVER)
    assert pair.status()["detail"] == "syncing"
    assert pair.status("backup")["committed"] == -1


def test_a_whole_replica_is_a_step_behind_the_guests_own_image(pair: Pair) -> None:
    """Which a wiped register does not make older than it was."""
    for own, session, noted_then in ((3, 6, 5), (9, 6, 8)):
        assert of_replica(in_session(own, session)) == noted_then
        assert of_win(in_session(own, session), session + 2) > in_session(own, session)
    pair.store.register = Register(5, Kind.NONE, None)
    pair.start()
    pair.wait_protected()
    pair.wait(lambda: noted(pair) == pair.primary_process._decider.ledger.session - 1 > NEVER)


def test_a_journal_tells_which_images_belong_together(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    setups = [Setup.load(journal_of(pair.image(vdev)) / SETUP) for vdev in pair.disks]
    assert {setup.session for setup in setups} == {pair.request(pair._own).session}
    assert [setup.images for setup in setups] == [[str(pair.image(v)) for v in pair.disks]] * 2


def test_what_a_store_left_is_not_for_an_image_that_is_the_guests_own_now(pair: Pair) -> None:
    """``disk recover`` would bring it in."""
    own = pair.root / "own.img"
    left = [journal_of(own) / name for name in (SETUP, "state", "epoch-3")]
    left[0].parent.mkdir()
    for path in left:
        path.touch()
    pair.paths["xvda"] = own
    pair.start()
    pair.wait_protected()
    assert not any(path.exists() for path in left)
    assert generation_of(own, UUID, "xvda") > NEVER


def test_an_image_that_was_made_is_known_after_another_disks_refusal(pair: Pair) -> None:
    """The next attempt need not be forced over it."""
    pair.image("xvdb").write_bytes(b"x" * SIZE)  # nobody knows it
    incoming = Incoming(pair.request(pair._own), "b", "nonce-b", "127.0.0.1", 0)
    incoming.save()
    specs = incoming.request.disks
    stores = Stores(Loop(), UUID, incoming.directory(), specs, Told(*[pytest.fail] * 9))
    with pytest.raises(StoreRefused, match="DISK-"):
        stores.start(
            "127.0.0.1",
            pair.disk_key,
            known=lambda spec: may_overwrite(spec, UUID),
            taken=lambda spec: claim(spec, UUID),
        )
    stores.end()
    assert [may_overwrite(spec, UUID) for spec in specs] == [True, False]


def told(pair: Pair) -> str:
    return "\n".join(event["text"] for event in pair.result()["events"])


def test_a_disk_that_is_plugged_in_ends_the_protection(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    pair.plugged.become("attached")
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert "XEN-030: disk xvdb was attached" in told(pair)
    assert pair.guest.life() is Life.RUNNING


def test_a_guest_that_is_destroyed_loses_its_disks_first(pair: Pair, disks: Disks) -> None:
    """It is gone on purpose, and nothing else is said of it."""
    start(pair, disks)
    pair.pause()
    pair.plugged.become("detached")
    pair.wait(lambda: pair.plugged.looks > 0)
    pair.guest.become(Life.GONE)
    pair.primary.join()
    assert "XEN-030" not in told(pair)
    assert pair.result()["detail"] == "stopped"


def test_a_paused_guest_that_has_got_a_disk_goes_on_unprotected(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    pair.pause()
    pair.plugged.become("attached")
    pair.wait(lambda: pair.plugged.looks > 1)  # it looks again at a guest that is paused
    pair.guest.become(Life.RUNNING)
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert "XEN-030" in told(pair)
