"""One window of checkpoints, seen by instruments that know nothing of who makes them.

Requests to suspend come from host a's xenstore, the stops from the guest's own clock.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bed import Bed, Suspends
from benchmarks.errors import Missing
from remus_ha.lab.control import parse_stat

SETTLE_S = 3.0
_CLOCK_TRIES = 3
_PATIENCE_S = 40.0  # answers of a guest behind a slow link take a while


@dataclass(frozen=True, slots=True)
class Window:
    """``requests``: moments in seconds; ``gaps_ms``: jumps of the guest's clock.

    ``lost``: the share of the time in which that clock stood still. A guest's monotonic clock does
    while its domain is suspended; the gaps then lack the pause itself.
    """

    requests: Sequence[float]
    gaps_ms: Sequence[float]
    lost: float = 0.0

    @property
    def rate_per_s(self) -> float:
        """Checkpoints a second, start to start."""
        return (len(self.requests) - 1) / (self.requests[-1] - self.requests[0])

    @property
    def periods_ms(self) -> list[float]:
        """Start to start."""
        return [(late - early) * 1e3 for early, late in itertools.pairwise(self.requests)]

    def stops_ms(self) -> list[float]:
        """The guest's largest gaps, as many as there were checkpoints, each with what it lacks."""
        lacking_ms = max(0.0, self.lost) * 1e3 / self.rate_per_s
        largest = sorted(self.gaps_ms, reverse=True)[: len(self.requests)]
        return [gap_ms + lacking_ms for gap_ms in largest]


def watch(bed: Bed, suspends: Suspends, seconds: float) -> Window:
    """See what happens in the next ``seconds``. Missing, if that is next to nothing."""
    early_s, early_behind_s = clock(bed)
    bed.control.command("reset", _PATIENCE_S)
    requests = suspends.for_a_while(seconds)
    gaps = bed.control.gaps(_PATIENCE_S)
    late_s, late_behind_s = clock(bed)
    if len(requests) < 2:
        raise Missing(what="a second checkpoint", seconds=seconds, tail=f"{len(requests)} seen")
    lost = (late_behind_s - early_behind_s) / (late_s - early_s)
    return Window(requests, [gap.gap_us / 1e3 for gap in gaps], lost)


def clock(bed: Bed) -> tuple[float, float]:
    """A moment of this machine's clock, and how much less the guest's said then.

    A request may reach a guest that is suspended: of several the quickest counts.
    """
    found = []
    for _ in range(_CLOCK_TRIES):
        asked_s = time.monotonic()
        said = parse_stat(bed.control.command("stat", _PATIENCE_S))
        found.append((asked_s, asked_s - said.now_us / 1e6))
    return max(found, key=lambda pair: pair[1])
