"""The ``tapdisk`` driver on a real QEMU without a machine, with its block servers and a store.

What "the guest" writes comes into QEMU over NBD.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remus_ha.disk import digests, plugin
from remus_ha.disk.base import Mirrored, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.errors import QemuUnreachable
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from remus_ha.disk.tapdisk.errors import (
    AnotherImage,
    ReplicationLost,
    ServerDidNotStart,
    ServerGone,
)
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, SIZE, Backup, Guest, Orders, reach
from tests.functional.disk.writers import BLOCK, Nbd, Writers, block, number_in

LIMIT = 8 << 20


class Session:
    """A driver, and what the epoch loop and the backup do with it."""

    def __init__(self, guest: Guest, backup: Backup, *, path: str = "", rate: int = 0) -> None:
        self.guest, self.backup = guest, backup
        self.ended: list[int] = []  # epochs that the backup was told to close
        self.said: list[str] = []
        self.driver = TapdiskDisks(
            domid=7,
            disks=[Mirrored("xvda", "xvda-raw", SIZE, backup.port, path or str(guest.image))],
            stores=Stores("127.0.0.1", backup.tls, rate),
            quiesce=guest.quiesce,
            close_there=self.ended.append,
            log=self.said.append,
            socket=guest.qmp,
            limit=LIMIT,
        )
        self.directory = backup.tls.with_name("tapdisk")
        self.store = Orders(backup.setup.socket)

    def begin(self) -> None:
        self.driver.begin()
        assert reach(self.driver, Stage.MIRRORED) is None

    def until(self, done: object) -> None:
        assert callable(done)
        end = time.monotonic() + DEADLINE_S
        while not done():
            assert readable(self.driver, end - time.monotonic())
            self.driver.pump()

    def pump_for(self, seconds: float) -> None:
        """Take in what is said meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if readable(self.driver, left):
                self.driver.pump()

    def mark(self, n: int) -> None:
        """The guest is suspended meanwhile."""
        self.driver.end_epoch(n)
        self.until(lambda: self.driver.may_go_on(n))
        assert self.driver.vouches(n)

    def close(self, n: int) -> None:
        """The guest runs; the backup closes the epoch and makes it real."""
        self.driver.resumed(n)
        self.until(lambda: self.ended and self.ended[-1] == n)
        self.store.order("close", n)
        self.store.said("closed")
        self.driver.closed(n)
        assert self.store.said("prepared")["n"] == n
        self.store.order("commit", n)
        self.store.said("committed")

    def epoch(self, n: int) -> None:
        self.mark(n)
        self.close(n)

    def finish(self) -> None:
        """The backup's image holds what was committed, and nothing else."""
        self.store.order("finish")
        self.store.said("finished")

    def free(self) -> DiskError | None:
        self.driver.free()
        return reach(self.driver, Stage.FREE)

    def server_pid(self, *, stand_in: bool = False) -> int:
        """Of the block server, or of what stands in for it."""
        ours, theirs = f"setup={self.directory / 'xvda.json'}", f'"filename": "{self.guest.image}"'
        wanted = (theirs if stand_in else ours).encode()
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and wanted in (process / "cmdline").read_bytes():
                    return int(process.name)
            except OSError:
                continue
        return 0


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(tmp_path)
    yield made
    made.end()


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Backup]:
    made = Backup(tmp_path)
    yield made
    made.end()


@pytest.fixture
def session(guest: Guest, backup: Backup) -> Iterator[Session]:
    made = Session(guest, backup)
    yield made
    try:
        backup.signal(signal.SIGCONT)
    except ProcessLookupError:
        pass
    made.free()
    made.driver.close()
    assert made.server_pid() == 0
    assert made.server_pid(stand_in=True) == 0


def test_no_write_is_lost_or_done_twice_under_load(
    guest: Guest, backup: Backup, session: Session
) -> None:
    """Attached, copied, closed in epochs and detached while several threads write."""
    writers = Writers(guest.nbd, blocks=2048)
    writers.wait(100)
    session.begin()
    assert guest.paused == 0
    for n in range(4):
        writers.wait(100)
        session.epoch(n)
    session.free()
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)
    assert guest.leftovers() == []


