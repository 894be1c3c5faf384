"""Silence is judged by who listens: what a loop that stood still could not hear does not count.

A loop is held up by whatever it has to wait for, or with all of its host. When it goes on it has
said nothing meanwhile either, so nobody has had anything to answer.
"""

import time


class Attention:
    """``late_s`` at every tick of a timer of ``interval_s``."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._ticked_at = time.monotonic()

    def late_s(self) -> float:
        """How much longer than a tick ago the last one was; 0 for up to one more."""
        now = time.monotonic()
        late, self._ticked_at = now - self._ticked_at - self._interval_s, now
        return late if late > self._interval_s else 0.0
