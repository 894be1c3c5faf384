"""A guest whose disks are qcow2: so they are on the backup, and at one epoch with its memory."""

from collections.abc import Iterator

import pytest

from remus_ha.lab.xlconfig import DiskSpec, GuestSpec
from tests.lab.support.processes import kill, send
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import DISK_MIB, WITNESS, Guest, Stage
from tests.lab.test_disks import KIB_S, judged, survives_a_cut, writing

NAME = "layers"
DISKS = tuple(DiskSpec(vdev, DISK_MIB, format="qcow2") for vdev in ("xvda", "xvdb"))


@pytest.fixture
def layers(stage: Stage) -> Iterator[Guest]:
    """A new guest on host a."""
    stage.drop_guest()
    yield stage.create(GuestSpec(NAME, vifs=2, disks=DISKS), "a")
    stage.lab.guests.destroy(NAME)
    stage.drop_guest()


def test_after_a_power_cut_qcow2_disks_are_at_the_epoch_of_memory(
    stage: Stage, layers: Guest
) -> None:
    disks = writing(stage, layers)
    options = f"--disk-driver tapdisk --detach --witness {WITNESS}"
    command = f"remus-ha protect {options} {NAME} b"
    assert "DISK-045" in refused(stage, "a", command)
    with Protection(stage, layers) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(5)
        survives_a_cut(p, disks)
        shell = stage.host(p.backup).shell
        for disk in DISKS:
            assert "file format: qcow2" in shell.text(f"qemu-img info -U {disk.file(NAME)}")


def test_the_receiver_dies_once_the_copy_has_its_disks(stage: Stage, layers: Guest) -> None:
    """The next one leaves the images to the copy, which is being restored."""
    disks = writing(stage, layers)
    with Protection(stage, layers) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(5)
        backup = stage.host(p.backup)
        # Before the backup has any doubt: so the restore lasts until the receiver is dead.
        send(backup, "STOP", "restore")
        stage.lab.cut(p.primary)
        promotion = f"/run/remus-ha/backup/{layers.uuid}/promoted"
        backup.shell.run(f"until [ -e {promotion} ]; do :; done")
        kill(backup, "receiver")
        send(backup, "CONT", "restore")
        p.wait_failed_over()
        verdict = judged(disks)
        assert verdict.clean, verdict
        assert disks.stat().errors == 0


def test_a_disk_that_is_attached_or_detached_ends_the_protection(stage: Stage) -> None:
    """What is protected only in part is not protected: it is said, and the guest goes on."""
    guest = stage.guest(disks=2, fresh=True)
    disks = writing(stage, guest)
    shell = stage.host(guest.host).shell
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        shell.run(
            "truncate -s 16M /srv/guests/more.img && xl block-attach"
            f" {guest.name} vdev=xvdc,backendtype=qdisk,access=rw,target=/srv/guests/more.img"
        )
        p.log_primary.wait("XEN-030")
        p.wait_alone()
    assert judged(disks).clean
    stage.drop_guest()