def test_a_disk_is_moved_to_and_fro_under_load_again_and_again(
    guest: Guest, tmp_path: Path
) -> None:
    writers = Writers(guest.nbd, threads=8)
    for n in range(4):
        place = tmp_path / str(n)
        place.mkdir()
        backup = Backup(place)
        session = Session(guest, backup)
        session.begin()
        writers.wait(50)
        assert session.free() is None
        session.driver.close()
        backup.end()
        writers.wait(50)
    writers.stop()
    writers.check(guest.image)


def test_both_sides_are_identical_after_a_last_epoch(
    guest: Guest, backup: Backup, session: Session
) -> None:
    writers = Writers(guest.nbd, blocks=SIZE // BLOCK)
    session.begin()
    for n in range(3):
        writers.wait(200)
        session.epoch(n)
    writers.stop()
    session.epoch(3)
    session.finish()
    writers.check(guest.image)
    assert backup.image.read_bytes() == guest.image.read_bytes()


def test_a_queue_is_seen_to_move_unless_the_store_hangs(
    guest: Guest, backup: Backup, session: Session
) -> None:
    began = time.monotonic()
    session.begin()
    client = Nbd(guest.nbd)
    session.epoch(0)
    assert session.driver.moved_at > began
    backup.stop()
    client.write(0, block(2))
    session.mark(1)
    session.pump_for(1.0)  # what the kernel takes for a store that will never read it
    moved_at = session.driver.moved_at
    session.pump_for(1.0)
    assert session.driver.moved_at == moved_at
    backup.signal(signal.SIGCONT)
    session.close(1)
    assert session.driver.moved_at > moved_at


def differing(guest: Guest, backup: Backup, places: set[int]) -> None:
    """Give the backup the guest's image as it was, but for these blocks of digests."""
    image = bytearray(guest.image.read_bytes())
    for place in places:
        image[place * digests.BLOCK + 7] ^= 1
    backup.image.write_bytes(image)


def test_of_an_image_that_is_there_only_what_differs_is_sent(guest: Guest, tmp_path: Path) -> None:
    backup = Backup(tmp_path, image=guest.image.read_bytes())
    try:
        differing(guest, backup, {0, 1, 5, SIZE // digests.BLOCK - 1})
        session = Session(guest, backup)
        session.begin()
        [progress] = session.driver.progress()
        assert (progress.done, progress.sent) == (SIZE, 4 * digests.BLOCK)
        session.epoch(0)
        session.finish()
        assert backup.image.read_bytes() == guest.image.read_bytes()
        session.free()
        session.driver.close()
    finally:
        backup.end()


def test_the_time_that_comparing_takes_is_no_credit_for_what_is_sent(
    guest: Guest, tmp_path: Path
) -> None:
    """A disk that is mostly alike: what differs at its end does not go as fast as it can."""
    blocks = SIZE // digests.BLOCK
    a_second = 4  # blocks
    last = range(blocks - 16 * 16, blocks, 16)  # one in each of the last pieces that are copied
    backup = Backup(tmp_path, image=guest.image.read_bytes())
    try:
        differing(guest, backup, {0, 1, 2, 3, *last})
        session = Session(guest, backup, rate=a_second * digests.BLOCK)
        session.driver.begin()
        session.until(lambda: any(told.sent for told in session.driver.progress()))
        # It waits for a second now. Then the digests of what is alike take long.
        backup.stop()
        session.pump_for(1 + len(last) / a_second)
        backup.signal(signal.SIGCONT)
        began = time.monotonic()
        assert reach(session.driver, Stage.MIRRORED) is None
        assert time.monotonic() - began > (len(last) - 1) / a_second - 1
        assert session.driver.progress()[0].sent == (4 + len(last)) * digests.BLOCK
        session.free()
        session.driver.close()
    finally:
        backup.end()


def test_what_is_written_while_images_are_compared_is_there_afterwards(
    guest: Guest, tmp_path: Path
) -> None:
    """Some writers write what the backup has there already, and something else before."""
    backup = Backup(tmp_path, image=guest.image.read_bytes())
    try:
        differing(guest, backup, set(range(0, SIZE // digests.BLOCK, 3)))
        old = backup.image.read_bytes()
        session = Session(guest, backup)
        writers = Writers(guest.nbd, blocks=2048)
        writers.wait(50)
        client = Nbd(guest.nbd)
        stop = threading.Event()

        def there_and_back() -> None:
            """Behind the writers' blocks: A, B, A, and in the end what the backup had."""
            place = SIZE // 2
            while not stop.is_set():
                client.write(place, os.urandom(BLOCK))
                client.write(place, old[place : place + BLOCK])
                place = SIZE // 2 + (place + digests.BLOCK - SIZE // 2) % (SIZE // 2)

        busy = threading.Thread(target=there_and_back)
        busy.start()
        session.begin()
        for n in range(3):
            writers.wait(100)
            session.epoch(n)
        stop.set()
        busy.join()
        writers.stop()
        [progress] = session.driver.progress()
        assert SIZE // 4 < progress.sent < SIZE
        session.epoch(3)
        session.finish()
        writers.check(guest.image)
        assert backup.image.read_bytes() == guest.image.read_bytes()
        session.free()
        session.driver.close()
    finally:
        backup.end()


def test_an_epoch_has_what_was_complete_at_its_end_and_nothing_later(
    guest: Guest, backup: Backup, session: Session
) -> None:
    """For the driver nothing stands still: its mark alone separates what is before and after."""
    blocks = 256
    writers = Writers(guest.nbd, blocks=blocks)
    session.begin()
    for n in range(5):
        writers.wait(150)
        done = list(writers.done)
        session.mark(n)
        begun = list(writers.begun)
        writers.wait(20)
        session.close(n)
    writers.wait(50)
    session.finish()
    writers.stop()
    image = backup.image.read_bytes()
    checked = 0
    for place in range(blocks):
        if done[place] > 0:
            number = number_in(image, place)
            zeroed = number == 0 and begun[place] > done[place]
            assert zeroed or done[place] <= number <= begun[place], f"block {place}"
            checked += 1
    assert checked > 100
    assert begun != writers.begun


def test_the_guest_goes_on_before_its_writes_have_arrived(
    guest: Guest, backup: Backup, session: Session
) -> None:
    """A mark is answered whatever the store does; the epoch's end is told when all has arrived."""
    session.begin()
    client = Nbd(guest.nbd)
    backup.stop()
    client.write(0, block(1))
    session.mark(0)
    client.write(0, block(2))
    assert session.ended == []
    backup.signal(signal.SIGCONT)
    session.close(0)
    session.finish()
    assert backup.image.read_bytes()[:BLOCK] == block(1)
    assert guest.image.read_bytes()[:BLOCK] == block(2)


def test_freeing_leaves_the_disk_as_it_was(guest: Guest, session: Session) -> None:
    before = guest.nodes()
    session.begin()
    assert session.server_pid()
    assert session.free() is None
    assert guest.nodes() == before
    assert session.server_pid() == 0
    Nbd(guest.nbd).write(0, block(1))
    assert guest.image.read_bytes()[:BLOCK] == block(1)


def test_a_disk_that_was_free_is_protected_again(
    guest: Guest, backup: Backup, session: Session, tmp_path: Path
) -> None:
    session.begin()
    session.free()
    second = tmp_path / "second"
    second.mkdir()
    other = Backup(second)
    again = Session(guest, other)
    again.begin()
    assert guest.leftovers() == ["remus-keep-xvda", "remus-tap-xvda"]
    Nbd(guest.nbd).write(0, block(3))
    again.epoch(0)
    assert other.image.read_bytes() == guest.image.read_bytes()
    again.free()
    again.driver.close()
    other.end()
    assert guest.leftovers() == []


def test_a_disk_past_the_page_cache_stays_one(tmp_path: Path) -> None:
    guest, backup = Guest(tmp_path, direct=True), Backup(tmp_path)
    writers = Writers(guest.nbd, blocks=256)
    writers.wait(50)
    before = guest.nodes()
    assert True in before.values()
    session = Session(guest, backup)
    session.begin()
    writers.wait(100)
    session.epoch(0)
    session.free()
    session.driver.close()
    writers.wait(100)
    writers.stop()
    assert guest.nodes() == before
    writers.check(guest.image)
    guest.end()
    backup.end()


def test_a_store_that_hangs_costs_nothing_until_the_queue_is_full(
    guest: Guest, backup: Backup, session: Session
) -> None:
    session.begin()
    client = Nbd(guest.nbd)
    backup.stop()
    client.write(0, bytes(LIMIT // 2))
    full = threading.Event()

    def fill() -> None:
        for i in range(4):
            client.write(i * LIMIT, bytes([i]) * LIMIT)
        full.set()

    threading.Thread(target=fill).start()
    assert not full.wait(0.7), "nothing bounds the queue"
    began = time.monotonic()
    session.driver.free()
    assert full.wait(5), "a blocked write was not let go"
    assert time.monotonic() - began < 2
    assert reach(session.driver, Stage.FREE) is None
    assert client.read(LIMIT, 4096) == b"\1" * 4096
    assert guest.leftovers() == []


def test_a_store_that_dies_is_told_and_the_guest_writes_on(
    guest: Guest, backup: Backup, session: Session
) -> None:
    writers = Writers(guest.nbd)
    session.begin()
    backup.signal(signal.SIGKILL)
    assert isinstance(reach(session.driver, Stage.FREE), ReplicationLost)
    assert not session.driver.may_go_on(0)
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)
    assert guest.leftovers() == []


def test_a_block_server_that_dies_is_replaced_and_the_guest_sees_nothing(
    guest: Guest, backup: Backup, session: Session
) -> None:
    writers = Writers(guest.nbd)
    session.begin()
    writers.wait(100)
    os.kill(session.server_pid(), signal.SIGKILL)
    assert isinstance(reach(session.driver, Stage.FREE), ServerGone)
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)
    assert guest.leftovers() == []


def test_a_block_server_that_hangs_is_ended_and_the_guest_sees_nothing(
    guest: Guest, backup: Backup, session: Session
) -> None:
    writers = Writers(guest.nbd)
    session.begin()
    writers.wait(100)
    pid = session.server_pid()
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    session.driver.end_epoch(0)
    session.pump_for(0.5)
    assert not session.driver.may_go_on(0)
    session.free()
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)
    assert guest.leftovers() == []


@contextmanager
def misled(session: Session) -> Iterator[None]:
    """Inside, no disk can be moved back: whoever tries finds another image's name in its setup."""
    file = session.directory / "xvda.json"
    right = file.read_text()
    file.write_text(json.dumps({**json.loads(right), "path": "/nowhere.img"}))
    try:
        yield
    finally:
        file.write_text(right)


def lose_the_server(session: Session) -> None:
    """Until the disk has been found to be immovable."""
    os.kill(session.server_pid(), signal.SIGKILL)
    assert isinstance(reach(session.driver, Stage.FREEING), ServerGone)
    end = time.monotonic() + DEADLINE_S
    while not session.said:
        assert time.monotonic() < end
        session.pump_for(0.1)


def test_a_disk_that_cannot_be_moved_back_yet_is_served_and_not_called_free(
    guest: Guest, session: Session
) -> None:
    writers = Writers(guest.nbd, threads=8)
    session.begin()
    with misled(session):
        lose_the_server(session)
        writers.wait(100)
        os.kill(session.server_pid(stand_in=True), signal.SIGTERM)
        writers.wait(100)
        assert session.driver.stage is Stage.FREEING
        assert len(session.said) == 1
    assert session.free() is None
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)
    assert guest.leftovers() == []


def test_what_stands_in_for_a_dead_server_outlives_the_process_that_has_started_it(
    guest: Guest, backup: Backup
) -> None:
    second = Session(guest, backup)
    child = os.fork()
    if child == 0:
        first = Session(guest, backup)
        first.begin()
        with misled(first):
            lose_the_server(first)
            # Once the guest has it: it ends with its last client, perhaps one that has given up.
            Nbd(guest.nbd).read(0, BLOCK)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    writers = Writers(guest.nbd, threads=8)
    writers.wait(100)
    assert second.free() is None
    second.driver.close()
    assert second.said == []
    assert guest.leftovers() == []
    assert second.server_pid(stand_in=True) == 0
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)


def test_nobody_vouches_for_an_epoch_after_a_loss(
    guest: Guest, backup: Backup, session: Session
) -> None:
    session.begin()
    os.kill(session.server_pid(), signal.SIGKILL)
    session.driver.end_epoch(0)
    assert isinstance(reach(session.driver, Stage.FREE), ServerGone)
    assert not session.driver.may_go_on(0)
    assert not session.driver.vouches(0)


def leave_behind(guest: Guest, backup: Backup, *, server_dies: bool) -> None:
    """A driver's process that dies in the middle of a session, alone or with its block server."""
    child = os.fork()
    if child == 0:
        first = Session(guest, backup)
        first.begin()
        if server_dies:
            os.kill(first.server_pid(), signal.SIGKILL)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert "remus-tap-xvda" in guest.leftovers()


@pytest.mark.parametrize("server_dies", [False, True])
def test_what_a_dead_process_left_is_taken_off(
    guest: Guest, backup: Backup, server_dies: bool
) -> None:
    leave_behind(guest, backup, server_dies=server_dies)
    writers = Writers(guest.nbd)
    if not server_dies:
        writers.wait(50)  # nobody is there, and nobody is missed
    second = Session(guest, backup)
    assert second.free() is None
    second.driver.close()
    assert second.said == []
    assert guest.leftovers() == []
    assert second.server_pid() == 0
    writers.wait(100)
    writers.stop()
    writers.check(guest.image)


def test_another_image_than_the_guests_is_not_touched(
    guest: Guest, backup: Backup, tmp_path: Path
) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(SIZE))
    session = Session(guest, backup, path=str(other))
    session.driver.begin()
    assert isinstance(reach(session.driver, Stage.FREE), AnotherImage)
    session.driver.close()
    assert guest.leftovers() == []


def test_a_qemu_that_is_gone(guest: Guest, backup: Backup) -> None:
    guest.end()
    session = Session(guest, backup)
    session.driver.begin()
    assert isinstance(reach(session.driver, Stage.FREE), QemuUnreachable)
    session.driver.close()


@pytest.mark.parametrize("server_dies", [False, True])
@pytest.mark.parametrize("another", [False, True])
def test_of_a_disk_that_is_detached_nothing_stays(
    guest: Guest, session: Session, tmp_path: Path, server_dies: bool, another: bool
) -> None:
    """Also where another one has come in its place: that is left alone."""
    session.begin()
    guest.detach()
    if another:
        (tmp_path / "another.img").write_bytes(bytes(BLOCK))
        guest.attach(tmp_path / "another.img")
    if server_dies:
        os.kill(session.server_pid(), signal.SIGKILL)
        assert isinstance(reach(session.driver, Stage.FREE), ServerGone)
    session.free()
    assert session.said == []
    assert guest.leftovers() == []
    assert not guest.has_open(guest.image)
    assert guest.has_open(tmp_path / "another.img") is another


@pytest.mark.parametrize("stand_in", [False, True])
def test_a_qemu_that_ends_takes_its_block_server_with_it(
    guest: Guest, backup: Backup, stand_in: bool
) -> None:
    session = Session(guest, backup)
    session.begin()
    with misled(session):
        if stand_in:
            lose_the_server(session)
        server = os.pidfd_open(session.server_pid(stand_in=stand_in))
        guest.end()
        session.free()
        session.driver.close()
    assert readable(server, DEADLINE_S)
    os.close(server)


def test_no_disk_is_moved_where_nothing_could_stand_in_for_its_server(
    guest: Guest, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "nbdkit"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setattr(plugin, "_SYSTEM", (str(programs),))
    monkeypatch.setenv("PATH", str(programs))
    session.driver.begin()
    loss = reach(session.driver, Stage.FREE)
    assert isinstance(loss, ServerDidNotStart)
    assert "qemu-nbd" in str(loss)
    assert guest.leftovers() == []
