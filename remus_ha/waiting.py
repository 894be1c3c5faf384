"""Waiting for one descriptor, whatever its number: select(2) knows none above 1023."""

import select
from typing import Protocol


class HasFileno(Protocol):
    """As of Python's own files and sockets."""

    def fileno(self) -> int: ...


def readable(what: int | HasFileno, seconds: float) -> bool:
    """Whether it can be read from, or has ended, within that time; 0: now."""
    return _wait(what, seconds, select.POLLIN)


def writable(what: int | HasFileno, seconds: float) -> bool:
    """Whether it can be written to, or has ended, within that time."""
    return _wait(what, seconds, select.POLLOUT)


def _wait(what: int | HasFileno, seconds: float, events: int) -> bool:
    poll = select.poll()
    poll.register(what, events)
    return bool(poll.poll(max(0.0, seconds) * 1000))
