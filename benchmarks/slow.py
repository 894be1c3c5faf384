"""The pause with a fixed dirty set, on the fast link and on one of 10 Mbit/s."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.bed import PRIMARY, Bed, Suspends
from benchmarks.ours import Epoch, protected
from benchmarks.peer import stock_remus
from benchmarks.rows import Row, at_most, middle, row
from benchmarks.watching import SETTLE_S, Window, watch
from remus_ha.lab.plan import Link

DIRTY_MIB = 4
DIRTY_KIB_S = 40 * 1024  # all of it ten times a second: in every epoch, however short
RATE = "10mbit"
INTERVAL_MS = 200
FAST_S, SLOW_S = 10.0, 30.0
SLOW_SETTLE_S = 8.0  # an epoch takes 3.5 s there; the one under way began on the fast link
BOUND = 1.3


@dataclass
class Found:
    """What one contender showed on the two links; ``epochs`` only ours."""

    windows: list[Window] = field(default_factory=list)
    epochs: list[list[Epoch]] = field(default_factory=list)


def slow(bed: Bed, rounds: int) -> list[Row]:
    """All rows. One round: an epoch is long there."""
    bed.guest()
    bed.control.dirty(DIRTY_KIB_S, DIRTY_MIB)
    peer, ours = measure_peer(bed), measure_ours(bed)
    fast, thin = ([e.pause_ms for e in epochs] for epochs in ours.epochs)
    fast_ms = statistics.median(fast)
    goal = at_most(BOUND * fast_ms, "ms", f"{BOUND:g} x its {fast_ms:.3g} ms on the fast link")
    what = f"{DIRTY_MIB} MB dirty"
    facts = {"octets": middle([e.octets for e in ours.epochs[1]])}
    peer_fast, peer_thin = (window.stops_ms() for window in peer.windows)
    our_fast, our_thin = (window.stops_ms() for window in ours.windows)
    return [
        row(f"pause, {what}, fast link", "ms", fast, peer_fast),
        row(f"pause, {what}, 10 Mbit/s link", "ms", thin, peer_thin, goal, parts=facts),
        row(f"guest's clock gap, {what}, fast link", "ms", our_fast, peer_fast),
        row(f"guest's clock gap, {what}, 10 Mbit/s link", "ms", our_thin, peer_thin),
    ]


def measure_peer(bed: Bed) -> Found:
    """``xl remus``; its pause is seen by the guest's clock."""
    found = Found()
    with stock_remus(bed, INTERVAL_MS) as remus:
        try:
            for seconds in on_both_links(bed):
                found.windows.append(watch(bed, remus.suspends, seconds))
        finally:
            bed.lab.slow(PRIMARY, Link.REPL, None)
        remus.stop()
    return found


def measure_ours(bed: Bed) -> Found:
    """Ours, by its own clock and the guest's."""
    found = Found()
    with protected(bed, INTERVAL_MS) as protection, Suspends(bed) as suspends:
        try:
            for seconds in on_both_links(bed):
                last = protection.epochs()[-1].n
                found.windows.append(watch(bed, suspends, seconds))
                found.epochs.append(protection.epochs(last))
        finally:
            bed.lab.slow(PRIMARY, Link.REPL, None)
        protection.unprotect()
    return found


def on_both_links(bed: Bed) -> Iterator[float]:
    """Seconds to watch, on the fast link and then on the slow one, each after a while."""
    time.sleep(SETTLE_S)
    yield FAST_S
    bed.lab.slow(PRIMARY, Link.REPL, RATE)
    time.sleep(SLOW_SETTLE_S)
    yield SLOW_S
