"""One line of a descriptor, with a deadline."""

import os
import time

from remus_ha.waiting import readable


def read_line(fd: int, deadline: float) -> bytes:
    """Octets up to a newline; fewer where the other end closes.

    ``deadline`` is of ``time.monotonic``. Raises TimeoutError.
    """
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not readable(fd, left):
            raise TimeoutError("it is silent")
        octets = os.read(fd, 65536)
        if not octets:
            break
        line += octets
    return line
