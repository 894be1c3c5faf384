"""The demo's figures, from what was observed. Pure; all moments are on the client's clock."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from remus_ha.lab.demo.journal import Failover
from remus_ha.lab.disks import Verdict
from remus_ha.lab.ledger_check import Exchange, LedgerReport


@dataclass(frozen=True, slots=True)
class Client:
    """One outside client: ``label`` for people, all its requests, the verdict on them."""

    label: str
    exchanges: tuple[Exchange, ...]
    verdict: LedgerReport

    @property
    def answered_s(self) -> list[float]:
        """When its answers came, in order."""
        return sorted(e.answered_s for e in self.exchanges if e.answered_s is not None)

    def latencies_ms(self, start_s: float, end_s: float) -> list[float]:
        """From request to answer, of requests sent in the interval."""
        return [
            (e.answered_s - e.sent_s) * 1e3
            for e in self.exchanges
            if e.answered_s is not None and start_s <= e.sent_s < end_s
        ]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One epoch of the primary: request to suspend, pause, acknowledgement."""

    n: int
    requested_s: float
    suspended_s: float
    resumed_s: float
    acked_s: float
    octets: int

    @property
    def pause_ms(self) -> float:
        """How long the guest stood still."""
        return (self.resumed_s - self.suspended_s) * 1e3


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """The guest's disk: lines that a client was told are saved, and what is there in the end.

    ``verdict`` is the guest's own comparison of its disk with its memory, None without an answer.
    """

    told: tuple[str, ...]
    found: tuple[str | None, ...]
    verdict: Verdict | None

    @property
    def lost(self) -> int:
        """Lines that a client was told are saved and that are not there."""
        return sum(a != b for a, b in zip(self.told, self.found, strict=True))


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the demo has seen.

    ``unprotected_s`` and ``protected_s`` are the intervals whose latencies are compared;
    ``committed`` the last epoch that the backup made real, -1 without one; ``home`` the host on
    which the guest runs in the end; ``clock_error_ms`` bounds the error of the backup's moments.
    """

    began_s: float
    clients: tuple[Client, ...]
    unprotected_s: tuple[float, float]
    protected_s: tuple[float, float]
    cut_s: float
    ended_s: float
    failover: Failover | None
    checkpoints: tuple[Checkpoint, ...]
    committed: int
    home: str | None
    clock_error_ms: float
    disk: DiskSeen


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 95th percentile."""

    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Report:
    """``report.json``; times in milliseconds, None where it did not come to that.

    ``silence_ms``: the longest time around the cut in which no client got any answer.
    ``detection_ms``: from the cut to the backup's doubt. ``decision_ms``: the reading of the
    witness and the swap. ``restore_ms``: from end of file to the restored copy.
    ``added_latency_ms``: protected minus unprotected, over all clients. ``disk_agrees``: the guest
    found on its disk every write that its memory knows as completed, and no other.
    """

    guest_survived: bool
    connections_survived: bool
    acknowledged_lost: int
    went_back: int
    silence_ms: float
    detection_ms: float | None
    decision_ms: float | None
    restore_ms: float | None
    checkpoints: int
    checkpoints_per_s: float
    pause_ms: Spread | None
    added_latency_ms: Spread | None
    disk_agrees: bool
    saved: int
    saved_lost: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def failures(self) -> list[str]:
        """What the product promises and this run did not show; empty when all is well."""
        promises = {
            "the guest did not survive": self.guest_survived,
            "a connection broke": self.connections_survived,
            f"{self.acknowledged_lost} acknowledged requests were lost": not self.acknowledged_lost,
            f"{self.went_back} answers went back": not self.went_back,
            "the guest's disk and its memory are not of one epoch": self.disk_agrees,
            f"{self.saved_lost} saved lines were lost": not self.saved_lost,
        }
        return [text for text, kept in promises.items() if not kept]


def measure(seen: Observed) -> Report:
    """All figures."""
    fate = seen.failover
    verdicts = [client.verdict for client in seen.clients]
    return Report(
        guest_survived=seen.home is not None and lives_on(seen),
        connections_survived=all(v.connections_survived and v.finished for v in verdicts),
        acknowledged_lost=sum(v.lost_acknowledged for v in verdicts),
        went_back=sum(v.went_back for v in verdicts),
        silence_ms=_ms(*silence(seen.clients, seen.cut_s, seen.ended_s)),
        detection_ms=_ms(seen.cut_s, fate.doubt_s) if fate else None,
        decision_ms=_decision_ms(fate) if fate else None,
        restore_ms=_ms(fate.restoring_s, fate.restored_s) if fate else None,
        checkpoints=seen.committed + 1,
        checkpoints_per_s=round(rate_per_s(seen.checkpoints), 2),
        pause_ms=spread([c.pause_ms for c in seen.checkpoints]),
        added_latency_ms=added_latency_ms(seen),
        disk_agrees=seen.disk.verdict is not None and seen.disk.verdict.clean,
        saved=len(seen.disk.told),
        saved_lost=seen.disk.lost,
    )


def lives_on(seen: Observed) -> bool:
    """Every client got an answer to a request that it sent after the cut."""
    return all(
        any(e.answered_s is not None and e.sent_s > seen.cut_s for e in client.exchanges)
        for client in seen.clients
    )


def silence(clients: Sequence[Client], cut_s: float, ended_s: float) -> tuple[float, float]:
    """The longest interval without any answer that reaches beyond the cut."""
    answers = sorted(moment for client in clients for moment in client.answered_s)
    before = [moment for moment in answers if moment <= cut_s]
    after = [moment for moment in answers if moment > cut_s]
    moments = [*(before[-1:] or [cut_s]), *after, max(ended_s, cut_s, *after)]
    return max(itertools.pairwise(moments), key=lambda pair: pair[1] - pair[0])


def added_latency_ms(seen: Observed) -> Spread | None:
    """Protected minus unprotected, median and 95th percentile each."""
    without = latency_ms(seen.clients, seen.unprotected_s)
    protected = latency_ms(seen.clients, seen.protected_s)
    if without is None or protected is None:
        return None
    return Spread(
        round(protected.median - without.median, 2), round(protected.p95 - without.p95, 2)
    )


def latency_ms(clients: Sequence[Client], interval_s: tuple[float, float]) -> Spread | None:
    """Of all clients' requests that were sent in the interval."""
    return spread([ms for client in clients for ms in client.latencies_ms(*interval_s)])


def rate_per_s(checkpoints: Sequence[Checkpoint]) -> float:
    """Start to start, averaged."""
    if len(checkpoints) < 2:
        return 0.0
    first, last = checkpoints[0], checkpoints[-1]
    return (last.n - first.n) / (last.requested_s - first.requested_s)


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return Spread(round(statistics.median(ordered), 2), round(p95, 2))


def _decision_ms(fate: Failover) -> float:
    return round(_ms(fate.doubt_s, fate.restoring_s) + _ms(fate.restored_s, fate.won_s), 1)


def _ms(start_s: float, end_s: float) -> float:
    return round((end_s - start_s) * 1e3, 1)
