"""What befalls a guest's replicated disks: the guest sees no error, and never waits for long."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from remus_ha.killpoint import BACKUP, PRIMARY
from remus_ha.lab.disks import DiskControl
from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import IMAGES, GuestSpec, plain_disks
from tests.lab.support.devices import MappedDevice
from tests.lab.support.protection import DETECT_MS, ENDS, KEEPER_GONE, Protection
from tests.lab.support.stage import DISK_MIB, Guest, Stage
from tests.lab.test_disks import DISKS, DRIVERS, judged, settle, until, writing
from tests.lab.test_resync import VDEVS, image

OVERWRITE = "--disk-overwrite"
PLACE = "/srv/hanging"
BELOW_MIB = 256  # of its file system: images, and what a session sets aside for journals
KIB_S = 256  # some writes in every epoch
GATE = (("c", "host"),)


def _points(names: Sequence[str]) -> list[ParameterSet]:
    every = [(point, how) for point in names for how in ("process", "host")]
    gate = pytest.mark.gate
    return [
        pytest.param(*pair, id="-".join(pair), marks=gate if pair in GATE else ()) for pair in every
    ]


@pytest.mark.parametrize(("point", "how"), _points(PRIMARY))
def test_the_primary_dies_at_a_place_of_an_epoch(stage: Stage, point: str, how: str) -> None:
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    accident = f"REMUS_HA_KILLPOINT={point}:20:{how}"
    with Protection(stage, guest, environment=accident) as p:
        disks.start(KIB_S)
        if how == "host":
            p.wait_failed_over()
        else:
            _process_died(p)
        _intact(disks)
        if how == "host":
            stage.lab.cut(p.primary)


@pytest.mark.parametrize("point", PRIMARY)
def test_the_primarys_process_dies_while_qemu_mirrors(stage: Stage, point: str) -> None:
    """What it has left in QEMU is taken off by the next one."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    accident = f"REMUS_HA_KILLPOINT={point}:20:process"
    with Protection(stage, guest, "--disk-driver", "qemu", environment=accident) as p:
        disks.start(KIB_S)
        _process_died(p)
        _intact(disks)


def _process_died(p: Protection) -> None:
    p.log_primary.wait(r"guardian .*: starting")
    _decided(p)


@pytest.mark.parametrize(("point", "how"), _points(BACKUP))
def test_the_backup_dies_at_a_place_of_an_epoch(stage: Stage, point: str, how: str) -> None:
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    command = f"ssh {guest.other} REMUS_HA_KILLPOINT={point}:20:{how} remus-ha receive"
    with Protection(stage, guest, "-s", "", receiver=command) as p:
        disks.start(KIB_S)
        if how == "host":
            p.wait_alone()
        else:
            p.log_backup.wait(r"keeper .*: starting")
            _decided(p)
        _intact(disks)
        if how == "host":
            stage.lab.cut(p.backup)


@pytest.mark.parametrize("point", BACKUP)
def test_the_keeper_dies_at_a_place_of_an_epoch(stage: Stage, point: str) -> None:
    """The receiver starts another one, and the protection goes on."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    command = f"ssh {guest.other} REMUS_HA_KILLPOINT={point}:20:caretaker remus-ha receive"
    with Protection(stage, guest, "-s", "", receiver=command) as p:
        disks.start(KIB_S)
        p.log_backup.wait(KEEPER_GONE)
        p.wait_checkpoints(5)
        p.unprotect()
        _intact(disks)


def _decided(p: Protection) -> None:
    """A process died, no host did: one of the two copies is the guest in the end."""
    ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
    kept = ends[0].endswith("alone") and ends[1].endswith("destroyed")
    moved = ends[0].endswith("destroyed") and ends[1].endswith("alive")
    assert kept or moved, ends
    p.stage.moved(p.guest, p.primary if kept else p.backup)
    assert not p.guest.uuid_on(p.guest.other)


def _intact(disks: DiskControl) -> None:
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert disks.stat().errors == 0


def _nbdkit(host: Host, signal: str) -> None:
    host.shell.run(f"pkill -{signal} nbdkit")


@contextmanager
def _unharmed(disks: DiskControl) -> Iterator[None]:
    """Inside, no write waits longer than the detection time and a second, and none fails."""
    disks.reset()
    yield
    began = disks.stat().completed
    until(lambda: disks.stat().completed >= began + 20)
    settle(disks)  # whatever still waited is in the figures now
    assert disks.latency().max_us < (DETECT_MS + 1000) * 1000, disks.latency()
    assert disks.stat().errors == 0
    disks.start()


@pytest.mark.parametrize(
    ("signal", "driver"),
    [
        pytest.param("KILL", "tapdisk", marks=pytest.mark.gate),
        ("KILL", "qemu"),
        ("STOP", "tapdisk"),
        ("STOP", "qemu"),
    ],
)
def test_the_stores_die_or_stand_still(stage: Stage, signal: str, driver: str) -> None:
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with Protection(stage, guest, "--disk-driver", driver) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(5)
        with _unharmed(disks):
            _nbdkit(stage.host(p.backup), signal)
            p.wait_alone()
        assert p.log_backup.wait(ENDS).endswith(("broken", "destroyed"))  # who is seen first
        assert judged(disks).clean


def test_the_block_servers_under_the_disks_die(stage: Stage) -> None:
    """What stands between the guest and its image is gone: its requests wait for the next one."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with Protection(stage, guest, "--disk-driver", "tapdisk") as p:
        disks.start(KIB_S)
        p.wait_checkpoints(5)
        with _unharmed(disks):
            _nbdkit(stage.host(p.primary), "KILL")
            p.wait_alone()
        assert p.log_backup.wait(ENDS).endswith("destroyed")
        assert judged(disks).clean


