"""A per-guest process's story: log lines on standard error and the last events in memory."""

import contextlib
import sys
import time
from collections import deque
from typing import Any

KEPT = 200


class Journal:
    """Lines for the log, numbered so that a viewer can ask for what it has not seen."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._lines: deque[tuple[int, float, str]] = deque(maxlen=KEPT)
        self._next = 1

    def __call__(self, text: str) -> None:
        now = time.time()
        self._lines.append((self._next, now, text))
        self._next += 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        # A full disk under the log is no reason to give up a guest.
        with contextlib.suppress(OSError):
            print(f"{stamp}.{int(now * 1000) % 1000:03d}Z {self._who}: {text}", file=sys.stderr)
            sys.stderr.flush()

    def after(self, number: int) -> list[dict[str, Any]]:
        """Events with a higher number; ``time`` is the wall clock in seconds."""
        return [{"number": n, "time": t, "text": x} for n, t, x in self._lines if n > number]
