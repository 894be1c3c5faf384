"""Power cuts: the silence that outside clients see, and how long the guest stands still.

The guest has Xen's stock hotplug scripts, for both contenders. ``xl remus`` never notices by
itself that the primary is gone: ``idle_receive`` notices for it.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.bed import BACKUP, PRIMARY, Bed
from benchmarks.errors import Missing
from benchmarks.ours import DETECT_MS, protected
from benchmarks.peer import stock_remus
from benchmarks.rows import Row, at_most, ratio_at_most, row
from remus_ha.lab.demo.journal import failover
from remus_ha.lab.errors import TimedOut
from remus_ha.lab.ledger import LedgerClient

INTERVAL_MS = 200
PROTECTED_S = 5.0
FAILOVER_S = 60.0
FROZEN_S = 60.0
AFTERWARDS_S = 2.0
RATE_PER_S = 50.0
ALLOWED_S = 0.5
QUIET_S = 1.5  # what a guest says until it notices is no answer to the cut


@dataclass
class Silences:
    """Seconds, one entry per round; ``detections`` is the part until the cut was noticed."""

    silences: list[float] = field(default_factory=list)
    detections: list[float] = field(default_factory=list)

    @property
    def without_detection(self) -> list[float]:
        """What the failover itself takes."""
        return [s - d for s, d in zip(self.silences, self.detections, strict=True)]


def primary_cut(bed: Bed, rounds: int) -> list[Row]:
    """The guest goes on on the backup."""
    ours, peer = Silences(), Silences()
    for turn in range(rounds):
        for who in ("ours", "peer") if turn % 2 else ("peer", "ours"):
            bed.guest(stock_scripts=True)
            if who == "ours":
                lose_primary(bed, ours)
            else:
                lose_stock_primary(bed, peer)
            bed.drop_guest()
            bed.ready()
    name = "silence after the primary's power cut"
    return [
        row(
            f"{name}, detection excluded",
            "s",
            ours.without_detection,
            peer.without_detection,
            ratio_at_most(0.25),
        ),
        row(f"{name}, in all", "s", ours.silences, peer.silences),
    ]


def lose_primary(bed: Bed, found: Silences) -> None:
    """One failover of ours."""
    with client(bed) as asking, protected(bed, INTERVAL_MS) as protection:
        time.sleep(PROTECTED_S)
        with bed.clock(bed.backup) as clock:
            cut_s = time.monotonic()
            bed.lab.cut(PRIMARY)
            protection.backup.wait("output is open here", FAILOVER_S)
            fate = failover(protection.backup.entries)
            if fate is None:
                raise Missing(what="a promotion", seconds=FAILOVER_S, tail="an incomplete journal")
            doubt_s = clock.measure().of_wall(fate.doubt_s)
        found.silences.append(silence_s(asking, cut_s, FAILOVER_S))
        found.detections.append(doubt_s - cut_s)


def lose_stock_primary(bed: Bed, found: Silences) -> None:
    """One failover of ``xl remus``."""
    with client(bed) as asking, stock_remus(bed, INTERVAL_MS, detector=True) as remus:
        time.sleep(PROTECTED_S)
        remus.arm()
        with bed.clock(bed.backup) as clock:
            cut_s = time.monotonic()
            bed.lab.cut(PRIMARY)
            found.silences.append(silence_s(asking, cut_s, FAILOVER_S))
            detected_s = clock.measure().of_monotonic(remus.detected())
        found.detections.append(detected_s - cut_s)


def backup_cut(bed: Bed, rounds: int) -> list[Row]:
    """The guest goes on where it is. One round: xl's guest does not."""
    bed.guest(stock_scripts=True)
    ours_silent_s, ours_gap_s = lose_backup(bed)
    bed.ready()
    bed.guest(stock_scripts=True)
    peer_silent_s, answered = lose_stock_backup(bed)
    bed.drop_guest()
    bed.ready()
    detect_s = DETECT_MS / 1e3
    goal = at_most(detect_s + ALLOWED_S, "s", f"{detect_s:g} s of detection and {ALLOWED_S:g} s")
    fate = "answered again" if answered else f"still frozen after {FROZEN_S:g} s"
    name = "after the backup's power cut"
    return [
        row(f"silence {name}", "s", [ours_silent_s], [peer_silent_s], goal, peer_fate=fate),
        row(f"guest's largest clock gap {name}", "s", [ours_gap_s], [peer_silent_s], goal),
    ]


def lose_backup(bed: Bed) -> tuple[float, float]:
    """Ours: the silence and the guest's largest stop, in seconds."""
    with client(bed) as asking, protected(bed, INTERVAL_MS) as protection:
        time.sleep(PROTECTED_S)
        bed.control.reset()
        cut_s = time.monotonic()
        bed.lab.cut(BACKUP)
        protection.primary.wait("ends as ", FAILOVER_S)
        return silence_s(asking, cut_s, FAILOVER_S), bed.control.stat().gap_max_us / 1e6


def lose_stock_backup(bed: Bed) -> tuple[float, bool]:
    """``xl remus``: the silence in seconds, no longer than one looks; whether it ended."""
    with client(bed) as asking, stock_remus(bed, INTERVAL_MS) as remus:
        time.sleep(PROTECTED_S)
        cut_s = time.monotonic()
        bed.lab.cut(BACKUP)
        try:
            silence, answered = silence_s(asking, cut_s, FROZEN_S), True
        except TimedOut:
            silence, answered = time.monotonic() - last_answer(asking), False
        remus.abandon()
        return silence, answered


def client(bed: Bed) -> LedgerClient:
    """Asks a fresh guest over UDP, which no failover can break."""
    address = bed.plan.ipv4()
    return LedgerClient(bed.lab.enter, address, "udp", name="bench", rate_per_s=RATE_PER_S)


def silence_s(asking: LedgerClient, cut_s: float, timeout_s: float) -> float:
    """The longest time without an answer that reaches beyond the cut. TimedOut."""
    asking.wait_answer(cut_s + QUIET_S, timeout_s)
    time.sleep(AFTERWARDS_S)
    return longest_silence(answers(asking), cut_s)


def answers(asking: LedgerClient) -> list[float]:
    """When they came, in order."""
    return sorted(e.answered_s for e in asking.history() if e.answered_s is not None)


def last_answer(asking: LedgerClient) -> float:
    """When the last one came."""
    return answers(asking)[-1]


def longest_silence(answered_s: Sequence[float], cut_s: float) -> float:
    """Between two answers, the later of which came after the cut. Pure."""
    pairs = itertools.pairwise(answered_s)
    return max((late - early for early, late in pairs if late > cut_s), default=0.0)
