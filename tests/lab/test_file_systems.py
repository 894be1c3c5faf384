"""A guest's file system and database: after a failover nothing that was acknowledged is missing.

Its second disk has an ext4 with an SQLite database and files; a client outside writes to both over
one connection that lives in the guest's memory, so it goes on after the failover without being
made again. The first disk's writers work meanwhile, and judge that disk.
"""

import random
import re
from collections.abc import Iterator

import pytest

from remus_ha.lab.database_writer import DatabaseWriter
from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import DiskSpec, GuestSpec
from tests.lab.support.protection import Protection
from tests.lab.support.stage import DISK_MIB, Guest, Stage
from tests.lab.test_disks import judged

NAME = "archive"
DISKS = (DiskSpec("xvda", DISK_MIB), DiskSpec("xvdb", DISK_MIB, file_system="ext4"))
ROUNDS = 10
# Slow enough to leave the database its share of the machine.
BESIDE_KIB_S = 256
# All that an ext4 may show that lost its power: the rest would be damage.
_REPLAYED = re.compile(
    r"recovering journal|Clearing orphaned inode"
    r"|\d+/\d+ files \(.* non-contiguous\), \d+/\d+ blocks"
)


@pytest.fixture
def archive(stage: Stage) -> Iterator[Guest]:
    """A new guest with both disks, on host a; its images are new on both hosts."""
    stage.drop_guest()
    yield stage.create(GuestSpec(NAME, vifs=2, disks=DISKS), "a")
    stage.lab.guests.destroy(NAME)
    stage.drop_guest()


def destroy(host: Host, name: str) -> None:
    """As its power cut; the QEMU that served its disks has ended when this returns."""
    host.shell.run(
        f"domid=$(xl domid {name})"
        " && qemu=$(xenstore-read /local/domain/$domid/image/device-model-pid)"
        f" && xl destroy {name} && timeout 30 tail --pid=$qemu -s 0.1 -f /dev/null"
    )


def check_file_system(host: Host, image: str) -> None:
    """A journal to replay is no damage; after that the file system has no fault at all."""
    first = host.shell.run(f"fsck.ext4 -f -p {image} 2>&1", check=False)
    said = first.stdout.decode(errors="replace")
    print(said)
    assert first.returncode in (0, 1), said
    strange = [line for line in said.splitlines() if line and not _REPLAYED.search(line)]
    assert not strange, said
    second = host.shell.run(f"fsck.ext4 -f -n {image} 2>&1", check=False)
    assert second.returncode == 0, second.stdout.decode(errors="replace")


def _rounds() -> list[object]:
    return [pytest.param(0, marks=pytest.mark.gate), *range(1, ROUNDS)]


@pytest.mark.parametrize("seed", _rounds())
def test_nothing_acknowledged_is_missing_after_a_power_cut(
    stage: Stage, archive: Guest, seed: int
) -> None:
    database, disks = stage.lab.guests.database(NAME), stage.lab.guests.disks(NAME)
    disks.start(BESIDE_KIB_S)
    with DatabaseWriter(database) as writer, Protection(stage, archive) as p:
        writer.wait_acknowledged(5)
        p.wait_checkpoints(random.Random(seed).randint(3, 25))
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        # over the same connection, from the guest's copy
        writer.wait_acknowledged(5)
        told = writer.stop()
        assert writer.broken is None, writer.broken
        assert told.lost(database) == []
        # an insert under way at the cut took place once: all were answered in the end
        assert database.count() == len(told.rows)
        assert database.check() == "ok"
        verdict = judged(disks)
        assert verdict.clean, verdict
    stage.judge()
    backup = stage.host(archive.host)
    destroy(backup, NAME)
    check_file_system(backup, DISKS[1].file(NAME))
