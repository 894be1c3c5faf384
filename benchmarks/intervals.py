"""Checkpoints a second, stops, first copy and latency: at ``-i 200`` and at the shortest interval.

The contenders take turns on one guest, the other one first in every second round.
"""

import statistics
import time
from dataclasses import dataclass, field

from benchmarks.bed import Bed, Suspends
from benchmarks.ours import Epoch, protected
from benchmarks.peer import stock_remus
from benchmarks.rows import Row, at_most, middle, ratio_at_least, ratio_at_most, row
from benchmarks.watching import SETTLE_S, Window, watch
from remus_ha.lab.ledger import LedgerClient

WINDOW_S = 20.0
UNPROTECTED_S = 6.0
RATE_PER_S = 23.0  # no multiple of a checkpoint's period
INTERVAL_MS = 200
SHORTEST_MS = {"ours": 0, "peer": 1}  # xl takes 0 for its default
# A prototype of this design, once, in a lab of the same make: the pause it took, in ms.
PROTOTYPE_MS = {INTERVAL_MS: 56.0, 0: 42.0}


@dataclass
class Found:
    """What one contender showed, one entry per round."""

    windows: list[Window] = field(default_factory=list)
    first_copy_s: list[float] = field(default_factory=list)
    command_s: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    unprotected_ms: list[list[float]] = field(default_factory=list)
    protected_ms: list[list[float]] = field(default_factory=list)
    round_trip_ms: list[float] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Checkpoints a second."""
        return [window.rate_per_s for window in self.windows]

    @property
    def stops_ms(self) -> list[float]:
        """Of all rounds together."""
        return [ms for window in self.windows for ms in window.stops_ms()]


def steady(bed: Bed, rounds: int) -> list[Row]:
    """All rows at ``-i 200``."""
    ours, peer = in_turns(bed, rounds, INTERVAL_MS, INTERVAL_MS)
    return [
        row("checkpoints/s, -i 200", "1/s", ours.rates, peer.rates, ratio_at_least(2)),
        stop_row("-i 200", ours, peer, bounded=True),
        pause_row(INTERVAL_MS, ours),
        row("first copy", "s", ours.first_copy_s, peer.first_copy_s, ratio_at_most(0.5)),
        row("command to first checkpoint", "s", ours.command_s, peer.command_s),
        latency_row(ours),
    ]


def shortest(bed: Bed, rounds: int) -> list[Row]:
    """Both as often as they can."""
    ours, peer = in_turns(bed, rounds, SHORTEST_MS["ours"], SHORTEST_MS["peer"])
    name = "checkpoints/s, shortest interval"
    return [
        row(name, "1/s", ours.rates, peer.rates, ratio_at_least(2.5)),
        stop_row("shortest interval", ours, peer, bounded=False),
        pause_row(SHORTEST_MS["ours"], ours),
    ]


def stop_row(when: str, ours: Found, peer: Found, *, bounded: bool) -> Row:
    """The guest's own view of a checkpoint."""
    name = f"guest's largest clock gap per checkpoint, {when}"
    goal = ratio_at_most(0.3) if bounded else None
    return row(name, "ms", ours.stops_ms, peer.stops_ms, goal)


def pause_row(interval_ms: int, ours: Found) -> Row:
    """Suspended to resumed, by the product's own clock."""
    bound = PROTOTYPE_MS[interval_ms]
    pauses = [epoch.pause_ms for epoch in ours.epochs]
    parts = {
        "request_to_suspended_ms": middle([(e.suspended - e.requested) * 1e3 for e in ours.epochs]),
        "copy_ms": middle([(e.copied - e.suspended) * 1e3 for e in ours.epochs]),
        "resume_ms": middle([(e.resumed - e.copied) * 1e3 for e in ours.epochs]),
        "octets": middle([e.octets for e in ours.epochs]),
    }
    name = f"pause, -i {interval_ms}, beside a prototype's"
    return row(name, "ms", pauses, [bound], at_most(bound, "ms"), parts=parts)


