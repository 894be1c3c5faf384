"""The ``qemu`` driver on a real QEMU without a machine: what "the guest" writes comes in over NBD.

The store behind it is a real one as well.
"""

import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remus_ha.disk import qemuimg, tls
from remus_ha.disk.base import Mirrored, Stage, Stores
from remus_ha.disk.qemu import rest
from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.qemu.errors import (
    DiskWorkFailed,
    MirrorLost,
    QemuRefused,
    QemuUnreachable,
    RelayDidNotStart,
)
from remus_ha.disk.qemu.monitor import Monitor
from remus_ha.disk.qemu.rest import Quiesce
from remus_ha.lab.errors import TimedOut
from remus_ha.lab.qmp import Qmp
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, SIZE, Backup, Guest, Orders, reach
from tests.functional.disk.store.test_nbd import Client
from tests.functional.disk.writers import BLOCK, Writers


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
def driver(guest: Guest, backup: Backup) -> Iterator[QemuDisks]:
    made = driver_of(guest, backup)
    yield made
    backup.signal(signal.SIGCONT)
    made.free()
    reach(made, Stage.FREE)
    made.close()


def driver_of(
    guest: Guest, backup: Backup, key: Path | None = None, quiesce: Quiesce | None = None
) -> QemuDisks:
    """``key``: the directory of another one than the backup's."""
    return QemuDisks(
        domid=7,
        disks=[Mirrored("xvda", guest.node, SIZE, backup.port)],
        stores=Stores("127.0.0.1", key or backup.tls, 0),
        quiesce=quiesce or guest.quiesce,
        close_there=lambda n: None,
        log=print,
        socket=guest.qmp,
    )


def test_the_disk_is_copied_and_then_mirrored(
    guest: Guest, backup: Backup, driver: QemuDisks
) -> None:
    driver.begin()
    assert reach(driver, Stage.MIRRORED) is None
    assert guest.paused == 101
    client = Client.of(guest.nbd)
    assert "wrote" in client.write(4096, 65536, 0xAB)
    client.kill()
    # Until an epoch is closed everything goes straight into the image.
    assert backup.image.read_bytes() == guest.image.read_bytes()
    assert backup.image.read_bytes()[4096:4100] == b"\xab" * 4


