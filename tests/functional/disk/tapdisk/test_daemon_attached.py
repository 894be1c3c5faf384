"""``--attach``, ``--detach`` and ``--stop``.

The kernel's nbd driver is not here: what stands for it connects by NBD, as it would be told to.
"""

import os
import signal
from pathlib import Path

import pytest

from remus_ha.cmd import tapdisk
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.tapdisk.errors import DaemonUnfit, DeviceInUse, DeviceLost
from remus_ha.hypervisor.xen import vbds
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, Orders
from tests.functional.disk.writers import BLOCK, Nbd, Writers, block

from .daemons import SIZE, Daemon, Hosts, KernelsDriver, Pair

pytestmark = pytest.mark.root


def test_a_device_is_connected_while_the_daemon_lives(pair: Pair, kernel: KernelsDriver) -> None:
    backup = pair.start("backup", "--attach", "/dev/nbd5")
    assert backup.told == "/dev/nbd5"
    assert backup.stop() == 0
    assert kernel.asked == [
        f"-unix {backup.files.relay} /dev/nbd5 -block-size 512",
        "-d /dev/nbd5",
    ]


def test_detached_it_serves_until_it_is_stopped(
    hosts: Hosts, pair: Pair, tmp_path: Path, kernel: KernelsDriver
) -> None:
    directory = tmp_path / "backup"
    options = ("--detach", "--attach", "/dev/nbd0", "--nbd", str(tmp_path / "disk.nbd"))
    daemon = Daemon(hosts, "backup", directory, *options)
    assert daemon.told == "/dev/nbd0"
    assert daemon.process.wait(DEADLINE_S) == 0
    assert Orders(daemon.files.orders, owns=False).status()["role"] == "backup"
    assert Nbd(tmp_path / "disk.nbd").size == SIZE
    assert "serves as backup" in daemon.files.log.read_text()
    daemon.stop_by_command()
    assert len(kernel.asked) == 2
    with pytest.raises(OSError, match="No such file"):
        Nbd(tmp_path / "disk.nbd")


@pytest.mark.parametrize("connects", [False, True])
def test_without_its_device_nothing_is_left(
    hosts: Hosts, pair: Pair, tmp_path: Path, kernel: KernelsDriver, *, connects: bool
) -> None:
    (kernel.hangs_up if connects else kernel.fails)("no such device")
    daemon = Daemon(hosts, "backup", tmp_path / "backup", "--attach", "/dev/nbd0")
    assert daemon.process.returncode == 1
    assert any("DISK-155" in line and "no such device" in line for line in daemon.said)
    assert not daemon.nbd.exists()
    assert not daemon.files.relay.exists()
    assert pair.start("backup").role == "backup"


