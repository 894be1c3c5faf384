import os
from pathlib import Path

import pytest

from remus_ha.lab.control import GuestStat, parse_stat
from remus_ha.lab.errors import BadValue, StepFailed
from remus_ha.lab.guests import _check, _make_images, parse_xl_list
from remus_ha.lab.run import run
from remus_ha.lab.xlconfig import DiskSpec, GuestSpec, plain_disks

FIXTURE = Path(__file__).parent / "fixtures" / "xl-list-4.17.txt"


def test_xl_list_without_dom0() -> None:
    rows = parse_xl_list(FIXTURE.read_text())
    found = [(row.name, row.domid, row.memory_mib, row.state) for row in rows]
    assert found == [
        ("g", 1, 96, "-b----"),
        ("web--incoming", 3, 96, "--p---"),
        ("(null)", 4, 0, "--ps-d"),
    ]


def test_stat() -> None:
    text = (
        "name=g number=50 ticks=153 now_us=8023754 requests=2 gap_max_us=3238 gaps=1 "
        "dirty_kib_s=1024 dirty_mib=4 chatter=20 chatter_seq=58 free_kib=5000"
    )
    assert parse_stat(text) == GuestStat("g", 50, 153, 8023754, 2, 3238, 1, 1024, 4, 20, 58, 5000)


def test_images_are_made_sparse_and_an_older_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remus_ha.lab.guests.IMAGES", str(tmp_path / "guests"))
    monkeypatch.setattr("remus_ha.lab.xlconfig.IMAGES", str(tmp_path / "guests"))
    spec = GuestSpec("web", disks=plain_disks(2, 5))
    run(["sh", "-c", " && ".join(_make_images(spec))])
    first, second = (tmp_path / "guests" / f"web-xvd{letter}.img" for letter in "ab")
    assert first.stat().st_size == second.stat().st_size == 5 << 20
    assert first.stat().st_blocks == 0
    first.write_text("kept")
    run(["sh", "-c", " && ".join(_make_images(spec))])
    assert first.read_text() == "kept"


def test_an_image_gets_its_file_system_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setattr("remus_ha.lab.guests.IMAGES", str(tmp_path))
    monkeypatch.setattr("remus_ha.lab.xlconfig.IMAGES", str(tmp_path))
    spec = GuestSpec("web", disks=(DiskSpec("xvda"), DiskSpec("xvdb", 32, file_system="ext4")))
    run(["sh", "-c", " && ".join(_make_images(spec))])
    run(["fsck.ext4", "-f", "-n", tmp_path / "web-xvdb.img"])
    with pytest.raises(StepFailed):
        run(["fsck.ext4", "-f", "-n", tmp_path / "web-xvda.img"])
    made = (tmp_path / "web-xvdb.img").read_bytes()
    run(["sh", "-c", " && ".join(_make_images(spec))])
    assert (tmp_path / "web-xvdb.img").read_bytes() == made
    assert {file.name for file in tmp_path.iterdir()} == {"web-xvda.img", "web-xvdb.img"}


def test_half_an_image_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program that makes file systems."""
    monkeypatch.setattr("remus_ha.lab.guests.IMAGES", str(tmp_path))
    monkeypatch.setattr("remus_ha.lab.xlconfig.IMAGES", str(tmp_path))
    monkeypatch.setattr("remus_ha.lab.guests._MKFS", {"ext4": "false"})
    spec = GuestSpec("web", disks=(DiskSpec("xvda", 32, file_system="ext4"),))
    with pytest.raises(StepFailed):
        run(["sh", "-c", " && ".join(_make_images(spec))])
    assert not (tmp_path / "web-xvda.img").exists()


def test_a_device_of_the_host_is_not_made() -> None:
    disk = DiskSpec("xvda", backend="phy", device="/dev/nbd0")
    assert _make_images(GuestSpec("web", disks=(disk,))) == []


def test_without_disks_there_is_nothing_to_make() -> None:
    assert _make_images(GuestSpec("web")) == []


@pytest.mark.parametrize(
    "disks",
    [
        (DiskSpec("xvdb"),),
        (DiskSpec("xvdb"), DiskSpec("xvda")),
        (DiskSpec("xvda", size_mib=3),),
        (DiskSpec("xvda", file_system="ext4"), DiskSpec("xvdb")),
        (DiskSpec("xvda", file_system="ext4"), DiskSpec("xvdb", file_system="ext4")),
        (DiskSpec("xvda", file_system="xfs"),),
        (DiskSpec("xvda", size_mib=8, file_system="ext4"),),
        (DiskSpec("xvda", file_system="ext4", format="qcow2"),),
    ],
)
def test_disks_that_cannot_be(disks: tuple[DiskSpec, ...]) -> None:
    _check(GuestSpec("web", disks=plain_disks(8)))
    _check(GuestSpec("web", disks=(DiskSpec("xvda"), DiskSpec("xvdb", file_system="ext4"))))
    with pytest.raises(BadValue, match="disk"):
        _check(GuestSpec("web", disks=disks))
