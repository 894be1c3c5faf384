"""Moving a running guest's disk from its image onto the block server, and back.

The node that the guest's back-end uses stays, what lies below it is exchanged: ``blockdev-reopen``.
QEMU lets its requests run out first, so each is served once, by the one or by the other.

Requests of a server that is gone wait for another one on the same socket: the guest sees no error,
and the disk can only be moved back once there is one.
"""

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remus_ha.disk.base import Mirrored
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.monitor import Monitor
from remus_ha.disk.tapdisk import names
from remus_ha.disk.tapdisk.errors import AnotherImage, NoSuchNode

_RECONNECT_S = 7 * 24 * 3600  # then the guest would see errors
_REOPEN_S = 60.0  # QEMU looks for a server that is gone every 16 s at last
_IMAGES = ("file", "host_device")


@dataclass(frozen=True, slots=True)
class Image:
    """What a disk lies in. ``direct``: QEMU goes past the page cache."""

    path: Path
    direct: bool


async def image_of(monitor: Monitor, disk: Mirrored) -> Image:
    """As QEMU has it open. Raises NoSuchNode, AnotherImage, QemuRefused."""
    found = {node["node-name"]: node for node in await _nodes(monitor)}
    path = found.get(disk.node, {}).get("file", "")
    for node in found.values():
        if node["drv"] in _IMAGES and node["file"] == path:
            _check_same(disk, path)
            return Image(Path(path), bool(node["cache"]["direct"]))
    raise NoSuchNode(node=disk.node)


def _check_same(disk: Mirrored, theirs: str) -> None:
    try:
        same = not disk.path or os.path.samefile(disk.path, theirs)
    except OSError:
        same = False
    if not same:
        raise AnotherImage(vdev=disk.vdev, theirs=theirs, ours=disk.path)


async def _nodes(monitor: Monitor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await monitor.do("query-named-block-nodes", flat=True)
    return found


async def has_server(monitor: Monitor, vdev: str) -> bool:
    """Whether the disk lies, or may lie, on a block server. Raises QemuRefused."""
    return names.server(vdev) in {node["node-name"] for node in await _nodes(monitor)}


async def move_to_server(monitor: Monitor, disk: Mirrored, socket: Path) -> None:
    """Raises QemuRefused; ``has_server`` tells then whether anything has to be undone."""
    server = names.server(disk.vdev)
    await monitor.do(
        "blockdev-add",
        driver="nbd",
        node_name=server,
        server={"type": "unix", "path": str(socket)},
        reconnect_delay=_RECONNECT_S,
        discard="unmap",
    )
    await _reopen(monitor, disk.node, server)
    with contextlib.suppress(DiskError):  # there is one only where it was moved back before
        await monitor.do("blockdev-del", node_name=names.file(disk.vdev))


async def move_back(
    monitor: Monitor, disk: Mirrored, image: Image, log: Callable[[str], None]
) -> None:
    """As it was before, as libxl wants its disks opened. Raises QemuRefused."""
    file = names.file(disk.vdev)
    if file not in {node["node-name"] for node in await _nodes(monitor)}:
        await _add_file(monitor, file, image)
    await _reopen(monitor, disk.node, file)
    try:
        await monitor.do("blockdev-del", node_name=names.server(disk.vdev))
    except DiskError as e:
        log(str(e))


async def _add_file(monitor: Monitor, name: str, image: Image) -> None:
    device = stat.S_ISBLK(image.path.stat().st_mode)
    past_cache: dict[str, Any] = {}
    if image.direct:
        past_cache = {"cache": {"direct": True}, "aio": "native"}
    await monitor.do(
        "blockdev-add",
        driver="host_device" if device else "file",
        node_name=name,
        filename=str(image.path),
        locking="off",
        discard="unmap",
        deadline_s=_REOPEN_S,
        **past_cache,
    )


async def _reopen(monitor: Monitor, node: str, below: str) -> None:
    options = {"driver": "raw", "node-name": node, "file": below, "discard": "unmap"}
    await monitor.do("blockdev-reopen", deadline_s=_REOPEN_S, options=[options])
