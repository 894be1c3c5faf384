"""The ``classic`` driver and the receiver's stores, over two daemons of a disk each on its host.

What "the guest" writes comes into the primary's daemon over NBD, as from the kernel's driver.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha.disk.base import Mirrored, Stage
from remus_ha.disk.base import Stores as Where
from remus_ha.disk.digests import digests
from remus_ha.disk.errors import DiskError, FinishOutstanding
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.tapdisk.classic.driver import ClassicDisks
from remus_ha.disk.tapdisk.classic.standing import base_of, check_backup
from remus_ha.disk.tapdisk.errors import (
    DaemonLost,
    DaemonUnfit,
    DaemonUnprotected,
    FlushesInTheWay,
    FlushFailed,
    FlushOverdue,
    TapdiskGone,
)
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop
from remus_ha.receive.stores import Hashed, Stores, Told
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, Orders, reach
from tests.functional.disk.writers import BLOCK, Nbd, Writers, block

from .daemons import (
    BACKUP,
    PORT,
    SIZE,
    Daemon,
    Hosts,
    KernelsDriver,
    Pair,
    stand_still,
    standing_still,
)

pytestmark = pytest.mark.root
UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
VDEVS = ("xvda", "xvdb")
OPTIONS = ("--commit", "coordinated", "--attach", "/dev/nbd5")
NOWHERE = Where("", Path("/"), 0)


class Receiver:
    """A process of the backup's: the stores of its disks, and what they have told."""

    def __init__(self, daemons: Sequence[Daemon], base: int, directory: Path) -> None:
        self._loop = Loop()
        self.closed: list[int] = []
        self.committed: list[int] = []
        self.finished = False
        self.severed: list[RemusError] = []
        self.errors: list[RemusError] = []
        self.hashed: list[Hashed] = []
        self.waiting: list[RemusError] = []
        told = Told(
            closed=self.closed.append,
            prepared=lambda: None,
            committed=self.committed.append,
            finished=self._on_finished,
            severed=self.severed.append,
            gone=self.errors.append,
            failed=self.errors.append,
            hashed=self.hashed.append,
            waiting=self.waiting.append,
        )
        specs = tuple(
            replace(spec_of(daemon, base), vdev=vdev)
            for vdev, daemon in zip(VDEVS, daemons, strict=False)
        )
        there = daemons[0].files.directory
        self.stores = Stores(self._loop, UUID, directory, specs, told, daemons=there)

    def _on_finished(self) -> None:
        self.finished = True

    def until(self, done: Callable[[], object]) -> None:
        assert self._loop.until(lambda: bool(done()), time.monotonic() + DEADLINE_S)

    def wait(self, seconds: float) -> None:
        """Whatever happens meanwhile."""
        self._loop.until(lambda: False, time.monotonic() + seconds)

    def commit(self, n: int) -> None:
        self.until(lambda: self.stores.prepared(n))
        self.stores.commit(n)
        self.until(lambda: n in self.committed)

    def die(self) -> None:
        """Its connection is gone at once, with nothing said."""
        for store in self.stores._stores:
            assert store.client
            store.client.close()


def spec_of(daemon: Daemon, base: int, size: int = SIZE, ack: str = "received") -> DiskSpec:
    return DiskSpec(
        vdev="xvda",
        path=str(daemon.image),
        size=size,
        ack=ack,
        identity="",
        overwrite=False,
        limit=1 << 30,
        generation=0,
        uri=daemon.uri,
        base=base,
    )


