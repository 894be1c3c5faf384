"""When the next epoch starts: pure arithmetic on a monotonic clock, in nanoseconds.

The interval is measured start to start, so the work of an epoch does not lengthen the period. A
start that was missed is skipped, never made up for: the epoch that could not begin in time begins
as soon as it can, and the next is due an interval after that. Whatever the interval, the guest
gets its guaranteed share of the time to run.
"""

from dataclasses import dataclass

SHARE_MAX = 0.95


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to take an epoch.

    ``interval_ns`` is the wanted period, 0 for "as soon as possible"; ``share`` the part of every
    period that the guest runs at least, from 0 to ``SHARE_MAX``. Raises ValueError.
    """

    interval_ns: int
    share: float = 0.25

    def __post_init__(self) -> None:
        if self.interval_ns < 0:
            raise ValueError("an interval is not negative")
        if not 0 <= self.share <= SHARE_MAX:
            raise ValueError(f"a share is from 0 to {SHARE_MAX}")


@dataclass(frozen=True, slots=True)
class Deadline:
    """``start_ns``: when to suspend next. ``skipped``: how many whole intervals were missed."""

    start_ns: int
    skipped: int


def next_deadline(pace: Pace, started_ns: int, resumed_ns: int, now_ns: int) -> Deadline:
    """The start after the epoch that was due at ``started_ns``.

    ``started_ns`` is that epoch's own deadline, so delays in waking up do not add up;
    ``resumed_ns`` is when its pause ended; ``now_ns`` when the next one may begin (the
    acknowledgement is in). All on one monotonic clock.
    """
    earliest_ns = max(now_ns, resumed_ns + run_time_ns(pace, resumed_ns - started_ns))
    due_ns = started_ns + pace.interval_ns
    if earliest_ns <= due_ns or pace.interval_ns == 0:
        return Deadline(max(due_ns, earliest_ns), 0)
    return Deadline(earliest_ns, (earliest_ns - due_ns) // pace.interval_ns)


def run_time_ns(pace: Pace, pause_ns: int) -> int:
    """How long the guest must run after a pause to have its share of pause and run together."""
    return int(max(0, pause_ns) * pace.share / (1 - pace.share))
