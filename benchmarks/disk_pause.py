"""What two busy disks add to the pause of a guest: with and without them, in one run.

The bound is for 20 MB/s of writes. A guest that writes less, for want of a faster machine, has not
met it, however short its pause is.
"""

import time
from dataclasses import dataclass

from benchmarks.bed import GUEST, Bed
from benchmarks.ours import protected
from benchmarks.rows import Row, ratio_at_most, row, while_writing

INTERVAL_MS = 200
WINDOW_S = 15.0
DISKS = 2
RATE_MB_S = 20.0
DRIVERS = ("qemu", "tapdisk")


@dataclass(frozen=True, slots=True)
class Busy:
    """What was seen with one driver."""

    pauses_ms: list[float]
    written_mb_s: list[float]


def rows(bed: Bed, rounds: int) -> list[Row]:
    """The pause with disks as ours, without as the peer; the guest writes as fast as it can."""
    without: list[float] = []
    busy = {driver: Busy([], []) for driver in DRIVERS}
    for _ in range(rounds):
        bed.guest()
        without += _pauses_ms(bed)
        for driver, seen in busy.items():
            bed.guest(disks=DISKS)
            _add(bed, driver, seen)
    return [_row(driver, seen, without) for driver, seen in busy.items()]


def _row(driver: str, seen: Busy, without: list[float]) -> Row:
    rates = [round(rate, 2) for rate in seen.written_mb_s]
    made = row(
        f"pause with two busy disks beside none, driver {driver}",
        "ms",
        seen.pauses_ms,
        without,
        ratio_at_most(1.15),
        written_mb_s=rates,
    )
    return while_writing(made, rates, RATE_MB_S)


def _add(bed: Bed, driver: str, seen: Busy) -> None:
    disks = bed.lab.guests.disks(GUEST)
    disks.start(0)
    began, before = time.monotonic(), disks.stat().bytes
    seen.pauses_ms.extend(_pauses_ms(bed, "--disk-overwrite", "--disk-driver", driver))
    seen.written_mb_s.append((disks.stat().bytes - before) / (time.monotonic() - began) / 1e6)


def _pauses_ms(bed: Bed, *options: str) -> list[float]:
    with protected(bed, INTERVAL_MS, *options) as p:
        first = p.epochs()[-1].n
        time.sleep(WINDOW_S)
        pauses = [epoch.pause_ms for epoch in p.epochs(first)]
        p.unprotect()
    return pauses
