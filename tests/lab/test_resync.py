"""A host that comes back: its stale disks get what differs, and nothing of what it wrote alone."""

import re

from remus_ha.lab.host import Host
from remus_ha.lab.plan import Link
from remus_ha.lab.xlconfig import GuestSpec, plain_disks, render
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import DISK_MIB, WITNESS, Guest, Stage
from tests.lab.test_disks import DISKS, survives_a_cut, writing

VDEVS = ("xvda", "xvdb")
# Until the image at $1 has been written to since $2, and keeps that.
_CHANGES = 'until [ "$1" -nt "$2" ]; do :; done; sync "$1"'
# Longer than it takes to see the primary's disk change, and to cut its power.
PATIENT_MS = 12000


def image(guest: Guest, vdev: str) -> str:
    return f"/srv/guests/{guest.name}-{vdev}.img"


def differing_octets(stage: Stage, guest: Guest) -> int:
    """How many octets of the guest's images are not alike on the two hosts; both are at rest."""
    ours, theirs = (
        b"".join(content(stage.host(name), guest, vdev) for vdev in VDEVS) for name in "ab"
    )
    assert len(ours) == len(theirs) == DISKS * DISK_MIB << 20
    return sum(a != b for a, b in zip(ours, theirs, strict=True))


def content(host: Host, guest: Guest, vdev: str) -> bytes:
    return host.shell.run(f"cat {image(guest, vdev)}", timeout_s=120).stdout


def test_a_returned_host_gets_only_what_differs(stage: Stage) -> None:
    guest = stage.guest(disks=DISKS, fresh=True)
    disks = writing(stage, guest)
    with Protection(stage, guest, detect_ms=PATIENT_MS) as p:
        p.wait_checkpoints(3)
        # From here on what the guest writes is on its own host alone.
        stage.lab.unplug(p.primary, Link.REPL)
        shell = stage.host(p.primary).shell
        shell.run("touch /run/unplugged")
        disks.save_unheard("on the old host alone")
        shell.run(["sh", "-c", _CHANGES, "sh", image(guest, VDEVS[0]), "/run/unplugged"])
        survives_a_cut(p, disks)
    stage.ready()
    alone = differing_octets(stage, guest)
    assert alone > 0
    with Protection(stage, guest) as back:
        line = back.log_primary.wait(r"the disks are copied, \d+ of \d+ octets")
        found = re.search(r"copied, (\d+) of (\d+) octets", line)
        assert found is not None
        sent, whole = int(found[1]), int(found[2])
        assert whole == DISKS * DISK_MIB << 20
        assert alone <= sent < whole / 2, (alone, sent, whole)
        disks.start(512)
        back.wait_checkpoints(3)
        survives_a_cut(back, disks)


def test_a_newer_image_is_not_overwritten_by_an_older_one(stage: Stage) -> None:
    """After a failover somebody starts the old host's image, and wants to protect that."""
    guest = stage.guest(disks=DISKS, fresh=True)
    disks = writing(stage, guest)
    with Protection(stage, guest) as p:
        p.wait_checkpoints(3)
        survives_a_cut(p, disks)
    stage.ready()
    stage.judge()
    newer = stage.host(p.backup).shell
    kept = newer.text(f"sha256sum {image(guest, VDEVS[0])}")
    newer.run(f"xl destroy {guest.name}")
    newer.run(f"remus-ha witness release {WITNESS} {guest.uuid}")
    older = stage.host(p.primary).shell
    spec = GuestSpec(guest.name, vifs=2, disks=plain_disks(DISKS, DISK_MIB))
    config = f'{render(spec, guest.plan)}uuid = "{guest.uuid}"\n'
    older.run("cat >/tmp/old.cfg && xl create -q /tmp/old.cfg", stdin=config.encode())
    command = f"remus-ha protect --detach --witness {WITNESS} {guest.name} {p.backup}"
    assert "DISK-019" in refused(stage, p.primary, command)
    assert newer.text(f"sha256sum {image(guest, VDEVS[0])}") == kept
    stage.drop_guest()
