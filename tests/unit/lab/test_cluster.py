"""What is known of a lab that is up."""

from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha.lab.cluster import Lab, _Shape
from remus_ha.lab.errors import WrongShape
from remus_ha.lab.image import Images
from remus_ha.lab.progress import Progress
from remus_ha.lab.qemu import Machine
from remus_ha.lab.release import BOOKWORM, TRIXIE

IMAGES = Images(*(Path("/i") / name for name in ("disk", "xen", "kernel", "initrd", "key")))
SHAPE = _Shape(TRIXIE, 2, Machine(memory_mib=3000), IMAGES)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """One of that shape; nothing of it runs."""
    monkeypatch.setenv("REMUS_HA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "lab.json").write_text(SHAPE.dump())
    return Lab(tmp_path, Progress(None))


def test_it_is_what_it_was_asked_to_be(lab: Lab) -> None:
    assert lab._shape() == SHAPE


def test_newer_images_do_not_matter(lab: Lab) -> None:
    lab._require_shape(replace(SHAPE, images=replace(IMAGES, disk=Path("/j/disk"))))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (replace(SHAPE, release=BOOKWORM), "2 hosts of bookworm"),
        (replace(SHAPE, hosts=3), "3 hosts of trixie"),
        (replace(SHAPE, machine=Machine()), "memory_mib=2560"),
    ],
)
def test_another_one_is_refused(lab: Lab, wanted: _Shape, told: str) -> None:
    with pytest.raises(WrongShape) as caught:
        lab._require_shape(wanted)
    assert "2 hosts of trixie" in str(caught.value)
    assert told in str(caught.value)
