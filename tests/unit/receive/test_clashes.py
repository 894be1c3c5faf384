"""Two disks of a guest that would share one image here: told before anything is touched."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remus_ha.disk.errors import TargetTwice
from remus_ha.disk.target import storage_of
from remus_ha.receive import start
from tests.unit.receive.test_request import REQUEST

pytestmark = pytest.mark.usefixtures("bare_host")


def clashes(*paths: Path, by_path: Path | None = None) -> list[str]:
    """Of disks at these paths, and one that the copy opens as it is."""
    first = replace(REQUEST.disks[0], overwrite=True)
    specs = [replace(first, vdev=f"xvd{'abc'[i]}", path=str(p)) for i, p in enumerate(paths)]
    config: dict[str, Any] = {"disks": [{"vdev": spec.vdev, "pdev_path": "/x"} for spec in specs]}
    if by_path:
        config["disks"].append({"vdev": "xvdr", "pdev_path": str(by_path), "readwrite": 0})
    request = replace(REQUEST, disks=tuple(specs), config=config, witness="none:")
    return [str(e) for e in start.check(request) if isinstance(e, TargetTwice)]


def test_disks_with_images_of_their_own(tmp_path: Path) -> None:
    assert clashes(tmp_path / "a", tmp_path / "b", by_path=tmp_path / "c") == []


def test_one_path(tmp_path: Path) -> None:
    (found,) = clashes(tmp_path / "a", tmp_path / "b", tmp_path / "a")
    assert f"{tmp_path}/a on" in found
    assert "xvda and xvdc" in found


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_name_of_an_image(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    (tmp_path / "a").write_bytes(bytes(REQUEST.disks[0].size))
    link(tmp_path / "a", tmp_path / "b")
    (found,) = clashes(tmp_path / "a", tmp_path / "b")
    assert f"{tmp_path}/b on" in found


def test_another_name_of_an_image_that_is_not_made_yet(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    assert len(clashes(tmp_path / "there/a", tmp_path / "link/a")) == 1


def test_two_names_of_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    monkeypatch.setattr("stat.S_ISBLK", lambda _mode: True)
    assert storage_of("/dev/null") == storage_of(str(tmp_path / "null"))
    assert storage_of("/dev/null") != storage_of("/dev/zero")


def test_a_replica_where_a_disk_lies_that_is_opened_by_its_path(tmp_path: Path) -> None:
    (found,) = clashes(tmp_path / "a", by_path=tmp_path / "a")
    assert "xvda and xvdr" in found


def test_disks_that_nobody_writes_to_may_share_an_image() -> None:
    disks = [{"vdev": vdev, "pdev_path": "/iso", "readwrite": 0} for vdev in ("xvdr", "xvds")]
    request = replace(REQUEST, disks=(), config={"disks": disks}, witness="none:")
    assert not any(isinstance(e, TargetTwice) for e in start.check(request))
