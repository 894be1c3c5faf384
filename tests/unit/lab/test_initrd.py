"""Modules out of a root tree whose ``chroot`` is played: its modprobe says what it is told to."""

import lzma
from pathlib import Path

import pytest

from remus_ha.lab import initrd
from remus_ha.lab.initrd import collect_modules

KERNEL = "/lib/modules/6.12/kernel"


@pytest.mark.parametrize("compressed", [False, True])
def test_modules_in_load_order_and_not_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, compressed: bool
) -> None:
    """Compressed as trixie has them; what is built in needs none."""
    end = ".ko.xz" if compressed else ".ko"
    shown = {
        "virtio_pci": "builtin virtio_pci \n",
        "ext4": f"insmod {KERNEL}/jbd2{end} \ninsmod {KERNEL}/ext4{end} \n",
        "nbd": f"insmod {KERNEL}/jbd2{end} \ninsmod {KERNEL}/nbd{end} max_part=15 \n",
    }
    tree = tmp_path / "tree"
    for name in ("jbd2", "ext4", "nbd"):
        module = tree / f"{KERNEL[1:]}/{name}{end}"
        module.parent.mkdir(parents=True, exist_ok=True)
        octets = f"module {name}".encode()
        module.write_bytes(lzma.compress(octets) if compressed else octets)
    monkeypatch.setattr(initrd, "run", lambda words: shown.get(words[-1], ""))
    collect_modules(tree, "6.12", tuple(shown), tmp_path / "into")
    found = {file.name: file.read_text() for file in sorted((tmp_path / "into").iterdir())}
    assert found == {
        "00-jbd2.ko": "module jbd2",
        "01-ext4.ko": "module ext4",
        "02-nbd.ko": "module nbd",
    }
