"""Kill points: die at a chosen place of a chosen epoch, as the classic script's test commands.

Set by ``REMUS_HA_KILLPOINT=POINT:EPOCHS:HOW`` in the environment of the real process. EPOCHS is how
often the point is passed first; HOW is ``process`` (SIGKILL of this process), ``caretaker`` (of its
parent: the keeper or the guardian; this process goes on) or ``host`` (the host goes off at once,
like a power cut).

POINT on the primary: s, s2 (before and after postsuspend), r, r2 (preresume), c, c2 (commit). On
the backup: close (the disks' epoch is about to end), seal (memory and disks have arrived, nothing
is real yet), disks (memory has its epoch, no disk has), ack (all have, nobody was told); of a
failover, passed once: open (it has won, all is shut), announce (its output is open, nobody knows).
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from remus_ha.exceptions import RemusError

PRIMARY = ("s", "s2", "r", "r2", "c", "c2")
BACKUP = ("close", "seal", "disks", "ack")
FAILOVER = ("open", "announce")
POINTS = PRIMARY + BACKUP + FAILOVER
HOWS = ("process", "caretaker", "host")
_SYSRQ = Path("/proc/sysrq-trigger")


class BadKillPoint(RemusError):
    code = "PROTECT-001"
    cause = "'{value}' is not a kill point"
    remedy = (
        "Use POINT:EPOCHS:HOW, with HOW process, caretaker or host, and POINT one of s s2 r r2 c c2"
        " on the primary, close seal disks ack open announce on the backup."
    )


class KillPoint:
    """Where to die; the default is nowhere."""

    def __init__(self, point: str = "", passes: int = 0, how: str = "process") -> None:
        self._point, self._passes, self._how = point, passes, how

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "KillPoint":
        """Raises BadKillPoint."""
        value = environment.get("REMUS_HA_KILLPOINT", "")
        if not value:
            return cls()
        point, _, rest = value.partition(":")
        passes, _, how = rest.partition(":")
        if point not in POINTS or not passes.isdigit() or how not in HOWS:
            raise BadKillPoint(value=value)
        return cls(point, int(passes), how)

    def at(self, point: str) -> None:
        """Called by whoever passes a point."""
        if point != self._point:
            return
        if self._passes > 0:
            self._passes -= 1
            return
        if self._how == "host":
            # Reboots the machine without sync and without a word to any peer.
            _SYSRQ.write_text("b")
        self._point = ""
        os.kill(os.getppid() if self._how == "caretaker" else os.getpid(), signal.SIGKILL)
