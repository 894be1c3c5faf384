"""Who is seen to use an image, and who is not."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.errors import TargetInUse
from remus_ha.disk.store import image, users
from remus_ha.disk.store.users import user_of

pytestmark = pytest.mark.root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "disk.img"
    made.write_bytes(bytes(1 << 20))
    return made


@pytest.fixture
def device(file: Path) -> Iterator[Path]:
    """A block device that nobody uses."""
    command = ["losetup", "--find", "--show", str(file)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    yield Path(made.stdout.strip())
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True, timeout=20)


def serve(device: Path, directory: Path) -> None:
    """As the kernel shows a disk ``phy:`` of domain 3."""
    number = device.stat().st_rdev
    shown = directory / "vbd-3-51712"
    shown.mkdir(parents=True)
    (shown / "physical_device").write_text(f"{os.major(number):x}:{os.minor(number):x}\n")


def test_a_device_that_the_kernel_serves_to_a_guest_is_refused(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process has it, and to open it alone succeeds."""
    os.close(os.open(device, os.O_RDWR | os.O_EXCL))
    monkeypatch.setattr(users, "_BACKENDS", tmp_path / "sys")
    serve(device, tmp_path / "sys")
    with pytest.raises(TargetInUse, match="domain 3"):
        image.check(device, 1 << 20, known=True)
    (tmp_path / "sys/vbd-3-51712/physical_device").unlink()
    image.check(device, 1 << 20, known=True)


def test_the_kernels_numbers_are_hexadecimal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_BACKENDS", tmp_path / "sys")
    for minor in (16, 10):
        os.mknod(tmp_path / f"{minor}", stat.S_IFBLK, os.makedev(0xFD, minor))
    serve(tmp_path / "16", tmp_path / "sys")
    assert (user_of(tmp_path / "16"), user_of(tmp_path / "10")) == ("domain 3", "")


def test_a_file_under_a_device_is_in_use_whoever_has_the_device(file: Path, device: Path) -> None:
    assert user_of(file) == str(device)
    with pytest.raises(TargetInUse, match=str(device)):
        image.check(file, 1 << 20, known=True)


def test_a_character_device_is_not_the_block_device_of_the_same_number(tmp_path: Path) -> None:
    """Half of all processes have /dev/null open."""
    assert user_of(Path("/dev/null"))
    os.mknod(tmp_path / "block", stat.S_IFBLK, os.stat("/dev/null").st_rdev)
    assert user_of(tmp_path / "block") == ""
