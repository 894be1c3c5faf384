"""Moving a running guest's disk from its image onto the block server, and back.

The node that the guest's back-end uses stays, what lies below it is exchanged: ``blockdev-reopen``.
QEMU lets its requests run out first, so each is served once, by the one or by the other.

Requests of a server that is gone wait for another one on the same socket: the guest sees no error,
and the disk can only be moved back once there is one.
"""

import contextlib
import os
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


async def is_ours(monitor: Monitor, vdev: str) -> bool:
    """Whether something of ours is there, so that the disk may lie on a block server.

    Raises QemuRefused.
    """
    return names.server(vdev) in await _files(monitor) or names.keep(vdev) in await _kept(monitor)


async def move_to_server(monitor: Monitor, disk: Mirrored, files: names.Files) -> None:
    """Raises DiskError; ``is_ours`` tells then whether anything has to be undone."""
    await _keep(monitor, disk, files.keep)
    server = names.server(disk.vdev)
    await monitor.do(
        "blockdev-add",
        driver="nbd",
        node_name=server,
        server={"type": "unix", "path": str(files.nbd)},
        reconnect_delay=_RECONNECT_S,
        discard="unmap",
    )
    await _reopen(monitor, disk.node, server)


async def _keep(monitor: Monitor, disk: Mirrored, socket: Path) -> None:
    """Let the image's node have another user for as long as the disk is not on it: an export.

    A node that goes away in an exchange makes QEMU 7.2 abort, if it belongs to a device's thread
    and is not done with its last flush. And so it can be put back as it was.
    """
    image = await _image_node(monitor, disk, (await image_of(monitor, disk)).path)
    with contextlib.suppress(DiskError):  # another disk's has started it
        await monitor.do("nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})
    name = names.keep(disk.vdev)
    await monitor.do("block-export-add", type="nbd", id=name, name=name, node_name=image)


async def move_back(
    monitor: Monitor, disk: Mirrored, path: Path, log: Callable[[str], None]
) -> None:
    """As it was before. Raises DiskError.

    The guest may not have it any more, and another one in its place: that is left alone.
    """
    server, below = names.server(disk.vdev), await _files(monitor)
    if server in below:
        if below.get(disk.node) == below[server]:
            await _reopen(monitor, disk.node, await _image_node(monitor, disk, path))
        await monitor.do("blockdev-del", node_name=server)
    try:
        if names.keep(disk.vdev) in await _kept(monitor):
            await monitor.do("block-export-del", id=names.keep(disk.vdev), mode="hard")
        if not await _kept(monitor):
            await monitor.do("nbd-server-stop")
    except DiskError as e:
        log(str(e))


async def _files(monitor: Monitor) -> dict[str, str]:
    """What each node lies in, in QEMU's words."""
    return {node["node-name"]: node["file"] for node in await _nodes(monitor)}


async def _kept(monitor: Monitor) -> set[str]:
    return {export["id"] for export in await monitor.do("query-block-exports")}


async def _image_node(monitor: Monitor, disk: Mirrored, path: Path) -> str:
    """The name of the node that is the disk's image. Raises NoSuchNode."""
    for node in await _nodes(monitor):
        if node["drv"] in _IMAGES and node["file"] == str(path):
            return str(node["node-name"])
    raise NoSuchNode(node=disk.node)


async def _reopen(monitor: Monitor, node: str, below: str) -> None:
    options = {"driver": "raw", "node-name": node, "file": below, "discard": "unmap"}
    await monitor.do("blockdev-reopen", deadline_s=_REOPEN_S, options=[options])
