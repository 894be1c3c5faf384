"""A driver's face to the epoch loop, and the thread beside one QEMU that does its work.

The thread has an asyncio loop of its own and sleeps in it: a guest whose disks are in order costs
nothing.
"""

import abc
import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from remus_ha.disk.base import DiskDriver, Progress, Stage
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.errors import DiskWorkFailed
from remus_ha.disk.qemu.monitor import Monitor

# libxl talks to the first socket of a guest's QEMU; this one is free.
_SOCKET = "/var/run/xen/qmp-libxenstat-{domid}"

# The last: something to do in the epoch loop's thread.
News = Stage | DiskError | tuple[Progress, ...] | Callable[[], None]


class QemuWorker(DiskDriver):
    """What it is doing is told by ``_tell`` and taken in by ``pump``."""

    def __init__(self, domid: int, socket: Path | None) -> None:
        self._domid = domid
        self._path = socket or Path(_SOCKET.format(domid=domid))
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._news: deque[News] = deque()
        self._stage = Stage.ATTACHING
        self._progress: tuple[Progress, ...] = ()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._monitor: Monitor | None = None
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
            elif isinstance(news, DiskError):
                loss = loss or news
            else:
                news()
        if loss is not None:
            raise loss

    @property
    def stage(self) -> Stage:
        return self._stage

    def progress(self) -> tuple[Progress, ...]:
        return self._progress

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

    @abc.abstractmethod
    async def _replicate(self, monitor: Monitor) -> None:
        """Attach, copy, stay; cancelled when it shall end. Raises DiskError for a loss."""

    @abc.abstractmethod
    async def _take_off(self, monitor: Monitor) -> None:
        """Whatever of ours is on the disks, of this process or of one before. Raises DiskError."""

    def _tell(self, news: News) -> None:
        self._news.append(news)
        os.eventfd_write(self._wake, 1)

    @contextlib.contextmanager
    def _losses_told(self) -> Iterator[None]:
        """Whatever goes wrong inside: a session must not wait for this thread in vain."""
        try:
            yield
        except DiskError as e:
            self._tell(e)
        except Exception as e:
            self._tell(DiskWorkFailed(domid=self._domid, detail=repr(e)))

    async def _work(self, attach: bool) -> None:
        freeing = asyncio.Event()
        with self._lock:
            self._loop, self._freeing = asyncio.get_running_loop(), freeing
            if self._free_wanted:
                freeing.set()
        monitor = Monitor(self._domid, self._path)
        try:
            with self._losses_told():
                await monitor.connect()
                with self._lock:
                    self._monitor = monitor
                await self._take_off(monitor)  # what a dead process may have left
                if attach:
                    await self._replicate_until(monitor, freeing)
                self._tell(Stage.FREEING)
                await self._take_off(monitor)
        finally:
            await monitor.close()
            self._tell(Stage.FREE)

    async def _replicate_until(self, monitor: Monitor, freeing: asyncio.Event) -> None:
        """Until it is lost, which is told, or shall end."""
        work = asyncio.create_task(self._replicate(monitor))
        wish = asyncio.create_task(freeing.wait())
        await asyncio.wait((work, wish), return_when=asyncio.FIRST_COMPLETED)
        wish.cancel()
        if not work.done():
            work.cancel()
        with self._losses_told(), contextlib.suppress(asyncio.CancelledError):
            await work
