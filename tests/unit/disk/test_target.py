"""What is in the way of an image on the backup; none of these checks changes anything."""

import fcntl
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.disk import errors, identity
from remus_ha.disk.lineage import (
    NEVER,
    Lineage,
    generation_of,
    in_session,
    of_replica,
    of_win,
    record,
)
from remus_ha.disk.spec import DiskSpec, journal_of, valid
from remus_ha.disk.store import image
from remus_ha.disk.target import check_target, claim, may_overwrite

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
SIZE = 1 << 20
CLOCK_REALTIME_COARSE = 5  # clock_gettime(2)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskSpec:
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")
    return DiskSpec("xvda", str(tmp_path / "web1.img"), SIZE, "received", "", False, 1 << 30, NEVER)


def made(spec: DiskSpec, size: int = SIZE) -> Path:
    path = Path(spec.path)
    path.write_bytes(b"p" * size)
    return path


def test_a_new_image_in_a_directory_that_is_there(spec: DiskSpec) -> None:
    check_target(spec, UUID)
    assert not Path(spec.path).exists()


def test_a_missing_directory(spec: DiskSpec) -> None:
    with pytest.raises(errors.TargetMissing):
        check_target(replace(spec, path=spec.path + "/sub/web1.img"), UUID)


@pytest.mark.parametrize("path", ["/dev/no-such-disk", "/dev/no-such-group/no-such-volume"])
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_device_that_is_not_there(spec: DiskSpec, path: str, image_format: str) -> None:
    """A file in its place would be in memory, whatever acknowledgement was asked for."""
    with pytest.raises(errors.DeviceMissing):
        check_target(replace(spec, path=path, format=image_format), UUID)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_directory_that_is_mounted_read_only(spec: DiskSpec, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", place], check=True)
    try:
        with pytest.raises(errors.TargetReadOnly, match="read-only"):
            check_target(replace(spec, path=f"{place}/web1.img"), UUID)
    finally:
        subprocess.run(["umount", place], check=True)


def test_an_image_that_cannot_be_written(spec: DiskSpec) -> None:
    made(spec)
    attribute = ["chattr", "+i", spec.path]
    if subprocess.run(attribute, capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(errors.TargetReadOnly):
            check_target(replace(spec, overwrite=True), UUID)
    finally:
        subprocess.run(["chattr", "-i", spec.path], check=True)


def test_no_space(spec: DiskSpec) -> None:
    with pytest.raises(errors.TargetSpace):
        check_target(replace(spec, size=1 << 60), UUID)


def test_an_image_of_another_size(spec: DiskSpec) -> None:
    made(spec, SIZE - 512)
    with pytest.raises(errors.TargetSize):
        check_target(replace(spec, overwrite=True), UUID)


def test_an_image_that_nobody_knows(spec: DiskSpec) -> None:
    path = made(spec)
    with pytest.raises(errors.TargetForeign):
        check_target(spec, UUID)
    assert path.read_bytes() == b"p" * SIZE
    check_target(replace(spec, overwrite=True), UUID)


def test_an_image_that_was_this_disks_before(spec: DiskSpec) -> None:
    record(made(spec), Lineage(UUID, "xvda", NEVER))
    assert may_overwrite(spec, UUID)
    check_target(spec, UUID)
    with pytest.raises(errors.TargetForeign):
        check_target(replace(spec, vdev="xvdb"), UUID)


def test_a_newer_image_is_not_overwritten_by_an_older_one(spec: DiskSpec) -> None:
    path = made(spec)
    record(path, Lineage(UUID, "xvda", 7))
    assert generation_of(path, UUID, "xvda") == 7
    with pytest.raises(errors.TargetNewer, match="generation 7"):
        check_target(replace(spec, generation=6), UUID)
    assert path.read_bytes() == b"p" * SIZE
    check_target(replace(spec, generation=7), UUID)
    check_target(replace(spec, generation=6, overwrite=True), UUID)


def test_a_replica_that_somebody_started_does_not_overwrite_the_guests_own_image(
    spec: DiskSpec,
) -> None:
    """Here is the image that the guest had, and wrote to after the replica's last epoch."""
    path = made(spec)
    own = in_session(NEVER, 7)
    record(path, Lineage(UUID, "xvda", own))
    with pytest.raises(errors.TargetNewer):
        check_target(replace(spec, generation=of_replica(own)), UUID)
    check_target(replace(spec, generation=of_win(own, 9)), UUID)
    check_target(replace(spec, generation=of_win(in_session(own, 1), 3)), UUID)  # it was wiped


def test_what_is_written_to_an_image_does_not_make_it_another(spec: DiskSpec) -> None:
    path = made(spec)
    record(path, Lineage(UUID, "xvda", 7))
    path.write_bytes(b"q" * SIZE)
    path.chmod(0o600)
    with path.open("r+b") as f:
        os.posix_fallocate(f.fileno(), 0, SIZE)
    path.rename(path.with_name("elsewhere"))
    path.with_name("elsewhere").rename(path)
    assert generation_of(path, UUID, "xvda") == 7
    check_target(replace(spec, generation=7), UUID)


def _moved_in(path: Path) -> None:
    other = path.with_name("other.img")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def _made_anew(path: Path) -> None:
    """Its inode may be the same one; only the clock of the file system tells it from the first."""
    tick = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == tick:
        pass
    path.unlink()
    path.write_bytes(b"n" * SIZE)


@pytest.mark.parametrize("put", [_moved_in, _made_anew])
def test_another_file_in_the_place_of_a_replica(
    spec: DiskSpec, put: Callable[[Path], None]
) -> None:
    path = made(spec)
    record(path, Lineage(UUID, "xvda", NEVER))
    put(path)
    with pytest.raises(errors.TargetForeign):
        check_target(spec, UUID)
    check_target(replace(spec, overwrite=True), UUID)
    claim(spec, UUID)
    check_target(spec, UUID)


def test_another_file_in_the_place_of_the_guests_own_is_older_than_any(spec: DiskSpec) -> None:
    path = made(spec)
    record(path, Lineage(UUID, "xvda", 7))
    _moved_in(path)
    assert generation_of(path, UUID, "xvda") == NEVER


def test_another_device_under_the_name_of_a_replica(
    spec: DiskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_SYS", tmp_path)
    monkeypatch.setattr(Path, "is_block_device", lambda _path: True)
    monkeypatch.setattr(stat, "S_ISBLK", lambda _mode: True)
    device = Path("/dev/null")
    number = os.stat(device).st_rdev
    uuid = tmp_path / f"{os.major(number)}:{os.minor(number)}/dm/uuid"
    uuid.parent.mkdir(parents=True)
    spec = replace(spec, path=str(device))
    record(device, Lineage(UUID, "xvda", NEVER))  # nothing names it
    uuid.write_text("LVM-one\n")
    assert may_overwrite(spec, UUID)
    record(device, Lineage(UUID, "xvda", NEVER))
    assert may_overwrite(spec, UUID)
    uuid.write_text("LVM-another\n")
    assert not may_overwrite(spec, UUID)


def test_a_record_of_an_earlier_release_counts(spec: DiskSpec) -> None:
    path = made(spec)
    file = journal_of(path) / "lineage.json"
    rundir.write_json(file, {"uuid": UUID, "vdev": "xvda", "generation": 7})
    assert generation_of(path, UUID, "xvda") == 7
    _moved_in(path)
    assert generation_of(path, UUID, "xvda") == 7


@pytest.mark.parametrize("told", [[1], {"uuid": UUID}, "x", None])
def test_a_record_that_is_none(spec: DiskSpec, told: object) -> None:
    path = made(spec)
    rundir.write_json(journal_of(path) / "lineage.json", told)
    assert generation_of(path, UUID, "xvda") == NEVER


def test_how_new_another_disks_image_is_says_nothing(spec: DiskSpec) -> None:
    path = made(spec)
    record(path, Lineage(UUID, "xvdb", 7))
    assert generation_of(path, UUID, "xvda") == NEVER
    with pytest.raises(errors.TargetForeign):
        check_target(spec, UUID)


@pytest.fixture
def user(spec: DiskSpec) -> Iterator[None]:
    path = made(spec)
    process = subprocess.Popen(["sleep", "60"], stdin=path.open("rb"))
    yield
    process.kill()
    process.wait()


@pytest.mark.usefixtures("user")
def test_an_image_that_a_process_has_open(spec: DiskSpec) -> None:
    with pytest.raises(errors.TargetInUse, match="sleep"):
        check_target(replace(spec, overwrite=True), UUID)


def test_two_protections_onto_one_image(spec: DiskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_DYING_S", 0.0)
    made(spec)
    first = image.Image.open(Path(spec.path))
    with pytest.raises(errors.TargetInUse, match="another protection"):
        check_target(replace(spec, overwrite=True), UUID)
    first.close()
    check_target(replace(spec, overwrite=True), UUID)


def test_a_patient_opener_waits_for_whoever_has_the_image(
    spec: DiskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies slowly has it still, and nothing in /proc says so."""
    monkeypatch.setattr(image, "_DYING_S", 0.0)
    path = made(spec)
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(errors.TargetInUse):
        image.open_alone(path)
    threading.Timer(0.3, os.close, [holder]).start()
    began = time.monotonic()
    os.close(image.open_alone(path, patient=True))
    assert time.monotonic() - began > 0.25


def test_neither_file_nor_device(spec: DiskSpec) -> None:
    os.mkfifo(spec.path)
    with pytest.raises(errors.TargetKind):
        check_target(replace(spec, overwrite=True), UUID)


def test_the_same_storage_on_both_hosts(spec: DiskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    made(spec)
    monkeypatch.setattr(identity, "_file_system", lambda _path: ("nfs4", "filer:/images"))
    name = identity.identity_of(Path(spec.path))
    assert name.startswith("nfs4:filer:/images:")
    with pytest.raises(errors.SharedDisk):
        check_target(replace(spec, overwrite=True, identity=name), UUID)


def test_a_local_file_system_cannot_be_shared(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert identity.identity_of(tmp_path / "x") == ""
    assert identity.identity_of(tmp_path / "missing") == ""


def test_a_partition_is_known_by_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a host calls the device itself."""
    monkeypatch.setattr(identity, "_SYS", tmp_path / "dev/block")
    (tmp_path / "dev/block").mkdir(parents=True)
    number = f"{os.major(os.stat('/dev/null').st_rdev)}:{os.minor(os.stat('/dev/null').st_rdev)}"
    monkeypatch.setattr(stat, "S_ISBLK", lambda _mode: True)
    names = []
    for disk, wwid in (("sda", "naa.5000"), ("sdb", "naa.5000"), ("sdc", "naa.6000"), ("sdd", "")):
        (tmp_path / f"block/{disk}/device").mkdir(parents=True)
        if wwid:
            (tmp_path / f"block/{disk}/device/wwid").write_text(f"{wwid}\n")
        for partition in ("1", "2"):
            where = tmp_path / f"block/{disk}/{disk}{partition}"
            where.mkdir()
            (where / "partition").write_text(f"{partition}\n")
            link = tmp_path / "dev/block" / number
            link.unlink(missing_ok=True)
            link.symlink_to(where)
            names.append(identity.identity_of(Path("/dev/null")))
    assert names == [
        *["device:naa.5000:1", "device:naa.5000:2"] * 2,
        *["device:naa.6000:1", "device:naa.6000:2"],
        *["", ""],
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"vdev": "../x"},
        {"path": "web1.img"},
        {"path": "/a\0b"},
        {"size": 0},
        {"limit": -1},
        {"generation": -1},
        {"ack": "maybe"},
        {"format": "vhd"},
    ],
)
def test_a_request_that_cannot_be_believed(spec: DiskSpec, wrong: dict[str, object]) -> None:
    assert valid(spec)
    assert not valid(replace(spec, **wrong))  # type: ignore[arg-type]


def test_a_journal_lies_beside_its_image() -> None:
    assert journal_of(Path("/srv/web1.img")) == Path("/srv/.web1.img.epochs")


def test_a_sparse_image_gets_its_space_and_keeps_what_it_holds(
    spec: DiskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(spec.path)
    with path.open("wb") as f:
        f.truncate(SIZE)
        f.seek(8192)
        f.write(b"kept")
    assert path.stat().st_blocks * 512 < SIZE
    free = os.statvfs(path.parent)
    full = os.statvfs_result((*free[:4], 1, *free[5:]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _path: full)
        with pytest.raises(errors.TargetSpace):
            check_target(replace(spec, overwrite=True), UUID)
    image.Image.take(path, SIZE, known=True).close()
    assert path.stat().st_blocks * 512 >= SIZE
    assert path.read_bytes() == bytes(8192) + b"kept" + bytes(SIZE - 8196)


def test_no_two_devices_share_a_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda _path: True)
    paths = ["/dev/vg-a/b", "/dev/vg/a-b", "/dev/vg/a%2Fb", "/dev/vg/a/b"]
    journals = {journal_of(Path(path)) for path in paths}
    assert len(journals) == len(paths)
    assert {journal.parent for journal in journals} == {rundir.STATE / "journal"}


def test_a_made_image_has_its_space(tmp_path: Path) -> None:
    made = image.Image.take(tmp_path / "new.img", SIZE, known=False)
    made.zero(0, SIZE)
    made.close()
    assert (tmp_path / "new.img").stat().st_blocks * 512 >= SIZE
