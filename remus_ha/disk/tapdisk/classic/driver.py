"""The ``classic`` driver: disks that a daemon on either host serves since the guest was started.

Nothing is attached and nothing copied: both images are the same, and the primary's daemons send
what the guest writes. An epoch ends with ``flush`` in every FIFO, and is whole on the backup when
every ``done`` has come. Anything else, or nothing, is a loss: no output is released for it, and the
guest goes on with its daemons, which then replicate nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from remus_ha.disk.base import DiskDriver, Mirrored, Progress, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.rest import Quiesce
from remus_ha.disk.qemuimg import RAW
from remus_ha.disk.tapdisk.classic.controlled import Controlled
from remus_ha.disk.tapdisk.classic.stream import COMMIT_S
from remus_ha.disk.tapdisk.connection import Wake
from remus_ha.disk.tapdisk.fifo import DIRECTORY
from remus_ha.loop import Loop

FLUSH_S = 2 * COMMIT_S  # the daemon itself gives up earlier, and says so


class ClassicDisks(DiskDriver):
    """``quiesce`` is never used, nor are the ``stores``: the daemons know each other."""

    formats = (RAW,)

    def __init__(
        self,
        *,
        domid: int,
        disks: Sequence[Mirrored],
        stores: Stores,
        quiesce: Quiesce,
        close_there: Callable[[int], None],
        log: Callable[[str], None],
        directory: Path = DIRECTORY,
        timeout_s: float = FLUSH_S,
    ) -> None:
        """``directory``: of the FIFOs; ``timeout_s``: how long a daemon may owe an answer."""
        self._disks, self._directory, self._timeout_s = tuple(disks), directory, timeout_s
        self._close_there, self._log = close_there, log
        self._loop, self._wake = Loop(), Wake()
        self._loop.watch(self._wake.fileno(), lambda _events: self._wake.clear())
        self._daemons: list[Controlled] = []
        self._stage = Stage.ATTACHING
        self._flushed = -1
        self._told = False
        self._loss: DiskError | None = None

    def fileno(self) -> int:
        return self._loop.fileno()

    def begin(self) -> None:
        """Find the daemons and ask each whether it is the primary."""
        try:
            for disk in self._disks:
                self._daemons.append(Controlled(self._loop, disk, self._directory, self._lose))
        except DiskError as e:
            self._lose(e)

    def _lose(self, error: DiskError) -> None:
        """The first one counts; ``pump`` tells it."""
        self._loss = self._loss or error
        self._let_go()
        self._wake.set()

    def _let_go(self) -> None:
        while self._daemons:
            self._daemons.pop().close()

    def pump(self) -> None:
        self._loop.serve(0)
        if self._loss is not None and not self._told:
            self._told = True
            raise self._loss
        if self._stage is Stage.ATTACHING and self._all(lambda daemon: daemon.is_primary):
            self._log("both images are the same: the daemons replicate already")
            self._stage = Stage.MIRRORED

    def _each(self, ask: Callable[[Controlled], None]) -> None:
        """Until one is lost: the others are let go of with it, and must not be touched again."""
        for daemon in tuple(self._daemons):
            if self._loss is not None:
                return
            ask(daemon)

    def _all(self, is_so: Callable[[Controlled], bool]) -> bool:
        """Whether nothing is lost and it is so of every disk."""
        return self._loss is None and bool(self._daemons) and all(map(is_so, self._daemons))

    @property
    def stage(self) -> Stage:
        return self._stage

    def progress(self) -> tuple[Progress, ...]:
        return tuple(Progress(disk.vdev, disk.size, disk.size, sent=0) for disk in self._disks)

    def end_epoch(self, n: int) -> None:
        """The daemon looks into its FIFO before it takes the guest's next write.

        The backup's daemon ends the epoch by itself; its receiver is told for the sake of what it
        is to look at then (``remus-ha disk verify``).
        """
        self._each(lambda daemon: daemon.flush(n, self._timeout_s))
        if self._all(lambda _daemon: True):
            self._flushed = n
            self._close_there(n)

    def may_go_on(self, n: int) -> bool:
        return self._flushed >= n and self._all(lambda daemon: daemon.is_primary)

    def closed(self, n: int) -> None:
        """Nobody waits for that: ``done`` is the answer."""

    def resumed(self, n: int) -> None:
        """Nothing is to be asked."""

    def vouches(self, n: int) -> bool:
        self._each(Controlled.look)
        return self._all(lambda daemon: daemon.done >= n)

    def free(self) -> None:
        """The daemons are the guest's disk and stay; nothing else was in its way."""
        self._let_go()
        self._stage = Stage.FREE
        self._wake.set()

    def close(self) -> None:
        self._let_go()
        self._wake.close()
        self._loop.close()
