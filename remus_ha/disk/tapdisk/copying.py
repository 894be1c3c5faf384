"""The first copy of a whole image, through the same backlog as the guest's writes."""

import threading
import time
from collections.abc import Callable

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog

CHUNK = 1 << 20
_TELL_S = 0.5  # between two words of progress
_ZEROES = bytes(CHUNK)

Progress = Callable[[int, int], None]


class Copying:
    """One thread. Each chunk is read and put while nobody writes there.

    So what a guest has written is never followed by something older. ``lost`` is told why the image
    could not be read.
    """

    def __init__(
        self, image: Image, backlog: Backlog, rate: int, told: Progress, lost: Callable[[str], None]
    ) -> None:
        """``rate``: octets/s, 0: no bound. ``told``: octets put, of how many; now and then."""
        self._image, self._backlog, self._rate = image, backlog, rate
        self._told, self._lost = told, lost
        self._ended = threading.Event()
        self.done = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="copying", daemon=True).start()

    def end(self) -> None:
        """Also where it waits for its rate. Idempotent."""
        self._ended.set()

    def _run(self) -> None:
        began, told_at, size = time.monotonic(), 0.0, self._image.size
        while self.done < size:
            length = min(CHUNK, size - self.done)
            try:
                going = self._backlog.copy(self.done, length, self._read)
            except OSError as e:
                self._lost(f"{self._image.path} cannot be read: {e.strerror or e}")
                return
            if not going:
                return
            self.done += length
            if time.monotonic() > told_at + _TELL_S:
                told_at = time.monotonic()
                self._told(self.done, size)
            if self._rate and self._ended.wait(began + self.done / self._rate - time.monotonic()):
                return
        self._told(self.done, size)
        self._backlog.copied()

    def _read(self, offset: int, length: int) -> bytes | None:
        found = bytes(self._image.read(offset, length))
        return None if found == _ZEROES[:length] else found
