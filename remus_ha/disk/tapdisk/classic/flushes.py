"""The controller's flushes, from the FIFO to their answers."""

import threading
from collections.abc import Callable

from remus_ha.disk.tapdisk.errors import FifoUnusable
from remus_ha.disk.tapdisk.fifo import TapdiskFifos


class Flushes:
    """Every flush is answered once: ``done`` for a commit that the backup answered, else ``fail``.

    A controller writes ``flush`` while its guest is suspended and does not wait before the guest
    goes on. So whoever is about to take a guest's write calls ``look`` first: what the guest writes
    after ``flush`` lies in the FIFO never gets into the epoch that this flush ends.
    """

    def __init__(self, fifos: TapdiskFifos, mark: Callable[[int], bool]) -> None:
        """``mark(k)`` ends the epoch for flush k, from 1 on; False where that cannot be."""
        self._fifos, self._mark = fifos, mark
        self._lock = threading.Lock()
        self._asked = self._answered = 0

    def fileno(self) -> int:
        """Readable when ``look`` has something to do."""
        return self._fifos.fileno()

    def figures(self) -> dict[str, int]:
        """How many flushes have been asked for, and how many of them are not answered."""
        with self._lock:
            return {"flushes": self._asked, "unanswered": self._asked - self._answered}

    def look(self) -> None:
        """Take in what the controller has asked for. By any thread."""
        with self._lock:
            for _ in range(self._fifos.flushes()):
                self._asked += 1
                if not self._mark(self._asked):
                    self._answer(self._fifos.fail)

    def done(self) -> None:
        """The backup has answered the commit of the oldest flush, which may have failed by then."""
        with self._lock:
            if self._answered < self._asked:
                self._answer(self._fifos.done)

    def fail(self) -> None:
        """No flush that was marked will be answered by the backup any more."""
        with self._lock:
            while self._answered < self._asked:
                self._answer(self._fifos.fail)

    def _answer(self, say: Callable[[], None]) -> None:
        self._answered += 1
        try:
            say()
        except FifoUnusable:
            pass  # full of answers that nobody reads: a controller that comes drops them all

    def close(self) -> None:
        """Removes the FIFOs."""
        with self._lock:
            self._fifos.close()
