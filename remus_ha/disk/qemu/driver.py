"""The ``qemu`` driver's face to the epoch loop; a thread with a loop of its own does the work.

The thread sleeps but for the job events of a loss: while a guest is protected it costs nothing.
"""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from remus_ha.disk.base import DiskDriver, Mirrored, Progress, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu import mirror, names
from remus_ha.disk.qemu.errors import MirrorLost
from remus_ha.disk.qemu.mirror import Quiesce
from remus_ha.disk.qemu.monitor import Monitor

_LOOK_S = 1.0  # between two looks at how far the synchronisation is
_LOSSES = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR")
# libxl talks to the first socket of a guest's QEMU; this one is free.
_SOCKET = "/var/run/xen/qmp-libxenstat-{domid}"

News = Stage | DiskError | tuple[Progress, ...] | int  # int: the epoch that is vouched for


class QemuDisks(DiskDriver):
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
        self._domid, self._disks, self._stores = domid, tuple(disks), stores
        self._quiesce, self._log = quiesce, log
        self._close_there = close_there
        self._closed = self._vouched = -1
        self._monitor: Monitor | None = None
        self._path = socket or Path(_SOCKET.format(domid=domid))
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._news: deque[News] = deque()
        self._stage = Stage.ATTACHING
        self._progress: tuple[Progress, ...] = ()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._freeing: asyncio.Event | None = None
        self._lock = threading.Lock()
        self._free_wanted = False

    # --- the epoch loop's side

    def fileno(self) -> int:
        return self._wake

    def begin(self) -> None:
        self._start(attach=True)

    def pump(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        loss: DiskError | None = None
        while self._news:
            news = self._news.popleft()
            if isinstance(news, Stage):
                self._stage = news
            elif isinstance(news, tuple):
                self._progress = news
            elif isinstance(news, int):
                self._vouched = news
            else:
                loss = loss or news
        if loss is not None:
            raise loss

    @property
    def stage(self) -> Stage:
        return self._stage

    def progress(self) -> tuple[Progress, ...]:
        return self._progress

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

    def free(self) -> None:
        if self._thread is None:
            self._start(attach=False)
        with self._lock:
            self._free_wanted = True
            if self._loop is not None and self._freeing is not None:
                with contextlib.suppress(RuntimeError):  # it is done
                    self._loop.call_soon_threadsafe(self._freeing.set)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake)

    def _start(self, *, attach: bool) -> None:
        work = threading.Thread(target=lambda: asyncio.run(self._work(attach)), name="disks")
        self._thread = work
        work.daemon = True
        work.start()

    # --- the thread's side

    def _tell(self, news: News) -> None:
        self._news.append(news)
        os.eventfd_write(self._wake, 1)

    async def _work(self, attach: bool) -> None:
        freeing = asyncio.Event()
        with self._lock:
            self._loop, self._freeing = asyncio.get_running_loop(), freeing
            if self._free_wanted:
                freeing.set()
        monitor = Monitor(self._domid, self._path)
        try:
            await monitor.connect()
            with self._lock:
                self._monitor = monitor
            vdevs = [disk.vdev for disk in self._disks]
            await mirror.free(monitor, vdevs, self._log)  # what a dead process may have left
            if attach:
                await self._replicate(monitor, freeing)
            self._tell(Stage.FREEING)
            await mirror.free(monitor, vdevs, self._log)
        except DiskError as e:
            self._tell(e)
        finally:
            await monitor.close()
            self._tell(Stage.FREE)

    async def _replicate(self, monitor: Monitor, freeing: asyncio.Event) -> None:
        """Until it is lost, which is told, or shall end."""
        work = asyncio.create_task(self._mirror(monitor))
        wish = asyncio.create_task(freeing.wait())
        await asyncio.wait((work, wish), return_when=asyncio.FIRST_COMPLETED)
        wish.cancel()
        if not work.done():
            work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            pass
        except DiskError as e:
            self._tell(e)

    async def _mirror(self, monitor: Monitor) -> None:
        await mirror.attach(monitor, self._domid, self._disks, self._stores, self._quiesce)
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
            if not monitor.has_events:
                self._tell(n)

    async def _event(self, monitor: Monitor) -> str:
        """The job that says that it is ready. Raises MirrorLost for any other word of it."""
        event, job, error = await monitor.event()
        if event in _LOSSES:
            vdev = job.removeprefix(names.PREFIX)
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
    return Progress(disk.vdev, job.get("offset", 0), job.get("len", disk.size))
