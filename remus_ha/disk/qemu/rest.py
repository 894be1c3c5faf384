"""A QEMU at rest: nothing that its paused guest asked for is on its way any more.

Some of what is done to the disk of a running guest crashes QEMU 7.2 under load.
"""

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.errors import QemuBusy
from remus_ha.disk.qemu.monitor import Monitor

REST_S = 3.0  # the guest stands still meanwhile
_STILL = 3

# The guest does not run inside.
Quiesce = Callable[[], AbstractContextManager[None]]


async def rest(monitor: Monitor, domid: int) -> None:
    """Until nothing that the paused guest asked for is on its way in QEMU.

    Raises QemuBusy, QemuRefused; then QEMU may have been left stopped (see ``go_on``).
    """
    end = time.monotonic() + REST_S
    await monitor.do("stop", deadline_s=REST_S)  # waits for all requests that QEMU knows of
    await monitor.do("cont", deadline_s=_left(end))
    last, same = None, 0
    # Each look is a round of QEMU's main loop, which takes new ones in.
    while (left := _left(end)) > 0:
        now = await _counts(monitor, left)
        same = same + 1 if now == last else 0
        last = now
        if same == _STILL:
            return
    raise QemuBusy(domid=domid)


async def go_on(monitor: Monitor) -> None:
    """A QEMU whose rest was given up may carry ``stop`` out later; this comes behind it."""
    with contextlib.suppress(DiskError):
        await monitor.do("cont")


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


async def _counts(monitor: Monitor, deadline_s: float) -> list[tuple[int, ...]]:
    keys = ("rd_operations", "wr_operations", "flush_operations", "unmap_operations")
    found = await monitor.do("query-blockstats", deadline_s=deadline_s)
    return [tuple(device["stats"].get(key, 0) for key in keys) for device in found]
