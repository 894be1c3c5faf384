"""Room on the backup for all disks of a guest together, and for their journals."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.disk.errors import RoomShort
from remus_ha.disk.lineage import NEVER, Lineage, record
from remus_ha.disk.qemuimg import room_for
from remus_ha.disk.room import JOURNAL_LEAST
from remus_ha.disk.spec import DiskSpec, journal_of
from remus_ha.receive import start
from tests.unit.receive.test_request import REQUEST

pytestmark = pytest.mark.usefixtures("bare_host")

PAGE, MIB = 4096, 1 << 20
SIZE = 60 * MIB
Have = Callable[[int], None]


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Have:
    """Let every file system have so many octets free."""

    def have(octets: int) -> None:
        found = os.statvfs("/")
        blocks = (*found[:4], octets // found.f_frsize, *found[5:])
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(blocks))

    return have


def disk(path: Path, vdev: str = "xvda", **more: object) -> DiskSpec:
    return replace(
        REQUEST.disks[0],
        vdev=vdev,
        path=str(path),
        size=SIZE,
        generation=0,
        **more,  # type: ignore[arg-type]
    )


def lacks(*specs: DiskSpec) -> list[str]:
    request = replace(REQUEST, disks=specs, config={}, witness="none:")
    found = start.check(request)
    assert {type(e) for e in found} <= {RoomShort}
    return [str(e) for e in found]


def test_two_images_of_which_each_has_room(have: Have, tmp_path: Path) -> None:
    one, other = disk(tmp_path / "a"), disk(tmp_path / "b", "xvdb")
    both = 2 * (SIZE + JOURNAL_LEAST)
    have(both - MIB)
    assert lacks(one) == lacks(other) == []
    (told,) = lacks(one, other)
    for part in ("xvda and xvdb", str(tmp_path), f"{both} octets", f"{both - MIB} are free"):
        assert part in told
    have(both)
    assert lacks(one, other) == []


def test_a_journal_beside_an_image_that_is_there(have: Have, tmp_path: Path) -> None:
    spec = disk(tmp_path / "a")
    (tmp_path / "a").write_bytes(bytes(SIZE))
    record(tmp_path / "a", Lineage(REQUEST.guest_uuid, "xvda", NEVER))
    have(JOURNAL_LEAST - MIB)
    assert len(lacks(spec)) == 1
    have(JOURNAL_LEAST)
    assert lacks(spec) == []
    assert lacks(replace(spec, limit=1 << 40)) == [], "the least is no matter of the limit"


def test_what_an_earlier_session_has_left_in_the_journal_is_no_obstacle(
    have: Have, tmp_path: Path
) -> None:
    spec = disk(tmp_path / "a")
    journal = journal_of(tmp_path / "a")
    journal.mkdir()
    (journal / "epoch-7").write_bytes(bytes(JOURNAL_LEAST))
    have(SIZE)
    assert lacks(spec) == []


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True)


def test_a_new_qcow2_image_takes_more_than_its_disk(have: Have, tmp_path: Path) -> None:
    spec = disk(tmp_path / "a", format="qcow2")
    needed = room_for(SIZE) + JOURNAL_LEAST
    have(needed - PAGE)
    assert len(lacks(spec)) == 1
    have(needed)
    assert lacks(spec) == []


def test_a_qcow2_image_needs_what_it_has_not_got_yet(have: Have, tmp_path: Path) -> None:
    """What a snapshot inside has as well is not its own."""
    path = tmp_path / "a"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "preallocation=falloc", path, SIZE)
    spec = disk(path, format="qcow2", overwrite=True)
    have(JOURNAL_LEAST + MIB)
    assert lacks(spec) == []
    qemu_img("snapshot", "-c", "one", path)
    have(JOURNAL_LEAST + SIZE)
    assert len(lacks(spec)) == 1
    have(JOURNAL_LEAST + room_for(SIZE))
    assert lacks(spec) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for one journal."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system")
    place = tmp_path / "small"
    place.mkdir()
    size = f"size={JOURNAL_LEAST + MIB}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_the_journals_of_devices_lie_elsewhere(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices, and an image on a file system of its own."""
    monkeypatch.setattr(rundir, "STATE", small / "state")
    monkeypatch.setattr(start, "check_target", lambda spec, uuid: None)
    monkeypatch.setattr(Path, "is_block_device", lambda path: path.is_relative_to("/dev"))
    devices = [disk(Path(f"/dev/vg/{vdev}"), vdev) for vdev in ("xvda", "xvdb")]
    image = disk(tmp_path / "c", "xvdc")
    assert lacks(devices[0], image) == []
    (told,) = lacks(*devices, image)
    assert f"xvda and xvdb need {2 * JOURNAL_LEAST} octets where {small}" in told
