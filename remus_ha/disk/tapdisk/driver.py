"""The ``tapdisk`` driver: a guest's write is complete when its own host has it.

A block server of ours stands between each running disk and its image, and carries the writes to the
store behind the guest's back. What the guest pays at the end of an epoch is a mark in every queue;
the backup closes the epoch once all that lies before the marks has arrived.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from remus_ha.disk.base import Mirrored, Progress, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.monitor import Monitor
from remus_ha.disk.qemu.rest import Quiesce
from remus_ha.disk.qemu.worker import QemuWorker
from remus_ha.disk.qemuimg import RAW
from remus_ha.disk.tapdisk import attach
from remus_ha.disk.tapdisk.attach import Image
from remus_ha.disk.tapdisk.errors import ReplicationLost
from remus_ha.disk.tapdisk.launch import LIMIT, Setup
from remus_ha.disk.tapdisk.link import Link, Server
from remus_ha.disk.tapdisk.marks import Marks
from remus_ha.disk.tapdisk.names import Files

_AGAIN_S = 2.0


class TapdiskDisks(QemuWorker):
    """``quiesce`` is never used: nothing has to stand still for these disks.

    The block server reads and writes the image itself, as octets of the disk.
    """

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
        socket: Path | None = None,
        directory: Path | None = None,
        limit: int = LIMIT,
    ) -> None:
        """``directory``: the block servers'; ``limit``: octets that a disk's writes may be ahead"""
        super().__init__(domid, socket)
        self._disks, self._stores, self._limit = tuple(disks), stores, limit
        self._log = log
        self._directory = directory or stores.tls.with_name("tapdisk")
        self._servers: dict[str, Server] = {}
        self._copied = {d.vdev: Progress(d.vdev, 0, d.size, sent=0) for d in disks}
        self._moved_at = 0.0
        self._unsynced = {disk.vdev for disk in disks}
        self._marks = Marks(len(self._disks), close_there)

    # --- the epoch loop's side

    def end_epoch(self, n: int) -> None:
        self._order_all("mark", n)

    def may_go_on(self, n: int) -> bool:
        return self._marks.marked(n) and self._stage is Stage.MIRRORED

    def closed(self, n: int) -> None:
        self._order_all("closed", n)

    def resumed(self, n: int) -> None:
        """Nothing is to be asked: ``marked`` was the answer."""

    def vouches(self, n: int) -> bool:
        """A server whose connection is lost marks nothing; one that has marked keeps the order.

        So either all of epoch n arrives and is closed, or the store lost its connection and closes
        nothing any more.
        """
        return self.may_go_on(n)

    @property
    def moved_at(self) -> float:
        return self._moved_at

    def _note_moving(self) -> None:
        self._moved_at = time.monotonic()

    def free(self) -> None:
        self._order_all("free")  # the guest is let go before anything else is looked at
        super().free()

    def _order_all(self, verb: str, n: int = -1) -> None:
        for server in tuple(self._servers.values()):
            server.order(verb, n)

    # --- the thread's side

    async def _replicate(self, monitor: Monitor) -> None:
        links = {disk.vdev: await self._serve(monitor, disk) for disk in self._disks}
        for disk in self._disks:
            await attach.move_to_server(monitor, disk, self._files(disk))
        self._tell(Stage.SYNCING)
        self._order_all("sync")
        listening = [asyncio.create_task(self._listen(vdev, link)) for vdev, link in links.items()]
        try:
            await asyncio.gather(*listening)
        finally:
            for task in listening:
                task.cancel()

    async def _serve(self, monitor: Monitor, disk: Mirrored) -> Link:
        """Raises DiskError."""
        image = await attach.image_of(monitor, disk)
        server = Server(self._setup(disk, image), self._files(disk))
        self._servers[disk.vdev] = server
        return server.start()

    def _files(self, disk: Mirrored) -> Files:
        return Files(self._directory, disk.vdev)

    def _setup(self, disk: Mirrored, image: Image) -> Setup:
        return Setup(
            disk=disk.vdev,
            path=str(image.path),
            size=disk.size,
            direct=image.direct,
            orders=str(self._files(disk).orders),
            address=self._stores.address,
            port=disk.port,
            tls=str(self._stores.tls),
            rate=self._stores.rate,
            patience_ms=self._stores.patience_ms,
            limit=self._limit,
        )

    async def _listen(self, vdev: str, link: Link) -> None:
        """Raises ReplicationLost, ServerGone."""
        async for told in link.said():
            self._take(vdev, told)

    def _take(self, vdev: str, told: dict[str, Any]) -> None:
        n = int(told.get("n", -1))
        match told["said"]:
            case "marked":
                self._tell(lambda: self._marks.on_marked(vdev, n))
            case "reached":
                self._tell(lambda: self._marks.on_reached(vdev, n))
            case "moving":
                self._tell(self._note_moving)
            case "progress":
                before = self._copied[vdev]
                self._copied[vdev] = replace(before, done=told["done"], sent=told["sent"])
                self._tell(tuple(self._copied.values()))
            case "synced":
                self._unsynced.discard(vdev)
                if not self._unsynced:
                    self._tell(Stage.MIRRORED)
            case "lost":
                raise ReplicationLost(vdev=vdev, detail=told["reason"])
            case "failed":
                raise ReplicationLost(vdev=vdev, detail=told["error"]["cause"])

    async def _take_off(self, monitor: Monitor) -> None:
        """All at once: what a dead server has left waiting shall not wait for the other disks."""
        await asyncio.gather(*(self._take_until_off(monitor, disk) for disk in self._disks))

    async def _take_until_off(self, monitor: Monitor, disk: Mirrored) -> None:
        """Again and again: as long as there is a QEMU, the guest needs somebody who serves."""
        said = ""
        while True:
            try:
                return await self._take_one_off(monitor, disk)
            except (DiskError, OSError) as e:
                before, said = said, f"{disk.vdev} could not be moved back to its image: {e}"
            if said != before:
                self._log(said)
            if not monitor.lives:
                return await self._servers.pop(disk.vdev).end()
            await asyncio.sleep(_AGAIN_S)

    async def _take_one_off(self, monitor: Monitor, disk: Mirrored) -> None:
        """Raises DiskError, OSError; the guest goes on on the block server then."""
        image = self._image_below(disk)
        server = self._servers.get(disk.vdev)
        if server is None:
            server = self._servers[disk.vdev] = Server(self._setup(disk, image), self._files(disk))
            server.find()
        await server.free()
        if await attach.is_ours(monitor, disk.vdev):
            await self._move_back(server, attach.move_back(monitor, disk, image.path, self._log))
        await server.end()
        del self._servers[disk.vdev]

    def _image_below(self, disk: Mirrored) -> Image:
        """What the block server's setup says; without one, what is known of the disk."""
        try:
            setup = Setup.load(self._files(disk).setup)
        except (OSError, ValueError, TypeError):
            return Image(Path(disk.path), direct=False)
        return Image(Path(setup.path), setup.direct)

    async def _move_back(self, server: Server, move: Coroutine[Any, Any, None]) -> None:
        """See to it that somebody serves: QEMU's requests to a dead server would wait, and so would

        the move. Raises DiskError, OSError.
        """
        moving = asyncio.create_task(move)
        try:
            while not moving.done():
                stands_in = not server.lives
                if stands_in:
                    server.stand_in()
                over = asyncio.create_task(server.over())
                await asyncio.wait((moving, over), return_when=asyncio.FIRST_COMPLETED)
                if stands_in and over.done():  # the next one may end as soon
                    await asyncio.wait((moving,), timeout=_AGAIN_S)
                over.cancel()
        except (DiskError, OSError):
            moving.cancel()
            raise
        await moving
