"""What two busy disks add to the pause of a guest: with and without them, in one run."""

import time

from benchmarks.bed import GUEST, Bed
from benchmarks.ours import protected
from benchmarks.rows import Row, ratio_at_most, row

INTERVAL_MS = 200
WINDOW_S = 15.0
DISKS = 2


def rows(bed: Bed, rounds: int) -> list[Row]:
    """The pause with disks as ours, without as the peer; the guest writes as fast as it can."""
    with_disks: list[float] = []
    without: list[float] = []
    written: list[float] = []
    for _ in range(rounds):
        bed.guest()
        without += _pauses_ms(bed)
        bed.guest(disks=DISKS)
        disks = bed.lab.guests.disks(GUEST)
        disks.start(0)
        began, before = time.monotonic(), disks.stat().bytes
        with_disks += _pauses_ms(bed, "--disk-overwrite")
        written.append((disks.stat().bytes - before) / (time.monotonic() - began) / 1e6)
    return [
        row(
            "pause with two busy disks beside none",
            "ms",
            with_disks,
            without,
            ratio_at_most(1.15),
            written_mb_s=[round(rate, 2) for rate in written],
        )
    ]


def _pauses_ms(bed: Bed, *options: str) -> list[float]:
    with protected(bed, INTERVAL_MS, *options) as p:
        first = p.epochs()[-1].n
        time.sleep(WINDOW_S)
        pauses = [epoch.pause_ms for epoch in p.epochs(first)]
        p.unprotect()
    return pauses
