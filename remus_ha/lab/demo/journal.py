"""The per-guest processes' logs: lines as ``remus_ha.journal`` writes them. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (primary|backup) \S+: (.*)")
_STEP = re.compile(r"(\w+) -> (\w+) on ")
OPEN = "the guest's output is open here"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``host_s`` is the host's time of day, in seconds since 1970."""

    host_s: float
    role: str
    text: str

    @property
    def step(self) -> tuple[str, str] | None:
        """The states before and after, when the line tells a transition."""
        found = _STEP.match(self.text)
        return (found[1], found[2]) if found else None


def parse(line: str) -> Entry | None:
    """None for anything that is not a journal's line."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    return Entry(datetime.fromisoformat(found[1]).timestamp(), found[2], found[3])


@dataclass(frozen=True, slots=True)
class Failover:
    """The moments of a promotion, in the order in which they happen; one clock, seconds."""

    doubt_s: float  # the backup stops acknowledging and asks the witness
    restoring_s: float  # the register says pair: end of file, the copy is restored
    restored_s: float  # the copy runs behind shut vifs; the swap is sent
    won_s: float  # the swap has won
    open_s: float  # written down, vifs open

    def moved(self, seconds: float) -> "Failover":
        """The same on a clock that reads ``seconds`` less."""
        return Failover(
            self.doubt_s - seconds,
            self.restoring_s - seconds,
            self.restored_s - seconds,
            self.won_s - seconds,
            self.open_s - seconds,
        )


def failover(entries: Sequence[Entry]) -> Failover | None:
    """What the backup's journal tells of its promotion, None while that is not complete."""
    backup = [entry for entry in entries if entry.role == "backup"]
    entered = {entry.step[1]: entry.host_s for entry in backup if entry.step}
    opened = [entry.host_s for entry in backup if entry.text == OPEN]
    try:
        return Failover(
            doubt_s=entered["in_doubt"],
            restoring_s=entered["restoring"],
            restored_s=entered["swapping"],
            won_s=entered["opening"],
            open_s=opened[-1],
        )
    except (KeyError, IndexError):
        return None