def latency_row(ours: Found) -> Row:
    """Added latency beside what output commit has to cost."""
    added = [
        statistics.median(after) - statistics.median(before)
        for before, after in zip(ours.unprotected_ms, ours.protected_ms, strict=True)
    ]
    parts = least_latency_ms(ours)
    least = sum(parts.values())
    goal = at_most(1.1 * least, "ms", "period/2 + pause + transfer + round trip, and 10 %")
    name = "added latency, -i 200, beside what output commit costs"
    return row(name, "ms", added, [least], goal, parts=parts)


def least_latency_ms(ours: Found) -> dict[str, float]:
    """A packet waits half a period for the suspend, the pause, and the acknowledgement.

    ``lag`` is measured to the acknowledgement's arrival, so the round trip is in it.
    """
    periods = [ms for window in ours.windows for ms in window.periods_ms]
    round_trip_ms = statistics.median(ours.round_trip_ms)
    lag_ms = statistics.median(epoch.lag_ms for epoch in ours.epochs)
    return {
        "period/2": statistics.median(periods) / 2,
        "pause": statistics.median(epoch.pause_ms for epoch in ours.epochs),
        "transfer": lag_ms - round_trip_ms,
        "round trip": round_trip_ms,
    }


def in_turns(bed: Bed, rounds: int, ours_ms: int, peer_ms: int) -> tuple[Found, Found]:
    """Both contenders, ``rounds`` times each, on a fresh guest; ours first."""
    plan = bed.guest()
    ours, peer = Found(), Found()
    client = LedgerClient(bed.lab.enter, plan.ipv4(), "udp", name="bench", rate_per_s=RATE_PER_S)
    with client:
        for turn in range(rounds):
            for who in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                if who == "ours":
                    measure_ours(bed, client, ours, ours_ms)
                else:
                    measure_peer(bed, peer, peer_ms)
    return ours, peer


def measure_peer(bed: Bed, found: Found, interval_ms: int) -> None:
    """One round of ``xl remus``. Its first copy ends with the first request to suspend."""
    with stock_remus(bed, interval_ms) as remus:
        found.command_s.append(remus.began_after_s)
        found.first_copy_s.append(remus.suspends.moments()[0] - bed.saving_since())
        time.sleep(SETTLE_S)
        found.windows.append(watch(bed, remus.suspends, WINDOW_S))
        remus.stop()


def measure_ours(bed: Bed, client: LedgerClient, found: Found, interval_ms: int) -> None:
    """One round of ours. Its first copy ends later, with the acknowledgement of epoch 0."""
    found.unprotected_ms.append(latencies_ms(client, *nap(UNPROTECTED_S)))
    with protected(bed, interval_ms) as protection, Suspends(bed) as suspends:
        found.command_s.append(protection.began_after_s)
        found.first_copy_s.append(protection.epochs()[0].acked - bed.saving_since())
        time.sleep(SETTLE_S)
        last, began = protection.epochs()[-1].n, time.monotonic()
        found.windows.append(watch(bed, suspends, WINDOW_S))
        found.protected_ms.append(latencies_ms(client, began, began + WINDOW_S))
        found.epochs += protection.epochs(last)
        found.round_trip_ms.append(protection.status()["round_trip_ms"])
        protection.unprotect()


def nap(seconds: float) -> tuple[float, float]:
    """Sleep, and a second more for late answers; from when to when."""
    began = time.monotonic()
    time.sleep(seconds + 1)
    return began, began + seconds


def latencies_ms(client: LedgerClient, start_s: float, end_s: float) -> list[float]:
    """From request to answer, of the requests sent in the interval."""
    return [
        (exchange.answered_s - exchange.sent_s) * 1e3
        for exchange in client.history()
        if exchange.answered_s is not None and start_s <= exchange.sent_s < end_s
    ]