@contextmanager
def _journals(stage: Stage, guest: Guest) -> Iterator[list[str]]:
    """File systems of their own for the disks' epochs on the backup, the least that is taken.

    Inside, nothing tells whose disk an image is that is there already.
    """
    shell = stage.host(guest.other).shell
    journals = [f"{IMAGES}/.{guest.name}-{vdev}.img.epochs" for vdev in VDEVS]
    shell.run(" && ".join(f"mkdir -p {j} && mount -t tmpfs -o size=65m none {j}" for j in journals))
    try:
        yield journals
    finally:
        shell.run("; ".join(f"umount {journal}" for journal in journals))


def test_the_backups_journal_has_no_room(stage: Stage) -> None:
    """A write does not fit, and is refused: the first who hears of that says so."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    fill = "cat /dev/zero >{}/full"
    with _journals(stage, guest) as journals:
        with Protection(stage, guest, OVERWRITE) as p, _unharmed(disks):
            shell = stage.host(p.backup).shell
            shell.run("; ".join(fill.format(journal) for journal in journals), check=False)
            disks.start(KIB_S)
            p.wait_alone(120)
            p.log_primary.wait("DISK-(133|174)")
            p.log_backup.wait(ENDS)
        assert judged(disks).clean


def test_the_backups_journal_has_no_room_for_an_epochs_end(stage: Stage) -> None:
    """Eight saved records fill the last page, and their places need one more."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    settle(disks)
    shell = stage.host(guest.other).shell
    with _journals(stage, guest) as (journal, _):
        # An interval long enough for all eight to be of one epoch.
        options = (OVERWRITE, "--interval", "5000")
        with Protection(stage, guest, *options) as p, _unharmed(disks):
            p.wait_checkpoints(1)
            shell.run(f"while ls {journal}/epoch-*; do :; done")
            shell.run(f"cat /dev/zero >{journal}/full; truncate -s -4096 {journal}/full")
            p.wait_checkpoints(1)
            for n in range(8):
                disks.save_unheard(f"record {n}")
            p.log_backup.wait("DISK-174")
            p.wait_alone()
            p.log_backup.wait(ENDS)
            disks.start(KIB_S)
        assert judged(disks).clean


