"""A QEMU at rest: nothing that its paused guest asked for is on its way any more.

Some of what is done to the disk of a running guest crashes QEMU 7.2 under load.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from remus_ha.disk.qemu.errors import QemuBusy
from remus_ha.disk.qemu.monitor import Monitor

_LOOKS = 200
_STILL = 3

# The guest does not run inside.
Quiesce = Callable[[], AbstractContextManager[None]]


async def rest(monitor: Monitor, domid: int) -> None:
    """Until nothing that the paused guest asked for is on its way in QEMU. Raises QemuBusy."""
    await monitor.do("stop")  # waits for all requests that QEMU knows of
    await monitor.do("cont")
    last, same = None, 0
    for _ in range(_LOOKS):  # each look is a round of QEMU's main loop, which takes new ones in
        now = await _counts(monitor)
        same = same + 1 if now == last else 0
        last = now
        if same == _STILL:
            return
    raise QemuBusy(domid=domid)


async def _counts(monitor: Monitor) -> list[tuple[int, ...]]:
    keys = ("rd_operations", "wr_operations", "flush_operations", "unmap_operations")
    found = await monitor.do("query-blockstats")
    return [tuple(device["stats"].get(key, 0) for key in keys) for device in found]
