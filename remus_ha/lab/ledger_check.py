"""Judges what an outside client of the guest's ledger has seen. Pure.

The guest applies a client's requests in the order of their numbers and adds their amounts up.
So whatever the network did, an answer to request n must count every request up to n that was
ever answered (else an acknowledged one is lost) and none that was not sent; and nothing it
tells may be smaller than what an answer to a smaller number told.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the guest. ``ticks`` is the guest's own counter."""

    seq: int
    total: int
    count: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its first answer, None without one; times are time.monotonic seconds."""

    seq: int
    amount: int
    sent_s: float
    answered_s: float | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """The verdict on one client.

    ``lost_acknowledged`` answered requests that the guest forgot; ``went_back`` answers that
    tell less than an earlier one; ``invented`` answers with more than was sent;
    ``silence_ms`` the longest time without any answer, the ends included; ``finished``: the
    last request was answered, so that a loss just before the end is seen too.
    """

    client: str
    proto: str
    address: str
    sent: int
    answers: int
    lost_acknowledged: int
    went_back: int
    invented: int
    connections_survived: bool
    finished: bool
    silence_ms: float
    latencies_ms: tuple[float, ...]

    @property
    def intact(self) -> bool:
        """Nothing lost, nothing back, nothing invented, no connection broken."""
        wrong = self.lost_acknowledged + self.went_back + self.invented
        return wrong == 0 and self.connections_survived


@dataclass(frozen=True, slots=True)
class Verdict:
    """The three counts of ``LedgerReport``."""

    lost_acknowledged: int
    went_back: int
    invented: int


def judge(exchanges: Sequence[Exchange]) -> Verdict:
    """Compare every answer with all that was sent and answered up to its number."""
    lost = back = invented = 0
    sent_total = known_total = known_count = 0
    highest = Reply(0, 0, 0, 0)
    for exchange in sorted(exchanges, key=lambda e: e.seq):
        sent_total += exchange.amount
        reply = exchange.reply
        if reply is None:
            continue
        known_total += exchange.amount
        known_count += 1
        missing = max(known_count - reply.count, int(reply.total < known_total))
        lost = max(lost, missing)
        invented += reply.total > sent_total
        back += _less(reply, highest)
        highest = _highest(reply, highest)
    return Verdict(lost, back, invented)


def _less(reply: Reply, other: Reply) -> bool:
    pairs = ((reply.total, other.total), (reply.count, other.count), (reply.ticks, other.ticks))
    return any(mine < theirs for mine, theirs in pairs)


def _highest(one: Reply, other: Reply) -> Reply:
    return Reply(
        one.seq,
        max(one.total, other.total),
        max(one.count, other.count),
        max(one.ticks, other.ticks),
    )


def longest_silence_ms(start_s: float, answered_s: Sequence[float], end_s: float) -> float:
    """The longest interval without an answer between ``start_s`` and ``end_s``."""
    moments = [start_s, *sorted(answered_s), end_s]
    return max(late - early for early, late in itertools.pairwise(moments)) * 1000


def latencies_ms(exchanges: Sequence[Exchange]) -> tuple[float, ...]:
    """From request to answer, in the order of the requests."""
    return tuple(
        (exchange.answered_s - exchange.sent_s) * 1000
        for exchange in exchanges
        if exchange.answered_s is not None
    )


def parse_reply(line: str, client: str) -> Reply | None:
    """``CLIENT SEQ TOTAL COUNT TICKS``; None when it is anything else or another's."""
    words = line.split()
    if len(words) != 5 or words[0] != client or not all(word.isdigit() for word in words[1:]):
        return None
    return Reply(*map(int, words[1:]))
