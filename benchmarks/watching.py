"""One window of checkpoints, seen by instruments that know nothing of who makes them.

Requests to suspend come from host a's xenstore, the stops from the guest's own clock.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bed import Bed, Suspends
from benchmarks.errors import Missing

SETTLE_S = 3.0
_PATIENCE_S = 40.0  # answers of a guest behind a slow link take a while


@dataclass(frozen=True, slots=True)
class Window:
    """``requests``: moments in seconds; ``gaps_ms``: jumps of the guest's clock."""

    requests: Sequence[float]
    gaps_ms: Sequence[float]

    @property
    def rate_per_s(self) -> float:
        """Checkpoints a second, start to start."""
        return (len(self.requests) - 1) / (self.requests[-1] - self.requests[0])

    @property
    def periods_ms(self) -> list[float]:
        """Start to start."""
        return [(late - early) * 1e3 for early, late in itertools.pairwise(self.requests)]

    def stops_ms(self) -> list[float]:
        """The guest's largest gaps, as many as there were checkpoints."""
        return sorted(self.gaps_ms, reverse=True)[: len(self.requests)]


def watch(bed: Bed, suspends: Suspends, seconds: float) -> Window:
    """See what happens in the next ``seconds``. Missing, if that is next to nothing."""
    bed.control.command("reset", _PATIENCE_S)
    requests = suspends.for_a_while(seconds)
    gaps = bed.control.gaps(_PATIENCE_S)
    if len(requests) < 2:
        raise Missing(what="a second checkpoint", seconds=seconds, tail=f"{len(requests)} seen")
    return Window(requests, [gap.gap_us / 1e3 for gap in gaps])
