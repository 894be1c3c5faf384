"""One epoll loop per process: descriptors with callbacks, and waiting with a deadline.

Straight-line code calls ``until(condition, deadline)``; every callback runs meanwhile. Single
thread, no allocation per round beyond epoll's own. Times are ``time.monotonic`` seconds.
"""

import select
import time
from collections.abc import Callable
from dataclasses import dataclass

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
_FOREVER_S = 3600.0


@dataclass(slots=True, eq=False)
class Timer:
    """A call that is due; ``interval_s`` 0: once."""

    due: float
    interval_s: float
    callback: Callable[[], None]


class Loop:
    """Descriptors and what to call when they are ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []

    def fileno(self) -> int:
        """Readable when ``serve`` has a descriptor to handle; of timers it says nothing."""
        return self._epoll.fileno()

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call ``callback(events)`` whenever ``fd`` is ready; replaces an earlier watch."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching. Idempotent; call it before closing the descriptor."""
        if self._callbacks.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass  # closed already: epoll has dropped it by itself

    def watching(self, fd: int) -> bool:
        return fd in self._callbacks

    def every(self, interval_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` about every ``interval_s`` from inside ``until``."""
        return self._arm(Timer(time.monotonic() + interval_s, interval_s, callback))

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once from inside ``until``."""
        return self._arm(Timer(time.monotonic() + delay_s, 0.0, callback))

    def _arm(self, timer: Timer) -> Timer:
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Idempotent."""
        if timer in self._timers:
            self._timers.remove(timer)

    def until(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Serve until ``done()`` or the deadline; what ``done()`` says at the end."""
        while not done():
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return done()
            self.serve(self._wait_s(now, deadline))
        return True

    def serve(self, wait_s: float) -> None:
        """One round: wait at most ``wait_s`` for something and handle it."""
        for fd, events in self._epoll.poll(wait_s):
            callback = self._callbacks.get(fd)
            if callback is not None:  # an earlier callback of this round may have forgotten it
                callback(events)
        self._tick()

    def _wait_s(self, now: float, deadline: float | None) -> float:
        wake = now + _FOREVER_S if deadline is None else deadline
        for timer in self._timers:
            wake = min(wake, timer.due)
        return max(0.0, wake - now)

    def _tick(self) -> None:
        now = time.monotonic()
        for timer in tuple(self._timers):
            if timer.due > now or timer not in self._timers:
                continue
            if timer.interval_s:
                timer.due = now + timer.interval_s
            else:
                self.cancel(timer)
            timer.callback()

    def close(self) -> None:
        self._epoll.close()