class Session:
    """Driver and receiver, and what the epoch loop does with them."""

    def __init__(
        self,
        primaries: Sequence[Daemon],
        backups: Sequence[Daemon],
        directory: Path,
        **more: float,
    ) -> None:
        here = primaries[0].files.directory
        self.base = base_of([primary.uri for primary in primaries], here)
        self.receiver = Receiver(backups, self.base, directory)
        ports = self.receiver.stores.start(
            "", "00", known=lambda _spec: True, taken=lambda _spec: None
        )
        assert ports == [0] * len(backups)
        self.driver = ClassicDisks(
            domid=7,
            disks=[
                Mirrored(vdev, "", SIZE, 0, str(primary.image), primary.uri, self.base)
                for vdev, primary in zip(VDEVS, primaries, strict=False)
            ],
            stores=NOWHERE,
            quiesce=contextlib.nullcontext,
            close_there=self.receiver.stores.close,
            log=lambda text: None,
            directory=here,
            **more,
        )

    def begin(self) -> None:
        self.driver.begin()
        assert reach(self.driver, Stage.MIRRORED) is None

    def end_epoch(self, n: int) -> None:
        """The guest is suspended meanwhile, and waits for nothing."""
        self.driver.end_epoch(n)
        assert self.driver.may_go_on(n)
        self.driver.resumed(n)

    def await_vouched(self, n: int) -> None:
        end = time.monotonic() + DEADLINE_S
        while not self.driver.vouches(n):
            assert readable(self.driver, end - time.monotonic())
            self.driver.pump()

    def epoch(self, n: int) -> None:
        self.end_epoch(n)
        self.await_vouched(n)
        self.receiver.commit(n)
        assert self.receiver.closed[-1] == n

    def loss(self) -> DiskError:
        """What the driver tells, once."""
        end = time.monotonic() + DEADLINE_S
        while (left := end - time.monotonic()) > 0 and readable(self.driver, left):
            try:
                self.driver.pump()
            except DiskError as e:
                self.driver.pump()
                return e
        raise AssertionError("no loss by the deadline")

    def end(self) -> None:
        """Without a failover. Idempotent."""
        if self.driver.stage is Stage.FREE:
            return
        self.driver.free()
        with contextlib.suppress(DiskError):
            self.driver.pump()
        assert self.driver.stage is Stage.FREE
        self.driver.close()
        self.receiver.stores.end()


@pytest.fixture
def daemons(pair: Pair, kernel: KernelsDriver) -> tuple[Daemon, Daemon]:
    """Primary and backup, each attached to what stands for a device."""
    return pair.begin(*OPTIONS)


@pytest.fixture
def session(daemons: tuple[Daemon, Daemon], tmp_path: Path) -> Iterator[Session]:
    primary, backup = daemons
    made = Session([primary], [backup], tmp_path / "run")
    made.begin()
    yield made
    made.end()


def first_block(daemon: Daemon) -> bytes:
    """What a guest would read there now."""
    client = daemon.client()
    found = client.read(0, BLOCK)
    client.close()
    return found


