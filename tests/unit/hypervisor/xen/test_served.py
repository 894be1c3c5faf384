"""Disks that daemons serve to a guest as block devices: all of its writable ones, or none."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen import lookup
from remus_ha.hypervisor.xen.disks import ServedDisk, served
from tests.unit.hypervisor.xen.listing import pvh
from tests.unit.hypervisor.xen.test_lookup import Xenstore, qdisk

IMAGES = {"xvda": "/images/a.img", "xvdb": "/images/b.img"}
DEVICES = {"xvda": "/dev/nbd0", "xvdb": "/dev/nbd1"}


def _uri(vdev: str) -> str:
    return f"tap:remus:10.0.0.2:{9000 + ord(vdev[-1])}|aio:{IMAGES[vdev]}"


@contextmanager
def _daemon(directory: Path, vdev: str, device: str) -> Iterator[None]:
    """What there is of one while it lives."""
    files = Files(directory, _uri(vdev).removeprefix("tap:remus:").partition("|")[0])
    where = str(files.nbd), str(files.orders)
    setup = Setup(_uri(vdev), str(directory), *where, "coordinated", "received", 1, False, device)
    files.setup.write_text(json.dumps(asdict(setup)))
    with files.lock.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Of both disks; closed, they are dead."""
    monkeypatch.setattr(standing, "attached", partial(standing.attached, tmp_path))
    with ExitStack() as stack:
        for vdev, device in DEVICES.items():
            stack.enter_context(_daemon(tmp_path, vdev, device))
        yield stack


def _vbd(devid: int, dev: str) -> dict[str, str]:
    return {key.replace("qdisk", "vbd"): value for key, value in qdisk(devid, dev, 2048).items()}


def _looked_at(nodes: dict[str, str], **paths: str) -> tuple[list[ServedDisk], list[Any]]:
    entry = pvh()
    entry["config"]["disks"] = [
        {"pdev_path": path, "vdev": vdev, "backend": "phy", "format": "raw", "readwrite": 1}
        for vdev, path in {**DEVICES, **paths}.items()
    ]
    return served(Xenstore(nodes), lookup.parse(entry, Life.RUNNING))


BOTH = {**_vbd(51712, "xvda"), **_vbd(51728, "xvdb")}


def test_all_by_daemons(daemons: ExitStack) -> None:
    found, refused = _looked_at(BOTH)
    assert found == [
        ServedDisk(vdev, IMAGES[vdev], 1 << 20, "", "raw", _uri(vdev)) for vdev in DEVICES
    ]
    assert not refused


def test_a_dead_daemons_device_is_any_device(daemons: ExitStack) -> None:
    daemons.close()
    found, refused = _looked_at(BOTH)
    assert not found
    assert {type(e) for e in refused} == {errors.DiskNotInQemu}


def test_a_plain_device_among_them_is_refused_and_told_what_would_do(daemons: ExitStack) -> None:
    found, refused = _looked_at(BOTH, xvdb="/dev/vg0/data")
    assert not found
    assert "xvdb" in str(refused[1])
    assert "remus-ha tapdisk --attach" in refused[1].advice


def test_a_mixture_with_disks_of_a_qemu_is_refused(daemons: ExitStack) -> None:
    nodes = {**_vbd(51712, "xvda"), **qdisk(51728, "xvdb", 2048)}
    found, refused = _looked_at(nodes, xvdb="/images/c.img")
    assert [disk.vdev for disk in found] == ["xvdb"]
    (error,) = refused
    assert "xvda" in str(error)