class Load:
    """Writers in a process of their own, which stands still while the guest is paused."""

    def __init__(self, guest: Guest) -> None:
        self._written, self._end = os.eventfd(0), {signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._end)
        self._pid = os.fork()
        if self._pid == 0:
            os._exit(self._write(guest.nbd))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._end)

    def _write(self, nbd: Path) -> int:
        try:
            writers = Writers(nbd, blocks=SIZE // BLOCK, threads=8)
            while not signal.sigtimedwait(self._end, 0):
                writers.wait(20)
                os.eventfd_write(self._written, 20)
            writers.stop()
        except BaseException:
            traceback.print_exc()
            return 1
        return 0

    @contextmanager
    def quiesce(self) -> Iterator[None]:
        os.kill(self._pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._pid, os.WSTOPPED)
        yield
        os.kill(self._pid, signal.SIGCONT)

    def wait(self, more: int) -> None:
        while more > 0:
            assert readable(self._written, DEADLINE_S), "the guest writes no more"
            more -= os.eventfd_read(self._written)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it when every write is complete; not 0 if one has failed, or was lost."""
        pid, self._pid = self._pid, 0
        if not pid:
            return 0
        os.kill(pid, number)
        os.close(self._written)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def threaded_guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(tmp_path, threaded=True)
    yield made
    made.end()


@pytest.fixture
def load(threaded_guest: Guest) -> Iterator[Load]:
    made = Load(threaded_guest)
    yield made
    made.stop(signal.SIGKILL)


def test_a_disk_that_is_written_to_is_mirrored_again_and_again(
    threaded_guest: Guest, load: Load, tmp_path: Path
) -> None:
    """No write is lost.

    Over NBD this QEMU bears a mirror that begins while a write is on its way, as a guest of Xen's
    does not: that the guest is paused for it is seen in the lab.
    """
    guest = threaded_guest
    load.wait(100)
    for n in range(3):
        place = tmp_path / str(n)
        place.mkdir()
        backup = Backup(place)
        driver = driver_of(guest, backup, quiesce=load.quiesce)
        driver.begin()
        assert reach(driver, Stage.MIRRORED) is None
        load.wait(100)
        if n == 2:
            assert load.stop() == 0
            # Until an epoch is closed everything goes straight into the image.
            assert backup.image.read_bytes() == guest.image.read_bytes()
        driver.free()
        assert reach(driver, Stage.FREE) is None
        driver.close()
        backup.end()
    assert guest.leftovers() == []


def test_a_qemu_that_does_not_come_to_rest_does_not_hold_the_guest(
    guest: Guest, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest is paused for that; what QEMU was told by then must not stop its disks later."""
    monkeypatch.setattr(rest, "REST_S", 0.5)
    held_s: list[float] = []

    @contextmanager
    def quiesce() -> Iterator[None]:
        guest.signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            yield
        finally:
            held_s.append(time.monotonic() - began)
            guest.signal(signal.SIGCONT)

    driver = driver_of(guest, backup, quiesce=quiesce)
    driver.begin()
    assert isinstance(reach(driver, Stage.FREE), QemuRefused)
    driver.close()
    assert held_s[0] < 10, "as long as QEMU may take over any command"
    assert guest.leftovers() == []
    with Qmp(guest.own) as monitor:
        assert monitor.execute("query-status")["status"] == "running"


def test_a_session_that_ends_while_a_mirror_starts_lets_the_guest_go_on_after_it(
    guest: Guest, driver: QemuDisks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write in that moment would crash QEMU 7.2."""
    sent, do = threading.Event(), Monitor.do

    async def late(monitor: Monitor, command: str, **more: Any) -> Any:
        if command == "blockdev-mirror":
            guest.signal(signal.SIGSTOP)
            sent.set()
        return await do(monitor, command, **more)

    monkeypatch.setattr(Monitor, "do", late)
    driver.begin()
    assert sent.wait(DEADLINE_S)
    driver.free()
    time.sleep(0.3)  # it has had its chance
    paused = guest.paused
    guest.signal(signal.SIGCONT)
    assert paused == 1
    assert reach(driver, Stage.FREE) is None
    assert guest.paused == 101
    assert guest.leftovers() == []


def test_freeing_leaves_nothing(guest: Guest, driver: QemuDisks) -> None:
    driver.begin()
    reach(driver, Stage.MIRRORED)
    assert guest.leftovers()
    driver.free()
    assert reach(driver, Stage.FREE) is None
    assert guest.leftovers() == []


def test_a_store_that_dies_is_told_and_the_guest_writes_on(
    guest: Guest, backup: Backup, driver: QemuDisks
) -> None:
    driver.begin()
    reach(driver, Stage.MIRRORED)
    client = Client.of(guest.nbd)
    backup.signal(signal.SIGKILL)
    assert "wrote" in client.write(0, 4096, 1)
    assert isinstance(reach(driver, Stage.FREE), MirrorLost)
    assert "wrote" in client.write(0, 4096, 2)
    client.kill()
    assert guest.image.read_bytes()[:2] == b"\2\2"
    assert guest.leftovers() == []


def write_to_a_store_that_hangs(
    client: Client, backup: Backup
) -> tuple[threading.Thread, list[str]]:
    """The write has had half a second; its answer, once there is one."""
    backup.stop()
    answers: list[str] = []
    writing = threading.Thread(target=lambda: answers.append(client.write(0, 4096, 3)))
    writing.start()
    writing.join(0.5)
    return writing, answers


def test_a_store_that_hangs_holds_a_write_until_it_is_freed(
    guest: Guest, backup: Backup, driver: QemuDisks
) -> None:
    driver.begin()
    reach(driver, Stage.MIRRORED)
    client = Client.of(guest.nbd)
    writing, answers = write_to_a_store_that_hangs(client, backup)
    assert writing.is_alive(), "it did not wait for the store"
    driver.free()
    writing.join(DEADLINE_S)
    assert "wrote" in answers[0]
    reach(driver, Stage.FREE)
    client.kill()
    assert guest.image.read_bytes()[0] == 3
    assert guest.leftovers() == []


def cancel_until_it_hangs(guest: Guest) -> None:
    with Qmp(guest.own, timeout_s=5.0) as another:
        another.execute("block-job-cancel", device="remus-xvda", force=True)
        while True:
            another.execute("query-status")


def test_a_qemu_that_hangs_in_a_cancel_is_freed(
    guest: Guest, backup: Backup, driver: QemuDisks
) -> None:
    """Somebody else cancels the job of a store that hangs: QEMU takes over no command any more,

    but for one out of band.
    """
    driver.begin()
    reach(driver, Stage.MIRRORED)
    client = Client.of(guest.nbd)
    writing, answers = write_to_a_store_that_hangs(client, backup)
    with pytest.raises(TimedOut):
        cancel_until_it_hangs(guest)
    assert not answers
    driver.free()
    writing.join(10.0)
    assert answers
    assert "wrote" in answers[0]
    reach(driver, Stage.FREE)
    client.kill()
    assert guest.image.read_bytes()[0] == 3
    assert guest.leftovers() == []


def test_what_a_dead_process_left_is_taken_off(guest: Guest, backup: Backup) -> None:
    child = os.fork()
    if child == 0:
        first = driver_of(guest, backup)
        first.begin()
        reach(first, Stage.MIRRORED)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert guest.leftovers()
    second = driver_of(guest, backup)
    second.free()
    assert reach(second, Stage.FREE) is None
    second.close()
    assert guest.leftovers() == []


def test_a_stranger_is_refused_by_the_store(guest: Guest, backup: Backup, tmp_path: Path) -> None:
    stranger = tls.save(tls.create(), tmp_path / "stranger")
    driver = driver_of(guest, backup, stranger)
    driver.begin()
    assert reach(driver, Stage.FREE) is not None
    driver.close()
    assert guest.leftovers() == []


def test_a_relay_that_cannot_be_is_told(guest: Guest, backup: Backup, tmp_path: Path) -> None:
    driver = driver_of(guest, backup, tmp_path / "gone")
    driver.begin()
    assert isinstance(reach(driver, Stage.FREE), RelayDidNotStart)
    driver.close()
    assert guest.leftovers() == []


def test_whatever_the_thread_dies_of_is_told(
    guest: Guest, driver: QemuDisks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attach(*_args: object, **_more: object) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr("remus_ha.disk.qemu.mirror.attach", attach)
    driver.begin()
    loss = reach(driver, Stage.FREE)
    assert isinstance(loss, DiskWorkFailed)
    assert "nobody foresaw" in str(loss)
    assert guest.leftovers() == []


def test_a_qemu_that_is_gone(guest: Guest, backup: Backup) -> None:
    guest.end()
    driver = driver_of(guest, backup)
    driver.begin()
    assert isinstance(reach(driver, Stage.FREE), QemuUnreachable)
    driver.close()


def test_slow_synchronisation_shows_progress_and_can_be_ended(guest: Guest, backup: Backup) -> None:
    driver = QemuDisks(
        domid=7,
        disks=[Mirrored("xvda", guest.node, SIZE, backup.port)],
        stores=Stores("127.0.0.1", backup.tls, 2 << 20),
        quiesce=guest.quiesce,
        close_there=lambda n: None,
        log=print,
        socket=guest.qmp,
    )
    driver.begin()
    reach(driver, Stage.SYNCING)
    end = time.monotonic() + DEADLINE_S
    while not driver.progress() or not 0 < driver.progress()[0].done < SIZE:
        assert readable(driver, end - time.monotonic())
        driver.pump()
    assert driver.stage is Stage.SYNCING
    driver.free()
    assert reach(driver, Stage.FREE) is None
    driver.close()
    assert guest.leftovers() == []


def test_a_mirrored_epoch_is_vouched_for_and_one_after_a_loss_is_not(
    guest: Guest, backup: Backup, driver: QemuDisks
) -> None:
    """The guest's write succeeds although it never reached the store: nobody may vouch for it."""
    driver.begin()
    reach(driver, Stage.MIRRORED)
    driver.resumed(1)
    end = time.monotonic() + DEADLINE_S
    while not driver.vouches(1):
        assert readable(driver, end - time.monotonic())
        driver.pump()
    client = Client.of(guest.nbd)
    backup.signal(signal.SIGKILL)
    assert "wrote" in client.write(0, 4096, 1)
    driver.resumed(2)
    assert isinstance(reach(driver, Stage.FREE), MirrorLost)
    assert not driver.vouches(2)
    client.kill()


@pytest.fixture
def layered_guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(tmp_path, image_format="qcow2")
    yield made
    made.end()


def test_a_qcow2_disk_is_replicated_whole_also_what_lies_below_it(
    layered_guest: Guest, tmp_path: Path
) -> None:
    """The replica is a qcow2 image as well, and stands alone."""
    guest, backup = layered_guest, Backup(tmp_path, image_format="qcow2")
    driver = driver_of(guest, backup)
    driver.begin()
    assert reach(driver, Stage.MIRRORED) is None
    client = Client.of(guest.nbd)
    assert "wrote" in client.write(4096, 65536, 0xAB)
    assert "wrote" in client.do("write -z 1M 1M", "wrote")
    client.kill()
    store = Orders(backup.setup.socket)
    store.order("close", 0)
    store.said("prepared")
    store.order("commit", 0)
    driver.free()
    reach(driver, Stage.FREE)
    driver.close()
    store.order("finish")
    assert store.said("finished")["n"] == 0
    store.order("quit")
    store.said("gone")
    ours, theirs = f"nbd+unix:///?socket={guest.nbd}", str(backup.image)
    compared = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", ours, theirs])
    assert compared.returncode == 0
    assert qemuimg.info(backup.image).beneath == ""
