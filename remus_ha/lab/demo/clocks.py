"""Where a host's clocks stand against this machine's monotonic clock.

A program on the host answers a line with its two clocks. An answer is taken to have been made in
the middle of its round trip, so it is wrong by half the round trip at most; of many the quickest
counts.
"""

import time
from dataclasses import dataclass

from remus_ha.lab.demo.remote import Dialogue
from remus_ha.lab.host import Host

_ECHO = (
    "exec python3 -c 'import sys, time\n"
    "for line in sys.stdin: print(time.time(), time.monotonic(), flush=True)'"
)
_TRIES = 30


@dataclass(frozen=True, slots=True)
class Offset:
    """Host's clock minus this machine's monotonic one, in seconds, and its largest error."""

    wall_s: float
    monotonic_s: float
    error_s: float

    def of_wall(self, host_s: float) -> float:
        """This machine's monotonic time at a time of day on the host."""
        return host_s - self.wall_s

    def of_monotonic(self, host_s: float) -> float:
        """This machine's monotonic time at a monotonic time of the host."""
        return host_s - self.monotonic_s


def offset_of(sent_s: float, received_s: float, wall_s: float, monotonic_s: float) -> Offset:
    """What one round trip tells."""
    middle_s = (sent_s + received_s) / 2
    return Offset(wall_s - middle_s, monotonic_s - middle_s, (received_s - sent_s) / 2)


class HostClock:
    """Measures one host's clocks; ``offset`` is the latest result."""

    def __init__(self, host: Host) -> None:
        self._echo = Dialogue(host, _ECHO)
        self.offset = self.measure()

    def measure(self) -> Offset:
        """The quickest of several round trips. RemoteEnded."""
        found = [self._round_trip() for _ in range(_TRIES)]
        self.offset = min(found, key=lambda offset: offset.error_s)
        return self.offset

    def _round_trip(self) -> Offset:
        sent_s = time.monotonic()
        wall, monotonic = self._echo.ask("").split()
        return offset_of(sent_s, time.monotonic(), float(wall), float(monotonic))

    def close(self) -> None:
        self._echo.close()
