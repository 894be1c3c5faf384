"""The ``qemu`` driver's face to the epoch loop; a thread with a loop of its own does the work.

The thread sleeps but for the job events of a loss: while a guest is protected it costs nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from remus_ha.disk.base import Mirrored, Progress, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu import mirror, names
from remus_ha.disk.qemu.errors import MirrorLost
from remus_ha.disk.qemu.monitor import Monitor
from remus_ha.disk.qemu.relay import Relay
from remus_ha.disk.qemu.rest import Quiesce
from remus_ha.disk.qemu.worker import QemuWorker

_LOOK_S = 1.0  # between two looks at how far the synchronisation is
_LOSSES = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR")


class QemuDisks(QemuWorker):
    """``quiesce`` keeps the guest from running inside a ``with``; called in the thread."""

    def __init__(
        self,
        *,
        domid: int,
        disks: Sequence[Mirrored],
        stores: Stores,
        quiesce: Quiesce,
        close_there: Callable[[int], None],
        log: Callable[[str], None],
        socket: Path | None = None,
    ) -> None:
        super().__init__(domid, socket)
        self._disks, self._stores = tuple(disks), stores
        self._quiesce, self._log = quiesce, log
        self._close_there = close_there
        self._closed = self._vouched = -1
        self._relays: dict[str, Relay] = {}
        self._is_lost = False

    # --- the epoch loop's side

    def end_epoch(self, n: int) -> None:
        """At once: a write that the guest has seen completed is in its store already."""
        self._close_there(n)

    def may_go_on(self, n: int) -> bool:
        return self._closed >= n and self._stage is Stage.MIRRORED

    def closed(self, n: int) -> None:
        self._closed = n

    def resumed(self, n: int) -> None:
        """QEMU tells of a failure before it completes the guest's write, and answers in order.

        So whatever failed before the suspend has been told before any question that is asked now
        is answered.
        """
        with self._lock:
            if self._loop is not None and self._monitor is not None:
                with contextlib.suppress(RuntimeError):  # it is done: nobody vouches any more
                    asyncio.run_coroutine_threadsafe(self._ask(self._monitor, n), self._loop)

    def vouches(self, n: int) -> bool:
        return self._vouched >= n and self._stage is Stage.MIRRORED

    def _vouch(self, n: int) -> None:
        self._vouched = n

    # --- the thread's side

    async def _take_off(self, monitor: Monitor) -> None:
        await mirror.free(monitor, [disk.vdev for disk in self._disks], self._log)
        while self._relays:
            self._relays.popitem()[1].end()

    async def _replicate(self, monitor: Monitor) -> None:
        for disk in self._disks:
            self._relays[disk.vdev] = Relay(disk, self._stores)
        sockets = {vdev: relay.path for vdev, relay in self._relays.items()}
        await mirror.attach(
            monitor,
            self._domid,
            self._disks,
            sockets,
            rate=self._stores.rate,
            quiesce=self._quiesce,
        )
        self._tell(Stage.SYNCING)
        looking = asyncio.create_task(self._look(monitor))
        try:
            await self._await_ready(monitor)
        finally:
            looking.cancel()
        self._tell(Stage.MIRRORED)
        while True:
            await self._event(monitor)

    async def _await_ready(self, monitor: Monitor) -> None:
        missing = {names.job(disk.vdev) for disk in self._disks}
        while missing:
            missing.discard(await self._event(monitor))

    async def _ask(self, monitor: Monitor, n: int) -> None:
        with contextlib.suppress(DiskError):  # then nobody vouches, and the epoch is given up
            await monitor.do("query-name")
            if not (monitor.has_events or self._is_lost):
                self._tell(lambda: self._vouch(n))

    async def _event(self, monitor: Monitor) -> str:
        """The job that says that it is ready. Raises MirrorLost for any other word of it."""
        event, job, error = await monitor.event()
        if event in _LOSSES:
            vdev = job.removeprefix(names.PREFIX)
            self._is_lost = True  # at once: the loss itself is told some rounds of the loop later
            raise MirrorLost(vdev=vdev, detail=error or event)
        return job

    async def _look(self, monitor: Monitor) -> None:
        while True:
            with contextlib.suppress(DiskError):  # the events tell of a loss
                jobs = await monitor.jobs()
                self._tell(tuple(_progress(disk, jobs) for disk in self._disks))
            await asyncio.sleep(_LOOK_S)


def _progress(disk: Mirrored, jobs: dict[str, dict[str, int]]) -> Progress:
    job = jobs.get(names.job(disk.vdev), {})
    done = job.get("offset", 0)
    return Progress(disk.vdev, done, job.get("len", disk.size), sent=done)