def test_epochs_are_closed_by_flushes_and_committed_in_order(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    primary, backup = daemons
    before = first_block(backup)
    guest = primary.client()
    for n in range(3):
        guest.write(0, block(n + 1))
        session.end_epoch(n)
        guest.write(0, block(100 + n))  # of the next epoch, and before ``done``
        session.await_vouched(n)
        session.receiver.until(lambda n=n: session.receiver.stores.prepared(n))
        assert first_block(backup) == (block(n) if n else before)
        session.receiver.commit(n)
        assert first_block(backup) == block(n + 1)
    assert session.receiver.closed == [0, 1, 2]
    assert session.receiver.committed == [0, 1, 2]


def test_no_epoch_is_vouched_for_before_the_backup_has_it(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    _, backup = daemons
    session.epoch(0)
    with standing_still(backup):
        session.end_epoch(1)
        assert not readable(session.driver, 0.3)
        assert not session.driver.vouches(1)
    session.await_vouched(1)


def test_numbers_go_on_over_two_sessions(
    daemons: tuple[Daemon, Daemon], tmp_path: Path, session: Session
) -> None:
    """The first one ends with an epoch that the backup has and that nobody has committed."""
    primary, backup = daemons
    guest = primary.client()
    session.epoch(0)
    guest.write(0, block(1))
    session.end_epoch(1)
    session.await_vouched(1)
    session.end()
    guest.write(BLOCK, block(2))
    again = Session([primary], [backup], tmp_path / "again")
    again.begin()
    assert again.base == 2
    assert not again.receiver.stores.prepared(0)
    again.epoch(0)
    client = backup.client()
    assert client.read(0, 2 * BLOCK) == block(1) + block(2)
    again.epoch(1)
    assert again.receiver.committed == [0, 1]
    assert backup.orders.status()["committed"] == 4
    again.end()


def test_finish_gives_the_guest_what_was_committed(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    primary, backup = daemons
    guest = primary.client()
    guest.write(0, block(1))
    session.epoch(0)
    guest.write(0, block(2))
    session.end_epoch(1)
    session.await_vouched(1)  # the backup has it; it is not committed
    guest.write(0, block(3))
    primary.kill()
    receiver = session.receiver
    receiver.until(lambda: receiver.severed)
    receiver.stores.cut()
    receiver.stores.finish(0)
    receiver.until(lambda: receiver.finished)
    receiver.stores.end()
    assert backup.image.read_bytes()[:BLOCK] == block(1)
    copy = backup.client()
    copy.write(0, block(9))
    assert backup.image.read_bytes()[:BLOCK] == block(9)
    assert backup.role == "unprotected"
    assert not receiver.errors


def test_under_load_the_copy_gets_what_was_committed(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    """Nothing of a later epoch, and nothing of it is missing."""
    primary, backup = daemons
    writers = Writers(primary.nbd, blocks=1024)
    for n in range(5):
        writers.wait(100)
        session.epoch(n)
    writers.stop()
    session.epoch(5)
    after = Nbd(primary.nbd)
    after.write(0, os.urandom(BLOCK))
    session.receiver.stores.cut()
    session.receiver.stores.finish(5)
    session.receiver.until(lambda: session.receiver.finished)
    writers.check(backup.image)


def test_a_lost_backup_is_told_once_and_the_guest_goes_on(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    primary, backup = daemons
    session.epoch(0)
    backup.kill()
    receiver = session.receiver
    receiver.until(lambda: receiver.errors)
    assert isinstance(receiver.errors[0], DaemonLost)
    primary.hear("UNPROTECTED")
    session.driver.end_epoch(1)
    assert isinstance(session.loss(), FlushFailed)
    assert not session.driver.vouches(1)
    assert not session.driver.may_go_on(1)
    primary.client().write(0, block(7))
    assert primary.image.read_bytes()[:BLOCK] == block(7)


def test_a_dead_daemon_of_the_primary_is_noticed_between_epochs(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    primary, _ = daemons
    session.epoch(0)
    primary.kill()
    assert isinstance(session.loss(), TapdiskGone)
    assert not readable(session.driver, 0.1)  # nothing is left to be looked at again and again
    assert not session.driver.vouches(1)


def test_it_is_free_where_nothing_was_begun(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    """A process that comes in a dead one's place clears away what that may have left."""
    session.end()
    disk = Mirrored("xvda", "", SIZE, 0, "", daemons[0].uri, 0)
    driver = ClassicDisks(
        domid=7,
        disks=[disk],
        stores=NOWHERE,
        quiesce=contextlib.nullcontext,
        close_there=lambda n: None,
        log=lambda text: None,
        directory=daemons[0].files.directory,
    )
    driver.free()
    assert readable(driver, DEADLINE_S)
    driver.pump()
    assert driver.stage is Stage.FREE
    driver.close()


def test_silence_is_a_loss(daemons: tuple[Daemon, Daemon], tmp_path: Path) -> None:
    """Only the epoch loop's own waiting makes the deadline be looked at."""
    primary, backup = daemons
    session = Session([primary], [backup], tmp_path / "run", timeout_s=0.2)
    session.begin()
    with standing_still(backup):
        session.end_epoch(0)
        end = time.monotonic() + DEADLINE_S
        while not readable(session.driver, 0.05):
            assert not session.driver.vouches(0)
            assert time.monotonic() < end
        assert isinstance(session.loss(), FlushOverdue)
    session.end()


def test_a_new_receiver_takes_up_what_a_dead_one_left(
    daemons: tuple[Daemon, Daemon], session: Session, tmp_path: Path
) -> None:
    """The dead one had begun to commit epoch 1, and the daemon has not heard of it."""
    primary, backup = daemons
    guest = primary.client()
    for n in (0, 1, 2):
        guest.write(0, block(n))
        if n == 0:
            session.epoch(0)
        else:
            session.end_epoch(n)
            session.await_vouched(n)
    session.receiver.die()
    new = Receiver([backup], session.base, tmp_path / "new")
    new.stores.take_up(1)
    new.stores.cut()
    new.stores.finish(1)
    new.until(lambda: new.finished)
    assert backup.image.read_bytes()[:BLOCK] == block(1)
    assert not new.errors


def test_a_daemon_that_takes_long_to_finish_is_waited_for(
    daemons: tuple[Daemon, Daemon], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a whole journal has to get into the image; no other process could serve the copy.

    For as long as it hangs, that is said, again and again, and how long it has been.
    """
    monkeypatch.setattr("remus_ha.receive.stores.SILENCE_S", 0.1)
    monkeypatch.setattr("remus_ha.receive.stores.REMINDER_S", 0.1)
    primary, backup = daemons
    primary.client().write(0, block(1))
    session.epoch(0)
    receiver = session.receiver
    with standing_still(backup):
        assert receiver.stores.status()[0]["finishing_s"] == 0
        receiver.stores.finish(0)
        receiver.until(lambda: len(receiver.waiting) == 3)
        assert not receiver.errors
        assert not receiver.finished
        assert receiver.stores.status()[0]["finishing_s"] >= 0.3
    assert {type(e) for e in receiver.waiting} == {FinishOutstanding}
    assert backup.uri in str(receiver.waiting[0])
    seconds = [e.facts["seconds"] for e in receiver.waiting]
    assert seconds == sorted(seconds)
    receiver.until(lambda: receiver.finished)
    assert receiver.stores.status()[0]["finishing_s"] == 0
    assert backup.image.read_bytes()[:BLOCK] == block(1)
    assert not receiver.errors


def test_a_daemon_that_dies_before_it_has_finished_is_lost(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    _, backup = daemons
    session.epoch(0)
    receiver = session.receiver
    stand_still(backup.pid)
    receiver.stores.finish(0)
    backup.kill()
    receiver.until(lambda: receiver.errors)
    assert [type(e) for e in receiver.errors] == [DaemonLost]
    assert not receiver.finished


def test_without_its_daemon_no_copy_can_live(
    daemons: tuple[Daemon, Daemon], session: Session, tmp_path: Path
) -> None:
    _, backup = daemons
    session.epoch(0)
    session.receiver.die()
    backup.kill()
    new = Receiver([backup], session.base, tmp_path / "new")
    new.stores.take_up(0)
    new.stores.finish(0)
    assert [type(e) for e in new.errors] == [DaemonLost]
    assert not new.finished


def test_a_daemon_that_has_finished_elsewhere_is_no_copys_disk(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    """Somebody else's order has fixed it at another epoch."""
    _, backup = daemons
    session.epoch(0)
    session.end_epoch(1)
    session.await_vouched(1)
    receiver = session.receiver
    receiver.die()
    other = Orders(backup.files.orders)
    other.order("commit", session.base + 2)
    other.said("committed")
    receiver.stores.take_up(0)
    receiver.stores.finish(0)
    receiver.until(lambda: receiver.errors)
    assert not receiver.finished


def test_what_was_whole_before_it_was_connected_is_not_missed(
    daemons: tuple[Daemon, Daemon], session: Session, tmp_path: Path
) -> None:
    """The daemon tells of an epoch once, perhaps to nobody."""
    session.receiver.die()
    session.driver.end_epoch(0)
    session.await_vouched(0)
    new = Receiver([daemons[1]], session.base, tmp_path / "new")
    new.stores.take_up(-1)
    new.until(lambda: new.stores.prepared(0))


@pytest.fixture
def second(
    hosts: Hosts, daemons: tuple[Daemon, Daemon], tmp_path: Path
) -> Iterator[tuple[Daemon, Daemon]]:
    """Another disk's daemons on the same hosts."""
    made: list[Daemon] = []
    try:
        for host, first in (("backup", daemons[1]), ("primary", daemons[0])):
            directory = tmp_path / f"{host[0]}2"  # a unix socket's path has to be short
            directory.mkdir()
            (directory / "disk.img").write_bytes(bytes(SIZE))
            (directory / "tap").symlink_to(first.files.directory)
            made.append(Daemon(hosts, host, directory, *OPTIONS, address=f"{BACKUP}:{PORT + 1}"))
            assert made[-1].told, made[-1].said
        yield made[1], made[0]
    finally:
        for daemon in made:
            daemon.end()


def test_all_disks_of_a_guest_are_at_one_epoch(
    daemons: tuple[Daemon, Daemon], second: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    """One of two is late; and both have a whole epoch that is not committed at the end."""
    primaries, backups = zip(daemons, second, strict=True)
    session = Session(primaries, backups, tmp_path / "run")
    session.begin()
    guests = [primary.client() for primary in primaries]
    with standing_still(backups[1]):
        for guest in guests:
            guest.write(0, block(1))
        session.end_epoch(0)
        stores = session.receiver.stores
        session.receiver.until(lambda: stores.status()[0]["prepared"] == 0)
        assert not stores.prepared(0)
        assert not session.driver.vouches(0)
        assert not session.receiver.closed
    session.await_vouched(0)
    session.receiver.commit(0)
    for guest in guests:
        guest.write(0, block(2))
    session.end_epoch(1)
    session.await_vouched(1)
    stores.cut()
    stores.finish(0)
    session.receiver.until(lambda: session.receiver.finished)
    assert [backup.image.read_bytes()[:BLOCK] for backup in backups] == [block(1)] * 2
    session.end()


def test_one_lost_disk_is_the_loss_of_all(
    daemons: tuple[Daemon, Daemon], second: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    primaries, backups = zip(daemons, second, strict=True)
    session = Session(primaries, backups, tmp_path / "run")
    session.begin()
    session.epoch(0)
    backups[1].kill()
    primaries[1].hear("UNPROTECTED")
    session.driver.end_epoch(1)
    assert isinstance(session.loss(), FlushFailed)
    assert not session.driver.vouches(1)
    session.end()


@pytest.mark.parametrize("ends", [True, False])
def test_the_first_disks_loss_leaves_the_others_alone(
    daemons: tuple[Daemon, Daemon], second: tuple[Daemon, Daemon], tmp_path: Path, ends: bool
) -> None:
    """Found out by the end of an epoch, or while an answer is waited for."""
    primaries, backups = zip(daemons, second, strict=True)
    session = Session(primaries, backups, tmp_path / "run")
    session.begin()
    session.epoch(0)
    with standing_still(backups[0]):  # so that it is not answered before
        if not ends:
            session.end_epoch(1)
        primaries[0].kill()
    if ends:
        session.driver.end_epoch(1)
        assert not session.driver.may_go_on(1)
    assert not session.driver.vouches(1)
    assert isinstance(session.loss(), TapdiskGone)
    session.end()


def test_disks_that_have_ended_different_epochs_are_refused(
    daemons: tuple[Daemon, Daemon], second: tuple[Daemon, Daemon]
) -> None:
    daemons[0].controller().flush(DEADLINE_S)
    with pytest.raises(FlushesInTheWay, match="0 have ended, 1 should have"):
        base_of([daemons[0].uri, second[0].uri], daemons[0].files.directory)


def test_a_look_finds_the_disk_as_its_epoch_leaves_it(
    daemons: tuple[Daemon, Daemon], session: Session
) -> None:
    """In its turn, before the daemon knows of the epoch's end; not when it is committed already."""
    guest, receiver = daemons[0].client(), session.receiver
    for n in (0, 1):
        guest.write(0, block(n + 1))
        session.end_epoch(n)
        receiver.stores.hash("xvda", n, offset=0, length=BLOCK, grain=BLOCK)
        guest.write(0, block(9))
        session.await_vouched(n)
        receiver.commit(n)
        receiver.until(lambda: receiver.hashed)
        assert receiver.hashed.pop() == Hashed("xvda", n, digests(block(n + 1), BLOCK), "")
    receiver.stores.hash("xvda", 1, offset=0, length=BLOCK, grain=BLOCK)
    receiver.until(lambda: receiver.hashed)
    (found,) = receiver.hashed
    assert (found.n, found.digests) == (1, ())
    assert "DISK-011" in found.problem


# --- what is in the way


def test_another_controllers_flush_is_found_out(
    daemons: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    primary, backup = daemons
    session = Session([primary], [backup], tmp_path / "run")
    primary.controller().flush(DEADLINE_S)
    session.driver.begin()
    assert isinstance(session.loss(), FlushesInTheWay)
    session.end()


@pytest.mark.parametrize("is_answered", [True, False])
def test_another_controllers_flush_between_epochs_is_found_out(
    daemons: tuple[Daemon, Daemon], session: Session, *, is_answered: bool
) -> None:
    """Else the next epoch would be the one before on the backup."""
    session.epoch(0)
    other = daemons[0].controller()
    if is_answered:
        other.flush(DEADLINE_S)
    else:
        other.begin(DEADLINE_S)
    session.end_epoch(1)
    with pytest.raises(FlushesInTheWay):
        session.await_vouched(1)
    assert not session.driver.vouches(1)


def test_a_daemon_that_is_no_primary_replicates_nothing(daemons: tuple[Daemon, Daemon]) -> None:
    primary, backup = daemons
    with pytest.raises(DaemonUnprotected, match="backup"):
        base_of([backup.uri], backup.files.directory)
    backup.kill()
    primary.hear("UNPROTECTED")
    with pytest.raises(DaemonUnprotected, match="unprotected"):
        base_of([primary.uri], primary.files.directory)


def refusal(daemon: Daemon, spec: DiskSpec) -> str:
    with pytest.raises(DaemonUnfit) as e:
        check_backup(spec, daemon.files.directory)
    return str(e.value)


def test_a_daemon_that_fits(daemons: tuple[Daemon, Daemon]) -> None:
    check_backup(spec_of(daemons[1], 0), daemons[1].files.directory)


def test_a_daemon_that_does_not_fit_says_why(daemons: tuple[Daemon, Daemon]) -> None:
    primary, backup = daemons
    assert f"has {SIZE} octets" in refusal(backup, spec_of(backup, 0, size=SIZE + 512))
    assert "has 0 epochs" in refusal(backup, spec_of(backup, 3))
    assert "outlives less" in refusal(backup, spec_of(backup, 0, ack="durable"))
    assert "its role is primary" in refusal(primary, spec_of(primary, 0))
    primary.kill()
    backup.hear("the primary is lost")
    assert "no primary any more" in refusal(backup, spec_of(backup, 0))
    backup.kill()
    assert "there is none" in refusal(backup, spec_of(backup, 0))


def test_a_daemon_that_commits_by_itself_does_not_fit(pair: Pair) -> None:
    _, backup = pair.begin()
    assert "commits by itself" in refusal(backup, spec_of(backup, 0))


def test_a_daemon_without_a_device_does_not_fit(pair: Pair) -> None:
    _, backup = pair.begin("--commit", "coordinated")
    assert "no device" in refusal(backup, spec_of(backup, 0))
