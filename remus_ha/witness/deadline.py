"""One point in time by which a call must have ended, whatever phases it goes through."""

import time


class Deadline:
    """Monotonic; never later than asked for."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """The earlier of this one and ``seconds`` from now."""
        return Deadline(min(seconds, self.remaining()))

    def share(self, parts: int) -> "Deadline":
        """An equal part of what is left, when ``parts`` attempts have to fit in."""
        return Deadline(self.remaining() / parts)
