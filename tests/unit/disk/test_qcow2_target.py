"""What is in the way of a qcow2 image on the backup, or of one that the copy opens as it is."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.disk import errors, qemuimg
from remus_ha.disk.lineage import NEVER, Lineage, record
from remus_ha.disk.spec import DiskSpec, valid
from remus_ha.disk.target import check_target
from remus_ha.receive.request import Request
from remus_ha.receive.start import _missing_disks

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
SIZE = 1 << 20


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskSpec:
    monkeypatch.setattr(rundir, "STATE", tmp_path / "state")
    path = str(tmp_path / "web1.qcow2")
    return DiskSpec("xvda", path, SIZE, "received", "", False, 1 << 30, NEVER, "qcow2")


def make(path: Path, *options: object, size: int = SIZE) -> Path:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size]
    subprocess.run([str(word) for word in command], check=True)
    return path


def on_top_of_another(path: Path) -> Path:
    base = make(path.with_name("base.qcow2"))
    return make(path, "-b", base, "-F", "qcow2")


def test_a_new_image(spec: DiskSpec) -> None:
    assert valid(spec)
    check_target(spec, UUID)
    assert not Path(spec.path).exists()


def test_no_space(spec: DiskSpec) -> None:
    with pytest.raises(errors.TargetSpace):
        check_target(replace(spec, size=1 << 45), UUID)


def test_no_space_for_what_an_image_has_not_got_yet(spec: DiskSpec) -> None:
    """A thin one grows while it is written to."""
    make(Path(spec.path), size=1 << 45)
    with pytest.raises(errors.TargetSpace):
        check_target(replace(spec, size=1 << 45, overwrite=True), UUID)


def test_an_image_of_another_size(spec: DiskSpec) -> None:
    """Of the disk: the file's own says nothing."""
    make(Path(spec.path), size=2 * SIZE)
    with pytest.raises(errors.TargetSize):
        check_target(replace(spec, overwrite=True), UUID)


def test_an_image_that_nobody_knows(spec: DiskSpec) -> None:
    make(Path(spec.path))
    with pytest.raises(errors.TargetForeign):
        check_target(spec, UUID)
    record(Path(spec.path), Lineage(UUID, "xvda", NEVER))
    check_target(spec, UUID)


def test_a_raw_image_in_its_place(spec: DiskSpec) -> None:
    Path(spec.path).write_bytes(bytes(SIZE))
    with pytest.raises(errors.TargetFormat, match="not in that format"):
        check_target(replace(spec, overwrite=True), UUID)


def test_an_image_that_depends_on_another(spec: DiskSpec) -> None:
    """Also where it is known: it would not hold what is written to it alone."""
    on_top_of_another(Path(spec.path))
    record(Path(spec.path), Lineage(UUID, "xvda", NEVER))
    with pytest.raises(errors.TargetLayered, match=r"base\.qcow2"):
        check_target(spec, UUID)
    check_target(replace(spec, overwrite=True), UUID)


def test_an_image_whose_octets_lie_in_another_file(spec: DiskSpec, tmp_path: Path) -> None:
    make(Path(spec.path), "-o", f"data_file={tmp_path / 'octets'}")
    with pytest.raises(errors.TargetLayered, match="octets"):
        check_target(spec, UUID)


@pytest.fixture
def user(spec: DiskSpec) -> Iterator[None]:
    path = make(Path(spec.path))
    process = subprocess.Popen(["sleep", "60"], stdin=path.open("rb"))
    yield
    process.kill()
    process.wait()


@pytest.mark.usefixtures("user")
def test_an_image_that_a_process_has_open(spec: DiskSpec) -> None:
    with pytest.raises(errors.TargetInUse, match="sleep"):
        check_target(replace(spec, overwrite=True), UUID)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    path = make(tmp_path / "below.qcow2")
    command = ["losetup", "--find", "--show", str(path)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True, timeout=20)


@pytest.mark.root
def test_a_block_device(spec: DiskSpec, device: str) -> None:
    with pytest.raises(errors.TargetFormat, match="block device"):
        check_target(replace(spec, path=device, overwrite=True), UUID)


def test_without_qemu_img(spec: DiskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(qemuimg.QemuImgFailed, match="qemu-img"):
        check_target(spec, UUID)


def missing(disk: dict[str, object]) -> list[str]:
    """Codes of what is said of a disk that is not replicated."""
    request = Request.__new__(Request)
    object.__setattr__(request, "disks", ())
    object.__setattr__(request, "config", {"disks": [disk]})
    return [error.code for error in _missing_disks(request)]


def test_a_disk_that_is_not_replicated_has_to_be_whole(tmp_path: Path) -> None:
    path = on_top_of_another(tmp_path / "tools.qcow2")
    disk = {"vdev": "xvdb", "pdev_path": str(path), "format": "qcow2"}
    assert missing(disk) == []
    shutil.move(tmp_path / "base.qcow2", tmp_path / "elsewhere")
    assert missing(disk) == ["DISK-044"]
    assert missing({**disk, "format": "raw"}) == []
    path.unlink()
    assert missing(disk) == ["DISK-017"]
    assert missing({"vdev": "hdc"}) == []


@pytest.mark.root
def test_a_device_with_nothing_behind_it_is_not_there(tmp_path: Path, device: str) -> None:
    empty = tmp_path / "empty"
    os.mknod(empty, stat.S_IFBLK | 0o600, os.makedev(511, 0))  # a number that no driver has
    assert empty.is_block_device()
    assert missing({"vdev": "xvdb", "pdev_path": str(empty)}) == ["DISK-017"]
    assert missing({"vdev": "xvdb", "pdev_path": device}) == []
