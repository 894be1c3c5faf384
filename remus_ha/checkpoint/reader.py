"""Reading a place of an image beside the loop: a disk that stands still must not stop it.

``begin`` and a bounded ``wait``; what has not been read by then is of no use to whoever waits. The
thread sleeps unless it reads.
"""

import os
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress

from remus_ha.checkpoint.verification import Look
from remus_ha.disk.digests import SECTOR


class Reader:
    """``images``: an open image per disk, the reader's from now on. Used by one thread."""

    def __init__(self, images: Mapping[str, int], most: int) -> None:
        """``most``: octets of the largest look."""
        self._images = dict(images)
        self._buffer = memoryview(bytearray(most))
        self._orders: queue.SimpleQueue[tuple[Look, bool] | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._was_cached = False
        self.error: OSError | None = None
        threading.Thread(target=self._serve, name="verify", daemon=True).start()

    def prepare(self, look: Look) -> bool:
        """See to it that the place is in this host's memory; False while the thread is busy."""
        return self._order(look, ahead=True)

    def begin(self, look: Look) -> bool:
        """Read the place; False while the thread is busy."""
        return self._order(look, ahead=False)

    def _order(self, look: Look, *, ahead: bool) -> bool:
        if not self._idle.is_set() or self.error is not None:
            return False
        self._idle.clear()
        self._orders.put((look, ahead))
        return True

    def wait(self, seconds: float) -> bool:
        """Whether what was begun has been read, ``seconds`` from now at the latest."""
        return self._idle.wait(seconds) and self.error is None

    def octets(self, look: Look) -> memoryview:
        """What was read, until the next order."""
        return self._buffer[: look.length]

    def forget(self, look: Look) -> None:
        """Free the memory that the look took; what was there before it may stay."""
        if not self._was_cached:
            self._uncache(look)

    def end(self) -> None:
        """Close the images, once what is being read has been read. Never waits."""
        self._orders.put(None)

    # --- the thread's side

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._carry_out(*order)
            except OSError as e:
                self.error = e
            self._idle.set()
        for fd in self._images.values():
            os.close(fd)

    def _carry_out(self, look: Look, ahead: bool) -> None:
        if ahead and look.grain == SECTOR:
            # A request past the page cache that races with a read may leave old octets there.
            self._uncache(look)
        if ahead:
            self._was_cached = self._is_cached(look)
        self._read(look)

    def _is_cached(self, look: Look) -> bool:
        with suppress(OSError):  # it would have to wait, or cannot tell
            got = os.preadv(
                self._images[look.vdev], [self.octets(look)], look.offset, os.RWF_NOWAIT
            )
            return got == look.length
        return False

    def _read(self, look: Look) -> None:
        view, done = self.octets(look), 0
        while done < look.length:
            got = os.preadv(self._images[look.vdev], [view[done:]], look.offset + done)
            if not got:
                raise OSError(f"{look.vdev} ends at {look.offset + done}")
            done += got

    def _uncache(self, look: Look) -> None:
        fd = self._images[look.vdev]
        os.posix_fadvise(fd, look.offset, look.length, os.POSIX_FADV_DONTNEED)
