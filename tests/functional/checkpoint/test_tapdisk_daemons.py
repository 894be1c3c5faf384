"""Whole sessions of a guest whose disk is that of two daemons, which outlive the session."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from remus_ha.checkpoint import verifying
from remus_ha.checkpoint.session import Session
from remus_ha.disk.tapdisk.classic.driver import ClassicDisks
from remus_ha.disk.tapdisk.classic.standing import status
from remus_ha.receive import process as backup_process
from remus_ha.receive.request import Reply, Request
from remus_ha.receive.stores import Stores
from remus_ha.stream.credentials import Credentials
from remus_ha.stream.xenstream import CHECKPOINT_END
from tests.functional.checkpoint.pair import Pair
from tests.functional.checkpoint.test_disks import B, is_alive, lose_primary, told, wait_epochs
from tests.functional.checkpoint.test_verify import flip, verify
from tests.functional.checkpoint.wire import Wire
from tests.functional.disk.tapdisk import daemons
from tests.functional.disk.tapdisk.daemons import SIZE, Daemon, Hosts, KernelsDriver
from tests.functional.disk.writers import BLOCK, Writers, block

pytestmark = pytest.mark.root
OPTIONS = ("--commit", "coordinated", "--attach", "/dev/nbd5")


class Here(ClassicDisks):
    """The driver, with the primary's directory of this test."""

    there = Path()

    def __init__(self, **more: Any) -> None:
        super().__init__(**more, directory=self.there)


class Served(Pair):
    """A session whose one disk both hosts' daemons serve."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, primary: Daemon, backup: Daemon) -> None:
        super().__init__(monkeypatch)
        self._primary_daemon, self._backup_daemon = primary, backup
        self.disks = {"xvda": SIZE}
        self.disk_entry = f"{__name__}:Here"
        monkeypatch.setattr(Here, "there", primary.files.directory)
        stores = partial(Stores, daemons=backup.files.directory)
        monkeypatch.setattr(backup_process, "Stores", stores)

    def request(self, own: Credentials) -> Request:
        request, daemon = super().request(own), self._backup_daemon
        (spec,) = request.disks
        return replace(request, disks=(replace(spec, path=str(daemon.image), uri=daemon.uri),))

    def _session(self, reply: Reply, *wires: Wire) -> Session:
        session, daemon = super()._session(reply, *wires), self._primary_daemon
        (disk,) = session.disks
        return replace(session, disks=(replace(disk, path=str(daemon.image), uri=daemon.uri),))


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    yield made
    made.end()


@pytest.fixture
def served(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Daemon, Daemon]]:
    """Primary and backup."""
    kernel = KernelsDriver(tmp_path / "kernel", monkeypatch)
    made = daemons.Pair(hosts, tmp_path)
    yield made.begin(*OPTIONS)
    made.end()
    kernel.end()


@pytest.fixture
def pair(served: tuple[Daemon, Daemon], monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(verifying, "READ_S", 10.0)  # no look is dropped on a slow machine
    made = Served(monkeypatch, *served)
    made.start()
    made.wait_protected()
    yield made
    made.close()


def test_after_the_primarys_death_the_daemons_disk_is_at_the_committed_epoch(
    pair: Served, served: tuple[Daemon, Daemon]
) -> None:
    """The daemons' own link lives on: what it brings after the last commit is dropped."""
    primary, backup = served
    guest = primary.client()
    guest.write(0, block(1))
    wait_epochs(pair, 3)
    lose_primary(pair)
    guest.write(0, block(2))
    pair.wait(lambda: is_alive(pair))
    copy = backup.client()
    assert copy.read(0, BLOCK) == block(1)
    copy.write(BLOCK, block(3))
    assert backup.image.read_bytes()[: 2 * BLOCK] == block(1) + block(3)
    epochs = pair.restore.path.read_bytes().count(CHECKPOINT_END)
    assert status(backup.files)["committed"] == epochs


def test_the_disks_can_be_verified_while_the_guest_writes(
    pair: Served, served: tuple[Daemon, Daemon]
) -> None:
    """What is not the same is found, and nothing else."""
    primary, backup = served
    writers = Writers(primary.nbd, blocks=256, threads=1)
    assert verify(pair)[0] == 0
    writers.stop()
    flip(backup.image, SIZE - 100)
    status, said, _ = verify(pair)
    assert (status, f"512 differ: 512 at {SIZE - 512}" in said) == (1, True), said
    assert pair.status()["state"] == "protected"


def test_unprotect_leaves_both_daemons_as_they_are(
    pair: Served, served: tuple[Daemon, Daemon]
) -> None:
    primary, backup = served
    pair.unprotect()
    pair.primary.join()
    pair.backup.join()
    assert pair.result()["state"] == "stopped"
    ours, theirs = status(primary.files), status(backup.files)
    assert (ours["role"], theirs["role"], theirs["severed"]) == ("primary", "backup", False)
    assert ours["flushes"] == theirs["prepared"] > 3


def test_a_daemon_that_hangs_between_two_epochs_ends_the_session(
    served: tuple[Daemon, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the next epoch, which would wait for it; both daemons outlive that."""
    primary, backup = served
    with closing(Served(monkeypatch, primary, backup)) as pair:
        pair.interval_ms = 60_000
        pair.start()
        pair.wait_protected(epochs=0)
        pair.store.away.add("b")  # the primary is to be the first who asks
        with daemons.standing_still(backup):
            pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
        assert "DISK-172 the store of xvda" in told(pair)
        pair.store.away.clear()
        assert pair.backup.join() is B.DESTROYED
    primary.client().write(0, block(1))
    assert (status(primary.files)["role"], status(backup.files)["role"]) == ("primary", "backup")


def test_a_daemon_that_dies_ends_the_protection_and_the_guest_goes_on(
    pair: Served, served: tuple[Daemon, Daemon]
) -> None:
    primary, backup = served
    backup.kill()
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert pair.backup.join() is B.BROKEN
    assert pair.result("backup")["detail"] == "broken"
    primary.client().write(0, block(4))
    assert primary.image.read_bytes()[:BLOCK] == block(4)


def test_a_dead_daemon_of_the_primary_ends_the_protection(
    pair: Served, served: tuple[Daemon, Daemon]
) -> None:
    served[0].kill()
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert ": DISK-" in "\n".join(event["text"] for event in pair.result()["events"])
