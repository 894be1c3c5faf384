"""The primary's role: the guest's disk is here, and its writes follow to the backup.

A guest's write is complete when the image here has it. Whatever becomes of the backup, the guest
goes on here: then unprotected, and every flush fails.
"""

import threading
from collections.abc import Callable
from typing import Any

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog
from remus_ha.disk.tapdisk.classic.apart import Apart
from remus_ha.disk.tapdisk.classic.disk import Disk, Role, Say
from remus_ha.disk.tapdisk.classic.flushes import Flushes
from remus_ha.disk.tapdisk.classic.gate import Gate
from remus_ha.disk.tapdisk.classic.stream import Stream, Told
from remus_ha.disk.tapdisk.errors import ImagesApart
from remus_ha.disk.tapdisk.fifo import TapdiskFifos
from remus_ha.disk.tapdisk.launch import LIMIT
from remus_ha.disk.tapdisk.peer import PrimaryPeer
from remus_ha.disk.tapdisk.served import ServedDisk
from remus_ha.exceptions import RemusError

_LAST = 0  # the mark that no flush has asked for


class Primary(Disk):
    """``says_last``: at its end it commits what is left, and the images are the same again."""

    def __init__(
        self,
        *,
        image: Image,
        fifos: TapdiskFifos,
        peer: PrimaryPeer,
        apart: Apart,
        says_last: bool,
        log: Callable[[str], None],
    ) -> None:
        self._image, self._apart, self._says_last, self._log = image, apart, says_last, log
        self._gate = Gate()
        self._role, self._reason = Role.PRIMARY, ""
        self._losing = threading.Lock()
        self._backlog = Backlog(LIMIT)
        self._served = ServedDisk(image, self._backlog)
        self._served.unknown = self._on_unknown
        self._flushes = Flushes(fifos, self._backlog.mark)
        self._last = threading.Event()
        told = Told(committed=self._on_committed, lost=self._on_lost)
        self._stream = Stream(self._backlog, peer, self._flushes, told)
        self._commits = 0

    @property
    def role(self) -> Role:
        return self._role

    @property
    def size(self) -> int:
        return self._image.size

    def start(self, say: Say) -> None:
        self._apart.set()
        self._backlog.open()
        threading.Thread(target=self._stream.run, name="stream", daemon=True).start()

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        self._image.read_into(offset, buffer)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        with self._gate.open():
            self._flushes.look()
            self._served.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        with self._gate.open():
            self._flushes.look()
            self._served.zero(offset, length, punch=False)

    def flush(self) -> None:
        self._image.sync()

    def _on_committed(self, k: int) -> None:
        self._commits += 1
        if k == _LAST:
            self._last.set()
        else:
            self._flushes.done()

    def _on_lost(self, error: RemusError) -> None:
        """By the stream's thread, or by one whose write has failed: the first one counts."""
        with self._losing:
            if self._role is Role.UNPROTECTED:
                return
            self._reason, self._role = str(error), Role.UNPROTECTED
        self._backlog.drop()
        self._flushes.fail()
        self._last.set()
        self._log(f"UNPROTECTED from now on, the guest goes on: {error}. {error.advice}")

    def _on_unknown(self, detail: str) -> None:
        error = ImagesApart(disk=self._image.path, detail=detail)
        self._on_lost(error)
        self._stream.give_up(error)

    def settle(self) -> None:
        """Lasts as long as the backup takes what is queued; one that does not is given up."""
        self._gate.shut()
        if self._says_last and self._backlog.mark(_LAST):
            self._last.wait()
            if self._role is Role.PRIMARY:
                self._image.sync()
                self._apart.clear()
        if self._apart:
            self._log(f"ends, and the other host's image may lack writes of {self._image.path}")
        self._flushes.close()

    def status(self) -> dict[str, Any]:
        self._flushes.look()  # one that lies in the FIFO counts already
        return {
            "role": self._role.value,
            "lost": self._reason,
            "commits": self._commits,
            "size": self.size,
            **self._flushes.figures(),
            **self._backlog.figures(),
        }