def test_the_backups_disk_fails(stage: Stage) -> None:
    """Under the image lies a device-mapper target that turns into errors."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with MappedDevice(stage.host(guest.other), "bad", DISK_MIB) as device:
        options = (OVERWRITE, "--disk-map", f"{image(guest, 'xvda')}={device.path}")
        with Protection(stage, guest, *options) as p:
            disks.start(KIB_S)
            p.wait_checkpoints(5)
            with _unharmed(disks):
                device.fail()
                p.wait_alone()
            assert p.log_backup.wait(ENDS).endswith(("broken", "destroyed"))  # who is seen first
        assert judged(disks).clean


@contextmanager
def _device_below(stage: Stage, host: str) -> Iterator[MappedDevice]:
    """Which the file system at PLACE is on."""
    shell = stage.host(host).shell
    with MappedDevice(stage.host(host), "hanging", BELOW_MIB) as device:
        shell.run(f"mkfs.ext4 -q {device.path} && mkdir {PLACE} && mount {device.path} {PLACE}")
        try:
            yield device
        finally:
            device.go_on()
            shell.run(f"timeout 60 pidwait nbdkit; umount {PLACE} && rmdir {PLACE}")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("ack", "frozen"),
    [
        # What is written is taken, and does not become durable.
        pytest.param("durable", False, id="durable"),
        # The file system is frozen: a write does not end either.
        pytest.param("received", True, id="received"),
    ],
)
def test_the_backups_disk_hangs(stage: Stage, ack: str, frozen: bool, driver: str) -> None:
    """Under the images and their journals lies a device that holds all requests."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    options = ("--disk-ack", ack, "--disk-driver", driver, "--disk-map", f"{IMAGES}={PLACE}")
    with _device_below(stage, guest.other) as device:
        with Protection(stage, guest, *options) as p:
            disks.start(KIB_S)
            p.wait_checkpoints(5)
            with _unharmed(disks):
                device.hang(frozen=frozen)
                p.wait_alone()
            device.go_on()
            p.log_backup.wait(ENDS)
        assert judged(disks).clean


def _is_copying(told: dict[str, Any]) -> bool:
    """By one answer: a second one may come after the copy is done."""
    return told["state"] == "syncing" and any(disk["synced_octets"] for disk in told["disks"])


def test_the_backup_loses_its_power_while_the_disks_are_copied(stage: Stage) -> None:
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with Protection(stage, guest, "--disk-rate", "1", start=False) as p:
        with stage.host(p.primary).shell.popen(p.command) as command:
            p.log_primary.wait("the disks are being copied")
            until(lambda: _is_copying(p.progress()))
            with _unharmed(disks):
                stage.lab.cut(p.backup)
                p.log_primary.wait(ENDS)
            command.wait(60)
        assert judged(disks).clean


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_stores_stand_still_while_the_disks_are_copied(stage: Stage, driver: str) -> None:
    """No epoch waits for them yet; the guest's writes would, before long."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    options = ("--disk-driver", driver, "--disk-rate", "1")
    with Protection(stage, guest, *options, start=False) as p:
        with stage.host(p.primary).shell.popen(p.command) as command:
            p.log_primary.wait("the disks are being copied")
            until(lambda: _is_copying(p.progress()))
            with _unharmed(disks):
                _nbdkit(stage.host(p.backup), "STOP")
                p.wait_alone()
            command.wait(60)
        p.log_primary.wait("DISK-172")
        assert p.log_backup.wait(ENDS).endswith("stopped")
        assert judged(disks).clean


def test_what_a_client_was_told_outlives_a_power_cut_of_both_hosts(stage: Stage) -> None:
    """``--disk-ack durable``: every saved line is on the backup's image, by ``disk recover``.

    And all images hold the same epoch then: one that the primary had heard of, or a later one.
    """
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    images = " ".join(image(guest, vdev) for vdev in VDEVS)
    with Protection(stage, guest, "--disk-ack", "durable") as p:
        p.wait_checkpoints(3)
        saved = [disks.save(f"line {i}") for i in range(10)]
        acked = p.progress()["acked"]
        stage.lab.cut(p.backup)
        stage.lab.cut(p.primary)
    stage.gone(guest)
    stage.lab.boot(p.backup)
    backup = stage.host(p.backup).shell
    told = backup.text(f"remus-ha disk recover {images}")
    epochs = [int(n) for n in re.findall(r": epoch (\d+)$", told, re.MULTILINE)]
    assert len(epochs) == DISKS, told
    assert len(set(epochs)) == 1, told
    assert epochs[0] >= acked, told
    spec = GuestSpec(guest.name, disks=plain_disks(DISKS, DISK_MIB))
    stage.create(spec, p.backup)
    again = stage.lab.guests.disks(guest.name)
    assert [again.saved(n) for n in saved] == [f"line {i}" for i in range(10)]
    stage.drop_guest()


def test_unprotect_and_protect_again_leave_the_guest_writing(stage: Stage) -> None:
    guest: Guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    for _ in range(2):
        with Protection(stage, guest) as p:
            p.wait_checkpoints(5)
            with _unharmed(disks):
                p.unprotect()
        stage.forget((p.primary, p.backup))
    assert judged(disks).clean
