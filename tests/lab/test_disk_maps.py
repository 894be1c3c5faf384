"""The backup keeps a guest's disks elsewhere: one on a block device, one in another directory."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.support.devices import MappedDevice
from tests.lab.support.protection import Protection
from tests.lab.support.stage import DISK_MIB, Guest, Stage
from tests.lab.test_disks import DISKS, survives_a_cut, writing
from tests.lab.test_resync import image

DIRECTORY = "/srv/kept"


def _there(guest: Guest) -> str:
    return f"{DIRECTORY}/{guest.name}-xvdb.img"


@contextmanager
def _places(stage: Stage, host: str) -> Iterator[str]:
    """A device and DIRECTORY on ``host``; the device's path. Afterwards nothing of them."""
    shell = stage.host(host).shell
    with MappedDevice(stage.host(host), "kept", DISK_MIB) as device:
        shell.run(f"mkdir {DIRECTORY}")
        try:
            yield device.path
        finally:
            stage.lab.boot(host)
            shell.run(f"rm -rf {DIRECTORY}")


def test_a_copy_starts_from_where_its_disks_are_mapped(stage: Stage) -> None:
    """And from there the guest is protected back."""
    guest = stage.guest(disks=DISKS, fresh=True)
    disks = writing(stage, guest)
    with _places(stage, guest.other) as device:
        maps = (f"{image(guest, 'xvda')}={device}", f"/srv/guests={DIRECTORY}")
        options = [word for rule in maps for word in ("--disk-map", rule)]
        with Protection(stage, guest, "--disk-overwrite", *options) as p:
            disks.start(256)
            p.wait_checkpoints(5)
            survives_a_cut(p, disks)
            config = stage.host(p.backup).shell.text(f"xl list -l {guest.name}")
            assert device in config
            assert _there(guest) in config
        stage.ready()
        back = (f"{device}={image(guest, 'xvda')}", f"{DIRECTORY}=/srv/guests")
        options = [word for rule in back for word in ("--disk-map", rule)]
        with Protection(stage, guest, *options) as p:
            disks.start(256)
            p.wait_checkpoints(5)
            survives_a_cut(p, disks)
