"""What the epochs were like: the last few thousand samples and their summary."""

import statistics
import time
from collections import deque
from typing import Any

from remus_ha.checkpoint.epochs import Sample

KEPT = 4096


class Figures:
    """Counters and samples of one session."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self.checkpoints = 0
        self.overflows = 0
        self.stale_acks = 0
        self.started = time.monotonic()

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)
        self.checkpoints += 1
        self.overflows += sample.overflowed

    def last(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def summary(self) -> dict[str, Any]:
        """Medians over the samples kept; times in milliseconds."""
        # Epoch 0 is the full copy: its pause and size say nothing about the rest.
        samples = [s for s in self._samples if s.n > 0]
        if len(samples) < 2:
            return {"checkpoints": self.checkpoints, "overflows": self.overflows}
        span = samples[-1].requested - samples[0].requested
        return {
            "checkpoints": self.checkpoints,
            "overflows": self.overflows,
            "stale_acks": self.stale_acks,
            "checkpoints_per_s": (len(samples) - 1) / span if span > 0 else 0.0,
            "pause_ms": _spread([s.pause_s for s in samples]),
            "suspend_ms": _spread([s.suspended - s.requested for s in samples]),
            "copy_ms": _spread([s.copied - s.suspended for s in samples]),
            "ack_ms": _spread([s.acked - s.resumed for s in samples]),
            "octets": statistics.median(s.octets for s in samples),
        }

    def raw(self, after: int) -> list[dict[str, Any]]:
        """Samples of epochs later than ``after``; times are monotonic seconds."""
        return [
            {
                "n": s.n,
                "requested": s.requested,
                "suspended": s.suspended,
                "copied": s.copied,
                "resumed": s.resumed,
                "acked": s.acked,
                "octets": s.octets,
                "overflowed": s.overflowed,
            }
            for s in self._samples
            if s.n > after
        ]


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1e3 * s for s in seconds)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max": round(ordered[-1], 3),
    }
