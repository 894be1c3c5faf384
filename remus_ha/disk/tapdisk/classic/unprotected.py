"""The role of an image that has grown apart from the other host's: it is served, nothing else."""

import threading
from collections.abc import Callable
from typing import Any

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.classic.disk import Disk, Role, Say
from remus_ha.disk.tapdisk.classic.flushes import Flushes
from remus_ha.disk.tapdisk.classic.gate import Gate
from remus_ha.disk.tapdisk.fifo import TapdiskFifos
from remus_ha.loop import Loop


class Unprotected(Disk):
    """Every flush fails."""

    def __init__(
        self, image: Image, fifos: TapdiskFifos, reason: str, log: Callable[[str], None]
    ) -> None:
        self._image, self._reason, self._log = image, reason, log
        self._gate = Gate()
        self._flushes = Flushes(fifos, lambda _: False)

    @property
    def role(self) -> Role:
        return Role.UNPROTECTED

    @property
    def size(self) -> int:
        return self._image.size

    def start(self, say: Say) -> None:
        self._log(f"UNPROTECTED: {self._reason}")
        threading.Thread(target=self._serve_fifo, name="fifo", daemon=True).start()

    def _serve_fifo(self) -> None:
        loop = Loop()
        loop.watch(self._flushes.fileno(), lambda _: self._flushes.look())
        loop.until(lambda: False)

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        self._image.read_into(offset, buffer)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        with self._gate.open():
            self._image.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        with self._gate.open():
            self._image.zero(offset, length)

    def flush(self) -> None:
        self._image.sync()

    def status(self) -> dict[str, Any]:
        return {"role": self.role.value, "lost": self._reason, "size": self.size}

    def settle(self) -> None:
        self._gate.shut()
        self._flushes.close()
        self._image.sync()
