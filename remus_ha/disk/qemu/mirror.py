"""Putting a write-blocking mirror under a running guest's disks, and taking it off again.

QEMU 7.2 crashes when such a mirror starts while the guest writes: its filter takes writes before
the job can. So the guest is paused for the instants of the start, once for all disks.

Taking off begins with ``yank``, out of band: it cuts the connection under writes that wait for a
store that does not answer, and they complete. A cancel without it makes QEMU itself hang.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from remus_ha.disk.base import Mirrored
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu import names
from remus_ha.disk.qemu.monitor import Monitor
from remus_ha.disk.qemu.rest import Quiesce, go_on, rest

# What is being copied holds up the writes to it: little at a time.
_BUFFER = 1 << 20
_FREE_S = 20.0


async def attach(
    monitor: Monitor,
    domid: int,
    disks: Sequence[Mirrored],
    sockets: Mapping[str, Path],
    *,
    rate: int,
    quiesce: Quiesce,
) -> None:
    """Start the mirrors; each says BLOCK_JOB_READY when its disk is copied. Raises DiskError.

    ``sockets``: per disk where QEMU reaches its store. ``rate``: octets/s of the copying, 0: any.
    """
    for disk in disks:
        await monitor.do(
            "blockdev-add",
            driver="nbd",
            node_name=names.target(disk.vdev),
            server={"type": "unix", "path": str(sockets[disk.vdev])},
        )
    starting = asyncio.create_task(_start_all(monitor, domid, disks, rate, quiesce))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        # QEMU has been told already: the guest must not write before it has answered.
        await asyncio.wait([starting])
        raise


async def _start_all(
    monitor: Monitor, domid: int, disks: Sequence[Mirrored], rate: int, quiesce: Quiesce
) -> None:
    with quiesce():
        await rest(monitor, domid)
        for disk in disks:
            await _start(monitor, disk, rate)


async def _start(monitor: Monitor, disk: Mirrored, rate: int) -> None:
    await monitor.do(
        "blockdev-mirror",
        job_id=names.job(disk.vdev),
        device=disk.node,
        target=names.target(disk.vdev),
        sync="full",
        copy_mode="write-blocking",
        filter_node_name=names.filter_node(disk.vdev),
        on_target_error="report",
        on_source_error="report",
        speed=rate,
        buf_size=_BUFFER,
    )


async def free(monitor: Monitor, vdevs: Sequence[str], log: Callable[[str], None]) -> None:
    """Take off whatever of ours is there; what QEMU refuses is said to ``log``."""
    for vdev in vdevs:
        where = {"type": "block-node", "node-name": names.target(vdev)}
        with contextlib.suppress(DiskError):  # no such connection, or it is cut already
            await monitor.do("yank", instances=[where], oob=True)
    await go_on(monitor)
    try:
        await asyncio.wait_for(_end_jobs(monitor), _FREE_S)
    except (DiskError, TimeoutError) as e:
        log(f"a mirror did not end: {e}")
    for vdev in vdevs:
        node = names.target(vdev)
        await _removed(monitor.do("blockdev-del", node_name=node), log)


async def _end_jobs(monitor: Monitor) -> None:
    while jobs := await monitor.jobs():
        for job in jobs:
            with contextlib.suppress(DiskError):  # it is ending by itself
                await monitor.do("block-job-cancel", device=job, force=True)
        await monitor.event()  # of an end; there may be others before


async def _removed(command: Awaitable[Any], log: Callable[[str], None]) -> None:
    try:
        await command
    except DiskError as e:
        if not any(word in str(e) for word in ("not found", "Failed to find")):
            log(str(e))
