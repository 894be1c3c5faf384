"""A disk driver for a guest that writes straight to the stores: the test does, with qemu-io.

In place of a QEMU's mirror. ``lose`` is the job's word that a disk is replicated no more.
"""

import os
from pathlib import Path
from typing import Any, ClassVar

from remus_ha.disk.base import DiskDriver, Progress, Stage, Stores
from remus_ha.disk.errors import DiskError
from remus_ha.disk.qemu.errors import MirrorLost


class StraightDisks(DiskDriver):
    """``made`` are all that were made, the newest last."""

    made: ClassVar[list["StraightDisks"]] = []

    def __init__(self, *, disks: Any, stores: Stores, close_there: Any, **_: Any) -> None:
        self.disks, self.stores = disks, stores
        self._close_there, self._closed = close_there, -1
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._next = self._stage = Stage.ATTACHING
        self._loss: DiskError | None = None
        self.made.append(self)

    def fileno(self) -> int:
        return self._wake

    def begin(self) -> None:
        self._become(Stage.MIRRORED)

    def _become(self, stage: Stage) -> None:
        self._next = stage
        os.eventfd_write(self._wake, 1)

    def lose(self) -> None:
        self._loss = MirrorLost(vdev="xvda", detail="the test says so")
        self._become(self._next)

    def pump(self) -> None:
        os.eventfd_read(self._wake)
        self._stage = self._next
        loss, self._loss = self._loss, None
        if loss is not None:
            raise loss

    @property
    def stage(self) -> Stage:
        return self._stage

    def progress(self) -> tuple[Progress, ...]:
        return ()

    def end_epoch(self, n: int) -> None:
        self._close_there(n)

    def may_go_on(self, n: int) -> bool:
        return self._closed >= n

    def closed(self, n: int) -> None:
        self._closed = n

    def resumed(self, n: int) -> None:
        """It always vouches."""

    def vouches(self, n: int) -> bool:
        return True

    def free(self) -> None:
        self._become(Stage.FREE)

    def close(self) -> None:
        os.close(self._wake)

    def where(self, tls: Path, number: int) -> list[str]:
        """qemu-io's options for a disk's store."""
        secret = f"tls-creds-psk,id=t,dir={tls},endpoint=client,username=remus-ha"
        server = f"server.type=inet,server.host=127.0.0.1,server.port={self.disks[number].port}"
        return ["--object", secret, "--image-opts", f"driver=nbd,{server},tls-creds=t"]