def test_a_device_is_not_taken_from_a_guest(
    pair: Pair,
    kernel: KernelsDriver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither by ``--stop`` nor by a signal; xenstore is played."""
    monkeypatch.setattr(vbds, "guest_with", {"/dev/nbd5": "web1"}.get)
    backup = pair.start("backup", "--attach", "/dev/nbd5")
    with pytest.raises(DeviceInUse, match="web1"):
        tapdisk.stop(backup.files)
    tapdisk._end(backup.files)
    assert "goes on: DISK-165" in capsys.readouterr().err
    assert (backup.role, len(kernel.asked)) == ("backup", 1)
    backup.stop_by_command()
    assert backup.process.wait(DEADLINE_S) == 0


def test_a_signal_to_a_command_whose_device_cannot_be_detached_changes_nothing(
    pair: Pair, kernel: KernelsDriver
) -> None:
    backup = pair.start("backup", "--attach", "/dev/nbd5")
    kernel.fails("device is busy")
    backup.process.send_signal(signal.SIGHUP)
    assert "DISK-155" in backup.hear("goes on: ")
    assert backup.role == "backup"


def relay(daemon: Daemon) -> int:
    """A descriptor of the process between a device and the daemon."""
    return os.pidfd_open(int(daemon.files.relay_pid.read_text()))


def dies(daemon: Daemon) -> None:
    """The process that serves does."""
    died = os.pidfd_open(daemon.pid)
    os.kill(daemon.pid, signal.SIGKILL)
    assert readable(died, DEADLINE_S)


@pytest.mark.parametrize("detached", [False, True])
def test_a_daemon_that_dies_under_its_guest_is_followed_by_another(
    pair: Pair, kernel: KernelsDriver, *, detached: bool
) -> None:
    """The guest sees no error; its disk is unprotected from then on."""
    backup = pair.start("backup")
    options = ("--attach", "/dev/nbd5", *(("--detach",) if detached else ()))
    primary = pair.start("primary", *options)
    assert primary.role == "primary"
    if detached:
        primary.process.communicate(timeout=DEADLINE_S)  # nobody holds its output
        assert primary.process.returncode == 0
    between = relay(primary)
    writers = Writers(kernel.device("nbd5"), blocks=256, threads=1)
    writers.wait(100)
    for _ in range(2):
        dies(primary)
        writers.wait(100)
        primary.orders = Orders(primary.files.orders, owns=False)
        assert primary.role == "unprotected"
    writers.stop()
    writers.check(primary.image)
    assert backup.role == "unprotected"
    primary.stop_by_command()
    assert readable(between, DEADLINE_S)
    assert not primary.nbd.exists()
    if not detached:
        assert primary.process.wait(DEADLINE_S) == 0


def test_somebody_who_looks_at_the_image_is_waited_for(pair: Pair, kernel: KernelsDriver) -> None:
    pair.start("backup")
    primary = pair.start("primary", "--attach", "/dev/nbd5")
    writers = Writers(kernel.device("nbd5"), blocks=256, threads=1)
    with primary.image.open("rb"):
        dies(primary)
        assert "DISK-150" in primary.hear("not yet: ")
    writers.wait(100)
    writers.stop()
    writers.check(primary.image)
    primary.orders = Orders(primary.files.orders, owns=False)


def test_the_guests_error_is_its_image_s(pair: Pair, kernel: KernelsDriver) -> None:
    """Whoever is between device and daemon asks only once."""
    backup = pair.start("backup", "--commit", "coordinated", "--attach", "/dev/nbd5")
    client = Nbd(kernel.device("nbd5"))
    with pytest.raises(PermissionError):
        client.write(0, bytes(4096))
    client.close()
    assert backup.role == "backup"


def test_after_a_failover_a_daemon_that_dies_is_followed_also_before_the_first_write(
    pair: Pair, kernel: KernelsDriver
) -> None:
    """The guest that only reads waits for the next one like any other."""
    backup = pair.start("backup", "--commit", "coordinated", "--attach", "/dev/nbd5")
    primary = pair.start("primary", "--commit", "coordinated")
    receiver = backup.receiver()
    primary.client().write(0, block(1))
    primary.controller().flush(DEADLINE_S)
    receiver.said("prepared")
    receiver.order("commit", 1)
    receiver.order("finish")
    receiver.said("finished")
    receiver.close()
    guest = Nbd(kernel.device("nbd5"))
    for _ in range(2):
        dies(backup)
        assert guest.read(0, BLOCK) == block(1)
        backup.orders = Orders(backup.files.orders, owns=False)
        assert backup.role == "unprotected"
    guest.write(0, block(2))
    assert backup.image.read_bytes()[:BLOCK] == block(2)


@pytest.mark.parametrize("host", ["primary", "backup"])
def test_a_lost_connection_of_the_device_is_told_and_costs_the_fitness(
    pair: Pair, kernel: KernelsDriver, host: str
) -> None:
    """The daemon lives, and can be ended as ever."""
    options = ("--commit", "coordinated", "--attach", "/dev/nbd5")
    primary, backup = pair.begin(*options)
    spec = DiskSpec(
        vdev="xvda",
        path=str(backup.image),
        size=SIZE,
        ack="received",
        identity="",
        overwrite=False,
        limit=1 << 30,
        generation=0,
        uri=backup.uri,
        base=0,
    )
    assert standing.base_of([primary.uri], primary.files.directory) == 0
    standing.check_backup(spec, backup.files.directory)
    lost = {"primary": primary, "backup": backup}[host]
    signal.pidfd_send_signal(relay(lost), signal.SIGKILL)
    lost.hear("/dev/nbd5 is attached no more")
    if lost is primary:
        with pytest.raises(DeviceLost):
            standing.base_of([primary.uri], primary.files.directory)
    else:
        with pytest.raises(DaemonUnfit, match="no device is attached"):
            standing.check_backup(spec, backup.files.directory)
    assert lost.role == host
    assert lost.stop() == 0


def test_the_next_command_takes_up_a_device_whose_daemon_and_attendant_have_died(
    pair: Pair, kernel: KernelsDriver
) -> None:
    """The guest waits meanwhile; another device would not be its."""
    pair.start("backup")
    primary = pair.start("primary", "--attach", "/dev/nbd5")
    writers = Writers(kernel.device("nbd5"), blocks=256, threads=1)
    writers.wait(100)
    primary.process.kill()
    primary.process.wait()
    dies(primary)
    with pytest.raises(AssertionError, match=r"DISK-155.*another device"):
        pair.start("primary", "--attach", "/dev/nbd6")
    link = primary.files.directory.with_name("link")
    link.symlink_to(primary.files.directory)
    again = pair.start("primary", "--attach", "/dev/nbd5", "--directory", str(link))
    assert again.role == "unprotected"
    writers.wait(100)
    dies(again)
    writers.wait(100)
    writers.stop()
    writers.check(again.image)
    again.orders = Orders(again.files.orders, owns=False)
    assert again.stop() == 0
    assert [words for words in kernel.asked if "nbd5" in words] == [
        f"-unix {again.files.relay} /dev/nbd5 -block-size 512",
        "-d /dev/nbd5",
    ]


def test_a_backup_that_dies_is_not_followed(pair: Pair, kernel: KernelsDriver) -> None:
    """Nothing says that its image is the guest's."""
    backup = pair.start("backup", "--attach", "/dev/nbd5")
    between = relay(backup)
    dies(backup)
    assert backup.process.wait(DEADLINE_S) == 1
    backup.hear("DISK-154")
    assert kernel.asked[-1] == "-d /dev/nbd5"
    assert readable(between, DEADLINE_S)
