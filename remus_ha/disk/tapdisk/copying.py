"""The first copy of an image, through the same backlog as the guest's writes."""

import threading
import time
from collections.abc import Callable, Iterator

import nbd

from remus_ha.disk import digests
from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog, Piece
from remus_ha.disk.tapdisk.store_connection import StoreLost
from remus_ha.disk.tapdisk.theirs import Theirs

CHUNK = 1 << 20
_TELL_S = 0.5  # between two words of progress
_CREDIT_S = 1.0  # of time in which less is put than the rate allows, not more is made up for
_ZEROES = bytes(CHUNK)

Progress = Callable[[int, int], None]


class Copying:
    """One thread. Each chunk is read and put while nobody writes there.

    So what a guest has written is never followed by something older. Of an image that the store has
    found, blocks that are alike there are not put. ``lost`` is told why it cannot go on.
    """

    def __init__(
        self,
        image: Image,
        backlog: Backlog,
        theirs: Theirs,
        *,
        rate: int,
        told: Progress,
        lost: Callable[[str], None],
    ) -> None:
        """``rate``: octets/s that are put, however long comparing takes; 0: no bound.

        ``told``, now and then: octets done with, and how many of them were put.
        """
        self._image, self._backlog, self._theirs, self._rate = image, backlog, theirs, rate
        self._told, self._lost = told, lost
        self._ended = threading.Event()
        self._compares = False
        self.done = 0
        self.sent = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="copying", daemon=True).start()

    def end(self) -> None:
        """Also where it waits for its rate. Idempotent."""
        self._ended.set()

    def _run(self) -> None:
        try:
            self._compares = self._theirs.open()
            whole = self._copy_all()
        except OSError as e:
            self._lost(f"{self._image.path} cannot be copied: {e.strerror or e}")
        except (nbd.Error, StoreLost) as e:
            self._lost(f"the store's digests cannot be read: {e}")
        else:
            if whole:
                self._told(self.done, self.sent)
                self._backlog.copied()
        finally:
            self._theirs.end()

    def _copy_all(self) -> bool:
        """Whether it got to the end. Raises OSError, nbd.Error."""
        due, told_at, size = time.monotonic(), 0.0, self._image.size
        while self.done < size:
            length, before = min(CHUNK, size - self.done), self.sent
            if self._compares:
                self._theirs.of(self.done // digests.BLOCK)  # before anybody has to wait for it
            if not self._backlog.copy(self.done, length, self._read):
                return False
            self.done += length
            if time.monotonic() > told_at + _TELL_S:
                told_at = time.monotonic()
                self._told(self.done, self.sent)
            if self._rate:
                now = time.monotonic()
                due = max(due, now - _CREDIT_S) + (self.sent - before) / self._rate
                if self._ended.wait(due - now):
                    return False
        return True

    def _read(self, offset: int, length: int) -> list[Piece]:
        found = bytes(self._image.read(offset, length))
        pieces = [
            Piece(offset + start, end - start, _data(found, start, end), copied=True)
            for start, end in (self._differing(offset, found) if self._compares else [(0, length)])
        ]
        self.sent += sum(piece.length for piece in pieces)
        return pieces

    def _differing(self, offset: int, found: bytes) -> Iterator[tuple[int, int]]:
        """Stretches of ``found`` whose blocks are not alike at the store; ``CHUNK`` is aligned."""
        start = None
        for place in range(0, len(found), digests.BLOCK):
            ours = digests.digest(found[place : place + digests.BLOCK])
            alike = ours == self._theirs.of((offset + place) // digests.BLOCK)
            if alike and start is not None:
                yield start, place
                start = None
            elif not alike and start is None:
                start = place
        if start is not None:
            yield start, len(found)


def _data(found: bytes, start: int, end: int) -> bytes | None:
    """None for zeroes, which need not be sent."""
    data = found if (start, end) == (0, len(found)) else found[start:end]
    return None if data == _ZEROES[: end - start] else data
