"""Lets writes through until it is shut."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Who comes to a shut gate waits for ever: its process is about to end, and may be asked anew.

    The guest gets no error then, and nothing is written behind the back of who has shut it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False

    @contextmanager
    def open(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._shut:
                    self._changed.notify_all()

    def shut(self) -> None:
        """Returns when nobody is inside any more. Idempotent."""
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: not self._inside)
