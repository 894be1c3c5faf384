"""The ends of epochs in several queues, as one. Used by one thread."""

from collections.abc import Callable


class Marks:
    """``reached`` is called once for an epoch, when every one of ``count`` disks has reached it."""

    def __init__(self, count: int, reached: Callable[[int], None]) -> None:
        self._count, self._all_reached = count, reached
        self._marked: dict[str, int] = {}
        self._reached: dict[str, int] = {}
        self._told = -1

    def on_marked(self, vdev: str, n: int) -> None:
        self._marked[vdev] = n

    def on_reached(self, vdev: str, n: int) -> None:
        """A disk with an empty queue may reach its mark before it is said to be marked."""
        self._reached[vdev] = n
        if self._told < n and _all(self._reached, self._count, n):
            self._told = n
            self._all_reached(n)

    def marked(self, n: int) -> bool:
        """Whether every disk's queue has the mark."""
        return _all(self._marked, self._count, n)


def _all(told: dict[str, int], count: int, n: int) -> bool:
    return len(told) == count and all(theirs >= n for theirs in told.values())
