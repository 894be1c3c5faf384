"""Says what long work is doing, one line per step with its seconds, on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Prints steps and their durations; ``Progress(None)`` is silent."""

    def __init__(self, stream: TextIO | None = sys.stderr) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """One line."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce ``text``, run the body, then say how long it took."""
        self.say(f"{text} ...")
        start = time.monotonic()
        yield
        self.say(f"{text}: {time.monotonic() - start:.1f} s")
