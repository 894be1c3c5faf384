"""The backup keeps a guest's disks elsewhere: one on a block device, one in another directory."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.support.protection import Protection
from tests.lab.support.stage import DISK_MIB, Guest, Stage
from tests.lab.test_disks import DISKS, DMSETUP, judged, writing
from tests.lab.test_resync import image

DEVICE, DIRECTORY, BEHIND = "/dev/mapper/kept", "/srv/kept", "/srv/behind.img"
LOOP = "/dev/loop7"


def _there(guest: Guest) -> str:
    return f"{DIRECTORY}/{guest.name}-xvdb.img"


@contextmanager
def _places(stage: Stage, host: str) -> Iterator[None]:
    """A device and a directory on ``host``; afterwards nothing of them."""
    shell = stage.host(host).shell
    table = f"0 {DISK_MIB << 11} linear {LOOP} 0"
    shell.run(
        f"mkdir {DIRECTORY} && truncate -s {DISK_MIB}M {BEHIND}"
        f" && losetup {LOOP} {BEHIND} && echo {table} | {DMSETUP} create kept"
    )
    try:
        yield
    finally:
        stage.lab.boot(host)
        undo = f"{DMSETUP} remove -f kept; losetup -d {LOOP}; rm -rf {DIRECTORY} {BEHIND}"
        shell.run(undo, check=False)


def test_a_copy_starts_from_where_its_disks_are_mapped(stage: Stage) -> None:
    """And from there the guest is protected back."""
    guest = stage.guest(disks=DISKS, fresh=True)
    disks = writing(stage, guest)
    maps = (f"{image(guest, 'xvda')}={DEVICE}", f"/srv/guests={DIRECTORY}")
    options = [word for rule in maps for word in ("--disk-map", rule)]
    with _places(stage, guest.other):
        with Protection(stage, guest, "--disk-overwrite", *options) as p:
            disks.start(256)
            p.wait_checkpoints(5)
            stage.lab.cut(p.primary)
            p.wait_failed_over()
            config = stage.host(p.backup).shell.text(f"xl list -l {guest.name}")
            assert DEVICE in config
            assert _there(guest) in config
            verdict = judged(disks)
            assert verdict.clean, verdict
            assert verdict.checked > 0
        stage.ready()
        back = (f"{DEVICE}={image(guest, 'xvda')}", f"{DIRECTORY}=/srv/guests")
        options = [word for rule in back for word in ("--disk-map", rule)]
        with Protection(stage, guest, *options) as p:
            disks.start(256)
            p.wait_checkpoints(5)
            stage.lab.cut(p.primary)
            p.wait_failed_over()
            verdict = judged(disks)
            assert verdict.clean, verdict
            assert disks.stat().errors == 0
